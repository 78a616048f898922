//! Logbook entries about a range of time: sessions of lanes, drops, and segments that have expired since.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use netrewind_store::logbook::{DayExcerpt, LogbookEntry, LogbookLine, QuietSecond};
use netrewind_store::time::SECOND_NS;
use netrewind_store::time::Span;
use netrewind_store::{Account, Drops, Event, LostPackets, SegmentName, Store, Timestamp};

use super::logbook_cache::{DayLine, Days};
use super::logbook_damage::Troubles;
use super::origin::{Origin, can_be_of};
use crate::answer::InterfaceAccount;
use crate::answer::completeness::{Damage, LISTED_MAX};

mod clock_set;
mod days;
mod outage;
mod session;

use days::days_to_read;
pub(crate) use outage::Outage;
use outage::{interface_gone, note_interface_back};
use session::LaneCounts;
pub(crate) use session::{RecordingSession, SessionEnd};

/// Seconds with drops that are listed: of ten lanes in a day.
const DROPS_LISTED_MAX: usize = 1 << 20;
/// Minimum time behind the last packet of a damaged capture file that counts as lost: as long as the part that was read, or
/// this.
const LOSS_REACH_MIN_NS: u64 = 60 * SECOND_NS;

/// Time span with packets lost before they reached the recorder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Loss {
    /// The capture file that lacks it, or the interface whose packets are lost.
    pub(crate) file: String,
    pub(crate) span: Span,
    pub(crate) reason: String,
}

/// Selection of logbook entries to read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LogbookScope<'q> {
    /// The range that the answer speaks of.
    pub(crate) range: Span,
    /// Drops of other interfaces do not count; where it is empty, all do.
    pub(crate) interfaces: &'q [String],
    /// True if accounts by interface are wanted: then every second of the range is read.
    pub(crate) accounts: bool,
}

impl LogbookScope<'_> {
    fn meets(&self, span: Span) -> bool {
        span.from < self.range.to && self.range.from < span.to
    }
}

/// Logbook of a range, as read.
#[derive(Debug)]
pub(crate) struct RecordingTimeline<'q> {
    scope: LogbookScope<'q>,
    pub(crate) sessions: Vec<RecordingSession>,
    open: BTreeMap<u16, RecordingSession>,
    seen: BTreeSet<u16>,
    /// Lanes whose disk fails, since when, and how: until they write again.
    failing: BTreeMap<u16, (Timestamp, String)>,
    pub(crate) outages: Vec<Outage>,
    /// Times that the clock passed over when it was set forward while something was recorded.
    pub(crate) passed_over: Vec<Span>,
    pub(crate) dropped: Drops,
    /// Packets of the range that were not written, by the second; those beyond [`DROPS_LISTED_MAX`] count in the last.
    pub(crate) drops: Vec<(Span, u64)>,
    /// Seconds with drops: a line that occurs twice counts once.
    told: HashSet<(u16, Timestamp)>,
    /// Origin of each segment.
    pub(crate) origins: HashMap<SegmentName, Origin>,
    /// Losses of damaged capture files.
    pub(crate) losses: Vec<Loss>,
    /// Accounts by interface, if wanted.
    pub(crate) accounts: HashMap<String, InterfaceAccount>,
    /// Segments that were sealed with packets of the range: the store knows which of them still exist.
    pub(crate) sealed: BTreeMap<SegmentName, Span>,
    /// Their length when they were sealed.
    pub(crate) sealed_bytes: HashMap<SegmentName, u64>,
    /// Segments that have expired, with the packets' time where it is known.
    pub(crate) expired: BTreeMap<SegmentName, Option<Span>>,
    /// True if one of these expired for room while others were held.
    pub(crate) expired_beside_holds: bool,
    imported: BTreeSet<String>,
    /// Clock steps, failing disks and the like, within the range.
    pub(crate) notes: Vec<String>,
    /// Parts of the logbook that could not be read.
    pub(crate) damaged: Vec<Damage>,
    troubles: Troubles,
    last_quiet: Option<QuietSecond>,
}

