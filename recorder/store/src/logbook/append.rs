//! Writing the logbook.

use std::io;
use std::path::Path;

use super::reading::{LINE_BYTES_MAX, follows};
use super::{DayEnd, Event, LogbookEntry};
use crate::files::{Files, OpenMode, StoreFile};
use crate::seal::{last_number, sealed};
use crate::{Store, StoreError, Timestamp};

/// Bytes of the end of a day's file in which its last line is looked for first, and if it is not there.
const TAIL_BYTES: [u64; 3] = [4 << 10, 2 * LINE_BYTES_MAX, u64::MAX];

/// Appends to a store's logbook. Lines that are not durable become so when it is dropped, as far as the disk permits.
#[derive(Debug)]
pub struct Logbook {
    store: Store,
    today: Option<OpenDay>,
}

/// A day's file, open to append to it.
#[derive(Debug)]
struct OpenDay {
    date: String,
    at: Timestamp,
    file: Box<dyn StoreFile>,
    /// Length of the file after the last look at it; others append to it as well.
    bytes: u64,
    /// Number of the last line then, and the least that it can have.
    last: u64,
    floor: u64,
    /// True if the file ended within a line then: a crash, or a full disk, has cut it short.
    is_cut: bool,
    /// The first line names the day before, and how many lines it had.
    before: Option<(String, u64)>,
    is_durable: bool,
}

impl Logbook {
    /// The logbook of `store`. Only the holder of the store's lock writes to it.
    pub fn new(store: &Store) -> Self {
        Self { store: store.clone(), today: None }
    }

    /// Appends one line, by a single write.
    pub fn append(&mut self, at: Timestamp, event: Event) -> Result<(), StoreError> {
        self.append_entry(&LogbookEntry::new(at, event))
    }

    /// Appends an entry to the file of its day, whole or not at all. If that file has been removed or renamed, a new one is
    /// started, whose first number tells of the lack; if the whole store has been moved away, lines go to the file that moved with
    /// it.
    pub fn append_entry(&mut self, entry: &LogbookEntry) -> Result<(), StoreError> {
        let date = entry.at.date();
        let path = self.store.logbook_path(&date);
        let failed = |source| StoreError::Io { path: path.clone(), source };
        let text = serde_json::to_string(entry).map_err(io::Error::other).map_err(failed)?;
        let mut floor = 0;
        if self.today.as_ref().is_some_and(|day| day.date != date || !self.is_ours(&*day.file, &path)) {
            self.sync()?;
            floor = self.today.take().filter(|day| day.date == date).map_or(0, |day| day.last);
        }
        if self.today.is_none() {
            self.store.prepare_logbook()?;
            let file = open_to_append(self.store.files(), &path).map_err(failed)?;
            self.today = Some(OpenDay::new(&self.store, entry.at, file, floor));
        }
        let Some(day) = &mut self.today else { return Ok(()) };
        let turn = self.store.logbook_turn();
        let appended = day.append(&text);
        drop(turn);
        appended.map_err(|source| {
            // Reopening the file terminates a line that was only half written.
            self.today = None;
            failed(source)
        })
    }

    /// True if the open file is still the day's file, or the store has moved away and no better file exists.
    fn is_ours(&self, file: &dyn StoreFile, path: &Path) -> bool {
        let identity = file.status().ok().map(|found| found.identity);
        let is_named = identity == self.store.files().identity(path).ok().flatten();
        is_named || self.store.is_in_place().is_err()
    }

    /// Makes everything appended so far survive a power cut, and publishes how far the logbook reaches. If it fails, the lines since
    /// the last successful call may be lost: append them again. Duplicate lines count once.
    pub fn sync(&mut self) -> Result<(), StoreError> {
        let Some(day) = &mut self.today else { return Ok(()) };
        let turn = self.store.logbook_turn();
        // Lines that others have appended become durable with ours.
        let last = day.with_lock(|day| day.look()).map(|()| day.last);
        drop(turn);
        if let Err(source) = day.file.sync_data() {
            let path = self.store.logbook_path(&day.date);
            self.today = None;
            return Err(StoreError::Io { path, source });
        }
        day.is_durable = true;
        // Without it, answers are the same as long as nothing is damaged.
        let _ = last.map(|last| self.store.write_logbook_end(DayEnd::of(day.at, last)));
        Ok(())
    }
}

