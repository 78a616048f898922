//! The answers of several recorders, put into one order.
//!
//! Memory is bounded by the pieces that wait for each recorder.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use netrewind_extractor::{
    Answer, AnswerPacket, Asked, Completeness, Control, Dedup, DedupWindow, FollowClock, HOLD_BACK, Hint,
    Interface, InterfaceAccount, Preface, Progress, Query, ReachedLimit, RecorderCompleteness, Sink, Span,
};
use netrewind_packet::ViewBytes;
use netrewind_packet::tunnel::TunnelPorts;
use netrewind_store::{SegmentName, Timestamp};
use serde_json::{Map, Value};
use tokio::runtime::Runtime;
use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::mpsc::{self, Receiver};

use crate::connection::{LOOK_INTERVAL, Piece};
use crate::error::{RemoteError, Trouble, none_answered};
use crate::pcapng_stream::{Block, RemotePacket};
use crate::recorder::AskedRecorder;

/// Pieces of an answer that wait, for all recorders together and for each at least: a piece has some tens of kilobytes.
const PIECES_MAX: usize = 64;
const PIECES_MIN: usize = 2;
/// Bytes of TLS secrets that are taken from a recorder; it gives as many at most.
const SECRETS_BYTES_MAX: usize = 64 << 20;
/// Number of packets between two checks for cancellation.
const PACKETS_BETWEEN_QUESTIONS: u64 = 1024;

/// One recorder's answer.
struct Source {
    name: String,
    pieces: Receiver<Piece>,
    ready: VecDeque<RemotePacket>,
    /// Time at which the first of these became the first, by the follower's clock.
    since: Duration,
    /// Numbers of its interfaces among all.
    interfaces: Vec<u32>,
    /// Completeness known before reading: its header, and the comment of its file.
    head: Option<Value>,
    head_comment: Option<String>,
    comment: Option<String>,
    end: Option<Result<Value, Trouble>>,
    reached: Option<Timestamp>,
    /// Bytes of TLS secrets that it has sent.
    secrets_bytes: usize,
}

impl Source {
    fn waits(&self) -> bool {
        self.ready.is_empty() && self.end.is_none()
    }

    /// The limit at which the recorder itself has stopped.
    fn limit(&self) -> Option<ReachedLimit> {
        let account = self.end.as_ref()?.as_ref().ok()?;
        serde_json::from_value(account.get("limit_reached")?.clone()).ok()?
    }

    /// True once it has told its completeness before reading, or will not any more.
    fn has_begun(&self) -> bool {
        self.head_comment.is_some() || self.end.is_some()
    }

    /// Its completeness as known before reading.
    fn known_before(&self) -> RecorderCompleteness {
        let lines = self.head_comment.iter().flat_map(|comment| comment.lines().skip(1)).map(str::to_owned);
        match (&self.head_comment, &self.end) {
            (None, Some(Err(trouble))) => {
                RecorderCompleteness::lacking(self.name.clone(), &trouble.to_string())
            }
            (None, _) => RecorderCompleteness::lacking(self.name.clone(), "it has not answered yet"),
            (Some(_), _) => RecorderCompleteness {
                recorder: self.name.clone(),
                is_complete: self.head.as_ref().is_some_and(is_complete),
                lines: lines.collect(),
            },
        }
    }

    /// A changed query, which the recorder suggests if it has found nothing.
    fn hint(&self) -> Option<Hint> {
        let account = self.end.as_ref()?.as_ref().ok()?;
        serde_json::from_value(account.get("hint")?.clone()).ok()
    }

    fn completeness(self) -> RecorderCompleteness {
        let before = self.known_before();
        let lines = self.comment.iter().flat_map(|comment| comment.lines().skip(1)).map(str::to_owned);
        match self.end {
            Some(Ok(account)) => RecorderCompleteness {
                recorder: self.name,
                is_complete: is_complete(&account),
                lines: lines.collect(),
            },
            Some(Err(trouble @ Trouble::Broken(_))) => {
                let at = self
                    .reached
                    .map_or_else(|| "before its first packet".to_owned(), |at| format!("at {at}"));
                RecorderCompleteness::lacking(self.name, &format!("{trouble}, {at}"))
            }
            Some(Err(trouble)) => RecorderCompleteness::lacking(self.name, &trouble.to_string()),
            None => {
                let at = self.reached.map_or_else(
                    || "no packets were received from it".to_owned(),
                    |at| format!("packets were received up to {at}"),
                );
                RecorderCompleteness { lines: before.lines.into_iter().chain([at]).collect(), ..before }
            }
        }
    }
}