impl<'q> RecordingTimeline<'q> {
    /// Reads the logbook for the scope, and for the days on which `also` were opened.
    pub(crate) fn read(store: &Store, days: &Days, scope: LogbookScope<'q>, also: &[SegmentName]) -> Self {
        let mut timeline = Self::new(scope);
        let dates = match store.logbook_dates() {
            Ok(dates) => dates,
            Err(error) => {
                timeline.damaged.push(Troubles::of_folder(store, &error));
                Vec::new()
            }
        };
        if dates.is_empty() && timeline.damaged.is_empty() && !store.has_logbook() {
            timeline.damaged.push(Troubles::of_missing_folder());
        }
        // Looked at before the days: these only grow.
        let end = store.logbook_end();
        timeline.troubles = Troubles::new(store, scope.range, &dates);
        let mut last = None::<String>;
        for (date, part) in days_to_read(store, &dates, scope.range, also) {
            let before = last.replace(date.clone());
            timeline.troubles.begin(&date, before.filter(|_| !timeline.open.is_empty()));
            let visited =
                days.visit(store, &date, part, &mut |line, is_whole| timeline.line(line, part, is_whole));
            match visited {
                Ok(last) => timeline.troubles.end_day(last),
                Err(error) => timeline.troubles.unreadable_day(store, &date, &error),
            }
        }
        timeline.troubles.reaches(store, end);
        timeline.close();
        timeline
    }

    /// Tells of each day on which one of these segments was opened, and which has no logbook.
    pub(crate) fn tell_unlogged(&mut self, segments: impl Iterator<Item = SegmentName>) {
        self.damaged.extend(self.troubles.unlogged(segments));
    }

    fn new(scope: LogbookScope<'q>) -> Self {
        Self {
            scope,
            sessions: Vec::new(),
            open: BTreeMap::new(),
            seen: BTreeSet::new(),
            failing: BTreeMap::new(),
            outages: Vec::new(),
            passed_over: Vec::new(),
            dropped: Drops::default(),
            drops: Vec::new(),
            told: HashSet::new(),
            origins: HashMap::new(),
            losses: Vec::new(),
            accounts: HashMap::new(),
            sealed: BTreeMap::new(),
            sealed_bytes: HashMap::new(),
            expired: BTreeMap::new(),
            expired_beside_holds: false,
            imported: BTreeSet::new(),
            notes: Vec::new(),
            damaged: Vec::new(),
            troubles: Troubles::default(),
            last_quiet: None,
        }
    }

    fn line(&mut self, line: &DayLine, part: DayExcerpt, is_whole: bool) {
        match line {
            // One of a day's many: of consecutive ones only the last matters, unless all are counted, or it is the first of a lane
            // whose start was not read.
            DayLine::Quiet(second)
                if part == DayExcerpt::Whole && !self.scope.accounts && self.seen.contains(&second.lane) =>
            {
                self.written_by(second.lane, second.at, second.behind_ms);
                self.last_quiet = Some(*second);
            }
            DayLine::Quiet(second) => {
                self.take_last_quiet();
                self.quiet(*second);
            }
            DayLine::Other(line) => {
                self.take_last_quiet();
                match &**line {
                    LogbookLine::Entry(entry) => {
                        self.troubles.at(entry.at);
                        self.entry(entry.clone());
                    }
                    LogbookLine::Later { event, at } => self.troubles.later(event, *at),
                    LogbookLine::Unreadable(text) => self.troubles.unreadable_line(text, is_whole),
                }
            }
            DayLine::Missing(lines) => self.troubles.missing_lines(*lines),
            DayLine::Follows(before) => self.troubles.follows(&before.0, before.1),
        }
    }

    fn take_last_quiet(&mut self) {
        if let Some(second) = self.last_quiet.take() {
            self.quiet(second);
        }
    }

    fn quiet(&mut self, QuietSecond { lane, received, behind_ms, at }: QuietSecond) {
        self.troubles.at(at);
        let from = Timestamp(at.ns().saturating_sub(SECOND_NS));
        self.second(lane, received, &Drops::default(), Span { from, to: at });
        self.written_by(lane, at, behind_ms);
    }

    /// Notes how far the lanes had written what they received, when a lane was so far behind.
    fn written_by(&mut self, lane: u16, at: Timestamp, behind_ms: u32) {
        for session in self.open.values_mut() {
            session.written_by(lane, at, behind_ms);
        }
    }

