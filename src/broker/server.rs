//! The broker's own side.

use std::ffi::OsString;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use netrewind_filter::WORKER_SUBCOMMAND;
use netrewind_http::audit::{AuditFiles, AuditPaths};
use netrewind_http::dissector::DISSECTOR_SUBCOMMAND;
use netrewind_recorder::source::packet_ring::{Framing, OwnSockets, PacketSockets};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::{BrokerRights, DESCRIPTORS_MAX, LIVE_OPTION, REQUEST_BYTES_MAX, Request, SHARKD_OPTION};

/// Filter compilers and dissectors at a time: the service lets fewer run.
const WORKERS_MAX: usize = 32;
/// Interval between looks at a worker where the kernel does not tell of its end.
const LOOK_INTERVAL_NS: i64 = 20_000_000;

/// Answers requests until nobody can send any.
pub fn serve(requests: BorrowedFd<'_>, rights: &BrokerRights) -> io::Result<()> {
    let audit = AuditPaths::from(rights.audit.clone());
    let program = std::env::current_exe()?;
    let running = Arc::new(AtomicUsize::new(0));
    while let Some((bytes, descriptors)) = receive(requests)? {
        let mut descriptors = descriptors.into_iter();
        let (Some(answer), Some((&letter, text))) = (descriptors.next(), bytes.split_first()) else {
            continue;
        };
        let answered = match Request::of_letter(letter) {
            Some(request @ (Request::Compiler | Request::LiveCompiler | Request::Dissector)) => {
                match (arguments_of(request, rights), descriptors.next(), descriptors.next()) {
                    (Some(arguments), Some(request), Some(reply)) => {
                        let worker = Worker { program: program.clone(), arguments, request, reply };
                        start(worker, answer, &running);
                        continue;
                    }
                    _ => Err(io::Error::from_raw_os_error(libc::EPERM)),
                }
            }
            Some(Request::RawSocket) if rights.sockets => {
                OwnSockets.open(Framing::Raw).map(|it| (0, Some(it)))
            }
            Some(Request::CookedSocket) if rights.sockets => {
                OwnSockets.open(Framing::Cooked).map(|it| (0, Some(it)))
            }
            Some(Request::Audit) => audit.open().map(|it| (0, Some(it.into()))),
            Some(Request::NextAudit) => audit.open_another().map(|it| (0, Some(it.into()))),
            Some(Request::Timestamps) if rights.timestamps => {
                let is_on = OwnSockets.turn_on_timestamps(&String::from_utf8_lossy(text));
                is_on.map(|is_on| (i32::from(is_on), None))
            }
            _ => Err(io::Error::from_raw_os_error(libc::EPERM)),
        };
        send(&answer, answered);
    }
    Ok(())
}

/// The next request, and the descriptors with it; `None` at the end.
fn receive(requests: BorrowedFd<'_>) -> io::Result<Option<(Vec<u8>, Vec<OwnedFd>)>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut bytes = [0; REQUEST_BYTES_MAX];
    let received = rustix::io::retry_on_intr(|| {
        recvmsg(requests, &mut [IoSliceMut::new(&mut bytes)], &mut control, RecvFlags::CMSG_CLOEXEC)
    })?;
    let mut descriptors = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(sent) = message {
            descriptors.extend(sent);
        }
    }
    let bytes = bytes.get(..received.bytes).unwrap_or_default();
    Ok((!bytes.is_empty()).then(|| (bytes.to_vec(), descriptors)))
}

fn send(to: &OwnedFd, answer: io::Result<(i32, Option<OwnedFd>)>) {
    let error = |error: &io::Error| -error.raw_os_error().unwrap_or(libc::EIO);
    let number = answer.as_ref().map_or_else(error, |(number, _)| *number);
    let descriptor = answer.ok().and_then(|(_, descriptor)| descriptor);
    let descriptors: Vec<_> = descriptor.iter().map(AsFd::as_fd).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() {
        control.push(SendAncillaryMessage::ScmRights(&descriptors));
    }
    // Whoever does not listen any more needs no answer.
    let _ = sendmsg(to, &[IoSlice::new(&number.to_le_bytes())], &mut control, SendFlags::NOSIGNAL);
}

/// Arguments of a process to be started; `None` where it may not be.
fn arguments_of(request: Request, rights: &BrokerRights) -> Option<Vec<OsString>> {
    let option = |name: &str| OsString::from(format!("--{name}"));
    match request {
        Request::Compiler => Some(vec![WORKER_SUBCOMMAND.into()]),
        Request::LiveCompiler if rights.sockets => Some(vec![WORKER_SUBCOMMAND.into(), option(LIVE_OPTION)]),
        Request::Dissector => {
            let sharkd = rights.sharkd.as_ref()?;
            Some(vec![DISSECTOR_SUBCOMMAND.into(), option(SHARKD_OPTION), sharkd.into()])
        }
        _ => None,
    }
}

/// A process of this program to be started, and its pipes.
struct Worker {
    program: PathBuf,
    arguments: Vec<OsString>,
    request: OwnedFd,
    reply: OwnedFd,
}

impl Worker {
    fn spawn(self) -> io::Result<Child> {
        let Self { program, arguments, request, reply } = self;
        Command::new(program).args(arguments).stdin(request).stdout(reply).stderr(Stdio::null()).spawn()
    }
}

/// Starts a worker, and a thread that waits for its end.
fn start(worker: Worker, answer: OwnedFd, running: &Arc<AtomicUsize>) {
    if running.load(Ordering::Relaxed) >= WORKERS_MAX {
        return send(&answer, Err(io::Error::from_raw_os_error(libc::EAGAIN)));
    }
    running.fetch_add(1, Ordering::Relaxed);
    let running = running.clone();
    let attend = move || {
        let status = worker.spawn().and_then(|child| end_of(child, &answer));
        send(&answer, status.map(|status| (status, None)));
        running.fetch_sub(1, Ordering::Relaxed);
    };
    // Without a thread the socket for the answer is closed, which is one.
    let _ = std::thread::Builder::new().name("worker".into()).spawn(attend);
}

/// Waits for the end of a worker, which is killed when nobody waits for its answer; returns its status as wait(2) does.
fn end_of(mut child: Child, answer: &OwnedFd) -> io::Result<i32> {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let end = pid.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
    let mut is_wanted = true;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status.into_raw());
        }
        let mut events: Vec<_> = end.iter().map(|end| PollFd::new(end, PollFlags::IN)).collect();
        if is_wanted {
            events.push(PollFd::new(answer, PollFlags::IN | PollFlags::RDHUP));
        }
        let interval = Timespec { tv_sec: 0, tv_nsec: LOOK_INTERVAL_NS };
        // Interrupted or not, the child is looked at again.
        let _ = poll(&mut events, end.is_none().then_some(&interval));
        if is_wanted && events.last().is_some_and(|event| !event.revents().is_empty()) {
            is_wanted = false;
            child.kill()?;
        }
    }
}
