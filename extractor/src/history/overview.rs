//! Overview of a store: its content, and how far back one can rewind.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Read};

use netrewind_index::Index;
use netrewind_packet::tunnel::TunnelPorts;
use netrewind_store::layout::FILE_HEADER_BYTES;
use netrewind_store::store::{
    CaseFiles, CatalogFolder, HeldAccount, ListedSegment, StoreListing, StoreWriter, Unlisted,
};
use netrewind_store::time::{DAY_SECONDS, SECOND_NS};
use netrewind_store::{Drops, SegmentError, SegmentName, SegmentState, Store, StoreError, Timestamp};
use serde::{Deserialize, Serialize};

use crate::answer::completeness::{Damage, identity_damage};
use crate::history::logbook_damage::part_and_reason;
use crate::store::hour_cache::HourCache;

use super::archive_overview::ArchiveOverview;
use super::overview_cache::{LaneCounts, OverviewCache};

/// Least time between segments that a forecast is made of.
const REACH_SECONDS_MIN: f64 = 60.0;
/// Bytes of an index that tell when its packets are from.
const INDEX_HEAD_BYTES: u64 = 4096;

/// A store at a glance.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Overview {
    /// Its folder.
    pub store: String,
    /// Id that distinguishes it from other stores.
    pub id: String,
    /// Time of its creation.
    #[cfg_attr(feature = "schema", schema(value_type = String, format = "date-time"))]
    pub created: Timestamp,
    /// The archive that has what is not in the folder; absent if there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(nullable = false))]
    pub archived: Option<ArchivedOverview>,
    /// Process that writes to it now.
    pub writer: Option<String>,
    /// Reason why the writer cannot write at the moment, if it cannot: packets are dropped meanwhile.
    pub trouble: Option<String>,
    /// Segments in the store.
    pub segments: usize,
    /// Segments that are being written.
    pub open_segments: usize,
    /// Sealed ones without an index.
    pub without_index: usize,
    /// Disk space of everything in the store, in bytes.
    pub disk_bytes: u64,
    /// What is held for cases; absent if nothing is.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(nullable = false))]
    pub held: Option<HeldOverview>,
    /// The earliest packet kept.
    #[cfg_attr(feature = "schema", schema(value_type = Option<String>, format = "date-time"))]
    pub rewind_to: Option<Timestamp>,
    /// The latest packet kept.
    #[cfg_attr(feature = "schema", schema(value_type = Option<String>, format = "date-time"))]
    pub newest: Option<Timestamp>,
    /// Catalog of conversations; absent if there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(nullable = false))]
    pub catalog: Option<CatalogOverview>,
    /// State of the archive that a recorder uploads into; absent if there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(nullable = false))]
    pub archive: Option<ArchiveOverview>,
    /// Mean over the last ten seconds, while a recorder is running.
    pub packets_per_second: Option<f64>,
    /// Their bits.
    pub bits_per_second: Option<f64>,
    /// Disk space that the recorder keeps the store within; absent if it has no budget.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(nullable = false))]
    pub budget_bytes: Option<u64>,
    /// Seconds that the store will reach back once it is full, if packets go on coming as in the last 24 hours; absent while nothing is
    /// recorded, or too little is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(nullable = false))]
    pub reach_seconds: Option<f64>,
    /// Interfaces whose lanes the logbook tells of in the last 24 hours.
    pub interfaces: Vec<InterfaceOverview>,
    /// Packets dropped in the last 24 hours.
    pub dropped_last_day: Drops,
    /// Highest fill level of a lane's kernel ring in the last 24 hours, from 0 to 1, if packets came through one: at 1 the
    /// kernel drops packets.
    pub ring_filled_last_day: Option<f64>,
    /// The slowest write to the disk of the last 24 hours, in seconds.
    pub slowest_write_last_day: Option<f64>,
    /// Lanes whose interface is away.
    pub down: Vec<String>,
    /// Parts of the store that cannot be read, as far as this request checks; `netrewind verify` checks everything.
    pub damaged: Vec<Damage>,
}

