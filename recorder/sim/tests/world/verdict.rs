//! What has to be true of a store, whatever happened to its recorder.

use std::collections::BTreeSet;

use netrewind_extractor::{Extractor, Query};
use netrewind_store::store::ListedSegment;
use netrewind_store::time::SECOND_NS;
use netrewind_store::{Store, Timestamp};

use crate::chance::Chance;
use crate::reading::{Reading, read};
use crate::traffic::WirePacket;

/// Ranges that are asked for.
const RANGES: usize = 6;

/// Everything on the wire, and whether a time was there twice.
pub struct Truth<'w> {
    pub wire: &'w [WirePacket],
    pub sets_clock_back: bool,
}

impl Truth<'_> {
    /// Checks the whole store and some ranges: each answer has every packet that the whole one has there, and says so if one is
    /// missing that was on the wire. Returns the packets that are kept.
    pub fn check(&self, when: &str, reader: &Extractor, chance: &mut Chance) -> BTreeSet<u64> {
        let whole = read(reader, self.wire, &Query::default());
        let kept: BTreeSet<u64> = whole.numbers.iter().copied().collect();
        assert_eq!(kept.len(), whole.numbers.len(), "{when}: a packet is there twice");
        let missing: Vec<&WirePacket> = self
            .wire
            .iter()
            .filter(|packet| packet.has_right_time() && !kept.contains(&packet.number))
            .collect();
        if let (Some(first), Some((from, to))) = (missing.first(), self.bounds()) {
            // An open end is that of what is kept.
            let all = read(reader, self.wire, &Query { from: Some(from), to: Some(to), ..Query::default() });
            assert!(all.numbers == whole.numbers, "{when}: from {from} to {to}, the answer is another");
            if !self.sets_clock_back {
                self.says_so(reader, &format!("{when}: everything"), &all, first, missing.len());
            }
        }
        let unindexed = read(reader, self.wire, &Query { use_index: false, ..Query::default() });
        assert!(unindexed.numbers == whole.numbers, "{when}: without indexes, the answer is another");
        for _ in 0..RANGES {
            self.check_range(when, reader, &whole, chance);
        }
        kept
    }

    fn check_range(&self, when: &str, reader: &Extractor, whole: &Reading, chance: &mut Chance) {
        let (from, to) = self.range(chance);
        let query = Query { from: Some(from), to: Some(to), ..Query::default() };
        let part = read(reader, self.wire, &query);
        let is_within = |packet: &WirePacket| from <= packet.at && packet.at < to;
        let expected: Vec<u64> =
            whole.numbers.iter().copied().filter(|&number| is_within(&self.wire[number as usize])).collect();
        let of_range = format!("{when}: from {from} to {to}");
        assert!(
            part.numbers == expected,
            "{of_range}: {} packets, not {}",
            part.numbers.len(),
            expected.len()
        );
        if self.sets_clock_back {
            return;
        }
        let given: BTreeSet<u64> = expected.into_iter().collect();
        let missing: Vec<&WirePacket> = self
            .wire
            .iter()
            .filter(|packet| packet.has_right_time() && is_within(packet))
            .filter(|packet| !given.contains(&packet.number))
            .collect();
        if let Some(first) = missing.first() {
            self.says_so(reader, &of_range, &part, first, missing.len());
        }
    }

    /// The earliest packet's time, and the first moment after all.
    fn bounds(&self) -> Option<(Timestamp, Timestamp)> {
        let times = self.wire.iter().map(|packet| packet.at);
        Some((times.clone().min()?, times.max()?.plus_ns(1)))
    }

    /// Two moments near packets.
    fn range(&self, chance: &mut Chance) -> (Timestamp, Timestamp) {
        let mut moment = || {
            let near = self
                .wire
                .get(chance.below(self.wire.len() as u64) as usize)
                .map_or(0, |packet| packet.at.ns());
            Timestamp((near + chance.below(3 * SECOND_NS)).saturating_sub(chance.below(3 * SECOND_NS)))
        };
        let (one, other) = (moment(), moment());
        (one.min(other), one.max(other).plus_ns(1))
    }

    fn says_so(&self, reader: &Extractor, of: &str, reading: &Reading, first: &WirePacket, count: usize) {
        let completeness = &reading.answer.completeness;
        assert!(
            !completeness.is_complete(),
            "{of}: {count} packets are missing, the first {first:?}, of {} on the wire, and the answer says {:#?}; the segments:\n{}the logbook:\n{}",
            self.wire.len(),
            completeness.lines(),
            segments(reader.store()),
            logbook(reader.store())
        );
    }
}

fn segments(store: &Store) -> String {
    let listed = ListedSegment::all(store).unwrap_or_default();
    listed.into_iter().map(|segment| format!("{segment:?}\n")).collect()
}

fn logbook(store: &Store) -> String {
    let dates = store.logbook_dates().unwrap_or_default();
    let days = dates.iter().filter_map(|date| store.files().read(&store.logbook_path(date)).ok());
    days.map(|day| String::from_utf8_lossy(&day).into_owned()).collect()
}
