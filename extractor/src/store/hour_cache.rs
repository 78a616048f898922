//! Indexes of hours, kept open between queries: what they say of a segment holds as long as the stamps of its files do.
//!
//! **Invariant:** a segment is known from its hour only if its file and its index were seen with the stamps that they had when the
//! hour was written: at this query, or less than [`PERIODS_BETWEEN_CHECKS`] ago.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use netrewind_index::{HourIndex, HourSegment, SegmentSet};
use netrewind_packet::tunnel::TunnelPorts;
use netrewind_store::catalog::Hour;
use netrewind_store::files::FileStamp;
use netrewind_store::store::{DayFiles, HourFiles};
use netrewind_store::{Map, SegmentName, Store, locked};

/// Evictions between two looks at the stamps of an hour's segments.
pub(crate) const PERIODS_BETWEEN_CHECKS: u32 = 8;
/// Hours whose indexes stay open between queries: those of six weeks.
pub(crate) const HOURS_KEPT_MAX: usize = 1024;
/// Hours that are fetched together, if they lie in an archive.
const HOURS_AT_A_TIME: usize = 64;
/// Segments whose stamps a thread looks at in one go; fewer are not worth waking one.
const NAMES_AT_A_TIME: usize = 512;

/// Index of an hour, and its segments that are as it says.
#[derive(Debug)]
pub(crate) struct KnownHour {
    pub(crate) index: Arc<HourIndex<Map>>,
    /// By number.
    sound: SegmentSet,
    /// Of the file.
    stamp: FileStamp,
    /// Period of the last look.
    checked_in: u32,
}

/// A segment in the index of its hour.
#[derive(Clone, Debug)]
pub(crate) struct HourPlace {
    pub(crate) hour: Arc<KnownHour>,
    pub(crate) number: u32,
}

impl HourPlace {
    /// What the hour says of the segment.
    pub(crate) fn facts(&self) -> Option<&HourSegment> {
        self.hour.index.segments().get(self.number as usize)
    }
}

/// The hours of a query's segments, each at most once.
#[derive(Debug, Default)]
pub(crate) struct KnownHours(BTreeMap<Hour, Arc<KnownHour>>);

impl KnownHours {
    /// Place of a segment in its hour; `None` if that does not know it, or not as it is.
    pub(crate) fn place_of(&self, name: &SegmentName) -> Option<HourPlace> {
        let hour = self.0.get(&Hour::of(name.opened))?;
        let number = hour.index.number_of(name).filter(|&number| hour.sound.contains(number))?;
        Some(HourPlace { hour: Arc::clone(hour), number })
    }
}

/// An hour that was opened and is to be compared with its segments.
struct OpenedHour<'n> {
    index: Arc<HourIndex<Map>>,
    stamp: FileStamp,
    day: DayFiles,
    names: &'n [SegmentName],
}

/// Indexes of hours between queries.
#[derive(Debug, Default)]
pub(crate) struct HourCache(Mutex<BTreeMap<Hour, Arc<KnownHour>>>);

impl HourCache {
    /// The hours of these sealed segments, which ascend. `period` rises with each eviction.
    pub(crate) fn hours_of(
        &self,
        store: &Store,
        ports: &TunnelPorts,
        names: &[SegmentName],
        period: u32,
        helpers: usize,
    ) -> KnownHours {
        let mut known = KnownHours::default();
        let mut opened = Vec::new();
        let mut unchecked = Vec::new();
        for names in names.chunk_by(|one, next| Hour::of(one.opened) == Hour::of(next.opened)) {
            let Some(hour) = names.first().map(|name| Hour::of(name.opened)) else { continue };
            let kept = locked(&self.0).get(&hour).cloned();
            match kept {
                Some(kept) if period.wrapping_sub(kept.checked_in) < PERIODS_BETWEEN_CHECKS => {
                    known.0.insert(hour, kept);
                }
                kept => unchecked.push((hour, kept, names)),
            }
        }
        for hours in unchecked.chunks(HOURS_AT_A_TIME) {
            HourFiles::of(store).will_open(hours.iter().map(|(hour, ..)| *hour));
            for (hour, kept, names) in hours {
                opened.extend(open(store, ports, *hour, kept.as_deref(), names));
            }
        }
        for (OpenedHour { index, stamp, .. }, sound) in opened.iter().zip(check(&opened, helpers)) {
            if !index.bytes().has_lost() {
                let (index, stamp) = (Arc::clone(index), *stamp);
                let hour = index.hour();
                let checked = Arc::new(KnownHour { index, sound, stamp, checked_in: period });
                known.0.insert(hour, Arc::clone(&checked));
                locked(&self.0).insert(hour, checked);
            }
        }
        let mut kept = locked(&self.0);
        while kept.len() > HOURS_KEPT_MAX {
            kept.pop_first();
        }
        known
    }

    /// Closes those that have not been looked at for some time.
    pub(crate) fn evict(&self, period: u32) {
        locked(&self.0).retain(|_, hour| period.wrapping_sub(hour.checked_in) < PERIODS_BETWEEN_CHECKS);
    }
}

/// Opens the index of an hour; `None` if there is none, or none that can be used.
fn open<'n>(
    store: &Store,
    ports: &TunnelPorts,
    hour: Hour,
    kept: Option<&KnownHour>,
    names: &'n [SegmentName],
) -> Option<OpenedHour<'n>> {
    let files = HourFiles::of(store);
    // It only skips work: one that cannot be read is as good as none, and `verify` reports it.
    let file = files.open(hour).ok()??;
    let found = file.status().ok()?;
    let index = match kept.filter(|kept| kept.stamp == found.stamp() && !kept.index.bytes().has_lost()) {
        Some(kept) => Arc::clone(&kept.index),
        None => Arc::new(HourIndex::open(file.map(found.bytes).ok()?).ok()?),
    };
    let fits = index.hour() == hour && index.matches_ports(ports);
    Some(OpenedHour { index, stamp: found.stamp(), day: files.day(hour)?, names }).filter(|_| fits)
}

/// The segments of each hour whose files have the stamps that it says, on some threads.
fn check(hours: &[OpenedHour<'_>], helpers: usize) -> Vec<SegmentSet> {
    let mut sound: Vec<SegmentSet> = hours.iter().map(|hour| hour.index.none()).collect();
    let chunks = hours.iter().enumerate();
    let chunks =
        chunks.flat_map(|(at, hour)| hour.names.chunks(NAMES_AT_A_TIME).map(move |names| (at, names)));
    let names: usize = hours.iter().map(|hour| hour.names.len()).sum();
    let threads = helpers.min(names / NAMES_AT_A_TIME);
    let (chunks, found) = (Mutex::new(chunks), Mutex::new(Vec::new()));
    let work = || {
        loop {
            let Some((at, names)) = locked(&chunks).next() else { break };
            let numbers = numbers_of_sound(&hours[at], names);
            locked(&found).push((at, numbers));
        }
    };
    std::thread::scope(|scope| {
        (0..threads).for_each(|_| drop(scope.spawn(work)));
        work();
    });
    for (at, numbers) in locked(&found).drain(..) {
        numbers.into_iter().for_each(|number| sound[at].insert(number));
    }
    sound
}

fn numbers_of_sound(hour: &OpenedHour<'_>, names: &[SegmentName]) -> Vec<u32> {
    let is_sound = |name: &SegmentName| {
        let number = hour.index.number_of(name)?;
        let segment = hour.index.segments().get(number as usize)?;
        (hour.day.stamps(name) == Some(segment.stamps)).then_some(number)
    };
    names.iter().filter_map(is_sound).collect()
}
