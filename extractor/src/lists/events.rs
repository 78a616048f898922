//! Conversations that other tools have logged, each with a range of time: a packet has to be of one of them, and of its time.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use foldhash::fast::RandomState;
use netrewind_filter::Verdict;
use netrewind_index::ValueSet;
use netrewind_packet::{Ends, protocol};
use netrewind_store::Timestamp;
use serde::{Deserialize, Serialize};

use super::{VALUE_RANGE_BYTES, digest};

/// Time before and after a moment with which [`EventList::as_eve`] has to be read.
pub const EVE_WINDOW: &str = "1ns";
/// The same in nanoseconds.
const EVE_WINDOW_NS: u64 = 1;

/// Protocol of a logged conversation, of those that filters name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EventProtocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
    /// ICMP, of IPv4.
    Icmp,
    /// ICMPv6.
    Icmp6,
}

/// Both ends of a logged conversation, in either direction, as far as the log tells them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct EventTuple {
    /// Addresses.
    pub ends: [IpAddr; 2],
    /// Their ports; absent: any, or none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ports: Option<[u16; 2]>,
    /// Absent: any, and with ports any that has them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<EventProtocol>,
}

/// A conversation of a list, and its range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedEvent {
    /// The conversation.
    #[serde(flatten)]
    pub tuple: EventTuple,
    /// Earliest time of its packets.
    pub from: Timestamp,
    /// End of the range, exclusive.
    pub to: Timestamp,
}

/// Conversations with their ranges, of one of which a packet has to be. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<ListedEvent>", into = "Vec<ListedEvent>")]
pub struct EventList {
    entries: Arc<[ListedEvent]>,
    v4: ValueSet,
    v6: ValueSet,
    windows: Arc<HashMap<EventTuple, Vec<EventWindow>, RandomState>>,
}

/// A range of a conversation: those of one are in order, and do not touch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct EventWindow {
    from: Timestamp,
    /// Exclusive.
    to: Timestamp,
}

impl EventProtocol {
    /// The protocol that a log names so; `None` for one that filters have no name for.
    fn of_name(name: &str, is_ipv6: bool) -> Option<Self> {
        match name.to_ascii_lowercase().as_str() {
            "tcp" => Some(Self::Tcp),
            "udp" => Some(Self::Udp),
            "sctp" => Some(Self::Sctp),
            // Zeek calls both of them icmp.
            "icmp" if is_ipv6 => Some(Self::Icmp6),
            "icmp" => Some(Self::Icmp),
            "ipv6-icmp" | "icmp6" => Some(Self::Icmp6),
            _ => None,
        }
    }

    /// The protocol with this number behind a header of IPv4, or of IPv6.
    fn of_number(number: u8, is_ipv6: bool) -> Option<Self> {
        match number {
            protocol::TCP => Some(Self::Tcp),
            protocol::UDP => Some(Self::Udp),
            protocol::SCTP => Some(Self::Sctp),
            protocol::ICMP if !is_ipv6 => Some(Self::Icmp),
            protocol::ICMPV6 if is_ipv6 => Some(Self::Icmp6),
            _ => None,
        }
    }

    /// Its name in pcap-filter(7), which Suricata and Zeek use too.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
            Self::Icmp => "icmp",
            Self::Icmp6 => "icmp6",
        }
    }

    /// True if it has ports: those of ICMP in logs are its type and code.
    const fn has_ports(self) -> bool {
        matches!(self, Self::Tcp | Self::Udp | Self::Sctp)
    }
}

impl EventTuple {
    /// What a log says of a conversation: ports count where both are known and the protocol has any.
    pub fn of(ends: [IpAddr; 2], ports: [Option<u16>; 2], protocol: Option<&str>) -> Self {
        let is_unnamed = protocol.is_none();
        let protocol = protocol.and_then(|name| EventProtocol::of_name(name, ends[0].is_ipv6()));
        let has_ports = protocol.map_or(is_unnamed, EventProtocol::has_ports);
        let ports = match ports {
            [Some(one), Some(other)] if has_ports => Some([one, other]),
            _ => None,
        };
        Self { ends, ports, protocol }
    }

    /// A pcap-filter(7) expression for both directions.
    pub fn filter(&self) -> String {
        use std::fmt::Write;
        let [one, other] = self.ends;
        let mut text = format!("host {one} and host {other}");
        if let Some(protocol) = self.protocol {
            let _ = write!(text, " and {}", protocol.name());
        }
        if let Some([of_one, of_other]) = self.ports {
            let _ = write!(
                text,
                " and ((src host {one} and src port {of_one} and dst port {of_other}) or (dst host {one} and dst port {of_one} and src port {of_other}))"
            );
        }
        text
    }

    /// The same for both directions.
    fn in_order(self) -> Self {
        let Self { ends: [one, other], ports, protocol } = self;
        let [of_one, of_other] = ports.unwrap_or_default();
        match (one, of_one) <= (other, of_other) {
            true => self,
            false => Self { ends: [other, one], ports: ports.map(|[one, other]| [other, one]), protocol },
        }
    }
}

impl EventList {
    /// Memory that it takes, in bytes.
    pub(super) fn memory_bytes(&self) -> u64 {
        let of_entry = size_of::<ListedEvent>()
            + size_of::<(EventTuple, Vec<EventWindow>)>()
            + size_of::<EventWindow>()
            + 2 * VALUE_RANGE_BYTES;
        (self.entries.len() as u64).saturating_mul(of_entry as u64)
    }