impl Drop for Logbook {
    fn drop(&mut self) {
        if self.today.as_ref().is_some_and(|day| !day.is_durable) {
            // Whoever has to know whether they are durable has synced them.
            let _ = self.sync();
        }
    }
}

impl OpenDay {
    fn new(store: &Store, at: Timestamp, file: Box<dyn StoreFile>, floor: u64) -> Self {
        let date = at.date();
        let end = store.logbook_end().ok().flatten().unwrap_or_default();
        let promised = end.days().find(|day| day.date() == date);
        let floor = promised.map_or(floor, |day| day.lines.max(floor));
        let before = before(store, &date);
        Self { date, at, file, bytes: 0, last: floor, floor, is_cut: false, before, is_durable: true }
    }

    /// Does something while no other process that knows of the lock appends to the file.
    fn with_lock<T>(&mut self, run: impl FnOnce(&mut Self) -> io::Result<T>) -> io::Result<T> {
        // Without file locks there are no writers on other machines to keep out either.
        let is_locked = self.file.lock().is_ok();
        let done = run(self);
        if is_locked {
            self.file.unlock()?;
        }
        done
    }

    /// Finds the last line, if the file has changed since the last look.
    fn look(&mut self) -> io::Result<()> {
        let bytes = self.file.status()?.bytes;
        if bytes != self.bytes {
            let (last, is_cut) = tail(&*self.file, bytes)?;
            (self.bytes, self.is_cut) = (bytes, is_cut);
            self.last = last.unwrap_or(0).max(self.floor);
        }
        Ok(())
    }

    /// Writes a line, or nothing of it: a part written before the disk was full is cut off again.
    fn append(&mut self, text: &str) -> io::Result<()> {
        self.with_lock(|day| {
            day.look()?;
            let line = match (day.last, &day.before) {
                (0, Some((date, lines))) => sealed(&follows(text, date, *lines), 1),
                (last, _) => sealed(text, last + 1),
            };
            // A last line that a crash cut short must not spoil the next one.
            let end = if day.is_cut { "\n" } else { "" };
            let line = format!("{end}{line}\n");
            day.is_durable = false;
            let mut written = day.file.append(line.as_bytes());
            if written.is_err()
                && let Err(error) = day.file.set_bytes(day.bytes)
            {
                written = written.and(Err(error));
            }
            written?;
            day.bytes += line.len() as u64;
            (day.last, day.floor, day.is_cut) = (day.last + 1, day.last + 1, false);
            Ok(())
        })
    }
}

/// The last day before this one that has a logbook, and the number of its last line. What cannot be read is left out: it must not
/// keep anybody from writing.
fn before(store: &Store, date: &str) -> Option<(String, u64)> {
    let before = store.logbook_dates().ok()?.into_iter().rfind(|day| day.as_str() < date)?;
    let file = store.files().open(&store.logbook_path(&before), OpenMode::Read).ok()?;
    let (last, _) = tail(&*file, file.status().ok()?.bytes).ok()?;
    Some((before, last?))
}

/// Number of the last sound line among the first `bytes` of a file, if any, and whether they end within a line.
fn tail(file: &dyn StoreFile, bytes: u64) -> io::Result<(Option<u64>, bool)> {
    let mut found = (None, false);
    for wanted in TAIL_BYTES {
        let begin = bytes.saturating_sub(wanted);
        let mut text = vec![0; usize::try_from(bytes - begin).map_err(io::Error::other)?];
        file.read_exact_at(&mut text, begin)?;
        found = (last_number(&text), text.last().is_some_and(|last| *last != b'\n'));
        if found.0.is_some() || begin == 0 {
            break;
        }
    }
    Ok(found)
}

