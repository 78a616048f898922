//! Confinement: a process gives up, for good, what it does not need for the rest of its work.
//!
//! A command opens what only it can name, lists in [`Walls`] what it goes on to need, and raises them: then it has no capabilities
//! (capabilities(7)), reaches no other files (landlock(7)), makes no other system calls (seccomp(2)), and starts no programs. What
//! needs a privilege later, the [`crate::broker`] does.
//!
//! **Invariant:** walls are raised before a command starts its first thread: Landlock and capabilities are of the calling thread, and
//! of those that it starts.

mod calls;
mod capabilities;
mod files;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use netrewind_store::Store;
use rustix::process::{Resource, Rlimit, setrlimit};

pub use calls::Calls;
pub use capabilities::{KeptCapabilities, Privilege};
use files::FileRights;

use crate::terminal;

/// Set where the user wants a process without walls.
static IS_OFF: AtomicBool = AtomicBool::new(false);

/// Raises no walls in this process: for finding out what they are in the way of.
pub fn turn_off() {
    IS_OFF.store(true, Ordering::Relaxed);
}

/// True unless walls are turned off.
pub fn is_on() -> bool {
    !IS_OFF.load(Ordering::Relaxed)
}

/// Lifts the limit on memory that is locked, where this process still may: buffers of io_uring count, also of one that may lock as
/// much as it likes until then.
pub fn lift_memory_lock_limit() {
    if is_on() {
        let unlimited = Rlimit { current: None, maximum: None };
        // Without the right to it, less memory can be locked, and writing works without.
        let _ = setrlimit(Resource::Memlock, unlimited);
    }
}

/// Databases of time zones, which jiff reads whenever a zone is named: tzset(3).
const ZONES: [&str; 3] = ["/usr/share/zoneinfo", "/etc/zoneinfo", "/etc/localtime"];
/// Files that libpcap reads for the names in filters, such as `port smtp`: getservbyname(3), getprotobyname(3), getnetbyname(3), ethers(5).
const FILTER_NAMES: [&str; 5] =
    ["/etc/services", "/etc/protocols", "/etc/networks", "/etc/ethers", "/etc/nsswitch.conf"];
/// Files that getaddrinfo(3) reads, and the libraries that nsswitch.conf(5) may name.
const NAME_FILES: [&str; 13] = [
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/host.conf",
    "/etc/nsswitch.conf",
    "/etc/gai.conf",
    "/etc/services",
    "/etc/ld.so.cache",
    "/run/systemd/resolve",
    "/run/resolvconf",
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
];
/// What programs read when they begin: libraries, and what is installed for everybody.
const PROGRAM_FILES: [&str; 7] =
    ["/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/share", "/etc/ld.so.cache", "/dev/urandom"];
/// What the kernel starts a program by: ld.so(8).
const LOADERS: [&str; 4] = [
    "/lib64/ld-linux-x86-64.so.2",
    "/lib/ld-linux-aarch64.so.1",
    "/lib/ld-musl-x86_64.so.1",
    "/lib/ld-musl-aarch64.so.1",
];
/// Port of name servers that are asked over TCP: RFC 7766.
const NAMES_PORT: u16 = 53;

/// What a process needs once it is at work.
#[derive(Debug)]
pub struct Walls {
    paths: Vec<(PathBuf, FileRights)>,
    /// Files of the system, which everybody may use.
    system: Vec<(PathBuf, FileRights)>,
    ports: Vec<u16>,
    calls: Option<Calls>,
    keeps: KeptCapabilities,
}

impl Walls {
    /// Walls around a process that works with what is open, compiles filters, and asks for time zones.
    pub fn new() -> Self {
        let zones = ZONES.iter().map(PathBuf::from).chain(std::env::var_os("TZDIR").map(PathBuf::from));
        let names = FILTER_NAMES.iter().map(PathBuf::from);
        Self {
            paths: Vec::new(),
            system: zones.chain(names).map(|file| (file, FileRights::Read)).collect(),
            ports: Vec::new(),
            calls: Some(Calls::default()),
            keeps: KeptCapabilities::default(),
        }
    }

    /// Walls around a command that answers from a store.
    pub fn around(store: &Store) -> Self {
        Self::new()
            .reading_store(store)
            .calling(Calls::with_local_sockets)
            .keeping(KeptCapabilities::files_if_needed())
    }

    /// Reads a store, whose folders may be links to other disks.
    pub fn reading_store(self, store: &Store) -> Self {
        linked(store).iter().fold(self.reading(store.root()), |walls, folder| walls.reading(folder))
    }

    /// Writes a store, whose folders may be links to other disks.
    pub fn writing_store(self, store: &Store) -> Self {
        linked(store).iter().fold(self.writing(store.root()), |walls, folder| walls.writing(folder))
    }

    /// Reads a file, or those in a folder.
    pub fn reading(mut self, path: &Path) -> Self {
        self.paths.push((path.to_owned(), FileRights::Read));
        self
    }

    /// Reads a file that may be replaced by another under the same name, also behind links.
    pub fn reading_anew(mut self, file: &Path) -> Self {
        let real = file.canonicalize().ok();
        for folder in [Some(file), real.as_deref()].into_iter().flatten().map(folder_of) {
            self.paths.push((folder, FileRights::Read));
        }
        self
    }

    /// Reads, writes, makes, renames and removes files in a folder.
    pub fn writing(mut self, folder: &Path) -> Self {
        self.paths.push((folder.to_owned(), FileRights::Write));
        self
    }