/// True if a recorder's header or trailer says that its answer is complete.
fn is_complete(account: &Value) -> bool {
    account.get("complete").and_then(Value::as_bool).unwrap_or_default()
}

/// What each recorder is asked, as a query and as the fields of a request.
pub(super) struct Questions<'q> {
    pub(super) asked: &'q Query,
    pub(super) fields: &'q Map<String, Value>,
}

/// A merge in progress.
pub(super) struct Merge<'r> {
    runtime: &'r Runtime,
    query: &'r Query,
    sources: Vec<Source>,
    interfaces: Vec<Interface>,
    accounts: Vec<InterfaceAccount>,
    /// Number of accounts that the sink knows.
    told: usize,
    /// A recorder has begun to send.
    has_answered: bool,
    progress: Progress,
    captured_bytes: u64,
    limit_reached: Option<ReachedLimit>,
    /// Deduplication over all recorders. Tunnels are found by their usual ports: recorders do not tell theirs.
    dedup: Option<Dedup>,
    first: Option<Timestamp>,
    /// TLS secrets that the sink has not been given yet.
    secrets: Vec<Bytes>,
}

/// Next step.
enum Turn {
    /// Give the first packet of this source.
    Give(usize),
    /// Wait: what comes next is not known.
    Wait,
    /// All have ended.
    End,
}

impl<'r> Merge<'r> {
    pub(super) fn new(
        runtime: &'r Runtime,
        recorders: &[AskedRecorder],
        dedup: Option<DedupWindow>,
        query: &'r Query,
        questions: &Questions<'_>,
    ) -> Self {
        let source = |recorder: &AskedRecorder| {
            let (sender, pieces) = mpsc::channel((PIECES_MAX / recorders.len().max(1)).max(PIECES_MIN));
            recorder.start(runtime, questions.asked, questions.fields, sender);
            Source {
                name: recorder.name().to_owned(),
                pieces,
                ready: VecDeque::new(),
                since: Duration::ZERO,
                interfaces: Vec::new(),
                head: None,
                head_comment: None,
                comment: None,
                end: None,
                reached: None,
                secrets_bytes: 0,
            }
        };
        Self {
            runtime,
            query,
            sources: recorders.iter().map(source).collect(),
            interfaces: Vec::new(),
            accounts: Vec::new(),
            told: 0,
            has_answered: false,
            progress: Progress::default(),
            captured_bytes: 0,
            limit_reached: None,
            dedup: dedup.map(|window| Dedup::new(window, &TunnelPorts::default())),
            first: None,
            secrets: Vec::new(),
        }
    }

    pub(super) fn carry_out(
        mut self,
        sink: &mut dyn Sink,
        control: &mut dyn Control,
        clock: Option<&dyn FollowClock>,
    ) -> Result<Answer, RemoteError> {
        let began_ns = clock.map_or(0, |clock| clock.now().monotonic_ns);
        let mut has_begun = false;
        let mut is_flushed = true;
        loop {
            let elapsed = clock.map(|clock| clock.now().since(began_ns));
            self.take_pieces(elapsed.unwrap_or_default());
            // A wrong query is found before a file is begun.
            none_answered(&self.troubles(), usize::MAX)?;
            // A follower does not wait for a silent recorder.
            let is_late = elapsed.is_some_and(|elapsed| elapsed >= HOLD_BACK);
            let all_have_begun = self.sources.iter().all(Source::has_begun);
            if !has_begun && self.has_answered && (all_have_begun || is_late) {
                has_begun = true;
                self.begin(sink)?;
                is_flushed = false;
            }
            if has_begun {
                self.secrets.drain(..).try_for_each(|key_log| sink.secrets(&key_log))?;
            }
            self.stop_where_one_has_stopped();
            if let Some(limit) = control.cut() {
                if !has_begun {
                    return Err(RemoteError::Cancelled);
                }
                self.limit_reached = self.limit_reached.or(Some(limit));
            }
            if clock.is_some()
                && self.query.limits.packets.is_some_and(|limit| self.progress.packets >= limit)
            {
                self.limit_reached = Some(ReachedLimit::Packets);
            }
            if self.limit_reached.is_some() {
                break;
            }
            match self.turn(elapsed) {
                _ if control.cancelled() => match clock {
                    Some(_) => break,
                    None => return Err(RemoteError::Cancelled),
                },
                Turn::End => break,
                Turn::Give(number) if has_begun => {
                    is_flushed = false;
                    self.deliver(number, sink, control, elapsed)?;
                }
                Turn::Give(_) | Turn::Wait => {
                    if clock.is_some() && !std::mem::replace(&mut is_flushed, true) {
                        sink.flush()?;
                    }
                    self.wait(clock, began_ns)?;
                    control.progress(&self.progress);
                }
            }
        }
        none_answered(&self.troubles(), self.sources.len())?;
        if !has_begun {
            self.begin(sink)?;
        }
        let answer = self.answer();
        sink.finish(&answer)?;
        Ok(answer)
    }

