//! Random expressions of pcap-filter(7), many of them about a given packet.

use netrewind_store::LinkType;

use super::corpus;
use super::random::Random;
use crate::diagnosis::compile_checked;
use crate::sys::oracle::Oracle;
use crate::target::Optimize;
use crate::{FilterError, Instruction, Program, RawInstruction};

/// The same filter for us and for libpcap.
pub struct Filter {
    pub expression: String,
    pub program: Program,
    pub oracle: Oracle,
}

impl Filter {
    /// True if it reads scratch memory that it has not written, as libpcap's compiler lets it for some variable-length link
    /// headers. Old interpreters of libpcap then take what is on the stack; ours and new ones take zero.
    pub fn reads_unwritten_memory(&self) -> bool {
        let mut written = [false; crate::MEMORY_WORDS];
        self.program.instructions().iter().any(|instruction| match *instruction {
            Instruction::Store(slot) | Instruction::StoreIndex(slot) => {
                written[usize::from(slot)] = true;
                false
            }
            Instruction::LoadMemory(slot) | Instruction::IndexMemory(slot) => !written[usize::from(slot)],
            _ => false,
        })
    }
}

/// Compiles; none where the expression has no meaning for the link type.
pub fn filter(expression: &str, link_type: LinkType) -> Option<Filter> {
    let raw = raw(expression, link_type).ok()?;
    let program = Program::decode(link_type, &raw).expect("libpcap's programs decode");
    let oracle = Oracle::new(&raw).expect("libpcap's programs are valid");
    Some(Filter { expression: expression.to_owned(), program, oracle })
}

pub fn raw(expression: &str, link_type: LinkType) -> Result<Vec<RawInstruction>, FilterError> {
    crate::guard::check(expression)?;
    compile_checked(expression, link_type, Optimize::Yes)
}

