//! A store at a glance: what is in it, and how far back one can rewind.

mod remembered;

use std::collections::HashMap;

use netrewind_indexer::Index;
use netrewind_segment::store::ListedSegment;
use netrewind_segment::{Drops, SegmentName, SegmentState, Store, StoreError, Timestamp};
use serde::Serialize;
use utoipa::ToSchema;

pub use remembered::Remembered;

/// Bytes of an index that tell when its packets are from.
const INDEX_HEAD_BYTES: u64 = 4096;

/// A store at a glance.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Overview {
    /// Its folder.
    pub store: String,
    /// What tells it from other stores.
    pub id: String,
    /// When it was created.
    #[schema(value_type = String, format = "date-time")]
    pub created: Timestamp,
    /// Who writes to it now.
    pub writer: Option<String>,
    /// Why that one cannot write at the moment, if it cannot: packets are dropped meanwhile.
    pub trouble: Option<String>,
    /// Segments that are kept.
    pub segments: usize,
    /// Those of them that are being written.
    pub open_segments: usize,
    /// Sealed ones without an index.
    pub without_index: usize,
    /// What everything in the store takes on the disk.
    pub disk_bytes: u64,
    /// The earliest packet kept.
    #[schema(value_type = Option<String>, format = "date-time")]
    pub rewind_to: Option<Timestamp>,
    /// The latest packet kept.
    #[schema(value_type = Option<String>, format = "date-time")]
    pub newest: Option<Timestamp>,
    /// The catalog of conversations; absent where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub catalog: Option<CatalogOverview>,
    /// Means over the last ten seconds, while somebody records.
    pub packets_per_second: Option<f64>,
    /// Their bits.
    pub bits_per_second: Option<f64>,
    /// Packets dropped in the last 24 hours.
    #[schema(value_type = crate::http::DropsSchema)]
    pub dropped_last_day: Drops,
    /// How much of a lane's ring in the kernel was filled at most in the last 24 hours, from 0 to 1, where packets came
    /// through one: at 1 the kernel drops packets.
    pub ring_filled_last_day: Option<f64>,
    /// The slowest write to the disk of the last 24 hours, in seconds.
    pub slowest_write_last_day: Option<f64>,
    /// Lanes whose interface is away.
    pub down: Vec<String>,
}

impl Overview {
    /// Looks at a store.
    pub fn of(store: &Store, now: Timestamp) -> Result<Self, StoreError> {
        Self::with(&Remembered::default(), store, now)
    }

    /// Looks at a store again.
    pub fn with(remembered: &Remembered, store: &Store, now: Timestamp) -> Result<Self, StoreError> {
        let segments = store.segments()?;
        let (writer, trouble) = store.writer()?.map(|writer| (writer.holder, writer.trouble)).unzip();
        let (mut rewind_to, mut newest) = (None::<Timestamp>, None::<Timestamp>);
        let mut of_sealed = HashMap::new();
        for segment in &segments {
            let known = remembered.times(&segment.name);
            if let Some((first, last)) =
                known.map_or_else(|| times(store, segment), |known| Ok(Some(known)))?
            {
                if segment.state == SegmentState::Sealed {
                    of_sealed.insert(segment.name, (first, last));
                }
                rewind_to = Some(rewind_to.map_or(first, |time| time.min(first)));
                newest = Some(newest.map_or(last, |time| time.max(last)));
            }
        }
        remembered.set_times(of_sealed);
        let recent = remembered.last_day(store, now)?;
        let records =
            writer.as_deref().is_some_and(|writer| writer.contains("record") || writer.contains("run,"));
        let is_open = |segment: &&ListedSegment| segment.state == SegmentState::Open;
        let open_segments = segments.iter().filter(is_open).count();
        Ok(Self {
            store: store.root().display().to_string(),
            id: store.identity().id.clone(),
            created: store.identity().created,
            writer,
            trouble: trouble.flatten(),
            segments: segments.len(),
            open_segments,
            without_index: segments
                .iter()
                .filter(|s| !s.has_index && s.state == SegmentState::Sealed)
                .count(),
            disk_bytes: store.disk_bytes()?,
            rewind_to,
            newest,
            catalog: CatalogOverview::of(store)?,
            packets_per_second: records.then_some(recent.packets_per_second),
            bits_per_second: records.then_some(recent.bits_per_second),
            dropped_last_day: recent.dropped,
            ring_filled_last_day: recent.ring_filled,
            slowest_write_last_day: recent.slowest_write_us.map(|us| us as f64 / 1e6),
            down: recent.down,
        })
    }
}

