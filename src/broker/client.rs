//! The side of the confined process.

use std::fmt;
use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};

use anyhow::Context;
use netrewind_filter::{RunningWorker, StartWorker, Workers};
use netrewind_http::audit::{AuditFiles, AuditPaths};
use netrewind_http::dissector::Dissector;
use netrewind_recorder::source::packet_ring::{Framing, PacketSockets};
use netrewind_store::locked;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, Shutdown, SocketAddrUnix, SocketFlags, SocketType, connect, recvmsg,
    sendmsg, shutdown, socket_with, socketpair,
};

use super::{
    AUDIT_OPTION, BROKER_SUBCOMMAND, BrokerRights, DESCRIPTORS_MAX, Request, SHARKD_OPTION, SOCKETS_OPTION,
    TIMESTAMPS_OPTION,
};
use crate::outcome::Failure;

/// A running broker, which ends when this is dropped.
pub struct Broker {
    requests: Mutex<OwnedFd>,
    program: PathBuf,
    /// Where it is reached, if the service manager starts it.
    socket: Option<PathBuf>,
}

impl Broker {
    /// Starts one.
    pub fn start(rights: BrokerRights) -> Result<Arc<Self>, Failure> {
        let program = std::env::current_exe().context("the path of this program")?;
        let (requests, served) = pair()?;
        let mut command = Command::new(&program);
        command.arg(BROKER_SUBCOMMAND).stdin(served).stdout(Stdio::null());
        let options = [(rights.sockets, SOCKETS_OPTION), (rights.timestamps, TIMESTAMPS_OPTION)];
        for (_, option) in options.iter().filter(|(is_given, _)| *is_given) {
            command.arg(format!("--{option}"));
        }
        if let Some(sharkd) = &rights.sharkd {
            command.arg(format!("--{SHARKD_OPTION}")).arg(sharkd);
        }
        for path in &rights.audit {
            command.arg(format!("--{AUDIT_OPTION}")).arg(path);
        }
        // Nobody waits for it: it ends after this process.
        command.spawn().with_context(|| format!("starting {} {BROKER_SUBCOMMAND}", program.display()))?;
        Ok(Arc::new(Self { requests: Mutex::new(requests), program, socket: None }))
    }

    /// Connects to one that the service manager starts for whoever connects.
    pub fn at(socket: &Path) -> Result<Arc<Self>, Failure> {
        let program = std::env::current_exe().context("the path of this program")?;
        let requests = connected(socket).with_context(|| format!("--broker {}", socket.display()))?;
        Ok(Arc::new(Self { requests: Mutex::new(requests), program, socket: Some(socket.to_owned()) }))
    }

    /// Starts filter compilers by it.
    pub fn workers(self: &Arc<Self>) -> Workers {
        Workers::new(Arc::new(BrokeredWorkers { broker: self.clone(), request: Request::Compiler }))
    }

    /// Starts filter compilers that may open an interface.
    pub fn live_workers(self: &Arc<Self>) -> Workers {
        Workers::new(Arc::new(BrokeredWorkers { broker: self.clone(), request: Request::LiveCompiler }))
    }

    /// Starts dissectors, by the program that it was given.
    pub fn dissector(self: &Arc<Self>) -> Dissector {
        Dissector::new(Arc::new(BrokeredWorkers { broker: self.clone(), request: Request::Dissector }))
    }

    /// Opens the audit by it; the paths are those that it was given as well.
    pub fn audit(self: &Arc<Self>, paths: AuditPaths) -> Box<dyn AuditFiles> {
        Box::new(BrokeredAudit { broker: self.clone(), paths })
    }