impl Overview {
    /// Looks at a store.
    pub fn of(store: &Store, now: Timestamp) -> Result<Self, StoreError> {
        Self::with(&OverviewCache::default(), store, now)
    }

    /// Looks at a store again.
    pub fn with(remembered: &OverviewCache, store: &Store, now: Timestamp) -> Result<Self, StoreError> {
        let StoreListing { segments, unlisted } = StoreListing::of(store);
        let needed = |at: Unlisted| Damage::needed(store.part(&at.path), at.reason);
        let mut damaged: Vec<Damage> =
            unlisted.into_iter().map(needed).chain(identity_damage(store)).collect();
        let writer = StoreWriter::of(store).unwrap_or_else(|error| {
            damaged.push(damage_of(store, &error));
            None
        });
        let (writer, trouble) = writer.map(|writer| (writer.holder, writer.trouble)).unzip();
        let (mut rewind_to, mut newest) = (None::<Timestamp>, None::<Timestamp>);
        let mut of_sealed = HashMap::new();
        let archived = ArchivedOverview::of(store, &segments);
        if archived.is_some() {
            remembered.add_times(times_of_hours(store, &segments));
        }
        for segment in &segments {
            let known = remembered.times(&segment.name);
            if known.is_none() {
                // Its times may be in its index, which does not show the state of the file itself.
                damaged.extend(unopened(store, segment));
            }
            let found = known.map_or_else(|| times(store, segment, &mut damaged), |known| Ok(Some(known)));
            let found = found.unwrap_or_else(|error| {
                let damage = damage_of(store, &error);
                if !damaged.contains(&damage) {
                    damaged.push(damage);
                }
                None
            });
            if let Some((first, last)) = found {
                if segment.state == SegmentState::Sealed {
                    of_sealed.insert(segment.name, (first, last));
                }
                rewind_to = Some(rewind_to.map_or(first, |time| time.min(first)));
                newest = Some(newest.map_or(last, |time| time.max(last)));
            }
        }
        remembered.set_times(of_sealed);
        let recent = remembered.last_day(store, now, writer.is_some());
        damaged.extend(recent.damaged);
        let catalog = CatalogOverview::of(store, &mut damaged);
        let held = HeldOverview::of(store, &segments, &mut damaged);
        let listed_bytes = || segments.iter().map(|segment| segment.disk_bytes).sum();
        let records =
            writer.as_deref().is_some_and(|writer| writer.contains("record") || writer.contains("run,"));
        let budget_bytes = CaseFiles::of(store).limits().ok().and_then(|limits| limits.budget_bytes);
        let held_bytes = held.map_or(0, |held| held.bytes);
        let disk_bytes = store.disk_bytes().unwrap_or_else(|_| listed_bytes());
        let reach = || reach_seconds(store, &segments, (budget_bytes, disk_bytes, held_bytes), now);
        let is_open = |segment: &&ListedSegment| segment.state == SegmentState::Open;
        let open_segments = segments.iter().filter(is_open).count();
        Ok(Self {
            store: store.root().display().to_string(),
            id: store.identity().id.clone(),
            created: store.identity().created,
            archived,
            writer,
            trouble: trouble.flatten(),
            segments: segments.len(),
            open_segments,
            without_index: segments
                .iter()
                .filter(|s| !s.has_index && s.state == SegmentState::Sealed)
                .count(),
            disk_bytes,
            held,
            rewind_to,
            newest,
            catalog,
            archive: recent.archive,
            packets_per_second: records.then_some(recent.packets_per_second),
            bits_per_second: records.then_some(recent.bits_per_second),
            budget_bytes,
            reach_seconds: if records { reach() } else { None },
            interfaces: InterfaceOverview::all(recent.interfaces),
            dropped_last_day: recent.dropped,
            ring_filled_last_day: recent.ring_filled,
            slowest_write_last_day: recent.slowest_write_us.map(|us| us as f64 / 1e6),
            down: recent.down,
            damaged,
        })
    }
}

