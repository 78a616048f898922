//! Lists what an archive has of a store: hours that are over are remembered, the others are listed anew.
//!
//! ```text
//! hours, logbook, days -> the hours that are over and remembered; between them, and behind the last one, the keys of segments
//! ```
//!
//! **Invariant:** an hour is remembered only if its index was there before its segments were listed, with the same length; then no segment of it
//! comes or changes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::sync::Mutex;

use netrewind_store::archived::{ArchivedLines, ArchivedListing, ArchivedSegment};
use netrewind_store::catalog::Hour;
use netrewind_store::{SegmentName, locked};

use crate::bucket::ListedObject;
use crate::cache::{CachePart, Cached, bytes_of};
use crate::fetcher::{Fetcher, GETS_AT_ONCE};
use crate::objects::{ArchiveObject, StoreKeys};

/// Beginning of the names of remembered lists in the cache; the date follows.
const LIST: &str = "list_";

/// Parts in which a day is listed.
const PARTS_OF_DAY: usize = 4;

/// The segments of an hour.
type Segments = BTreeMap<SegmentName, ArchivedSegment>;

/// An hour that is over: the length of its index, and its segments.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct KnownHour {
    bytes: u64,
    segments: Segments,
}

/// Remembers the segments of hours that are over.
#[derive(Debug, Default)]
pub(crate) struct ListedHours {
    known: Mutex<Option<BTreeMap<Hour, KnownHour>>>,
}

/// Keys between two others.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Interval {
    folder: String,
    after: String,
    before: Option<String>,
}

/// The text of a day's hours in the cache.
fn text_of(hours: &BTreeMap<Hour, KnownHour>, date: &str) -> String {
    let mut text = String::new();
    for (hour, known) in hours.iter().filter(|(hour, _)| hour.start().date() == date) {
        let _ = writeln!(text, "{hour} {}", known.bytes);
        for (name, segment) in &known.segments {
            let kind = if segment.is_cold { "cold" } else { "plain" };
            let _ = writeln!(text, "{name} {kind} {} {}", segment.bytes, segment.index_bytes);
        }
    }
    text
}

/// The inverse; what cannot be read is left out.
fn hours_in(text: &str, hours: &mut BTreeMap<Hour, KnownHour>) -> Option<()> {
    let mut last = None;
    for line in text.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            [hour, bytes] => {
                let hour: Hour = hour.parse().ok()?;
                hours.insert(hour, KnownHour { bytes: bytes.parse().ok()?, ..KnownHour::default() });
                last = Some(hour);
            }
            [name, kind, bytes, index_bytes] => {
                let segment = ArchivedSegment {
                    is_cold: kind == "cold",
                    bytes: bytes.parse().ok()?,
                    index_bytes: index_bytes.parse().ok()?,
                };
                hours.get_mut(&last?)?.segments.insert(name.parse().ok()?, segment);
            }
            _ => return None,
        }
    }
    Some(())
}

fn failed<T>() -> Result<T, String> {
    Err("a thread has failed".to_owned())
}

/// The beginning of the keys of an hour's segments.
fn beginning(keys: &StoreKeys, hour: Hour) -> String {
    format!("{}/{}", keys.segments_of(&hour.start().date()), hour.of_day())
}

/// The committed segments among these objects.
fn segments_in(keys: &StoreKeys, objects: &[ListedObject]) -> Segments {
    let (mut plain, mut cold, mut indexes) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    for ListedObject { key, bytes } in objects {
        match keys.object(key) {
            Some(ArchiveObject::Segment { name, is_cold: true }) => drop(cold.insert(name, *bytes)),
            Some(ArchiveObject::Segment { name, is_cold: false }) => drop(plain.insert(name, *bytes)),
            Some(ArchiveObject::Index(name)) => drop(indexes.insert(name, *bytes)),
            _ => {}
        }
    }
    let segment = |(name, index_bytes): (SegmentName, u64)| {
        let found = cold.get(&name).map(|bytes| (true, *bytes));
        let found = found.or_else(|| Some((false, *plain.get(&name)?)));
        // Its file is gone: whoever reads it finds that it is empty, and names it.
        let (is_cold, bytes) = found.unwrap_or((true, 0));
        (name, ArchivedSegment { is_cold, bytes, index_bytes })
    };
    indexes.into_iter().map(segment).collect()
}

