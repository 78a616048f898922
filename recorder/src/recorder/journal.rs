//! Lines for the logbook, kept until they are durable, however long the logbook cannot be written.
//!
//! **Invariant:** memory is bounded, and no count is forgotten: beyond [`LINES_MAX`] the counts of older seconds are added up
//! into lines that cover all of them.

use std::collections::{HashMap, VecDeque};

use netrewind_store::logbook::LogbookEntry;
use netrewind_store::{Event, Logbook, Store, StoreError, Timestamp};

/// Lines that wait for the logbook, some 300 bytes each: an hour of one lane. Beyond, seconds are added up.
const LINES_MAX: usize = 4096;

/// Lines on their way into the logbook.
#[derive(Debug)]
pub(super) struct Journal {
    logbook: Logbook,
    /// Not written yet.
    waiting: VecDeque<LogbookEntry>,
    /// Written, but perhaps not durable.
    written: VecDeque<LogbookEntry>,
    is_failing: bool,
}

impl Journal {
    pub fn new(store: &Store) -> Self {
        let (waiting, written) = (VecDeque::new(), VecDeque::new());
        Self { logbook: Logbook::new(store), waiting, written, is_failing: false }
    }

    /// Takes a line, and writes it at once unless the logbook has failed: then [`Self::write`] retries.
    pub fn add(&mut self, entry: LogbookEntry) -> Result<(), StoreError> {
        self.waiting.push_back(entry);
        if self.waiting.len() > LINES_MAX {
            shorten(&mut self.waiting);
        }
        if self.is_failing { Ok(()) } else { self.append() }
    }

    /// Takes an event of this moment.
    pub fn log(&mut self, at: Timestamp, event: Event) -> Result<(), StoreError> {
        self.add(LogbookEntry::new(at, event))
    }

    /// Writes the waiting lines, and makes them durable if any is more than a sign of life.
    pub fn write(&mut self) -> Result<(), StoreError> {
        self.append()?;
        if !self.written.iter().any(is_eventful) {
            self.written.clear();
            return Ok(());
        }
        if let Err(error) = self.logbook.sync() {
            // Their fate is not known: they are written again, and readers count them once.
            self.is_failing = true;
            self.written.append(&mut self.waiting);
            std::mem::swap(&mut self.written, &mut self.waiting);
            return Err(error);
        }
        self.written.clear();
        Ok(())
    }

    fn append(&mut self) -> Result<(), StoreError> {
        while let Some(entry) = self.waiting.front() {
            if let Err(error) = self.logbook.append_entry(entry) {
                self.is_failing = true;
                return Err(error);
            }
            self.written.extend(self.waiting.pop_front());
            if self.written.len() > LINES_MAX {
                // Signs of life among them need not last.
                self.written.retain(is_eventful);
                if self.written.len() > LINES_MAX / 2 {
                    self.is_failing = self.logbook.sync().is_err();
                    match self.is_failing {
                        true => self.waiting.extend(std::mem::take(&mut self.written)),
                        false => self.written.clear(),
                    }
                }
                if self.is_failing {
                    shorten(&mut self.waiting);
                    return Ok(());
                }
            }
        }
        self.is_failing = false;
        Ok(())
    }

    /// Lines that are not durable.
    pub fn unwritten(&self) -> usize {
        self.waiting.len() + self.written.iter().filter(|entry| is_eventful(entry)).count()
    }
}

/// True if a line is more than a lane's sign of life.
fn is_eventful(entry: &LogbookEntry) -> bool {
    !matches!(&entry.event, Event::Second { dropped, .. } if dropped.total() == 0)
}

