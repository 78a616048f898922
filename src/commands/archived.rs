//! Arguments that name a store, an archive, or both; and the stores that commands read from them.
//!
//! Opening has two steps: what is needed behind walls is found out before they are raised, and the archive is asked behind them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use netrewind_archive::{ArchiveReader, ArchiveUrl, Bucket, CACHE_BYTES_MAX, CacheFolder, CloudEnvironment};
use netrewind_extractor::{Extractor, Memory, Options};
use netrewind_http::{FoundRecorder, RecorderFinder};
use netrewind_store::Store;
use netrewind_store::clock::{Clock, SystemClock};
use netrewind_store::files::{Files, SystemFiles};
use netrewind_store::store::JoinedFiles;

use super::store::STORE_VARIABLE;
use crate::confine::{Calls, KeptCapabilities, Walls};
use crate::outcome::Failure;
use crate::{archive_access, arguments};

/// Folder of the service's cache: systemd.exec(5).
const SERVICE_CACHE: &str = "CACHE_DIRECTORY";
/// Folder of a user's caches: the XDG Base Directory Specification.
const USER_CACHES: &str = "XDG_CACHE_HOME";
/// The program's own, in that of the user.
const OWN_FOLDER: &str = "netrewind";

/// Arguments that name an archive to read.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct ReadArchiveArguments {
    /// Archive of one recorder or several, in place of --store or beside it: s3://BUCKET/PREFIX, gs://BUCKET/PREFIX,
    /// az://CONTAINER/PREFIX or file:///FOLDER. What the store has is read there
    #[arg(long, value_name = "URL")]
    pub archive: Option<ArchiveUrl>,
    /// Recorder whose archive is read, by the id of its store [default: that of --store, or all]
    #[arg(long, value_name = "ID", requires = "archive")]
    pub recorder: Option<String>,
    /// Folder for copies of the archive's indexes and lists [default: the service's cache, or netrewind in the user's]
    #[arg(long, value_name = "DIR", requires = "archive")]
    pub archive_cache: Option<PathBuf>,
    /// Bytes that these copies take at most; those used least recently are removed [default: 4GiB]
    #[arg(long, value_name = "SIZE", requires = "archive", value_parser = arguments::bytes)]
    pub archive_cache_bytes: Option<u64>,
}

/// Arguments that name a store, an archive, or both.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct StoredArguments {
    /// The store's folder
    #[arg(long, value_name = "DIR", env = STORE_VARIABLE, hide_env_values = true, required_unless_present = "archive")]
    pub store: Option<PathBuf>,
    #[command(flatten)]
    pub archive: ReadArchiveArguments,
}

/// A store that is to be opened, and what that takes.
pub enum PreparedStore {
    /// A folder.
    Local(Store),
    /// An archive, with a folder or without one.
    Archived(PreparedArchive),
}

/// A store by its id, or the reason why it cannot be read.
pub type NamedStore = (String, Result<Store, Failure>);

/// What a service answers from.
pub enum ServedStores {
    /// One store.
    One(Store),
    /// The stores of an archive.
    Several(PreparedArchive),
}

/// Recorders of an archive, for a service.
pub struct ArchivedRecorders {
    archive: PreparedArchive,
    options: Options,
}

impl ArchivedRecorders {
    /// Those of this archive; their answers share one memory.
    pub fn new(archive: PreparedArchive, options: Options) -> Self {
        let memory = Some(Memory::new(options.answers_bytes_max));
        Self { archive, options: Options { memory, ..options } }
    }
}

impl RecorderFinder for ArchivedRecorders {
    fn ids(&self) -> Result<Vec<String>, String> {
        self.archive.reader.stores()
    }

    fn open(&self, ids: &[String]) -> Vec<FoundRecorder> {
        let found = |(id, store): NamedStore| {
            let extractor = store.map(|store| Extractor::new(store, self.options.clone()));
            FoundRecorder { id, extractor: extractor.map_err(|failure| failure.text()) }
        };
        self.archive.open_stores(ids).into_iter().map(found).collect()
    }
}

fn failed(reason: String) -> Failure {
    Failure::Failed(anyhow::anyhow!("{reason}"))
}

