//! The reading of one answer, on a thread of its own.

use std::cell::{Cell, RefCell};
use std::io::{self, Write};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use netrewind_cases::{HashTally, HashingWriter};
use netrewind_extractor::Aside;
use netrewind_extractor::{
    Answer, AnswerPacket, AnswerRecords, Completeness, Control, ExtractError, FollowClock, Interface,
    PcapSink, PcapngSink, Preface, Progress, Query, ReachedLimit, Sink, SinkError, Wants,
};
use netrewind_store::Timestamp;
use netrewind_store::clock::{Clock, Now};
use netrewind_store::store::StoreWriter;

use crate::audit::{Ending, Extraction};
use crate::blocking::{hint_for, run_aside, shutting_down};
use crate::body_channel::{AnswerHead, BodyWriter, Part};
use crate::headers::file_name;
use crate::identity::Identity;
use crate::manifest_answer::made_manifest;
use crate::manifests::PendingManifest;
use crate::parameters::Format;
use crate::problem::{Kind, Problem};
use crate::resume::{AnswerTag, ByteCounter, Part as ContentPart, PartRequest};
use crate::service::{Phase, Service};
use crate::source::Source;

/// An answer to be read.
pub struct PacketAnswer {
    /// Shared service.
    pub service: Arc<Service>,
    /// Identity of the caller.
    pub identity: Identity,
    /// Packets asked for.
    pub query: Query,
    /// Kind of file.
    pub format: Format,
    /// It continues with new packets.
    pub follow: bool,
    /// True if only the headers of the answer are wanted, which are known before reading.
    pub head_only: bool,
    /// Packets that were written into the answer, and their captured bytes.
    pub given: Cell<(u64, u64)>,
    /// Set once the time is over that the asker allowed.
    pub out_of_time: Arc<AtomicBool>,
    /// True if the answer may have a tag: it has no limit of time, and a client can ask for the rest of it.
    pub is_tagged: bool,
    /// Part that is wanted; `None` for all.
    pub wanted: Option<PartRequest>,
    /// Tag of the answer, once it is known.
    pub tag: Cell<Option<AnswerTag>>,
    /// Hash of what is sent, where a manifest is to have it.
    pub hash: Option<HashTally>,
    /// Name of the file, once it is known.
    pub file: RefCell<String>,
}

type SharedBody = Rc<RefCell<BodyWriter>>;

impl PacketAnswer {
    /// Reads, and puts the answer into the body. Blocks.
    pub fn carry_out(self, body: BodyWriter, manifest: Option<PendingManifest>) {
        let begun = self.service.clock.now();
        let body = Rc::new(RefCell::new(body));
        let answer = self.extract(&body, begun);
        let (ended, error) = self.ended(&answer, body.borrow().is_closed());
        self.log(&answer, ended, begun);
        self.note(ended, error, begun);
        if let (Some(manifest), Some(hash), Ok(answer), Source::One(extractor), false) =
            (manifest, &self.hash, &answer, &self.service.source, body.borrow().is_closed())
        {
            let name = self.file.borrow().clone();
            let asked = (&**extractor, &self.query, answer);
            let made = made_manifest(&self.service, &self.identity, (&name, hash.hash()), asked);
            manifest.complete(made, self.service.clock.now().monotonic_ns);
        }
        let mut body = body.borrow_mut();
        let end = match answer {
            Ok(answer) => Ok(Box::new(answer)),
            // Nobody listens.
            Err(PacketAnswerError::Extract(ExtractError::ReaderGone)) => return,
            Err(PacketAnswerError::Problem(problem)) => Err(problem),
            Err(PacketAnswerError::Extract(ExtractError::Cancelled)) => Err(shutting_down()),
            Err(PacketAnswerError::Extract(error)) => Err(error.into()),
        };
        // If it does not arrive, the body breaks off, which says the same.
        let _ = body.send(Part::End(end));
    }

