//! What a lane asks of the disk, and what it makes of the answers.

use std::io;
use std::time::Duration;

use netrewind_segment::Event;

use super::filling::Block;
use super::segment::{Following, Segment, State};
use super::{Lane, Origin, RETRY_INTERVAL};
use crate::disk::{Disk, DiskEvent, SegmentKey};
use crate::sink::{SegmentEnd, SegmentStart, SinkBlock};

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl<D: Disk> Lane<D> {
    /// Asks the disk for everything that can be done now.
    pub(super) fn advance(&mut self) {
        for at in 0..self.segments.len() {
            self.advance_segment(at);
        }
        let discarded = |segment: &Segment| {
            matches!(segment.state, State::Failed { .. })
                && segment.published.bytes == 0
                && !segment.is_busy()
        };
        while let Some(at) = self.segments.iter().position(discarded) {
            if let Some(segment) = self.segments.remove(at) {
                self.disk.discard(segment.key);
                self.tell_abandoned(&segment);
            }
        }
    }

    fn advance_segment(&mut self, at: usize) {
        let now_ns = self.now.monotonic_ns;
        let Some(segment) = self.segments.get_mut(at) else { return };
        match segment.state {
            State::Wanted { not_before_ns } if now_ns >= not_before_ns => {
                segment.state = State::Creating;
                self.disk.create(segment.key, segment.name, self.config.segment_bytes);
            }
            State::Ready => {
                while let Some(write) = segment.next_write() {
                    self.disk.write(write);
                }
                if segment.closed && segment.is_written() {
                    segment.state = State::Sealing;
                    self.disk.seal(segment.key, segment.written.bytes);
                } else if segment.wants_sync() && !(segment.closed && segment.written == segment.given) {
                    segment.syncing = Some(segment.written);
                    self.disk.sync(segment.key);
                }
            }
            State::Failed { not_before_ns }
                if now_ns >= not_before_ns && !segment.is_busy() && segment.published.bytes > 0 =>
            {
                segment.state = State::SealingFailed;
                self.disk.seal(segment.key, segment.published.bytes);
            }
            _ => {}
        }
    }

    /// Takes the answers that are there, waiting at most `patience` for the first.
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
        }
    }

    fn created(&mut self, key: SegmentKey, result: io::Result<()>) {
        let Some(at) = self.position(key) else { return };
        if let Err(error) = result {
            self.report(&format!("creating a segment: {error}"));
            self.retry_at_ns = self.now.monotonic_ns.saturating_add(nanoseconds(RETRY_INTERVAL));
            if error.kind() == io::ErrorKind::AlreadyExists {
                // The name was taken before the wall clock was set back. One nanosecond keeps the order of names.
                let name = &mut self.segments[at].name;
                name.opened = name.opened.plus_ns(1);
                self.last_opened = self.last_opened.max(name.opened);
            }
            self.segments[at].state = State::Wanted { not_before_ns: self.retry_at_ns };
            return;
        }
        self.is_disk_failing = false;
        let segment = &mut self.segments[at];
        segment.state = State::Ready;
        let Origin { interface, description, file } = (*segment.origin).clone();
        let link_type = segment.link_type.0;
        self.events.push(Event::Open { segment: segment.name, interface, link_type, description, file });
        if let Some(feed) = self.feed.as_ref().filter(|feed| feed.has_room()) {
            feed.opened(SegmentStart { name: segment.name, link_type: segment.link_type });
            segment.following = Following::AllBlocks;
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
        let has_failed = matches!(self.segments[at].state, State::Failed { .. });
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
        let has_failed = self.segments[at].state == State::SealingFailed;
        let not_before_ns = self.now.monotonic_ns.saturating_add(nanoseconds(RETRY_INTERVAL));
        if let Err(error) = result {
            let what = format!("sealing {}: {error}", self.segments[at].name);
            match has_failed {
                true => {
                    self.report(&what);
                    self.segments[at].state = State::Failed { not_before_ns };
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
        if let (Some(feed), true) = (&self.feed, segment.following != Following::Unaware) {
            feed.sealed(SegmentEnd {
                name: segment.name,
                bytes: end.bytes,
                records: end.contents.records,
                first: end.contents.first,
                last: end.contents.last,
                complete: segment.following == Following::AllBlocks && !has_failed,
            });
        }
    }

    /// The segment cannot be written to any more: what was promised of it is kept, the rest is dropped.
    fn fail(&mut self, at: usize, what: &str) {
        if matches!(self.segments[at].state, State::Failed { .. } | State::SealingFailed) {
            return;
        }
        self.report(what);
        if at + 1 == self.segments.len()
            && let Some(filling) = self.filling.take()
        {
            self.account.dropped.disk += filling.contents().records;
            self.new_since_ns = None;
        }
        let retry_at_ns = self.now.monotonic_ns.saturating_add(nanoseconds(RETRY_INTERVAL));
        let segment = &mut self.segments[at];
        self.account.dropped.disk += segment.fail(0);
        if segment.published.bytes == 0 {
            self.retry_at_ns = retry_at_ns; // it worked for no time at all
        }
        self.leave_hole(at, what);
    }

    fn report(&mut self, reason: &str) {
        self.is_disk_failing = true;
        self.events.push(Event::DiskError { lane: self.number, reason: reason.to_owned() });
    }

    fn hand_to_sink(&mut self, at: usize, block: Block) {
        if self.segments[at].following != Following::AllBlocks {
            return;
        }
        if !self.can_share_buffers() {
            self.leave_hole(at, "the index did not keep up, and recording needed the buffers");
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
        if segment.following != Following::AllBlocks {
            return;
        }
        segment.following = Following::Hole;
        self.events.push(Event::IndexBehind { segment: segment.name, reason: reason.to_owned() });
        if let Some(feed) = &self.feed {
            feed.hole(segment.name);
        }
    }

    pub(super) fn tell_abandoned(&self, segment: &Segment) {
        if let (Some(feed), true) = (&self.feed, segment.following != Following::Unaware) {
            feed.abandoned(segment.name);
        }
    }
}
