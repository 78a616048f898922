//! Translates Wireshark's display filters to capture filters: those of their fields that both languages have.
//!
//! In a display filter `and` binds closer than `or`; here they bind alike, so what is joined by `and` is put in parentheses.

use std::net::IpAddr;

use super::words::APPLICATIONS;

/// Kind of a display filter's field, with what it is compared by in a capture filter.
enum DisplayField {
    /// An address, behind these qualifiers; the protocol that packets have which have one.
    Address(&'static str, &'static str),
    /// A port of this protocol, of one direction or both.
    Port(&'static str, &'static str),
    /// A number that is a term of the language.
    Term(&'static str),
    /// A number behind a word, for equality alone.
    Word(&'static str),
    /// A flag of TCP.
    Flag(&'static str),
    /// The first message of TLS's handshake in a segment.
    Handshake,
}

/// Qualifiers of an Ethernet address of either end.
const ETHER_HOST: &str = "ether host";
/// A segment that begins with a record of TLS's handshake: RFC 8446, section 5.1.
const TLS_HANDSHAKE: &str = "tcp[((tcp[12] & 0xf0) >> 2)] = 22";
/// The type of the message in it.
const TLS_MESSAGE: &str = "tcp[((tcp[12] & 0xf0) >> 2) + 5]";

/// The fields that capture filters can look at.
fn field(name: &str) -> Option<DisplayField> {
    Some(match name {
        "ip.addr" | "ip.host" => DisplayField::Address("ip host", "ip"),
        "ip.src" | "ip.src_host" => DisplayField::Address("ip src host", "ip"),
        "ip.dst" | "ip.dst_host" => DisplayField::Address("ip dst host", "ip"),
        "ipv6.addr" | "ipv6.host" => DisplayField::Address("ip6 host", "ip6"),
        "ipv6.src" | "ipv6.src_host" => DisplayField::Address("ip6 src host", "ip6"),
        "ipv6.dst" | "ipv6.dst_host" => DisplayField::Address("ip6 dst host", "ip6"),
        "eth.addr" => DisplayField::Address(ETHER_HOST, ""),
        "eth.src" => DisplayField::Address("ether src", ""),
        "eth.dst" => DisplayField::Address("ether dst", ""),
        "tcp.port" => DisplayField::Port("tcp", ""),
        "tcp.srcport" => DisplayField::Port("tcp", "src "),
        "tcp.dstport" => DisplayField::Port("tcp", "dst "),
        "udp.port" => DisplayField::Port("udp", ""),
        "udp.srcport" => DisplayField::Port("udp", "src "),
        "udp.dstport" => DisplayField::Port("udp", "dst "),
        "sctp.port" => DisplayField::Port("sctp", ""),
        "sctp.srcport" => DisplayField::Port("sctp", "src "),
        "sctp.dstport" => DisplayField::Port("sctp", "dst "),
        "frame.len" => DisplayField::Term("len"),
        "ip.ttl" => DisplayField::Term("ip[8]"),
        "ip.len" => DisplayField::Term("ip[2:2]"),
        "ip.id" => DisplayField::Term("ip[4:2]"),
        "ip.dsfield" => DisplayField::Term("ip[1]"),
        "ip.dsfield.dscp" => DisplayField::Term("ip[1] >> 2"),
        "ipv6.hlim" => DisplayField::Term("ip6[7]"),
        "icmp.type" => DisplayField::Term("icmp[icmptype]"),
        "icmp.code" => DisplayField::Term("icmp[icmpcode]"),
        "icmpv6.type" => DisplayField::Term("icmp6[icmp6type]"),
        "icmpv6.code" => DisplayField::Term("icmp6[icmp6code]"),
        "arp.opcode" => DisplayField::Term("arp[6:2]"),
        "tcp.flags" => DisplayField::Term("tcp[tcpflags]"),
        "tcp.seq_raw" => DisplayField::Term("tcp[4:4]"),
        "tcp.ack_raw" => DisplayField::Term("tcp[8:4]"),
        "tcp.window_size_value" => DisplayField::Term("tcp[14:2]"),
        "tcp.hdr_len" => DisplayField::Term("(tcp[12] & 0xf0) >> 2"),
        "udp.length" => DisplayField::Term("udp[4:2]"),
        "tls.handshake.type" | "ssl.handshake.type" => DisplayField::Handshake,
        "ip.proto" => DisplayField::Word("ip proto"),
        "ipv6.nxt" => DisplayField::Word("ip6 proto"),
        "eth.type" => DisplayField::Word("ether proto"),
        "vlan.id" => DisplayField::Word("vlan"),
        "mpls.label" => DisplayField::Word("mpls"),
        "tcp.flags.syn" => DisplayField::Flag("tcp-syn"),
        "tcp.flags.ack" => DisplayField::Flag("tcp-ack"),
        "tcp.flags.fin" => DisplayField::Flag("tcp-fin"),
        "tcp.flags.reset" => DisplayField::Flag("tcp-rst"),
        "tcp.flags.push" => DisplayField::Flag("tcp-push"),
        "tcp.flags.urg" => DisplayField::Flag("tcp-urg"),
        _ => return None,
    })
}

/// Names used alone: packets that have such a protocol or field.
fn protocol(name: &str) -> Option<&'static str> {
    Some(match name {
        "ipv6" => "ip6",
        "icmpv6" => "icmp6",
        "tls.handshake" | "ssl.handshake" => TLS_HANDSHAKE,
        _ => return None,
    })
}

/// The capture filter equivalent to a display filter; `None` if it is not one, or has no equivalent.
pub(super) fn translated(expression: &str) -> Option<String> {
    let words = words(expression)?;
    let mut translator = Translator { words: &words, at: 0, has_translated: false };
    let translated = translator.any()?;
    (translator.at == words.len() && translator.has_translated).then_some(translated)
}

/// The words and operators of a display filter; `None` if a string in it is not closed.
fn words(expression: &str) -> Option<Vec<&str>> {
    const SIGNS: [&str; 18] =
        ["===", "!==", "==", "!=", ">=", "<=", "&&", "||", "..", ">", "<", "!", "(", ")", "{", "}", ",", "="];
    let mut words = Vec::new();
    let mut rest = expression.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = if first == '"' {
            rest[1..].find('"')? + 2
        } else if let Some(sign) = SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
            sign.len()
        } else {
            let is_end = |c: char| c.is_whitespace() || "\"=!<>&|(){},".contains(c);
            let end = rest.find(is_end).unwrap_or(rest.len()).max(first.len_utf8());
            // `80..90` is a range; no address has two dots in a row.
            rest[..end].find("..").filter(|at| *at > 0).unwrap_or(end)
        };
        words.push(&rest[..length]);
        rest = rest[length..].trim_start();
    }
    Some(words)
}

