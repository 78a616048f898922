//! Capture files played as if their packets arrived now: at recorded speed, faster, slower, or as fast as possible.
//!
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use netrewind_store::Timestamp;
use netrewind_store::clock::Clock;
use netrewind_store::time::SECOND_NS;

use super::capture_file::{Advanced, BYTES_PER_CALL, CaptureFile, LeftOut, PACKETS_PER_CALL_MAX};
use super::{Packet, Received, ReportedDrops, Source, SourceCounters, SourceError};

/// Largest step back between two packets that counts as reordering. A larger one is a stepped clock: timing starts anew there.
pub const REORDER_MAX: Duration = Duration::from_secs(1);
/// Longest silence that is kept by default: a damaged timestamp must not stop a replay for years.
pub const GAP_MAX_DEFAULT: Duration = Duration::from_secs(3600);

/// Speed of a replay.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Speed {
    /// As recorded, times this factor: 1.0 is the recorded speed, 2.0 twice as fast. A factor that is not a positive
    /// number counts as 1.0.
    Recorded(f64),
    /// Without waiting.
    Unlimited,
}

/// Options for the timing of a replay.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ReplayOptions {
    /// The speed.
    pub speed: Speed,
    /// Packets get the wall-clock time at which they are handed over, instead of their own.
    pub new_timestamps: bool,
    /// Longest silence between two packets that is kept.
    pub gap_max: Duration,
}

impl Default for ReplayOptions {
    fn default() -> Self {
        Self { speed: Speed::Recorded(1.0), new_timestamps: false, gap_max: GAP_MAX_DEFAULT }
    }
}

/// Plays capture files one after the other. Each begins as soon as the one before has ended, whatever their timestamps.
pub struct Replay {
    name: String,
    files: VecDeque<CaptureFile>,
    options: ReplayOptions,
    timeline: Option<Timeline>,
    clock: Arc<dyn Clock>,
    handed_over: u64,
    failure: Option<SourceError>,
    /// Contents of the finished files that are not kept.
    left_out: LeftOut,
}

/// Mapping of the file's timestamps to the caller's clock.
#[derive(Clone, Copy, Debug)]
struct Timeline {
    /// An instant of the file ...
    origin: Timestamp,
    /// ... and the same on the clock.
    starts_at: Duration,
    latest: Timestamp,
}

impl Replay {
    /// Plays `files` in this order.
    pub fn new(
        files: impl IntoIterator<Item = CaptureFile>,
        options: ReplayOptions,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let files: VecDeque<_> = files.into_iter().collect();
        let name = files.iter().map(Source::name).collect::<Vec<_>>().join(", ");
        Self {
            name,
            files,
            options,
            timeline: None,
            clock,
            handed_over: 0,
            failure: None,
            left_out: LeftOut::default(),
        }
    }

    fn elapsed(&self) -> Duration {
        Duration::from_nanos(self.clock.now().monotonic_ns)
    }

    /// Waits at most `patience` for the current packet's time; false where it is not due by then.
    fn is_due(&mut self, timestamp: Timestamp, patience: Duration) -> bool {
        let Speed::Recorded(factor) = self.options.speed else { return true };
        let now = self.elapsed();
        let due = Timeline::due(&mut self.timeline, timestamp, now, factor, self.options.gap_max);
        let Some(early) = due.checked_sub(now).filter(|early| !early.is_zero()) else { return true };
        if !patience.is_zero() {
            self.clock.sleep(early.min(patience));
        }
        !patience.is_zero() && due <= self.elapsed()
    }

    /// Finds the next packet and waits for its time.
    fn next_due(&mut self, patience: Duration) -> Result<Advanced, SourceError> {
        loop {
            let Some(file) = self.files.front_mut() else { return Ok(Advanced::End) };
            match file.advance(patience) {
                Ok(Advanced::Packet) => {}
                Ok(Advanced::Quiet) => return Ok(Advanced::Quiet),
                Ok(Advanced::End) => {
                    self.end_file();
                    continue;
                }
                Err(error) => {
                    self.end_file();
                    return Err(error);
                }
            }
            let timestamp = file.current().map(|(_, packet)| packet.header.timestamp());
            let due = timestamp.is_none_or(|timestamp| self.is_due(timestamp, patience));
            return Ok(if due { Advanced::Packet } else { Advanced::Quiet });
        }
    }

