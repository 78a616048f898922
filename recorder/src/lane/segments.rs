//! Unsealed segments of a lane: operations that are submitted to the disk, and the handling of their completions.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use netrewind_store::clock::Now;
use netrewind_store::sink::{SegmentEnd, SegmentStart};
use netrewind_store::{Account, Event, LostPackets, Timestamp, WriteTimes};

use super::open_block::{Block, Contents, OpenBlock};
use super::open_segment::{LaneSegment, SegmentOrigin, SegmentPhase, SinkProgress};
use crate::buffer_pool::{ALIGNMENT_BYTES, BufferPool};
use crate::config::{BUFFERS_RESERVED, Config};
use crate::disk::{Disk, DiskEvent, SegmentKey};
use crate::retention::lacks_room;
use crate::sink_queue::{SinkBlock, SinkFeed};

/// Interval before the disk is retried after a failure.
pub const RETRY_INTERVAL: Duration = Duration::from_millis(250);
/// Attempts to seal a segment before it is left as it is.
pub const SEALS_MAX: u32 = 8;
/// Interval between two reports in the logbook of a disk that keeps failing.
pub const TELL_INTERVAL: Duration = Duration::from_secs(10);

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// A lane's segments that are not sealed yet, and the disk that they go to.
pub(super) struct LaneSegments<D> {
    pub(super) number: u16,
    pub(super) config: Config,
    pub(super) disk: D,
    pub(super) pool: Arc<BufferPool>,
    pub(super) feed: Option<SinkFeed>,
    pub(super) now: Now,
    /// Belongs to the last of `segments`, which is then not closed.
    pub(super) open_block: Option<OpenBlock>,
    pub(super) segments: VecDeque<LaneSegment>,
    /// Bytes that the current segment may have.
    pub(super) room_bytes: u64,
    pub(super) last_opened: Timestamp,
    /// Time since which there are records in no block yet.
    pub(super) new_since_ns: Option<u64>,
    /// True if the last operation of the disk failed.
    pub(super) is_disk_failing: bool,
    /// True if it failed for lack of room.
    pub(super) is_out_of_room: bool,
    /// The disk's last error.
    pub(super) trouble: String,
    /// Time of the last report of it.
    pub(super) told_ns: Option<u64>,
    /// No segment is created before this monotonic time.
    pub(super) retry_at_ns: u64,
    pub(super) account: Account,
    /// Arrival of the earliest packet dropped later than it arrived, since the last call that took this.
    pub(super) lost_since: Option<Timestamp>,
    /// Latencies since the last call that took them.
    pub(super) writes: WriteTimes,
    pub(super) events: Vec<Event>,
    pub(super) notices: Vec<String>,
}

impl<D: Disk> LaneSegments<D> {
    pub(super) fn new(
        number: u16,
        config: Config,
        disk: D,
        pool: Arc<BufferPool>,
        feed: Option<SinkFeed>,
        now: Now,
    ) -> Self {
        Self {
            number,
            config,
            disk,
            pool,
            feed,
            now,
            open_block: None,
            segments: VecDeque::new(),
            room_bytes: config.segment_bytes,
            last_opened: Timestamp::MIN,
            new_since_ns: None,
            is_disk_failing: false,
            is_out_of_room: false,
            trouble: String::new(),
            told_ns: None,
            retry_at_ns: 0,
            account: Account::default(),
            lost_since: None,
            writes: WriteTimes::default(),
            events: Vec::new(),
            notices: Vec::new(),
        }
    }

    /// Submits every operation that is possible now.
    pub(super) fn advance(&mut self) {
        for at in 0..self.segments.len() {
            self.advance_segment(at);
        }
        let is_over = |segment: &LaneSegment| match segment.state {
            SegmentPhase::Failed { .. } => segment.published.bytes == 0 && !segment.is_busy(),
            SegmentPhase::GivenUp => !segment.is_busy(),
            _ => false,
        };
        while let Some(at) = self.segments.iter().position(is_over) {
            if let Some(segment) = self.segments.remove(at) {
                match segment.state {
                    SegmentPhase::GivenUp => self.disk.leave(segment.key),
                    _ => self.disk.discard(segment.key),
                }
                self.tell_abandoned(&segment);
            }
        }
    }

