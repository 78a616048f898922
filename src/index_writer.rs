//! Indexes beside their segments: built from written blocks while recording, from the file otherwise.

use std::collections::HashMap;
use std::sync::mpsc::{self, Receiver, Sender, SyncSender};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use netrewind_index::{Builder, Index, IndexError, build_with};
use netrewind_packet::tunnel::TunnelPorts;
use netrewind_recorder::retention::Keeper;
use netrewind_recorder::{BlockSink, SegmentEnd, SegmentStart};
use netrewind_store::files::OpenMode;
use netrewind_store::store::ListedSegment;
use netrewind_store::{
    Event, LinkType, Logbook, RecordReader, Records, SegmentName, Store, locked, random_seed,
};

use crate::clock;

/// UDP ports that are decoded as tunnels in a store.
pub fn ports_of(store: &Store) -> anyhow::Result<TunnelPorts> {
    TunnelPorts::written(&store.identity().tunnel_ports).map_err(|error| {
        anyhow::anyhow!(
            "the store's tunnel ports cannot be read: {error}; run netrewind index --tunnel-port default"
        )
    })
}

/// Builds the index of a sealed segment from its file.
pub fn build(store: &Store, name: &SegmentName) -> anyhow::Result<Vec<u8>> {
    let path = store.sealed_path(name);
    let failed = |error: anyhow::Error| error.context(path.display().to_string());
    let file = store.files().open(&path, OpenMode::Read).map_err(|error| failed(error.into()))?;
    let reader = RecordReader::new(file.reader(0)).map_err(|error| failed(error.into()))?;
    build_with(reader, random_seed(), &ports_of(store)?).map_err(|error| failed(error.into()))
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
pub fn look(store: &Store, segment: &ListedSegment) -> anyhow::Result<IndexState> {
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
/// Niceness of the thread that catches up: everything else goes first.
pub const CATCH_UP_NICENESS: i32 = 19;
/// Limit on segments that wait for their index; further ones are read from the disk later, so that memory stays bounded.
const UNFINISHED_MAX: usize = 2;

/// Writes indexes beside segments, and logs failures.
#[derive(Clone)]
struct IndexWriter {
    store: Store,
    logbook: Arc<Mutex<Logbook>>,
}

impl IndexWriter {
    fn behind(&self, name: &SegmentName, reason: String) {
        let mut logbook = locked(&self.logbook);
        // A logbook that cannot be written is the recorder's to report: it writes there every second.
        let _ = logbook.append(clock::now(), Event::IndexBehind { segment: *name, reason });
    }

    /// Writes an index. Opening the segment has reserved room for one of the usual size; a larger one makes its own room.
    fn write(&self, name: &SegmentName, index: anyhow::Result<Vec<u8>>, keeper: &Keeper) {
        let written = index.and_then(|index| {
            keeper.make_room(index.len() as u64)?;
            Ok(self.store.write_index(name, &index)?)
        });
        // One that has expired meanwhile needs none. Else the answers stay right, only slower: `netrewind index` tries
        // again.
        if let Err(error) = written
            && self.store.is_sealed(name)
        {
            self.behind(name, format!("{error:#}"));
        }
    }
}

/// The indexes of all segments that a process writes. Packets are counted on each lane's sink thread, which must keep up with the
/// recording; indexes are laid out and written on a second thread, because that takes longer than the buffers last; and segments
/// that were left without one are read from the disk on a third.
pub struct IndexThreads {
    writer: IndexWriter,
    ports: TunnelPorts,
    /// Segments that wait for the first lane, which brings the keeper.
    without_index: Vec<SegmentName>,
    counted: SyncSender<CountedSegment>,
    behind: Sender<Behind>,
    threads: [JoinHandle<()>; 2],
}

/// A segment all of whose packets have been counted.
struct CountedSegment {
    name: SegmentName,
    link_type: LinkType,
    builder: Builder,
    keeper: Arc<Keeper>,
    /// Takes the builder back for another segment of the lane.
    spare: Spare,
}

/// An idle builder. Reusing one saves growing a flow table anew.
type Spare = Arc<Mutex<Option<(LinkType, Builder)>>>;

/// A segment to be read from the disk, and the keeper that makes room for its index.
type Behind = (SegmentName, Arc<Keeper>);

impl IndexThreads {
    /// Starts with the segments that have no index.
    pub fn start(
        store: &Store,
        logbook: Arc<Mutex<Logbook>>,
        without_index: Vec<SegmentName>,
    ) -> anyhow::Result<Self> {
        let ports = ports_of(store)?;
        let writer = IndexWriter { store: store.clone(), logbook };
        let (behind, to_read) = mpsc::channel();
        let (counted, to_finish) = mpsc::sync_channel(UNFINISHED_MAX);
        let (finisher, reader) = (writer.clone(), writer.clone());
        let threads = [
            spawn("finish", FINISH_NICENESS, move || finish(&finisher, &to_finish))?,
            spawn("catch-up", CATCH_UP_NICENESS, move || catch_up(&reader, &to_read))?,
        ];
        Ok(Self { writer, ports, without_index, counted, behind, threads })
    }

    /// The sink that builds the indexes of a lane.
    pub fn of_lane(&mut self, keeper: &Arc<Keeper>) -> Box<dyn BlockSink> {
        for name in self.without_index.drain(..) {
            // Refused only where the other thread has failed: the next process builds it.
            let _ = self.behind.send((name, keeper.clone()));
        }
        Box::new(LaneIndexer {
            writer: self.writer.clone(),
            ports: self.ports.clone(),
            keeper: keeper.clone(),
            counted: self.counted.clone(),
            behind: self.behind.clone(),
            building: HashMap::new(),
            spare: Spare::default(),
        })
    }

    /// Waits until every segment has its index. The lanes must have ended.
    pub fn finish(self) {
        drop((self.counted, self.behind));
        for thread in self.threads {
            // A fault of the program there has been printed; what lacks an index is built by the next process.
            let _ = thread.join();
        }
    }
}

fn spawn(name: &str, niceness: i32, work: impl FnOnce() + Send + 'static) -> std::io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name(name.into()).spawn(move || {
        // Of this thread alone: nice(2) on Linux. Refused nowhere, as it only lowers.
        let _ = rustix::process::nice(niceness);
        work();
    })
}

