//! Ranges of objects, fetched in blocks: several at once, neighbours in one request, and each only once.
//!
//! ```text
//! will_need: ranges -> blocks that are not here -> joined where few lie between -> requests, 32 at once -> blocks
//! read:      range  -> its blocks, waited for
//! ```
//!
//! **Invariant:** memory is bounded by [`FETCHED_BYTES_MAX`] and the requests under way; no lock is held during a request.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use netrewind_store::archived::ArchivedObject;
use netrewind_store::clock::Clock;
use netrewind_store::locked;

use crate::bucket::{Bucket, BucketError, BucketFault};
use crate::meter::{ArchiveMeter, count};

/// Requests for objects that run at once.
pub const GETS_AT_ONCE: usize = 32;
/// Unit in which objects are fetched.
pub const BLOCK_BYTES: u64 = 64 << 10;
/// Bytes between two wanted ranges that are fetched with them: less time than another request takes.
pub const GAP_BYTES_MAX: u64 = 256 << 10;
/// Bytes of one request.
pub const GET_BYTES_MAX: u64 = 8 << 20;
/// Bytes that were fetched, and are kept for whoever asked for them, or asks again.
pub const FETCHED_BYTES_MAX: u64 = 128 << 20;
/// Time in which nothing more is asked of a server that cannot be reached, or did not answer: all at once would wait for it one after
/// the other.
pub const UNREACHABLE_FOR: Duration = Duration::from_secs(5);

/// A block of an object.
type BlockKey = (Arc<str>, u64);

#[derive(Debug)]
enum Block {
    Coming,
    /// With the turn in which it was used last.
    Here(Bytes, u64),
    Failed(String),
}

/// A request.
#[derive(Debug)]
struct Get {
    object: Arc<str>,
    range: Range<u64>,
    blocks: Range<u64>,
}

#[derive(Debug, Default)]
struct Fetched {
    blocks: HashMap<BlockKey, Block>,
    /// Blocks that are here, by the turn in which they were used last.
    used: BTreeMap<u64, BlockKey>,
    turn: u64,
    bytes: u64,
    waiting: VecDeque<Get>,
    threads: usize,
    idle: usize,
    is_ended: bool,
    /// Fault of the server, and until when nothing is asked of it.
    unreachable: Option<(u64, String)>,
}

struct Shared {
    bucket: Arc<Bucket>,
    meter: Arc<ArchiveMeter>,
    clock: Arc<dyn Clock>,
    fetched: Mutex<Fetched>,
    has_come: Condvar,
    is_asked: Condvar,
}

/// Fetches ranges of a bucket's objects.
pub(crate) struct Fetcher(Arc<Shared>);

impl fmt::Debug for Fetcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fetcher({:?})", self.0.bucket)
    }
}

/// An object of which ranges are fetched.
#[derive(Debug)]
pub(crate) struct FetchedObject {
    fetcher: Arc<Fetcher>,
    key: Arc<str>,
    bytes: u64,
}

impl Fetched {
    fn keep(&mut self, key: BlockKey, bytes: Bytes) {
        self.turn += 1;
        self.bytes += bytes.len() as u64;
        self.used.insert(self.turn, key.clone());
        self.blocks.insert(key, Block::Here(bytes, self.turn));
        while self.bytes > FETCHED_BYTES_MAX
            && let Some((_, oldest)) = self.used.pop_first()
        {
            if let Some(Block::Here(bytes, _)) = self.blocks.remove(&oldest) {
                self.bytes -= bytes.len() as u64;
            }
        }
    }

    /// A block that is here.
    fn take(&mut self, key: &BlockKey) -> Option<Bytes> {
        self.turn += 1;
        let Some(Block::Here(bytes, used)) = self.blocks.get_mut(key) else { return None };
        let before = std::mem::replace(used, self.turn);
        let bytes = bytes.clone();
        self.used.remove(&before);
        self.used.insert(self.turn, key.clone());
        Some(bytes)
    }

