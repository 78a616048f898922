//! Cache between two overviews of a store: a day's logbook has a line a second and lane, and a sealed segment does not change.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Mutex};

use netrewind_store::logbook::{DayPosition, LogbookEntry, LogbookLine, RawLine, read_day_from};
use netrewind_store::time::{DAY_SECONDS, MINUTE_NS, SECOND_NS};
use netrewind_store::{Drops, Event, LaneLoad, SegmentName, Store, StoreError, Timestamp, locked};

use crate::answer::completeness::Damage;
use crate::history::archive_overview::ArchiveOverview;
use crate::history::logbook_damage::part_and_reason;

/// Rates are means over this time.
const RATE_SECONDS: u64 = 10;
/// Period covered by drops and similar counts, to the minute.
const COUNTED_SECONDS: u64 = DAY_SECONDS;
/// Limit on cached minutes: those of a day, and as many of a clock that was ahead.
const MINUTES_MAX: usize = 2 * 1440;
/// Interfaces that are told apart: a stream may name as many as it likes. Packets of further ones count under [`OTHERS`].
const INTERFACES_MAX: usize = 256;
/// Name for all further interfaces.
const OTHERS: &str = "others";
/// Seconds that are remembered for rates: of a thousand lanes.
const SECONDS_MAX: usize = 10_000;

/// Cache for a store. It only changes the time that an overview takes; the result is the same, except that an interface that was
/// away before the last day began is known to be away.
#[derive(Debug, Default)]
pub struct OverviewCache {
    day: Mutex<LastDay>,
    /// Earliest and latest timestamps of sealed segments.
    times: Mutex<HashMap<SegmentName, (Timestamp, Timestamp)>>,
}

impl OverviewCache {
    /// Summary of the logbook's last day.
    pub(super) fn last_day(&self, store: &Store, now: Timestamp, is_written: bool) -> Recent {
        locked(&self.day).refresh(store, now, is_written)
    }

    /// The times of a sealed segment, if they are known.
    pub(super) fn times(&self, name: &SegmentName) -> Option<(Timestamp, Timestamp)> {
        locked(&self.times).get(name).copied()
    }

    /// Remembers the times of these segments as well.
    pub(super) fn add_times(&self, times: HashMap<SegmentName, (Timestamp, Timestamp)>) {
        locked(&self.times).extend(times);
    }

    /// Remembers the times of these segments, and of no others.
    pub(super) fn set_times(&self, times: HashMap<SegmentName, (Timestamp, Timestamp)>) {
        *locked(&self.times) = times;
    }
}

/// Summary of the logbook's last day.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Recent {
    pub(super) packets_per_second: f64,
    pub(super) bits_per_second: f64,
    pub(super) dropped: Drops,
    pub(super) ring_filled: Option<f64>,
    pub(super) slowest_write_us: Option<u64>,
    /// Lanes whose interface is away, and why.
    pub(super) down: Vec<String>,
    /// State of the archive, as was told last.
    pub(super) archive: Option<ArchiveOverview>,
    /// Packets received and dropped, by interface.
    pub(super) interfaces: BTreeMap<String, LaneCounts>,
    /// Parts of the logbook that cannot be read.
    pub(super) damaged: Vec<Damage>,
}

/// Packets of an interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct LaneCounts {
    pub(super) received: u64,
    pub(super) dropped: Drops,
}

impl LaneCounts {
    fn add(&mut self, other: &Self) {
        self.received += other.received;
        self.dropped.add(&other.dropped);
    }
}

/// An interface, or a lane whose interface the logbook has not named yet.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum LaneName {
    Interface(Arc<str>),
    Lane(u16),
}

#[derive(Debug, Default)]
struct LastDay {
    /// Position up to which each day's file was read.
    read: BTreeMap<String, DayPosition>,
    minutes: BTreeMap<u64, Minute>,
    /// End of each second, with its packets and their bytes.
    seconds: VecDeque<(Timestamp, u64, u64)>,
    /// Interface by lane, and the reason if it is away.
    interfaces: BTreeMap<u16, (String, Option<String>)>,
    /// The name of each lane's interface: the first one that is known, and the present one.
    names: BTreeMap<u16, (Arc<str>, Arc<str>)>,
    /// Lines of each day that cannot be read.
    unreadable: BTreeMap<String, u64>,
    archive: Option<ArchiveOverview>,
    /// Segments that expired before they were archived.
    unarchived: BTreeMap<SegmentName, Timestamp>,
    /// Seconds with drops: a line that occurs twice counts once.
    told: BTreeSet<(Timestamp, u16)>,
}

