//! Packets in tunnels, nested at random, with the views that they are known to have.

use netrewind_packet::tunnel::TunnelKind;
use netrewind_store::LinkType;

pub use crate::chance::Chance;
use crate::headers::{ethernet_header, ip};

/// A view that a packet has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    pub offset: usize,
    pub link_type: LinkType,
    pub len: usize,
    /// It is only seen where its network header was captured, too.
    pub is_guessed: bool,
}

/// A packet that begins with Ethernet or IP.
#[derive(Clone, Debug)]
pub struct Packet {
    pub bytes: Vec<u8>,
    pub views: Vec<Expected>,
    pub tunnels: Vec<(TunnelKind, Option<u32>)>,
}

impl Packet {
    fn is_ethernet(&self) -> bool {
        self.views[0].link_type == LinkType::ETHERNET
    }

    /// Only such a frame is recognised where nothing announces Ethernet.
    fn is_ip_in_ethernet(&self) -> bool {
        let mut at = 12;
        while self.bytes[at..at + 2] == [0x81, 0] {
            at += 4;
        }
        matches!(self.bytes[at..at + 2], [0x08, 0x00] | [0x86, 0xdd])
    }

    fn is_ipv4(&self) -> bool {
        self.bytes[0] >> 4 == 4
    }

    fn ethertype(&self) -> u16 {
        if self.is_ipv4() { 0x0800 } else { 0x86dd }
    }

    /// Puts a header in front that is part of the same view.
    fn extend(mut self, header: &[u8], link_type: LinkType) -> Self {
        self.bytes.splice(0..0, header.iter().copied());
        self.views.iter_mut().skip(1).for_each(|view| view.offset += header.len());
        self.views[0] = Expected { offset: 0, link_type, len: self.bytes.len(), is_guessed: false };
        self
    }

    /// Puts the headers of a tunnel in front.
    fn tunnel(mut self, header: &[u8], kind: TunnelKind, id: Option<u32>) -> Tunnelled {
        self.bytes.splice(0..0, header.iter().copied());
        self.views.iter_mut().for_each(|view| view.offset += header.len());
        self.tunnels.insert(0, (kind, id));
        Tunnelled(self)
    }
}

/// Contents of a header that carries a tunnel: it has no view of its own yet.
struct Tunnelled(Packet);

impl Tunnelled {
    /// Another header of the tunnel.
    fn then(self, header: &[u8], kind: TunnelKind, id: Option<u32>) -> Self {
        self.0.tunnel(header, kind, id)
    }

    /// A header that is no tunnel.
    fn plain(mut self, header: &[u8]) -> Self {
        self.0.bytes.splice(0..0, header.iter().copied());
        self.0.views.iter_mut().for_each(|view| view.offset += header.len());
        self
    }

    fn len(&self) -> usize {
        self.0.bytes.len()
    }

    /// The whole becomes the outermost view.
    fn view(mut self, link_type: LinkType) -> Packet {
        let len = self.0.bytes.len();
        self.0.views.insert(0, Expected { offset: 0, link_type, len, is_guessed: false });
        self.0
    }

    fn guessed(mut self) -> Self {
        self.0.views[0].is_guessed = true;
        self
    }
}

/// A packet in up to `depth` tunnels, in Ethernet.
pub fn packet(chance: &mut Chance, depth: usize) -> Packet {
    let mut packet = innermost(chance);
    for _ in 0..chance.below(depth as u64 + 1) {
        packet = wrap(chance, packet);
    }
    match packet.is_ethernet() {
        true => packet,
        false => in_ethernet(chance, packet),
    }
}

