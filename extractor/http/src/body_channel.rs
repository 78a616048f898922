//! Queue of parts from the thread that reads to the task that sends: short, and the reading waits for it.

use std::io::{self, Write};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use netrewind_extractor::{Answer, Completeness};
use tokio::runtime::Handle;
use tokio::sync::mpsc::{self, error::TrySendError};

use crate::problem::Problem;
use crate::resume::{AnswerTag, Part as ContentPart};
use crate::service::{Phase, Service};
use crate::slots::Slot;

/// Bytes of an answer that are gathered before they are sent. More than any sink writes before its first packet.
pub const CHUNK_BYTES: usize = 128 << 10;
/// Parts that wait to be sent: a megabyte.
pub const PARTS_MAX: usize = 8;

/// A part of an answer.
#[derive(Debug)]
pub enum Part {
    /// First: what is known before reading.
    Head(Box<AnswerHead>),
    /// Then bytes of the file.
    Chunk(Bytes),
    /// Last: the result. If this is missing, the answer broke off.
    End(Result<Box<Answer>, Problem>),
}

/// Facts about an answer before its first byte.
#[derive(Debug)]
pub struct AnswerHead {
    /// Completeness as far as it is known.
    pub completeness: Completeness,
    /// Tag of a finished answer.
    pub tag: Option<AnswerTag>,
    /// Part of the answer that follows; `None` for all of it.
    pub part: Option<ContentPart>,
}

/// Output of the reading thread.
#[derive(Debug)]
pub struct BodyWriter {
    parts: mpsc::Sender<Part>,
    gathered: BytesMut,
    slot: Slot,
    service: Arc<Service>,
    runtime: Handle,
    /// Bytes of the answer that are written, and not sent, because the client has them.
    skipped: u64,
    /// Bytes that were written.
    written: u64,
}

impl BodyWriter {
    /// A queue's writing end and its parts. Must be called on the runtime.
    pub fn new(service: Arc<Service>, slot: Slot) -> (Self, mpsc::Receiver<Part>) {
        let (parts, taken) = mpsc::channel(PARTS_MAX);
        let gathered = BytesMut::new();
        let runtime = Handle::current();
        (Self { parts, gathered, slot, service, runtime, skipped: 0, written: 0 }, taken)
    }

    /// Leaves out the first bytes of the answer; before any are written.
    pub fn skip(&mut self, bytes: u64) {
        self.skipped = bytes;
    }

    /// Bytes of the answer that were written, with those that are left out.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// True once something is sent of the answer.
    pub fn is_sending(&self) -> bool {
        self.written > self.skipped
    }

    /// Lets others answer meanwhile.
    pub fn step_aside(&mut self) {
        self.slot.step_aside();
    }

    /// Waits until it may answer again. Blocks the thread.
    pub fn resume(&mut self) {
        self.slot.resume(&self.runtime);
    }

    /// True once nobody takes parts any more.
    pub fn is_closed(&self) -> bool {
        self.parts.is_closed()
    }

    /// True once everything that was sent has been taken.
    pub fn is_drained(&self) -> bool {
        self.parts.capacity() == self.parts.max_capacity()
    }

    /// Sends a part after all bytes that have been written. Waits, without the right to read, for a client that is slow;
    /// not longer than for a named time, and not beyond the service's own end.
    pub fn send(&mut self, part: Part) -> io::Result<()> {
        self.flush()?;
        self.put(part)
    }

    /// Sends what is known before reading, ahead of the bytes written so far: less than a chunk.
    pub fn announce(&mut self, head: AnswerHead) -> io::Result<()> {
        self.put(Part::Head(Box::new(head)))
    }

    fn put(&mut self, part: Part) -> io::Result<()> {
        let part = match self.parts.try_send(part) {
            Ok(()) => return Ok(()),
            Err(TrySendError::Closed(_)) => return Err(io::ErrorKind::BrokenPipe.into()),
            Err(TrySendError::Full(part)) => part,
        };
        self.slot.pause();
        let runtime = self.runtime.clone();
        runtime.block_on(self.wait_for_room(part))?;
        self.slot.resume(&runtime);
        Ok(())
    }

    async fn wait_for_room(&self, part: Part) -> io::Result<()> {
        let mut phases = self.service.phases();
        let stall_time = self.service.limits.stall_time_max;
        tokio::select! {
            sent = self.parts.send(part) => sent.map_err(|_| io::ErrorKind::BrokenPipe.into()),
            () = tokio::time::sleep(stall_time) => {
                let text = format!("the client read nothing for {} s: the answer is cut off", stall_time.as_secs());
                Err(io::Error::new(io::ErrorKind::TimedOut, text))
            }
            _ = phases.wait_for(|phase| *phase == Phase::Cutting) => {
                Err(io::Error::new(io::ErrorKind::TimedOut, "the service is stopping: the answer is cut off"))
            }
        }
    }
}

/// Takes bytes of the file.
impl Write for BodyWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let left_out = self.skipped.saturating_sub(self.written).min(bytes.len() as u64);
        if left_out > 0 {
            self.written += left_out;
            return Ok(usize::try_from(left_out).unwrap_or(bytes.len()));
        }
        // A client that waits is owed a bounded number of chunks, however much is written at a time.
        let room = CHUNK_BYTES.saturating_sub(self.gathered.len()).max(1);
        let taken = bytes.get(..room).unwrap_or(bytes);
        self.gathered.extend_from_slice(taken);
        self.written += taken.len() as u64;
        if self.gathered.len() >= CHUNK_BYTES {
            self.flush()?;
        }
        Ok(taken.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.gathered.is_empty() {
            return Ok(());
        }
        let chunk = self.gathered.split().freeze();
        self.put(Part::Chunk(chunk))
    }
}
