//! Community ID, version 1 (github.com/corelight/community-id-spec): the same short text for both directions of a flow, in
//! every tool that knows it.

use std::net::IpAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::digest;

use crate::text::Ascii;

/// A Community ID: `1:` and the base64 digits of a SHA-1, as `1:wCb3OG7yAFWelaUydu0D+125CLM=`.
pub type CommunityId = Ascii<30>;

const ICMP: u8 = 1;
const ICMPV6: u8 = 58;
/// Address, address, and eight bytes: the seed, the protocol, a pad, two ports.
const INPUT_BYTES_MAX: usize = 2 + 16 + 16 + 2 + 4;

/// Bytes of a SHA-1.
const SHA1_BYTES: usize = 20;

/// ICMP types whose messages answer each other.
const ICMP_PAIRS: &[(u16, u16)] = &[(8, 0), (13, 14), (15, 16), (17, 18), (10, 9)];
/// The same of ICMPv6.
const ICMPV6_PAIRS: &[(u16, u16)] = &[(128, 129), (130, 131), (133, 134), (135, 136), (139, 140), (144, 145)];

/// The ID of a flow: `seed` (0 unless several sites keep apart), the IP protocol, both addresses, and the ports from source
/// to destination. For ICMP and ICMPv6 the ports are the type and the code of a message; for protocols that have none,
/// `None`.
pub fn community_id(
    seed: u16,
    protocol: u8,
    source: IpAddr,
    destination: IpAddr,
    ports: Option<(u16, u16)>,
) -> CommunityId {
    let (ports, is_one_way) = match (protocol, ports) {
        (ICMP, Some(ports)) => icmp_ports(ICMP_PAIRS, ports),
        (ICMPV6, Some(ports)) => icmp_ports(ICMPV6_PAIRS, ports),
        (_, ports) => (ports, false),
    };
    let (from, to) = ports.unzip();
    let is_in_order = is_one_way || (source, from) <= (destination, to);
    let flow = if is_in_order { [source, destination] } else { [destination, source] };
    let ports = if is_in_order { [from, to] } else { [to, from] };
    let mut input = Vec::with_capacity(INPUT_BYTES_MAX);
    input.extend(seed.to_be_bytes());
    flow.iter().for_each(|address| push_address(&mut input, address));
    input.extend([protocol, 0]);
    ports.iter().flatten().for_each(|port| input.extend(port.to_be_bytes()));
    text(digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, &input).as_ref())
}

fn push_address(input: &mut Vec<u8>, address: &IpAddr) {
    match address {
        IpAddr::V4(address) => input.extend(address.octets()),
        IpAddr::V6(address) => input.extend(address.octets()),
    }
}

/// True if a text can be a Community ID of version 1.
pub fn is_community_id(text: &str) -> bool {
    let digest = text.strip_prefix("1:").and_then(|digits| STANDARD.decode(digits).ok());
    digest.is_some_and(|digest| digest.len() == SHA1_BYTES)
}

/// Substitutes for the ports of an ICMP message, and true if the flow is one-way: its type and that of its answer; for a type
/// without an answer, type and code, and true.
fn icmp_ports(pairs: &[(u16, u16)], (icmp_type, code): (u16, u16)) -> (Option<(u16, u16)>, bool) {
    let counterpart = pairs.iter().find_map(|&(a, b)| match icmp_type {
        _ if icmp_type == a => Some(b),
        _ if icmp_type == b => Some(a),
        _ => None,
    });
    (Some((icmp_type, counterpart.unwrap_or(code))), counterpart.is_none())
}