fn innermost(chance: &mut Chance) -> Packet {
    let payload_bytes = chance.varying(200);
    let payload = chance.bytes(payload_bytes);
    let mut transport = vec![0x9c, 0x40 | chance.below(64) as u8, 0, 80];
    let protocol = match chance.below(3) {
        0 => {
            transport.extend([0, 0, 0, 1, 0, 0, 0, 2, 0x50, chance.varying(64) as u8, 1, 0, 0, 0, 0, 0]);
            6
        }
        1 => {
            transport.extend(((8 + payload_bytes) as u16).to_be_bytes());
            transport.extend([0, 0]);
            17
        }
        _ => {
            transport = vec![8, 0, 0, 0, 0, 1, 0, 2];
            1
        }
    };
    transport.extend(payload);
    let bytes = ip(chance, protocol, &transport);
    let view = Expected { offset: 0, link_type: LinkType::RAW, len: bytes.len(), is_guessed: false };
    let packet = Packet { bytes, views: vec![view], tunnels: Vec::new() };
    if chance.one_in(2) { in_ethernet(chance, packet) } else { packet }
}

fn wrap(chance: &mut Chance, packet: Packet) -> Packet {
    let carried = match packet.is_ethernet() {
        true => carry_ethernet(chance, packet),
        false => carry_ip(chance, packet),
    };
    match carried {
        Carried::Ip(protocol, payload) => {
            let header_first = ip(chance, protocol, &payload.0.bytes);
            let header = header_first[..header_first.len() - payload.len()].to_vec();
            payload.plain(&header).view(LinkType::RAW)
        }
        Carried::Ethernet(ethertype, payload) => {
            let header = ethernet_header(chance, ethertype);
            payload.plain(&header).view(LinkType::ETHERNET)
        }
    }
}

/// Carrier of a tunnel: IP with a protocol, or Ethernet with a type.
enum Carried {
    Ip(u8, Tunnelled),
    Ethernet(u16, Tunnelled),
}

fn carry_ethernet(chance: &mut Chance, packet: Packet) -> Carried {
    let vni = chance.next() as u32 & 0xff_ffff;
    let vni_bytes = (vni << 8).to_be_bytes();
    match chance.below(13) {
        0 => gre(chance, packet, 0x6558),
        1 => erspan(chance, packet),
        2 => {
            let header = [&[0x08, 0, 0, 0], &vni_bytes[..]].concat();
            let port = [4789, 8472][chance.below(2)];
            udp(chance, port, packet.tunnel(&header, TunnelKind::Vxlan, Some(vni)))
        }
        3 => {
            let header = [&[0x0c, 0, 0, 3], &vni_bytes[..]].concat();
            udp(chance, 4790, packet.tunnel(&header, TunnelKind::VxlanGpe, Some(vni)))
        }
        4 => geneve(chance, packet, 0x6558),
        5 => {
            let nsh = nsh_header(chance, 3);
            let tunnelled = packet.tunnel(&nsh.0, TunnelKind::Nsh, Some(nsh.1));
            match chance.below(3) {
                0 => Carried::Ethernet(0x894f, tunnelled),
                1 => {
                    let header = [&[0x0c, 0, 0, 4], &vni_bytes[..]].concat();
                    udp(chance, 4790, tunnelled.then(&header, TunnelKind::VxlanGpe, Some(vni)))
                }
                _ => gre_of(chance, tunnelled, 0x894f),
            }
        }
        6 => Carried::Ip(97, packet.tunnel(&[0x30, 0], TunnelKind::EtherIp, None)),
        7 if packet.is_ip_in_ethernet() => {
            let control_word = if chance.one_in(2) { [0, 0, 0, 7].as_slice() } else { &[] };
            let mut frame = packet;
            frame.bytes[0] &= 0x0c;
            let tunnelled = Tunnelled(frame).guessed().plain(control_word);
            mpls(chance, tunnelled)
        }
        8 if packet.is_ip_in_ethernet() => {
            let session = (chance.next() as u32).max(1);
            let cookie_bytes = [0, 4, 8, 12][chance.below(4)];
            let mut header = session.to_be_bytes().to_vec();
            header.extend(vec![0xee; cookie_bytes]);
            let tunnelled = packet.tunnel(&header, TunnelKind::L2tp3, Some(session)).guessed();
            match chance.one_in(2) {
                true => Carried::Ip(115, tunnelled),
                false => udp(chance, 1701, tunnelled.plain(&[0, 3, 0, 0])),
            }
        }
        11 => tzsp(chance, packet),
        12 => eoip(chance, packet),
        _ => gre(chance, packet, 0x6558),
    }
}