    fn advance_segment(&mut self, at: usize) {
        let now_ns = self.now.monotonic_ns;
        let Some(segment) = self.segments.get_mut(at) else { return };
        match segment.state {
            SegmentPhase::Wanted { not_before_ns } if now_ns >= not_before_ns => {
                segment.state = SegmentPhase::Creating;
                let held = segment.given.bytes.next_multiple_of(ALIGNMENT_BYTES as u64);
                let wanted = if segment.closed { held } else { self.config.segment_bytes };
                self.disk.create(segment.key, segment.name, wanted);
            }
            SegmentPhase::Ready => {
                while let Some(write) = segment.next_write() {
                    self.disk.write(write);
                }
                if segment.closed && segment.is_written() {
                    segment.state = SegmentPhase::Sealing;
                    self.disk.seal(segment.key, segment.written.bytes);
                } else if segment.wants_sync() && !(segment.closed && segment.written == segment.given) {
                    segment.syncing = Some(segment.written);
                    self.disk.sync(segment.key, &segment.written.mark());
                }
            }
            SegmentPhase::Failed { not_before_ns }
                if now_ns >= not_before_ns && !segment.is_busy() && segment.published.bytes > 0 =>
            {
                segment.state = SegmentPhase::SealingFailed;
                self.disk.seal(segment.key, segment.published.bytes);
            }
            _ => {}
        }
    }

    /// Takes completions, waiting at most `patience` for the first.
    pub(super) fn take_answers(&mut self, patience: Duration) {
        let mut patience = patience;
        let mut any = false;
        while let Some(event) = self.disk.next_event(patience) {
            self.take_answer(event);
            patience = Duration::ZERO;
            any = true;
        }
        if any {
            self.advance();
        }
    }

    fn position(&self, key: SegmentKey) -> Option<usize> {
        self.segments.iter().position(|segment| segment.key == key)
    }

    fn take_answer(&mut self, event: DiskEvent) {
        match event {
            DiskEvent::Created { segment, result } => self.created(segment, result),
            DiskEvent::Written { write, took_ns, result } => {
                self.writes.count(took_ns);
                self.written(write.segment, write.offset, result);
            }
            DiskEvent::Synced { segment, result } => self.synced(segment, result),
            DiskEvent::Sealed { segment, result } => self.sealed(segment, result),
            DiskEvent::Notice(text) => self.notices.push(text),
            DiskEvent::Mended(what) => {
                self.notices.push(format!("{what}: it was made again"));
                self.events.push(Event::Mended { what });
            }
            DiskEvent::Gone { segment, reason } => {
                if let Some(at) = self.position(segment) {
                    self.lose(at, &reason);
                }
            }
        }
    }

    fn created(&mut self, key: SegmentKey, result: io::Result<u64>) {
        let Some(at) = self.position(key) else { return };
        if let Err(error) = &result {
            self.is_out_of_room = lacks_room(error);
            self.report(&format!("creating a segment: {error}"));
            self.retry_at_ns = self.now.monotonic_ns.saturating_add(nanoseconds(RETRY_INTERVAL));
            if error.kind() == io::ErrorKind::AlreadyExists {
                // The name was taken before the wall clock was set back. One nanosecond keeps the order of names.
                let name = &mut self.segments[at].name;
                name.opened = name.opened.plus_ns(1);
                self.last_opened = self.last_opened.max(name.opened);
            }
            self.segments[at].state = SegmentPhase::Wanted { not_before_ns: self.retry_at_ns };
        }
        let Ok(room_bytes) = result else { return };
        self.is_disk_failing = false;
        self.is_out_of_room = false;
        if at + 1 == self.segments.len()
            && let Some(open_block) = &mut self.open_block
        {
            self.room_bytes = room_bytes.min(self.config.segment_bytes);
            open_block.limit_to(self.room_bytes);
        }
        let segment = &mut self.segments[at];
        segment.state = SegmentPhase::Ready;
        let SegmentOrigin { interface, description, file } = (*segment.origin).clone();
        let link_type = segment.link_type.0;
        self.events.push(Event::Open { segment: segment.name, interface, link_type, description, file });
        if let Some(feed) = self.feed.as_ref().filter(|feed| feed.has_room()) {
            feed.opened(SegmentStart { name: segment.name, link_type: segment.link_type });
            segment.following = SinkProgress::AllBlocks;
        }
    }

    fn written(&mut self, key: SegmentKey, offset: u64, result: io::Result<()>) {
        let Some(at) = self.position(key) else { return };
        match result {
            Ok(()) => self.segments[at].write_ended(offset),
            Err(error) => {
                self.fail(at, &format!("writing {} at byte {offset}: {error}", self.segments[at].name));
                self.segments[at].write_ended(offset);
            }
        }
        while let Some(block) = self.segments[at].next_written() {
            self.hand_to_sink(at, block);
        }
    }