    fn second(&mut self, lane: u16, received: u64, dropped: &Drops, span: Span) {
        self.sign_of_life(lane, span.from, span.to);
        let is_full = self.told.len() >= DROPS_LISTED_MAX;
        if dropped.total() > 0 && !is_full && !self.told.insert((lane, span.to)) {
            return; // a logbook that failed in between has it twice
        }
        self.count(lane, received, dropped, span);
    }

    fn entry(&mut self, entry: LogbookEntry) {
        let (at, began) = (entry.at, entry.began());
        match entry.event {
            Event::Start { lane, interface, .. } => self.start(lane, interface, at),
            Event::Second { lane, received, dropped, pace, .. } => {
                self.second(lane, received, &dropped, Span { from: began.min(at), to: at });
                self.written_by(lane, at, pace.behind_ms);
            }
            Event::Stop { lane, account } => {
                self.sign_of_life(lane, at, at);
                self.count_rest(lane, &account, at);
                self.end(lane, SessionEnd::Stopped);
            }
            Event::Down { lane, reason, worked_until } => {
                let counted = |session: &RecordingSession| session.counted.map(|counted| counted.until);
                let session = self.open.get(&lane).map(|session| (session.from, counted(session)));
                let outage = interface_gone(&self.outages, lane, reason, worked_until, session, at);
                self.sign_of_life(lane, at, at);
                self.outages.push(outage);
            }
            Event::Up { lane } => {
                self.sign_of_life(lane, at, at);
                note_interface_back(&mut self.outages, lane, at);
            }
            Event::Open { segment, interface, description, file, .. } => {
                self.failing.remove(&segment.lane);
                self.origins.insert(segment, Origin { interface, description, file });
                self.alive_by(segment, at);
            }
            Event::Seal { segment, records, bytes, first, last } => {
                self.sealed_bytes.insert(segment, bytes);
                self.failing.remove(&segment.lane);
                self.alive_by(segment, at);
                if records > 0 {
                    self.sealed.insert(segment, Span { from: first, to: last.plus_ns(1) });
                }
            }
            Event::Recover { segment, cut_bytes, kept_bytes, records, first, last, .. } => {
                self.sealed_bytes.insert(segment, kept_bytes);
                self.recovered(segment, cut_bytes, (records > 0).then_some((first, last)), at);
            }
            Event::Expire { segment, first, last, held_bytes, .. } => {
                self.expired_beside_holds |= held_bytes.is_some();
                let span = first.zip(last).map(|(from, last)| Span { from, to: last.plus_ns(1) });
                self.expired.insert(segment, span);
            }
            Event::ClockStep { by_ns } => {
                if let Some(passed_over) = clock_set::divide(&mut self.open, &mut self.sessions, at, by_ns) {
                    self.passed_over.push(passed_over);
                }
                self.alive(at);
                self.note_at(at, || format!("at {at} the clock stepped by {:.6} s", by_ns as f64 / 1e9));
            }
            Event::DiskError { lane, reason, lost } => {
                self.alive(at);
                lost.iter().for_each(|lost| self.lost_with_segment(lost, &reason));
                self.note_at(at, || format!("at {at} lane {lane} could not write: {reason}"));
                if self.open.contains_key(&lane) {
                    self.failing.entry(lane).or_insert((at, reason));
                }
            }
            Event::Mended { what } => {
                self.alive(at);
                self.note_at(at, || format!("at {at} a part of the store was made again: {what}"));
            }
            Event::Import { file, damage, first, last, .. } => {
                if let (Some(damage), Some(first), Some(last)) = (damage, first, last) {
                    self.lost_behind(&file, &damage, Span { from: first, to: last });
                }
                self.imported.insert(file);
            }
            Event::CaptureDamage { file, reason, first, last } => {
                self.lost_behind(&file, &reason, Span { from: first, to: last });
            }
            Event::CaptureDrops { file, interface, dropped, from, to } => {
                self.capture_drops(&file, interface, &dropped, Span { from, to: to.max(from.plus_ns(1)) });
            }
            Event::Connected { .. } | Event::Disconnected { .. } | Event::Note { .. } => self.alive(at),
            Event::IndexBehind { .. }
            | Event::IndexRejected { .. }
            | Event::Catalogued { .. }
            | Event::CatalogBehind { .. }
            | Event::Exported { .. }
            | Event::ExportBehind { .. }
            | Event::Ipfix { .. }
            | Event::Archive { .. }
            | Event::Unarchived { .. }
            | Event::Compressed { .. }
            | Event::CompressionBehind { .. }
            | Event::ExpireHour { .. } => {}
        }
    }

