//! The thread that sends the flows of sealed segments to a collector.
//!
//! **Invariant:** each segment is sent at most once; what could not be sent waits, or is counted as left out.

use std::collections::VecDeque;
use std::error::Error;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use netrewind_flows::conversation::Conversation;
use netrewind_store::clock::{Clock, Now};
use netrewind_store::turns::{NextTurn, RunningWorker, Threads, Worker};
use netrewind_store::{Event, Logbook, SegmentName, locked};

use crate::collector::CollectorAddress;
use crate::flow_record::{FlowEndReason, FlowRecord};
use crate::message::{FlowMessage, MessageWriter};
use crate::segment_queue::SegmentQueue;
use crate::session::{BURST_MESSAGES, BURST_PAUSE, CollectorSession};
use crate::status::IpfixStatus;

/// Niceness of the thread: recording and indexing go first.
const EXPORT_NICENESS: i32 = 17;
/// Flows of a segment that are taken at once, some 8 MB of messages; the rest when these have been sent.
pub(crate) const FLOWS_AT_ONCE: u64 = 1 << 16;
/// First wait for a collector that is away; each further one is twice as long, up to the longest.
const BACKOFF_MIN: Duration = Duration::from_secs(1);
const BACKOFF_MAX: Duration = Duration::from_secs(60);
/// Interval at which the logbook is told what was sent.
const LOG_INTERVAL: Duration = Duration::from_secs(10);
/// Time that the last segments of a recording have to be sent in.
const FINISH_TIME_MAX: Duration = Duration::from_secs(10);

/// What became of a visit to a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SegmentVisit {
    /// All of its conversations were given, or as many as were taken.
    Read,
    /// It has expired.
    Gone,
}

/// Makes conversations of a segment's packets.
pub trait SegmentFlows: Send {
    /// Gives the conversations of a sealed segment to `take`, without the first `skip`, in the same order each time, until it
    /// refuses one or `stop` is set.
    fn visit(
        &self,
        segment: &SegmentName,
        skip: u64,
        stop: &AtomicBool,
        take: &mut dyn FnMut(&Conversation) -> bool,
    ) -> Result<SegmentVisit, Box<dyn Error + Send + Sync>>;
}

/// Export to a collector that has not begun.
#[derive(Debug)]
pub struct IpfixExporter {
    session: CollectorSession,
    domain: u32,
    queue: Arc<SegmentQueue>,
    status: Arc<Mutex<IpfixStatus>>,
}

impl IpfixExporter {
    /// Export to this collector, as this observation domain.
    pub fn new(collector: CollectorAddress, domain: u32) -> Self {
        let session = CollectorSession::new(collector, domain);
        Self { session, domain, queue: Arc::default(), status: Arc::default() }
    }

    /// Opens the socket now, for a process that may not later, if the collector has an address and takes datagrams. False if it is
    /// connected whenever that is needed.
    pub fn open_for_good(&mut self) -> io::Result<bool> {
        self.session.open_for_good()
    }

    /// Queue that takes the segments.
    pub fn queue(&self) -> Arc<SegmentQueue> {
        Arc::clone(&self.queue)
    }

    /// Its state, at any time.
    pub fn status(&self) -> Arc<Mutex<IpfixStatus>> {
        Arc::clone(&self.status)
    }

    /// Starts the thread.
    pub fn start(
        self,
        flows: Box<dyn SegmentFlows>,
        logbook: Arc<Mutex<Logbook>>,
        clock: Arc<dyn Clock>,
        threads: &dyn Threads,
    ) -> io::Result<IpfixThread> {
        let Self { session, domain, queue, status } = self;
        let stop = Arc::new(AtomicBool::new(false));
        let worker = IpfixWorker {
            session,
            flows,
            status,
            logbook,
            clock,
            queue: Arc::clone(&queue),
            stop: Arc::clone(&stop),
            segment: None,
            messages: VecDeque::new(),
            writer: MessageWriter::new(domain),
            away_until_ns: 0,
            backoff: BACKOFF_MIN,
            logged: IpfixStatus::default(),
            log_at_ns: 0,
            ends_at_ns: None,
        };
        let thread = threads.start("ipfix".into(), EXPORT_NICENESS, queue.waker(), Box::new(worker))?;
        Ok(IpfixThread { stop, queue, thread })
    }
}

/// A running export.
pub struct IpfixThread {
    stop: Arc<AtomicBool>,
    queue: Arc<SegmentQueue>,
    thread: Box<dyn RunningWorker>,
}

impl IpfixThread {
    /// Sends what waits, for ten seconds at most, and ends. No segment may come any more.
    pub fn finish(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.queue.waker().wake();
        // A panic there has been printed.
        self.thread.join();
    }
}

struct IpfixWorker {
    session: CollectorSession,
    flows: Box<dyn SegmentFlows>,
    queue: Arc<SegmentQueue>,
    status: Arc<Mutex<IpfixStatus>>,
    logbook: Arc<Mutex<Logbook>>,
    clock: Arc<dyn Clock>,
    stop: Arc<AtomicBool>,
    /// Segment with further flows, and how many of them have been taken.
    segment: Option<(SegmentName, u64)>,
    messages: VecDeque<FlowMessage>,
    writer: MessageWriter,
    away_until_ns: u64,
    backoff: Duration,
    /// State that the logbook was told last.
    logged: IpfixStatus,
    log_at_ns: u64,
    /// Time at which it ends whatever waits.
    ends_at_ns: Option<u64>,
}