struct Translator<'a> {
    words: &'a [&'a str],
    at: usize,
    has_translated: bool,
}

impl<'a> Translator<'a> {
    fn peek(&self) -> Option<&'a str> {
        self.words.get(self.at).copied()
    }

    fn next(&mut self) -> Option<&'a str> {
        let word = self.peek()?;
        self.at += 1;
        Some(word)
    }

    fn take(&mut self, wanted: &[&str]) -> bool {
        let is_next = self.peek().is_some_and(|word| wanted.contains(&word.to_ascii_lowercase().as_str()));
        self.at += usize::from(is_next);
        is_next
    }

    /// Alternatives.
    fn any(&mut self) -> Option<String> {
        let mut alternatives = vec![self.all()?];
        while self.take(&["or", "||"]) {
            alternatives.push(self.all()?);
        }
        if let [only] = &mut alternatives[..] {
            return Some(std::mem::take(&mut only.text));
        }
        let grouped =
            |one: &JoinedDemands| if one.count > 1 { format!("({})", one.text) } else { one.text.clone() };
        Some(alternatives.iter().map(grouped).collect::<Vec<_>>().join(" or "))
    }

    /// Parses demands joined by `and`.
    fn all(&mut self) -> Option<JoinedDemands> {
        let mut demands = vec![self.one()?];
        while self.take(&["and", "&&"]) {
            demands.push(self.one()?);
        }
        Some(JoinedDemands { count: demands.len(), text: demands.join(" and ") })
    }

    fn one(&mut self) -> Option<String> {
        if self.take(&["not", "!"]) {
            return Some(format!("not {}", self.one()?));
        }
        if self.take(&["("]) {
            let inner = self.any()?;
            return self.take(&[")"]).then(|| format!("({inner})"));
        }
        self.demand()
    }

    /// A comparison, a protocol, or words that do not belong to a display filter and stay.
    fn demand(&mut self) -> Option<String> {
        let name = self.next()?.to_ascii_lowercase();
        if let Some(field) = field(&name) {
            self.has_translated = true;
            return self.compared(&field);
        }
        let is_compared = self.peek().is_some_and(|word| comparison(word).is_some());
        let application = || APPLICATIONS.iter().find(|(known, _)| *known == name).map(|(_, filter)| *filter);
        if !is_compared
            && name.contains('.')
            && let Some(filter) = protocol(&name)
        {
            self.has_translated = true;
            return Some(filter.to_owned());
        }
        if !is_compared && let Some(filter) = protocol(&name).or_else(application) {
            // Alone it does not make a display filter: people write `http` in any language.
            return Some(if filter.contains(" or ") { format!("({filter})") } else { filter.to_owned() });
        }
        let mut raw = vec![self.words[self.at - 1]];
        while let Some(word) = self.peek()
            && !["and", "or", "&&", "||", ")", "("].contains(&word.to_ascii_lowercase().as_str())
        {
            raw.push(word);
            self.at += 1;
        }
        Some(raw.join(" "))
    }

    /// A field with what it is compared to.
    fn compared(&mut self, field: &DisplayField) -> Option<String> {
        if self.take(&["in"]) {
            return self.among(field);
        }
        let Some(sign) = self.peek().and_then(comparison) else { return exists(field) };
        self.at += 1;
        let value = self.next()?;
        test(field, sign, value)
    }

    /// `in {80, 443, 8000..8080}`.
    fn among(&mut self, field: &DisplayField) -> Option<String> {
        if !self.take(&["{"]) {
            return None;
        }
        let mut tests = Vec::new();
        while !self.take(&["}"]) {
            let value = self.next()?;
            let end = if self.take(&[".."]) { self.next() } else { None };
            tests.push(match (field, end) {
                (_, None) => test(field, "=", value)?,
                (DisplayField::Port(protocol, direction), Some(end)) => {
                    format!("{protocol} {direction}portrange {value}-{end}")
                }
                (DisplayField::Term(term), Some(end)) => format!("({term} >= {value} and {term} <= {end})"),
                _ => return None,
            });
            self.take(&[","]);
        }
        match tests.len() {
            0 => None,
            1 => tests.pop(),
            _ => Some(format!("({})", tests.join(" or "))),
        }
    }
}

