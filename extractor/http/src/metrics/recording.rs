//! State of the recorder, by its lock and its logbook.

use std::collections::{BTreeMap, HashMap};

use netrewind_store::logbook::{DayExcerpt, LogbookEntry, LogbookLine, RawLine, read_day};
use netrewind_store::store::StoreWriter;
use netrewind_store::time::{DAY_NS, SECOND_NS};
use netrewind_store::{Account, Event, LaneLoad, RingFill, Store, StoreError, Timestamp, WriteTimes};
use serde::Serialize;
use utoipa::ToSchema;

use super::exports::ExportAccount;
use super::interfaces::{InterfaceAccount, InterfaceTally};

/// A recorder that has written nothing to its logbook for this long counts as stalled. It writes at least every ten seconds.
const STALLED_AFTER_SECONDS: u64 = 35;

/// State of recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum RecordingState {
    /// Packets are recorded.
    Yes,
    /// No recorder uses this store.
    No,
    /// A recorder runs, but packets cannot be written to the disk: they are dropped.
    Failing,
    /// A recorder runs, but the logbook has not been written for a while.
    Stalled,
}

/// State and counters of the recorder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recording {
    /// State of recording.
    pub state: RecordingState,
    /// Packets and bytes counted since the beginning of the day on which the service was first asked.
    pub account: Account,
    /// Duration of its writes, since then.
    pub writes: WriteTimes,
    /// Packets of each interface, since then.
    pub interfaces: BTreeMap<String, InterfaceAccount>,
    /// Number of times that the kernel found no block to fill, since then.
    pub freezes: u64,
    /// Fill of each lane's ring in the last second logged of it; lanes without a ring are left out.
    pub rings: Vec<(u16, RingFill)>,
    /// Hours and flows that have left the store, since then.
    pub exports: ExportAccount,
    /// Time at which the logbook was last written.
    pub last_line: Option<Timestamp>,
}

impl Recording {
    /// State of recording, without adding up what has been counted.
    pub fn state(store: &Store, now: Timestamp) -> Result<RecordingState, StoreError> {
        let mut last = None;
        // A logbook that cannot be read gives no sign of life.
        let read = read_day(store, &now.date(), DayExcerpt::Tail, |line| {
            last = last.max(entry(line).map(|entry| entry.at))
        });
        if read.is_err() {
            last = None;
        }
        Ok(state(StoreWriter::of(store)?.as_ref(), last, now))
    }
}

fn state(writer: Option<&StoreWriter>, last_line: Option<Timestamp>, now: Timestamp) -> RecordingState {
    let fails = writer.is_some_and(|writer| writer.trouble.is_some());
    let is_recorder = |holder: &str| holder.contains("record") || holder.contains("run");
    let records = writer.is_some_and(|writer| is_recorder(&writer.holder));
    // At midnight the new day's logbook may not have begun; then the clock says how young the day is.
    let day_began = Timestamp(now.ns() / DAY_NS * DAY_NS);
    let silent_ns = now.ns().saturating_sub(last_line.unwrap_or(day_began).ns());
    match records {
        false => RecordingState::No,
        true if fails => RecordingState::Failing,
        true if silent_ns > STALLED_AFTER_SECONDS * SECOND_NS => RecordingState::Stalled,
        true => RecordingState::Yes,
    }
}

fn entry(line: RawLine<'_>) -> Option<LogbookEntry> {
    match line.parse() {
        LogbookLine::Entry(entry) => Some(entry),
        LogbookLine::Later { .. } | LogbookLine::Unreadable(_) => None,
    }
}

/// Adds up what the logbook says, each line once.
#[derive(Debug, Default)]
pub struct LogbookTally {
    account: Account,
    writes: WriteTimes,
    freezes: u64,
    interfaces: InterfaceTally,
    exports: ExportAccount,
    /// The last of each lane, and when that was.
    rings: BTreeMap<u16, (Timestamp, RingFill)>,
    /// The time of the last line of each lane.
    seen: HashMap<u16, Timestamp>,
    last_line: Option<Timestamp>,
    looked_at: Option<Timestamp>,
}

