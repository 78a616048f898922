//! Search for conversations by their properties: `sni:example.com AND bytes:>1000000`.
//!
//! The syntax is that of tantivy's queries: `field:value`, `field:[a TO b]`, `field:>n`, `AND`, `OR`, `NOT`, brackets, quotes.
//! Words side by side are joined by AND. The fields are those of [`FIELDS`].

mod parse;

use std::net::{IpAddr, Ipv6Addr};
use std::ops::{Bound, RangeBounds};

use netrewind_index::LabelKey;
use netrewind_labels::is_community_id;

use crate::conversation::{Conversation, TcpRecord};
use crate::key::FlowKey;
use crate::label_lookup::{LabelLookup, SoughtLabel};
use crate::labels::LabelValue;
use crate::part::FlowCounters;

/// The longest search, in bytes.
const SEARCH_BYTES_MAX: usize = 4096;

/// Search fields: their names, and the form of their values.
pub const FIELDS: [(&str, &str); 21] = [
    (
        "host, ip, client, server",
        "an address: 10.0.0.5, \"10.1.0.0/16\", \"2001:db8::1\", [10.0.0.1 TO 10.0.0.9]",
    ),
    ("port, client_port, server_port", "a port"),
    ("protocol, proto", "tcp, udp, icmp, arp..."),
    ("packets, client_packets, server_packets", "a number of packets"),
    ("bytes, client_bytes, server_bytes", "bytes on the wire: 1500, 20k, 3M, 1GiB"),
    ("duration, rtt", "a time: 90, 1.5s, 20ms, 5min"),
    ("retransmissions, out_of_order", "a number of TCP segments"),
    ("state", "of TCP: open, half_closed, finished, reset, timed_out"),
    ("vlan", "a VLAN id"),
    ("vni, tunnel", "a VNI, GRE key, session, TEID or label"),
    ("application, app", "tls, http, dns, ssh..."),
    ("server_name, sni", "a TLS or QUIC server name, or a domain that it lies in"),
    ("alpn, tls_version, ja4, quic_version", "of a TLS or QUIC client"),
    ("http_host", "a host, or a domain that it lies in"),
    ("http_method", "of the first request"),
    ("http_user_agent, ua", "words of it"),
    ("dns_question, dns", "a name, or a domain that it lies in"),
    ("dns_type", "A, AAAA, MX..."),
    ("dns_answer", "an address or name that was answered"),
    ("ssh_banner, ssh", "words of either banner"),
    ("community_id", "\"1:...\""),
];

/// The labels that are searched, with the ways in which they are.
pub const LABELS: [(&str, How); 12] = [
    ("server_name", How::Domain),
    ("alpn", How::Whole),
    ("ja4", How::Whole),
    ("tls_version", How::Whole),
    ("http_method", How::Whole),
    ("http_host", How::Domain),
    ("http_user_agent", How::Words),
    ("dns_question", How::Domain),
    ("dns_type", How::Whole),
    ("dns_answer", How::Domain),
    ("ssh_banner", How::Words),
    ("quic_version", How::Whole),
];

/// A search that cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SearchError {
    /// It does not follow the grammar.
    #[error("{text:?} is not a search{}: write field:value, joined by AND, OR, NOT; put a value with a colon, slash or space in quotes", at.map_or_else(String::new, |at| format!(" (from character {} on)", at + 1)))]
    Grammar {
        /// The search.
        text: String,
        /// Position of the error, in characters.
        at: Option<usize>,
    },
    /// There is no such field.
    #[error("there is no field {0:?}: the fields are {known}", known = known_fields())]
    Field(String),
    /// A value does not fit its field.
    #[error("{value:?} is not a value of {field}: expected {expected}")]
    Value {
        /// The field.
        field: String,
        /// Value as written.
        value: String,
        /// Expected form of the value.
        expected: &'static str,
    },
    /// Something of the grammar that is not understood here.
    #[error("{0}")]
    NotHere(String),
    /// It is too long.
    #[error("a search has at most {SEARCH_BYTES_MAX} bytes")]
    TooLong,
}

fn known_fields() -> String {
    FIELDS.iter().map(|(names, _)| *names).collect::<Vec<_>>().join(", ")
}

/// A search that was understood.
#[derive(Clone, Debug, PartialEq)]
pub struct Search(SearchExpression);

