//! Whatever a packet holds, the line that describes it is short, and shows nothing that a terminal or a page would obey.

use arbitrary::{Arbitrary, Unstructured};
use netrewind_extractor::ViewMode;
use netrewind_extractor::packet_list::{PacketCursor, SUMMARY_BYTES_MAX, describe_packet};
use netrewind_packet::ViewBytes;
use netrewind_packet::tunnel::TunnelPorts;
use netrewind_store::LinkType;

/// Reads any bytes.
pub fn read(bytes: &[u8]) {
    if let Ok(cursor) = std::str::from_utf8(bytes).unwrap_or_default().parse::<PacketCursor>() {
        assert_eq!(cursor.to_string().parse(), Ok(cursor));
    }
    let Ok(input) = <(u16, u32, &[u8])>::arbitrary_take_rest(Unstructured::new(bytes)) else { return };
    let (link_type, len, packet) = input;
    for view in [ViewMode::Inner, ViewMode::Outer] {
        for link_type in [LinkType(link_type), LinkType::ETHERNET] {
            let packet = ViewBytes { link_type, bytes: packet, len: len.max(packet.len() as u32) };
            let line = describe_packet(&TunnelPorts::DEFAULT, packet, view);
            assert!(line.summary.len() <= SUMMARY_BYTES_MAX && !line.protocol.is_empty(), "{line:?}");
            assert!(!line.summary.chars().any(char::is_control), "{line:?}");
        }
    }
}
