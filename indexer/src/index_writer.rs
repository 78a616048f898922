//! Indexes beside their segments: built from written blocks while recording, from the file otherwise.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, TryRecvError};
use std::sync::{Arc, Mutex};

use netrewind_index::{Builder, Index, IndexError, build_with};
use netrewind_packet::tunnel::TunnelPorts;
use netrewind_store::clock::{Now, Waker};
use netrewind_store::room::Room;
use netrewind_store::sink::{BlockSink, SegmentEnd, SegmentStart};
use netrewind_store::store::ListedSegment;
use netrewind_store::turns::{NextTurn, QueueSender, RunningWorker, Worker, queue};
use netrewind_store::{Event, LinkType, RecordReader, Records, SegmentName, Store, locked, random_seed};

use crate::error::IndexerError;
use crate::workplace::{CATCH_UP_NICENESS, Workplace};

/// UDP ports that are decoded as tunnels in a store.
pub fn ports_of(store: &Store) -> Result<TunnelPorts, IndexerError> {
    TunnelPorts::written(&store.identity().tunnel_ports).map_err(IndexerError::TunnelPorts)
}

/// Builds the index of a sealed segment from its file.
pub fn build(store: &Store, name: &SegmentName) -> Result<Vec<u8>, IndexerError> {
    let path = store.complete_path(name);
    let ports = ports_of(store)?;
    let unreadable = |error| IndexerError::Unreadable { path: path.clone(), error };
    let gone = || unreadable(std::io::Error::from(std::io::ErrorKind::NotFound).into());
    let opened = store.open_segment(name)?.ok_or_else(gone)?;
    let reader = RecordReader::new(opened.file.reader(0)).map_err(unreadable)?;
    build_with(reader, random_seed(), &ports)
        .map_err(|error| IndexerError::Unindexable { path: path.clone(), error })
}

/// The state of a segment's index.
#[derive(Debug)]
pub enum IndexState {
    /// There is no index.
    Missing,
    /// It exists and fits.
    Good,
    /// It cannot be used.
    Bad(IndexError),
}

/// Checks that a sealed segment has an index that fits, without reading all of either.
pub fn index_state(store: &Store, segment: &ListedSegment) -> Result<IndexState, IndexerError> {
    let Some(file) = store.open_index(&segment.name)? else { return Ok(IndexState::Missing) };
    let index = match Index::open(file.read_all()?) {
        Ok(index) => index,
        Err(error) => return Ok(IndexState::Bad(error)),
    };
    let Some(opened) = store.open_segment(&segment.name)? else { return Ok(IndexState::Missing) };
    let mut head = vec![0; index.head_bytes()];
    let fits = match opened.file.read_exact_at(&mut head, 0) {
        Ok(()) => index.matches(opened.readable_bytes, &head),
        Err(_) => Err(IndexError::Foreign { reason: "the segment is shorter" }),
    };
    let ports = ports_of(store)?;
    Ok(match fits.and_then(|()| index.matches_ports(&ports)).and_then(|()| index.verify()) {
        Ok(()) => IndexState::Good,
        Err(error) => IndexState::Bad(error),
    })
}

/// Niceness of the thread that lays out indexes from the counts: recording and counting go first.
const FINISH_NICENESS: i32 = 15;
/// Limit on segments that wait for their index; further ones are read from the disk later, so that memory stays bounded.
const UNFINISHED_MAX: usize = 2;

/// Writes indexes beside segments, and logs failures.
#[derive(Clone)]
struct IndexWriter {
    place: Workplace,
}

impl IndexWriter {
    fn behind(&self, name: &SegmentName, reason: String) {
        self.place.log(Event::IndexBehind { segment: *name, reason });
    }