/// Search for the conversations of a Community ID, or of several between commas; if `search` is given, only for those that it finds
/// as well.
pub fn of_community_id(ids: &str, search: Option<&str>) -> Result<String, SearchError> {
    let test = |id: &str| match is_community_id(id) {
        true => Ok(format!("community_id:\"{id}\"")),
        false => Err(SearchError::Value {
            field: "community_id".to_owned(),
            value: id.to_owned(),
            expected: "a Community ID of version 1, such as 1:wCb3OG7yAFWelaUydu0D+125CLM=",
        }),
    };
    let tests = ids.trim().split([',', '\n']).map(|id| test(id.trim())).collect::<Result<Vec<_>, _>>()?;
    let own = match tests.len() {
        1 => tests.concat(),
        _ => format!("({})", tests.join(" OR ")),
    };
    if own.len() > SEARCH_BYTES_MAX {
        return Err(SearchError::TooLong);
    }
    let Some(search) = search.filter(|search| !search.trim().is_empty()) else { return Ok(own) };
    search.parse::<Search>()?; // so that no text of it can open what the parentheses close
    Ok(format!("{own} AND ({search})"))
}

/// Demands of a search, and how they are joined.
#[derive(Clone, Debug, PartialEq)]
pub enum SearchExpression {
    /// Holds for every conversation.
    Everything,
    /// Holds if all of these hold.
    All(Vec<SearchExpression>),
    /// Holds if any of these holds.
    Any(Vec<SearchExpression>),
    /// Holds if this does not.
    Not(Box<SearchExpression>),
    /// Holds if the test does.
    Test(FieldTest),
}

/// One demand.
#[derive(Clone, Debug, PartialEq)]
pub enum FieldTest {
    /// One of the texts is the value asked for.
    Text {
        /// Texts that are compared.
        of: TextField,
        /// Comparison.
        how: How,
        /// Value asked for.
        value: String,
    },
    /// One of the numbers lies in a range.
    Number {
        /// Numbers that are compared.
        of: NumberField,
        /// Lower bound.
        from: Bound<u64>,
        /// Upper bound.
        to: Bound<u64>,
    },
    /// The address lies in a range, both ends included.
    Address {
        /// End whose address is compared.
        of: SearchSide,
        /// Lowest address.
        from: Ipv6Addr,
        /// Highest address.
        to: Ipv6Addr,
    },
}

/// Comparison of a text with the searched value; letter case counts only where it makes another value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// All of it.
    Whole,
    /// All of it, to the letter.
    Exact,
    /// It, or a domain that it lies in.
    Domain,
    /// Words of it, one behind the other.
    Words,
}

/// Text of a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextField {
    /// Name of the protocol.
    Protocol,
    /// State of a TCP connection.
    State,
    /// Application.
    Application,
    /// Community ID.
    CommunityId,
    /// Label of this name.
    Label(&'static str),
}

/// End of a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SearchSide {
    /// End that began it.
    Client,
    /// The other end.
    Server,
}

/// Number of a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NumberField {
    /// Port of an end.
    Port(SearchSide),
    /// Packets that an end has sent; of both without one.
    Packets(Option<SearchSide>),
    /// Bytes that an end has sent; of both without one.
    Bytes(Option<SearchSide>),
    /// Time from the first packet to the last.
    DurationNs,
    /// Round trip of the handshake.
    RttNs,
    /// TCP segments sent again.
    Retransmissions,
    /// TCP segments out of order.
    OutOfOrder,
    /// VLAN ids.
    Vlan,
    /// Ids of tunnels.
    TunnelId,
}

impl Search {
    /// Its demands.
    pub fn expression(&self) -> &SearchExpression {
        &self.0
    }

    /// True if it finds this conversation.
    pub fn accepts(&self, flow: &Conversation) -> bool {
        self.0.accepts(flow)
    }

    /// Labels of which every conversation that it finds has at least one; `None` if it also finds others.
    pub fn sought(&self) -> Option<LabelLookup<'_>> {
        self.0.sought().map(LabelLookup)
    }

    /// False where it certainly does not find a conversation: cheaper than describing that.
    pub fn may_accept(&self, key: &FlowKey, body: &FlowCounters) -> bool {
        self.0.judge(key, body) != Some(false)
    }
}

impl SearchExpression {
    fn accepts(&self, flow: &Conversation) -> bool {
        match self {
            Self::Everything => true,
            Self::All(all) => all.iter().all(|one| one.accepts(flow)),
            Self::Any(any) => any.iter().any(|one| one.accepts(flow)),
            Self::Not(one) => !one.accepts(flow),
            Self::Test(test) => test.accepts(flow),
        }
    }

