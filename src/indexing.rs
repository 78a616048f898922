//! Indexes beside their segments: built from written blocks while recording, from the file otherwise.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use netrewind_indexer::{Builder, Index, IndexError, build_from};
use netrewind_recorder::retention::Keeper;
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

/// How little the thread that catches up asks of the processor: anything else goes first.
const CATCH_UP_NICENESS: i32 = 19;

/// Puts indexes beside segments, and says in the logbook where that fails.
#[derive(Clone)]
struct IndexWriter {
    store: Store,
    logbook: Arc<Mutex<Logbook>>,
}

impl IndexWriter {
    fn behind(&self, name: &SegmentName, reason: String) {
        let mut logbook = self.logbook.lock().unwrap_or_else(PoisonError::into_inner);
        // A logbook that cannot be written is the recorder's to report: it writes there every second.
        let _ = logbook.append(clock::now(), Event::IndexBehind { segment: *name, reason });
    }

    /// Opening a segment has reserved room for an index of the usual size; a larger one makes its own.
    fn write(&self, name: &SegmentName, index: anyhow::Result<Vec<u8>>, keeper: &Keeper) {
        let written = index.and_then(|index| {
            keeper.make_room(index.len() as u64)?;
            Ok(self.store.write_index(name, &index)?)
        });
        // One that has expired meanwhile needs none. Else the answers stay right, only slower: `netrewind index` tries
        // again.
        if let Err(error) = written
            && self.store.sealed_path(name).exists()
        {
            self.behind(name, format!("{error:#}"));
        }
    }
}

/// The indexes of everything that a process writes: each lane's from its blocks, and on a thread of its own those of
/// segments that were left without.
pub struct Indexing {
    writer: IndexWriter,
    /// Waits for the first lane, which brings the keeper.
    without_index: Vec<SegmentName>,
    behind: Sender<Behind>,
    catching_up: JoinHandle<()>,
}

/// A segment to be read from the disk, and who makes room for its index.
type Behind = (SegmentName, Arc<Keeper>);

impl Indexing {
    /// Begins with the segments that have no index.
    pub fn start(
        store: &Store,
        logbook: Arc<Mutex<Logbook>>,
        without_index: Vec<SegmentName>,
    ) -> std::io::Result<Self> {
        let writer = IndexWriter { store: store.clone(), logbook };
        let (behind, queue) = mpsc::channel();
        let catching_up = std::thread::Builder::new().name("catch-up".into()).spawn({
            let writer = writer.clone();
            move || catch_up(&writer, &queue)
        })?;
        Ok(Self { writer, without_index, behind, catching_up })
    }

    /// What builds the indexes of a lane.
    pub fn of_lane(&mut self, keeper: &Arc<Keeper>) -> Box<dyn BlockSink> {
        for name in self.without_index.drain(..) {
            // Refused only where the other thread has failed: the next process builds it.
            let _ = self.behind.send((name, keeper.clone()));
        }
        Box::new(LaneIndexer {
            writer: self.writer.clone(),
            keeper: keeper.clone(),
            behind: self.behind.clone(),
            building: HashMap::new(),
            spare: None,
        })
    }

    /// Waits until every segment has its index. The lanes must have ended.
    pub fn finish(self) {
        drop(self.behind);
        // A fault of the program there has been printed; what lacks an index is built by the next process.
        let _ = self.catching_up.join();
    }
}

fn catch_up(writer: &IndexWriter, queue: &Receiver<Behind>) {
    // Of this thread alone: setpriority(2). Refused nowhere, as it only lowers.
    let _ = rustix::process::nice(CATCH_UP_NICENESS);
    for (name, keeper) in queue {
        if writer.store.sealed_path(&name).exists() {
            writer.write(&name, build(&writer.store, &name), &keeper);
        }
    }
}

/// Builds the indexes of one lane's segments from their blocks, as they are written.
struct LaneIndexer {
    writer: IndexWriter,
    keeper: Arc<Keeper>,
    behind: Sender<Behind>,
    building: HashMap<SegmentName, (LinkType, Builder)>,
    /// Reused from one segment to the next: growing a flow table anew costs more than clearing it.
    spare: Option<(LinkType, Builder)>,
}

impl BlockSink for LaneIndexer {
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
        self.writer.behind(name, "the indexer did not keep up with the recording".into());
    }

    fn sealed(&mut self, segment: &SegmentEnd) {
        let builder = self.building.remove(&segment.name);
        match builder.filter(|(_, builder)| segment.complete && builder.records() == segment.records) {
            Some((link_type, mut builder)) => {
                let index = builder.finish_segment();
                builder.reset();
                self.spare = Some((link_type, builder));
                self.writer.write(&segment.name, index.map_err(Into::into), &self.keeper);
            }
            None => _ = self.behind.send((segment.name, self.keeper.clone())),
        }
    }

    fn abandoned(&mut self, name: &SegmentName) {
        self.building.remove(name);
    }
}