/// Adds up older lines to make room for newer ones: first the seconds of a lane on one day, then those of all days, then outages,
/// which become one. Other events, except losses, are rare; if there are too many, the oldest are left out.
fn shorten(lines: &mut VecDeque<LogbookEntry>) {
    let half = lines.len() / 2;
    let newer = lines.split_off(half);
    let mut older = std::mem::take(lines);
    for step in [add_up_days, add_up_all, join_outages] {
        if older.len() + newer.len() > LINES_MAX / 4 * 3 {
            older = step(older);
        }
    }
    let is_needed = |event: &Event| {
        matches!(
            event,
            Event::Start { .. }
                | Event::Stop { .. }
                | Event::Second { .. }
                | Event::Down { .. }
                | Event::Up { .. }
        )
    };
    let mut excess = (older.len() + newer.len()).saturating_sub(LINES_MAX);
    older.retain(|entry| {
        let goes = excess > 0 && !is_needed(&entry.event);
        excess -= usize::from(goes);
        !goes
    });
    older.extend(newer);
    *lines = older;
}

fn add_up_days(lines: VecDeque<LogbookEntry>) -> VecDeque<LogbookEntry> {
    add_up(lines, |entry| entry.at.date())
}

fn add_up_all(lines: VecDeque<LogbookEntry>) -> VecDeque<LogbookEntry> {
    add_up(lines, |_| String::new())
}

/// Adds the seconds of a lane that share a key to the last of them.
fn add_up(lines: VecDeque<LogbookEntry>, key: impl Fn(&LogbookEntry) -> String) -> VecDeque<LogbookEntry> {
    let mut kept: Vec<LogbookEntry> = Vec::new();
    let mut last_of: HashMap<(u16, String), usize> = HashMap::new();
    for entry in lines.into_iter().rev() {
        let Event::Second { lane, .. } = &entry.event else {
            kept.push(entry);
            continue;
        };
        let place = (*lane, key(&entry));
        match last_of.get(&place).and_then(|&at| kept.get_mut(at)) {
            Some(sum) => add(sum, &entry),
            None => {
                last_of.insert(place, kept.len());
                kept.push(entry);
            }
        }
    }
    kept.into_iter().rev().collect()
}

/// Adds a second to a later one.
fn add(sum: &mut LogbookEntry, earlier: &LogbookEntry) {
    sum.since = Some(sum.began().min(earlier.began()));
    if let (
        Event::Second { received, written, dropped, bytes, pace, .. },
        Event::Second { received: r, written: w, dropped: d, bytes: b, pace: p, .. },
    ) = (&mut sum.event, &earlier.event)
    {
        *received += r;
        *written += w;
        dropped.add(d);
        *bytes += b;
        let mut all = *p;
        all.add(pace);
        *pace = all;
    }
}