impl LogbookTally {
    pub(super) fn update(&mut self, store: &Store, now: Timestamp) -> Result<Recording, StoreError> {
        let (today, before) = (now.date(), self.looked_at.replace(now).map(Timestamp::date));
        let days = before.filter(|date| *date < today).into_iter().chain([today]);
        for date in days {
            let mut last_ones = Vec::new();
            read_day(store, &date, DayExcerpt::Tail, |line| last_ones.extend(entry(line)))?;
            if last_ones.first().is_some_and(|first| Some(first.at) <= self.last_line) {
                last_ones.iter().for_each(|entry| self.add(entry));
            } else {
                read_day(store, &date, DayExcerpt::Whole, |line| {
                    entry(line).iter().for_each(|entry| self.add(entry))
                })?;
            }
        }
        let state = state(StoreWriter::of(store)?.as_ref(), self.last_line, now);
        // A lane without recent lines is gone.
        let is_heard = |at: &Timestamp| now.ns().saturating_sub(at.ns()) <= STALLED_AFTER_SECONDS * SECOND_NS;
        let heard = self.rings.iter().filter(|(_, (at, _))| state != RecordingState::No && is_heard(at));
        let rings = heard.map(|(&lane, &(_, ring))| (lane, ring)).collect();
        let Self { account, writes, freezes, last_line, .. } = *self;
        let interfaces = self.interfaces.accounts();
        let exports = self.exports.clone();
        Ok(Recording { state, account, writes, interfaces, freezes, rings, exports, last_line })
    }

    fn add(&mut self, LogbookEntry { at, event, .. }: &LogbookEntry) {
        self.last_line = self.last_line.max(Some(*at));
        self.interfaces.learn(event);
        self.exports.learn(*at, event);
        if let Event::Second { lane, received, written, dropped, bytes, pace: LaneLoad { ring, writes, .. } } =
            event
            && self.seen.get(lane).is_none_or(|seen| seen < at)
        {
            self.seen.insert(*lane, *at);
            self.account.received += received;
            self.account.written += written;
            self.account.bytes += bytes;
            self.account.dropped.add(dropped);
            self.interfaces.add(*lane, &InterfaceAccount { received: *received, dropped: *dropped });
            self.writes.add(writes);
            if let Some(ring) = ring {
                self.freezes += ring.freezes;
                self.rings.insert(*lane, (*at, *ring));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use netrewind_store::{Drops, Logbook, StoreLock};

    use super::*;

    fn at(second: u32) -> Timestamp {
        Timestamp::new(1_795_339_861 + second, 0)
    }

    #[test]
    fn each_line_counts_once_and_silence_is_noticed() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open_or_create(folder.path(), at(0), 1).expect("a store");
        let mut logbook = Logbook::new(&store);
        let mut log = |second, lane| {
            let dropped = Drops { kernel: 1, disk: 0 };
            let mut pace = LaneLoad {
                ring: Some(RingFill { blocks: 8, filled_max: second, freezes: 1 }),
                ..LaneLoad::default()
            };
            pace.writes.count(2_000_000);
            let event = Event::Second { lane, received: 10, written: 9, dropped, bytes: 900, pace };
            logbook.append(at(second), event).expect("a line");
        };
        let mut tally = LogbookTally::default();
        (1..4).for_each(|second| log(second, 0));
        assert_eq!(tally.update(&store, at(4)).expect("an update").state, RecordingState::No);
        let lock = StoreLock::take(&store, "netrewind record, process 1").expect("a lock");
        log(5, 0);
        log(5, 1);
        let recording = tally.update(&store, at(6)).expect("an update");
        assert_eq!((recording.account.received, recording.account.dropped.kernel), (50, 5));
        assert_eq!((recording.state, recording.last_line), (RecordingState::Yes, Some(at(5))));
        assert_eq!((recording.writes.counts[3], recording.freezes), (5, 5));
        assert!(recording.interfaces.is_empty(), "the logbook has not said which they are");
        let filled = |ring: &(u16, RingFill)| (ring.0, ring.1.filled_max);
        assert_eq!(recording.rings.iter().map(filled).collect::<Vec<_>>(), [(0, 5), (1, 5)]);
        let later = tally.update(&store, at(60)).expect("an update");
        assert_eq!((later.state, later.account), (RecordingState::Stalled, recording.account));
        assert_eq!(later.rings, [], "nothing has been heard of them for long");
        assert_eq!(Recording::state(&store, at(60)).expect("a state"), RecordingState::Stalled);
        lock.publish_trouble(Some("no room"));
        assert_eq!(Recording::state(&store, at(60)).expect("a state"), RecordingState::Failing);
        assert_eq!(tally.update(&store, at(6)).expect("an update").state, RecordingState::Failing);
        drop(lock);
        assert_eq!(Recording::state(&store, at(60)).expect("a state"), RecordingState::No);
    }
}
