//! Reassembly of fragmented tunnel packets for a decapsulated answer.
//!
//! ```text
//! merge --> fragments wait, and later packets --> Decapsulator --> sink
//! ```
//!
//! - The fragments of a series (RFC 791, section 3.2; RFC 8200, section 4.5) wait until they are whole. What they give is
//!   taken apart again; where it shows a tunnel it is written in the place and with the time of the fragment that came last.
//!   If it is a fragment itself, one tunnel further in, it waits again.
//! - Where it shows none they are the innermost packet as it was sent: each is written as it is, in its own place.
//! - A series that is not whole within [`WINDOW_NS`] of its first arrival, or at the end of the answer, is given up: its
//!   first fragment is written cut, in its own place and with its own time, and the later ones are not. Later ones alone
//!   are not written either where they may be a piece of a tunnel's packet: in the packet as it was received.
//! - Exact duplicates are ignored. A series whose fragments overlap otherwise is refused (RFC 5722), as is one that would
//!   be longer than an IP packet: nothing of it is written.
//! - Fragments cut by a snaplen give a packet that is cut where the first of them is.
//!
//! To keep the answer in order of time, packets behind a fragment that waits are kept waiting too: as references into
//! their segment, not as copies. Where nothing is fragmented nothing waits.

mod item;
mod queue;
mod series;
#[cfg(test)]
mod tests;
mod together;

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};

use netrewind_packet::tunnel::{Tunnel, TunnelKind, TunnelPorts};
use netrewind_packet::{Fragment, Peeler, Series as SeriesName, ViewBytes, protocol};
use netrewind_store::Timestamp;
use xxhash_rust::xxh3::xxh3_64;

use crate::answer::ReassemblyAccount;
use crate::fragments::FRAGMENT_WINDOW_NS;
use crate::memory::{Holding, MemoryAccount};
use crate::sink::AnswerPacket;
pub(crate) use item::OutputPacket;
use queue::OutputQueue;
use series::{Deadline, Fate, FragmentFit, FragmentKey, FragmentPart, FragmentSet, LeadFragment};

/// Longest time between the fragments of a packet: as long as they are found together.
const WINDOW_NS: u64 = FRAGMENT_WINDOW_NS;
/// Longest time after a packet was whole at which its fragments can arrive again; later, the same id is another packet's.
const NEAR_NS: u64 = 10_000_000;
/// Maximum number of reassemblies in a row: one for each tunnel around a packet.
const DEPTH_MAX: u8 = 8;
/// Series that are kept in mind: some 100 MB.
const SERIES_MAX: usize = 1 << 17;
/// Packets that wait, with those behind them: some 150 MB.
const PACKETS_MAX: usize = 1 << 20;
/// Bytes of packets that were put together and wait.
const TOGETHER_BYTES_MAX: usize = 256 << 20;
/// Bytes of a packet that waits, which is not copied.
const WAITING_BYTES: usize = 256;
/// Step in which memory is requested.
const HELD_STEP_BYTES: usize = 1 << 20;

/// Reassembles packets. They go in with [`Self::take`] in the order of the answer, and come out with [`Self::next`].
#[derive(Debug)]
pub(crate) struct Reassembler {
    peeler: Peeler,
    queue: OutputQueue,
    series: HashMap<FragmentKey, FragmentSet>,
    deadlines: BTreeMap<Deadline, FragmentKey>,
    begun: u64,
    account: ReassemblyAccount,
    /// Share of the waiting packets in the memory of all answers.
    holding: Option<Holding>,
}

/// A fragment that may be a piece of a tunnel's packet.
struct FoundFragment {
    key: FragmentKey,
    fragment: Fragment,
    part: FragmentPart,
    /// Header facts, if it is the first one.
    first: Option<LeadFragment>,
    at: Timestamp,
}

impl Reassembler {
    pub(crate) fn new(ports: &TunnelPorts) -> Self {
        Self {
            peeler: Peeler::new(ports),
            queue: OutputQueue::default(),
            series: HashMap::new(),
            deadlines: BTreeMap::new(),
            begun: 0,
            account: ReassemblyAccount::default(),
            holding: None,
        }
    }

    /// Charges its memory to the account; without room for more it gives up incomplete packets earlier.
    pub(crate) fn held_by(self, account: &MemoryAccount) -> Self {
        Self { holding: Some(account.holding()), ..self }
    }

    /// True if a packet can bypass reassembly: it is no fragment, and nothing before it waits.
    pub(crate) fn lets_pass(&mut self, packet: &AnswerPacket<'_>) -> bool {
        let AnswerPacket { header, bytes, link_type, .. } = *packet;
        self.queue.is_empty()
            && !self.peeler.take_apart(ViewBytes { link_type, bytes, len: header.len }).is_fragment()
    }

    /// The next packet of the answer.
    pub(crate) fn take(&mut self, item: OutputPacket) {
        self.advance(item.at());
        let slot = self.queue.push(item);
        self.settle(slot);
        self.keep_bounds();
    }