    fn extract(&self, body: &SharedBody, begun: Now) -> Result<Answer, PacketAnswerError> {
        let writer = BodyHandle(Rc::clone(body));
        let writer: Box<dyn Write> = match &self.hash {
            Some(hash) => Box::new(HashingWriter::new(writer, hash, None)),
            None => Box::new(writer),
        };
        let inner: Box<dyn Sink> = match self.format {
            Format::Pcap => Box::new(PcapSink::new(writer)),
            Format::Pcapng => Box::new(PcapngSink::new(writer)),
        };
        let part = self.measure(body)?;
        let mut sink = HeadFirstSink { inner, body: Rc::clone(body), answer: self, part, problem: None };
        let mut hooks = BodyControl { body: Rc::clone(body), answer: self };
        let answer = match (&self.service.source, self.follow) {
            (Source::One(extractor), true) => {
                let clock = ServiceFollowClock(&*self.service.clock);
                extractor.follow(&self.query, &mut sink, &mut hooks, &clock)
            }
            (source, _) => source.extract(&self.query, &mut sink, &mut hooks),
        };
        if let Some(problem) = sink.problem {
            return Err(PacketAnswerError::Problem(problem));
        }
        self.check_length(&answer, sink.part.map(|(_, part)| part), body.borrow().written())?;
        let mut answer = match answer {
            Err(ExtractError::Cancelled) if self.out_of_time.load(Ordering::Relaxed) => {
                let detail = "the time limit was reached before the answer could begin: allow more";
                return Err(PacketAnswerError::Problem(Problem::new(Kind::OutOfTime, detail)));
            }
            answer => answer?,
        };
        if answer.packets == 0 && !self.follow {
            let gone = || body.borrow().is_closed();
            answer.hint = hint_for(&self.service, &self.query, begun, &gone);
        }
        let limit = answer.completeness.limit_reached;
        if answer.packets == 0 && limit == Some(ReachedLimit::Time) {
            let detail =
                "the time limit was reached before a packet was found: allow more, or shorten the range";
            return Err(PacketAnswerError::Problem(Problem::new(Kind::OutOfTime, detail)));
        }
        Ok(answer)
    }

    /// Makes the answer without sending it, to learn its length, if a part of it is wanted and that is not known. `None` if all of
    /// it is to be sent.
    fn measure(&self, body: &SharedBody) -> Result<Option<(AnswerTag, ContentPart)>, PacketAnswerError> {
        let Some(wanted) = &self.wanted else { return Ok(None) };
        let (counter, count) = ByteCounter::new();
        let inner: Box<dyn Sink> = match self.format {
            Format::Pcap => Box::new(PcapSink::new(counter)),
            Format::Pcapng => Box::new(PcapngSink::new(counter)),
        };
        let mut sink = MeasuringSink { inner, answer: self, wanted, found: None };
        let mut hooks = BodyControl { body: Rc::clone(body), answer: self };
        let made = self.service.source.extract(&self.query, &mut sink, &mut hooks);
        let (tag, length) = match (sink.found, made) {
            (None, Err(ExtractError::ReaderGone)) => return Ok(None),
            (Some((tag, Some(length))), _) => (tag, length),
            (Some((tag, None)), Ok(answer)) if comes_again(&answer) => {
                self.service.known_lengths.remember(tag, count.get());
                (tag, count.get())
            }
            (_, Ok(_)) => return Ok(None),
            (_, Err(error)) => return Err(error.into()),
        };
        let part = wanted.part(length).map_err(PacketAnswerError::Problem)?;
        Ok(Some((tag, part)))
    }

    /// Remembers the length of a finished answer. One that was sent in part breaks off if it has not the length that was told.
    fn check_length(
        &self,
        answer: &Result<Answer, ExtractError>,
        part: Option<ContentPart>,
        written: u64,
    ) -> Result<(), PacketAnswerError> {
        let Ok(answer) = answer else { return Ok(()) };
        if part.is_some_and(|part| part.length != written) {
            let detail = "the answer has changed since its first part was sent: ask for all of it";
            return Err(PacketAnswerError::Problem(Problem::new(Kind::Failed, detail)));
        }
        if let Some(tag) = self.tag.get().filter(|_| comes_again(answer)) {
            self.service.known_lengths.remember(tag, written);
        }
        Ok(())
    }

    fn tag_of(&self, preface: &Preface<'_>) -> Option<AnswerTag> {
        if !self.is_tagged || self.follow {
            return None;
        }
        AnswerTag::of(preface, self.format, self.query.asked_at?)
    }

