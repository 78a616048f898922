//! The labels and Community IDs of every conversation of public captures are those that tshark sees. The payloads come from
//! tshark too, so that nothing of ours but the labeller is under test.

use std::collections::{BTreeMap, BTreeSet};

use netrewind_labels::{ConversationPorts, Direction, Labels, Transport, community_id};

use crate::ja4_model;
use crate::support::label;
use crate::tshark::{Row, rows};

/// Of the conversations in which either side has a value, the share in which both have the same, in percent, that must be
/// reached. What keeps it from 100:
///
/// | Captures | Why |
/// |---|---|
/// | socks*, *starttls, http_connect, https-connect, haproxy, rdp2, shadowsocks | the labels are those of the protocol that a proxy or upgrade precedes; tshark looks behind it |
/// | quic-27, quic_0RTT, quic-mvfst-exp, quic_t51 | drafts before 29 and the versions of Google and Facebook have keys of their own: only the version is labelled |
/// | quic-forcing-vn-with-data | tshark gives up at the version that was made up |
/// | stun_zoom, capwap | DTLS after more than four datagrams of STUN, or inside CAPWAP |
/// | fuzz-*, ossfuzz*, tls_cipher_lens, pppoe, dns-badlabel, dns_fwdptr | damaged: where the damage is fatal is a matter of taste |
/// | soap, ookla, tls_missing_ch_frag | tshark waits for bytes that are missing, or takes the port's word for it |
/// | dns-invalid-chars | control characters are written `\x04` here and `\004` there |
/// | iphone | mDNS whose first message is an answer without a question; tshark's question comes later |
const FLOORS: &[(&str, f64)] = &[
    ("alpn", 86.0),
    ("dns_question", 96.0),
    ("http_host", 90.0),
    ("http_method", 91.0),
    ("http_user_agent", 90.0),
    ("ja4", 84.0),
    ("server_name", 88.0),
    ("ssh_banner", 100.0),
];

/// Packets whose Community ID tshark takes from a header inside a tunnel that has no IP addresses to show (CAPWAP, GTP,
/// VXLAN), or from one that is cut.
const OTHER_HEADERS_MAX: usize = 14;

/// Extension headers of IPv6: the protocol stands behind them.
const IPV6_EXTENSIONS: [u8; 4] = [0, 43, 44, 60];

/// The values of one kind of label, whose order means nothing.
type Values = BTreeSet<String>;

#[derive(Default)]
struct Case {
    file: String,
    conversation: Option<ConversationPorts>,
    client: String,
    /// The sequence number of the first byte of each direction.
    origins: [Option<u32>; 2],
    packets: Vec<(Direction, usize, Vec<u8>)>,
    /// First value of each kind that tshark saw.
    expected: BTreeMap<&'static str, Values>,
}