impl ListedHours {
    /// Lists a store. What cannot be listed is as it was `before`, and told.
    pub(crate) fn list(
        &self,
        fetcher: &Fetcher,
        keys: &StoreKeys,
        cache: Option<&CachePart>,
        before: &ArchivedListing,
    ) -> ArchivedListing {
        let remembered = locked(&self.known).get_or_insert_with(|| remembered(cache)).clone();
        let guessed = intervals(keys, remembered.keys().copied());
        let (hours, logbook, dates, lists) = std::thread::scope(|scope| {
            let hours = scope.spawn(|| fetcher.list(|bucket| bucket.list(&keys.hours())));
            let logbook = scope.spawn(|| fetcher.list(|bucket| bucket.list(&keys.logbook())));
            let dates = (remembered.is_empty())
                .then(|| scope.spawn(|| fetcher.list(|bucket| bucket.folders(&keys.segments()))));
            let lists = if remembered.is_empty() { Vec::new() } else { list_all(fetcher, &guessed) };
            (
                hours.join().unwrap_or_else(|_| failed()),
                logbook.join().unwrap_or_else(|_| failed()),
                dates.map(|dates| dates.join().unwrap_or_else(|_| failed())),
                lists,
            )
        });
        let mut listing = ArchivedListing::default();
        let fault = |listing: &mut ArchivedListing, part: &str, reason: &str| {
            listing.faults.push((part.to_owned(), reason.to_owned()));
        };
        let mut over: BTreeMap<Hour, u64> = BTreeMap::new();
        match hours {
            Ok(objects) => over.extend(objects.iter().filter_map(|object| match keys.object(&object.key)? {
                ArchiveObject::Hour(hour) => Some((hour, object.bytes)),
                _ => None,
            })),
            Err(reason) => {
                fault(&mut listing, &keys.hours(), &reason);
                let known = before.days.values().flat_map(|day| &day.hours);
                over.extend(known.map(|(hour, bytes)| (*hour, *bytes)));
            }
        }
        match logbook {
            Ok(objects) => listing.logbook = days_of(keys, &objects),
            Err(reason) => {
                fault(&mut listing, &keys.logbook(), &reason);
                listing.logbook.clone_from(&before.logbook);
            }
        }
        // Those that are there no more, or were written again, are listed like any other.
        let is_as_it_was = |(hour, known): &(&Hour, &KnownHour)| over.get(hour) == Some(&known.bytes);
        let sound: BTreeMap<Hour, KnownHour> =
            remembered.iter().filter(is_as_it_was).map(|(hour, known)| (*hour, known.clone())).collect();
        let gone: BTreeSet<Hour> =
            remembered.keys().copied().filter(|hour| !sound.contains_key(hour)).collect();
        let mut rest: Vec<Interval> = gone.iter().map(|hour| of_hour(keys, *hour)).collect();
        match dates {
            Some(Ok(dates)) => rest.extend(dates.iter().flat_map(|date| of_day(keys, date))),
            Some(Err(reason)) => {
                fault(&mut listing, &keys.segments(), &reason);
                listing.days.clone_from(&before.days);
            }
            None => {}
        }
        let mut lists: Vec<(Interval, Result<Vec<ListedObject>, String>)> =
            guessed.into_iter().zip(lists).collect();
        let listed = list_all(fetcher, &rest);
        lists.extend(rest.into_iter().zip(listed));
        let mut found = Segments::new();
        let mut is_whole = true;
        for (interval, list) in lists {
            match list {
                Ok(objects) => found.append(&mut segments_in(keys, &objects)),
                Err(reason) => {
                    is_whole = false;
                    fault(&mut listing, &interval.folder, &reason);
                    let within = |name: &&SegmentName| {
                        let key = keys.key(&ArchiveObject::Index(**name));
                        key > interval.after && interval.before.as_ref().is_none_or(|before| key < *before)
                    };
                    let known = before.days.values().flat_map(|day| &day.segments);
                    found.extend(known.filter(|(name, _)| within(name)).map(|(name, it)| (*name, *it)));
                }
            }
        }
        let known = sound.values().flat_map(|known| &known.segments).map(|(name, it)| (*name, *it));
        let all: Vec<_> = known.chain(found.iter().map(|(name, it)| (*name, *it))).collect();
        for (name, segment) in all {
            listing.days.entry(name.date()).or_default().segments.insert(name, segment);
        }
        if is_whole {
            self.remember(cache, sound, &over, &found);
        }
        for (hour, bytes) in over {
            listing.days.entry(hour.start().date()).or_default().hours.insert(hour, bytes);
        }
        for (date, day) in &mut listing.days {
            let known = before.days.get(date);
            day.stamp = known.map_or(0, |known| known.stamp);
            if known.is_none_or(|known| known != day) {
                day.stamp += 1;
            }
        }
        listing
    }

