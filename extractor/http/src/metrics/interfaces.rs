//! Packets received and dropped by interface, of which a recorder may have many lanes.

use std::collections::{BTreeMap, HashMap};

use netrewind_store::{Drops, Event};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use super::sample::MetricLabels;

/// Interfaces that are told apart: a stream may name as many as it likes. Packets of further ones count under [`OTHERS`].
const INTERFACES_MAX: usize = 256;
/// Label for all further interfaces.
const OTHERS: &str = "others";

/// Packets of an interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InterfaceAccount {
    /// Packets received.
    pub received: u64,
    /// Packets received but not written.
    pub dropped: Drops,
}

impl InterfaceAccount {
    fn add(&mut self, other: &Self) {
        self.received += other.received;
        self.dropped.add(&other.dropped);
    }
}

/// Adds up what the logbook says of each interface.
#[derive(Debug, Default)]
pub(super) struct InterfaceTally {
    accounts: BTreeMap<String, InterfaceAccount>,
    /// The interface of each lane.
    names: HashMap<u16, String>,
    /// Counts of lanes whose interface has not been named yet.
    unnamed: HashMap<u16, InterfaceAccount>,
}

impl InterfaceTally {
    /// Learns from an event which interface a lane has.
    pub(super) fn learn(&mut self, event: &Event) {
        let (lane, interface) = match event {
            Event::Start { lane, interface, .. } => (*lane, interface),
            Event::Open { segment, interface, .. } => (segment.lane, interface),
            _ => return,
        };
        self.names.insert(lane, interface.clone());
        let waiting = self.unnamed.remove(&lane).unwrap_or_default();
        self.add(lane, &waiting);
    }

    /// Counts packets of a lane.
    pub(super) fn add(&mut self, lane: u16, packets: &InterfaceAccount) {
        let Some(name) = self.names.get(&lane) else {
            self.unnamed.entry(lane).or_default().add(packets);
            return;
        };
        let has_room = self.accounts.len() < INTERFACES_MAX || self.accounts.contains_key(name);
        let name = if has_room { name.clone() } else { OTHERS.to_owned() };
        self.accounts.entry(name).or_default().add(packets);
    }

    /// The counts so far, by interface.
    pub(super) fn accounts(&self) -> BTreeMap<String, InterfaceAccount> {
        self.accounts.clone()
    }
}

/// Adds the counts of all interfaces.
pub(super) fn add_interfaces(registry: &mut Registry, accounts: &BTreeMap<String, InterfaceAccount>) {
    let received = Family::<MetricLabels, Counter>::default();
    let dropped = Family::<MetricLabels, Counter>::default();
    for (name, account) in accounts {
        let interface = ("interface", name.clone());
        received.get_or_create(&vec![interface.clone()]).inc_by(account.received);
        for (reason, packets) in [("kernel", account.dropped.kernel), ("disk", account.dropped.disk)] {
            let labels = vec![interface.clone(), ("reason", reason.to_owned())];
            dropped.get_or_create(&labels).inc_by(packets);
        }
    }
    registry.register("interface_received_packets", "Packets received, by interface", received);
    registry.register(
        "interface_dropped_packets",
        "Packets received but not written, by interface and reason",
        dropped,
    );
}

#[cfg(test)]
mod tests {
    use netrewind_store::{LinkType, SegmentName, Timestamp};

    use super::*;

    fn packets(received: u64, kernel: u64) -> InterfaceAccount {
        InterfaceAccount { received, dropped: Drops { kernel, disk: 0 } }
    }

    fn open(lane: u16, interface: &str) -> Event {
        Event::open(SegmentName { opened: Timestamp(1), lane }, interface, LinkType::ETHERNET)
    }

    #[test]
    fn lanes_count_under_their_interface_also_before_it_is_named() {
        let mut tally = InterfaceTally::default();
        tally.add(0, &packets(1, 0));
        assert!(tally.accounts().is_empty());
        tally.learn(&open(0, "eth0"));
        tally.learn(&open(1, "eth0"));
        tally.add(1, &packets(10, 2));
        tally.learn(&open(0, "eth1"));
        tally.add(0, &packets(100, 3));
        let expected = [("eth0", packets(11, 2)), ("eth1", packets(100, 3))];
        assert_eq!(tally.accounts(), expected.map(|(name, account)| (name.to_owned(), account)).into());
    }

    #[test]
    fn a_stream_cannot_name_interfaces_without_end() {
        let mut tally = InterfaceTally::default();
        for number in 0..2 * INTERFACES_MAX {
            tally.learn(&open(0, &format!("eth{number}")));
            tally.add(0, &packets(1, 0));
        }
        let accounts = tally.accounts();
        assert_eq!(accounts.len(), INTERFACES_MAX + 1);
        assert_eq!(accounts[OTHERS].received, INTERFACES_MAX as u64);
    }
}