/// The catalog of conversations at a glance.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub struct CatalogOverview {
    /// Hours that it has.
    pub hours: u64,
    /// Hours that cannot be read.
    pub damaged: u64,
    /// Records of conversations in them.
    pub records: u64,
    /// What they take on the disk.
    pub disk_bytes: u64,
    /// The earliest packet that they count.
    #[schema(value_type = Option<String>, format = "date-time")]
    pub from: Option<Timestamp>,
    /// The latest.
    #[schema(value_type = Option<String>, format = "date-time")]
    pub to: Option<Timestamp>,
}

impl CatalogOverview {
    fn of(store: &Store) -> Result<Option<Self>, StoreError> {
        let mut all = Self { hours: 0, damaged: 0, records: 0, disk_bytes: 0, from: None, to: None };
        for listed in store.listed_hours()? {
            all.hours += 1;
            all.disk_bytes += listed.disk_bytes;
            let Some(manifest) = store.manifest(listed.hour)? else {
                all.damaged += 1;
                continue;
            };
            all.records += manifest.records;
            if let Some((first, last)) = manifest.bounds() {
                all.from = Some(all.from.map_or(first, |from| from.min(first)));
                all.to = all.to.max(Some(last));
            }
        }
        Ok((all.hours > 0).then_some(all))
    }
}

/// A segment at a glance.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct SegmentOverview {
    /// Its name: the time of its opening, and its lane.
    #[schema(value_type = String)]
    pub name: SegmentName,
    /// `open` while it is being written, then `sealed`.
    pub state: &'static str,
    /// The earliest packet in it.
    #[schema(value_type = Option<String>, format = "date-time")]
    pub first: Option<Timestamp>,
    /// The latest packet in it.
    #[schema(value_type = Option<String>, format = "date-time")]
    pub last: Option<Timestamp>,
    /// Bytes of the file; of an open one this includes space that is only reserved.
    pub file_bytes: u64,
    /// Bytes that it takes on the disk, its index included.
    pub disk_bytes: u64,
    /// Whether an index lies beside it.
    pub has_index: bool,
}

impl SegmentOverview {
    /// Every segment of a store, oldest first.
    pub fn all(store: &Store) -> Result<Vec<Self>, StoreError> {
        store.segments()?.iter().map(|segment| Self::of(store, segment)).collect()
    }

    fn of(store: &Store, segment: &ListedSegment) -> Result<Self, StoreError> {
        let (first, last) = times(store, segment)?.unzip();
        let ListedSegment { name, state, file_bytes, disk_bytes, has_index } = *segment;
        let state = if state == SegmentState::Open { "open" } else { "sealed" };
        Ok(Self { name, state, first, last, file_bytes, disk_bytes, has_index })
    }
}

/// The earliest and latest timestamps of a segment: from its mark while it is open, from its index once it is sealed.
fn times(store: &Store, segment: &ListedSegment) -> Result<Option<(Timestamp, Timestamp)>, StoreError> {
    use std::io::Read;
    if segment.state == SegmentState::Open {
        let mark = store.mark(&segment.name)?;
        return Ok(mark.filter(|mark| mark.records > 0).map(|mark| (mark.first, mark.last)));
    }
    let Some(file) = store.open_index(&segment.name)? else { return Ok(walk_times(store, segment)) };
    let failed = |source| StoreError::Io { path: store.index_path(&segment.name), source };
    let length = file.metadata().map_err(failed)?.len();
    let mut bytes = Vec::new();
    file.take(INDEX_HEAD_BYTES).read_to_end(&mut bytes).map_err(failed)?;
    // The rest is not looked at, but its absence would be noticed.
    bytes.resize(usize::try_from(length).unwrap_or(usize::MAX), 0);
    Ok(match Index::open(bytes) {
        Ok(index) if index.records() > 0 => Some((index.first(), index.last())),
        Ok(_) => None,
        Err(_) => walk_times(store, segment),
    })
}

/// The same from the segment itself, as far as it can be read.
fn walk_times(store: &Store, segment: &ListedSegment) -> Option<(Timestamp, Timestamp)> {
    let opened = store.open_segment(&segment.name).ok()??;
    let mut reader = netrewind_segment::RecordReader::new(opened.file).ok()?;
    let mut times = None::<(Timestamp, Timestamp)>;
    while let Ok(Some(record)) = reader.next_record() {
        let at = record.header.timestamp();
        times = Some(times.map_or((at, at), |(first, last)| (first.min(at), last.max(at))));
    }
    times
}