fn text(digest: &[u8]) -> CommunityId {
    let mut id = *b"1:0000000000000000000000000000";
    // A SHA-1 has 20 bytes, which are 28 digits.
    let _ = STANDARD.encode_slice(digest, &mut id[2..]);
    Ascii(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(seed: u16, protocol: u8, source: &str, destination: &str, ports: Option<(u16, u16)>) -> String {
        let address = |text: &str| text.parse().expect("an address");
        community_id(seed, protocol, address(source), address(destination), ports).to_string()
    }

    /// The baseline of the specification, seed 0.
    #[test]
    fn the_baseline_is_met() {
        #[rustfmt::skip]
        let baseline = [
            (58, "fe80::200:86ff:fe05:80da", "fe80::260:97ff:fe07:69ea", Some((135, 0)), "1:dGHyGvjMfljg6Bppwm3bg0LO8TY="),
            (58, "fe80::260:97ff:fe07:69ea", "fe80::200:86ff:fe05:80da", Some((136, 0)), "1:dGHyGvjMfljg6Bppwm3bg0LO8TY="),
            (58, "fe80::260:97ff:fe07:69ea", "fe80::200:86ff:fe05:80da", Some((135, 0)), "1:zavyT/cezQr1fmImYCwYnMXbgck="),
            (58, "fe80::200:86ff:fe05:80da", "fe80::260:97ff:fe07:69ea", Some((136, 0)), "1:zavyT/cezQr1fmImYCwYnMXbgck="),
            (58, "3ffe:501:1800:2345::2", "3ffe:507:0:1:200:86ff:fe05:80da", Some((3, 0)), "1:2ObVBgIn28oZvibYZhZMBgh7WdQ="),
            (58, "3ffe:501:410:0:2c0:dfff:fe47:33e", "3ffe:507:0:1:200:86ff:fe05:80da", Some((1, 4)), "1:hLZd0XGWojozrvxqE0dWB1iM6R0="),
            (58, "3ffe:507:0:1:200:86ff:fe05:80da", "3ffe:501:0:1001::2", Some((128, 0)), "1:+TW+HtLHvV1xnGhV1lv7XoJrqQg="),
            (58, "3ffe:501:0:1001::2", "3ffe:507:0:1:200:86ff:fe05:80da", Some((129, 0)), "1:+TW+HtLHvV1xnGhV1lv7XoJrqQg="),
            (58, "fe80::200:86ff:fe05:80da", "ff02::2", Some((133, 0)), "1:hO+sN4H+MG5MY/8hIrXPqc4ZQz0="),
            (58, "fe80::260:97ff:fe07:69ea", "ff02::1", Some((134, 0)), "1:pkvHqCL88/tg1k4cPigmZXUtL00="),
            (1, "192.168.0.89", "192.168.0.1", Some((8, 0)), "1:X0snYXpgwiv9TZtqg64sgzUn6Dk="),
            (1, "192.168.0.1", "192.168.0.89", Some((0, 0)), "1:X0snYXpgwiv9TZtqg64sgzUn6Dk="),
            (1, "10.0.0.1", "10.0.0.2", Some((11, 0)), "1:YHxtAirCG//0OzkcVAukqKQN9xM="),
            (6, "2001:470:e5bf:dead:4957:2174:e82c:4887", "2607:f8b0:400c:c03::1a", Some((63943, 25)), "1:/qFaeAR+gFe1KYjMzVDsMv+wgU4="),
            (6, "2607:f8b0:400c:c03::1a", "2001:470:e5bf:dead:4957:2174:e82c:4887", Some((25, 63943)), "1:/qFaeAR+gFe1KYjMzVDsMv+wgU4="),
            (132, "192.168.170.8", "192.168.170.56", Some((7, 7)), "1:MP2EtRCAUIZvTw6MxJHLV7N7JDs="),
            (132, "192.168.170.56", "192.168.170.8", Some((7, 7)), "1:MP2EtRCAUIZvTw6MxJHLV7N7JDs="),
            (6, "128.232.110.120", "66.35.250.204", Some((34855, 80)), "1:LQU9qZlK+B5F3KDmev6m5PMibrg="),
            (6, "66.35.250.204", "128.232.110.120", Some((80, 34855)), "1:LQU9qZlK+B5F3KDmev6m5PMibrg="),
            (17, "192.168.1.52", "8.8.8.8", Some((54585, 53)), "1:d/FP5EW3wiY1vCndhwleRRKHowQ="),
            (17, "8.8.8.8", "192.168.1.52", Some((53, 54585)), "1:d/FP5EW3wiY1vCndhwleRRKHowQ="),
            (46, "10.1.12.1", "10.1.12.2", None, "1:KHlLkgoJW7ifUTyTSgyVfkFHzKw="),
            (46, "10.1.12.2", "10.1.12.1", None, "1:KHlLkgoJW7ifUTyTSgyVfkFHzKw="),
        ];
        for (protocol, source, destination, ports, expected) in baseline {
            assert_eq!(
                id(0, protocol, source, destination, ports),
                expected,
                "{source} {destination} {ports:?}"
            );
        }
    }

    #[test]
    fn both_directions_between_the_same_addresses_are_one_flow_and_a_seed_makes_another() {
        let there = id(0, 6, "127.0.0.1", "127.0.0.1", Some((1000, 80)));
        assert_eq!(there, id(0, 6, "127.0.0.1", "127.0.0.1", Some((80, 1000))));
        assert_ne!(there, id(1, 6, "127.0.0.1", "127.0.0.1", Some((1000, 80))));
    }
}
