//! The dissector: Wireshark's `sharkd`, in a process of its own, takes one packet apart.
//!
//! Dissectors are large programs that read what anybody has sent. This one gets a few packets, is confined by
//! `netrewind dissect-packet` before it begins, and ends with its answer, or is ended when its time is over. Its answer is read as the
//! text of a stranger.
//!
//! ```text
//! packets -> request: a line, a pcap file -> netrewind dissect-packet -> sharkd -> lines of JSON -> Dissection
//! ```

mod reply;

use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::process::ExitStatus;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use netrewind_filter::StartWorker;

pub(crate) use reply::read as read_reply;
pub use reply::{Dissection, FIELDS_MAX, FRAME_ID, Field};

/// The hidden subcommand of the dissector's process.
pub const DISSECTOR_SUBCOMMAND: &str = "dissect-packet";
/// Longest request: a file of packets with its line.
pub const REQUEST_BYTES_MAX: u64 = 4 << 20;
/// CPU time and memory of the process.
pub const CPU_SECONDS_MAX: u64 = 5;
/// Its address space, with libraries.
pub const MEMORY_BYTES_MAX: u64 = 1 << 30;
/// Time for an answer.
const WALL_TIME_MAX: Duration = Duration::from_secs(10);
/// Bytes of an answer.
const REPLY_BYTES_MAX: u64 = 8 << 20;
/// Interval at which it is checked that somebody still waits.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// Why a packet was not taken apart.
#[derive(Debug, thiserror::Error)]
pub enum DissectorError {
    /// The process could not be started, or talked to.
    #[error("sharkd cannot be asked: {0}")]
    Process(#[from] io::Error),
    /// It ended without an answer.
    #[error("sharkd ended without an answer ({0}): is the program of --sharkd Wireshark's sharkd?")]
    Ended(ExitStatus),
    /// It took too long.
    #[error("sharkd gave no answer within {} s, and was ended", WALL_TIME_MAX.as_secs())]
    Late,
    /// Its answer cannot be read.
    #[error("sharkd's answer cannot be read: {0}")]
    Nonsense(String),
    /// Nobody waits for it.
    #[error("the client has gone")]
    GivenUp,
}

/// Starts dissectors.
#[derive(Clone, Debug)]
pub struct Dissector(Arc<dyn StartWorker>);

impl Dissector {
    /// Dissectors that are started by `start`.
    pub fn new(start: Arc<dyn StartWorker>) -> Self {
        Self(start)
    }

    /// Takes the last packet of a pcap file apart, the one with this number. Blocks for at most ten seconds.
    pub fn dissect(
        &self,
        capture: Vec<u8>,
        number: usize,
        is_given_up: &dyn Fn() -> bool,
    ) -> Result<Dissection, DissectorError> {
        let (request_end, request) = io::pipe()?;
        let (reply, reply_end) = io::pipe()?;
        let mut worker = self.0.start(OwnedFd::from(request_end), OwnedFd::from(reply_end))?;
        let text = converse(request, reply, capture, number, is_given_up);
        if text.is_err() {
            worker.kill();
        }
        // No zombie stays in either case.
        let status = worker.wait()?;
        let text = text?;
        match text.is_empty() {
            true => Err(DissectorError::Ended(status)),
            false => reply::read(&text).map_err(|reason| match status.success() {
                true => DissectorError::Nonsense(reason),
                false => DissectorError::Ended(status),
            }),
        }
    }
}

/// Sends the packets and reads the answer on a thread, so that the deadline holds whatever the process does.
fn converse(
    mut request: io::PipeWriter,
    reply: io::PipeReader,
    capture: Vec<u8>,
    number: usize,
    is_given_up: &dyn Fn() -> bool,
) -> Result<Vec<u8>, DissectorError> {
    let (sender, receiver) = mpsc::channel();
    thread::Builder::new().name("dissector".to_owned()).spawn(move || {
        // A process that dies early breaks the pipe; its status tells more than that.
        let _ =
            request.write_all(format!("{number}\n").as_bytes()).and_then(|()| request.write_all(&capture));
        drop(request);
        let mut text = Vec::new();
        let read = reply.take(REPLY_BYTES_MAX + 1).read_to_end(&mut text).map(|_| text);
        // The receiver is gone once the deadline has passed.
        let _ = sender.send(read);
    })?;
    let mut waited = Duration::ZERO;
    while waited < WALL_TIME_MAX {
        match receiver.recv_timeout(LOOK_INTERVAL) {
            Ok(text) => {
                let text = text?;
                return match text.len() as u64 > REPLY_BYTES_MAX {
                    true => {
                        Err(DissectorError::Nonsense(format!("it has more than {REPLY_BYTES_MAX} bytes")))
                    }
                    false => Ok(text),
                };
            }
            Err(RecvTimeoutError::Disconnected) => {
                return Err(io::Error::other("the thread that reads it has ended").into());
            }
            Err(RecvTimeoutError::Timeout) if is_given_up() => return Err(DissectorError::GivenUp),
            Err(RecvTimeoutError::Timeout) => waited += LOOK_INTERVAL,
        }
    }
    Err(DissectorError::Late)
}