fn carry_ip(chance: &mut Chance, packet: Packet) -> Carried {
    let ethertype = packet.ethertype();
    let is_ipv4 = packet.is_ipv4();
    let ppp = if is_ipv4 { [0, 0x21] } else { [0, 0x57] };
    match chance.below(12) {
        0 => gre(chance, packet, ethertype),
        11 if is_ipv4 => {
            let header = if chance.one_in(2) { vec![1, 2, 3, 4] } else { Vec::new() };
            gre_of(chance, packet.tunnel(&header, TunnelKind::Wccp, None), 0x883e)
        }
        1 => pptp(chance, packet, ppp),
        2 => geneve(chance, packet, ethertype),
        3 => {
            let next = if is_ipv4 { 1 } else { 2 };
            let vni = chance.next() as u32 & 0xff_ffff;
            let header = [&[0x0c, 0, 0, next], &(vni << 8).to_be_bytes()[..]].concat();
            udp(chance, 4790, packet.tunnel(&header, TunnelKind::VxlanGpe, Some(vni)))
        }
        4 => {
            let nsh = nsh_header(chance, if is_ipv4 { 1 } else { 2 });
            Carried::Ethernet(0x894f, packet.tunnel(&nsh.0, TunnelKind::Nsh, Some(nsh.1)))
        }
        5 | 6 => gtp(chance, packet),
        7 => mpls(chance, Tunnelled(packet)),
        8 => pppoe(chance, packet, ppp),
        9 if !is_ipv4 => teredo(chance, packet),
        9 => l2tp2(chance, packet, ppp),
        _ => Carried::Ip(if is_ipv4 { 4 } else { 41 }, packet.tunnel(&[], TunnelKind::IpInIp, None)),
    }
}

fn gre(chance: &mut Chance, packet: Packet, protocol: u16) -> Carried {
    gre_of(chance, Tunnelled(packet), protocol)
}

fn gre_of(chance: &mut Chance, inner: Tunnelled, protocol: u16) -> Carried {
    let (has_checksum, has_key, has_sequence) = (chance.one_in(3), chance.one_in(2), chance.one_in(3));
    let key = chance.next() as u32;
    let mut header =
        vec![u8::from(has_checksum) << 7 | u8::from(has_key) << 5 | u8::from(has_sequence) << 4, 0];
    header.extend(protocol.to_be_bytes());
    if has_checksum {
        header.extend(chance.bytes(4));
    }
    if has_key {
        header.extend(key.to_be_bytes());
    }
    if has_sequence {
        header.extend(chance.bytes(4));
    }
    Carried::Ip(47, inner.then(&header, TunnelKind::Gre, has_key.then_some(key)))
}

fn erspan(chance: &mut Chance, packet: Packet) -> Carried {
    let session = chance.below(1024) as u32;
    let session_bytes = (session as u16 | (chance.varying(8) as u16) << 13).to_be_bytes();
    let sequence = chance.bytes(4);
    let gre_with_sequence = |protocol: [u8; 2]| [&[0x10, 0], &protocol[..], &sequence].concat();
    let (tunnelled, gre) = match chance.below(3) {
        0 => (packet.tunnel(&[], TunnelKind::Erspan1, None), vec![0, 0, 0x88, 0xbe]),
        1 => {
            let header = [&[0x10, 5], &session_bytes[..], &chance.bytes(4)].concat();
            (packet.tunnel(&header, TunnelKind::Erspan2, Some(session)), gre_with_sequence([0x88, 0xbe]))
        }
        _ => {
            let has_platform_header = chance.one_in(2);
            let last = [chance.varying(2) as u8 * 0x80, u8::from(has_platform_header)];
            let mut header = [&[0x20, 5], &session_bytes[..], &chance.bytes(6), &last].concat();
            if has_platform_header {
                header.extend(chance.bytes(8));
            }
            (packet.tunnel(&header, TunnelKind::Erspan3, Some(session)), gre_with_sequence([0x22, 0xeb]))
        }
    };
    Carried::Ip(47, tunnelled.then(&gre, TunnelKind::Gre, None))
}