    /// Ending of the answer, with its error if it failed. An answer whose client left before its end did not reach them whole;
    /// one that follows has no other end, unless it was given one.
    fn ended(
        &self,
        answer: &Result<Answer, PacketAnswerError>,
        is_client_gone: bool,
    ) -> (Ending, Option<String>) {
        match answer {
            Ok(_) if is_client_gone => (Ending::ClientGone, None),
            Ok(answer) => (Ending::from(&answer.completeness), None),
            Err(PacketAnswerError::Problem(problem)) => (Ending::Error, Some(problem.detail().to_owned())),
            Err(PacketAnswerError::Extract(ExtractError::ReaderGone)) => (Ending::ClientGone, None),
            Err(PacketAnswerError::Extract(ExtractError::Cancelled)) => match self.service.phase() {
                Phase::Cutting => (Ending::Shutdown, None),
                _ => (Ending::ClientGone, None),
            },
            Err(PacketAnswerError::Extract(error)) => (Ending::Error, Some(error.to_string())),
        }
    }

    /// Puts it into the audit.
    fn note(&self, ending: Ending, error: Option<String>, begun: Now) {
        if self.head_only {
            return;
        }
        let given = self.given.get();
        self.service.metrics.extraction(ending, given.0, given.1);
        let Some(audit) = &self.service.audit else { return };
        audit.extraction(&Extraction {
            asked: begun.wall,
            who: self.identity.name.clone(),
            peer: self.identity.peer,
            recorder: self.service.recorder.clone(),
            what: "packets",
            flow: self.query.flow,
            query: self.query.clone(),
            packets: given.0,
            bytes: given.1,
            ending,
            error,
            seconds: self.seconds_since(begun),
        });
    }

    fn seconds_since(&self, begun: Now) -> f64 {
        self.service.clock.now().since(begun.monotonic_ns).as_secs_f64()
    }

    fn log(&self, answer: &Result<Answer, PacketAnswerError>, ending: Ending, begun: Now) {
        let (name, seconds) = (self.identity.name.as_str(), self.seconds_since(begun));
        match answer {
            Ok(answer) => {
                let (complete, ending) = (answer.completeness.is_complete(), ending.name());
                tracing::info!(
                    identity = name,
                    packets = answer.packets,
                    bytes = answer.bytes,
                    complete,
                    ending,
                    seconds,
                    "answered"
                );
            }
            Err(PacketAnswerError::Problem(problem)) => {
                tracing::info!(identity = name, problem = problem.type_uri(), seconds, "refused");
            }
            Err(PacketAnswerError::Extract(ExtractError::ReaderGone)) if self.head_only => {}
            // Its words would tell the filter.
            Err(PacketAnswerError::Extract(ExtractError::Filter(_))) => {
                tracing::info!(identity = name, problem = Kind::BadFilter.type_uri(), seconds, "refused");
            }
            Err(PacketAnswerError::Extract(error)) => {
                tracing::warn!(identity = name, %error, seconds, "not answered to its end");
            }
        }
    }
}

enum PacketAnswerError {
    Extract(ExtractError),
    Problem(Problem),
}

impl From<ExtractError> for PacketAnswerError {
    fn from(error: ExtractError) -> Self {
        Self::Extract(error)
    }
}

/// The body, as a writer that can be given away.
struct BodyHandle(SharedBody);

impl Write for BodyHandle {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.borrow_mut().flush()
    }
}

/// Cancels when the client has gone, ends when the time is over, and passes on the packets so far to a waiting client.
struct BodyControl<'a> {
    body: SharedBody,
    answer: &'a PacketAnswer,
}

impl Control for BodyControl<'_> {
    fn cancelled(&self) -> bool {
        // A pcap file cannot say that it was cut, so that one is broken off.
        let is_cut = self.answer.format == Format::Pcap && self.answer.service.phase() == Phase::Cutting;
        is_cut || self.body.borrow().is_closed()
    }

    fn cut(&self) -> Option<ReachedLimit> {
        let phase = self.answer.service.phase();
        // A following answer would not end by itself.
        if phase == Phase::Cutting || (self.answer.follow && phase != Phase::Serving) {
            return Some(ReachedLimit::Shutdown);
        }
        self.answer.out_of_time.load(Ordering::Relaxed).then_some(ReachedLimit::Time)
    }

    fn aside(&self, what: Aside, work: &mut dyn FnMut()) {
        let PacketAnswer { service, identity, .. } = self.answer;
        let Some(_beside) = service.aside.try_acquire(&identity.share()) else { return };
        self.body.borrow_mut().step_aside();
        run_aside(service, &identity.share(), what, &|| self.cancelled() || self.cut().is_some(), work);
        self.body.borrow_mut().resume();
    }

    fn progress(&mut self, _progress: &Progress) {
        let mut body = self.body.borrow_mut();
        if body.is_drained() {
            // A client that has gone is noticed at the next question.
            let _ = body.flush();
        }
    }
}

