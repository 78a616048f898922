//! Indexes beside their segments: built from written blocks while recording, from the file otherwise.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, PoisonError};

use netrewind_indexer::{Builder, Index, IndexError, build_from};
use netrewind_recorder::{BlockSink, SegmentEnd, SegmentStart};
use netrewind_segment::store::ListedSegment;
use netrewind_segment::{Event, LinkType, Logbook, RecordReader, Records, SegmentName, Store};

use crate::clock;

/// A number that nobody outside can guess, so that nobody can send packets whose flows collide in a hash table.
pub fn seed() -> u64 {
    RandomState::new().hash_one(0)
}

/// Builds the index of a sealed segment from its file.
pub fn build(store: &Store, name: &SegmentName) -> anyhow::Result<Vec<u8>> {
    let path = store.sealed_path(name);
    let failed = |error: anyhow::Error| error.context(path.display().to_string());
    let file = std::fs::File::open(&path).map_err(|error| failed(error.into()))?;
    let reader = RecordReader::new(file).map_err(|error| failed(error.into()))?;
    build_from(reader, seed()).map_err(|error| failed(error.into()))
}

/// The state of a segment's index.
#[derive(Debug)]
pub enum State {
    /// There is none.
    Missing,
    /// It is there and fits.
    Good,
    /// It cannot be used.
    Bad(IndexError),
}

/// Looks whether a sealed segment has an index that fits, without reading all of either.
pub fn look(store: &Store, segment: &ListedSegment) -> anyhow::Result<State> {
    use std::io::Read;
    use std::os::unix::fs::FileExt;
    let Some(mut file) = store.open_index(&segment.name)? else { return Ok(State::Missing) };
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let index = match Index::open(bytes) {
        Ok(index) => index,
        Err(error) => return Ok(State::Bad(error)),
    };
    let Some(opened) = store.open_segment(&segment.name)? else { return Ok(State::Missing) };
    let mut head = vec![0; index.head_bytes()];
    let fits = match opened.file.read_exact_at(&mut head, 0) {
        Ok(()) => index.matches(opened.readable_bytes, &head),
        Err(_) => Err(IndexError::Foreign { reason: "the segment is shorter" }),
    };
    Ok(match fits.and_then(|()| index.verify()) {
        Ok(()) => State::Good,
        Err(error) => State::Bad(error),
    })
}

/// Builds the indexes of one lane's segments from their blocks, as they are written.
pub struct LiveIndexer {
    store: Store,
    logbook: Arc<Mutex<Logbook>>,
    building: HashMap<SegmentName, (LinkType, Builder)>,
    /// Reused from one segment to the next: growing a flow table anew costs more than clearing it.
    spare: Option<(LinkType, Builder)>,
    /// Sealed segments that must be read from the disk.
    behind: VecDeque<SegmentName>,
}

impl LiveIndexer {
    /// An indexer that builds `behind` first, when it has time.
    pub fn new(store: &Store, logbook: Arc<Mutex<Logbook>>, behind: Vec<SegmentName>) -> Self {
        Self { store: store.clone(), logbook, building: HashMap::new(), spare: None, behind: behind.into() }
    }

    fn log(&self, event: Event) {
        let mut logbook = self.logbook.lock().unwrap_or_else(PoisonError::into_inner);
        // A logbook that cannot be written is the recorder's to report: it writes there every second.
        let _ = logbook.append(clock::now(), event);
    }

    fn write(&mut self, name: &SegmentName, index: anyhow::Result<Vec<u8>>) {
        let written = index.and_then(|index| Ok(self.store.write_index(name, &index)?));
        if let Err(error) = written {
            // The answers stay right, only slower; `netrewind index` tries again.
            self.log(Event::IndexBehind { segment: *name, reason: format!("{error:#}") });
        }
    }
}

impl BlockSink for LiveIndexer {
    fn opened(&mut self, segment: &SegmentStart) {
        let builder = match self.spare.take() {
            Some(spare) if spare.0 == segment.link_type => spare,
            _ => (segment.link_type, Builder::new(segment.link_type, seed())),
        };
        self.building.insert(segment.name, builder);
    }

    fn block(&mut self, name: &SegmentName, offset: u64, records: &[u8]) {
        if let Some((_, builder)) = self.building.get_mut(name) {
            Records::new(records, offset).for_each(|record| builder.push(&record));
        }
    }

    fn hole(&mut self, name: &SegmentName) {
        self.building.remove(name);
        let reason = "the indexer did not keep up with the recording".into();
        self.log(Event::IndexBehind { segment: *name, reason });
    }

    fn sealed(&mut self, segment: &SegmentEnd) {
        let builder = self.building.remove(&segment.name);
        match builder.filter(|(_, builder)| segment.complete && builder.records() == segment.records) {
            Some((link_type, mut builder)) => {
                let index = builder.finish_segment();
                builder.reset();
                self.spare = Some((link_type, builder));
                self.write(&segment.name, index.map_err(Into::into));
            }
            None => self.behind.push_back(segment.name),
        }
    }

    fn abandoned(&mut self, name: &SegmentName) {
        self.building.remove(name);
    }

    fn idle(&mut self) -> bool {
        if let Some(name) = self.behind.pop_front()
            && self.store.sealed_path(&name).exists()
        {
            self.write(&name, build(&self.store, &name));
        }
        !self.behind.is_empty()
    }
}
