//! A port is no tunnel: what is no tunnel on a tunnel's port stays what it is, and what is one is seen even where it is unusual.

use netrewind_packet::tunnel::{TunnelKind, TunnelPorts, UdpTunnel};
use netrewind_packet::{dissect, dissect_with};
use netrewind_store::LinkType;

use crate::chance::Chance;

/// An IPv4 header with a right checksum, and what it carries.
fn ipv4(protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut header = vec![0x45, 0];
    header.extend((20 + payload.len() as u16).to_be_bytes());
    header.extend([0, 1, 0, 0, 64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    let sum: u32 = header.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    header[10..12].copy_from_slice(&(!((sum & 0xffff) + (sum >> 16)) as u16).to_be_bytes());
    [&header, payload].concat()
}

fn udp(source: u16, destination: u16, payload: &[u8]) -> Vec<u8> {
    let length = 8 + payload.len() as u16;
    let header = [source, destination, length, 0].map(u16::to_be_bytes).concat();
    ipv4(17, &[&header, payload].concat())
}

fn frame(ethertype: u16, payload: &[u8]) -> Vec<u8> {
    [&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2][..], &ethertype.to_be_bytes(), payload].concat()
}

fn views(packet: &[u8]) -> usize {
    dissect(LinkType::RAW, packet, packet.len() as u32).views().len()
}

fn kinds(packet: &[u8]) -> Vec<TunnelKind> {
    let dissection = dissect(LinkType::RAW, packet, packet.len() as u32);
    dissection.tunnels(packet).map(|tunnel| tunnel.kind).collect()
}

/// A DNS message: queries have no answers, answers one, and those that fail none.
fn dns(id: u16, flags: u16, answers: u16, name: &[u8]) -> Vec<u8> {
    let mut message = [id, flags, 1, answers, 0, 0].map(u16::to_be_bytes).concat();
    message.extend(name);
    message.extend([0, 0, 1, 0, 1]);
    for _ in 0..answers {
        message.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 1, 2, 3, 4]);
    }
    message
}

#[test]
fn dns_is_dns_on_every_port() {
    let long = [&b"\x19"[..], &[b'x'; 25]].concat();
    let of_41_bytes = [&b"\x17"[..], &[b'x'; 23]].concat();
    let names: [&[u8]; 5] = [b"\x07example\x03com", b"\x02de", b"", &long, &of_41_bytes];
    assert_eq!(dns(0, 0, 0, names[4]).len(), 41, "an IPv6 packet whose length is the number of questions");
    let messages = [(0x0100, 0), (0x8180, 1), (0x8183, 0), (0x8400, 1), (0x8403, 0), (0x8582, 0)];
    for (port, tunnel) in TunnelPorts::DEFAULT.iter() {
        for (flags, answers) in messages {
            for (name, step) in names.into_iter().zip([3, 101, 103, 107, 5]) {
                for id in (0..=u16::MAX).step_by(step) {
                    let message = dns(id, flags, answers, name);
                    let (source, destination) = if flags == 0x0100 { (port, 53) } else { (53, port) };
                    let packet = udp(source, destination, &message);
                    assert_eq!(views(&packet), 1, "{tunnel:?} {id:#06x} {flags:#06x} {name:?}");
                }
            }
        }
    }
}

/// A payload without meaning is no tunnel: less than one in a million, and none with this seed.
#[test]
fn bytes_by_chance_are_no_tunnel() {
    let mut chance = Chance::new(1, 1);
    for (port, tunnel) in TunnelPorts::DEFAULT.iter() {
        for _ in 0..200_000 {
            let count = 30 + chance.below(200);
            let payload = chance.bytes(count);
            let packet = if chance.one_in(2) { udp(port, 443, &payload) } else { udp(443, port, &payload) };
            assert_eq!(views(&packet), 1, "{tunnel:?} {payload:02x?}");
        }
    }
}

/// Headers of tunnels over UDP, each with a kind of its own and what it carries: Ethernet or IP.
fn headers() -> Vec<(u16, Vec<u8>, bool)> {
    vec![
        (4789, vec![8, 0, 0, 0, 0, 0, 42, 0], true),
        (8472, vec![0x88, 0x40, 0x12, 0x34, 0, 0, 42, 0], true),
        (4790, vec![0x0c, 0, 0, 3, 0, 0, 42, 0], true),
        (4790, vec![0x0c, 0, 0, 1, 0, 0, 42, 0], false),
        (6081, vec![0, 0, 0x65, 0x58, 0, 0, 42, 0], true),
        (6081, vec![0, 0x40, 8, 0, 0, 0, 42, 0], false),
        (37008, vec![1, 0, 0, 1, 1], true),
        (6635, vec![0, 1, 0x01, 64], false),
    ]
}

#[test]
fn tunnels_are_seen_however_little_was_captured() {
    let inner = ipv4(6, &[&[0x30, 0x39, 1, 187][..], &[0; 60]].concat());
    for (port, header, is_ethernet) in headers() {
        let carried = if is_ethernet { frame(0x0800, &inner) } else { inner.clone() };
        let packet = udp(50_000, port, &[&header[..], &carried].concat());
        let begin = 28 + header.len();
        for caplen in begin..=packet.len() {
            let views = dissect(LinkType::RAW, &packet[..caplen], packet.len() as u32).views().len();
            let needed = if is_ethernet { 14 } else { 20 };
            assert_eq!(views, if caplen >= begin + needed { 2 } else { 1 }, "port {port}, {caplen} bytes");
        }
    }
}