    /// The events.
    pub fn entries(&self) -> &[ListedEvent] {
        &self.entries
    }

    /// The events as lines of Suricata's EVE log, which with [`EVE_WINDOW`] mean the same.
    pub fn as_eve(&self) -> String {
        let mut text = String::new();
        for ListedEvent { tuple: EventTuple { ends: [one, other], ports, protocol }, from, to } in
            &*self.entries
        {
            let mut event = serde_json::json!({
                "timestamp": Timestamp(to.ns().saturating_sub(EVE_WINDOW_NS)),
                "flow": { "start": from.plus_ns(EVE_WINDOW_NS) },
                "src_ip": one,
                "dest_ip": other,
            });
            if let Some([of_one, of_other]) = ports {
                event["src_port"] = (*of_one).into();
                event["dest_port"] = (*of_other).into();
            }
            if let Some(protocol) = protocol {
                event["proto"] = protocol.name().into();
            }
            text.push_str(&event.to_string());
            text.push('\n');
        }
        text
    }

    /// The IPv4 addresses of all of them, as numbers.
    pub(super) fn v4(&self) -> &ValueSet {
        &self.v4
    }

    /// The IPv6 addresses, likewise.
    pub(super) fn v6(&self) -> &ValueSet {
        &self.v6
    }

    /// True if a packet with these ends, received at this time, is of one of them.
    #[inline]
    pub(super) fn contains(&self, ends: &Ends, at: Timestamp) -> bool {
        self.windows_of(ends).any(|windows| {
            let after = windows.partition_point(|window| window.to <= at);
            windows.get(after).is_some_and(|window| window.from <= at)
        })
    }

    /// Verdict on the packets with these ends, the first and the last of which were received at these times.
    pub(super) fn judge(&self, ends: &Ends, first: Timestamp, last: Timestamp) -> Verdict {
        let mut verdict = Verdict::Never;
        for windows in self.windows_of(ends) {
            let after = windows.partition_point(|window| window.to <= first);
            match windows.get(after) {
                Some(window) if window.from <= first && last < window.to => return Verdict::Always,
                Some(window) if window.from <= last => verdict = Verdict::Maybe,
                _ => {}
            }
        }
        verdict
    }

    /// The ranges of every conversation that packets with these ends are of: logs may leave out protocol or ports.
    fn windows_of(&self, ends: &Ends) -> impl Iterator<Item = &[EventWindow]> {
        let (source, destination) = ends.addresses;
        let protocol = EventProtocol::of_number(ends.protocol, source.is_ipv6());
        let ports = ends.ports.filter(|_| protocol.is_some_and(EventProtocol::has_ports));
        let ports = ports.map(|(source, destination)| [source, destination]);
        let ends = [source, destination];
        let with_ports = ports.into_iter().flat_map(move |ports| {
            [protocol, None].map(|protocol| EventTuple { ends, ports: Some(ports), protocol })
        });
        let without = [protocol, None].map(|protocol| EventTuple { ends, ports: None, protocol });
        // Without a known protocol both are the same.
        let without = without.into_iter().skip(usize::from(protocol.is_none()));
        with_ports
            .chain(without)
            .filter_map(move |tuple| self.windows.get(&tuple.in_order()))
            .map(Vec::as_slice)
    }
}

impl From<Vec<ListedEvent>> for EventList {
    fn from(entries: Vec<ListedEvent>) -> Self {
        let mut windows: HashMap<EventTuple, Vec<EventWindow>, RandomState> = HashMap::default();
        for ListedEvent { tuple, from, to } in entries.iter().filter(|entry| entry.from < entry.to) {
            windows.entry(tuple.in_order()).or_default().push(EventWindow { from: *from, to: *to });
        }
        windows.values_mut().for_each(join);
        let addresses = || entries.iter().flat_map(|entry| entry.tuple.ends);
        let v4 = addresses().filter_map(|address| match address {
            IpAddr::V4(address) => Some(u128::from(address.to_bits())),
            IpAddr::V6(_) => None,
        });
        let v6 = addresses().filter_map(|address| match address {
            IpAddr::V4(_) => None,
            IpAddr::V6(address) => Some(address.to_bits()),
        });
        let set = |values: &mut dyn Iterator<Item = u128>| ValueSet::of(values.map(|value| value..=value));
        let (v4, v6) = (set(&mut v4.into_iter()), set(&mut v6.into_iter()));
        Self { v4, v6, windows: Arc::new(windows), entries: entries.into() }
    }
}

impl From<EventList> for Vec<ListedEvent> {
    fn from(list: EventList) -> Self {
        list.entries.to_vec()
    }
}

/// What tells it from other lists, in short.
impl std::fmt::Debug for EventList {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "EventList of {} entries ({:016x})", self.entries.len(), digest(self.entries.iter()))
    }
}

/// As a filter, with its range.
impl std::fmt::Display for ListedEvent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} from {} to {}", self.tuple.filter(), self.from, self.to)
    }
}

/// Puts ranges in order, and joins those that touch.
fn join(windows: &mut Vec<EventWindow>) {
    windows.sort_unstable_by_key(|window| window.from);
    let mut joined: Vec<EventWindow> = Vec::with_capacity(windows.len());
    for window in windows.drain(..) {
        match joined.last_mut() {
            Some(last) if window.from <= last.to => last.to = last.to.max(window.to),
            _ => joined.push(window),
        }
    }
    joined.shrink_to_fit();
    *windows = joined;
}
