//! Limits on wrong tokens: of one source, and of all sources together.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

/// Sources whose failures are remembered.
const SOURCES_MAX: usize = 4096;
/// Allowance of one source.
const OF_SOURCE: Allowance = Allowance { failures: 10, one_forgotten_every: Duration::from_secs(6) };
/// Allowance of all sources together: limits hashes computed for wrong tokens.
const OF_ALL: Allowance = Allowance { failures: 100, one_forgotten_every: Duration::from_millis(200) };

/// Number of failures allowed, of which one is forgotten per interval.
#[derive(Clone, Copy, Debug)]
struct Allowance {
    failures: u32,
    one_forgotten_every: Duration,
}

impl Allowance {
    /// Time until another failure is allowed; `None` if one is now. `forgotten_at` is the time at which all failures will have
    /// been forgotten.
    fn wait(self, forgotten_at: Duration, now: Duration) -> Option<Duration> {
        let remembered = forgotten_at.saturating_sub(now);
        let room_at = self.one_forgotten_every * (self.failures - 1);
        remembered.checked_sub(room_at).filter(|wait| !wait.is_zero())
    }

    /// Time at which all are forgotten, after one more.
    fn after_another(self, forgotten_at: Duration, now: Duration) -> Duration {
        forgotten_at.max(now) + self.one_forgotten_every
    }
}

/// The failures that are remembered. Times are of a monotonic clock.
#[derive(Debug, Default)]
pub(super) struct Failures {
    /// Times at which the failures of each source are forgotten.
    by_source: HashMap<IpAddr, Duration>,
    of_all: Duration,
}

impl Failures {
    /// Time for which attempts of this address are refused; `None` if it may try now.
    pub(super) fn wait(&self, peer: IpAddr, now: Duration) -> Option<Duration> {
        let of_source = self.by_source.get(&source(peer)).and_then(|&at| OF_SOURCE.wait(at, now));
        of_source.max(OF_ALL.wait(self.of_all, now))
    }

    /// Remembers one.
    pub(super) fn add(&mut self, peer: IpAddr, now: Duration) {
        let source = source(peer);
        self.of_all = OF_ALL.after_another(self.of_all, now);
        if self.by_source.len() >= SOURCES_MAX && !self.by_source.contains_key(&source) {
            self.make_room(now);
        }
        let at = self.by_source.entry(source).or_default();
        *at = OF_SOURCE.after_another(*at, now);
    }

    /// Removes the sources whose failures are forgotten, or else the one with the fewest.
    fn make_room(&mut self, now: Duration) {
        self.by_source.retain(|_, forgotten_at| *forgotten_at > now);
        if self.by_source.len() >= SOURCES_MAX {
            let fewest = self.by_source.iter().min_by_key(|(_, at)| **at).map(|(source, _)| *source);
            fewest.and_then(|source| self.by_source.remove(&source));
        }
    }
}

/// An IPv4 address, or the /64 of an IPv6 address: a client with one address of it has all of them.
fn source(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn a_source_waits_after_too_many_and_may_go_on_later() {
        let (mut failures, now) = (Failures::default(), Duration::from_secs(1000));
        for _ in 0..OF_SOURCE.failures {
            assert_eq!(failures.wait(ip("2001:db8::1"), now), None);
            failures.add(ip("2001:db8::1"), now);
        }
        assert_eq!(failures.wait(ip("2001:db8::2"), now), Some(Duration::from_secs(6)), "of the same /64");
        assert_eq!(failures.wait(ip("2001:db8:0:1::1"), now), None);
        assert_eq!(failures.wait(ip("192.0.2.1"), now), None);
        assert_eq!(failures.wait(ip("2001:db8::1"), now + Duration::from_secs(6)), None);
        failures.add(ip("2001:db8::1"), now + Duration::from_secs(6));
        assert!(failures.wait(ip("2001:db8::1"), now + Duration::from_secs(6)).is_some());
    }

    #[test]
    fn an_ipv4_address_is_the_same_when_mapped() {
        let (mut failures, now) = (Failures::default(), Duration::from_secs(1));
        (0..OF_SOURCE.failures).for_each(|_| failures.add(ip("::ffff:192.0.2.1"), now));
        assert!(failures.wait(ip("192.0.2.1"), now).is_some());
        assert_eq!(failures.wait(ip("::ffff:192.0.2.2"), now), None);
    }

    #[test]
    fn memory_and_the_work_for_all_are_bounded() {
        let (mut failures, mut now) = (Failures::default(), Duration::ZERO);
        for number in 0..3 * SOURCES_MAX as u32 {
            failures.add(IpAddr::V4((0x0a00_0000 + number).into()), now);
            now += Duration::from_micros(1);
        }
        assert!(failures.by_source.len() <= SOURCES_MAX);
        assert!(failures.wait(ip("192.0.2.1"), now).is_some(), "all together were too many");
        assert_eq!(failures.wait(ip("192.0.2.1"), now + Duration::from_secs(3600)), None);
    }
}