    /// Remembers the hours that are over by now.
    fn remember(
        &self,
        cache: Option<&CachePart>,
        mut hours: BTreeMap<Hour, KnownHour>,
        over: &BTreeMap<Hour, u64>,
        found: &Segments,
    ) {
        let new: BTreeSet<Hour> = over.keys().copied().filter(|hour| !hours.contains_key(hour)).collect();
        for hour in &new {
            let bytes = over.get(hour).copied().unwrap_or_default();
            hours.insert(*hour, KnownHour { bytes, ..KnownHour::default() });
        }
        for (name, segment) in found {
            let hour = Hour::of(name.opened);
            if let Some(known) = hours.get_mut(&hour).filter(|_| new.contains(&hour)) {
                known.segments.insert(*name, *segment);
            }
        }
        let mut known = locked(&self.known);
        let before = known.replace(hours);
        let (Some(cache), Some(hours), Some(before)) = (cache, &*known, before) else { return };
        let dates: BTreeSet<String> =
            hours.keys().chain(before.keys()).map(|hour| hour.start().date()).collect();
        for date in dates {
            let text = text_of(hours, &date);
            if text != text_of(&before, &date) {
                let _ = cache.put(&format!("{LIST}{date}"), text.as_bytes());
            }
        }
    }
}

/// The hours in the cache.
fn remembered(cache: Option<&CachePart>) -> BTreeMap<Hour, KnownHour> {
    let mut hours = BTreeMap::new();
    let Some(cache) = cache else { return hours };
    for name in cache.names(LIST) {
        let Cached::Sound(copy) = cache.get(&name) else { continue };
        let Ok(bytes) = bytes_of(&copy) else { continue };
        let mut of_day = BTreeMap::new();
        if hours_in(&String::from_utf8_lossy(&bytes), &mut of_day).is_some() {
            hours.append(&mut of_day);
        }
    }
    hours
}

fn of_hour(keys: &StoreKeys, hour: Hour) -> Interval {
    let begin = beginning(keys, hour);
    // No name of a segment has a character behind the hour that comes later.
    Interval {
        folder: keys.segments_of(&hour.start().date()),
        before: Some(format!("{begin}~")),
        after: begin,
    }
}

/// A day in parts, which are listed at once: each page of a list takes the time of a request.
fn of_day(keys: &StoreKeys, date: &str) -> impl Iterator<Item = Interval> {
    let folder = keys.segments_of(date);
    let bound = |part: usize| format!("{folder}/{:02}", part * 24 / PARTS_OF_DAY);
    let interval = |part: usize| Interval {
        folder: folder.clone(),
        after: if part == 0 { folder.clone() } else { bound(part) },
        before: (part + 1 < PARTS_OF_DAY).then(|| bound(part + 1)),
    };
    (0..PARTS_OF_DAY).map(interval).collect::<Vec<_>>().into_iter()
}

/// Keys of segments that are in none of these hours, which ascend.
fn intervals(keys: &StoreKeys, hours: impl Iterator<Item = Hour>) -> Vec<Interval> {
    let folder = keys.segments();
    let mut intervals = Vec::new();
    let mut behind = folder.clone();
    let mut next = None;
    for hour in hours {
        let begin = beginning(keys, hour);
        if next != Some(hour) {
            let interval = Interval { folder: folder.clone(), after: behind, before: Some(begin.clone()) };
            intervals.push(interval);
        }
        behind = format!("{begin}~");
        next = Some(Hour::of(hour.end()));
    }
    intervals.push(Interval { folder, after: behind, before: None });
    intervals
}

/// Lists each, several at once.
fn list_all(fetcher: &Fetcher, intervals: &[Interval]) -> Vec<Result<Vec<ListedObject>, String>> {
    let ask = |interval: &Interval| {
        let Interval { folder, after, before } = interval;
        fetcher.list(|bucket| bucket.list_between(folder, after, before.as_deref()))
    };
    let mut lists = Vec::with_capacity(intervals.len());
    for some in intervals.chunks(GETS_AT_ONCE) {
        std::thread::scope(|scope| {
            let asked: Vec<_> = some.iter().map(|interval| scope.spawn(|| ask(interval))).collect();
            lists.extend(asked.into_iter().map(|list| list.join().unwrap_or_else(|_| failed())));
        });
    }
    lists
}

