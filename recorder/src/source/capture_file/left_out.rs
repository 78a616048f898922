//! Contents of a capture file besides packets: those that a store does not keep, and the drops that the file reports.

use std::fmt;

use netrewind_store::Timestamp;
use netrewind_store::store::secret_files::KEY_LOG_BYTES_MAX;

use crate::source::ReportedDrops;

/// Reports of drops that are kept separately until they are taken; later ones are added to the last.
const REPORTS_MAX: usize = 1024;

/// Counts of contents that a store does not keep.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// Blocks of decryption secrets: without them packets stay unreadable.
    pub secrets: u64,
    /// Blocks of name resolution.
    pub names: u64,
    /// Comments of packets, interfaces and sections.
    pub comments: u64,
    /// Packets that are marked as received or sent.
    pub directions: u64,
    /// Entries of a system's journal.
    pub journal_entries: u64,
    /// Other blocks: custom and unknown ones.
    pub other_blocks: u64,
    /// Packets with a time that no segment can hold, which got the nearest possible one.
    pub times_moved: u64,
}

impl LeftOut {
    /// The sum of both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            secrets: self.secrets + other.secrets,
            names: self.names + other.names,
            comments: self.comments + other.comments,
            directions: self.directions + other.directions,
            journal_entries: self.journal_entries + other.journal_entries,
            other_blocks: self.other_blocks + other.other_blocks,
            times_moved: self.times_moved + other.times_moved,
        }
    }

    /// True if everything is kept.
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

/// `1 block of decryption secrets, 2 comments`.
impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [
            (self.secrets, "block of decryption secrets", "blocks of decryption secrets"),
            (self.names, "block of names", "blocks of names"),
            (self.comments, "comment", "comments"),
            (self.directions, "packet's direction", "packets' directions"),
            (self.journal_entries, "journal entry", "journal entries"),
            (self.other_blocks, "other block", "other blocks"),
            (self.times_moved, "time before 1970 or after 2106", "times before 1970 or after 2106"),
        ];
        let told = parts.into_iter().filter(|(count, ..)| *count > 0);
        for (number, (count, one, several)) in told.enumerate() {
            let comma = if number > 0 { ", " } else { "" };
            write!(f, "{comma}{count} {}", if count == 1 { one } else { several })?;
        }
        Ok(())
    }
}

/// Contents other than packets found so far.
#[derive(Debug, Default)]
pub(super) struct LeftOutCounts {
    pub(super) left_out: LeftOut,
    pub(super) drops: Vec<ReportedDrops>,
    /// Key logs found; `None` where they are not kept.
    pub(super) key_log: Option<Vec<u8>>,
}

impl LeftOutCounts {
    /// Takes the lines of a key log; those without room are left out.
    pub(super) fn add_key_log(&mut self, lines: &[u8]) {
        let room = |kept: &Vec<u8>| KEY_LOG_BYTES_MAX.saturating_sub(kept.len() + 1);
        match self.key_log.as_mut().filter(|kept| lines.len() <= room(kept)) {
            Some(kept) => {
                kept.extend_from_slice(lines);
                if kept.last().is_some_and(|last| *last != b'\n') {
                    kept.push(b'\n');
                }
            }
            None => self.left_out.secrets += 1,
        }
    }

    /// Adds a report of this many lost packets.
    pub(super) fn report(&mut self, interface: Option<&str>, dropped: u64, from: Timestamp, to: Timestamp) {
        if dropped == 0 {
            return;
        }
        let interface = interface.map(str::to_owned);
        let is_full = self.drops.len() >= REPORTS_MAX;
        match self.drops.last_mut().filter(|last| is_full || last.interface == interface) {
            Some(last) => {
                last.dropped = last.dropped.saturating_add(dropped);
                (last.from, last.to) = (last.from.min(from), last.to.max(to));
            }
            None => self.drops.push(ReportedDrops { interface, dropped, from, to }),
        }
    }
}

/// Drops of one interface as the file has reported them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct DropReports {
    /// Drops reported since the capture began.
    dropped: u64,
    /// The time up to which they were reported.
    until: Option<Timestamp>,
    first: Option<Timestamp>,
    latest: Option<Timestamp>,
}

impl DropReports {
    /// Notes a packet's time, and the packets lost before it.
    pub(super) fn packet(
        &mut self,
        at: Timestamp,
        lost_before: u64,
        interface: Option<&str>,
        tally: &mut LeftOutCounts,
    ) {
        if lost_before > 0 {
            let from = self.latest.unwrap_or(at).min(at);
            tally.report(interface, lost_before, from, at);
            self.dropped = self.dropped.saturating_add(lost_before);
            self.until = Some(at);
        }
        self.first = Some(self.first.map_or(at, |first| first.min(at)));
        self.latest = Some(at);
    }

    /// Notes that all drops of the interface from `since` (if given) until now add up to `total`.
    pub(super) fn statistics(
        &mut self,
        total: u64,
        since: Option<Timestamp>,
        now: Timestamp,
        interface: Option<&str>,
        tally: &mut LeftOutCounts,
    ) {
        let more = total.saturating_sub(self.dropped);
        let from = self.until.or(since).or(self.first).unwrap_or(now).min(now);
        tally.report(interface, more, from, now);
        self.dropped = self.dropped.max(total);
        self.until = Some(now);
    }
}