/// The service's clock, for a following answer. A client that has gone is noticed by [`BodyControl`].
struct ServiceFollowClock<'a>(&'a dyn Clock);

impl FollowClock for ServiceFollowClock<'_> {
    fn now(&self) -> Now {
        self.0.now()
    }

    fn wait(&self, at_most: Duration) -> Result<(), SinkError> {
        let Self(clock) = self;
        clock.sleep(at_most);
        Ok(())
    }
}

/// Says what is known before reading ahead of everything that another sink writes.
struct HeadFirstSink<'a> {
    inner: Box<dyn Sink>,
    body: SharedBody,
    answer: &'a PacketAnswer,
    /// Part that is to be sent, and the tag of the answer that it is of.
    part: Option<(AnswerTag, ContentPart)>,
    problem: Option<Problem>,
}

impl Sink for HeadFirstSink<'_> {
    fn wants(&self) -> Wants {
        self.inner.wants()
    }

    fn begin(&mut self, preface: &Preface<'_>) -> Result<(), SinkError> {
        if preface.possible_link_types.is_empty() && !self.answer.follow {
            self.problem = self.not_kept(preface.completeness);
            if self.problem.is_some() {
                return Err(SinkError::ReaderGone);
            }
        }
        let tag = self.answer.tag_of(preface);
        self.answer.tag.set(tag);
        // What has changed since it was measured is sent whole.
        self.part = self.part.filter(|(measured, _)| Some(*measured) == tag);
        let part = self.part.map(|(_, part)| part);
        self.body.borrow_mut().skip(part.map_or(0, |part| part.first));
        // Its output stays queued until the headers are sent.
        self.inner.begin(preface)?;
        self.answer.file.replace(file_name(preface.completeness, self.answer.format));
        let mut body = self.body.borrow_mut();
        body.announce(AnswerHead { completeness: preface.completeness.clone(), tag, part })?;
        if self.answer.head_only { Err(SinkError::ReaderGone) } else { Ok(()) }
    }

    fn secrets(&mut self, key_log: &[u8]) -> Result<(), SinkError> {
        self.inner.secrets(key_log)
    }

    fn packet(&mut self, packet: &AnswerPacket<'_>) -> Result<(), SinkError> {
        self.inner.packet(packet)?;
        if !self.body.borrow().is_sending() {
            return Ok(());
        }
        let (packets, bytes) = self.answer.given.get();
        self.answer.given.set((packets + 1, bytes + u64::from(packet.header.caplen)));
        Ok(())
    }

    fn records(&mut self, records: &AnswerRecords<'_>) -> Result<(), SinkError> {
        self.inner.records(records)?;
        if !self.body.borrow().is_sending() {
            return Ok(());
        }
        let (packets, bytes) = self.answer.given.get();
        self.answer.given.set((packets + records.packets, bytes + records.captured_bytes()));
        Ok(())
    }

    fn flush(&mut self) -> Result<(), SinkError> {
        self.inner.flush()
    }

    fn know_interfaces(&mut self, interfaces: &[Interface]) {
        self.inner.know_interfaces(interfaces);
    }

    fn finish(&mut self, answer: &Answer) -> Result<(), SinkError> {
        self.inner.finish(answer)
    }
}