    /// Writes an index. Opening the segment has reserved room for one of the usual size; a larger one makes its own room.
    fn write(&self, name: &SegmentName, index: Result<Vec<u8>, IndexerError>, room: &dyn Room) {
        let store = &self.place.store;
        let written = index.and_then(|index| {
            room.make_room(index.len() as u64)?;
            Ok(store.write_index(name, &index)?)
        });
        // One that has expired meanwhile needs none. Else the answers stay right, only slower: `netrewind index` tries
        // again.
        match written {
            Ok(()) => self.place.watcher.iter().for_each(|watcher| watcher.indexed(name)),
            Err(error) if store.is_sealed(name) => self.behind(name, error.to_string()),
            Err(_) => {}
        }
    }
}

/// The indexes of all segments that a process writes. Packets are counted on each lane's sink thread, which must keep up with the
/// recording; indexes are laid out and written on a second thread, because that takes longer than the buffers last; and segments
/// that were left without one are read from the disk on a third.
pub(crate) struct IndexThreads {
    writer: IndexWriter,
    ports: TunnelPorts,
    /// Segments that wait for the first lane, which brings the room.
    without_index: Vec<SegmentName>,
    queues: IndexQueues,
    threads: [Box<dyn RunningWorker>; 2],
}

/// The queues to the threads.
#[derive(Clone)]
struct IndexQueues {
    counted: QueueSender<CountedSegment>,
    /// Counted segments that wait.
    unfinished: Arc<AtomicUsize>,
    behind: QueueSender<Behind>,
}

impl IndexQueues {
    /// Has the index of a counted segment laid out; false if too many wait for that.
    fn finish(&self, segment: CountedSegment) -> bool {
        let more = |waiting| (waiting < UNFINISHED_MAX).then_some(waiting + 1);
        let has_place = self.unfinished.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).is_ok();
        has_place && self.counted.send(segment).is_ok()
    }

    /// Has a segment read from the disk.
    fn catch_up(&self, name: SegmentName, room: &Arc<dyn Room>) {
        // Refused only where the other thread has failed: the next process builds it.
        let _ = self.behind.send((name, Arc::clone(room)));
    }
}

/// A segment all of whose packets have been counted.
struct CountedSegment {
    name: SegmentName,
    link_type: LinkType,
    builder: Builder,
    room: Arc<dyn Room>,
    /// Takes the builder back for another segment of the lane.
    spare: Spare,
}

/// An idle builder. Reusing one saves growing a flow table anew.
type Spare = Arc<Mutex<Option<(LinkType, Builder)>>>;

/// A segment to be read from the disk, and what makes room for its index.
type Behind = (SegmentName, Arc<dyn Room>);

impl IndexThreads {
    /// Starts with the segments that have no index.
    pub(crate) fn start(place: &Workplace, without_index: Vec<SegmentName>) -> Result<Self, IndexerError> {
        let ports = ports_of(&place.store)?;
        let writer = IndexWriter { place: place.clone() };
        let wakers = [Waker::default(), Waker::default()];
        let ((counted, to_finish), (behind, to_read)) = (queue(&wakers[0]), queue(&wakers[1]));
        let unfinished = Arc::new(AtomicUsize::new(0));
        let finisher =
            Finisher { writer: writer.clone(), queue: to_finish, unfinished: Arc::clone(&unfinished) };
        let catcher = CatchUp { writer: writer.clone(), queue: to_read };
        let threads = [
            place.threads.start("finish".into(), FINISH_NICENESS, &wakers[0], Box::new(finisher))?,
            place.threads.start("catch-up".into(), CATCH_UP_NICENESS, &wakers[1], Box::new(catcher))?,
        ];
        Ok(Self {
            writer,
            ports,
            without_index,
            queues: IndexQueues { counted, unfinished, behind },
            threads,
        })
    }