/// An archive that is to be read.
pub struct PreparedArchive {
    reader: ArchiveReader,
    local: Option<Store>,
    recorder: Option<String>,
    url: ArchiveUrl,
    environment: CloudEnvironment,
    cache: Option<PathBuf>,
}

/// The folder for copies, if the environment names one.
fn default_cache() -> Option<PathBuf> {
    let folder = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let of_user = || folder(USER_CACHES).or_else(|| Some(folder("HOME")?.join(".cache")));
    folder(SERVICE_CACHE).or_else(|| Some(of_user()?.join(OWN_FOLDER)))
}

impl ReadArchiveArguments {
    /// Finds out what reading the archive takes, if one is named. Nothing is asked of it yet, and no thread started.
    pub fn prepare(&self, store: Option<&Path>) -> Result<Option<PreparedArchive>, Failure> {
        self.prepare_with(store, |clock| self.cache(clock))
    }

    fn prepare_with(
        &self,
        store: Option<&Path>,
        cache: impl FnOnce(Arc<dyn Clock>) -> Result<Option<CacheFolder>, Failure>,
    ) -> Result<Option<PreparedArchive>, Failure> {
        let Some(url) = &self.archive else { return Ok(None) };
        let local = store.map(Store::open_to_read).transpose()?;
        let environment = archive_access::environment();
        let bucket = Bucket::open(url, &environment).map_err(|error| Failure::Failed(error.into()))?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let cache = cache(Arc::clone(&clock))?;
        let folder = cache.as_ref().map(|cache| cache.root().to_owned());
        Ok(Some(PreparedArchive {
            reader: ArchiveReader::new(bucket, cache, clock),
            local,
            recorder: self.recorder.clone(),
            url: url.clone(),
            environment,
            cache: folder,
        }))
    }

    /// Likewise, for who compares what is in the archive itself: without a cache.
    pub fn prepare_without_cache(&self, store: Option<&Path>) -> Result<Option<PreparedArchive>, Failure> {
        self.prepare_with(store, |_| Ok(None))
    }

    fn cache(&self, clock: Arc<dyn Clock>) -> Result<Option<CacheFolder>, Failure> {
        let bytes_max = self.archive_cache_bytes.unwrap_or(CACHE_BYTES_MAX);
        let open = |folder: &Path| CacheFolder::open(Arc::new(SystemFiles), folder, bytes_max, clock);
        match &self.archive_cache {
            Some(folder) => open(folder).map(Some).map_err(|error| {
                Failure::Failed(anyhow::anyhow!("--archive-cache {}: {error}", folder.display()))
            }),
            // Without one, everything is fetched each time.
            None => Ok(default_cache().and_then(|folder| open(&folder).ok())),
        }
    }
}

impl StoredArguments {
    /// Opens the store, or finds out what reading the archive takes.
    pub fn prepare(&self) -> Result<PreparedStore, Failure> {
        match (self.archive.prepare(self.store.as_deref())?, &self.store) {
            (Some(archive), _) => Ok(PreparedStore::Archived(archive)),
            (None, Some(store)) => Ok(PreparedStore::Local(Store::open_to_read(store)?)),
            (None, None) => Err(Failure::usage("name a store with --store, or an archive with --archive")),
        }
    }
}

impl PreparedStore {
    /// Walls around a command that answers from it.
    pub fn walls(&self) -> Walls {
        match self {
            Self::Local(store) => Walls::around(store),
            Self::Archived(archive) => archive.walls(),
        }
    }

    /// Its stores by their ids, opened behind the walls, each unless it cannot be read.
    pub fn open(self) -> Result<Vec<NamedStore>, Failure> {
        match self {
            Self::Local(store) => Ok(vec![(store.identity().id.clone(), Ok(store))]),
            Self::Archived(archive) => archive.open(),
        }
    }

    /// What a service answers from, found behind the walls.
    pub fn open_to_serve(self) -> Result<ServedStores, Failure> {
        let archive = match self {
            Self::Local(store) => return Ok(ServedStores::One(store)),
            Self::Archived(archive) => archive,
        };
        match &archive.ids()?[..] {
            [id] => archive.open_store(id).map(ServedStores::One),
            _ => Ok(ServedStores::Several(archive)),
        }
    }