impl HeadFirstSink<'_> {
    /// The problem for a range without kept packets: an empty file would look like an answer.
    fn not_kept(&self, completeness: &Completeness) -> Option<Problem> {
        let query = &self.answer.query;
        let extractor = match &self.answer.service.source {
            Source::One(extractor) => extractor,
            Source::Several(_) => return not_kept_anywhere(completeness),
        };
        if !query.is_restricted() {
            // A new recording has nothing yet, or had nothing at the time of the query.
            let is_beginning =
                query.to.is_none() && StoreWriter::of(extractor.store()).is_ok_and(|it| it.is_some());
            let detail = completeness.nothing_kept_words().filter(|_| !is_beginning)?;
            let problem = Problem::new(Kind::NotKept, detail);
            let kept = extractor.completeness(&Query::default()).ok().and_then(|store| store.covered);
            return Some(match kept {
                Some(kept) => problem.with("kept", serde_json::json!(kept)),
                None => problem,
            });
        }
        let (joined, asked_at) = (query.joined.clone(), query.asked_at);
        let of_store = Query { joined, asked_at, ..Query::default() };
        let kept = extractor.completeness(&of_store).ok()?.covered;
        let is_written = StoreWriter::of(extractor.store()).is_ok_and(|writer| writer.is_some());
        let detail = match kept {
            None if !is_written => "nothing is kept yet".to_owned(),
            // A new recording has nothing yet, or had nothing at the time of the query.
            None => return None,
            Some(_) if is_written && completeness.covered.is_none() => return None,
            Some(kept) if query.to.is_some_and(|to| to <= kept.from) => {
                format!("the oldest packet kept is from {}", kept.from)
            }
            Some(kept) if !is_written && query.from.is_some_and(|from| from >= kept.to) => {
                format!("the newest packet kept is before {}", kept.to)
            }
            Some(kept) if is_without_records(completeness) => {
                format!("nothing was recorded then, or it has expired; packets are kept from {kept}")
            }
            Some(_) => return None,
        };
        let problem = Problem::new(Kind::NotKept, detail);
        Some(match kept {
            Some(kept) => problem.with("kept", serde_json::json!(kept)),
            None => problem,
        })
    }
}

/// The problem where none of several recorders keeps anything of the range.
fn not_kept_anywhere(completeness: &Completeness) -> Option<Problem> {
    let recorders = &completeness.recorders;
    let is_lacking = recorders.iter().all(|recorder| !recorder.is_complete);
    is_lacking.then(|| Problem::new(Kind::NotKept, completeness.lines().join("; ")))
}

/// True if an answer came to the end that it will always have.
fn comes_again(answer: &Answer) -> bool {
    let Completeness { unreadable, limit_reached, .. } = &answer.completeness;
    unreadable.is_empty() && !matches!(limit_reached, Some(ReachedLimit::Time | ReachedLimit::Shutdown))
}

/// Measures an answer of which a part is wanted; ends at once if its length is known, or if all of it has to be sent.
struct MeasuringSink<'a> {
    inner: Box<dyn Sink>,
    answer: &'a PacketAnswer,
    wanted: &'a PartRequest,
    /// Tag of the answer, and its length if that is known.
    found: Option<(AnswerTag, Option<u64>)>,
}

impl Sink for MeasuringSink<'_> {
    fn wants(&self) -> Wants {
        self.inner.wants()
    }

    fn begin(&mut self, preface: &Preface<'_>) -> Result<(), SinkError> {
        let tag = self.answer.tag_of(preface).filter(|tag| self.wanted.is_of(*tag));
        let Some(tag) = tag else { return Err(SinkError::ReaderGone) };
        let length = self.answer.service.known_lengths.of(tag);
        self.found = Some((tag, length));
        if length.is_some() {
            return Err(SinkError::ReaderGone);
        }
        self.inner.begin(preface)
    }

    fn packet(&mut self, packet: &AnswerPacket<'_>) -> Result<(), SinkError> {
        self.inner.packet(packet)
    }

    fn records(&mut self, records: &AnswerRecords<'_>) -> Result<(), SinkError> {
        self.inner.records(records)
    }

    fn finish(&mut self, answer: &Answer) -> Result<(), SinkError> {
        self.inner.finish(answer)
    }
}

/// True if nothing that was recorded in the range is still kept.
fn is_without_records(completeness: &Completeness) -> bool {
    let Some(covered) = completeness.covered else { return true };
    let gaps = completeness.gaps.iter().map(|gap| (gap.from, gap.to));
    let expired = completeness.no_longer_kept.iter().map(|span| (span.from, span.to));
    let mut missing: Vec<(Timestamp, Timestamp)> = gaps.chain(expired).collect();
    missing.sort_unstable();
    let reach = |at, (from, to): (Timestamp, Timestamp)| if from <= at { to.max(at) } else { at };
    missing.into_iter().fold(covered.from, reach) >= covered.to
}
