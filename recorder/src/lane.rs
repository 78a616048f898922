//! One lane: packets in, segments out. A state machine that waits only where its caller says so, reads no clock, and knows the
//! disk and the sink only as traits.
//!
//! ```text
//! accept -> OpenBlock --full, or 0.5 s old--> Segment.blocks -> Disk::write -> in order: sink, sync, mark
//!              \-- size, age, hour, link type --> closed -- --------------------> all written: Disk::seal
//! ```
//!
//! **Invariant:** the committed mark never promises a byte that is not durable, and only ever ends with a whole record.

use std::sync::Arc;
use std::time::Duration;

use netrewind_store::catalog::Hour;
use netrewind_store::clock::Now;
use netrewind_store::layout::{CAPLEN_MAX, RECORD_HEADER_BYTES};
use netrewind_store::time::SECOND_NS;
use netrewind_store::{Account, Event, LinkType, SegmentName, Timestamp, WriteTimes};

use crate::buffer_pool::{Buffer, BufferPool};
use crate::config::Config;
use crate::disk::{Disk, SegmentKey};
use crate::rotation::{self, CurrentSegment, RotationLimits};
use crate::sink_queue::SinkFeed;
use crate::source::Packet;

mod open_block;
mod open_segment;
mod segments;
#[cfg(test)]
mod tests;

use open_block::OpenBlock;
use open_segment::LaneSegment;
pub use open_segment::SegmentOrigin;
use segments::LaneSegments;
pub use segments::{RETRY_INTERVAL, SEALS_MAX, TELL_INTERVAL};

/// Free buffers that a lane wants before it takes more from a source: one ring block fits in two, and ends in a third if the
/// segment ends within it.
pub const FREE_BUFFERS_MIN: usize = 2;
/// Limit on a lane's unsealed segments: the one being written, and the one before it. The budget has room for both.
pub const SEGMENTS_UNSEALED_MAX: usize = 2;
/// Limit on the bytes of packets per call of a source that must not wait.
pub const BURST_BYTES_MAX: u64 = 4 << 20;
/// Longest single wait for the disk or the sink, before anything else is done.
const WAIT: Duration = Duration::from_millis(20);