/// The pieces of each day's logbook.
fn days_of(keys: &StoreKeys, objects: &[ListedObject]) -> BTreeMap<String, Vec<ArchivedLines>> {
    let mut days: BTreeMap<String, Vec<(std::ops::Range<u64>, u64)>> = BTreeMap::new();
    for object in objects {
        if let Some(ArchiveObject::Logbook(piece)) = keys.object(&object.key) {
            days.entry(piece.date).or_default().push((piece.begin..piece.end, object.bytes));
        }
    }
    days.into_iter().map(|(date, pieces)| (date, ArchivedLines::in_order(pieces))).collect()
}

#[cfg(test)]
mod tests {
    use netrewind_store::Timestamp;

    use super::*;

    fn name(second: u32) -> SegmentName {
        SegmentName { opened: Timestamp::new(1_795_339_861 + second, 5), lane: 1 }
    }

    fn keys() -> StoreKeys {
        StoreKeys::new("18df6a5b6c7d8e9f00112233445566aa").expect("an id")
    }

    #[test]
    fn remembered_hours_come_back() {
        let segment = ArchivedSegment { is_cold: true, bytes: 5, index_bytes: 7 };
        let hour = Hour::of(name(0).opened);
        let segments =
            BTreeMap::from([(name(0), segment), (name(1), ArchivedSegment { is_cold: false, ..segment })]);
        let hours = BTreeMap::from([
            (hour, KnownHour { bytes: 9, segments }),
            (Hour::of(hour.end()), KnownHour { bytes: 1, ..KnownHour::default() }),
        ]);
        let text = text_of(&hours, &name(0).date());
        let mut read = BTreeMap::new();
        hours_in(&text, &mut read).expect("read");
        assert_eq!(read, hours);
        for damaged in
            ["x", "2026-11-22T09 x", "2026-11-22T09 5\na b c d", "2026-11-22/093101.628448290Z-0 cold 1 1"]
        {
            assert_eq!(hours_in(damaged, &mut BTreeMap::new()), None, "{damaged}");
        }
    }

    #[test]
    fn only_what_no_hour_has_is_listed() {
        let (keys, first) = (keys(), Hour::of(name(0).opened));
        let next = Hour::of(first.end());
        let later = Hour::of(name(5 * 3600).opened);
        let all = intervals(&keys, [first, next, later].into_iter());
        let is_listed = |name: &SegmentName| {
            let key = keys.key(&ArchiveObject::Index(*name));
            all.iter()
                .filter(|it| key > it.after && it.before.as_ref().is_none_or(|before| key < *before))
                .count()
        };
        let listed: Vec<usize> = [-3600, 0, 3599, 3600, 7200, 18_000, 21_600, 200_000]
            .iter()
            .map(|second: &i64| {
                let opened = Timestamp::new(u32::try_from(1_795_339_861 + second).expect("a time"), 5);
                is_listed(&SegmentName { opened, lane: 0 })
            })
            .collect();
        assert_eq!(listed, [1, 0, 0, 0, 1, 0, 1, 1]);
        assert_eq!(all.len(), 3);
    }

    #[test]
    fn the_parts_of_a_day_are_the_day() {
        let parts: Vec<Interval> = of_day(&keys(), "2026-11-22").collect();
        for hour in 0..24 {
            let key = format!("{}/{hour:02}3101.628448290Z-0.idx", keys().segments_of("2026-11-22"));
            let is_in =
                |it: &&Interval| key > it.after && it.before.as_ref().is_none_or(|before| key < *before);
            assert_eq!(parts.iter().filter(is_in).count(), 1, "{key}");
        }
    }

    #[test]
    fn a_segment_is_there_with_its_index() {
        let keys = keys();
        let object = |object: ArchiveObject, bytes| ListedObject { key: keys.key(&object), bytes };
        let segment = |number, is_cold| ArchiveObject::Segment { name: name(number), is_cold };
        let objects = [
            object(segment(0, true), 10),
            object(segment(0, false), 20),
            object(ArchiveObject::Index(name(0)), 1),
            object(segment(1, false), 30),
            object(ArchiveObject::Index(name(1)), 2),
            object(segment(2, true), 40),
            object(ArchiveObject::Index(name(3)), 3),
            ListedObject { key: "other".to_owned(), bytes: 1 },
        ];
        let found = segments_in(&keys, &objects);
        let expected = BTreeMap::from([
            (name(0), ArchivedSegment { is_cold: true, bytes: 10, index_bytes: 1 }),
            (name(1), ArchivedSegment { is_cold: false, bytes: 30, index_bytes: 2 }),
            (name(3), ArchivedSegment { is_cold: true, bytes: 0, index_bytes: 3 }),
        ]);
        assert_eq!(found, expected);
    }
}