fn finish(writer: &IndexWriter, queue: &Receiver<CountedSegment>) {
    for CountedSegment { name, link_type, mut builder, keeper, spare } in queue {
        let index = builder.finish_segment();
        builder.reset();
        *locked(&spare) = Some((link_type, builder));
        writer.write(&name, index.map_err(Into::into), &keeper);
    }
}

fn catch_up(writer: &IndexWriter, queue: &Receiver<Behind>) {
    for (name, keeper) in queue {
        if writer.store.is_sealed(&name) {
            writer.write(&name, build(&writer.store, &name), &keeper);
        }
    }
}

/// Builds the indexes of one lane's segments from their blocks, as they are written.
struct LaneIndexer {
    writer: IndexWriter,
    ports: TunnelPorts,
    keeper: Arc<Keeper>,
    counted: SyncSender<CountedSegment>,
    behind: Sender<Behind>,
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
            Records::new(records, offset).for_each(|record| builder.push(&record));
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
            let (keeper, spare) = (self.keeper.clone(), self.spare.clone());
            self.counted
                .try_send(CountedSegment { name: segment.name, link_type, builder, keeper, spare })
                .is_ok()
        });
        if !was_taken {
            // Refused only where the other thread has failed: the next process builds it.
            let _ = self.behind.send((segment.name, self.keeper.clone()));
        }
    }

    fn abandoned(&mut self, name: &SegmentName) {
        self.building.remove(name);
    }
}