/// A mirror cuts what it wraps, so that the inner packet claims to be longer than there is room for.
#[test]
fn what_a_mirror_has_cut_is_seen() {
    let inner = frame(0x0800, &ipv4(6, &[7; 1400]));
    for (port, header, is_ethernet) in headers().into_iter().filter(|(port, ..)| *port != 8472) {
        if is_ethernet {
            let packet = udp(50_000, port, &[&header[..], &inner[..200]].concat());
            assert_eq!(views(&packet), 2, "port {port}");
        }
    }
}

#[test]
fn any_ethertype_can_be_in_vxlan() {
    let vxlan = |flags: [u8; 4], ethertype, payload: &[u8]| {
        udp(50_000, 4789, &[&flags[..], &[0, 0, 42, 0], &frame(ethertype, payload)].concat())
    };
    let plain = [8, 0, 0, 0];
    for ethertype in [0x0806, 0x88cc, 0x8100, 0x1234, 0x9000, 0x0600, 30] {
        assert_eq!(views(&vxlan(plain, ethertype, &[0x42; 46])), 2, "{ethertype:#06x}");
    }
    for (ethertype, payload) in [(0x0800, 0x65), (0x0800, 0x44), (0x86dd, 0x45), (1501, 1), (1500, 1)] {
        assert_eq!(views(&vxlan(plain, ethertype, &[payload; 46])), 1, "{ethertype:#06x} {payload:#04x}");
    }
    // Reserved bits are not zero: the standard wants them ignored, so that a certain frame is enough.
    let certain = ipv4(17, &[0; 40]);
    for flags in [[0x0c, 0, 0, 0], [8, 0x20, 0, 0], [8, 0, 0, 9], [0x88, 0x80, 0, 0]] {
        assert_eq!(views(&vxlan(flags, 0x0800, &certain)), 2, "{flags:02x?}");
        assert_eq!(views(&vxlan(flags, 0x1234, &certain)), 1, "{flags:02x?}");
    }
}

/// The inner packet must be certain if only the source port is a tunnel's, as in an answer to a client on that port.
#[test]
fn a_tunnel_is_sent_to_its_port() {
    let carried = |payload: &[u8]| [&[8, 0, 0, 0, 0, 0, 42, 0], &frame(0x0800, payload)[..]].concat();
    let (certain, mut uncertain) = (ipv4(17, &[0; 40]), ipv4(17, &[0; 40]));
    uncertain[11] ^= 1;
    assert_eq!(views(&udp(4789, 50_000, &carried(&certain))), 2);
    assert_eq!(views(&udp(4789, 50_000, &carried(&uncertain))), 1);
    assert_eq!(views(&udp(50_000, 4789, &carried(&uncertain))), 2);
}

#[test]
fn mirrors_of_mikrotik_are_known() {
    let inner = frame(0x0800, &ipv4(17, &[0; 40]));
    let tzsp = |head: &[u8]| udp(40_000, 37008, &[head, &inner[..]].concat());
    assert_eq!(kinds(&tzsp(&[1, 0, 0, 1, 1])), [TunnelKind::Tzsp]);
    assert_eq!(kinds(&tzsp(&[1, 1, 0, 1, 0x29, 2, 0, 60, 0, 1])), [TunnelKind::Tzsp]);
    // IEEE 802.11, an alive message, another version, fields without an end.
    let others: [&[u8]; 4] =
        [&[1, 0, 0, 0x12, 1], &[1, 4, 0, 1, 1], &[2, 0, 0, 1, 1], &[1, 0, 0, 1, 0x29, 255]];
    for other in others {
        assert_eq!(kinds(&tzsp(other)), [], "{other:02x?}");
    }
    let eoip = |flags: u16, length: u16| {
        let length = length.to_be_bytes();
        ipv4(47, &[&flags.to_be_bytes()[..], &[0x64, 0], &length, &[0x34, 0x12], &inner].concat())
    };
    let packet = eoip(0x2001, inner.len() as u16);
    let dissection = dissect(LinkType::RAW, &packet, packet.len() as u32);
    let found: Vec<_> = dissection.tunnels(&packet).map(|tunnel| (tunnel.kind, tunnel.id)).collect();
    assert_eq!(found, [(TunnelKind::Eoip, Some(0x1234))]);
    assert_eq!(dissection.innermost().len as usize, inner.len());
    for (flags, length) in [(0x2001, 0), (0x2001, 1000), (0x3001, 60), (0x2081, 60)] {
        assert_eq!(views(&eoip(flags, length)), 1, "{flags:#06x} {length}");
    }
    let ports = TunnelPorts::written(&["tzsp=5000".into()]).unwrap();
    let packet = udp(40_000, 5000, &[&[1, 0, 0, 1, 1], &inner[..]].concat());
    assert_eq!(dissect_with(&ports, LinkType::RAW, &packet, packet.len() as u32).views().len(), 2);
    assert!(ports.iter().any(|(port, tunnel)| (port, tunnel) == (5000, UdpTunnel::Tzsp)));
}
