//! Random filter expressions about packets that there are: hosts, nets, ports, ranges, protocols, flags, lengths, byte
//! offsets, `not`, nested.

use fastrand::Rng;

use super::packets::Packet;

/// Primitives that need nothing from a packet.
const WORDS: &[&str] = &[
    "ip",
    "ip6",
    "arp",
    "rarp",
    "tcp",
    "udp",
    "icmp",
    "icmp6",
    "sctp",
    "igmp",
    "vlan",
    "mpls",
    "pppoes",
    "broadcast",
    "multicast",
    "ip multicast",
    "ip6 multicast",
    "ether broadcast",
    "ether multicast",
    "ip proto 47",
    "ip proto 50",
    "ip6 proto 58",
    "ether proto 0x88cc",
    "ether proto 0x8847",
    "stp",
    "llc",
    "iso",
    "ah",
    "esp",
    "pim",
    "vrrp",
    "tcp[tcpflags] & (tcp-syn|tcp-fin) != 0",
    "tcp[tcpflags] == tcp-syn",
    "tcp[13] & 0x10 != 0",
    "ip[6:2] & 0x1fff != 0",
    "ip[0] & 0xf != 5",
    "icmp[icmptype] == icmp-echo",
    "icmp[icmptype] != icmp-echoreply",
    "udp[4:2] > 100",
    "ip[2:2] - ((ip[0] & 0xf) << 2) > 100",
    "ip[8] < 64",
    "tcp[tcp[12] >> 2] != 0",
    "(tcp[12:1] & 0xf0) >> 2 > 20",
    "ether[0] & 1 == 0",
    "ip6[6] == 17",
    "ip[8] % 2 == 0",
    "len % 3 == 1",
    "len * 2 > 300",
    "len / 7 = 10",
    "len ^ 1 > 99",
    "geneve",
    "vlan and ip",
    "vlan and vlan",
    "mpls and ip",
    "ip protochain 6",
    "inbound",
    "outbound",
];

/// What the expressions are about: a sample of packets, and where their network headers probably stand.
pub struct About<'a> {
    packets: &'a [Packet],
    /// Bytes of the link-layer header, for the link type's usual packet.
    header_bytes: usize,
}

impl<'a> About<'a> {
    pub fn new(packets: &'a [Packet], link_type: u32) -> Self {
        let header_bytes = match link_type {
            0 | 108 => 4,
            1 => 14,
            9 => 2,
            113 => 16,
            276 => 20,
            _ => 0,
        };
        Self { packets, header_bytes }
    }

    /// A random expression.
    pub fn expression(&self, rng: &mut Rng) -> String {
        self.nested(rng, 3)
    }

    fn nested(&self, rng: &mut Rng, depth: u32) -> String {
        match rng.u32(..if depth == 0 { 5 } else { 10 }) {
            0..5 => self.primitive(rng),
            5 | 6 => format!("{} and {}", self.nested(rng, depth - 1), self.nested(rng, depth - 1)),
            7 => format!("({} or {})", self.nested(rng, depth - 1), self.nested(rng, depth - 1)),
            8 => format!("not {}", self.primitive(rng)),
            _ => format!("not ({})", self.nested(rng, depth - 1)),
        }
    }

    fn primitive(&self, rng: &mut Rng) -> String {
        match rng.u32(..12) {
            0..3 => WORDS[rng.usize(..WORDS.len())].to_owned(),
            3..6 => self.address(rng),
            6..8 => self.port(rng),
            8 => self.length(rng),
            9 => self.byte(rng),
            10 => self.mac(rng),
            _ => self.vlan(rng),
        }
    }