/// The expressions of libpcap's own tests.
pub fn listed() -> Vec<String> {
    let Some(folder) = corpus::folder() else { return Vec::new() };
    let text = std::fs::read_to_string(folder.join("filters.txt")).expect("filters.txt");
    text.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

/// A random expression, with values of the packet as often as others.
pub fn random(random: &mut Random, packet: &[u8]) -> String {
    combination(random, packet, 3)
}

fn combination(random: &mut Random, packet: &[u8], depth: usize) -> String {
    if depth == 0 || random.one_in(3) {
        return primitive(random, packet);
    }
    let left = combination(random, packet, depth - 1);
    match random.below(5) {
        0 | 1 => format!("({left}) or ({})", combination(random, packet, depth - 1)),
        2 | 3 => format!("({left}) and ({})", combination(random, packet, depth - 1)),
        _ => format!("not ({left})"),
    }
}

fn primitive(random: &mut Random, packet: &[u8]) -> String {
    const PROTOCOLS: [&str; 16] = [
        "ip",
        "ip6",
        "arp",
        "tcp",
        "udp",
        "icmp",
        "icmp6",
        "sctp",
        "vlan",
        "mpls",
        "pppoes",
        "igmp",
        "ip multicast",
        "ether broadcast",
        "ip6 multicast",
        "rarp",
    ];
    const FIELDS: [&str; 8] = ["tcp", "udp", "ip", "ether", "icmp", "ip6", "sctp", "arp"];
    const RELATIONS: [&str; 6] = ["=", "!=", ">", "<", ">=", "<="];
    const OPERATORS: [&str; 10] = ["+", "-", "*", "/", "%", "&", "|", "^", "<<", ">>"];
    let direction = *random.pick(&["", "src ", "dst ", "src or dst ", "src and dst "]);
    let transport = *random.pick(&["", "tcp ", "udp "]);
    match random.below(18) {
        0..=2 => format!("{direction}host {}", address(random, packet)),
        3 => format!("{direction}host {}", address6(random, packet)),
        4 => format!(
            "{direction}net {}/{}",
            address6(random, packet),
            random.pick(&[0, 1, 16, 32, 48, 63, 64, 65, 127])
        ),
        5 | 6 => {
            let bits = random.below(33) as u32;
            let [a, b, c, d] = address_bytes(random, packet);
            let net = u32::from_be_bytes([a, b, c, d]) & u32::MAX.checked_shl(32 - bits).unwrap_or(0);
            format!("{direction}net {}/{bits}", std::net::Ipv4Addr::from(net))
        }
        7..=9 => format!("{transport}{direction}port {}", port(random, packet)),
        10 => {
            let low = port(random, packet).saturating_sub(random.below(50) as u16);
            format!("{transport}{direction}portrange {low}-{}", low.saturating_add(random.below(200) as u16))
        }
        11 => format!("{} {}", random.pick(&["less", "greater"]), random.below(1600)),
        12 => format!("tcp[tcpflags] & (tcp-{}|tcp-{}) != 0", flag(random), flag(random)),
        13 => {
            let (field, width) = (random.pick(&FIELDS), random.pick(&[1, 2, 4]));
            let masked = if random.one_in(2) { format!(" & {:#x}", random.word()) } else { String::new() };
            format!(
                "{field}[{}:{width}]{masked} {} {}",
                random.below(24),
                random.pick(&RELATIONS),
                value(random, packet)
            )
        }
        14 => {
            let (field, operator) = (random.pick(&FIELDS), random.pick(&OPERATORS));
            let right = random.pick(&["3", "len", "ip[0]", "(ip[0] & 0xf)", "tcp[12]", "8", "1"]);
            format!(
                "{field}[{}] {operator} {right} {} {}",
                random.below(20),
                random.pick(&RELATIONS),
                random.below(300)
            )
        }
        15 => format!("len {} {}", random.pick(&RELATIONS), random.below(1600)),
        16 => match random.below(5) {
            0 => format!("vlan {}", random.below(10)),
            1 => format!("ip proto {}", random.pick(&[1, 6, 17, 47, 50, 132])),
            2 => format!("ip6 protochain {}", random.pick(&[6, 17, 58])),
            3 => format!("ether host {}", mac(random, packet)),
            _ => format!("ether proto {:#x}", random.pick(&[0x800, 0x806, 0x86dd, 0x8847, 0x88cc])),
        },
        _ => (*random.pick(&PROTOCOLS)).to_owned(),
    }
}

fn flag(random: &mut Random) -> &'static str {
    ["fin", "syn", "rst", "push", "ack", "urg"][random.below(6)]
}

fn bytes_of<const COUNT: usize>(random: &mut Random, packet: &[u8], usual: &[usize]) -> [u8; COUNT] {
    let offset = if random.one_in(4) { random.below(packet.len()) } else { *random.pick(usual) };
    match packet.get(offset..).and_then(|rest| rest.first_chunk::<COUNT>()) {
        Some(bytes) if !random.one_in(6) => *bytes,
        _ => std::array::from_fn(|_| random.byte()),
    }
}

fn address_bytes(random: &mut Random, packet: &[u8]) -> [u8; 4] {
    bytes_of(random, packet, &[26, 30, 12, 16, 28, 32])
}

fn address(random: &mut Random, packet: &[u8]) -> String {
    std::net::Ipv4Addr::from(address_bytes(random, packet)).to_string()
}

fn address6(random: &mut Random, packet: &[u8]) -> String {
    std::net::Ipv6Addr::from(bytes_of::<16>(random, packet, &[22, 38, 8, 24])).to_string()
}

fn port(random: &mut Random, packet: &[u8]) -> u16 {
    u16::from_be_bytes(bytes_of(random, packet, &[34, 36, 54, 56, 20, 22]))
}

fn value(random: &mut Random, packet: &[u8]) -> u32 {
    match random.below(3) {
        0 => u32::from(bytes_of::<1>(random, packet, &[23, 47, 14])[0]),
        1 => u32::from(port(random, packet)),
        _ => u32::from_be_bytes(address_bytes(random, packet)),
    }
}

fn mac(random: &mut Random, packet: &[u8]) -> String {
    let bytes: [u8; 6] = bytes_of(random, packet, &[0, 6]);
    bytes.map(|byte| format!("{byte:02x}")).join(":")
}
