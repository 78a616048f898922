//! The tokens of an expression, by the rules of libpcap's scanner (`scanner.l`): the longest match counts, and of equally
//! long ones the earlier rule.

use std::ops::Range;

/// Kind of token, as far as names and places need it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TokenKind {
    /// A word of the language.
    Keyword,
    /// A number or a named constant such as `tcp-syn`.
    Number,
    /// IPv4 (whole or the beginning of one), IPv6, Ethernet or ARCnet address.
    Address,
    /// Any other word: a host, a network, a service, a protocol, a range of ports. Also `\word`.
    Name,
    /// An operator or a parenthesis.
    Sign,
    /// A character that the language does not have.
    Invalid,
}

/// A token and its bytes in the expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FilterToken {
    pub kind: TokenKind,
    pub span: Range<usize>,
}

/// The words of the language (libpcap 1.10). A word that is missing here would be taken for a name and refused where
/// names are looked up; one too many would let a name pass, so words of later versions must wait.
const KEYWORDS: &str = "dst src link ether ppp slip fddi tr wlan arp rarp ip sctp tcp udp icmp igmp igrp pim vrrp carp \
    radio ip6 icmp6 ah esp atalk aarp decnet lat sca moprc mopdl iso esis es-is isis is-is l1 l2 iih lsp snp csnp psnp \
    clnp stp ipx netbeui host net mask port portrange proto protochain gateway type subtype direction dir address1 addr1 \
    address2 addr2 address3 addr3 address4 addr4 ra ta less greater byte broadcast multicast and or not len length \
    inbound outbound ifindex vlan mpls pppoed pppoes geneve lane llc metac bcc oam oamf4 oamf4ec oamf4sc sc ilmic vpi \
    vci connectmsg metaconnect on ifname rset ruleset rnr rulenum srnr subrulenum reason action fisu lssu lsu msu hfisu \
    hlssu hmsu sio opc dpc sls hsio hopc hdpc hsls";

/// The named constants: field offsets, ICMP types, TCP flags.
const CONSTANTS: &str = "icmptype icmpcode icmp-echoreply icmp-unreach icmp-sourcequench icmp-redirect icmp-echo \
    icmp-routeradvert icmp-routersolicit icmp-timxceed icmp-paramprob icmp-tstamp icmp-tstampreply icmp-ireq \
    icmp-ireqreply icmp-maskreq icmp-maskreply icmp6type icmp6code icmp6-destinationunreach icmp6-packettoobig \
    icmp6-timeexceeded icmp6-parameterproblem icmp6-echo icmp6-echoreply icmp6-multicastlistenerquery \
    icmp6-multicastlistenerreportv1 icmp6-multicastlistenerdone icmp6-routersolicit icmp6-routeradvert \
    icmp6-neighborsolicit icmp6-neighboradvert icmp6-redirect icmp6-routerrenum icmp6-nodeinformationquery \
    icmp6-nodeinformationresponse icmp6-ineighbordiscoverysolicit icmp6-ineighbordiscoveryadvert \
    icmp6-multicastlistenerreportv2 icmp6-homeagentdiscoveryrequest icmp6-homeagentdiscoveryreply \
    icmp6-mobileprefixsolicit icmp6-mobileprefixadvert icmp6-certpathsolicit icmp6-certpathadvert \
    icmp6-multicastrouteradvert icmp6-multicastroutersolicit icmp6-multicastrouterterm tcpflags tcp-fin tcp-syn tcp-rst \
    tcp-push tcp-ack tcp-urg tcp-ece tcp-cwr";

/// The longest address in characters: eight groups of four digits, six of them and a dotted quad of long numbers.
const ADDRESS_CHARS_MAX: usize = 128;

/// All tokens of an expression.
pub(super) fn tokens(expression: &str) -> Vec<FilterToken> {
    let bytes = expression.as_bytes();
    let mut tokens = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        if matches!(bytes[at], b' ' | b'\t' | b'\r' | b'\n') {
            at += 1;
            continue;
        }
        let (kind, length) = longest(&expression[at..]);
        tokens.push(FilterToken { kind, span: at..at + length });
        at += length;
    }
    tokens
}

/// The token at the beginning of a text that is not empty.
fn longest(text: &str) -> (TokenKind, usize) {
    let word = word_length(text.as_bytes());
    let candidates = [
        (TokenKind::Keyword, if is_listed(KEYWORDS, &text[..word]) { word } else { 0 }),
        (TokenKind::Sign, sign_length(text)),
        (TokenKind::Address, address_length(text)),
        (TokenKind::Number, number_length(text.as_bytes())),
        (TokenKind::Number, if is_listed(CONSTANTS, &text[..word]) { word } else { 0 }),
        (TokenKind::Name, word.max(escaped_length(text.as_bytes()))),
    ];
    let length = candidates.iter().map(|(_, length)| *length).max().unwrap_or(0);
    match candidates.into_iter().find(|(_, candidate)| *candidate == length) {
        Some(token) if length > 0 => token,
        _ => (TokenKind::Invalid, text.chars().next().map_or(1, char::len_utf8)),
    }
}