    fn end_file(&mut self) {
        let ended = self.files.pop_front();
        self.left_out = ended.iter().map(Source::left_out).fold(self.left_out, LeftOut::and);
        self.timeline = None;
    }

    fn hand_over(&mut self, take: &mut dyn FnMut(Packet<'_>)) -> u64 {
        let now = self.options.new_timestamps.then(|| self.clock.now().wall);
        let Some(file) = self.files.front_mut() else { return 0 };
        let mut bytes = 0;
        if let Some((_, mut packet)) = file.current() {
            if let Some(now) = now {
                packet.header.seconds = u32::try_from(now.ns() / SECOND_NS).unwrap_or(u32::MAX);
                packet.header.nanoseconds = u32::try_from(now.ns() % SECOND_NS).unwrap_or(0);
            }
            bytes = u64::from(packet.header.caplen);
            take(packet);
        }
        file.release();
        self.handed_over += 1;
        bytes
    }
}

impl Timeline {
    /// Due time of a packet with this timestamp on the caller's clock. Moves the timeline if the file's clock stepped.
    fn due(
        timeline: &mut Option<Self>,
        timestamp: Timestamp,
        now: Duration,
        factor: f64,
        gap_max: Duration,
    ) -> Duration {
        let begun = timeline.get_or_insert(Self { origin: timestamp, starts_at: now, latest: timestamp });
        let ahead = Duration::from_nanos(timestamp.ns_since(begun.latest));
        let behind = Duration::from_nanos(begun.latest.ns_since(timestamp));
        if ahead > gap_max || behind > REORDER_MAX {
            let pause = if ahead > gap_max { gap_max } else { Duration::ZERO };
            let starts_at = begun.at(begun.latest, factor).saturating_add(scaled(pause, factor));
            *begun = Self { origin: timestamp, starts_at, latest: timestamp };
        }
        begun.latest = begun.latest.max(timestamp);
        begun.at(timestamp, factor)
    }

    fn at(&self, timestamp: Timestamp, factor: f64) -> Duration {
        let since = Duration::from_nanos(timestamp.ns_since(self.origin));
        self.starts_at.saturating_add(scaled(since, factor))
    }
}

/// Time that `duration` of the file takes at this speed.
fn scaled(duration: Duration, factor: f64) -> Duration {
    if factor == 1.0 || !factor.is_finite() || factor <= 0.0 {
        return duration;
    }
    Duration::try_from_secs_f64(duration.as_secs_f64() / factor).unwrap_or(Duration::MAX)
}

impl Source for Replay {
    fn name(&self) -> &str {
        &self.name
    }

    /// Hands over the due packets. A damaged file is an error once; the call after it goes on with the next file.
    fn receive(
        &mut self,
        patience: Duration,
        take: &mut dyn FnMut(Packet<'_>),
    ) -> Result<Received, SourceError> {
        if let Some(failure) = self.failure.take() {
            return Err(failure);
        }
        let (mut packets, mut bytes) = (0, 0);
        while packets < PACKETS_PER_CALL_MAX && bytes < BYTES_PER_CALL {
            let patience = if packets == 0 { patience } else { Duration::ZERO };
            match self.next_due(patience) {
                Ok(Advanced::Packet) => bytes += self.hand_over(take),
                Ok(_) if packets > 0 => break,
                Ok(Advanced::Quiet) => return Ok(Received::Quiet),
                Ok(Advanced::End) => return Ok(Received::End),
                Err(error) if packets > 0 => {
                    self.failure = Some(error);
                    break;
                }
                Err(error) => return Err(error),
            }
            packets += 1;
        }
        Ok(Received::Packets(packets))
    }

    fn can_wait(&self) -> bool {
        true
    }

    fn goes_on(&self) -> bool {
        true
    }

    fn left_out(&self) -> LeftOut {
        let files = self.files.iter().map(Source::left_out);
        files.fold(self.left_out, LeftOut::and)
    }

    fn take_reported_drops(&mut self) -> Vec<ReportedDrops> {
        self.files.front_mut().map(CaptureFile::take_reported_drops).unwrap_or_default()
    }

    /// Drops the packets that have not been played yet.
    fn stop(&mut self) -> Result<(), SourceError> {
        self.files.clear();
        Ok(())
    }

    fn counters(&mut self) -> Result<SourceCounters, SourceError> {
        Ok(SourceCounters { received: self.handed_over, dropped: 0 })
    }
}

#[cfg(test)]
mod tests;
