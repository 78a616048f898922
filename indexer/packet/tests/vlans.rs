//! The index and `--ignore-vlan` see the same VLAN tags: what is walked over to find a network header is what is left out.

use netrewind_packet::tunnel::LayerKind;
use netrewind_packet::{ViewBytes, dissect, is_vlan_tpid, without_tags};
use netrewind_store::LinkType;

const TPIDS: [u16; 5] = [0x8100, 0x88a8, 0x9100, 0x9200, 0x9300];
/// The tag's TCI, the type behind it, and an IPv4 header.
const BEHIND_TPID: [u8; 24] =
    [0x60, 5, 8, 0, 0x45, 0, 0, 20, 0, 1, 0, 0, 64, 59, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];

/// A packet whose type field has this value.
fn packet(link_type: LinkType, ethertype: u16) -> Vec<u8> {
    let ethertype = ethertype.to_be_bytes();
    match link_type {
        LinkType::ETHERNET => [&[2; 12][..], &ethertype, &BEHIND_TPID].concat(),
        LinkType::LINUX_SLL => [&[0; 14][..], &ethertype, &BEHIND_TPID].concat(),
        LinkType::LINUX_SLL2 => [&ethertype[..], &[0; 18], &BEHIND_TPID].concat(),
        other => panic!("{other} has no place for a tag"),
    }
}

/// Number of bytes that are left out of the view.
fn bytes_left_out(link_type: LinkType, bytes: &[u8]) -> usize {
    let view = ViewBytes { link_type, bytes, len: bytes.len() as u32 };
    let mut left = 0;
    without_tags(view, &mut Vec::new(), |view| {
        left = view.bytes.len();
        true
    });
    bytes.len() - left
}

#[test]
fn the_index_and_views_without_tags_agree_on_every_ethertype() {
    for link_type in [LinkType::ETHERNET, LinkType::LINUX_SLL, LinkType::LINUX_SLL2] {
        for ethertype in 0..=u16::MAX {
            let is_tag = TPIDS.contains(&ethertype);
            assert_eq!(is_vlan_tpid(ethertype), is_tag, "{ethertype:#06x}");
            let bytes = packet(link_type, ethertype);
            assert_eq!(bytes_left_out(link_type, &bytes), if is_tag { 4 } else { 0 }, "{ethertype:#06x}");
            let dissection = dissect(link_type, &bytes, bytes.len() as u32);
            let tags = dissection.layers().iter().filter(|layer| layer.kind == LayerKind::VlanPriority);
            assert_eq!(tags.count(), usize::from(is_tag), "{ethertype:#06x} behind {link_type}");
            if is_tag {
                assert_eq!(dissection.prefix_bytes, bytes.len() - 20, "{ethertype:#06x} behind {link_type}");
            }
        }
    }
}
