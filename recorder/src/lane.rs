//! One lane: packets in, segments out. A state machine that waits only where its caller says so, reads no clock, and knows the
//! disk and the sink only as traits.
//!
//! ```text
//! accept -> OpenBlock --full, or 0.5 s old--> Segment.blocks -> Disk::write -> in order: sink, sync, mark
//!              \-- size, age, hour, link type --> closed -- --------------------> all written: Disk::seal
//! ```
//!
//! **Invariant:** the committed mark never promises a byte that is not durable, and only ever ends with a whole record.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use netrewind_store::catalog::Hour;
use netrewind_store::clock::Now;
use netrewind_store::layout::{CAPLEN_MAX, RECORD_HEADER_BYTES};
use netrewind_store::time::SECOND_NS;
use netrewind_store::{Account, Event, LinkType, SegmentName, Timestamp, WriteTimes};

use crate::buffer_pool::{Buffer, BufferPool};
use crate::config::{BUFFERS_RESERVED, Config};
use crate::disk::{Disk, SegmentKey};
use crate::rotation::{self, CurrentSegment, RotationLimits};
use crate::sink_queue::SinkFeed;
use crate::source::Packet;

mod disk_events;
mod open_block;
mod open_segment;
#[cfg(test)]
mod tests;

use open_block::OpenBlock;
pub use open_segment::SegmentOrigin;
use open_segment::{LaneSegment, SegmentPhase};

/// Free buffers that a lane wants before it takes more from a source: one ring block fits in two, and ends in a third if the
/// segment ends within it.
pub const FREE_BUFFERS_MIN: usize = 2;
/// Interval before the disk is retried after a failure.
pub const RETRY_INTERVAL: Duration = Duration::from_millis(250);
/// Attempts to seal a segment before it is left as it is.
pub const SEALS_MAX: u32 = 8;
/// Interval between two reports in the logbook of a disk that keeps failing.
pub const TELL_INTERVAL: Duration = Duration::from_secs(10);
/// Limit on a lane's unsealed segments: the one being written, and the one before it. The budget has room for both.
pub const SEGMENTS_UNSEALED_MAX: usize = 2;
/// Limit on the bytes of packets per call of a source that must not wait.
pub const BURST_BYTES_MAX: u64 = 4 << 20;
/// Longest single wait for the disk or the sink, before anything else is done.
const WAIT: Duration = Duration::from_millis(20);

/// Takes packets and writes them to segments, one after another.
pub struct Lane<D> {
    number: u16,
    origin: Arc<SegmentOrigin>,
    config: Config,
    disk: D,
    pool: Arc<BufferPool>,
    feed: Option<SinkFeed>,
    now: Now,
    /// Belongs to the last of `segments`, which is then not closed.
    open_block: Option<OpenBlock>,
    segments: VecDeque<LaneSegment>,
    next_key: u64,
    /// Bytes that the current segment may have.
    room_bytes: u64,
    last_opened: Timestamp,
    opened_ns: u64,
    /// First second after the hour in which the current segment was opened.
    hour_ends: u64,
    /// Time since which there are records in no block yet.
    new_since_ns: Option<u64>,
    /// True if the last operation of the disk failed.
    is_disk_failing: bool,
    /// True if it failed for lack of room.
    is_out_of_room: bool,
    /// The disk's last error.
    trouble: String,
    /// Time of the last report of it.
    told_ns: Option<u64>,
    /// No segment is created before this monotonic time.
    retry_at_ns: u64,
    account: Account,
    /// Arrival of the earliest packet dropped later than it arrived, since the last call that took this.
    lost_since: Option<Timestamp>,
    /// Latencies since the last call that took them.
    writes: WriteTimes,
    cut_packets: u64,
    events: Vec<Event>,
    notices: Vec<String>,
}