/// Worst values of a minute.
#[derive(Debug, Default)]
struct Minute {
    dropped: Drops,
    ring_filled: Option<f64>,
    slowest_write_us: Option<u64>,
    interfaces: BTreeMap<LaneName, LaneCounts>,
}

impl Minute {
    fn count(&mut self, name: LaneName, counts: &LaneCounts) {
        let has_room = self.interfaces.len() < INTERFACES_MAX || self.interfaces.contains_key(&name);
        let name = if has_room { name } else { LaneName::Interface(OTHERS.into()) };
        self.interfaces.entry(name).or_default().add(counts);
    }
}

impl LastDay {
    /// Reads new lines. An incomplete last line may still be being written if a recorder is running.
    fn refresh(&mut self, store: &Store, now: Timestamp, is_written: bool) -> Recent {
        let mut damaged = Vec::new();
        let damage = |error: &StoreError| {
            let (part, reason) = part_and_reason(store, error);
            Damage::needed(part, reason)
        };
        let since = |seconds: u64| Timestamp(now.ns().saturating_sub(seconds * SECOND_NS));
        let (day, rate) = (since(COUNTED_SECONDS), since(RATE_SECONDS));
        let (first, last) = (day.date(), now.date());
        let dates = store.logbook_dates().unwrap_or_else(|error| {
            damaged.push(damage(&error));
            Vec::new()
        });
        if dates.is_empty() && damaged.is_empty() && !store.has_logbook() {
            damaged.push(Damage::needed("logbook", "it is missing"));
        }
        let dates = dates.into_iter().filter(|date| first <= *date && *date <= last);
        let bytes = |date: &String| store.logbook_bytes(date).unwrap_or(0);
        if self.read.iter().any(|(date, read)| *date >= first && bytes(date) < read.end) {
            *self = Self::default(); // they are other files
        }
        for date in dates {
            let mut position = self.read.get(&date).copied().unwrap_or_default();
            let mut is_cut = false;
            let read = read_day_from(store, &date, &mut position, |line, is_whole| match is_whole {
                true => self.line(line, &date, rate),
                false => is_cut = matches!(line.parse(), LogbookLine::Unreadable(_)),
            });
            if is_cut && !is_written {
                let part = store.part(&store.logbook_path(&date));
                damaged.push(Damage::needed(part, "its last line is cut short, as by a crash"));
            }
            match read {
                Ok(()) => drop(self.read.insert(date, position)),
                Err(error) => damaged.push(damage(&error)),
            }
        }
        self.unreadable.retain(|date, _| *date >= first);
        self.told.retain(|(at, _)| *at >= day);
        self.unarchived.retain(|_, at| *at >= day);
        for (date, count) in &self.unreadable {
            let reason =
                format!("{count} lines of it are missing or cannot be read: netrewind verify names them");
            damaged.push(Damage::needed(store.part(&store.logbook_path(date)), reason));
        }
        self.read.retain(|date, _| *date >= first);
        self.minutes.retain(|minute, _| (minute + 1) * MINUTE_NS > day.ns());
        while self.minutes.len() > MINUTES_MAX {
            self.minutes.pop_first();
        }
        self.seconds.retain(|(at, ..)| *at >= rate);
        Recent { damaged, ..self.recent() }
    }

    fn line(&mut self, line: RawLine<'_>, date: &str, rate: Timestamp) {
        if line.missing() > 0 {
            *self.unreadable.entry(date.to_owned()).or_default() += line.missing();
        }
        let (event, at) = match line.parse() {
            LogbookLine::Entry(LogbookEntry { event, at, .. }) => (event, at),
            LogbookLine::Later { .. } => return,
            LogbookLine::Unreadable(_) => {
                *self.unreadable.entry(date.to_owned()).or_default() += 1;
                return;
            }
        };
        self.learn(&event);
        match event {
            Event::Second { lane, dropped, .. } if dropped.total() > 0 && !self.told.insert((at, lane)) => {}
            Event::Second { lane, received, dropped, bytes, pace: LaneLoad { ring, writes, .. }, .. } => {
                let name = self.names.get(&lane).map(|(_, now)| LaneName::Interface(Arc::clone(now)));
                let minute = self.minutes.entry(at.ns() / MINUTE_NS).or_default();
                minute.dropped.add(&dropped);
                minute.count(name.unwrap_or(LaneName::Lane(lane)), &LaneCounts { received, dropped });
                if let Some(ring) = ring {
                    minute.ring_filled = Some(minute.ring_filled.unwrap_or(0.0).max(ring.share()));
                }
                if !writes.is_empty() {
                    minute.slowest_write_us = minute.slowest_write_us.max(Some(writes.slowest_us));
                }
                if at >= rate && self.seconds.len() < SECONDS_MAX {
                    self.seconds.push_back((at, received, bytes));
                }
            }
            Event::Start { lane, interface, .. } => drop(self.interfaces.insert(lane, (interface, None))),
            Event::Down { lane, reason, .. } => self.interfaces.entry(lane).or_default().1 = Some(reason),
            Event::Up { lane } | Event::Stop { lane, .. } => {
                self.interfaces.entry(lane).or_default().1 = None;
            }
            archive @ Event::Archive { .. } => self.archive = ArchiveOverview::of(archive, at),
            Event::Unarchived { segment } => drop(self.unarchived.insert(segment, at)),
            _ => {}
        }
    }