fn pptp(chance: &mut Chance, packet: Packet, ppp: [u8; 2]) -> Carried {
    let call = chance.next() as u16;
    let has_acknowledgement = chance.one_in(2);
    let ppp = if chance.one_in(2) { vec![0xff, 0x03, ppp[0], ppp[1]] } else { ppp.to_vec() };
    let inner = Tunnelled(packet).plain(&ppp);
    let mut header = vec![0x30, 0x01 | u8::from(has_acknowledgement) << 7, 0x88, 0x0b];
    header.extend((inner.len() as u16).to_be_bytes());
    header.extend(call.to_be_bytes());
    header.extend(chance.bytes(if has_acknowledgement { 8 } else { 4 }));
    Carried::Ip(47, inner.then(&header, TunnelKind::Pptp, Some(call.into())))
}

/// Length and tunnel in the place of the key, of which the tunnel is little endian.
fn eoip(chance: &mut Chance, packet: Packet) -> Carried {
    let tunnel = chance.next() as u16;
    let mut header = vec![0x20, 0x01, 0x64, 0x00];
    header.extend((packet.bytes.len() as u16).to_be_bytes());
    header.extend(tunnel.to_le_bytes());
    Carried::Ip(47, packet.tunnel(&header, TunnelKind::Eoip, Some(tunnel.into())))
}

/// Tagged fields with signal strength and time stamp, padding, and the end.
fn tzsp(chance: &mut Chance, packet: Packet) -> Carried {
    let mut header = vec![1, chance.below(2) as u8, 0, 1];
    if chance.one_in(2) {
        header.extend([0x0a, 1, chance.varying(256) as u8, 0x0d, 4]);
        header.extend(chance.bytes(4));
        header.extend([0, 0]);
    }
    header.push(1);
    udp(chance, 37008, packet.tunnel(&header, TunnelKind::Tzsp, None))
}

fn geneve(chance: &mut Chance, packet: Packet, protocol: u16) -> Carried {
    let option_words = chance.below(6);
    let vni = chance.next() as u32 & 0xff_ffff;
    let mut header = vec![option_words as u8, 0];
    header.extend(protocol.to_be_bytes());
    header.extend((vni << 8).to_be_bytes());
    header.extend(chance.bytes(option_words * 4));
    udp(chance, 6081, packet.tunnel(&header, TunnelKind::Geneve, Some(vni)))
}

fn nsh_header(chance: &mut Chance, next: u8) -> (Vec<u8>, u32) {
    let path = chance.next() as u32 & 0xff_ffff;
    let words = 2 + chance.below(5);
    let mut header = vec![chance.varying(16) as u8, (chance.varying(4) << 6 | words) as u8, 1, next];
    header.extend((path << 8 | 255).to_be_bytes());
    header.extend(chance.bytes((words - 2) * 4));
    (header, path)
}

fn gtp(chance: &mut Chance, packet: Packet) -> Carried {
    let teid = chance.next() as u32;
    let flags = chance.below(8) as u8;
    let mut optional = Vec::new();
    if flags != 0 {
        optional.extend(chance.bytes(3));
        optional.push(if flags & 4 != 0 { 0x85 } else { 0 });
    }
    if flags & 4 != 0 {
        let words = 1 + chance.below(3);
        optional.push(words as u8);
        optional.extend(chance.bytes(words * 4 - 2));
        optional.push(0);
    }
    let mut header = vec![0x30 | flags, 255];
    header.extend(((optional.len() + packet.bytes.len()) as u16).to_be_bytes());
    header.extend(teid.to_be_bytes());
    header.extend(optional);
    udp(chance, 2152, packet.tunnel(&header, TunnelKind::GtpU, Some(teid)))
}

