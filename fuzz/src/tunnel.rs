//! Whatever stands behind the header of a tunnel: views lie within each other and within the packet.

use arbitrary::{Arbitrary, Unstructured};
use netrewind_packet::{PREFIX_BYTES_MAX, dissect};
use netrewind_store::LinkType;

/// IPv4 without options, its protocol at [`PROTOCOL`].
const IPV4: [u8; 20] = [0x45, 0, 0, 0, 0, 0, 0, 0, 64, 0, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
const PROTOCOL: usize = 9;
/// Protocols that carry tunnels, and as many destination ports of UDP.
const PROTOCOLS: [u8; 8] = [4, 41, 47, 51, 97, 115, 137, 17];
const PORTS: [u16; 8] = [4789, 8472, 4790, 6081, 2152, 6635, 3544, 1701];
const UDP: u8 = 17;

/// Reads any bytes.
pub fn read(bytes: &[u8]) {
    let Ok(input) = <(u8, u32, &[u8])>::arbitrary_take_rest(Unstructured::new(bytes)) else { return };
    let (choice, more, payload) = input;
    let mut packet = IPV4.to_vec();
    packet[PROTOCOL] = PROTOCOLS[usize::from(choice & 7)];
    if packet[PROTOCOL] == UDP {
        packet.extend([0xc0, 0]);
        packet.extend(PORTS[usize::from(choice >> 3 & 7)].to_be_bytes());
        packet.extend([0; 4]);
    }
    packet.extend(payload);
    let dissection = dissect(LinkType::RAW, &packet, (packet.len() as u32).saturating_add(more));
    assert!(dissection.prefix_bytes <= PREFIX_BYTES_MAX.min(packet.len()));
    for pair in dissection.views().windows(2) {
        let ends = |caplen, offset: u16| u32::from(offset) + caplen;
        assert!(pair[0].view.offset < pair[1].view.offset);
        assert!(ends(pair[1].caplen, pair[1].view.offset) <= ends(pair[0].caplen, pair[0].view.offset));
        assert!(pair[1].caplen <= pair[1].len);
        assert_eq!(pair[1].bytes(&packet).len(), pair[1].caplen as usize);
    }
    assert!(dissection.tunnels(&packet).count() <= dissection.layers().len());
}
