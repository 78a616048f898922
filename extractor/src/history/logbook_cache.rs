//! Days of the logbook, remembered between queries: each has 86,400 seconds and more, and only new lines are read.
//!
//! **Invariant:** visited lines are those of the file: a file only grows at its end, and one that has become shorter, or is
//! gone, is dropped from the cache.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use netrewind_store::logbook::{
    DayExcerpt, DayPosition, LogbookLine, QuietSecond, RawLine, read_day, read_day_from,
};
use netrewind_store::{Store, StoreError, Timestamp, locked};

use crate::query::TimeRange;

/// Limit on cached lines, 24 bytes each: those of 24 lanes' days. Beyond it, the oldest days are dropped.
const LINES_MAX: usize = 1 << 21;

/// Lines of a part of a day that is remembered: about as many as are read of one that is not.
const PART_LINES: usize = 512;

/// Days by their dates.
#[derive(Debug, Default)]
pub(crate) struct Days(Mutex<BTreeMap<String, Arc<RwLock<Day>>>>);

#[derive(Debug, Default)]
struct Day {
    /// Place of the next line in the file.
    position: DayPosition,
    lines: Vec<DayLine>,
    /// Text behind the last whole line: cut by a crash, or being written.
    cut: Option<DayLine>,
}

/// A line of a day.
#[derive(Clone, Debug)]
pub(crate) enum DayLine {
    /// A second in which nothing was dropped.
    Quiet(QuietSecond),
    /// Anything else.
    Other(Box<LogbookLine>),
    /// So many lines are missing here.
    Missing(u64),
    /// The day begins with the line behind this, which names the day before and how many lines it had.
    Follows(Box<(String, u64)>),
}

impl DayLine {
    /// Gives a line's content, and its place among the others.
    fn each_of(line: &RawLine<'_>, mut take: impl FnMut(Self)) {
        if line.missing() > 0 {
            take(Self::Missing(line.missing()));
        }
        if let Some((date, lines)) = line.follows() {
            take(Self::Follows(Box::new((date.to_owned(), lines))));
        }
        take(line.quiet_second().map_or_else(|| Self::Other(Box::new(line.parse())), Self::Quiet));
    }
}

impl Days {
    /// Calls `visit` for each line of a part of a day, in order, with true if it is complete: the last one may still be being
    /// written. Returns the number of the last line, if the part has it.
    pub(crate) fn visit(
        &self,
        store: &Store,
        date: &str,
        part: DayExcerpt,
        visit: &mut dyn FnMut(&DayLine, bool),
    ) -> Result<Option<u64>, StoreError> {
        let known = {
            let mut days = locked(&self.0);
            match part {
                DayExcerpt::Whole => Some(Arc::clone(days.entry(date.to_owned()).or_default())),
                DayExcerpt::Head | DayExcerpt::Tail => days.get(date).map(Arc::clone),
            }
        };
        let Some(day) = known else {
            return read_day(store, date, part, |line| {
                DayLine::each_of(&line, |line| visit(&line, true));
            });
        };
        let bytes = store.logbook_bytes(date)?;
        if day.read().unwrap_or_else(PoisonError::into_inner).position.end != bytes {
            day.write().unwrap_or_else(PoisonError::into_inner).read_on(store, date, bytes)?;
        }
        let (lines_read, last) = {
            let day = day.read().unwrap_or_else(PoisonError::into_inner);
            let count = day.lines.len();
            let lines = match part {
                DayExcerpt::Whole => &day.lines[..],
                DayExcerpt::Head => &day.lines[..count.min(PART_LINES)],
                DayExcerpt::Tail => &day.lines[count.saturating_sub(PART_LINES)..],
            };
            lines.iter().for_each(|line| visit(line, true));
            day.cut.iter().filter(|_| part != DayExcerpt::Head).for_each(|line| visit(line, false));
            (day.lines.len(), day.position.last_line())
        };
        self.forget_others(date, lines_read);
        Ok(Some(last))
    }