    /// A lane starts. If it had not stopped, the whole process had ended without writing so.
    fn start(&mut self, lane: u16, interface: String, at: Timestamp) {
        if self.open.get(&lane).is_some_and(|session| session.from == at) {
            return; // told twice
        }
        if self.open.contains_key(&lane) {
            for lane in self.open.keys().copied().collect::<Vec<_>>() {
                self.end(lane, SessionEnd::Silent);
            }
        }
        self.seen.insert(lane);
        let counted = Some(LaneCounts { received: 0, dropped: Drops::default(), until: at });
        let mut session = RecordingSession::open(lane, interface, at, at);
        session.counted = counted;
        self.open.insert(lane, session);
    }

    fn end(&mut self, lane: u16, end: SessionEnd) {
        let Some(mut session) = self.open.remove(&lane) else { return };
        let failing = self.failing.remove(&lane);
        // One that stops says what it has lost.
        if let Some((from, reason)) = failing.filter(|_| end != SessionEnd::Stopped) {
            self.outages.push(Outage { lane, from, to: Some(session.to), reason, is_of_disk: true });
        }
        session.end = end;
        let to = session.to;
        self.sessions.push(session);
        for outage in self.outages.iter_mut().filter(|outage| outage.lane == lane) {
            outage.to.get_or_insert(to);
        }
    }

    /// The recording process was alive then.
    fn alive(&mut self, at: Timestamp) {
        for session in self.open.values_mut() {
            session.to = session.to.max(at);
        }
    }

    /// A lane was recording from `since` to `at`; of its start nothing may be known.
    fn sign_of_life(&mut self, lane: u16, since: Timestamp, at: Timestamp) {
        self.alive(at);
        // A lane that has stopped writes its last line about the second before.
        if self.open.contains_key(&lane) || !self.seen.insert(lane) {
            return;
        }
        let session = RecordingSession::open(lane, String::new(), since, at);
        self.open.insert(lane, session);
    }

    /// A segment was opened or sealed: by the recorder, unless an import did it after a crash.
    fn alive_by(&mut self, segment: SegmentName, at: Timestamp) {
        let session = self.open.get_mut(&segment.lane);
        let (Some(session), Some(origin)) = (session, self.origins.get(&segment)) else { return };
        let Origin { interface, file: None, .. } = origin else { return };
        if session.interface.is_empty() && !self.imported.contains(interface) {
            session.interface.clone_from(interface);
        }
        if session.interface == *interface {
            self.alive(at);
        }
    }

    /// Adds the packets a lane received and dropped in a second, or in the part before it stopped.
    fn count(&mut self, lane: u16, received: u64, dropped: &Drops, second: Span) {
        let session = self.open.get_mut(&lane);
        let interface = session.map(|session| {
            if let Some(counted) = &mut session.counted {
                counted.received += received;
                counted.dropped.add(dropped);
                counted.until = second.to;
            }
            session.interface.clone()
        });
        if !self.scope.meets(second) {
            return;
        }
        let is_chosen = |interface: &String| can_be_of(interface, self.scope.interfaces);
        if interface.as_ref().is_none_or(is_chosen) {
            self.add_drops(second, dropped);
        }
        if let Some(interface) = interface.filter(|_| self.scope.accounts) {
            let account = self.accounts.entry(interface).or_default();
            *account.received.get_or_insert(0) += received;
            account.dropped.add(dropped);
            account.first = Some(account.first.map_or(second.from, |first| first.min(second.from)));
            account.last = Some(account.last.map_or(second.to, |last| last.max(second.to)));
        }
    }

    /// Adds what a stopping lane counted since its last second.
    fn count_rest(&mut self, lane: u16, account: &Account, at: Timestamp) {
        let Some(counted) = self.open.get(&lane).and_then(|session| session.counted) else { return };
        let received = account.received.saturating_sub(counted.received);
        let dropped = Drops {
            kernel: account.dropped.kernel.saturating_sub(counted.dropped.kernel),
            disk: account.dropped.disk.saturating_sub(counted.dropped.disk),
        };
        if received > 0 || dropped.total() > 0 {
            self.count(lane, received, &dropped, Span { from: counted.until, to: at });
        }
    }