impl Worker for IpfixWorker {
    fn turn(&mut self, now: Now) -> NextTurn {
        let is_away = now.monotonic_ns < self.away_until_ns;
        if self.stop.load(Ordering::Relaxed) {
            let ends_at_ns = *self.ends_at_ns.get_or_insert(now.after(FINISH_TIME_MAX));
            if self.is_idle() || is_away || now.monotonic_ns >= ends_at_ns {
                self.end(now);
                return NextTurn::Never;
            }
        }
        self.tell(now);
        if is_away {
            return NextTurn::At(self.away_until_ns);
        }
        if self.messages.is_empty() && !self.take_flows() {
            return self.when_idle(now);
        }
        match self.send_burst(now) {
            Ok(()) => self.back_to_work(),
            Err(error) => self.step_back(now, &error),
        }
        let pause = if self.messages.is_empty() { Duration::ZERO } else { BURST_PAUSE };
        NextTurn::At(self.clock.now().after(pause))
    }
}

impl IpfixWorker {
    fn is_idle(&self) -> bool {
        self.messages.is_empty() && self.segment.is_none() && self.queue.len() == 0
    }

    /// Next turn of one that has nothing to send: to tell the logbook, if it has not been told, or when a segment comes.
    fn when_idle(&mut self, now: Now) -> NextTurn {
        if self.stop.load(Ordering::Relaxed) || !self.is_idle() {
            return NextTurn::At(now.monotonic_ns);
        }
        match *locked(&self.status) == self.logged {
            true => NextTurn::WhenWoken,
            false => NextTurn::At(self.log_at_ns),
        }
    }

    /// Makes messages of the next flows; false if there are none.
    fn take_flows(&mut self) -> bool {
        let Some((name, skip)) = self.segment.take().or_else(|| Some((self.queue.pop()?, 0))) else {
            return false;
        };
        let (mut taken, mut has_more) = (0, false);
        let (writer, messages) = (&mut self.writer, &mut self.messages);
        let visited = self.flows.visit(&name, skip, &AtomicBool::new(false), &mut |conversation| {
            if taken == FLOWS_AT_ONCE {
                has_more = true;
                return false;
            }
            taken += 1;
            if let Some(record) = FlowRecord::of(conversation, FlowEndReason::ActiveTimeout) {
                messages.extend(writer.push(&record));
            }
            true
        });
        messages.extend(writer.finish());
        if has_more {
            self.segment = Some((name, skip + taken));
        }
        if !matches!(visited, Ok(SegmentVisit::Read)) {
            // Why it cannot be read, whoever asks for its packets is told.
            locked(&self.status).dropped_segments += 1;
        }
        !self.messages.is_empty()
    }

    fn send_burst(&mut self, now: Now) -> io::Result<()> {
        self.session.connect()?;
        for _ in 0..BURST_MESSAGES {
            let Some(message) = self.messages.front_mut() else { break };
            self.session.send(message, now)?;
            let mut status = locked(&self.status);
            status.records += u64::from(message.records());
            status.messages += 1;
            drop(status);
            self.messages.pop_front();
        }
        Ok(())
    }

    fn back_to_work(&mut self) {
        self.backoff = BACKOFF_MIN;
        locked(&self.status).trouble = None;
    }

    /// Waits for a collector that is away. The message that could not be sent is sent again.
    fn step_back(&mut self, now: Now, error: &io::Error) {
        self.session.give_up();
        self.away_until_ns = now.after(self.backoff);
        self.backoff = (self.backoff * 2).min(BACKOFF_MAX);
        locked(&self.status).trouble = Some(format!("{}: {error}", self.session.collector()));
    }

    /// Brings the state up to date, and tells the logbook at intervals.
    fn tell(&mut self, now: Now) {
        let current = {
            let mut status = locked(&self.status);
            status.dropped_segments += self.queue.take_dropped();
            let in_work = self.segment.is_some() || !self.messages.is_empty();
            status.waiting_segments = self.queue.len() + u64::from(in_work);
            status.clone()
        };
        if now.monotonic_ns >= self.log_at_ns && current != self.logged {
            self.log(now, current);
        }
    }

    fn log(&mut self, now: Now, current: IpfixStatus) {
        let event = Event::Ipfix {
            collector: self.session.collector().to_string(),
            records: current.records - self.logged.records,
            messages: current.messages - self.logged.messages,
            dropped_segments: current.dropped_segments - self.logged.dropped_segments,
            waiting_segments: current.waiting_segments,
            trouble: current.trouble.clone(),
        };
        // A logbook that cannot be written is the recorder's to report.
        let _ = locked(&self.logbook).append(now.wall, event);
        self.logged = current;
        self.log_at_ns = now.after(LOG_INTERVAL);
    }

    /// Counts what waits as left out.
    fn end(&mut self, now: Now) {
        self.log_at_ns = 0;
        self.tell(now);
        let waiting = locked(&self.status).waiting_segments;
        if waiting > 0 {
            let mut status = locked(&self.status);
            status.dropped_segments += std::mem::take(&mut status.waiting_segments);
            let current = status.clone();
            drop(status);
            self.log(now, current);
        }
    }
}