/// Opens a day's file.
fn open_to_append(files: &dyn Files, path: &Path) -> io::Result<Box<dyn StoreFile>> {
    let file = files.open(path, OpenMode::Append)?;
    if file.status()?.bytes == 0 {
        // New, and perhaps unknown to the folder that is on the disk.
        path.parent().map_or(Ok(()), |folder| files.sync_folder(folder))?;
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::super::{CheckedDay, LogbookEnd, check_day};
    use super::*;
    use crate::time::DAY_NS;

    const AT: Timestamp = Timestamp(1_795_339_861_000_000_000);

    fn checked(store: &Store, date: &str) -> (CheckedDay, Vec<(u64, String)>) {
        let mut faults = Vec::new();
        let tell = &mut |fault: super::super::Fault| faults.push((fault.line, fault.reason));
        let day = check_day(store, date, false, &mut |_| {}, tell).unwrap();
        (day, faults)
    }

    #[test]
    fn numbers_go_on_whoever_writes_and_each_day_names_the_one_before() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open_or_create(folder.path(), Timestamp(0), 1).unwrap();
        let mut writers = [Logbook::new(&store), Logbook::new(&store)];
        for lane in 0..10 {
            writers[usize::from(lane % 3 == 0)].append(AT.plus_ns(lane.into()), Event::Up { lane }).unwrap();
        }
        writers[0].sync().unwrap();
        let (day, faults) = checked(&store, &AT.date());
        assert_eq!((day.last, day.sound, day.unsealed, day.follows, faults), (10, 10, 0, None, vec![]));
        assert_eq!(
            store.logbook_end().unwrap(),
            Some(LogbookEnd::default().with(DayEnd::of(AT, 10))),
            "the other's lines as well"
        );
        // Who comes later finds the number, also behind a line that a crash has cut short.
        let path = store.logbook_path(&AT.date());
        let mut file = std::fs::File::options().append(true).open(&path).unwrap();
        file.write_all(b"{\"event\":\"u").unwrap();
        drop(writers);
        let mut logbook = Logbook::new(&store);
        logbook.append(AT, Event::Up { lane: 10 }).unwrap();
        let (day, faults) = checked(&store, &AT.date());
        assert_eq!((day.last, day.sound, faults.len(), faults[0].0), (11, 11, 1, 11), "{faults:?}");
        let tomorrow = AT.plus_ns(DAY_NS);
        logbook.append(tomorrow, Event::Up { lane: 0 }).unwrap();
        // A line of yesterday that comes late.
        logbook.append(AT, Event::Up { lane: 11 }).unwrap();
        logbook.append(tomorrow, Event::Up { lane: 1 }).unwrap();
        drop(logbook);
        let (day, faults) = checked(&store, &tomorrow.date());
        assert_eq!((day.last, day.follows, faults), (2, Some((AT.date(), 11)), vec![]));
        assert_eq!(checked(&store, &AT.date()).0.last, 12);
        let end = store.logbook_end().unwrap().unwrap_or_default();
        let days = [DayEnd::of(tomorrow, 2), DayEnd::of(AT, 12)];
        assert_eq!(end.days().collect::<Vec<_>>(), days, "synced when it is dropped");
    }

    #[test]
    fn a_file_that_is_begun_anew_shows_what_is_missing() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open_or_create(folder.path(), Timestamp(0), 1).unwrap();
        let path = store.logbook_path(&AT.date());
        for is_reopened in [false, true] {
            let mut logbook = Logbook::new(&store);
            (0..3).for_each(|lane| logbook.append(AT, Event::Up { lane }).unwrap());
            logbook.sync().unwrap();
            std::fs::remove_file(&path).unwrap();
            if is_reopened {
                logbook = Logbook::new(&store);
            }
            logbook.append(AT, Event::Up { lane: 9 }).unwrap();
            let (_, faults) = checked(&store, &AT.date());
            assert!(faults.len() == 1 && faults[0].1.contains("before it are missing"), "{faults:?}");
            drop(logbook);
            std::fs::remove_dir_all(path.parent().unwrap()).unwrap();
        }
    }
}