impl<D: Disk> Lane<D> {
    /// A lane that writes to `disk` through the buffers of `pool`. `feed` leads to its sink.
    pub fn new(
        number: u16,
        interface: &str,
        config: Config,
        disk: D,
        pool: Arc<BufferPool>,
        feed: Option<SinkFeed>,
        now: Now,
    ) -> Self {
        Self {
            number,
            origin: Arc::new(SegmentOrigin { interface: interface.to_owned(), ..SegmentOrigin::default() }),
            config,
            disk,
            pool,
            feed,
            now,
            open_block: None,
            segments: VecDeque::new(),
            next_key: 0,
            room_bytes: config.segment_bytes,
            last_opened: Timestamp::MIN,
            opened_ns: 0,
            hour_ends: u64::MAX,
            new_since_ns: None,
            is_disk_failing: false,
            is_out_of_room: false,
            trouble: String::new(),
            told_ns: None,
            retry_at_ns: 0,
            account: Account::default(),
            lost_since: None,
            writes: WriteTimes::default(),
            cut_packets: 0,
            events: Vec::new(),
            notices: Vec::new(),
        }
    }

    /// Takes packets from another origin from now on: they get a segment of their own.
    pub fn take_from(&mut self, origin: SegmentOrigin) {
        if *self.origin != origin {
            self.close();
            self.origin = Arc::new(origin);
        }
    }

    /// Takes a packet. Waits for the disk only if no buffer is left, which [`Self::is_ready`] tells in advance. While the disk
    /// fails, packets for which there is no buffer are dropped and counted.
    #[inline]
    pub fn accept(&mut self, packet: &Packet<'_>) {
        self.account.received += 1;
        let tag_bytes = packet.tag.map_or(0, |tag| tag.len());
        let bytes = packet.head.len() + tag_bytes + packet.tail.len();
        let caplen = bytes.min(self.config.snaplen as usize);
        if bytes > CAPLEN_MAX as usize {
            self.cut_packets += 1;
        }
        if u64::from(packet.header.seconds) >= self.hour_ends {
            self.end_hour(packet.header.timestamp());
        }
        if let Some(open_block) = &mut self.open_block
            && open_block.link_type() == packet.link_type
            && open_block.append(packet, caplen)
        {
            return;
        }
        self.accept_elsewhere(packet, caplen);
    }

    /// Takes a packet that does not fit behind the last one.
    #[cold]
    fn accept_elsewhere(&mut self, packet: &Packet<'_>, caplen: usize) {
        self.make_room(packet.link_type, RECORD_HEADER_BYTES + caplen);
        let fits = self.open_block.as_mut().is_some_and(|open_block| {
            open_block.link_type() == packet.link_type && open_block.append(packet, caplen)
        });
        if !fits {
            self.account.dropped.disk += 1;
        }
    }

    /// Ends a segment whose hour is over, unless the lane would have to wait for that: it can end later.
    #[cold]
    fn end_hour(&mut self, packet: Timestamp) {
        let opened = Hour::of(self.last_opened);
        let is_over = rotation::by_hour(opened, packet, self.now.wall).is_some();
        let is_free =
            self.segments.len() < SEGMENTS_UNSEALED_MAX && self.pool.free_count() >= FREE_BUFFERS_MIN;
        if is_over && is_free {
            self.close();
            self.hour_ends = u64::MAX;
            // The next segment is of the hour of this packet, even if our own clock is a little behind.
            self.last_opened = self.last_opened.max(Timestamp(opened.end().ns() - 1));
        }
    }

    fn limits(&self) -> RotationLimits {
        RotationLimits { bytes: self.room_bytes, age: self.config.segment_age }
    }

    fn extent(&self) -> Option<CurrentSegment> {
        self.open_block.as_ref().map(|open_block| CurrentSegment {
            bytes: open_block.segment_end(),
            link_type: open_block.link_type(),
            opened_ns: self.opened_ns,
        })
    }