    fn is_wanted(&self, key: &BlockKey) -> bool {
        matches!(self.blocks.get(key), None | Some(Block::Failed(_)))
    }

    /// Requests for those of these blocks that are neither here nor coming.
    fn requests(&mut self, object: &Arc<str>, bytes: u64, wanted: &[Range<u64>]) -> Vec<Get> {
        let mut runs: Vec<Range<u64>> = Vec::new();
        for block in wanted.iter().flat_map(|blocks| blocks.clone()) {
            if !self.is_wanted(&(Arc::clone(object), block)) {
                continue;
            }
            match runs.last_mut() {
                Some(run) if block < run.end => {}
                Some(run)
                    if (block - run.end) * BLOCK_BYTES <= GAP_BYTES_MAX
                        && (block + 1 - run.start) * BLOCK_BYTES <= GET_BYTES_MAX =>
                {
                    run.end = block + 1;
                }
                _ => runs.push(block..block + 1),
            }
        }
        for block in runs.iter().flat_map(|run| run.clone()) {
            let key = (Arc::clone(object), block);
            if self.is_wanted(&key) {
                self.blocks.insert(key, Block::Coming);
            }
        }
        let get = |blocks: Range<u64>| Get {
            object: Arc::clone(object),
            range: blocks.start * BLOCK_BYTES..(blocks.end * BLOCK_BYTES).min(bytes),
            blocks,
        };
        runs.into_iter().map(get).collect()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Fetched> {
        locked(&self.fetched)
    }

    /// Carries out requests until there will be no more.
    fn work(&self) {
        loop {
            let get = {
                let mut fetched = self.lock();
                loop {
                    if fetched.is_ended {
                        return;
                    }
                    if let Some(get) = fetched.waiting.pop_front() {
                        break get;
                    }
                    fetched.idle += 1;
                    fetched = self.is_asked.wait(fetched).unwrap_or_else(PoisonError::into_inner);
                    fetched.idle -= 1;
                }
            };
            let done = self.get(&get);
            let mut fetched = self.lock();
            for block in get.blocks.clone() {
                let key = (Arc::clone(&get.object), block);
                if !matches!(fetched.blocks.get(&key), Some(Block::Coming)) {
                    continue;
                }
                match &done {
                    Ok(bytes) => {
                        let begin = ((block - get.blocks.start) * BLOCK_BYTES) as usize;
                        let end = bytes.len().min(begin + BLOCK_BYTES as usize);
                        // A copy: the rest of the request does not stay with it.
                        fetched.keep(key, Bytes::copy_from_slice(bytes.get(begin..end).unwrap_or_default()));
                    }
                    Err(reason) => {
                        fetched.blocks.insert(key, Block::Failed(reason.clone()));
                    }
                }
            }
            drop(fetched);
            self.has_come.notify_all();
        }
    }

    fn get(&self, get: &Get) -> Result<Bytes, String> {
        self.reachable()?;
        let found = self.bucket.get_range(&get.object, get.range.clone());
        self.account(found.as_ref().map(|bytes| bytes.len() as u64));
        found.map_err(|error| error.to_string())
    }

    /// Refuses while the server is known not to answer.
    fn reachable(&self) -> Result<(), String> {
        let now = self.clock.now().monotonic_ns;
        match &self.lock().unreachable {
            Some((until, reason)) if now < *until => Err(reason.clone()),
            _ => Ok(()),
        }
    }

    fn account(&self, done: Result<u64, &BucketError>) {
        count(&self.meter.gets, 1);
        match done {
            Ok(bytes) => {
                count(&self.meter.bytes, bytes);
                self.lock().unreachable = None;
            }
            Err(error) => {
                count(&self.meter.failed, 1);
                if matches!(error.fault, BucketFault::Unreachable | BucketFault::TimedOut) {
                    let until = self.clock.now().after(UNREACHABLE_FOR);
                    self.lock().unreachable = Some((until, error.to_string()));
                }
            }
        }
    }
}

impl Fetcher {
    /// Of a bucket. No thread is started yet.
    pub(crate) fn new(bucket: Arc<Bucket>, meter: Arc<ArchiveMeter>, clock: Arc<dyn Clock>) -> Self {
        Self(Arc::new(Shared {
            bucket,
            meter,
            clock,
            fetched: Mutex::default(),
            has_come: Condvar::new(),
            is_asked: Condvar::new(),
        }))
    }