/// An archive at a glance.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct ArchivedOverview {
    /// Its URL.
    pub url: String,
    /// Segments that lie in it, and not in the folder.
    pub segments: u64,
    /// Their bytes, with those of their indexes.
    pub bytes: u64,
}

impl ArchivedOverview {
    fn of(store: &Store, segments: &[ListedSegment]) -> Option<Self> {
        let url = store.files().archive()?.url;
        let archived = segments.iter().filter(|segment| segment.is_archived);
        let bytes = archived.clone().map(|segment| segment.disk_bytes).sum();
        Some(Self { url, segments: archived.count() as u64, bytes })
    }
}

/// The times of segments in an archive, as the indexes of their hours have them.
fn times_of_hours(store: &Store, segments: &[ListedSegment]) -> HashMap<SegmentName, (Timestamp, Timestamp)> {
    let archived: Vec<SegmentName> =
        segments.iter().filter(|segment| segment.is_archived).map(|segment| segment.name).collect();
    let ports = TunnelPorts::written(&store.identity().tunnel_ports).unwrap_or_default();
    let hours = HourCache::default().hours_of(store, &ports, &archived, 0, 0);
    let times = |name: &SegmentName| {
        let place = hours.place_of(name)?;
        let facts = place.facts().filter(|facts| facts.records > 0)?;
        Some((*name, (facts.first, facts.last)))
    };
    archived.iter().filter_map(times).collect()
}

/// An interface at a glance.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct InterfaceOverview {
    /// Its name.
    pub name: String,
    /// Packets received in the last 24 hours.
    pub received_last_day: u64,
    /// Packets dropped in the last 24 hours.
    pub dropped_last_day: Drops,
}

impl InterfaceOverview {
    fn all(counts: BTreeMap<String, LaneCounts>) -> Vec<Self> {
        let of = |(name, LaneCounts { received, dropped })| Self {
            name,
            received_last_day: received,
            dropped_last_day: dropped,
        };
        counts.into_iter().map(of).collect()
    }
}

/// Seconds of packets that fit into the store, at the pace of the segments that were sealed in the last day.
fn reach_seconds(
    store: &Store,
    segments: &[ListedSegment],
    (budget_bytes, disk_bytes, held_bytes): (Option<u64>, u64, u64),
    now: Timestamp,
) -> Option<f64> {
    let since = Timestamp(now.ns().saturating_sub(DAY_SECONDS * SECOND_NS));
    let recent = || segments.iter().filter(|segment| segment.name.opened >= since);
    let first = recent().map(|segment| segment.name.opened).min()?;
    // Until the last one was opened, which is not complete.
    let last = recent().map(|segment| segment.name.opened).max()?;
    let seconds = last.ns_since(first) as f64 / SECOND_NS as f64;
    let complete =
        recent().filter(|segment| segment.name.opened < last && segment.state == SegmentState::Sealed);
    let bytes: u64 = complete.map(|segment| segment.disk_bytes).sum();
    if bytes == 0 || seconds < REACH_SECONDS_MIN {
        return None;
    }
    let free = || store.files().space(store.root()).map(|space| space.available_bytes);
    let room = budget_bytes.or_else(|| Some(disk_bytes.saturating_add(free()?)))?;
    Some(room.saturating_sub(held_bytes) as f64 * seconds / bytes as f64)
}

/// The holds of a store at a glance.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct HeldOverview {
    /// Cases.
    pub cases: u64,
    /// Segments that are held, or may be.
    pub segments: u64,
    /// Disk space of these and of the packets of cases, in bytes: a part of the budget that nothing else can have.
    pub bytes: u64,
    /// Disk space that they may take, in bytes.
    pub bytes_max: Option<u64>,
}

impl HeldOverview {
    fn of(store: &Store, segments: &[ListedSegment], damaged: &mut Vec<Damage>) -> Option<Self> {
        let files = CaseFiles::of(store);
        let account = files.account(segments).unwrap_or_else(|error| {
            damaged.push(damage_of(store, &error));
            HeldAccount::default()
        });
        for (path, reason) in &account.faults {
            let reason = format!("{reason}; every segment that it may name is kept");
            damaged.push(Damage { part: store.part(path), reason, is_needed: false });
        }
        let HeldAccount { cases, segments, bytes, .. } = account;
        (cases > 0).then(|| Self { cases, segments, bytes, bytes_max: files.bytes_max().ok() })
    }
}