    fn troubles(&self) -> Vec<(String, Trouble)> {
        let trouble = |source: &Source| {
            let trouble = source.end.as_ref()?.as_ref().err()?;
            Some((source.name.clone(), trouble.clone()))
        };
        self.sources.iter().filter_map(trouble).collect()
    }

    /// Stops where a recorder stopped at its limit: the order of later packets is not known.
    fn stop_where_one_has_stopped(&mut self) {
        let spent = |source: &Source| if source.ready.is_empty() { source.limit() } else { None };
        self.limit_reached = self.limit_reached.or(self.sources.iter().find_map(spent));
    }

    fn begin(&self, sink: &mut dyn Sink) -> Result<(), RemoteError> {
        let link_types: Vec<_> =
            self.interfaces.first().map(|interface| interface.link_type).into_iter().collect();
        sink.begin(&Preface {
            query: self.query,
            possible_link_types: &link_types,
            certain_link_types: &[],
            interfaces: &self.interfaces,
            completeness: &self.completeness(self.sources.iter().map(Source::known_before).collect()),
            tunnel_ports: &TunnelPorts::default(),
            fingerprint: None,
        })?;
        Ok(())
    }

    /// Takes the arrived pieces of recorders that have no packet ready.
    fn take_pieces(&mut self, elapsed: Duration) {
        for number in 0..self.sources.len() {
            while let Some(source) = self.sources.get_mut(number).filter(|source| source.waits()) {
                match source.pieces.try_recv() {
                    Ok(piece) => self.take(number, piece, elapsed),
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => {
                        source.end = Some(Err(Trouble::Broken("the connection was lost".to_owned())));
                    }
                }
            }
        }
    }

    fn take(&mut self, number: usize, piece: Piece, elapsed: Duration) {
        let is_alone = self.sources.len() == 1;
        let Some(source) = self.sources.get_mut(number) else { return };
        let blocks = match piece {
            Piece::End(end) => {
                source.end = Some(end);
                return;
            }
            Piece::Head(head) => {
                source.head = Some(head);
                return;
            }
            Piece::Blocks(blocks) => blocks,
        };
        self.has_answered = true;
        for block in blocks {
            match block {
                Block::Packet(packet) => source.ready.push_back(packet),
                Block::Secrets(key_log) => {
                    source.secrets_bytes += key_log.len();
                    if source.secrets_bytes <= SECRETS_BYTES_MAX {
                        self.secrets.push(key_log);
                    }
                }
                Block::Head(comment) => source.head_comment = Some(comment),
                Block::Statistics(interface, account, comment) => {
                    source.comment = comment.or(source.comment.take());
                    let number = source.interfaces.get(interface as usize).copied().unwrap_or(u32::MAX);
                    if let Some(known) = self.accounts.get_mut(number as usize) {
                        *known = account;
                    }
                }
                Block::Interface(interface) => {
                    let name = match is_alone {
                        true => interface.name,
                        false => format!("{}/{}", source.name, interface.name),
                    };
                    source.interfaces.push(u32::try_from(self.interfaces.len()).unwrap_or(u32::MAX));
                    self.interfaces.push(Interface { name, ..interface });
                    self.accounts.push(InterfaceAccount::default());
                }
            }
        }
        source.since = elapsed;
    }

    /// Next step. A follower does not wait for a silent recorder.
    fn turn(&self, elapsed: Option<Duration>) -> Turn {
        let heads = self.sources.iter().enumerate();
        let earliest = heads
            .filter_map(|(number, source)| Some((source.ready.front()?.at(), number)))
            .min()
            .map(|(_, number)| number);
        let is_unknown = self.sources.iter().any(Source::waits);
        match earliest {
            None if is_unknown => Turn::Wait,
            None => Turn::End,
            Some(number) if !is_unknown => Turn::Give(number),
            Some(number) => {
                let since = self.sources.get(number).map_or(Duration::ZERO, |source| source.since);
                match elapsed {
                    Some(elapsed) if elapsed.saturating_sub(since) >= HOLD_BACK => Turn::Give(number),
                    _ => Turn::Wait,
                }
            }
        }
    }

