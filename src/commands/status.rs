//! `netrewind status`: what is in a store, and how far back one can rewind.

use netrewind_indexer::Index;
use netrewind_segment::logbook::{self, Entry, Line};
use netrewind_segment::store::ListedSegment;
use netrewind_segment::time::SECOND_NS;
use netrewind_segment::{Drops, Event, SegmentState, Store, Timestamp};
use serde::Serialize;

use super::StoreArgument;
use crate::clock;
use crate::outcome::{Failure, Outcome};
use crate::terminal;

/// Rates are means over this time.
const RATE_SECONDS: u64 = 10;
/// Drops are told for this time.
const DROPS_SECONDS: u64 = 86_400;
/// Bytes of an index that tell when its packets are from.
const INDEX_HEAD_BYTES: u64 = 4096;

const EXAMPLES: &str = "\
Examples:
  netrewind status --store /data/nr
  netrewind status --store /data/nr --json | jq .rewind_to";

/// Arguments of `netrewind status`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    #[command(flatten)]
    store: StoreArgument,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// A store at a glance.
#[derive(Debug, Serialize)]
struct Overview {
    store: String,
    id: String,
    created: Timestamp,
    /// Who writes to it now.
    writer: Option<String>,
    segments: usize,
    open_segments: usize,
    without_index: usize,
    disk_bytes: u64,
    /// The earliest and latest packets kept.
    rewind_to: Option<Timestamp>,
    newest: Option<Timestamp>,
    /// Means over the last ten seconds, while somebody records.
    packets_per_second: Option<f64>,
    bits_per_second: Option<f64>,
    /// Packets dropped in the last 24 hours.
    dropped_last_day: Drops,
    /// Lanes whose interface is away.
    down: Vec<String>,
}

/// Tells it.
pub fn run(arguments: &Arguments) -> Result<Outcome, Failure> {
    let overview = Overview::of(&Store::open(&arguments.store.store)?)?;
    if arguments.json {
        terminal::print(serde_json::to_string(&overview)?)?;
    } else {
        overview.tell()?;
    }
    Ok(Outcome::Done)
}

impl Overview {
    fn of(store: &Store) -> Result<Self, Failure> {
        let now = clock::now();
        let segments = store.segments()?;
        let writer = store.locked_by()?;
        let (mut rewind_to, mut newest) = (None::<Timestamp>, None::<Timestamp>);
        for segment in &segments {
            if let Some((first, last)) = times(store, segment)? {
                rewind_to = Some(rewind_to.map_or(first, |time| time.min(first)));
                newest = Some(newest.map_or(last, |time| time.max(last)));
            }
        }
        let recent = Recent::of(store, now)?;
        let records = writer.as_deref().is_some_and(|writer| writer.contains("record"));
        let is_open = |segment: &&ListedSegment| segment.state == SegmentState::Open;
        let open_segments = segments.iter().filter(is_open).count();
        Ok(Self {
            store: store.root().display().to_string(),
            id: store.identity().id.clone(),
            created: store.identity().created,
            writer,
            segments: segments.len(),
            open_segments,
            without_index: segments
                .iter()
                .filter(|s| !s.has_index && s.state == SegmentState::Sealed)
                .count(),
            disk_bytes: store.disk_bytes()?,
            rewind_to,
            newest,
            packets_per_second: records.then(|| recent.received as f64 / RATE_SECONDS as f64),
            bits_per_second: records.then(|| recent.bytes as f64 * 8.0 / RATE_SECONDS as f64),
            dropped_last_day: recent.dropped,
            down: recent.down,
        })
    }

    fn tell(&self) -> std::io::Result<()> {
        let now = clock::now();
        let print = |name: &str, text: String| terminal::print(format_args!("{name:<12}{text}"));
        print("store", format!("{} ({})", self.store, self.id))?;
        print("writer", self.writer.clone().unwrap_or_else(|| "none: nobody records".into()))?;
        let kept = format!(
            "{} segments, {} of them being written, {} without index",
            self.segments, self.open_segments, self.without_index
        );
        print("segments", kept)?;
        print("disk", terminal::bytes(self.disk_bytes))?;
        match (self.rewind_to, self.newest) {
            (Some(oldest), Some(newest)) => {
                let ago = terminal::span(now.ns_since(oldest) / SECOND_NS);
                print("rewind to", format!("{oldest} ({ago} ago)"))?;
                print("newest", newest.to_string())?;
            }
            _ => print("rewind to", "nothing is stored yet".into())?,
        }
        if let (Some(packets), Some(bits)) = (self.packets_per_second, self.bits_per_second) {
            let rates =
                format!("{}packets/s, {}bit/s", terminal::thousands(packets), terminal::thousands(bits));
            print("rate", rates)?;
        }
        let Drops { kernel, disk } = self.dropped_last_day;
        print("dropped", format!("{kernel} by the kernel, {disk} by the disk in the last 24 hours"))?;
        for interface in &self.down {
            print("down", interface.clone())?;
        }
        Ok(())
    }
}

/// The earliest and latest timestamps of a segment: from its mark while it is open, from its index once it is sealed.
fn times(store: &Store, segment: &ListedSegment) -> Result<Option<(Timestamp, Timestamp)>, Failure> {
    use std::io::Read;
    if segment.state == SegmentState::Open {
        let mark = store.mark(&segment.name)?;
        return Ok(mark.filter(|mark| mark.records > 0).map(|mark| (mark.first, mark.last)));
    }
    let Some(file) = store.open_index(&segment.name)? else { return Ok(walk_times(store, segment)) };
    let length = file.metadata()?.len();
    let mut bytes = Vec::new();
    file.take(INDEX_HEAD_BYTES).read_to_end(&mut bytes)?;
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

/// What the logbook says of the last day.
#[derive(Default)]
struct Recent {
    received: u64,
    bytes: u64,
    dropped: Drops,
    down: Vec<String>,
}

impl Recent {
    fn of(store: &Store, now: Timestamp) -> Result<Self, Failure> {
        let since = |seconds: u64| Timestamp(now.ns().saturating_sub(seconds * SECOND_NS));
        let (day, rate) = (since(DROPS_SECONDS), since(RATE_SECONDS));
        let mut recent = Self::default();
        let mut interfaces = std::collections::BTreeMap::new();
        logbook::read(store, day, now, true, |line| {
            let Line::Entry(Entry { event, at }) = line else { return };
            match event {
                Event::Second { received, dropped, bytes, .. } if at >= day => {
                    recent.dropped.add(&dropped);
                    if at >= rate {
                        recent.received += received;
                        recent.bytes += bytes;
                    }
                }
                Event::Start { lane, interface, .. } => {
                    interfaces.insert(lane, (interface, None));
                }
                Event::Down { lane, reason } => {
                    interfaces.entry(lane).or_default().1 = Some(reason);
                }
                Event::Up { lane } | Event::Stop { lane, .. } => {
                    interfaces.entry(lane).or_default().1 = None;
                }
                _ => {}
            }
        })?;
        recent.down = interfaces
            .into_values()
            .filter_map(|(interface, down): (String, Option<String>)| Some(format!("{interface}: {}", down?)))
            .collect();
        Ok(recent)
    }
}