    /// A capture file was damaged after its last packet. How long its packets went on is unknown.
    fn lost_behind(&mut self, file: &str, damage: &str, read: Span) {
        let reach_ns = read.to.ns_since(read.from).max(LOSS_REACH_MIN_NS);
        let span = Span { from: read.to, to: read.to.plus_ns(reach_ns) };
        if self.scope.meets(span) && self.losses.len() < LISTED_MAX {
            let place = if damage.starts_with(file) { String::new() } else { format!("{file}: ") };
            let reason =
                format!("packets after the damage in an imported capture are missing: {place}{damage}");
            self.losses.push(Loss { file: file.to_owned(), span, reason });
        }
    }

    /// A segment was removed while it was written to, or could not be read any more.
    fn lost_with_segment(&mut self, lost: &LostPackets, reason: &str) {
        let span = Span { from: lost.first, to: lost.last.plus_ns(1) };
        if self.scope.meets(span) && self.losses.len() < LISTED_MAX {
            let file =
                self.origins.get(&lost.segment).map_or_else(String::new, |origin| origin.interface.clone());
            self.losses.push(Loss { file, span, reason: reason.to_owned() });
        }
    }

    /// Packets were missing in a capture already when it was imported.
    fn capture_drops(&mut self, file: &str, interface: String, dropped: &Drops, span: Span) {
        let chosen = self.scope.interfaces;
        let is_chosen = can_be_of(&interface, chosen) || can_be_of(file, chosen);
        if !is_chosen || !self.scope.meets(span) {
            return;
        }
        self.add_drops(span, dropped);
        if self.scope.accounts {
            self.accounts.entry(interface.clone()).or_default().dropped.add(dropped);
        }
        if self.notes.len() < LISTED_MAX {
            let total = dropped.total();
            self.notes.push(format!(
                "of these, {total} were missing in {file} ({interface}) from {} to {}",
                span.from, span.to
            ));
        }
    }

    fn add_drops(&mut self, span: Span, dropped: &Drops) {
        self.dropped.add(dropped);
        if dropped.total() > 0 {
            let is_full = self.drops.len() >= DROPS_LISTED_MAX;
            match self.drops.last_mut().filter(|_| is_full) {
                Some((_, drops)) => *drops += dropped.total(),
                None => self.drops.push((span, dropped.total())),
            }
        }
    }

    /// Notes that a segment left open was sealed: its lane was alive until its last packet, by any clock.
    fn recovered(
        &mut self,
        segment: SegmentName,
        cut: u64,
        packets: Option<(Timestamp, Timestamp)>,
        at: Timestamp,
    ) {
        let Some((first, last)) = packets else { return };
        self.sealed.insert(segment, Span { from: first, to: last.plus_ns(1) });
        if let Some(session) = self.open.get_mut(&segment.lane)
            && last < at
        {
            session.to = session.to.max(last.plus_ns(1));
        }
        if cut > 0 {
            self.note_at(last, || {
                format!(
                    "segment {segment} was left open by a crash; its last {cut} bytes were not a whole packet and were cut"
                )
            });
        }
    }

    fn note_at(&mut self, at: Timestamp, note: impl FnOnce() -> String) {
        if self.scope.range.from <= at && at < self.scope.range.to && self.notes.len() < LISTED_MAX {
            self.notes.push(note());
        }
    }

    /// True if every lane that is recording is known to have recorded until then.
    pub(crate) fn is_told_until(&self, at: Timestamp) -> bool {
        self.sessions.iter().filter(|session| session.end == SessionEnd::Open).all(|session| session.to >= at)
    }

    /// Ends the reading: open sessions stay open.
    fn close(&mut self) {
        self.take_last_quiet();
        for (lane, (from, reason)) in std::mem::take(&mut self.failing) {
            self.outages.push(Outage { lane, from, to: None, reason, is_of_disk: true });
        }
        self.damaged.extend(self.troubles.end());
        self.notes.extend(self.troubles.notes());
        self.sessions.extend(std::mem::take(&mut self.open).into_values());
        // An import is not a recording: it does not cover the time of its packets.
        let imported = &self.imported;
        self.sessions.retain(|session| !imported.contains(&session.interface));
        self.sessions.sort_by_key(|session| (session.from, session.lane));
    }
}