    /// Starts a buffer, and a segment if necessary. Without a free buffer nothing changes.
    fn make_room(&mut self, link_type: LinkType, record_bytes: usize) {
        let Some(buffer) = self.wait_for_buffer() else { return };
        // The segment may have failed during the wait: its state is known only now.
        let limits = self.limits();
        let goes_on = |extent: CurrentSegment| {
            rotation::before_record(&extent, &limits, record_bytes, link_type).is_none()
        };
        if self.extent().is_some_and(goes_on) {
            return self.go_on_in(buffer, false);
        }
        self.close();
        self.wait_for_seal();
        if self.segments.len() < SEGMENTS_UNSEALED_MAX {
            self.open(buffer, link_type);
        }
    }

    /// Waits until another segment may be opened, as long as the disk works, however slowly.
    fn wait_for_seal(&mut self) {
        while self.segments.len() >= SEGMENTS_UNSEALED_MAX && !self.is_disk_failing() {
            self.wait(WAIT);
        }
    }

    /// Continues in the next buffer and submits the present one.
    fn go_on_in(&mut self, next: Buffer, is_rest: bool) {
        let (Some(open_block), Some(segment)) = (self.open_block.take(), self.segments.back_mut()) else {
            return;
        };
        let (block, open_block) = open_block.go_on(next, is_rest);
        segment.push_block(block, self.now.wall);
        self.open_block = Some(open_block);
        self.advance();
    }

    /// Ends the current segment, if there is one.
    fn close(&mut self) {
        let (Some(open_block), Some(segment)) = (self.open_block.take(), self.segments.back_mut()) else {
            return;
        };
        if open_block.is_new() {
            segment.push_block(open_block.finish(), self.now.wall);
        }
        segment.closed = true;
        self.new_since_ns = None;
        self.advance();
    }

    /// Starts a segment.
    fn open(&mut self, buffer: Buffer, link_type: LinkType) {
        let name = self.next_name();
        let key = SegmentKey(self.next_key);
        self.next_key += 1;
        self.segments.push_back(LaneSegment::new(
            key,
            name,
            link_type,
            self.origin.clone(),
            self.retry_at_ns,
        ));
        self.room_bytes = self.disk.room_bytes(self.config.segment_bytes);
        self.open_block = Some(OpenBlock::first(buffer, link_type, self.room_bytes));
        self.opened_ns = self.now.monotonic_ns;
        self.hour_ends = Hour::of(name.opened).end().ns() / SECOND_NS;
        self.new_since_ns = None;
        self.advance();
    }

    /// Next segment's name: later than the last, even if the wall clock stands still or goes back.
    fn next_name(&mut self) -> SegmentName {
        self.last_opened = self.now.wall.max(self.last_opened.plus_ns(1));
        SegmentName { opened: self.last_opened, lane: self.number }
    }

    /// A free buffer. Waits for one as long as the disk works, however slowly.
    fn wait_for_buffer(&mut self) -> Option<Buffer> {
        loop {
            if let Some(buffer) = self.pool.take() {
                return Some(buffer);
            }
            self.take_answers(Duration::ZERO);
            if let Some(buffer) = self.pool.take() {
                return Some(buffer);
            }
            if self.is_disk_failing() {
                return None;
            }
            self.wait(WAIT);
        }
    }

    /// Waits for the disk or the sink to return a buffer, at most for `patience`.
    pub fn wait(&mut self, patience: Duration) {
        if self.is_disk_busy() {
            self.take_answers(patience);
        } else {
            self.pool.wait(patience);
        }
    }

    /// True if the disk is at work for this lane, and its completion will allow another operation to begin.
    pub fn is_disk_busy(&self) -> bool {
        self.segments.iter().any(|segment| {
            segment.is_busy()
                || matches!(
                    segment.state,
                    SegmentPhase::Creating | SegmentPhase::Sealing | SegmentPhase::SealingFailed
                )
        })
    }

    /// Does the due work: takes completions, writes buffers that have waited long enough, ends an old segment, retries failed
    /// operations.
    pub fn step(&mut self, now: Now) {
        self.now = now;
        self.take_answers(Duration::ZERO);
        let limits = self.limits();
        if self.extent().is_some_and(|it| rotation::by_age(&it, &limits, now.monotonic_ns).is_some()) {
            self.close();
        }
        self.flush_if_due();
        self.advance();
    }