/// The conversations in the packets that have one TCP or UDP header.
fn cases(rows: &[Row]) -> Vec<Case> {
    let mut cases: BTreeMap<(String, Layer, u32), Case> = BTreeMap::new();
    for row in rows {
        let (tcp, udp) = (row.all("tcp.stream").len(), row.all("udp.stream").len());
        let transport = match (tcp, udp) {
            (1, 0) => Layer::Tcp,
            (0, 1) => Layer::Udp,
            _ => continue,
        };
        let Some(stream) = row.number(transport.field("stream").as_str()) else { continue };
        let case = cases.entry((row.file.clone(), transport, stream)).or_default();
        case.file.clone_from(&row.file);
        case.push(row, transport);
    }
    cases.into_values().collect()
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Layer {
    Tcp,
    Udp,
}

impl Layer {
    fn field(self, name: &str) -> String {
        format!("{}.{name}", if self == Self::Tcp { "tcp" } else { "udp" })
    }
}

impl Case {
    fn push(&mut self, row: &Row, transport: Layer) -> Option<()> {
        let port = |name: &str| row.number(&transport.field(name)).map(|port| port as u16);
        let ports = [port("srcport")?, port("dstport")?];
        let address = row.only("ip.src").or(row.only("ipv6.src")).unwrap_or_default();
        let sender = format!("{address} {}", ports[0]);
        if self.conversation.is_none() {
            let transport = if transport == Layer::Tcp { Transport::Tcp } else { Transport::Udp };
            self.conversation = Some(ConversationPorts { transport, ports });
            self.client.clone_from(&sender);
        }
        let direction = if self.client == sender { Direction::Forward } else { Direction::Backward };
        self.expect(row);
        let payload = row.bytes(&transport.field("payload"));
        let sequence = row.number("tcp.seq_raw").unwrap_or(0);
        let is_syn = row.only("tcp.flags.syn") == Some("1");
        let origin = &mut self.origins[direction as usize];
        if origin.is_none() && (is_syn || payload.is_some()) {
            *origin = Some(sequence.wrapping_add(u32::from(is_syn)));
        }
        let offset = sequence.wrapping_add(u32::from(is_syn)).wrapping_sub((*origin)?);
        self.packets.push((direction, offset as usize, payload?));
        Some(())
    }

    fn expect(&mut self, row: &Row) {
        let mut first = |kind, values: Values| {
            if !values.is_empty() {
                self.expected.entry(kind).or_insert(values);
            }
        };
        let one =
            |field: &str| row.all(field).first().map(|value| plain(value)).into_iter().collect::<Values>();
        if !row.all("http.request.method").is_empty() {
            first("http_method", one("http.request.method"));
            // A request without a host has none, whatever later ones say.
            first("http_host", [one("http.host").into_iter().next().unwrap_or_default()].into());
            first("http_user_agent", [one("http.user_agent").into_iter().next().unwrap_or_default()].into());
        }
        first("dns_question", one("dns.qry.name"));
        for protocol in ["tls", "dtls"] {
            let field = |name: &str| format!("{protocol}.handshake.{name}");
            if row.all(&field("type")).first().is_some_and(|kind| kind == "1") {
                let name = one(&field("extensions_server_name")).into_iter().next();
                first("server_name", [name.unwrap_or_default()].into());
                let alpn: Values =
                    row.all(&field("extensions_alpn_str")).iter().map(|name| plain(name)).collect();
                first("alpn", if alpn.is_empty() { [String::new()].into() } else { alpn });
            }
            if row.all(&field("type")) == ["1"] {
                first("ja4", ja4_model::ja4(row, protocol).iter().map(|ja4| plain(ja4)).collect());
            }
        }
        let banners = row.all("ssh.protocol").iter().map(|banner| plain(banner));
        self.expected.entry("ssh_banner").or_default().extend(banners);
    }

    /// Labels found by the labeller.
    fn labels(&self) -> Option<Box<Labels>> {
        let packets: Vec<_> = self.packets.iter().map(|(way, at, bytes)| (*way, *at, &bytes[..])).collect();
        label(self.conversation.as_ref()?, &packets)
    }
}

/// A value as both sides can write it.
fn plain(value: &str) -> String {
    let value = value.trim().to_ascii_lowercase();
    if value == "<root>" { String::new() } else { value.chars().take(255).collect() }
}

#[derive(Default)]
struct Tally {
    equal: usize,
    total: usize,
}

#[test]
fn labels_are_those_that_tshark_sees() {
    let rows = rows();
    let mut tallies: BTreeMap<&str, Tally> = BTreeMap::new();
    for case in cases(&rows) {
        let labels = case.labels();
        let mut ours: BTreeMap<&str, Values> = BTreeMap::new();
        labels.iter().for_each(|labels| {
            labels.visit(|kind, value| {
                ours.entry(kind).or_default().insert(plain(value));
            });
        });
        for kind in [
            "server_name",
            "alpn",
            "ja4",
            "http_method",
            "http_host",
            "http_user_agent",
            "dns_question",
            "ssh_banner",
        ] {
            let known = |values: Option<&Values>| -> Values {
                values.into_iter().flatten().filter(|value| !value.is_empty()).cloned().collect()
            };
            let (theirs, ours) = (known(case.expected.get(kind)), known(ours.get(kind)));
            if theirs.is_empty() && ours.is_empty() {
                continue;
            }
            let tally = tallies.entry(kind).or_default();
            tally.total += 1;
            if theirs == ours {
                tally.equal += 1;
            } else {
                println!(
                    "{} {:?} {kind}: tshark {theirs:?}, ours {ours:?}",
                    case.file,
                    case.conversation.expect("ports").ports
                );
            }
        }
    }
    for (kind, Tally { equal, total }) in &tallies {
        println!("{kind}: {equal} of {total} conversations agree");
    }
    for (kind, floor) in FLOORS.iter().filter(|_| !rows.is_empty()) {
        let tally = tallies.get(kind).unwrap_or_else(|| panic!("no {kind} in the corpus"));
        let share = 100.0 * tally.equal as f64 / tally.total as f64;
        assert!(share >= *floor, "{kind}: {share:.2} % agree, of {}", tally.total);
    }
}

/// Protocol and ports of a packet with one IP header, as Community ID counts them.
fn flow(row: &Row) -> Option<(u8, Option<(u16, u16)>)> {
    let protocol = row.number("ip.proto").or(row.number("ipv6.nxt"))? as u8;
    if row.only("ipv6.nxt").is_some() && IPV6_EXTENSIONS.contains(&protocol) {
        return None;
    }
    let fields = match protocol {
        1 => ["icmp.type", "icmp.code"],
        6 => ["tcp.srcport", "tcp.dstport"],
        17 => ["udp.srcport", "udp.dstport"],
        58 => ["icmpv6.type", "icmpv6.code"],
        132 => ["sctp.srcport", "sctp.dstport"],
        _ => return Some((protocol, None)),
    };
    let [from, to] = fields.map(|field| row.number(field).map(|number| number as u16));
    Some((protocol, Some((from?, to?))))
}

#[test]
fn community_ids_are_those_of_tshark() {
    let rows = rows();
    let (mut equal, mut total, mut protocols) = (0, 0, BTreeSet::new());
    for row in &rows {
        let address = |four, six| row.only(four).or(row.only(six)).and_then(|text| text.parse().ok());
        let (Some(source), Some(destination)) =
            (address("ip.src", "ipv6.src"), address("ip.dst", "ipv6.dst"))
        else {
            continue;
        };
        let (Some((protocol, ports)), Some(theirs)) = (flow(row), row.only("communityid")) else { continue };
        let ours = community_id(0, protocol, source, destination, ports);
        total += 1;
        protocols.insert(protocol);
        if ours.as_str() == theirs {
            equal += 1;
        } else {
            println!(
                "{} {protocol} {source} {destination} {ports:?}: tshark {theirs}, ours {ours}",
                row.file
            );
        }
    }
    println!("{equal} of {total} Community IDs agree, of protocols {protocols:?}");
    assert!(rows.is_empty() || total - equal <= OTHER_HEADERS_MAX && total > 25_000);
}