/// Demands that are joined by `and`, and how many.
struct JoinedDemands {
    count: usize,
    text: String,
}

/// A sign of comparison, as capture filters write it.
fn comparison(word: &str) -> Option<&'static str> {
    Some(match word.to_ascii_lowercase().as_str() {
        "==" | "===" | "eq" | "any_eq" | "=" => "=",
        "!=" | "!==" | "ne" | "all_ne" => "!=",
        ">" | "gt" => ">",
        "<" | "lt" => "<",
        ">=" | "ge" => ">=",
        "<=" | "le" => "<=",
        _ => return None,
    })
}

/// A field without a comparison: packets that have it.
fn exists(field: &DisplayField) -> Option<String> {
    Some(match field {
        DisplayField::Address(_, "") => return None,
        DisplayField::Address(_, protocol) => (*protocol).to_owned(),
        DisplayField::Port(protocol, _) => (*protocol).to_owned(),
        DisplayField::Term(term) => format!("{term} >= 0"),
        DisplayField::Word("vlan") => "vlan".to_owned(),
        DisplayField::Word("mpls") => "mpls".to_owned(),
        DisplayField::Word(_) => return None,
        // Wireshark's flags are present in every segment, and true if they are set.
        DisplayField::Flag(_) => "tcp".to_owned(),
        DisplayField::Handshake => TLS_HANDSHAKE.to_owned(),
    })
}

fn test(field: &DisplayField, sign: &'static str, value: &str) -> Option<String> {
    let value = value.trim_matches('"').to_ascii_lowercase();
    let equal = match field {
        DisplayField::Address(qualifiers, protocol) => {
            let equal = address(qualifiers, &value)?;
            return match sign {
                "=" => Some(equal),
                "!=" if protocol.is_empty() => Some(format!("not {equal}")),
                "!=" => Some(format!("({protocol} and not {equal})")),
                _ => None,
            };
        }
        DisplayField::Port(protocol, direction) => return port(protocol, direction, sign, number(&value)?),
        DisplayField::Term(term) => {
            number(&value)?;
            return Some(format!("{term} {sign} {value}"));
        }
        DisplayField::Handshake => {
            number(&value)?;
            return Some(format!("({TLS_HANDSHAKE} and {TLS_MESSAGE} {sign} {value})"));
        }
        DisplayField::Word(word) => {
            number(&value)?;
            format!("{word} {value}")
        }
        DisplayField::Flag(flag) => {
            let is_set = match (sign, value.as_str()) {
                ("=", "1" | "true" | "set") | ("!=", "0" | "false") => "!=",
                ("=", "0" | "false") | ("!=", "1" | "true") => "=",
                _ => return None,
            };
            return Some(format!("tcp[tcpflags] & {flag} {is_set} 0"));
        }
    };
    match sign {
        "=" => Some(equal),
        "!=" => Some(format!("not {equal}")),
        _ => None,
    }
}