    fn packet(&self, rng: &mut Rng) -> &'a [u8] {
        if self.packets.is_empty() { &[] } else { &self.packets[rng.usize(..self.packets.len())].bytes }
    }

    /// The network header of a random packet, behind VLAN tags where there are any.
    fn network(&self, rng: &mut Rng) -> &'a [u8] {
        let packet = self.packet(rng);
        let mut at = self.header_bytes;
        while at >= 2
            && packet.get(at - 2..at).is_some_and(|kind| matches!(kind, [0x81, 0] | [0x88, 0xa8] | [0x91, 0]))
        {
            at += 4;
        }
        packet.get(at..).unwrap_or_default()
    }

    fn address(&self, rng: &mut Rng) -> String {
        let direction = ["", "src ", "dst ", "src or dst ", "src and dst "][rng.usize(..5)];
        let network = self.network(rng);
        let second = rng.bool();
        if network.first().is_some_and(|byte| byte >> 4 == 6)
            && let Some(address) = network.get(if second { 24..40 } else { 8..24 })
        {
            let address: [u8; 16] = address.try_into().expect("16 bytes");
            return ipv6(rng, direction, address);
        }
        let address: [u8; 4] = network
            .get(if second { 16..20 } else { 12..16 })
            .map_or([10, 0, 0, 1], |a| a.try_into().expect("4 bytes"));
        ipv4(rng, direction, u32::from_be_bytes(address))
    }

    fn port(&self, rng: &mut Rng) -> String {
        let network = self.network(rng);
        let transport = match network.first().map(|byte| byte >> 4) {
            Some(4) => usize::from(network[0] & 0xf) * 4,
            Some(6) => 40,
            _ => 0,
        };
        let at = transport + if rng.bool() { 2 } else { 0 };
        let port = network.get(at..at + 2).map_or(443, |bytes| u16::from_be_bytes([bytes[0], bytes[1]]));
        let protocol = ["", "", "tcp ", "udp ", "sctp "][rng.usize(..5)];
        let direction = ["", "src ", "dst "][rng.usize(..3)];
        if rng.u32(..3) == 0 {
            let (low, high) = (port.saturating_sub(rng.u16(..50)), port.saturating_add(rng.u16(..50)));
            return format!("{protocol}{direction}portrange {low}-{high}");
        }
        format!("{protocol}{direction}port {port}")
    }

    fn length(&self, rng: &mut Rng) -> String {
        let len =
            if self.packets.is_empty() { 60 } else { self.packets[rng.usize(..self.packets.len())].len };
        let len = len.saturating_add(rng.u32(..3)).saturating_sub(1);
        match rng.u32(..5) {
            0 => format!("greater {len}"),
            1 => format!("less {len}"),
            2 => format!("len = {len}"),
            3 => format!("len != {len}"),
            _ => format!("len > {len}"),
        }
    }

    fn byte(&self, rng: &mut Rng) -> String {
        let packet = self.packet(rng);
        let width = [1usize, 2, 4][rng.usize(..3)];
        let at = rng.usize(..packet.len().clamp(1, 80));
        let value =
            packet.get(at..at + width).unwrap_or_default().iter().fold(0u64, |n, &b| n << 8 | u64::from(b));
        let relation = ["=", "!=", ">", "<", ">=", "<="][rng.usize(..6)];
        match rng.u32(..3) {
            0 => format!("link[{at}:{width}] & 0xf0 {relation} {}", value & 0xf0),
            _ => format!("link[{at}:{width}] {relation} {value}"),
        }
    }

    fn mac(&self, rng: &mut Rng) -> String {
        let packet = self.packet(rng);
        let direction = ["host", "src", "dst"][rng.usize(..3)];
        let at = if rng.bool() { 6 } else { 0 };
        let mac = packet.get(at..at + 6).unwrap_or(&[2, 0, 0, 0, 0, 1]);
        let text: Vec<_> = mac.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("ether {direction} {}", text.join(":"))
    }

    fn vlan(&self, rng: &mut Rng) -> String {
        let packet = self.packet(rng);
        let id = packet.get(14..16).map_or(1, |tci| u16::from_be_bytes([tci[0], tci[1]]) & 0xfff);
        let rest = ["", "", " and ip", " and tcp", " and not udp"][rng.usize(..5)];
        format!("vlan {id}{rest}")
    }
}

fn ipv4(rng: &mut Rng, direction: &str, address: u32) -> String {
    let text = |address: u32| std::net::Ipv4Addr::from(address).to_string();
    match rng.u32(..5) {
        0 | 1 => format!("{direction}host {}", text(address)),
        2 => format!("ip {direction}host {}", text(address)),
        3 => {
            let bits = rng.u32(8..33);
            format!("{direction}net {}/{bits}", text(address & !(u32::MAX.checked_shr(bits).unwrap_or(0))))
        }
        _ => format!("{direction}net {} mask 255.255.255.0", text(address & !0xff)),
    }
}

fn ipv6(rng: &mut Rng, direction: &str, address: [u8; 16]) -> String {
    let address = u128::from_be_bytes(address);
    let text = |address: u128| std::net::Ipv6Addr::from(address).to_string();
    if rng.u32(..3) > 0 {
        return format!("{direction}host {}", text(address));
    }
    let bits = rng.u32(16..129);
    format!("ip6 {direction}net {}/{bits}", text(address & !(u128::MAX.checked_shr(bits).unwrap_or(0))))
}
