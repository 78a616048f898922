//! Headers that carry tunnels: IP and Ethernet.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::chance::Chance;

/// An IP packet of either version, now and then with options or an extension header.
pub fn ip(chance: &mut Chance, protocol: u8, payload: &[u8]) -> Vec<u8> {
    if !chance.one_in(8) {
        return bare_ip(chance, protocol, payload);
    }
    // An authentication header: index of the association, then sequence number and check value.
    let association = [protocol, 4, 0, 0, 0, 0, 1, chance.below(4) as u8];
    let authenticated = [&association, &chance.bytes(16)[..], payload].concat();
    bare_ip(chance, 51, &authenticated)
}

fn bare_ip(chance: &mut Chance, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let address = |chance: &mut Chance| chance.below(4) as u8 + 1;
    let (source, destination) = (address(chance), address(chance));
    if protocol == 1 || chance.one_in(2) {
        let option_words = if chance.one_in(4) { 1 + chance.below(3) } else { 0 };
        let header_bytes = 20 + option_words * 4;
        let mut header = vec![0x40 | (header_bytes / 4) as u8, chance.varying(256) as u8];
        header.extend(((header_bytes + payload.len()) as u16).to_be_bytes());
        header.extend(chance.bytes(2));
        header.extend([chance.varying(2) as u8 * 0x40, 0, chance.varying(256) as u8, protocol, 0, 0]);
        header.extend(Ipv4Addr::new(10, 0, 0, source).octets());
        header.extend(Ipv4Addr::new(10, 0, 1, destination).octets());
        header.extend(vec![1; option_words * 4]);
        let checksum = !sum(&header);
        header[10..12].copy_from_slice(&checksum.to_be_bytes());
        header.extend(payload);
        return header;
    }
    let has_options = chance.one_in(4);
    let mut header = vec![0x60 | chance.varying(16) as u8];
    header.extend(chance.bytes(3));
    header.extend((payload.len() as u16 + if has_options { 8 } else { 0 }).to_be_bytes());
    header.extend([if has_options { 60 } else { protocol }, chance.varying(256) as u8]);
    header.extend(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, source.into()).octets());
    header.extend(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 1, destination.into()).octets());
    if has_options {
        header.extend([protocol, 0, 1, 4, 0, 0, 0, 0]);
    }
    header.extend(payload);
    header
}

fn sum(header: &[u8]) -> u16 {
    let words = header.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])));
    let total: u32 = words.sum();
    let folded = (total & 0xffff) + (total >> 16);
    (folded + (folded >> 16)) as u16
}

/// An Ethernet header, now and then with VLAN tags.
pub fn ethernet_header(chance: &mut Chance, ethertype: u16) -> Vec<u8> {
    let mut header = vec![2, 0, 0, 0, 0, chance.below(3) as u8, 2, 0, 0, 0, 1, chance.below(3) as u8];
    for _ in 0..[0, 0, 0, 1, 2][chance.below(5)] {
        header.extend([0x81, 0x00, chance.varying(16) as u8 * 16, chance.below(3) as u8]);
    }
    header.extend(ethertype.to_be_bytes());
    header
}