    /// A whole object whose length is not known.
    pub(crate) fn whole(&self, key: &str) -> io::Result<Vec<u8>> {
        self.0.reachable().map_err(io::Error::other)?;
        let found = self.0.bucket.get(key);
        self.0.account(found.as_ref().map(|bytes| bytes.len() as u64));
        found.map(Into::into).map_err(io::Error::other)
    }

    /// Lists objects; `ask` does it.
    pub(crate) fn list<T>(&self, ask: impl FnOnce(&Bucket) -> Result<T, BucketError>) -> Result<T, String> {
        self.0.reachable()?;
        let found = ask(&self.0.bucket);
        count(&self.0.meter.lists, 1);
        if let Err(error) = &found {
            count(&self.0.meter.failed, 1);
            if matches!(error.fault, BucketFault::Unreachable | BucketFault::TimedOut) {
                let until = self.0.clock.now().after(UNREACHABLE_FOR);
                self.0.lock().unreachable = Some((until, error.to_string()));
            }
        }
        found.map_err(|error| error.to_string())
    }

    /// Starts fetching these blocks.
    fn ask(&self, object: &Arc<str>, bytes: u64, blocks: &[Range<u64>], is_urgent: bool) {
        let mut fetched = self.0.lock();
        let requests = fetched.requests(object, bytes, blocks);
        for get in requests {
            if is_urgent { fetched.waiting.push_front(get) } else { fetched.waiting.push_back(get) }
        }
        let mut count = fetched.waiting.len().saturating_sub(fetched.idle);
        while count > 0 && fetched.threads < GETS_AT_ONCE {
            let shared = Arc::clone(&self.0);
            let name = "archive-get".to_owned();
            let started = std::thread::Builder::new().name(name).spawn(move || shared.work());
            if started.is_err() && fetched.threads == 0 {
                let failed = fetched.waiting.drain(..).collect::<Vec<_>>();
                for (get, block) in
                    failed.iter().flat_map(|get| get.blocks.clone().map(move |block| (get, block)))
                {
                    let reason = "a thread could not be started".to_owned();
                    fetched.blocks.insert((Arc::clone(&get.object), block), Block::Failed(reason));
                }
            }
            if started.is_err() {
                break;
            }
            fetched.threads += 1;
            count -= 1;
        }
        drop(fetched);
        self.0.is_asked.notify_all();
    }

    /// Waits for a block.
    fn wait(&self, object: &Arc<str>, bytes: u64, block: u64) -> io::Result<Bytes> {
        let key = (Arc::clone(object), block);
        let mut fetched = self.0.lock();
        loop {
            if let Some(bytes) = fetched.take(&key) {
                return Ok(bytes);
            }
            match fetched.blocks.get(&key) {
                Some(Block::Failed(reason)) => return Err(io::Error::other(reason.clone())),
                Some(Block::Coming | Block::Here(..)) => {
                    fetched = self.0.has_come.wait(fetched).unwrap_or_else(PoisonError::into_inner);
                }
                None => {
                    // It has come and gone since.
                    drop(fetched);
                    self.ask(object, bytes, std::slice::from_ref(&(block..block + 1)), true);
                    fetched = self.0.lock();
                }
            }
        }
    }