    /// The store in a folder, if there is one.
    pub fn folder(&self) -> Option<&Store> {
        match self {
            Self::Local(store) => Some(store),
            Self::Archived(archive) => archive.local.as_ref(),
        }
    }
}

impl PreparedArchive {
    /// Walls around a command that answers from it.
    pub fn walls(&self) -> Walls {
        let walls = match &self.local {
            Some(store) => Walls::around(store),
            None => {
                Walls::new().calling(Calls::with_local_sockets).keeping(KeptCapabilities::files_if_needed())
            }
        };
        let walls = self.cache.iter().fold(walls, |walls, folder| walls.writing(folder));
        archive_access::reading_walls(walls, &self.url, &self.environment)
    }

    /// The URL of the archive.
    pub fn url(&self) -> String {
        self.reader.url()
    }

    /// The id of the recorder that is named, by itself or by its store.
    fn named(&self) -> Result<Option<String>, Failure> {
        match (&self.local, &self.recorder) {
            (Some(store), Some(id)) if *id != store.identity().id => Err(Failure::usage(format!(
                "--recorder: the store in --store is that of another recorder, {}: leave one of the two out",
                store.identity().id
            ))),
            (Some(store), _) => Ok(Some(store.identity().id.clone())),
            (None, named) => Ok(named.clone()),
        }
    }

    /// The ids of the recorders that are asked; at least one.
    fn ids(&self) -> Result<Vec<String>, Failure> {
        match self.named()? {
            Some(id) => Ok(vec![id]),
            None => self.reader.stores().map_err(failed).and_then(|ids| self.some(ids)),
        }
    }

    fn some(&self, ids: Vec<String>) -> Result<Vec<String>, Failure> {
        if ids.is_empty() {
            return Err(failed(format!("{}: there is no recorder in the archive", self.url())));
        }
        Ok(ids)
    }

    /// The stores of the recorders that are asked, each unless it cannot be read.
    pub fn open(&self) -> Result<Vec<NamedStore>, Failure> {
        if let Some(id) = self.named()? {
            return Ok(self.open_stores(&[id]));
        }
        // Those that were there the last time are opened meanwhile.
        let before = self.reader.stores_before();
        let (ids, opened) = std::thread::scope(|scope| {
            let ids = scope.spawn(|| self.reader.stores());
            let opened = self.open_stores(&before);
            (ids.join().unwrap_or_else(|_| Err("a thread has failed".to_owned())), opened)
        });
        let ids = self.some(ids.map_err(failed)?)?;
        Ok(if ids == before { opened } else { self.open_stores(&ids) })
    }

    /// Opens stores, all at once.
    fn open_stores(&self, ids: &[String]) -> Vec<NamedStore> {
        std::thread::scope(|scope| {
            let opening: Vec<_> = ids.iter().map(|id| (id, scope.spawn(|| self.open_store(id)))).collect();
            let broken = || Err(failed("a thread has failed".to_owned()));
            let opened = |(id, store): (&String, std::thread::ScopedJoinHandle<'_, _>)| {
                (id.clone(), store.join().unwrap_or_else(|_| broken()))
            };
            opening.into_iter().map(opened).collect()
        })
    }

    fn open_store(&self, id: &str) -> Result<Store, Failure> {
        let archived = self.reader.store(id).ok_or_else(|| {
            Failure::usage(format!("--recorder: {id:?} is not the id of a store: netrewind status shows it"))
        })?;
        let local = self.local.as_ref().map(|_| Arc::new(SystemFiles) as Arc<dyn Files>);
        let root = match &self.local {
            Some(store) => store.root().to_owned(),
            None => PathBuf::from(format!("{}/{id}", self.url().trim_end_matches('/'))),
        };
        let listed = Arc::clone(&archived);
        let files = JoinedFiles::new(local, archived, &root);
        // Both at once: each takes a request's time.
        let opened = std::thread::scope(|scope| {
            scope.spawn(|| listed.refresh());
            Store::open_to_read_in(Arc::new(files), &root)
        });
        Ok(opened?)
    }
}