/// Takes packets and writes them to segments, one after another.
pub struct Lane<D> {
    unsealed: LaneSegments<D>,
    origin: Arc<SegmentOrigin>,
    next_key: u64,
    opened_ns: u64,
    /// First second after the hour in which the current segment was opened.
    hour_ends: u64,
    cut_packets: u64,
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
            unsealed: LaneSegments::new(number, config, disk, pool, feed, now),
            origin: Arc::new(SegmentOrigin { interface: interface.to_owned(), ..SegmentOrigin::default() }),
            next_key: 0,
            opened_ns: 0,
            hour_ends: u64::MAX,
            cut_packets: 0,
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
        self.unsealed.account.received += 1;
        let tag_bytes = packet.tag.map_or(0, |tag| tag.len());
        let bytes = packet.head.len() + tag_bytes + packet.tail.len();
        let caplen = bytes.min(self.unsealed.config.snaplen as usize);
        if bytes > CAPLEN_MAX as usize {
            self.cut_packets += 1;
        }
        if u64::from(packet.header.seconds) >= self.hour_ends {
            self.end_hour(packet.header.timestamp());
        }
        if let Some(open_block) = &mut self.unsealed.open_block
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
        let fits = self.unsealed.open_block.as_mut().is_some_and(|open_block| {
            open_block.link_type() == packet.link_type && open_block.append(packet, caplen)
        });
        if !fits {
            self.unsealed.account.dropped.disk += 1;
        }
    }

    /// Ends a segment whose hour is over, unless the lane would have to wait for that: it can end later.
    #[cold]
    fn end_hour(&mut self, packet: Timestamp) {
        let opened = Hour::of(self.unsealed.last_opened);
        let is_over = rotation::by_hour(opened, packet, self.unsealed.now.wall).is_some();
        let is_free = self.unsealed.segments.len() < SEGMENTS_UNSEALED_MAX
            && self.unsealed.pool.free_count() >= FREE_BUFFERS_MIN;
        if is_over && is_free {
            self.close();
            self.hour_ends = u64::MAX;
            // The next segment is of the hour of this packet, even if our own clock is a little behind.
            self.unsealed.last_opened = self.unsealed.last_opened.max(Timestamp(opened.end().ns() - 1));
        }
    }

    fn limits(&self) -> RotationLimits {
        RotationLimits { bytes: self.unsealed.room_bytes, age: self.unsealed.config.segment_age }
    }

    fn extent(&self) -> Option<CurrentSegment> {
        self.unsealed.open_block.as_ref().map(|open_block| CurrentSegment {
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
        if self.unsealed.segments.len() < SEGMENTS_UNSEALED_MAX {
            self.open(buffer, link_type);
        }
    }

    /// Waits until another segment may be opened, as long as the disk works, however slowly.
    fn wait_for_seal(&mut self) {
        while self.unsealed.segments.len() >= SEGMENTS_UNSEALED_MAX && !self.is_disk_failing() {
            self.wait(WAIT);
        }
    }

    /// Continues in the next buffer and submits the present one.
    fn go_on_in(&mut self, next: Buffer, is_rest: bool) {
        let (Some(open_block), Some(segment)) =
            (self.unsealed.open_block.take(), self.unsealed.segments.back_mut())
        else {
            return;
        };
        let (block, open_block) = open_block.go_on(next, is_rest);
        segment.push_block(block, self.unsealed.now.wall);
        self.unsealed.open_block = Some(open_block);
        self.unsealed.advance();
    }

    /// Ends the current segment, if there is one.
    fn close(&mut self) {
        let (Some(open_block), Some(segment)) =
            (self.unsealed.open_block.take(), self.unsealed.segments.back_mut())
        else {
            return;
        };
        if open_block.is_new() {
            segment.push_block(open_block.finish(), self.unsealed.now.wall);
        }
        segment.closed = true;
        self.unsealed.new_since_ns = None;
        self.unsealed.advance();
    }

    /// Starts a segment.
    fn open(&mut self, buffer: Buffer, link_type: LinkType) {
        let name = self.next_name();
        let key = SegmentKey(self.next_key);
        self.next_key += 1;
        self.unsealed.segments.push_back(LaneSegment::new(
            key,
            name,
            link_type,
            self.origin.clone(),
            self.unsealed.retry_at_ns,
        ));
        self.unsealed.room_bytes = self.unsealed.disk.room_bytes(self.unsealed.config.segment_bytes);
        self.unsealed.open_block = Some(OpenBlock::first(buffer, link_type, self.unsealed.room_bytes));
        self.opened_ns = self.unsealed.now.monotonic_ns;
        self.hour_ends = Hour::of(name.opened).end().ns() / SECOND_NS;
        self.unsealed.new_since_ns = None;
        self.unsealed.advance();
    }

    /// Next segment's name: later than the last, even if the wall clock stands still or goes back.
    fn next_name(&mut self) -> SegmentName {
        self.unsealed.last_opened = self.unsealed.now.wall.max(self.unsealed.last_opened.plus_ns(1));
        SegmentName { opened: self.unsealed.last_opened, lane: self.unsealed.number }
    }

    /// A free buffer. Waits for one as long as the disk works, however slowly.
    fn wait_for_buffer(&mut self) -> Option<Buffer> {
        loop {
            if let Some(buffer) = self.unsealed.pool.take() {
                return Some(buffer);
            }
            self.unsealed.take_answers(Duration::ZERO);
            if let Some(buffer) = self.unsealed.pool.take() {
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
            self.unsealed.take_answers(patience);
        } else {
            self.unsealed.pool.wait(patience);
        }
    }

    /// True if the disk is at work for this lane, and its completion will allow another operation to begin.
    pub fn is_disk_busy(&self) -> bool {
        self.unsealed.is_disk_busy()
    }

    /// Does the due work: takes completions, writes buffers that have waited long enough, ends an old segment, retries failed
    /// operations.
    pub fn step(&mut self, now: Now) {
        self.unsealed.now = now;
        self.unsealed.take_answers(Duration::ZERO);
        let limits = self.limits();
        if self.extent().is_some_and(|it| rotation::by_age(&it, &limits, now.monotonic_ns).is_some()) {
            self.close();
        }
        self.flush_if_due();
        self.unsealed.advance();
    }

    fn flush_if_due(&mut self) {
        if !self.unsealed.open_block.as_ref().is_some_and(OpenBlock::is_new) {
            // New bytes were written with a full block: the age of its last bytes, less than a sector, counts from now.
            self.unsealed.new_since_ns = None;
            return;
        }
        let now_ns = self.unsealed.now.monotonic_ns;
        let since_ns = *self.unsealed.new_since_ns.get_or_insert(now_ns);
        if u128::from(now_ns.saturating_sub(since_ns)) < self.unsealed.config.flush_interval.as_nanos() {
            return;
        }
        // Without a buffer the disk is behind anyway, or a full block comes first.
        if let Some(next) = self.unsealed.pool.take() {
            self.go_on_in(next, true);
            self.unsealed.new_since_ns = None;
        }
    }

    /// True if a source's next packets can be taken without waiting. While the disk fails they can: dropping is quick.
    pub fn is_ready(&self) -> bool {
        let can_rotate = self.unsealed.segments.len() < SEGMENTS_UNSEALED_MAX;
        let has_room = self
            .extent()
            .is_some_and(|extent| extent.bytes.saturating_add(BURST_BYTES_MAX) <= self.unsealed.room_bytes);
        self.is_disk_failing()
            || (self.unsealed.pool.free_count() >= FREE_BUFFERS_MIN && (can_rotate || has_room))
    }

    /// Ends the current segment: nothing more will come. Step on until [`Self::is_idle`].
    pub fn finish(&mut self, now: Now) {
        self.unsealed.now = now;
        self.close();
    }

    /// True if every segment is sealed.
    pub fn is_idle(&self) -> bool {
        self.unsealed.segments.is_empty()
    }

    /// Gives up every segment that is not sealed: promised records stay for recovery, the rest counts as dropped. For a disk that
    /// does not work any more at the end.
    pub fn give_up(&mut self) {
        self.close();
        while let Some(mut segment) = self.unsealed.segments.pop_front() {
            if !segment.has_failed() {
                self.unsealed.note_lost(segment.promised_until());
                self.unsealed.account.dropped.disk += segment.fail(0);
            }
            self.unsealed.tell_abandoned(&segment);
        }
    }

    /// Packets received, written and dropped. Packets on their way are received, and neither written nor dropped yet.
    pub fn account(&self) -> Account {
        self.unsealed.account
    }

    /// Arrival of the earliest packet dropped since the last call, if it was dropped later than it arrived.
    pub fn take_lost_since(&mut self) -> Option<Timestamp> {
        self.unsealed.lost_since.take()
    }

    /// Lower bound of the arrival of the earliest packet that is neither written nor dropped; `None` if there is no such packet.
    pub fn unwritten_since(&self) -> Option<Timestamp> {
        self.unsealed.unwritten_since()
    }

    /// Latencies of the disk's writes since the last call.
    pub fn take_writes(&mut self) -> WriteTimes {
        std::mem::take(&mut self.unsealed.writes)
    }

    /// Packets that were cut because they were longer than a record may be.
    pub fn cut_packets(&self) -> u64 {
        self.cut_packets
    }

    /// True if the disk fails at the moment.
    pub fn is_disk_failing(&self) -> bool {
        self.unsealed.is_disk_failing()
    }

    /// The disk's error, while it fails.
    pub fn disk_trouble(&self) -> Option<&str> {
        self.is_disk_failing().then_some(&self.unsealed.trouble)
    }

    /// True if it fails because it is full.
    pub fn is_out_of_room(&self) -> bool {
        self.unsealed.is_out_of_room && self.is_disk_failing()
    }

    /// Events for the logbook since the last call.
    pub fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.unsealed.events)
    }

    /// Notices for the user since the last call, each given once.
    pub fn take_notices(&mut self) -> Vec<String> {
        std::mem::take(&mut self.unsealed.notices)
    }
}
