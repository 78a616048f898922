//! A bucket, or a folder that is used as one: what blocking code asks of it.
//!
//! **Invariant:** nothing waits for ever: every request has a deadline, and [`Bucket::stop`] ends all that are under way.

mod connect;
mod environment;
mod fault;
mod transport;
mod url;

use std::fmt;
use std::future::Future;
use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};
use tokio::runtime::Runtime;
use tokio::sync::watch;

pub use environment::CloudEnvironment;
pub use fault::{BucketError, BucketFault};
pub use url::ArchiveUrl;

use transport::Traffic;

/// Time that a request may take, besides its bytes.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
/// Rate below which a transfer counts as stuck.
pub const SLOWEST_BYTES_PER_SECOND: u64 = 128 << 10;
/// Ranges of one object that are asked for at once.
pub const RANGES_AT_ONCE: usize = 32;
/// Bytes of the largest object that one PUT takes, of all clouds.
pub const OBJECT_BYTES_MAX: u64 = 5 << 30;
/// Objects that are asked to be removed at once.
const REMOVALS_AT_ONCE: usize = 1000;
/// Bytes that the removal of an object counts as: some clouds take them one by one.
const REMOVAL_BYTES: u64 = 16 << 10;
/// Objects of a page of a listing.
const PAGE_OBJECTS: usize = 1000;

/// An object as a listing has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedObject {
    /// Its key, below the archive's prefix.
    pub key: String,
    /// Its length.
    pub bytes: u64,
}

/// Result of writing an object that must not be there yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    /// It is written.
    Written,
    /// There is an object with this key, which stays as it is.
    AlreadyThere,
}

/// A bucket, below the prefix of an archive. Keys are those below the prefix. May be used from several threads at once.
pub struct Bucket {
    url: ArchiveUrl,
    store: Arc<dyn ObjectStore>,
    traffic: Arc<Traffic>,
    /// Started with the first request.
    runtime: OnceLock<Runtime>,
    stopped: watch::Sender<bool>,
    answers: AtomicU64,
}

impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bucket({})", self.url)
    }
}

impl Bucket {
    /// Prepares the connection to a bucket: reads certificates and settings, starts no thread, and sends nothing.
    pub fn open(url: &ArchiveUrl, environment: &CloudEnvironment) -> Result<Self, BucketError> {
        Self::open_at_rate(url, environment, None)
    }

    /// Does the same, and sends at most so many bytes a second.
    pub fn open_at_rate(
        url: &ArchiveUrl,
        environment: &CloudEnvironment,
        bytes_per_second: Option<u64>,
    ) -> Result<Self, BucketError> {
        let traffic = Arc::new(Traffic::at_most(bytes_per_second));
        let store = connect::store(url, environment, &traffic)?;
        let (runtime, stopped) = (OnceLock::new(), watch::Sender::new(false));
        Ok(Self { url: url.clone(), store, traffic, runtime, stopped, answers: AtomicU64::new(0) })
    }

    /// Ports of the servers that it will connect to.
    pub fn ports(url: &ArchiveUrl, environment: &CloudEnvironment) -> Vec<u16> {
        connect::ports(url, environment)
    }

    /// Files that it will read: keys that are renewed.
    pub fn files(url: &ArchiveUrl, environment: &CloudEnvironment) -> Vec<PathBuf> {
        connect::files(url, environment)
    }

    /// The URL of the archive.
    pub fn url(&self) -> &ArchiveUrl {
        &self.url
    }

    /// The URL of an object, for messages.
    pub fn describe(&self, key: &str) -> String {
        self.url.of_key(key)
    }

    /// Requests that the bucket has answered as it should.
    pub fn answers(&self) -> u64 {
        self.answers.load(Ordering::Relaxed)
    }

    /// Ends the requests that are under way, and all later ones.
    pub fn stop(&self) {
        self.stopped.send_replace(true);
    }

    /// A whole object.
    pub fn get(&self, key: &str) -> Result<Bytes, BucketError> {
        let path = self.path(key)?;
        let found = self.run(key, 0, self.store.get(&path))?;
        let bytes = found.meta.size;
        let found = self.run(key, bytes, found.bytes())?;
        self.whole(key, found, bytes)
    }

    /// A range of an object: exactly these bytes.
    pub fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes, BucketError> {
        let path = self.path(key)?;
        let wanted = range.end.saturating_sub(range.start);
        if wanted == 0 {
            return Ok(Bytes::new());
        }
        let bytes = self.run(key, wanted, self.store.get_range(&path, range.clone()))?;
        self.whole(key, bytes, wanted)
    }

    /// Ranges of an object, in this order, several asked for at once.
    pub fn get_ranges(&self, key: &str, ranges: &[Range<u64>]) -> Result<Vec<Bytes>, BucketError> {
        let path = self.path(key)?;
        let wanted = ranges.iter().map(|range| range.end.saturating_sub(range.start)).sum();
        let requests = ranges.iter().map(|range| self.store.get_range(&path, range.clone()));
        let found: Vec<Bytes> =
            self.run(key, wanted, stream::iter(requests).buffered(RANGES_AT_ONCE).try_collect())?;
        let whole = |(bytes, range): (Bytes, &Range<u64>)| {
            self.whole(key, bytes, range.end.saturating_sub(range.start))
        };
        found.into_iter().zip(ranges).map(whole).collect()
    }