/// The catalog of conversations at a glance.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct CatalogOverview {
    /// Hours that it has.
    pub hours: u64,
    /// Hours that cannot be read.
    pub damaged: u64,
    /// Records of conversations in them.
    pub records: u64,
    /// Their disk space, in bytes.
    pub disk_bytes: u64,
    /// The earliest packet that they count.
    #[cfg_attr(feature = "schema", schema(value_type = Option<String>, format = "date-time"))]
    pub from: Option<Timestamp>,
    /// The latest.
    #[cfg_attr(feature = "schema", schema(value_type = Option<String>, format = "date-time"))]
    pub to: Option<Timestamp>,
}

impl CatalogOverview {
    fn of(store: &Store, damaged: &mut Vec<Damage>) -> Option<Self> {
        let mut all = Self { hours: 0, damaged: 0, records: 0, disk_bytes: 0, from: None, to: None };
        let hours = CatalogFolder::of(store).hours().unwrap_or_else(|error| {
            damaged.push(damage_of(store, &error));
            Vec::new()
        });
        for hour in hours {
            let manifest = match CatalogFolder::of(store).manifest(hour) {
                Ok(None) => continue, // it has expired
                Ok(Some(manifest)) => Some(manifest),
                Err(error) => {
                    damaged.push(damage_of(store, &error));
                    None
                }
            };
            all.hours += 1;
            all.disk_bytes += CatalogFolder::of(store).hour_disk_bytes(hour).unwrap_or(0);
            let Some(manifest) = manifest else {
                all.damaged += 1;
                continue;
            };
            all.records += manifest.records;
            if let Some((first, last)) = manifest.bounds() {
                all.from = Some(all.from.map_or(first, |from| from.min(first)));
                all.to = all.to.max(Some(last));
            }
        }
        (all.hours > 0).then_some(all)
    }
}

/// A segment at a glance.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct SegmentOverview {
    /// Its name: the time of its opening, and its lane.
    #[cfg_attr(feature = "schema", schema(value_type = String))]
    pub name: SegmentName,
    /// `open` while it is being written, then `sealed`.
    pub state: &'static str,
    /// The earliest packet in it.
    #[cfg_attr(feature = "schema", schema(value_type = Option<String>, format = "date-time"))]
    pub first: Option<Timestamp>,
    /// The latest packet in it.
    #[cfg_attr(feature = "schema", schema(value_type = Option<String>, format = "date-time"))]
    pub last: Option<Timestamp>,
    /// Bytes of the file; of an open one this includes space that is only reserved.
    pub file_bytes: u64,
    /// Disk space of the segment and its index, in bytes.
    pub disk_bytes: u64,
    /// True if it has an index.
    pub has_index: bool,
}

impl SegmentOverview {
    /// Every segment of a store, oldest first.
    pub fn all(store: &Store) -> Vec<Self> {
        let segments = StoreListing::of(store).segments;
        let known = match store.files().archive() {
            Some(_) => times_of_hours(store, &segments),
            None => HashMap::new(),
        };
        let of = |segment| Self::with_times(store, segment, known.get(&segment.name).copied());
        segments.iter().map(of).collect()
    }

    /// One segment.
    pub fn of(store: &Store, segment: &ListedSegment) -> Self {
        Self::with_times(store, segment, None)
    }

    fn with_times(store: &Store, segment: &ListedSegment, known: Option<(Timestamp, Timestamp)>) -> Self {
        // For one that cannot be read, the times of its packets are unknown.
        let read = || times(store, segment, &mut Vec::new()).unwrap_or_default();
        let (first, last) = known.or_else(read).unzip();
        let ListedSegment { name, state, file_bytes, disk_bytes, has_index, .. } = *segment;
        let state = if state == SegmentState::Open { "open" } else { "sealed" };
        Self { name, state, first, last, file_bytes, disk_bytes, has_index }
    }
}