    fn sought(&self) -> Option<Vec<SoughtLabel<'_>>> {
        match self {
            Self::Everything | Self::Not(_) => None,
            Self::All(all) => all.iter().find_map(Self::sought),
            Self::Any(any) => any
                .iter()
                .map(Self::sought)
                .collect::<Option<Vec<_>>>()
                .map(|all| all.into_iter().flatten().collect()),
            Self::Test(test) => test.sought().map(|sought| vec![sought]),
        }
    }

    /// Result on the key and body alone, before anything is described; `None` if these do not decide.
    fn judge(&self, key: &FlowKey, body: &FlowCounters) -> Option<bool> {
        match self {
            Self::Everything => Some(true),
            Self::All(all) => all_hold(all.iter().map(|one| one.judge(key, body))),
            // One holds where not all do not.
            Self::Any(any) => {
                let fails = |one: &Self| one.judge(key, body).map(|holds| !holds);
                all_hold(any.iter().map(fails)).map(|none| !none)
            }
            Self::Not(one) => one.judge(key, body).map(|holds| !holds),
            Self::Test(test) => test.judge(key, body),
        }
    }
}

impl FieldTest {
    fn accepts(&self, flow: &Conversation) -> bool {
        match self {
            Self::Text { of, how, value } => of.texts(flow).any(|text| how.finds(text, value)),
            Self::Number { of, from, to } => {
                of.numbers(flow).into_iter().any(|number| (*from, *to).contains(&number))
            }
            Self::Address { of, from, to } => {
                let end = match of {
                    SearchSide::Client => &flow.client,
                    SearchSide::Server => &flow.server,
                };
                end.address.is_some_and(|address| (*from..=*to).contains(&as_ipv6(address)))
            }
        }
    }
}

/// True if all hold; `None` if that is not known.
fn all_hold(judged: impl Iterator<Item = Option<bool>>) -> Option<bool> {
    let mut all = Some(true);
    for one in judged {
        match one {
            Some(true) => {}
            Some(false) => return Some(false),
            None => all = None,
        }
    }
    all
}

impl FieldTest {
    fn sought(&self) -> Option<SoughtLabel<'_>> {
        let Self::Text { of: TextField::Label(name), how, value } = self else { return None };
        let key = LabelKey::of_name(name)?;
        Some((key, Box::new(move |text| how.finds(text, value))))
    }

    /// See [`SearchExpression::judge`].
    fn judge(&self, key: &FlowKey, body: &FlowCounters) -> Option<bool> {
        match self {
            Self::Text { of: TextField::Label(_), .. } => body.labels.is_none().then_some(false),
            Self::Number { of: NumberField::Packets(None), from, to } => {
                Some((*from, *to).contains(&body.packets()))
            }
            Self::Number { of: NumberField::Bytes(None), from, to } => {
                Some((*from, *to).contains(&body.bytes()))
            }
            Self::Address { from, to, .. } => {
                let mut ends = [0, 1].into_iter().filter_map(|end| key.address(end)).map(as_ipv6);
                (!ends.any(|end| (*from..=*to).contains(&end))).then_some(false)
            }
            Self::Text { .. } | Self::Number { .. } => None,
        }
    }
}

impl How {
    fn finds(self, text: &str, asked: &str) -> bool {
        match self {
            Self::Whole => text.eq_ignore_ascii_case(asked),
            Self::Exact => text == asked,
            Self::Domain => is_within(text, asked),
            Self::Words => {
                let (text, asked) = (words(text), words(asked));
                !asked.is_empty() && text.windows(asked.len()).any(|window| window == asked)
            }
        }
    }
}

/// True if a name is a domain or lies in it.
fn is_within(name: &str, domain: &str) -> bool {
    let (name, domain) = (name.to_ascii_lowercase(), domain.to_ascii_lowercase());
    let rest = name.strip_suffix(&domain).filter(|_| !domain.is_empty());
    rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// The words of a text, in lower case.
pub fn words(text: &str) -> Vec<String> {
    let words = text.split(|letter: char| !letter.is_alphanumeric()).filter(|word| !word.is_empty());
    words.map(str::to_lowercase).collect()
}

/// The address as IPv6; IPv4 addresses as RFC 4291 maps them.
pub fn as_ipv6(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    }
}

impl TextField {
    /// Its texts of a conversation.
    pub fn texts(self, flow: &Conversation) -> impl Iterator<Item = &str> {
        let one = match self {
            Self::Protocol => Some(flow.protocol.as_str()),
            Self::State => flow.tcp.as_ref().map(|tcp| tcp.state.name()),
            Self::Application => flow.labels.as_ref().map(|labels| labels.application.as_str()),
            Self::CommunityId => flow.community_id.as_deref(),
            Self::Label(_) => None,
        };
        let label = match self {
            Self::Label(name) => flow.labels.as_ref().and_then(|labels| labels.others.get(name)),
            _ => None,
        };
        one.into_iter().chain(label.into_iter().flat_map(LabelValue::texts))
    }
}