    /// No packet before this time comes any more.
    pub(crate) fn advance(&mut self, now: Timestamp) {
        while let Some(earliest) = self.deadlines.first_entry()
            && earliest.key().0 < now.ns()
        {
            let key = earliest.remove();
            self.give_up(&key);
        }
    }

    /// Ends the input: no more packets come.
    pub(crate) fn end(&mut self) {
        while let Some((_, key)) = self.deadlines.pop_first() {
            self.give_up(&key);
        }
    }

    /// The next packet that need not wait any more.
    pub(crate) fn next(&mut self) -> Option<OutputPacket> {
        self.queue.pop()
    }

    pub(crate) fn account(&self) -> ReassemblyAccount {
        self.account
    }

    /// Adds a packet to its series if it is a fragment. A series that becomes whole is replaced by the reassembled packet,
    /// which may be a fragment again.
    fn settle(&mut self, slot: u64) {
        while let Some(found) = self.look(slot) {
            if !self.place(slot, &found) {
                return;
            }
        }
        self.queue.release(slot);
    }

    /// The outermost fragment that a packet is.
    fn look(&mut self, slot: u64) -> Option<FoundFragment> {
        let item = self.queue.item(slot).filter(|item| item.depth < DEPTH_MAX)?;
        let peeled = self.peeler.take_apart(item.view());
        if !peeled.is_fragment() {
            return None;
        }
        let fragment = peeled.fragments().find(|fragment| may_carry_tunnel(fragment.next_header))?;
        let view = fragment.series.view;
        let (begin, link_type) = peeled.begin_of(view)?;
        let around = peeled.tunnels().filter(|tunnel| tunnel.view < view);
        let tunnels = around.fold(item.tunnels, |outer, tunnel| {
            let mut hasher = DefaultHasher::new();
            (outer, tunnel.kind, tenant_of(&tunnel)).hash(&mut hasher);
            hasher.finish()
        });
        let name = SeriesName { view: item.views.saturating_add(view), ..fragment.series };
        let captured = item.bytes().get(fragment.payload..).unwrap_or_default();
        let captured = &captured[..captured.len().min(fragment.bytes)];
        let is_tunnel = peeled.innermost_view() > view;
        Some(FoundFragment {
            key: FragmentKey { name, tunnels },
            first: fragment.is_first().then_some(LeadFragment { begin, link_type, fragment, is_tunnel }),
            part: FragmentPart {
                slot,
                bytes: fragment.bytes,
                payload: fragment.payload,
                captured: captured.len(),
                hash: xxh3_64(captured),
            },
            fragment,
            at: item.at(),
        })
    }

    /// Adds a fragment to its series; true if the series is now whole and its packet has taken the fragment's place.
    fn place(&mut self, slot: u64, found: &FoundFragment) -> bool {
        if !is_sound(&found.fragment) {
            self.account.refused += 1;
            let fate = fate_of(found.first.as_ref(), &found.key);
            self.account.fragments_dropped += self.queue.meet([slot], fate);
            return false;
        }
        if let Some(series) = self.series.get_mut(&found.key) {
            let fit = series.fit(&found.fragment, &found.part);
            let is_old = found.at.ns().saturating_sub(series.newest.ns()) > NEAR_NS;
            match (series.closed, fit) {
                (Some(closed), fit) if closed.is_refused || fit == FragmentFit::Duplicate => {
                    self.queue.meet([slot], closed.fate);
                    return false;
                }
                (None, FragmentFit::Duplicate) => {
                    series.duplicates.push(slot);
                    return false;
                }
                (None, FragmentFit::Contradiction) if !is_old => {
                    self.refuse(&found.key, slot);
                    return false;
                }
                (None, FragmentFit::New) => {}
                // The id is another packet's now.
                (Some(_), _) | (None, FragmentFit::Contradiction) => self.give_up(&found.key),
            }
        }
        let series = self.series.entry(found.key).or_insert_with(|| {
            self.begun += 1;
            let deadline = (found.at.ns().saturating_add(WINDOW_NS), self.begun);
            self.deadlines.insert(deadline, found.key);
            FragmentSet::new(deadline)
        });
        series.add(&found.fragment, found.part, found.first, found.at);
        series.is_whole() && self.put_together(&found.key, slot)
    }

    /// Reassembles a whole series in the place of its last fragment; false if the result shows no tunnel.
    fn put_together(&mut self, key: &FragmentKey, slot: u64) -> bool {
        let Some(series) = self.series.get(key) else { return false };
        let total = series.total.unwrap_or(0);
        let together = together::put_together(series, &self.queue, key, total);
        let peeler = &mut self.peeler;
        let together = together.filter(|item| shows_tunnel(peeler, series, item));
        let fate = if together.is_some() { Fate::Dropped } else { Fate::AsSent };
        let Some(last) = self.queue.item(slot) else { return false };
        let placed = together.map(|item| item.placed_as(last));
        self.close(key, fate, false);
        match placed {
            Some(item) => {
                self.account.packets += 1;
                self.queue.put(slot, item);
                true
            }
            None => false,
        }
    }

