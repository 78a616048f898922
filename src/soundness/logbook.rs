//! The logbook: every line, every day, and what the lines say of segments and hours.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::io::ErrorKind;

use netrewind_store::catalog::Hour;
use netrewind_store::logbook::{CheckedDay, Fault, LogbookEntry, check_day};
use netrewind_store::store::{CatalogFolder, ListedSegment, StoreWriter};
use netrewind_store::{Event, SegmentName, Store, StoreError};

use super::FaultReport;
use crate::outcome::Failure;

/// True for an archive that is verified without its store: it has what was uploaded, and nothing else.
fn is_alone(store: &Store) -> bool {
    store.files().archive().is_some_and(|archive| archive.is_alone)
}

/// Counts of a sealed segment in the logbook.
#[derive(Clone, Copy, Debug)]
pub struct LoggedCounts {
    /// Its packets.
    pub records: u64,
    /// Its bytes.
    pub bytes: u64,
}

/// Segments and hours according to the logbook.
#[derive(Debug, Default)]
pub struct Logged {
    /// Segments that were sealed.
    pub counted: HashMap<SegmentName, LoggedCounts>,
    expired: HashSet<SegmentName>,
    /// Hours of the catalog that were written and have not been removed since.
    catalogued: BTreeSet<Hour>,
}

impl Logged {
    /// Reads the whole logbook of a store with these segments, and reports its faults.
    pub fn of(store: &Store, segments: &[ListedSegment], report: &mut FaultReport) -> Result<Self, Failure> {
        let mut logged = Self::default();
        // Looked at before the days: these only grow.
        let end = store.logbook_end();
        let dates = match store.logbook_dates() {
            Ok(dates) => dates,
            Err(StoreError::Io { path, source }) => {
                report.fault(&store.part(&path), &source.to_string())?;
                return Ok(logged);
            }
            Err(error) => return Err(error.into()),
        };
        let is_written = matches!(StoreWriter::of(store), Ok(Some(_)));
        let mut days = BTreeMap::new();
        let (mut sound, mut all) = (0, 0);
        for date in &dates {
            report.line.show(&format!("logbook of {date}"));
            let faults_before = report.faults;
            let is_last = Some(date) == dates.last();
            if let Some(day) = logged.read_day(store, date, is_written && is_last, report)? {
                sound += day.sound;
                all += day.sound + (report.faults - faults_before) as u64;
                days.insert(date.clone(), day);
            }
        }
        let known = Days { store, days, dates, oldest: segments.first().map(|segment| segment.name.date()) };
        let lacking = known.tell_lacks(segments, end, is_written, report)?;
        report.tally("lines of the logbook", sound, all + lacking);
        Ok(logged)
    }