impl NumberField {
    fn numbers(self, flow: &Conversation) -> Vec<u64> {
        let of_tcp = |number: fn(&TcpRecord) -> u64| flow.tcp.as_ref().map(number).into_iter().collect();
        match self {
            Self::Port(SearchSide::Client) => flow.client.port.map(u64::from).into_iter().collect(),
            Self::Port(SearchSide::Server) => flow.server.port.map(u64::from).into_iter().collect(),
            Self::Packets(None) => vec![flow.packets()],
            Self::Packets(Some(SearchSide::Client)) => vec![flow.client_packets],
            Self::Packets(Some(SearchSide::Server)) => vec![flow.server_packets],
            Self::Bytes(None) => vec![flow.bytes()],
            Self::Bytes(Some(SearchSide::Client)) => vec![flow.client_bytes],
            Self::Bytes(Some(SearchSide::Server)) => vec![flow.server_bytes],
            Self::DurationNs => vec![flow.last.ns_since(flow.first)],
            Self::RttNs => flow.tcp.as_ref().and_then(|tcp| tcp.rtt_ns).into_iter().collect(),
            Self::Retransmissions => {
                of_tcp(|tcp| tcp.client_retransmissions.saturating_add(tcp.server_retransmissions))
            }
            Self::OutOfOrder => of_tcp(|tcp| tcp.client_out_of_order.saturating_add(tcp.server_out_of_order)),
            Self::Vlan => flow.vlans.iter().map(|&vlan| u64::from(vlan)).collect(),
            Self::TunnelId => {
                let tunnels = flow.tunnels.iter().chain(&flow.server_tunnels);
                tunnels.filter_map(|tunnel| tunnel.id).map(u64::from).collect()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_name_is_found_by_the_domains_that_it_lies_in() {
        assert!(is_within("www.Example.com", "example.com") && is_within("example.com", "EXAMPLE.com"));
        assert!(!is_within("notexample.com", "example.com") && !is_within("example.com", "www.example.com"));
        assert!(How::Words.finds("Mozilla/5.0 (X11; Linux x86_64)", "linux X86"));
        assert!(!How::Words.finds("Mozilla/5.0 (X11; Linux x86_64)", "linux 64"));
    }

    #[test]
    fn what_is_wrong_is_told() {
        let error = |text: &str| text.parse::<Search>().err();
        assert!(matches!(error("colour:red"), Some(SearchError::Field(name)) if name == "colour"));
        assert!(matches!(error("bytes:many"), Some(SearchError::Value { .. })));
        assert!(matches!(error("host:10.0.0.300"), Some(SearchError::Value { .. })));
        assert!(matches!(error("host:\"10.0.0.0/33\""), Some(SearchError::Value { .. })));
        assert!(matches!(error("(sni:a OR"), Some(SearchError::Grammar { .. })));
        assert!(matches!(error("state:[a TO b]"), Some(SearchError::NotHere(_))));
        assert_eq!(error("sni:example.com AND bytes:>1000000"), None);
        assert_eq!(error("host:\"2001:db8::/32\" (rtt:>20ms OR NOT state:finished) example.com"), None);
    }

    #[test]
    fn numbers_have_units() {
        let of = |text: &str| text.parse::<Search>().expect("a search").0;
        assert_eq!(of("bytes:20k"), of("bytes:20000"));
        assert_eq!(of("bytes:1MiB"), of("bytes:1048576"));
        assert_eq!(of("duration:>1.5s"), of("duration:>1500ms"));
        assert_eq!(of("host:10.0.0.0"), of("host:\"10.0.0.0/32\""));
    }

    proptest! {
        #[test]
        fn no_text_is_too_odd(text in ".{0,60}") {
            let _ = text.parse::<Search>();
        }

        #[test]
        fn nor_one_of_its_words(words in prop::collection::vec(prop_oneof![
            Just("("), Just(")"), Just("AND"), Just("OR"), Just("NOT"), Just("host:"), Just("[1 TO"), Just("]"), Just("\""), Just("bytes:>"),
            Just("9"), Just("sni:a.b"), Just("*"), Just("-"), Just("+"), Just(" "), Just("/x/"), Just("IN [")
        ], 0..12)) {
            let _ = words.concat().parse::<Search>();
        }
    }
}
