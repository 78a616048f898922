//! Gathering on some threads, joining on the caller's: segments are taken up in the order of their earliest timestamps,
//! and their parts come back in that order, those of a large one in pieces. The caller's thread checks for cancellation at intervals.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use super::gather::Gatherer;
use super::gathered::Gathered;
use super::request::Gathering;
use super::source::FlowSource;
use crate::ExtractError;
use crate::answer::control::{Control, Progress};
use crate::memory::MemoryAccount;
use crate::store::segment::Segment;

/// Interval at which the consumer checks for parts.
const WAIT: Duration = Duration::from_millis(2);
/// Number of parts, and of segments, after which they are handed over: waking a thread costs as much as a lookup in an index.
const PARTS_HANDED_OVER: usize = 1024;
const SEGMENTS_HANDED_OVER: usize = 32;

/// Takes the parts of a segment, or a piece of them, and the time before which later segments have nothing; `None` if none follow.
pub(super) type Take<'t> = dyn FnMut(Gathered, Option<u64>) -> ControlFlow<()> + 't;

/// Gathers the parts of all segments.
pub(super) fn run(
    source: FlowSource<'_>,
    gathering: Gathering<'_>,
    mut segments: Vec<Arc<Segment>>,
    control: &mut dyn Control,
    take: &mut Take<'_>,
) -> Result<(), ExtractError> {
    segments.sort_by_key(|segment| (segment.bounds, segment.name.lane, segment.ordinal));
    let starts: Vec<Option<u64>> =
        segments.iter().map(|segment| segment.bounds.map(|(first, _)| first.ns())).collect();
    // The caller's thread only joins.
    let threads = source.helpers.saturating_add(1).min(segments.len());
    let mut shares: Vec<Vec<Arc<Segment>>> = vec![Vec::new(); threads];
    for (number, segment) in segments.into_iter().enumerate() {
        shares[number % threads].push(segment);
    }
    let stop = AtomicBool::new(false);
    let stops = || stop.load(Ordering::Relaxed) || gathering.account.is_some_and(MemoryAccount::is_short);
    let stops: &(dyn Fn() -> bool + Sync) = &stops;
    std::thread::scope(|scope| {
        let mut results = Vec::new();
        for share in shares {
            let (sender, receiver) = sync_channel(1);
            let gatherer = Gatherer::new(source, gathering, stops);
            scope.spawn(move || work(gatherer, share, &sender));
            results.push(Results { receiver, received: VecDeque::new() });
        }
        let joined = join(results, &starts, control, take);
        stop.store(true, Ordering::Relaxed);
        joined
    })
}

/// Parts handed over at a time.
type Batch = Vec<Result<Gathered, ExtractError>>;

fn work(mut gatherer: Gatherer<'_>, share: Vec<Arc<Segment>>, sender: &SyncSender<Batch>) {
    let (mut batch, mut parts) = (Batch::new(), 0);
    for segment in share {
        let mut is_wanted = true;
        // The maps go with the segment, once it has been gathered.
        let gathered = gatherer.gather(segment, &mut |piece| {
            batch.push(Ok(piece));
            parts = 0;
            is_wanted = sender.send(std::mem::take(&mut batch)).is_ok();
            is_wanted
        });
        if !is_wanted {
            return;
        }
        let is_urgent = gathered.as_ref().map_or(true, |gathered| gathered.bytes_read > 0);
        parts += gathered.as_ref().map_or(0, |gathered| gathered.parts.len());
        batch.push(gathered);
        if is_urgent || parts >= PARTS_HANDED_OVER || batch.len() >= SEGMENTS_HANDED_OVER {
            parts = 0;
            if sender.send(std::mem::take(&mut batch)).is_err() {
                return; // no more is wanted
            }
        }
    }
    // Likewise.
    let _ = sender.send(batch);
}

/// Results of one thread.
struct Results {
    receiver: Receiver<Batch>,
    received: VecDeque<Result<Gathered, ExtractError>>,
}

fn join(
    mut results: Vec<Results>,
    starts: &[Option<u64>],
    control: &mut dyn Control,
    take: &mut Take<'_>,
) -> Result<(), ExtractError> {
    let mut progress = Progress { segments: starts.len() as u64, ..Progress::default() };
    let threads = results.len();
    for number in 0..starts.len() {
        let horizon = starts.get(number + 1).map(|start| start.unwrap_or(0));
        loop {
            let gathered = results[number % threads].next(control)?;
            for part in &gathered.parts {
                progress.packets += part.body.packets();
                progress.bytes += part.body.bytes();
            }
            let has_more = gathered.has_more;
            if take(gathered, horizon).is_break() {
                return Ok(());
            }
            if !has_more {
                break;
            }
            control.progress(&progress);
        }
        progress.segments_done += 1;
        control.progress(&progress);
    }
    Ok(())
}

impl Results {
    fn next(&mut self, control: &mut dyn Control) -> Result<Gathered, ExtractError> {
        loop {
            if let Some(gathered) = self.received.pop_front() {
                return gathered;
            }
            if control.cancelled() {
                return Err(ExtractError::Cancelled);
            }
            match self.receiver.recv_timeout(WAIT) {
                Ok(batch) => self.received.extend(batch),
                Err(RecvTimeoutError::Timeout) => {}
                // Its thread has panicked: the panic is raised again where the threads are joined.
                Err(RecvTimeoutError::Disconnected) => return Err(ExtractError::Cancelled),
            }
        }
    }
}