    fn read_day(
        &mut self,
        store: &Store,
        date: &str,
        is_being_written: bool,
        report: &mut FaultReport,
    ) -> Result<Option<CheckedDay>, Failure> {
        let part = store.part(&store.logbook_path(date));
        let mut faults = Vec::new();
        let mut take = |entry: LogbookEntry| self.take(entry.event);
        let checked = check_day(store, date, is_being_written, &mut take, &mut |fault| faults.push(fault));
        for Fault { line, reason, is_later } in faults {
            let reason = format!("line {line}: {reason}");
            if is_later { report.remark(&part, &reason)? } else { report.fault(&part, &reason)? }
        }
        match checked {
            Ok(day) => Ok(Some(day)),
            // One that has expired since is no fault.
            Err(StoreError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => Ok(None),
            Err(StoreError::Io { source, .. }) => {
                report.fault(&part, &source.to_string())?;
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Seal { segment, records, bytes, .. } => {
                self.counted.insert(segment, LoggedCounts { records, bytes });
            }
            Event::Recover { segment, records, kept_bytes, .. } => {
                self.counted.insert(segment, LoggedCounts { records, bytes: kept_bytes });
            }
            Event::Expire { segment, .. } => {
                self.expired.insert(segment);
            }
            Event::Catalogued { hour, .. } => {
                self.catalogued.insert(hour);
            }
            Event::ExpireHour { hour, .. } => {
                self.catalogued.remove(&hour);
            }
            _ => {}
        }
    }

    /// Reads the logbook without a word about its faults.
    pub fn quietly(store: &Store) -> Result<Self, StoreError> {
        let mut logged = Self::default();
        for date in store.logbook_dates()? {
            // What cannot be read, verify reports.
            let _ = check_day(store, &date, false, &mut |entry| logged.take(entry.event), &mut |_| {});
        }
        Ok(logged)
    }

    /// True if segments with packets were sealed in an hour that are not among these.
    pub fn has_more(&self, hour: Hour, segments: &[ListedSegment]) -> bool {
        let is_kept = |name: &SegmentName| segments.iter().any(|segment| segment.name == *name);
        self.counted
            .iter()
            .any(|(name, counted)| Hour::of(name.opened) == hour && counted.records > 0 && !is_kept(name))
    }

    /// Hours of the catalog that should be there, and are not.
    pub fn missing_hours(&self, store: &Store) -> Vec<Hour> {
        let is_missing = |hour: &Hour| matches!(CatalogFolder::of(store).manifest(*hour), Ok(None));
        self.catalogued.iter().copied().filter(is_missing).collect()
    }

    /// Reports segments that were sealed, and hours of the catalog that were written, and that neither exist nor have expired.
    pub fn tell_missing(&self, store: &Store, report: &mut FaultReport) -> Result<(), Failure> {
        let is_missing = |(name, counted): &(&SegmentName, &LoggedCounts)| {
            counted.records > 0
                && !self.expired.contains(name)
                && matches!(store.open_segment(name), Ok(None))
        };
        let mut missing: Vec<_> = self.counted.iter().filter(is_missing).collect();
        missing.sort_unstable_by_key(|(name, _)| **name);
        for (name, LoggedCounts { records, .. }) in missing {
            let part = format!("segment {name}");
            if is_alone(store) {
                let reason =
                    format!("it is not in the archive, or not yet; it was sealed with {records} packets");
                report.remark(&part, &reason)?;
                continue;
            }
            let reason = format!(
                "it is missing: the logbook says that it was sealed with {records} packets, and not that it expired"
            );
            report.fault(&part, &reason)?;
        }
        if is_alone(store) {
            return Ok(()); // hours of the catalog are not read from there
        }
        for hour in self.missing_hours(store) {
            let reason = "it is missing: the logbook says that it was written, and not that it expired: run netrewind verify --repair to write it again if its segments are kept";
            report.fault(&format!("hour {hour} of the catalog"), reason)?;
        }
        Ok(())
    }
}

/// The days of a logbook that was read.
struct Days<'s> {
    store: &'s Store,
    days: BTreeMap<String, CheckedDay>,
    dates: Vec<String>,
    /// Day of the oldest segment: those before it expire.
    oldest: Option<String>,
}

impl Days<'_> {
    /// Reports days that are missing or shorter than they were; returns how many lines that are, as far as it is known.
    fn tell_lacks(
        &self,
        segments: &[ListedSegment],
        end: Result<Option<netrewind_store::logbook::LogbookEnd>, StoreError>,
        is_written: bool,
        report: &mut FaultReport,
    ) -> Result<u64, Failure> {
        // Of each day that another place speaks of, the least number of lines that it had.
        let mut promised: BTreeMap<String, u64> =
            self.days.values().filter_map(|day| day.follows.clone()).collect();
        let path = self.store.logbook_end_path();
        match end {
            Ok(Some(end)) => {
                for day in end.days() {
                    let lines = promised.entry(day.date()).or_default();
                    *lines = day.lines.max(*lines);
                }
            }
            // An archive has none.
            Ok(None) if is_alone(self.store) => {}
            Ok(None) if !is_written && self.days.values().any(|day| day.last > 0) => {
                let reason = "it is missing: lines at the end of the logbook can be missing unnoticed; the next recording writes it again";
                report.fault(&self.store.part(&path), reason)?;
            }
            Ok(None) => {}
            Err(StoreError::Io { source, .. }) => {
                let reason = format!(
                    "{source} (bytes 0 to 64): lines at the end of the logbook can be missing unnoticed; the next recording writes it again"
                );
                report.fault(&self.store.part(&path), &reason)?;
            }
            Err(error) => return Err(error.into()),
        }
        let mut lacking = 0;
        for (date, lines) in &promised {
            lacking += self.tell_promised(date, *lines, report)?;
        }
        let opened: BTreeSet<String> = segments.iter().map(|segment| segment.name.date()).collect();
        for date in opened {
            let part = self.store.part(&self.store.logbook_path(&date));
            let reason = match self.days.get(&date) {
                Some(day) if day.sound > 0 => continue,
                // What is wrong with it has been told.
                _ if report.has_named(&part) => continue,
                Some(_) => "it has no line, although segments were opened on that day",
                None => "it is missing, although segments were opened on that day",
            };
            report.fault(&part, &format!("{reason}: its drops and gaps are not known"))?;
        }
        Ok(lacking)
    }

    fn tell_promised(&self, date: &str, lines: u64, report: &mut FaultReport) -> Result<u64, Failure> {
        let part = self.store.part(&self.store.logbook_path(date));
        if let Some(day) = self.days.get(date) {
            let lacking = lines.saturating_sub(day.last);
            if lacking > 0 {
                let reason =
                    format!("its last lines are missing: it ends with line {}, and had {lines}", day.last);
                report.fault(&part, &reason)?;
            }
            return Ok(lacking);
        }
        let is_listed = self.dates.iter().any(|listed| listed == date);
        let has_expired = self.dates.first().is_none_or(|first| date < first.as_str())
            && self.oldest.as_ref().is_none_or(|oldest| date < oldest.as_str());
        if is_listed || has_expired {
            return Ok(0);
        }
        let reason =
            format!("it is missing: it had at least {lines} lines, and its drops and gaps are not known");
        report.fault(&part, &reason)?;
        Ok(lines)
    }
}