fn port(protocol: &str, direction: &str, sign: &str, port: u64) -> Option<String> {
    let port = u16::try_from(port).ok()?;
    let range = |from: Option<u16>, to: Option<u16>| {
        let (from, to) = (from?, to?);
        Some(format!("{protocol} {direction}portrange {from}-{to}"))
    };
    match sign {
        "=" => Some(format!("{protocol} {direction}port {port}")),
        "!=" => Some(format!("({protocol} and not {protocol} {direction}port {port})")),
        ">" => range(port.checked_add(1), Some(u16::MAX)),
        ">=" => range(Some(port), Some(u16::MAX)),
        "<" => range(Some(0), port.checked_sub(1)),
        _ => range(Some(0), Some(port)),
    }
}

fn number(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

/// `ip host 10.0.0.1`, `ip src net 10.0.0.0/8`, `ether host aa:bb:cc:dd:ee:ff`.
fn address(qualifiers: &str, value: &str) -> Option<String> {
    if qualifiers.starts_with("ether") {
        let bytes: Vec<&str> = value.split([':', '-', '.']).collect();
        let is_mac = bytes.len() == 6 && bytes.iter().all(|byte| u8::from_str_radix(byte, 16).is_ok());
        return is_mac.then(|| format!("{qualifiers} {}", bytes.join(":")));
    }
    if let Some((address, bits)) = value.split_once('/') {
        return Some(format!("{} {}", qualifiers.replace("host", "net"), network(address, bits)?));
    }
    let address: IpAddr = value.parse().ok()?;
    (address.is_ipv6() == qualifiers.starts_with("ip6")).then(|| format!("{qualifiers} {address}"))
}

/// A network, without the bits of a host in it: `10.0.0.1/24` is `10.0.0.0/24`.
pub(super) fn network(address: &str, bits: &str) -> Option<String> {
    let bits: u32 = bits.parse().ok()?;
    Some(match address.parse().ok()? {
        IpAddr::V4(address) => {
            let kept = u32::MAX.checked_shl(32_u32.checked_sub(bits)?).unwrap_or(0);
            format!("{}/{bits}", std::net::Ipv4Addr::from(u32::from(address) & kept))
        }
        IpAddr::V6(address) => {
            let kept = u128::MAX.checked_shl(128_u32.checked_sub(bits)?).unwrap_or(0);
            format!("{}/{bits}", std::net::Ipv6Addr::from(u128::from(address) & kept))
        }
    })
}

/// Protocol that selects the packets which can have a field, by the first part of the field's name.
pub(super) fn protocol_of_field(name: &str) -> Option<&'static str> {
    const OF_THE_LANGUAGE: [(&str, &str); 12] = [
        ("ip", "ip"),
        ("ipv6", "ip6"),
        ("tcp", "tcp"),
        ("udp", "udp"),
        ("icmp", "icmp"),
        ("icmpv6", "icmp6"),
        ("arp", "arp"),
        ("igmp", "igmp"),
        ("sctp", "sctp"),
        ("vlan", "vlan"),
        ("mpls", "mpls"),
        ("stp", "stp"),
    ];
    let (protocol, _) = name.split_once('.')?;
    let protocol = protocol.to_ascii_lowercase();
    OF_THE_LANGUAGE
        .iter()
        .chain(&APPLICATIONS)
        .find(|(known, _)| *known == protocol)
        .map(|(_, filter)| *filter)
}

/// The search for conversations by a field's value.
pub(super) fn search_of_field(name: &str) -> Option<&'static str> {
    Some(match name.to_ascii_lowercase().as_str() {
        "dns.qry.name" | "dns.resp.name" => "dns:NAME",
        "tls.handshake.extensions_server_name" | "ssl.handshake.extensions_server_name" => "sni:NAME",
        "tls.handshake.ja4" => "ja4:VALUE",
        "http.host" => "http_host:NAME",
        "http.user_agent" => "ua:TEXT",
        "tcp.analysis.retransmission" | "tcp.analysis.fast_retransmission" => "retransmissions:>0",
        "tcp.analysis.ack_rtt" | "tcp.analysis.initial_rtt" => "rtt:>100ms",
        _ => return None,
    })
}