    /// An object of so many bytes.
    pub(crate) fn object(self: &Arc<Self>, key: &str, bytes: u64) -> FetchedObject {
        FetchedObject { fetcher: Arc::clone(self), key: key.into(), bytes }
    }
}

impl Drop for Fetcher {
    fn drop(&mut self) {
        self.0.lock().is_ended = true;
        self.0.is_asked.notify_all();
    }
}

/// The numbers of the blocks in which a range lies.
fn blocks_of(range: &Range<u64>) -> Range<u64> {
    if range.is_empty() { 0..0 } else { range.start / BLOCK_BYTES..range.end.div_ceil(BLOCK_BYTES) }
}

impl ArchivedObject for FetchedObject {
    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn will_need(&self, ranges: &[Range<u64>]) {
        let within = |range: &Range<u64>| blocks_of(&(range.start..range.end.min(self.bytes)));
        let blocks: Vec<Range<u64>> = ranges.iter().map(within).collect();
        self.fetcher.ask(&self.key, self.bytes, &blocks, false);
    }

    fn read(&self, range: Range<u64>) -> io::Result<Vec<u8>> {
        if range.end > self.bytes {
            let reason = format!("the object {} has {} bytes", self.key, self.bytes);
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, reason));
        }
        let blocks = blocks_of(&range);
        self.fetcher.ask(&self.key, self.bytes, std::slice::from_ref(&blocks), true);
        let mut found = Vec::with_capacity(usize::try_from(range.end - range.start).unwrap_or(0));
        for block in blocks {
            let bytes = self.fetcher.wait(&self.key, self.bytes, block)?;
            let begin = block * BLOCK_BYTES;
            let from = usize::try_from(range.start.saturating_sub(begin)).unwrap_or(0);
            let to = usize::try_from(range.end - begin).unwrap_or(usize::MAX).min(bytes.len());
            found.extend_from_slice(bytes.get(from..to).unwrap_or_default());
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn single(range: Range<u64>) -> [Range<u64>; 1] {
        [range]
    }

    fn ranges(fetched: &mut Fetched, wanted: &[Range<u64>]) -> Vec<Range<u64>> {
        let wanted: Vec<_> = wanted.iter().map(blocks_of).collect();
        let requests = fetched.requests(&"object".into(), 100 << 20, &wanted);
        requests.into_iter().map(|get| get.range).collect()
    }

    #[test]
    fn near_ranges_are_one_request_and_nothing_is_asked_for_twice() {
        let (block, mut fetched) = (BLOCK_BYTES, Fetched::default());
        let wanted = [10..20, block - 1..block + 1, 5 * block..5 * block + 1, 20 * block..21 * block];
        assert_eq!(ranges(&mut fetched, &wanted), [0..6 * block, 20 * block..21 * block]);
        assert_eq!(ranges(&mut fetched, &wanted), [0..0; 0]);
        assert_eq!(ranges(&mut fetched, &single(0..8 * block)), single(6 * block..8 * block));
        let large = ranges(&mut fetched, &single((40 << 20)..(60 << 20)));
        assert_eq!(large, [40 << 20..48 << 20, 48 << 20..56 << 20, 56 << 20..60 << 20]);
        assert_eq!(
            ranges(&mut fetched, &single((100 << 20) - 5..100 << 20)),
            single((100 << 20) - block..100 << 20)
        );
        assert_eq!(ranges(&mut fetched, &single(7..7)), [0..0; 0]);
    }

    #[test]
    fn what_was_used_least_recently_is_forgotten() {
        let mut fetched = Fetched::default();
        let key = |number| (Arc::<str>::from("object"), number);
        let bytes = Bytes::from(vec![0; 1 << 20]);
        for number in 0..200 {
            fetched.keep(key(number), bytes.clone());
            assert!(fetched.bytes <= FETCHED_BYTES_MAX);
            assert!(fetched.take(&key(0)).is_some(), "used all the time");
        }
        assert!(fetched.take(&key(1)).is_none() && fetched.take(&key(199)).is_some());
        assert_eq!(fetched.used.len(), fetched.blocks.len());
    }
}