    /// Refuses what is shorter than was asked for.
    fn whole(&self, key: &str, bytes: Bytes, wanted: u64) -> Result<Bytes, BucketError> {
        if bytes.len() as u64 == wanted {
            return Ok(bytes);
        }
        let reason = format!("it gave {} bytes where {wanted} were asked for", bytes.len());
        Err(self.error(key, BucketFault::Cut, reason))
    }

    /// Length of an object; `None` where there is none.
    pub fn size(&self, key: &str) -> Result<Option<u64>, BucketError> {
        let path = self.path(key)?;
        match self.run(key, 0, self.store.head(&path)) {
            Ok(found) => Ok(Some(found.size)),
            Err(error) if error.fault == BucketFault::NoObject => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes an object that must not be there yet, by one request.
    pub fn put_new(&self, key: &str, payload: Vec<Bytes>) -> Result<Put, BucketError> {
        match self.put(key, payload, PutMode::Create) {
            Ok(()) => Ok(Put::Written),
            Err(error) if error.fault == BucketFault::AlreadyThere => Ok(Put::AlreadyThere),
            Err(error) => Err(error),
        }
    }

    /// Writes an object, also in place of another.
    pub fn replace(&self, key: &str, payload: Vec<Bytes>) -> Result<(), BucketError> {
        self.put(key, payload, PutMode::Overwrite)
    }

    fn put(&self, key: &str, payload: Vec<Bytes>, mode: PutMode) -> Result<(), BucketError> {
        let path = self.path(key)?;
        let bytes: u64 = payload.iter().map(|part| part.len() as u64).sum();
        if bytes > OBJECT_BYTES_MAX {
            let reason = format!(
                "it has {bytes} bytes, and one request can write {OBJECT_BYTES_MAX}: record with a smaller --segment-size"
            );
            return Err(self.error(key, BucketFault::TooLarge, reason));
        }
        let payload: PutPayload = payload.into_iter().collect();
        let options = PutOptions { mode, ..PutOptions::default() };
        self.run(key, bytes, self.store.put_opts(&path, payload, options))?;
        Ok(())
    }

    /// All objects in a folder and below, in no particular order; all of the archive for an empty name. Asks for one page after the other.
    pub fn list(&self, folder: &str) -> Result<Vec<ListedObject>, BucketError> {
        let path = self.folder_path(folder)?;
        let mut pages = self.store.list(path.as_ref()).ready_chunks(PAGE_OBJECTS);
        let mut objects = Vec::new();
        // Each page has the time of a request.
        while let Some(page) = self.run(folder, 0, async { Ok(pages.next().await) })? {
            for object in page {
                let object = object.map_err(|error| fault::of(&self.url, folder, &error))?;
                let key = self.key(&object.location);
                objects.extend(key.map(|key| ListedObject { key, bytes: object.size }));
            }
        }
        Ok(objects)
    }

    /// The objects in a folder and below whose keys come after `after`, and before `before`, sorted.
    pub fn list_between(
        &self,
        folder: &str,
        after: &str,
        before: Option<&str>,
    ) -> Result<Vec<ListedObject>, BucketError> {
        let is_within =
            |key: &String| key.as_str() > after && before.is_none_or(|before| key.as_str() < before);
        // Whoever lists a folder does not sort.
        let mut objects = if self.url.folder().is_some() || after.is_empty() {
            self.list(folder)?
        } else {
            let (path, after) = (self.folder_path(folder)?, self.path(after)?);
            let mut pages = self.store.list_with_offset(path.as_ref(), &after).ready_chunks(PAGE_OBJECTS);
            let mut objects: Vec<ListedObject> = Vec::new();
            let is_behind = |objects: &[ListedObject]| {
                objects.last().is_some_and(|last| before.is_some_and(|before| last.key.as_str() >= before))
            };
            while !is_behind(&objects)
                && let Some(page) = self.run(folder, 0, async { Ok(pages.next().await) })?
            {
                for object in page {
                    let object = object.map_err(|error| fault::of(&self.url, folder, &error))?;
                    let key = self.key(&object.location);
                    objects.extend(key.map(|key| ListedObject { key, bytes: object.size }));
                }
            }
            objects
        };
        objects.retain(|object| is_within(&object.key));
        objects.sort_unstable_by(|one, other| one.key.cmp(&other.key));
        Ok(objects)
    }

    /// Names of the folders in a folder, sorted; those at the top for an empty name.
    pub fn folders(&self, folder: &str) -> Result<Vec<String>, BucketError> {
        let path = self.folder_path(folder)?;
        let found = self.run(folder, 0, self.store.list_with_delimiter(path.as_ref()))?;
        let name = |path: &Path| path.filename().map(str::to_owned);
        let mut names: Vec<String> = found.common_prefixes.iter().filter_map(name).collect();
        names.sort_unstable();
        Ok(names)
    }

    /// Removes objects. One that is not there counts as removed.
    pub fn remove(&self, keys: &[String]) -> Result<(), BucketError> {
        for keys in keys.chunks(REMOVALS_AT_ONCE) {
            let paths = keys.iter().map(|key| self.path(key)).collect::<Result<Vec<_>, _>>()?;
            let remove = async {
                let removals = self.store.delete_stream(stream::iter(paths.into_iter().map(Ok)).boxed());
                let gone = |error| match error {
                    object_store::Error::NotFound { .. } => Ok(()),
                    other => Err(other),
                };
                let removals = removals.map(|removed| removed.map(drop).or_else(gone));
                removals.try_collect::<Vec<()>>().await
            };
            let first = keys.first().map_or("", String::as_str);
            self.run(first, keys.len() as u64 * REMOVAL_BYTES, remove)?;
        }
        Ok(())
    }

    /// Waits for a request, until its deadline, or until all are stopped.
    fn run<T>(
        &self,
        key: &str,
        bytes: u64,
        request: impl Future<Output = object_store::Result<T>>,
    ) -> Result<T, BucketError> {
        // The client would make the folder again, on whatever disk is below.
        if let Some(folder) = self.url.folder().filter(|folder| !folder.is_dir()) {
            return Err(self.error("", BucketFault::NoBucket, format!("{} is not there", folder.display())));
        }
        let mut stopped = self.stopped.subscribe();
        let slowest = self
            .traffic
            .bytes_per_second()
            .map_or(SLOWEST_BYTES_PER_SECOND, |rate| (rate / 2).clamp(1, SLOWEST_BYTES_PER_SECOND));
        let limit = REQUEST_TIMEOUT + Duration::from_secs(bytes / slowest);
        let done = self.runtime(key)?.block_on(async {
            let is_stopped = async {
                // An error means that nobody can stop it any more.
                if stopped.wait_for(|stopped| *stopped).await.is_err() {
                    std::future::pending::<()>().await;
                }
            };
            tokio::select! {
                biased;
                () = is_stopped => Err(None),
                done = tokio::time::timeout(limit, request) => done.map_err(|_| Some(limit)),
                () = self.stall() => Err(Some(REQUEST_TIMEOUT)),
            }
        });
        match done {
            Ok(done) => {
                let done = done.map_err(|error| fault::of(&self.url, key, &error));
                if done.as_ref().err().is_none_or(|error| !error.fault.is_of_bucket()) {
                    self.answers.fetch_add(1, Ordering::Relaxed);
                }
                done
            }
            Err(Some(limit)) => {
                let reason = format!("no answer, and no progress, within {} s", limit.as_secs());
                Err(self.error(key, BucketFault::TimedOut, reason))
            }
            Err(None) => Err(self.error(key, BucketFault::Stopped, "stopped".to_owned())),
        }
    }

    /// Ends when no byte has gone or come for the time of a request.
    async fn stall(&self) {
        if self.url.folder().is_some() {
            return std::future::pending().await; // its bytes are not counted
        }
        loop {
            let before = self.traffic.bytes();
            tokio::time::sleep(REQUEST_TIMEOUT).await;
            if self.traffic.bytes() == before {
                return;
            }
        }
    }

    /// The threads that wait for the network.
    fn runtime(&self, key: &str) -> Result<&Runtime, BucketError> {
        if let Some(runtime) = self.runtime.get() {
            return Ok(runtime);
        }
        let started = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("archive-net")
            .enable_all()
            .build();
        let started = started.map_err(|error: io::Error| {
            self.error(key, BucketFault::Local, format!("a thread could not be started: {error}"))
        })?;
        Ok(self.runtime.get_or_init(|| started))
    }

    fn error(&self, key: &str, fault: BucketFault, reason: String) -> BucketError {
        BucketError::new(&self.url, key, fault, reason)
    }

    fn path(&self, key: &str) -> Result<Path, BucketError> {
        let whole = match self.url.prefix() {
            "" => key.to_owned(),
            prefix => format!("{prefix}/{key}"),
        };
        Path::parse(whole).map_err(|error| self.error(key, BucketFault::Local, error.to_string()))
    }

    fn folder_path(&self, folder: &str) -> Result<Option<Path>, BucketError> {
        let is_top = self.url.prefix().is_empty() && folder.is_empty();
        if is_top { Ok(None) } else { self.path(folder).map(Some) }
    }

    /// The key below the prefix.
    fn key(&self, path: &Path) -> Option<String> {
        match self.url.prefix() {
            "" => Some(path.as_ref().to_owned()),
            prefix => path.as_ref().strip_prefix(prefix)?.strip_prefix('/').map(str::to_owned),
        }
    }
}

impl Drop for Bucket {
    fn drop(&mut self) {
        // Without it, the last user would wait for the threads of name lookups.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
