//! Setting up of a lane: its disk and buffers, its sink, its first line in the logbook.

use std::sync::Arc;

use netrewind_store::clock::Waker;
use netrewind_store::layout::CAPLEN_MAX;
use netrewind_store::room::Room;
use netrewind_store::sink::BlockSink;
use netrewind_store::turns::RunningWorker;
use netrewind_store::{Event, Store};

use super::error::RecorderError;
use crate::buffer_pool::BufferPool;
use crate::config::Config;
use crate::disk::LaneDisk;
use crate::lane::Lane;
use crate::platform::Platform;
use crate::retention::Keeper;
use crate::sink_queue::{self, SINK_NICENESS, SinkFeed, SinkWorker};

/// Facts of a recording that the logbook states and only the caller knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecordingDescription {
    /// The capture filter's text.
    pub capture_filter: Option<String>,
    /// The program's version.
    pub version: String,
}

/// Maker of each lane's sink: called with the lane's number, and with the keeper that makes room for the sink's files.
pub type SinkMaker<'a> = dyn FnMut(u16, &Arc<dyn Room>) -> Option<Box<dyn BlockSink>> + 'a;

/// Starts the thread of a sink.
pub(super) fn start_sink(
    lane: u16,
    sink: Box<dyn BlockSink>,
    platform: &Platform,
) -> Result<(SinkFeed, Box<dyn RunningWorker>), RecorderError> {
    let waker = Waker::default();
    let (feed, queue) = sink_queue::queue(&waker);
    let worker = Box::new(SinkWorker::new(queue, sink));
    let started = platform.threads.start(format!("sink-{lane}"), SINK_NICENESS, &waker, worker);
    let source = |source| RecorderError::Start { what: "the index thread", source };
    Ok((feed, started.map_err(source)?))
}

/// A lane with a disk and buffers of its own.
pub(super) fn open_lane(
    number: u16,
    interface: &str,
    config: Config,
    store: &Store,
    keeper: &Arc<Keeper>,
    feed: Option<SinkFeed>,
    platform: &Platform,
) -> Result<Lane<LaneDisk>, RecorderError> {
    let pool = BufferPool::new(config.buffers, config.buffer_bytes)
        .map_err(|source| RecorderError::Start { what: "buffers", source })?;
    let disk = platform
        .disks
        .open(store, keeper, &pool)
        .map_err(|source| RecorderError::Start { what: "the disk thread", source })?;
    Ok(Lane::new(number, interface, config, disk, pool, feed, platform.clock.now()))
}

/// The line of the logbook with which a lane starts.
pub(super) fn start_event(
    lane: u16,
    interface: &str,
    config: &Config,
    description: &RecordingDescription,
) -> Event {
    let is_whole = config.snaplen == CAPLEN_MAX;
    Event::Start {
        lane,
        interface: interface.to_owned(),
        snaplen: (!is_whole).then_some(config.snaplen),
        capture_filter: description.capture_filter.clone(),
        version: description.version.clone(),
    }
}
