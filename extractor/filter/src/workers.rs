//! Starting of worker processes: by this process, or by another one where it may start none.

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;

/// The hidden subcommand of the worker's executable.
pub const WORKER_SUBCOMMAND: &str = "compile-filter";

/// Starts worker processes.
pub trait StartWorker: fmt::Debug + Send + Sync {
    /// Name of the program, for errors.
    fn program(&self) -> PathBuf;

    /// Starts a worker that reads its request from one pipe and writes its answer to the other. Both are closed here.
    fn start(&self, request: OwnedFd, answer: OwnedFd) -> io::Result<Box<dyn RunningWorker>>;
}

/// A worker process.
pub trait RunningWorker {
    /// Ends it.
    fn kill(&mut self);

    /// Waits until it has ended, which does not take long once its answer has, or it was killed.
    fn wait(&mut self) -> io::Result<ExitStatus>;
}

/// Whatever starts worker processes.
#[derive(Clone, Debug)]
pub struct Workers(Arc<dyn StartWorker>);

impl Workers {
    /// Workers that are started by `start`.
    pub fn new(start: Arc<dyn StartWorker>) -> Self {
        Self(start)
    }

    pub(super) fn start(&self, request: OwnedFd, answer: OwnedFd) -> io::Result<Box<dyn RunningWorker>> {
        self.0.start(request, answer)
    }

    /// Name of the program, for errors.
    pub fn program(&self) -> PathBuf {
        self.0.program()
    }
}

/// Children of this process, which run this `netrewind` executable.
impl From<PathBuf> for Workers {
    fn from(program: PathBuf) -> Self {
        Self::new(Arc::new(OwnChildren(program)))
    }
}

impl From<&str> for Workers {
    fn from(program: &str) -> Self {
        Path::new(program).to_owned().into()
    }
}

#[derive(Debug)]
struct OwnChildren(PathBuf);

impl StartWorker for OwnChildren {
    fn program(&self) -> PathBuf {
        self.0.clone()
    }

    fn start(&self, request: OwnedFd, answer: OwnedFd) -> io::Result<Box<dyn RunningWorker>> {
        Ok(Box::new(
            Command::new(&self.0)
                .arg(WORKER_SUBCOMMAND)
                .stdin(request)
                .stdout(answer)
                .stderr(Stdio::null())
                .spawn()?,
        ))
    }
}

impl RunningWorker for Child {
    fn kill(&mut self) {
        // It may have ended by itself meanwhile, which is fine.
        let _ = Child::kill(self);
    }

    fn wait(&mut self) -> io::Result<ExitStatus> {
        Child::wait(self)
    }
}