fn mpls(chance: &mut Chance, inner: Tunnelled) -> Carried {
    let mut stack = inner;
    let has_entropy_label = chance.one_in(4);
    if has_entropy_label {
        let entry = (chance.varying(1 << 20) as u32) << 12 | 0x100;
        stack = stack.plain(&entry.to_be_bytes());
        stack = stack.then(&(7u32 << 12 | 64).to_be_bytes(), TunnelKind::Mpls, Some(7));
    }
    for depth in usize::from(has_entropy_label)..1 + chance.below(4) {
        let label = 16 + chance.below((1 << 20) - 16) as u32;
        let entry = label << 12
            | (chance.varying(8) as u32) << 9
            | u32::from(depth == 0) << 8
            | chance.varying(256) as u32;
        stack = stack.then(&entry.to_be_bytes(), TunnelKind::Mpls, Some(label));
    }
    match chance.below(4) {
        0 => udp(chance, 6635, stack.guessed()),
        1 => gre_of(chance, stack, 0x8847),
        2 => Carried::Ip(137, stack),
        _ => Carried::Ethernet(0x8847, stack),
    }
}

fn pppoe(chance: &mut Chance, packet: Packet, ppp: [u8; 2]) -> Carried {
    let session = chance.next() as u16;
    let mut header = vec![0x11, 0];
    header.extend(session.to_be_bytes());
    header.extend((packet.bytes.len() as u16 + 2).to_be_bytes());
    header.extend(ppp);
    Carried::Ethernet(0x8864, packet.tunnel(&header, TunnelKind::PppoE, Some(session.into())))
}

fn teredo(chance: &mut Chance, packet: Packet) -> Carried {
    let mut header = Vec::new();
    if chance.one_in(2) {
        header.extend([0, 1, 2, 3]);
        header.extend(chance.bytes(2 + 3 + 9));
    }
    if chance.one_in(2) {
        header.extend([0, 0]);
        header.extend(chance.bytes(6));
    }
    udp(chance, 3544, packet.tunnel(&header, TunnelKind::Teredo, None))
}

fn l2tp2(chance: &mut Chance, packet: Packet, ppp: [u8; 2]) -> Carried {
    let id = chance.next() as u32;
    let (has_length, has_sequence, has_offset) = (chance.one_in(2), chance.one_in(2), chance.one_in(2));
    let mut rest = id.to_be_bytes().to_vec();
    if has_sequence {
        rest.extend(chance.bytes(4));
    }
    if has_offset {
        rest.extend([0, 3, 0xee, 0xee, 0xee]);
    }
    rest.extend([0xff, 0x03]);
    rest.extend(ppp);
    let flags = u8::from(has_length) << 6 | u8::from(has_sequence) << 3 | u8::from(has_offset) << 1;
    let mut header = vec![flags, 2];
    if has_length {
        header.extend(((4 + rest.len() + packet.bytes.len()) as u16).to_be_bytes());
    }
    header.extend(rest);
    udp(chance, 1701, packet.tunnel(&header, TunnelKind::L2tp2, Some(id)))
}

fn udp(chance: &mut Chance, port: u16, payload: Tunnelled) -> Carried {
    let source = if [3544, 1701].contains(&port) { 50000 } else { 0xc000 | chance.varying(0x4000) as u16 };
    let mut header = source.to_be_bytes().to_vec();
    header.extend(port.to_be_bytes());
    header.extend(((8 + payload.len()) as u16).to_be_bytes());
    header.extend(chance.bytes(2));
    Carried::Ip(17, payload.plain(&header))
}

/// An IP packet in Ethernet, padded to the shortest frame.
fn in_ethernet(chance: &mut Chance, packet: Packet) -> Packet {
    const FRAME_BYTES_MIN: usize = 60;
    let header = ethernet_header(chance, packet.ethertype());
    let mut frame = packet.extend(&header, LinkType::ETHERNET);
    let padded_bytes = frame.bytes.len().max(FRAME_BYTES_MIN);
    frame.bytes.resize(padded_bytes, 0);
    frame.views[0].len = padded_bytes;
    frame
}
