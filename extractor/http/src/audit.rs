//! Audit of extractions, queries and refusals: who asked for what, and what they got. One JSON object a line, written
//! by one thread, so that no answer waits for the disk. Bounded: the file is renamed once it is full, and the oldest one is
//! deleted.

mod file;
mod record;
mod repeats;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;

use netrewind_extractor::flows::FlowId;
use netrewind_extractor::{JoinedFilter, Query};
use netrewind_store::time::MINUTE_NS;
use netrewind_store::{Timestamp, locked};
use serde::Serialize;

pub use file::{AuditError, AuditFile, AuditFiles, AuditPaths, FILE_BYTES_MAX, FILES_MAX};
pub use record::{AuditedHold, Ending, Extraction, Refused};
use repeats::Repeats;

/// Lines that wait to be written.
const QUEUE_MAX: usize = 1024;
/// Refusals that are written within a minute: refused clients must not push out records of what others got. The rest are
/// counted in the next line about one.
const REFUSALS_A_MINUTE_MAX: u32 = 60;
/// Characters of a path or a reason that are kept.
const TEXT_CHARACTERS_MAX: usize = 200;

/// A line of the file.
#[derive(Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
enum Line<'a> {
    Extraction {
        #[serde(flatten)]
        request: AuditedRequest<'a>,
        packets: u64,
        bytes: u64,
    },
    /// No packets, but what can be known of them.
    Query {
        #[serde(flatten)]
        request: AuditedRequest<'a>,
        /// Number of repetitions since the last such line.
        #[serde(skip_serializing_if = "is_zero")]
        repeated: u64,
    },
    Refused {
        at: Timestamp,
        #[serde(skip_serializing_if = "Option::is_none")]
        who: Option<&'a str>,
        peer: Option<SocketAddr>,
        status: u16,
        path: &'a str,
        reason: &'a str,
        /// Refusals not written since the last such line.
        #[serde(skip_serializing_if = "is_zero")]
        unlisted: u64,
    },
    /// A hold made or released.
    Hold(&'a AuditedHold),
    /// A session begun with a token.
    Session { at: Timestamp, who: &'a str, peer: Option<SocketAddr> },
    /// Lines that could not be written.
    Lost { at: Timestamp, lines: u64 },
}

/// A query and its ending.
#[derive(Serialize)]
struct AuditedRequest<'a> {
    at: Timestamp,
    who: &'a str,
    peer: Option<SocketAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    recorder: Option<&'a str>,
    what: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    flow: Option<FlowId>,
    #[serde(serialize_with = "record::serialize_short")]
    query: &'a Query,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    joined: Vec<Joined<'a>>,
    ending: Ending,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
    seconds: f64,
}

impl<'a> From<&'a Extraction> for AuditedRequest<'a> {
    fn from(extraction: &'a Extraction) -> Self {
        let Extraction { asked, who, peer, recorder, what, flow, query, ending, error, seconds, .. } =
            extraction;
        Self {
            at: *asked,
            who,
            peer: *peer,
            recorder: recorder.as_deref(),
            what,
            flow: *flow,
            query,
            joined: query.joined.iter().map(Joined::from).collect(),
            ending: *ending,
            error: error.as_deref(),
            seconds: *seconds,
        }
    }
}

#[derive(Serialize)]
struct Joined<'a> {
    filter: &'a str,
    view: netrewind_extractor::ViewMode,
    ignore_vlan: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl<'a> From<&'a JoinedFilter> for Joined<'a> {
    fn from(joined: &'a JoinedFilter) -> Self {
        Self { filter: &joined.filter, view: joined.view, ignore_vlan: joined.ignore_vlan }
    }
}

/// The thread that writes, as all others see it. The last one to go waits until everything is written.
#[derive(Debug)]
pub struct Audit {
    queue: Option<mpsc::SyncSender<String>>,
    lost: Arc<AtomicU64>,
    refusals: Mutex<Refusals>,
    repeats: Mutex<Repeats>,
    thread: Option<JoinHandle<()>>,
}