    /// The sink that builds the indexes of a lane.
    pub(crate) fn of_lane(&mut self, room: &Arc<dyn Room>) -> Box<dyn BlockSink> {
        self.without_index.drain(..).for_each(|name| self.queues.catch_up(name, room));
        Box::new(LaneIndexer {
            writer: self.writer.clone(),
            ports: self.ports.clone(),
            room: Arc::clone(room),
            queues: self.queues.clone(),
            building: HashMap::new(),
            spare: Spare::default(),
        })
    }

    /// Waits until every segment has its index. The lanes must have ended.
    pub(crate) fn finish(self) {
        drop(self.queues);
        for thread in self.threads {
            // A panic there has been printed; the next process builds the missing indexes.
            thread.join();
        }
    }
}

/// Lays out and writes the indexes of counted segments, one a turn.
struct Finisher {
    writer: IndexWriter,
    queue: Receiver<CountedSegment>,
    unfinished: Arc<AtomicUsize>,
}

impl Worker for Finisher {
    fn turn(&mut self, now: Now) -> NextTurn {
        let CountedSegment { name, link_type, mut builder, room, spare } = match self.queue.try_recv() {
            Ok(segment) => segment,
            Err(error) => return when_more_comes(error),
        };
        self.unfinished.fetch_sub(1, Ordering::AcqRel);
        let index = builder.finish_segment();
        builder.reset();
        *locked(&spare) = Some((link_type, builder));
        self.writer.write(&name, index.map_err(Into::into), &*room);
        NextTurn::At(now.monotonic_ns)
    }
}

/// Builds the indexes of segments that were left without, one a turn.
struct CatchUp {
    writer: IndexWriter,
    queue: Receiver<Behind>,
}

impl Worker for CatchUp {
    fn turn(&mut self, now: Now) -> NextTurn {
        let (name, room) = match self.queue.try_recv() {
            Ok(behind) => behind,
            Err(error) => return when_more_comes(error),
        };
        let store = &self.writer.place.store;
        if store.is_sealed(&name) {
            self.writer.write(&name, build(store, &name), &*room);
        }
        NextTurn::At(now.monotonic_ns)
    }
}

fn when_more_comes(error: TryRecvError) -> NextTurn {
    match error {
        TryRecvError::Empty => NextTurn::WhenWoken,
        TryRecvError::Disconnected => NextTurn::Never,
    }
}

/// Builds the indexes of one lane's segments from their blocks, as they are written.
struct LaneIndexer {
    writer: IndexWriter,
    ports: TunnelPorts,
    room: Arc<dyn Room>,
    queues: IndexQueues,
    building: HashMap<SegmentName, (LinkType, Builder)>,
    spare: Spare,
}

impl BlockSink for LaneIndexer {
    fn opened(&mut self, segment: &SegmentStart) {
        let spare = locked(&self.spare).take();
        let builder = match spare {
            Some(spare) if spare.0 == segment.link_type => spare,
            _ => (segment.link_type, Builder::new(segment.link_type, random_seed()).with_ports(&self.ports)),
        };
        self.building.insert(segment.name, builder);
    }

    fn block(&mut self, name: &SegmentName, offset: u64, records: &[u8]) {
        if let Some((_, builder)) = self.building.get_mut(name) {
            builder.push_all(Records::new(records, offset));
        }
    }

    fn hole(&mut self, name: &SegmentName) {
        self.building.remove(name);
        self.writer.behind(name, "the indexer did not keep up with recording".into());
    }

    fn sealed(&mut self, segment: &SegmentEnd) {
        let built = self.building.remove(&segment.name);
        let whole = built.filter(|(_, builder)| segment.complete && builder.records() == segment.records);
        let was_taken = whole.is_some_and(|(link_type, builder)| {
            let (room, spare) = (Arc::clone(&self.room), self.spare.clone());
            self.queues.finish(CountedSegment { name: segment.name, link_type, builder, room, spare })
        });
        if !was_taken {
            self.queues.catch_up(segment.name, &self.room);
        }
    }

    fn abandoned(&mut self, name: &SegmentName) {
        self.building.remove(name);
    }
}