    fn synced(&mut self, key: SegmentKey, result: io::Result<()>) {
        let Some(at) = self.position(key) else { return };
        let Some(synced) = self.segments[at].syncing.take() else { return };
        let has_failed = self.segments[at].has_failed();
        let published = result.and_then(|()| match has_failed {
            // Its packets have been counted as dropped: it will end where the last mark stands.
            true => Ok(()),
            false => self.disk.publish(key, &synced.mark()),
        });
        match published {
            _ if has_failed => {}
            Ok(()) => {
                let segment = &mut self.segments[at];
                self.account.written += synced.contents.records - segment.published.contents.records;
                self.account.bytes += synced.contents.packet_bytes - segment.published.contents.packet_bytes;
                segment.published = synced;
                self.is_disk_failing = false;
            }
            Err(error) => self.fail(at, &format!("syncing {}: {error}", self.segments[at].name)),
        }
    }

    fn sealed(&mut self, key: SegmentKey, result: io::Result<()>) {
        let Some(at) = self.position(key) else { return };
        let has_failed = self.segments[at].state == SegmentPhase::SealingFailed;
        let not_before_ns = self.now.monotonic_ns.saturating_add(nanoseconds(RETRY_INTERVAL));
        if let Err(error) = result {
            let what = format!("sealing {}: {error}", self.segments[at].name);
            let segment = &mut self.segments[at];
            segment.failed_seals += 1;
            match has_failed {
                _ if error.kind() == io::ErrorKind::NotFound => self.lose(at, &error.to_string()),
                true if segment.failed_seals >= SEALS_MAX => self.leave(at, &what),
                true => {
                    segment.state = SegmentPhase::Failed { not_before_ns };
                    self.report(&what);
                }
                false => self.fail(at, &what),
            }
            return;
        }
        let Some(segment) = self.segments.remove(at) else { return };
        let end = if has_failed { segment.published } else { segment.written };
        self.account.written += end.contents.records - segment.published.contents.records;
        self.account.bytes += end.contents.packet_bytes - segment.published.contents.packet_bytes;
        self.account.segments += 1;
        self.is_disk_failing = false;
        self.events.push(Event::Seal {
            segment: segment.name,
            records: end.contents.records,
            bytes: end.bytes,
            first: end.contents.first,
            last: end.contents.last,
        });
        if let (Some(feed), true) = (&self.feed, segment.following != SinkProgress::Unaware) {
            feed.sealed(SegmentEnd {
                name: segment.name,
                bytes: end.bytes,
                records: end.contents.records,
                first: end.contents.first,
                last: end.contents.last,
                complete: segment.following == SinkProgress::AllBlocks && !has_failed,
            });
        }
    }

    /// Ends a segment that cannot be written any more: its promised records are kept, the rest is dropped.
    fn fail(&mut self, at: usize, what: &str) {
        if self.segments[at].has_failed() {
            return;
        }
        self.report(what);
        self.note_lost(self.segments[at].promised_until());
        self.account.dropped.disk += self.drop_filling(at).records;
        let retry_at_ns = self.now.monotonic_ns.saturating_add(nanoseconds(RETRY_INTERVAL));
        let segment = &mut self.segments[at];
        self.account.dropped.disk += segment.fail(0);
        if segment.published.bytes == 0 {
            self.retry_at_ns = retry_at_ns; // it never worked
        }
        self.leave_hole(at, what);
    }

    /// Drops the records that were to follow in the segment, and returns their counts.
    fn drop_filling(&mut self, at: usize) -> Contents {
        if at + 1 < self.segments.len() {
            return Contents::NONE;
        }
        let Some(open_block) = self.open_block.take() else { return Contents::NONE };
        self.new_since_ns = None;
        *open_block.contents()
    }