    /// Sends a request, and returns the socket on which it is answered.
    fn ask(&self, request: Request, text: &str, descriptors: &[BorrowedFd<'_>]) -> io::Result<OwnedFd> {
        let (answer, answering) = pair()?;
        let mut all = vec![answering.as_fd()];
        all.extend(descriptors);
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !control.push(SendAncillaryMessage::ScmRights(&all)) {
            return Err(io::Error::other("too many descriptors"));
        }
        let parts = [&[request as u8][..], text.as_bytes()];
        let parts = parts.map(IoSlice::new);
        let mut requests = locked(&self.requests);
        let mut sent = sendmsg(&*requests, &parts, &mut control, SendFlags::NOSIGNAL);
        if let (Err(Errno::PIPE | Errno::CONNRESET), Some(socket)) = (&sent, &self.socket) {
            *requests = connected(socket)?;
            sent = sendmsg(&*requests, &parts, &mut control, SendFlags::NOSIGNAL);
        }
        match sent {
            Err(Errno::PIPE | Errno::CONNRESET) => Err(gone()),
            sent => sent.map(|_| answer).map_err(Into::into),
        }
    }

    fn opened(&self, request: Request) -> io::Result<OwnedFd> {
        match answer(&self.ask(request, "", &[])?)? {
            (_, Some(socket)) => Ok(socket),
            (_, None) => Err(io::Error::other("the broker sent no descriptor")),
        }
    }
}

impl fmt::Debug for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Broker({})", self.program.display())
    }
}

fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}

fn connected(socket: &Path) -> io::Result<OwnedFd> {
    let requests = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    connect(&requests, &SocketAddrUnix::new(socket)?)?;
    Ok(requests)
}

fn gone() -> io::Error {
    io::Error::new(
        io::ErrorKind::BrokenPipe,
        "the process that does this for the confined one has ended: restart it",
    )
}

/// Waits for an answer: its number, and the descriptor that comes with it.
fn answer(from: &OwnedFd) -> io::Result<(i32, Option<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut bytes = [0; size_of::<i32>()];
    let received = rustix::io::retry_on_intr(|| {
        recvmsg(from, &mut [IoSliceMut::new(&mut bytes)], &mut control, RecvFlags::CMSG_CLOEXEC)
    })?;
    if received.bytes < bytes.len() {
        return Err(gone());
    }
    let descriptors = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    match i32::from_le_bytes(bytes) {
        error if error < 0 => Err(io::Error::from_raw_os_error(-error)),
        number => Ok((number, descriptors)),
    }
}

impl PacketSockets for Broker {
    fn open(&self, framing: Framing) -> io::Result<OwnedFd> {
        self.opened(match framing {
            Framing::Raw => Request::RawSocket,
            Framing::Cooked => Request::CookedSocket,
        })
    }

    fn turn_on_timestamps(&self, interface: &str) -> io::Result<bool> {
        Ok(answer(&self.ask(Request::Timestamps, interface, &[])?)?.0 != 0)
    }
}

#[derive(Debug)]
struct BrokeredWorkers {
    broker: Arc<Broker>,
    request: Request,
}

impl StartWorker for BrokeredWorkers {
    fn program(&self) -> PathBuf {
        self.broker.program.clone()
    }

    fn start(&self, request: OwnedFd, answer: OwnedFd) -> io::Result<Box<dyn RunningWorker>> {
        Ok(Box::new(BrokeredWorker(self.broker.ask(self.request, "", &[request.as_fd(), answer.as_fd()])?)))
    }
}

/// A worker of the broker's, by the socket on which its exit status comes.
struct BrokeredWorker(OwnedFd);

impl RunningWorker for BrokeredWorker {
    fn kill(&mut self) {
        // The broker ends the worker at the end of what it could hear from here.
        let _ = shutdown(&self.0, Shutdown::Write);
    }

    fn wait(&mut self) -> io::Result<ExitStatus> {
        Ok(ExitStatus::from_raw(answer(&self.0)?.0))
    }
}

/// The audit's files, which the broker opens.
#[derive(Debug)]
struct BrokeredAudit {
    broker: Arc<Broker>,
    paths: AuditPaths,
}

impl AuditFiles for BrokeredAudit {
    fn path(&self) -> PathBuf {
        self.paths.path()
    }

    fn path_before(&self) -> Option<PathBuf> {
        self.paths.path_before()
    }

    fn open(&self) -> io::Result<File> {
        self.broker.opened(Request::Audit).map(File::from)
    }

    fn open_another(&self) -> io::Result<File> {
        self.broker.opened(Request::NextAudit).map(File::from)
    }
}