    /// Gives files in a folder other names, and removes them: those that are open already are written.
    pub fn renaming_in(mut self, folder: &Path) -> Self {
        self.paths.push((folder.to_owned(), FileRights::Rename));
        self
    }

    /// Adds to files in a folder, and gives them other names.
    pub fn logging_in(mut self, folder: &Path) -> Self {
        self.paths.push((folder.to_owned(), FileRights::Log));
        self
    }

    /// Starts programs, which find what they need, and may make themselves the first to be ended when memory runs out.
    pub fn starting_programs(mut self) -> Self {
        let rights = [("/", FileRights::Run), ("/proc", FileRights::Write), ("/dev/null", FileRights::Write)];
        self.system.extend(rights.map(|(path, rights)| (PathBuf::from(path), rights)));
        self
    }

    /// Becomes this program, and starts no other: it reads libraries and what is installed beside it.
    pub fn becoming(mut self, program: &Path) -> Self {
        let beside = program.parent().and_then(Path::parent).map(Path::to_owned);
        let read =
            PROGRAM_FILES.iter().map(PathBuf::from).chain(beside.filter(|folder| folder.parent().is_some()));
        self.system.extend(read.map(|path| (path, FileRights::Read)));
        let run = LOADERS.iter().map(PathBuf::from).chain([program.to_owned()]);
        self.system.extend(run.map(|path| (path, FileRights::Run)));
        self.system.push((PathBuf::from("/dev/null"), FileRights::Write));
        self.calls = self.calls.map(Calls::becoming_a_program);
        self
    }

    /// Connects to these TCP ports of any host, and looks up hosts' names.
    pub fn connecting(mut self, ports: impl IntoIterator<Item = u16>) -> Self {
        let before = self.ports.len();
        self.ports.extend(ports);
        if self.ports.len() > before { self.looking_up_names() } else { self }
    }

    /// Looks up hosts' names, and sends datagrams, which Landlock does not know.
    pub fn looking_up_names(mut self) -> Self {
        self.ports.push(NAMES_PORT);
        self.system.extend(NAME_FILES.map(|file| (PathBuf::from(file), FileRights::Read)));
        self.calls = self.calls.map(Calls::looking_up_names);
        self
    }

    /// Makes further system calls.
    pub fn calling(mut self, more: impl FnOnce(Calls) -> Calls) -> Self {
        self.calls = self.calls.map(more);
        self
    }

    /// Makes every system call that there is.
    pub fn calling_everything(mut self) -> Self {
        self.calls = None;
        self
    }

    /// Keeps these capabilities.
    pub fn keeping(mut self, keeps: KeptCapabilities) -> Self {
        self.keeps = keeps;
        self
    }

    /// Raises them.
    pub fn raise(mut self) -> Raised {
        if !is_on() {
            return Raised { is_off: true, ..Raised::default() };
        }
        assert_alone();
        let mut raised = Raised::default();
        let no_new_privileges = rustix::thread::set_no_new_privs(true);
        raised.note(no_new_privileges.map_err(|error| format!("new privileges: {error}")));
        if self.keeps.files && !capabilities::suffices_without(&self.paths) {
            self.keeps.privileges.push(Privilege::Files);
            raised.keeps_files = true;
        }
        self.paths.extend(self.system);
        raised.note(files::confine(&self.paths, &self.ports));
        raised.note(capabilities::confine(&self.keeps));
        if let Some(calls) = &self.calls {
            raised.note(calls::confine(calls));
        }
        raised
    }
}

/// Reason that a process of root keeps the right to files of others.
const FILES_OF_OTHERS: &str =
    "of root's capabilities it keeps those over files, as its files belong to another user";

/// The folder that a file is in.
pub fn folder_of(file: &Path) -> PathBuf {
    match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// Folders of a store that are links to others.
fn linked(store: &Store) -> Vec<PathBuf> {
    let entries = store.root().read_dir().into_iter().flatten().flatten();
    let links = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_symlink()));
    links.map(|link| link.path()).filter(|path| path.is_dir()).collect()
}

/// A thread that exists by now would stay outside.
fn assert_alone() {
    if cfg!(debug_assertions) && !cfg!(test) {
        let threads = std::fs::read_dir("/proc/self/task").map_or(1, Iterator::count);
        assert_eq!(threads, 1, "walls are raised before the first thread");
    }
}

/// How a process is confined, as its user is told.
#[derive(Debug, Default)]
pub struct Raised {
    is_off: bool,
    /// What this kernel does not confine, and why.
    gaps: Vec<String>,
    /// True if it keeps the right to files of others.
    keeps_files: bool,
}

impl Raised {
    fn note(&mut self, result: Result<(), String>) {
        self.gaps.extend(result.err());
    }

    /// Says what this kernel does not confine, if there is anything.
    pub fn say_gaps(&self) {
        if !self.gaps.is_empty() {
            terminal::say(self);
        }
    }
}

impl fmt::Display for Raised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_off {
            return f.write_str("Not confined: --no-confine");
        }
        match &self.gaps[..] {
            [] => f.write_str(
                "Confined: to the files that were named, and to few system calls; it starts no programs; ",
            )?,
            gaps => write!(f, "Confined, but not wholly: {}; ", gaps.join("; "))?,
        }
        f.write_str(if self.keeps_files { FILES_OF_OTHERS } else { "it has no capabilities" })
    }
}