    /// Ends a segment whose file is gone: all its records are dropped, the promised ones as well. The next packet starts another.
    fn lose(&mut self, at: usize, reason: &str) {
        let mut lost = self.drop_filling(at);
        self.account.dropped.disk += lost.records;
        let segment = &mut self.segments[at];
        let promised = segment.published.contents;
        lost.add(if segment.has_failed() { &promised } else { &segment.given.contents });
        if segment.state == SegmentPhase::GivenUp {
            return;
        }
        if !segment.has_failed() {
            self.account.dropped.disk += segment.fail(0);
        }
        segment.state = SegmentPhase::GivenUp;
        self.account.dropped.disk += promised.records;
        self.account.written -= promised.records;
        self.account.bytes -= promised.packet_bytes;
        let Contents { records, first, last, .. } = lost;
        let lost = LostPackets { segment: segment.name, records, first, last };
        let reason = format!("{reason}: the {records} packets in it are lost");
        self.notices.push(reason.clone());
        self.events.push(Event::DiskError { lane: self.number, reason, lost: (records > 0).then_some(lost) });
        self.leave_hole(at, "the segment is gone");
    }

    /// Leaves a segment that cannot be sealed as it is, with its promised records.
    fn leave(&mut self, at: usize, what: &str) {
        self.segments[at].state = SegmentPhase::GivenUp;
        let reason =
            format!("{what}; it stays open, and is sealed when netrewind opens the store the next time");
        self.notices.push(reason.clone());
        self.events.push(Event::DiskError { lane: self.number, reason, lost: None });
    }

    /// Reports that the disk fails: at once, and again at intervals.
    fn report(&mut self, reason: &str) {
        self.is_disk_failing = true;
        self.trouble = reason.to_owned();
        let now_ns = self.now.monotonic_ns;
        if self.told_ns.is_none_or(|told_ns| now_ns.saturating_sub(told_ns) >= nanoseconds(TELL_INTERVAL)) {
            self.told_ns = Some(now_ns);
            self.events.push(Event::DiskError { lane: self.number, reason: reason.to_owned(), lost: None });
        }
    }

    fn hand_to_sink(&mut self, at: usize, block: Block) {
        if self.segments[at].following != SinkProgress::AllBlocks {
            return;
        }
        if !self.can_share_buffers() {
            self.leave_hole(at, "indexing did not keep up, and recording needed the buffers");
            return;
        }
        if let Some(feed) = &self.feed {
            feed.block(SinkBlock {
                name: self.segments[at].name,
                offset: block.offset + block.records.start as u64,
                buffer: block.buffer,
                records: block.records,
                held: None,
            });
        }
    }

    fn leave_hole(&mut self, at: usize, reason: &str) {
        let segment = &mut self.segments[at];
        if segment.following != SinkProgress::AllBlocks {
            return;
        }
        segment.following = SinkProgress::Hole;
        self.events.push(Event::IndexBehind { segment: segment.name, reason: reason.to_owned() });
        if let Some(feed) = &self.feed {
            feed.hole(segment.name);
        }
    }

    pub(super) fn tell_abandoned(&self, segment: &LaneSegment) {
        if let (Some(feed), true) = (&self.feed, segment.following != SinkProgress::Unaware) {
            feed.abandoned(segment.name);
        }
    }

    /// Notes a drop of packets that have arrived since then.
    pub(super) fn note_lost(&mut self, since: Timestamp) {
        self.lost_since = Some(self.lost_since.map_or(since, |known| known.min(since)));
    }

    /// Lower bound of the arrival of the earliest packet that is neither written nor dropped.
    pub(super) fn unwritten_since(&self) -> Option<Timestamp> {
        let Account { received, written, dropped, .. } = self.account;
        let promised = self.segments.iter().map(LaneSegment::promised_until);
        if received > written + dropped.total() { promised.min() } else { None }
    }

    /// True if the disk fails at the moment.
    pub(super) fn is_disk_failing(&self) -> bool {
        let waits_to_retry = |segment: &LaneSegment| matches!(segment.state, SegmentPhase::Wanted { not_before_ns } if not_before_ns > self.now.monotonic_ns);
        self.is_disk_failing || self.segments.iter().any(waits_to_retry)
    }

    /// True if the sink may have another buffer.
    fn can_share_buffers(&self) -> bool {
        let reserved = BUFFERS_RESERVED.min(self.pool.count() / 2);
        let held = self.feed.as_ref().map_or(0, SinkFeed::buffers_held);
        self.config.wait_for_sink || held + reserved < self.pool.count()
    }

    /// True if the disk is at work for this lane, and its completion will allow another operation to begin.
    pub(super) fn is_disk_busy(&self) -> bool {
        self.segments.iter().any(|segment| {
            segment.is_busy()
                || matches!(
                    segment.state,
                    SegmentPhase::Creating | SegmentPhase::Sealing | SegmentPhase::SealingFailed
                )
        })
    }
}