/// Counts of refusals within this minute.
#[derive(Debug, Default)]
struct Refusals {
    minute: u64,
    written: u32,
    unlisted: u64,
}

impl Audit {
    /// Into a file.
    pub fn start(mut file: AuditFile) -> std::io::Result<Self> {
        let (queue, lines) = mpsc::sync_channel::<String>(QUEUE_MAX);
        let lost = Arc::new(AtomicU64::new(0));
        let unwritten = lost.clone();
        let write = move || {
            for line in lines {
                if let Err(error) = file.append(&line) {
                    tracing::error!(%error, "the audit cannot be written");
                    unwritten.fetch_add(1, Ordering::Relaxed);
                }
            }
        };
        let thread = std::thread::Builder::new().name("audit".into()).spawn(write)?;
        Ok(Self {
            queue: Some(queue),
            lost,
            refusals: Mutex::default(),
            repeats: Mutex::default(),
            thread: Some(thread),
        })
    }

    /// Notes what was given to somebody.
    pub fn extraction(&self, extraction: &Extraction) {
        let Extraction { packets, bytes, .. } = *extraction;
        self.write(extraction.asked, &Line::Extraction { request: extraction.into(), packets, bytes });
    }

    /// Records a query that returns no packets. Repeated queries are counted meanwhile.
    pub fn query(&self, asked: &Extraction) {
        let repeated = locked(&self.repeats).before(asked);
        let Some(repeated) = repeated else { return };
        self.write(asked.asked, &Line::Query { request: asked.into(), repeated });
    }

    /// Notes that somebody was refused.
    pub fn refused(&self, refused: &Refused) {
        let Some(unlisted) = self.refusals().unlisted_before(refused.at) else { return };
        let shown = |text: &str| text.chars().take(TEXT_CHARACTERS_MAX).collect::<String>();
        let (path, reason) = (shown(&refused.path), shown(&refused.reason));
        let line = Line::Refused {
            at: refused.at,
            who: refused.who.as_deref(),
            peer: refused.peer,
            status: refused.status,
            path: &path,
            reason: &reason,
            unlisted,
        };
        self.write(refused.at, &line);
    }

    /// Notes that somebody made or released a hold, or looked at them.
    pub fn hold(&self, hold: &AuditedHold) {
        self.write(hold.at, &Line::Hold(hold));
    }

    /// Notes that somebody began a session.
    pub fn session(&self, at: Timestamp, who: &str, peer: Option<SocketAddr>) {
        self.write(at, &Line::Session { at, who, peer });
    }

    fn refusals(&self) -> std::sync::MutexGuard<'_, Refusals> {
        // Numbers only, right at every moment.
        locked(&self.refusals)
    }

    fn write(&self, at: Timestamp, line: &Line<'_>) {
        let lines = self.lost.swap(0, Ordering::Relaxed);
        if lines > 0 {
            self.send(&Line::Lost { at, lines }, lines);
        }
        self.send(line, 1);
    }

    /// Puts a line in the queue; if there is no room, `worth` lines are lost.
    fn send(&self, line: &Line<'_>, worth: u64) {
        // It has no maps and no numbers that JSON does not know.
        let text = serde_json::to_string(line).unwrap_or_default();
        let was_sent = self.queue.as_ref().is_some_and(|queue| queue.try_send(text).is_ok());
        if !was_sent {
            self.lost.fetch_add(worth, Ordering::Relaxed);
        }
    }
}

impl Drop for Audit {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            // A fault of the program there has been printed.
            let _ = thread.join();
        }
    }
}

impl Refusals {
    /// Number of refusals not written since the last one that was, if this one may be.
    fn unlisted_before(&mut self, at: Timestamp) -> Option<u64> {
        let minute = at.ns() / MINUTE_NS;
        if minute != self.minute {
            (self.minute, self.written) = (minute, 0);
        }
        if self.written >= REFUSALS_A_MINUTE_MAX {
            self.unlisted += 1;
            return None;
        }
        self.written += 1;
        Some(std::mem::take(&mut self.unlisted))
    }
}