    fn flush_if_due(&mut self) {
        if !self.open_block.as_ref().is_some_and(OpenBlock::is_new) {
            // New bytes were written with a full block: the age of its last bytes, less than a sector, counts from now.
            self.new_since_ns = None;
            return;
        }
        let now_ns = self.now.monotonic_ns;
        let since_ns = *self.new_since_ns.get_or_insert(now_ns);
        if u128::from(now_ns.saturating_sub(since_ns)) < self.config.flush_interval.as_nanos() {
            return;
        }
        // Without a buffer the disk is behind anyway, or a full block comes first.
        if let Some(next) = self.pool.take() {
            self.go_on_in(next, true);
            self.new_since_ns = None;
        }
    }

    /// True if a source's next packets can be taken without waiting. While the disk fails they can: dropping is quick.
    pub fn is_ready(&self) -> bool {
        let can_rotate = self.segments.len() < SEGMENTS_UNSEALED_MAX;
        let has_room = self
            .extent()
            .is_some_and(|extent| extent.bytes.saturating_add(BURST_BYTES_MAX) <= self.room_bytes);
        self.is_disk_failing() || (self.pool.free_count() >= FREE_BUFFERS_MIN && (can_rotate || has_room))
    }

    /// Ends the current segment: nothing more will come. Step on until [`Self::is_idle`].
    pub fn finish(&mut self, now: Now) {
        self.now = now;
        self.close();
    }

    /// True if every segment is sealed.
    pub fn is_idle(&self) -> bool {
        self.segments.is_empty()
    }

    /// Gives up every segment that is not sealed: promised records stay for recovery, the rest counts as dropped. For a disk that
    /// does not work any more at the end.
    pub fn give_up(&mut self) {
        self.close();
        while let Some(mut segment) = self.segments.pop_front() {
            if !segment.has_failed() {
                self.note_lost(segment.promised_until());
                self.account.dropped.disk += segment.fail(0);
            }
            self.tell_abandoned(&segment);
        }
    }

    /// Packets received, written and dropped. Packets on their way are received, and neither written nor dropped yet.
    pub fn account(&self) -> Account {
        self.account
    }

    /// Notes a drop of packets that have arrived since then.
    fn note_lost(&mut self, since: Timestamp) {
        self.lost_since = Some(self.lost_since.map_or(since, |known| known.min(since)));
    }

    /// Arrival of the earliest packet dropped since the last call, if it was dropped later than it arrived.
    pub fn take_lost_since(&mut self) -> Option<Timestamp> {
        self.lost_since.take()
    }

    /// Latencies of the disk's writes since the last call.
    pub fn take_writes(&mut self) -> WriteTimes {
        std::mem::take(&mut self.writes)
    }

    /// Packets that were cut because they were longer than a record may be.
    pub fn cut_packets(&self) -> u64 {
        self.cut_packets
    }

    /// True if the disk fails at the moment.
    pub fn is_disk_failing(&self) -> bool {
        let waits_to_retry = |segment: &LaneSegment| matches!(segment.state, SegmentPhase::Wanted { not_before_ns } if not_before_ns > self.now.monotonic_ns);
        self.is_disk_failing || self.segments.iter().any(waits_to_retry)
    }

    /// The disk's error, while it fails.
    pub fn disk_trouble(&self) -> Option<&str> {
        self.is_disk_failing().then_some(&self.trouble)
    }

    /// True if it fails because it is full.
    pub fn is_out_of_room(&self) -> bool {
        self.is_out_of_room && self.is_disk_failing()
    }

    /// Events for the logbook since the last call.
    pub fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    /// Notices for the user since the last call, each given once.
    pub fn take_notices(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notices)
    }

    /// True if the sink may have another buffer.
    fn can_share_buffers(&self) -> bool {
        let reserved = BUFFERS_RESERVED.min(self.pool.count() / 2);
        let held = self.feed.as_ref().map_or(0, SinkFeed::buffers_held);
        self.config.wait_for_sink || held + reserved < self.pool.count()
    }
}