    /// Reads the days of a range ahead, if none has been read before: a query needs them once its segments are known. Ends early when
    /// `stop` is set.
    pub(crate) fn read_ahead(&self, store: &Store, range: TimeRange, stop: &AtomicBool) {
        let (first, last) = (range.from.date(), range.end().unwrap_or(Timestamp::MAX).date());
        // What cannot be read is told when it is needed.
        for date in store.logbook_dates().unwrap_or_default() {
            if first <= date && date <= last && !stop.load(Ordering::Relaxed) {
                let _ = self.visit(store, &date, DayExcerpt::Whole, &mut |_, _| {});
            }
        }
    }

    /// True if no day has been read.
    pub(crate) fn is_empty(&self) -> bool {
        locked(&self.0).is_empty()
    }

    /// Enforces the limit, except for the lines of the day that was just read.
    fn forget_others(&self, date: &str, mut lines: usize) {
        let mut days = locked(&self.0);
        // One that is being read on has few lines more than it says.
        let lines_of = |day: &RwLock<Day>| day.try_read().map_or(0, |day| day.lines.len());
        let others = days.iter().rev().filter(|(other, _)| *other != date);
        let too_many: Vec<String> = others
            .filter(|(_, day)| {
                lines += lines_of(day);
                lines > LINES_MAX
            })
            .map(|(date, _)| date.clone())
            .collect();
        too_many.iter().for_each(|date| drop(days.remove(date)));
    }
}

impl Day {
    fn read_on(&mut self, store: &Store, date: &str, bytes: u64) -> Result<(), StoreError> {
        if self.position.end > bytes {
            *self = Self::default();
        }
        let Self { position, lines, cut } = self;
        *cut = None;
        read_day_from(store, date, position, |line, is_whole| {
            DayLine::each_of(&line, |line| match is_whole {
                true => lines.push(line),
                false => *cut = Some(line),
            });
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_day_that_grows_is_visited_as_its_file_says() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open_or_create(folder.path(), Timestamp(0), 1).expect("a store");
        let (days, date) = (Days::default(), "2026-11-22");
        std::fs::create_dir_all(store.logbook_path(date).parent().expect("a folder")).expect("made");
        let second = |second: u64| {
            let at = Timestamp(1_795_339_861_000_000_000 + second * 1_000_000_000);
            format!(
                r#"{{"event":"second","lane":3,"received":{second},"written":{second},"dropped":{{}},"bytes":9,"at":"{at}"}}"#
            )
        };
        let visited = || {
            let mut told = Vec::new();
            days.visit(&store, date, DayExcerpt::Whole, &mut |line, _| {
                told.push(match line {
                    DayLine::Quiet(second) => second.received,
                    DayLine::Other(line) if matches!(**line, LogbookLine::Unreadable(_)) => u64::MAX,
                    DayLine::Other(_) => u64::MAX - 1,
                    DayLine::Missing(_) | DayLine::Follows(_) => u64::MAX - 2,
                });
            })
            .expect("visited");
            told
        };
        assert_eq!(visited(), [0; 0], "there is no file");
        let mut file = std::fs::File::options()
            .create(true)
            .append(true)
            .open(store.logbook_path(date))
            .expect("opened");
        let mut write = |text: &str| file.write_all(text.as_bytes()).expect("written");
        write(&format!("{}\n{}\n", second(1), second(2)));
        assert_eq!(visited(), [1, 2]);
        assert_eq!(visited(), [1, 2], "from memory");
        let (half, rest) = (&second(3)[..40], &second(3)[40..]);
        write(half);
        assert_eq!(visited(), [1, 2, u64::MAX]);
        write(rest);
        assert_eq!(visited(), [1, 2, 3], "without its end, as it is whole");
        write(&format!("\n{}\n{{\"event\":\"up\",\"lane\":3,\"at\":\"2026-11-22T09:31:01Z\"}}\n", second(4)));
        assert_eq!(visited(), [1, 2, 3, 4, u64::MAX - 1]);
        std::fs::write(store.logbook_path(date), format!("{}\n", second(9))).expect("written");
        assert_eq!(visited(), [9], "a shorter file is another one");
        std::fs::remove_file(store.logbook_path(date)).expect("removed");
        assert_eq!(visited(), [0; 0]);
    }
}
