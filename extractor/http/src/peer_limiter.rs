//! Limits on what peers do at the same time: first come, first served, with a share for each peer.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, Weak};

use netrewind_store::locked;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bits of an IPv6 address that a site has: RFC 6177.
const IPV6_SITE_BITS: u32 = 64;

/// Holder of a share: a token if there are tokens, else an address.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Peer {
    /// A token, by its name.
    Token(String),
    /// An address; of IPv6, that of the site.
    Address(Option<IpAddr>),
}

impl Peer {
    /// Peer of an address.
    pub fn of_address(address: IpAddr) -> Self {
        Self::Address(Some(match address.to_canonical() {
            IpAddr::V6(address) => {
                let site = address.to_bits() >> IPV6_SITE_BITS << IPV6_SITE_BITS;
                IpAddr::V6(Ipv6Addr::from_bits(site))
            }
            address => address,
        }))
    }
}

/// Permits to do something, a limited number of them for all peers and for each.
#[derive(Clone, Debug)]
pub struct PeerLimiter {
    all: Arc<Semaphore>,
    of_peers: Arc<Mutex<HashMap<Peer, Weak<Semaphore>>>>,
    permits_max: usize,
    peer_max: usize,
}

/// Permission, until it is dropped.
#[derive(Debug)]
pub struct Permit {
    _of_all: OwnedSemaphorePermit,
    _of_peer: OwnedSemaphorePermit,
}

impl PeerLimiter {
    /// This many permits, all of which one peer may have.
    pub fn new(permits_max: usize) -> Self {
        Self::with_share(permits_max, permits_max)
    }

    /// This many permits, of which each peer may have `peer_max`.
    pub fn with_share(permits_max: usize, peer_max: usize) -> Self {
        Self { all: Arc::new(Semaphore::new(permits_max)), of_peers: Arc::default(), permits_max, peer_max }
    }

    /// Number of permits in use.
    pub fn in_use(&self) -> usize {
        self.permits_max - self.all.available_permits()
    }

    fn of_peer(&self, peer: &Peer) -> Arc<Semaphore> {
        let mut of_peers = locked(&self.of_peers);
        if let Some(known) = of_peers.get(peer).and_then(Weak::upgrade) {
            return known;
        }
        // Those who have none any more need not be known.
        of_peers.retain(|_, known| known.strong_count() > 0);
        let share = Arc::new(Semaphore::new(self.peer_max));
        of_peers.insert(peer.clone(), Arc::downgrade(&share));
        share
    }

    /// A permit, if one is free.
    pub fn try_acquire(&self, peer: &Peer) -> Option<Permit> {
        let of_peer = self.of_peer(peer).try_acquire_owned().ok()?;
        let of_all = Arc::clone(&self.all).try_acquire_owned().ok()?;
        Some(Permit { _of_all: of_all, _of_peer: of_peer })
    }

    /// A permit, once one is free. A peer that waits for its own share does not block others.
    pub async fn acquire(&self, peer: &Peer) -> Option<Permit> {
        // The semaphores are never closed.
        let of_peer = self.of_peer(peer).acquire_owned().await.ok()?;
        let of_all = Arc::clone(&self.all).acquire_owned().await.ok()?;
        Some(Permit { _of_all: of_all, _of_peer: of_peer })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(address: &str) -> Peer {
        Peer::of_address(address.parse().expect("an address"))
    }

    #[test]
    fn each_peer_has_its_share_and_what_is_given_back_can_be_taken() {
        let limiter = PeerLimiter::with_share(8, 6);
        let (one, other) = (peer("192.0.2.1"), peer("192.0.2.2"));
        let mut taken: Vec<Permit> = std::iter::from_fn(|| limiter.try_acquire(&one)).collect();
        assert_eq!((taken.len(), limiter.in_use()), (6, 6));
        let of_other: Vec<Permit> = std::iter::from_fn(|| limiter.try_acquire(&other)).collect();
        assert_eq!((of_other.len(), limiter.in_use()), (2, 8));
        taken.pop();
        assert!(limiter.try_acquire(&other).is_some_and(|_| limiter.in_use() == 8));
        assert!(limiter.try_acquire(&one).is_some());
        drop((taken, of_other));
        assert_eq!(limiter.in_use(), 0);
        // One who comes again finds the whole share.
        assert!(limiter.try_acquire(&peer("192.0.2.3")).is_some());
        assert_eq!(std::iter::from_fn(|| limiter.try_acquire(&one).map(std::mem::forget)).count(), 6);
        assert!(PeerLimiter::new(1).try_acquire(&one).is_some());
    }

    #[test]
    fn a_site_of_ipv6_is_one_peer_and_ipv4_is_itself_however_it_is_written() {
        assert_eq!(peer("2001:db8:1:2::3"), peer("2001:db8:1:2:ffff::1"));
        assert_ne!(peer("2001:db8:1:2::3"), peer("2001:db8:1:3::3"));
        assert_eq!(peer("::ffff:192.0.2.1"), peer("192.0.2.1"));
        assert_ne!(peer("192.0.2.1"), peer("192.0.2.2"));
        assert_ne!(Peer::Token("192.0.2.1".to_owned()), peer("192.0.2.1"));
    }
}