/// True if a word belongs to the language: a keyword or a named constant.
pub(super) fn is_word_of_the_language(word: &str) -> bool {
    is_listed(KEYWORDS, word) || is_listed(CONSTANTS, word)
}

fn is_listed(list: &str, word: &str) -> bool {
    list.split_ascii_whitespace().any(|listed| listed == word)
}

/// Letters, digits, dots, and between them also dashes and underscores.
fn word_length(bytes: &[u8]) -> usize {
    if !bytes.first().is_some_and(u8::is_ascii_alphanumeric) {
        return 0;
    }
    let inner = |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let run = bytes.iter().take_while(inner).count();
    // The first character may stand alone; a longer word ends in a letter, a digit or a dot.
    bytes[..run]
        .iter()
        .rposition(|byte| byte.is_ascii_alphanumeric() || *byte == b'.')
        .map_or(1, |last| last + 1)
}

fn escaped_length(bytes: &[u8]) -> usize {
    if bytes.first() != Some(&b'\\') {
        return 0;
    }
    let escaped =
        bytes[1..].iter().take_while(|byte| !matches!(byte, b' ' | b'!' | b'(' | b')' | b'\n' | b'\t'));
    match escaped.count() {
        0 => 0,
        count => count + 1,
    }
}

fn sign_length(text: &str) -> usize {
    const DOUBLE: [&str; 8] = [">=", "<=", "!=", "==", "<<", ">>", "&&", "||"];
    if DOUBLE.iter().any(|sign| text.starts_with(sign)) {
        return 2;
    }
    usize::from(text.starts_with(|c: char| "+-*/%:[]!<>()&|^=".contains(c)))
}

fn number_length(bytes: &[u8]) -> usize {
    let hex = match bytes {
        [b'0', b'x' | b'X', digits @ ..] => digits.iter().take_while(|byte| byte.is_ascii_hexdigit()).count(),
        _ => 0,
    };
    if hex > 0 { hex + 2 } else { bytes.iter().take_while(|byte| byte.is_ascii_digit()).count() }
}

fn address_length(text: &str) -> usize {
    if let Some(arcnet) = text.strip_prefix('$') {
        return match arcnet.bytes().take(2).take_while(u8::is_ascii_hexdigit).count() {
            0 => 0,
            digits => digits + 1,
        };
    }
    let inner = |byte: &u8| byte.is_ascii_hexdigit() || matches!(byte, b'x' | b'X' | b':' | b'.' | b'-');
    let run = text.bytes().take(ADDRESS_CHARS_MAX).take_while(inner).count();
    (1..=run).rev().find(|length| is_address(&text[..*length])).unwrap_or(0)
}

fn is_address(text: &str) -> bool {
    is_ipv4(text) || is_ethernet(text) || is_ipv6(text) || is_broken_ethernet(text)
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && number_length(text.as_bytes()) == text.len()
}

fn is_hex(text: &str, digits: std::ops::RangeInclusive<usize>) -> bool {
    digits.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Two to four numbers with dots between them.
fn is_ipv4(text: &str) -> bool {
    (2..=4).contains(&text.split('.').count()) && text.split('.').all(is_number)
}

fn is_ethernet(text: &str) -> bool {
    let six = |separator| {
        text.split(separator).count() == 6 && text.split(separator).all(|byte| is_hex(byte, 1..=2))
    };
    let three = text.split('.').count() == 3 && text.split('.').all(|group| is_hex(group, 4..=4));
    six(':') || six('-') || six('.') || three || is_hex(text, 12..=12)
}

fn is_ipv6(text: &str) -> bool {
    // A dotted quad at the end stands for two groups.
    let (groups, quad) = match text.rsplit_once(':') {
        Some((groups, quad)) if is_ipv4(quad) && quad.split('.').count() == 4 => (groups, true),
        _ => (text, false),
    };
    let count = |groups: &str| {
        if groups.is_empty() {
            return Some(0);
        }
        groups.split(':').all(|group| is_hex(group, 1..=4)).then(|| groups.split(':').count())
    };
    let room = if quad { 6 } else { 8 };
    let double = match groups.strip_suffix(':') {
        // With a quad directly behind it, the double colon has lost its second one above.
        Some(left) if quad => Some((left, "")),
        _ => groups.split_once("::"),
    };
    match double {
        Some((left, right)) => count(left).zip(count(right)).is_some_and(|(left, right)| left + right < room),
        None => count(groups) == Some(room),
    }
}

/// Three or more bytes with colons behind each: the scanner's rule for Ethernet addresses that went wrong.
fn is_broken_ethernet(text: &str) -> bool {
    let Some(bytes) = text.strip_suffix(':') else { return false };
    let groups = || bytes.split(':').filter(|group| !group.is_empty());
    !bytes.starts_with(':') && groups().count() >= 2 && groups().all(|group| is_hex(group, 1..=2))
}