/// The earliest and latest timestamps of a segment: from its mark while it is open, from its index once it is sealed.
/// Differences from its sealed state are reported if they show without reading it.
fn times(
    store: &Store,
    segment: &ListedSegment,
    damaged: &mut Vec<Damage>,
) -> Result<Option<(Timestamp, Timestamp)>, StoreError> {
    if segment.state == SegmentState::Open {
        let mark = store.mark(&segment.name)?;
        return Ok(mark.filter(|mark| mark.records > 0).map(|mark| (mark.first, mark.last)));
    }
    // An index that cannot be read costs only time.
    let Some(index) = index_head(store, segment)? else { return walk_times(store, segment, damaged) };
    if let Ok(Some(opened)) = store.open_segment(&segment.name) {
        let head = netrewind_store::RecordReader::new(opened.file.reader(0).take(FILE_HEADER_BYTES as u64));
        let bytes = index.segment_bytes();
        let reason = match head {
            Err(error) => Some(error.to_string()),
            Ok(_) if opened.readable_bytes != bytes => {
                Some(format!("it has {} bytes, but had {bytes} when it was sealed", opened.readable_bytes))
            }
            Ok(_) => None,
        };
        let part = || store.part(&store.sealed_path(&segment.name));
        damaged.extend(reason.map(|reason| Damage::needed(part(), reason)));
    }
    Ok((index.records() > 0).then(|| (index.first(), index.last())))
}

/// The head of a segment's index, if it can be read.
fn index_head(store: &Store, segment: &ListedSegment) -> Result<Option<Index<Vec<u8>>>, StoreError> {
    let Ok(Some(file)) = store.open_index(&segment.name) else { return Ok(None) };
    let failed = |source| StoreError::Io { path: store.index_path(&segment.name), source };
    let length = file.status().map_err(failed)?.bytes;
    let mut bytes = Vec::new();
    file.reader(0).take(INDEX_HEAD_BYTES).read_to_end(&mut bytes).map_err(failed)?;
    // The rest is not looked at, but its absence would be noticed.
    bytes.resize(usize::try_from(length).unwrap_or(usize::MAX), 0);
    Ok(Index::open(bytes).ok())
}

/// The same from the segment itself, as far as it can be read.
fn walk_times(
    store: &Store,
    segment: &ListedSegment,
    damaged: &mut Vec<Damage>,
) -> Result<Option<(Timestamp, Timestamp)>, StoreError> {
    let Some(opened) = store.open_segment(&segment.name)? else { return Ok(None) };
    let path = store.sealed_path(&segment.name);
    let unread = |error: SegmentError| StoreError::Io { path: path.clone(), source: io::Error::other(error) };
    let mut reader = netrewind_store::RecordReader::new(opened.file.reader(0)).map_err(unread)?;
    let mut times = None::<(Timestamp, Timestamp)>;
    loop {
        match reader.next_record() {
            Ok(Some(record)) => {
                let at = record.header.timestamp();
                times = Some(times.map_or((at, at), |(first, last)| (first.min(at), last.max(at))));
            }
            Ok(None) => return Ok(times),
            Err(error) => {
                damaged.push(Damage::needed(store.part(&path), error.to_string()));
                return Ok(times);
            }
        }
    }
}

/// The files of a segment that cannot be opened.
fn unopened(store: &Store, segment: &ListedSegment) -> impl Iterator<Item = Damage> {
    let bytes = store.open_segment(&segment.name).err().map(|error| damage_of(store, &error));
    let index = store.open_index(&segment.name).err().map(|error| damage_of(store, &error));
    let index = index.map(|damage| Damage { is_needed: false, ..damage });
    bytes.into_iter().chain(index)
}

fn damage_of(store: &Store, error: &StoreError) -> Damage {
    let (part, reason) = part_and_reason(store, error);
    Damage::needed(part, reason)
}