    /// Learns from an event which interface a lane has.
    fn learn(&mut self, event: &Event) {
        let (lane, interface) = match event {
            Event::Start { lane, interface, .. } => (*lane, interface),
            Event::Open { segment, interface, .. } => (segment.lane, interface),
            _ => return,
        };
        let name: Arc<str> = interface.as_str().into();
        let known = self.names.entry(lane).or_insert_with(|| (Arc::clone(&name), Arc::clone(&name)));
        known.1 = name;
    }

    fn recent(&self) -> Recent {
        let mut recent = Recent::default();
        for Minute { dropped, ring_filled, slowest_write_us, interfaces } in self.minutes.values() {
            recent.dropped.add(dropped);
            for (name, counts) in interfaces {
                let name = match name {
                    LaneName::Interface(name) => name.to_string(),
                    LaneName::Lane(lane) => match self.names.get(lane) {
                        Some((first, _)) => first.to_string(),
                        None => format!("lane {lane}"),
                    },
                };
                recent.interfaces.entry(name).or_default().add(counts);
            }
            if let Some(filled) = ring_filled {
                recent.ring_filled = Some(recent.ring_filled.unwrap_or(0.0).max(*filled));
            }
            recent.slowest_write_us = recent.slowest_write_us.max(*slowest_write_us);
        }
        let sums =
            self.seconds.iter().fold((0, 0), |sums, (_, packets, bytes)| (sums.0 + packets, sums.1 + bytes));
        recent.packets_per_second = sums.0 as f64 / RATE_SECONDS as f64;
        recent.bits_per_second = sums.1 as f64 * 8.0 / RATE_SECONDS as f64;
        let away = self.interfaces.values().filter_map(|(interface, down)| Some((interface, down.as_ref()?)));
        recent.archive = self
            .archive
            .clone()
            .map(|archive| ArchiveOverview { unarchived_last_day: self.unarchived.len() as u64, ..archive });
        recent.down = away.map(|(interface, down)| format!("{interface}: {down}")).collect();
        recent
    }
}

#[cfg(test)]
mod tests {
    use netrewind_store::{Logbook, RingFill};

    use super::*;

    #[test]
    fn what_is_remembered_is_what_all_of_the_logbook_says() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open_or_create(folder.path(), Timestamp(0), 1).expect("a store");
        let mut logbook = Logbook::new(&store);
        // From before midnight to more than a day later.
        let at = |second: u64| Timestamp::new(1_795_303_000 + second as u32, 0);
        let mut remembered = LastDay::default();
        let mut second = 0;
        for step in [1u64, 5, 3_600, 40_000, 30_000, 20_000, 7] {
            for _ in 0..step.min(50) {
                second += step / step.min(50);
                let dropped = Drops { kernel: second % 7, disk: 0 };
                let ring = RingFill { blocks: 100, filled_max: (second % 90) as u32, freezes: 0 };
                let mut pace = LaneLoad { ring: Some(ring), ..LaneLoad::default() };
                pace.writes.count(1_000 * (second % 1000));
                let event =
                    Event::Second { lane: 0, received: second, written: second, dropped, bytes: 900, pace };
                logbook.append(at(second), event).expect("a line");
            }
            let event = match step {
                5 => Event::Down { lane: 3, reason: "unplugged".into(), worked_until: None },
                40_000 => Event::Up { lane: 3 },
                _ => continue,
            };
            logbook.append(at(second), event).expect("a line");
            let now = at(second + 1);
            let anew = LastDay::default().refresh(&store, now, false);
            assert_eq!(remembered.refresh(&store, now, false), anew);
            assert!(anew.dropped.kernel > 0 && anew.packets_per_second > 0.0 && anew.ring_filled > Some(0.0));
        }
        for later in [second + 2, second + 40_000, second + 90_000] {
            let anew = LastDay::default().refresh(&store, at(later), false);
            assert_eq!(remembered.refresh(&store, at(later), false), anew, "{later}");
        }
        assert_eq!(remembered.recent().dropped, Drops::default(), "a day without anything");
    }
}