    /// Its fragments contradict each other.
    fn refuse(&mut self, key: &FragmentKey, slot: u64) {
        let Some(series) = self.series.get_mut(key) else { return };
        series.duplicates.push(slot);
        let fate = fate_of(series.first.as_ref(), key);
        self.account.refused += 1;
        self.account.fragments_dropped += self.close(key, fate, true);
    }

    /// A series that will not become whole, or is not needed any more.
    fn give_up(&mut self, key: &FragmentKey) {
        let Some(series) = self.series.remove(key) else { return };
        self.deadlines.remove(&series.deadline);
        if series.closed.is_some() {
            return;
        }
        let Some((first, first_slot)) = series.first.zip(series.parts.get(&0).map(|part| part.slot)) else {
            let fate = fate_of(None, key);
            self.account.incomplete += u64::from(fate == Fate::Dropped);
            self.account.fragments_dropped += self.queue.meet(series.slots(), fate);
            return;
        };
        let total = together::total_told(&series, &first, &self.queue, key, &mut self.peeler);
        let together = together::put_together(&series, &self.queue, key, total);
        let together = together.filter(|item| shows_tunnel(&mut self.peeler, &series, item));
        let placed = together.zip(self.queue.item(first_slot)).map(|(item, first)| item.placed_as(first));
        let Some(item) = placed else {
            self.queue.meet(series.slots(), Fate::AsSent);
            return;
        };
        self.account.incomplete += 1;
        self.queue.meet(series.slots().filter(|slot| *slot != first_slot), Fate::Dropped);
        self.queue.put(first_slot, item);
        self.settle(first_slot);
    }

    /// Decides the fate of a series' fragments, and of copies that follow soon. Returns the number dropped.
    fn close(&mut self, key: &FragmentKey, fate: Fate, is_refused: bool) -> u64 {
        let Some(series) = self.series.get_mut(key) else { return 0 };
        let dropped = self.queue.meet(series.slots(), fate);
        self.deadlines.remove(&series.deadline);
        series.close(fate, is_refused);
        series.deadline.0 = series.newest.ns().saturating_add(NEAR_NS);
        self.deadlines.insert(series.deadline, *key);
        dropped
    }

    /// True if there is memory for the packets that wait.
    fn has_memory(&mut self) -> bool {
        let Some(holding) = &mut self.holding else { return true };
        let bytes = self.queue.together_bytes() + self.queue.len() * WAITING_BYTES;
        holding.hold(bytes.next_multiple_of(HELD_STEP_BYTES) as u64) || !self.queue.waits()
    }

    fn keep_bounds(&mut self) {
        let waits_too_much = |queue: &OutputQueue| {
            queue.waits() && (queue.len() > PACKETS_MAX || queue.together_bytes() > TOGETHER_BYTES_MAX)
        };
        while (self.series.len() > SERIES_MAX || waits_too_much(&self.queue) || !self.has_memory())
            && let Some((_, key)) = self.deadlines.pop_first()
        {
            let is_open = self.series.get(&key).is_some_and(|series| series.closed.is_none());
            self.account.given_up_early += u64::from(is_open);
            self.give_up(&key);
        }
    }
}

/// A reassembled packet, even an incomplete one, shows more than the IP header of its fragments.
fn shows_tunnel(peeler: &mut Peeler, series: &FragmentSet, together: &OutputPacket) -> bool {
    series.first.is_some_and(|first| first.is_tunnel)
        || peeler.take_apart(together.view()).innermost_view() > 0
}

/// Fate of the fragments of a series that does not become whole.
fn fate_of(first: Option<&LeadFragment>, key: &FragmentKey) -> Fate {
    match first {
        Some(first) if first.is_tunnel => Fate::Dropped,
        None if key.name.view == 0 => Fate::Dropped,
        _ => Fate::AsSent,
    }
}

/// The id of a tunnel, if it is the same for all fragments of a packet inside: the labels of MPLS and the lower bits of
/// NVGRE's key can depend on ports, which later fragments do not have.
fn tenant_of(tunnel: &Tunnel) -> Option<u32> {
    tunnel.virtual_network().or(tunnel.id).filter(|_| tunnel.kind != TunnelKind::Mpls)
}

/// True if a tunnel can stand behind an IP header that names this protocol: not if it is known to be another.
fn may_carry_tunnel(protocol: u8) -> bool {
    use protocol::{DCCP, ICMP, ICMPV6, SCTP, TCP, UDP_LITE};
    !matches!(protocol, TCP | ICMP | ICMPV6 | SCTP | DCCP | UDP_LITE)
}

/// True if it can be a part of a packet: not empty, within the longest packet, and a multiple of 8 bytes unless it is the last
/// (RFC 8200, section 4.5).
fn is_sound(fragment: &Fragment) -> bool {
    let has_length = fragment.bytes > 0 && (!fragment.more || fragment.bytes.is_multiple_of(8));
    has_length && fragment.offset + fragment.bytes <= together::total_max(fragment)
}