/// Reduces a lane's outages to one, from the start of the first to the end of the last.
fn join_outages(lines: VecDeque<LogbookEntry>) -> VecDeque<LogbookEntry> {
    let mut is_down: HashMap<u16, bool> = HashMap::new();
    let lasts: HashMap<u16, usize> = lines
        .iter()
        .enumerate()
        .filter_map(|(at, entry)| match entry.event {
            Event::Up { lane } => Some((lane, at)),
            _ => None,
        })
        .collect();
    let mut number = 0;
    lines
        .into_iter()
        .filter(|entry| {
            let at = number;
            number += 1;
            match entry.event {
                Event::Down { lane, .. } => !std::mem::replace(is_down.entry(lane).or_default(), true),
                Event::Up { lane } => lasts.get(&lane) == Some(&at),
                _ => true,
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use netrewind_store::logbook::{DayExcerpt, LogbookLine, read_day};
    use netrewind_store::{Drops, LaneLoad};

    use super::*;

    fn at(second: u32) -> Timestamp {
        Timestamp::new(1_795_339_861 + second, 7)
    }

    fn second(lane: u16, disk: u64) -> Event {
        let dropped = Drops { kernel: 0, disk };
        Event::Second { lane, received: 10, written: 10 - disk, dropped, bytes: 1, pace: LaneLoad::default() }
    }

    fn told(store: &Store) -> Vec<LogbookEntry> {
        let mut told = Vec::new();
        for date in store.logbook_dates().unwrap() {
            read_day(store, &date, DayExcerpt::Whole, |line| match line.parse() {
                LogbookLine::Entry(entry) => told.push(entry),
                other => panic!("{other:?}"),
            })
            .unwrap();
        }
        told
    }

    fn dropped(entries: &[LogbookEntry]) -> u64 {
        let of = |entry: &LogbookEntry| {
            if let Event::Second { dropped, .. } = &entry.event { dropped.disk } else { 0 }
        };
        entries.iter().map(of).sum()
    }

    #[test]
    fn what_could_not_be_written_is_written_later_and_dated_when_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open_or_create(folder.path(), Timestamp(0), 1).unwrap();
        let path = store.logbook_path(&at(0).date());
        std::fs::create_dir(&path).unwrap(); // nothing can be written there
        let mut journal = Journal::new(&store);
        journal
            .log(at(0), Event::Down { lane: 0, reason: "unplugged".into(), worked_until: None })
            .unwrap_err();
        journal.log(at(1), second(0, 3)).unwrap();
        journal.write().unwrap_err();
        journal.log(at(2), Event::Up { lane: 0 }).unwrap();
        assert_eq!(journal.unwritten(), 3);
        std::fs::remove_dir(&path).unwrap();
        journal.write().unwrap();
        journal.log(at(3), second(0, 0)).unwrap();
        journal.write().unwrap();
        assert_eq!(journal.unwritten(), 0);
        let told = told(&store);
        assert_eq!(told.iter().map(|entry| entry.at).collect::<Vec<_>>(), [at(0), at(1), at(2), at(3)]);
        assert_eq!(dropped(&told), 3);
    }

    #[test]
    fn a_logbook_that_fails_for_long_costs_bounded_memory_and_no_count() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open_or_create(folder.path(), Timestamp(0), 1).unwrap();
        std::fs::remove_dir(store.logbook_path("x").parent().unwrap()).unwrap();
        std::fs::write(store.root().join("logbook"), "in the way").unwrap();
        let mut journal = Journal::new(&store);
        let _ = journal.log(
            at(0),
            Event::Start {
                lane: 0,
                interface: "eth0".into(),
                snaplen: None,
                capture_filter: None,
                version: "1".into(),
            },
        );
        // Two days of two lanes, and an interface that goes and comes.
        const SECONDS: u32 = 2 * 86_400;
        for number in 1..=SECONDS {
            journal.log(at(number), second((number % 2) as u16, 1)).unwrap();
            match number % 40 {
                7 => journal
                    .log(at(number), Event::Down { lane: 1, reason: "away".into(), worked_until: None })
                    .unwrap(),
                9 => journal.log(at(number), Event::Up { lane: 1 }).unwrap(),
                _ => {}
            }
            assert!(journal.unwritten() <= LINES_MAX);
        }
        std::fs::remove_file(store.root().join("logbook")).unwrap();
        journal.write().unwrap();
        let told = told(&store);
        assert_eq!(dropped(&told), u64::from(SECONDS), "each second's loss");
        assert!(matches!(
            told.iter().map(|entry| &entry.event).min_by_key(|event| !matches!(event, Event::Start { .. })),
            Some(Event::Start { .. })
        ));
        let seconds = told.iter().filter(|entry| matches!(entry.event, Event::Second { .. }));
        let began = seconds.map(LogbookEntry::began).min();
        assert_eq!(began, Some(Timestamp(at(1).ns() - 1_000_000_000)), "dated from where it began");
        let downs =
            told.iter().filter(|entry| matches!(entry.event, Event::Down { .. })).map(|entry| entry.at);
        assert_eq!(downs.min(), Some(at(7)));
        let last_up =
            told.iter().filter(|entry| matches!(entry.event, Event::Up { .. })).map(|entry| entry.at);
        assert_eq!(last_up.max(), Some(at(SECONDS / 40 * 40 - 40 + 9)));
    }
}