    /// Waits for any of those that have nothing ready.
    fn wait(&mut self, clock: Option<&dyn FollowClock>, began_ns: u64) -> Result<(), RemoteError> {
        let Some(number) = self.sources.iter().position(Source::waits) else { return Ok(()) };
        if let Some(clock) = clock {
            // A reader that has gone shows nowhere else.
            clock.wait(Duration::ZERO)?;
        }
        let Some(source) = self.sources.get_mut(number) else { return Ok(()) };
        let pieces = &mut source.pieces;
        let next = self.runtime.block_on(async { tokio::time::timeout(LOOK_INTERVAL, pieces.recv()).await });
        let elapsed = clock.map(|clock| clock.now().since(began_ns)).unwrap_or_default();
        match next {
            Ok(Some(piece)) => self.take(number, piece, elapsed),
            Ok(None) => source.end = Some(Err(Trouble::Broken("the connection was lost".to_owned()))),
            Err(_) => {}
        }
        Ok(())
    }

    fn deliver(
        &mut self,
        number: usize,
        sink: &mut dyn Sink,
        control: &mut dyn Control,
        elapsed: Option<Duration>,
    ) -> Result<(), RemoteError> {
        let Some(source) = self.sources.get_mut(number) else { return Ok(()) };
        let Some(packet) = source.ready.pop_front() else { return Ok(()) };
        source.since = elapsed.unwrap_or_default().min(source.since);
        let interface = source.interfaces.get(packet.interface as usize).copied().unwrap_or(u32::MAX);
        let Some(link_type) = self.interfaces.get(interface as usize).map(|interface| interface.link_type)
        else {
            return Err(RemoteError::Failed(format!("{}: it has no such interface", source.name)));
        };
        let view = ViewBytes { link_type, bytes: &packet.bytes, len: packet.header.len };
        if self.dedup.as_mut().is_some_and(|dedup| dedup.is_duplicate(packet.at(), view)) {
            source.reached = Some(packet.at());
            return Ok(());
        }
        let caplen = u64::from(packet.header.caplen);
        let limits = self.query.limits;
        if limits.packets.is_some_and(|limit| self.progress.packets >= limit) {
            self.limit_reached = Some(ReachedLimit::Packets);
            return Ok(());
        }
        if limits.bytes.is_some_and(|limit| self.captured_bytes + caplen > limit) {
            self.limit_reached = Some(ReachedLimit::Bytes);
            return Ok(());
        }
        source.reached = Some(packet.at());
        let segment = SegmentName { opened: packet.at(), lane: 0 };
        if std::mem::replace(&mut self.told, self.interfaces.len()) < self.interfaces.len() {
            sink.know_interfaces(&self.interfaces);
        }
        sink.packet(&AnswerPacket {
            header: packet.header,
            bytes: &packet.bytes,
            link_type,
            interface,
            segment,
        })?;
        self.first = self.first.or(Some(packet.at()));
        self.captured_bytes += caplen;
        self.progress.packets += 1;
        self.progress.bytes += u64::from(packet.header.len);
        self.progress.reached = Some(packet.at());
        if self.progress.packets.is_multiple_of(PACKETS_BETWEEN_QUESTIONS) {
            control.progress(&self.progress);
        }
        Ok(())
    }

    /// Completeness of all recorders over the range that was asked for.
    fn completeness(&self, recorders: Vec<RecorderCompleteness>) -> Completeness {
        let span = self.first.zip(self.progress.reached);
        Completeness {
            asked: Asked { from: self.query.from, to: self.query.to },
            covered: span.map(|(from, last)| Span {
                from: self.query.from.unwrap_or(from),
                to: self.query.to.unwrap_or(last.plus_ns(1)),
            }),
            limit_reached: self.limit_reached,
            recorders,
            ..Completeness::default()
        }
    }

    fn answer(mut self) -> Answer {
        let hint = self.sources.iter().find_map(Source::hint).filter(|_| self.progress.packets == 0);
        let sources = std::mem::take(&mut self.sources);
        let mut completeness = self.completeness(sources.into_iter().map(Source::completeness).collect());
        self.dedup.iter().flat_map(Dedup::notes).for_each(|note| completeness.note(note));
        Answer {
            packets: self.progress.packets,
            bytes: self.progress.bytes,
            duplicates_dropped: self.dedup.as_ref().map_or(0, Dedup::dropped),
            completeness,
            interfaces: self.accounts,
            hint,
            ..Answer::default()
        }
    }
}
