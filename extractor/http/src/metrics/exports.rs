//! What leaves the store behind a recording, according to the logbook.

use std::collections::BTreeMap;

use netrewind_store::catalog::Hour;
use netrewind_store::time::SECOND_NS;
use netrewind_store::{Event, SegmentName, Timestamp};
use prometheus_client::registry::Registry;

use super::sample::{add_counter, add_gauge};

/// Account of exports since the beginning of the day on which the service was first asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExportAccount {
    /// Hours written as tables.
    pub hours: u64,
    /// Times that an hour could not be, or only in part.
    pub failures: u64,
    /// Data records sent to a collector.
    pub records: u64,
    /// Segments whose flows were left out.
    pub dropped_segments: u64,
    /// Segments whose flows wait, as was last told.
    pub waiting_segments: u64,
    /// True if the collector takes nothing, as was last told.
    pub is_away: bool,
    /// True if there is a collector.
    pub has_collector: bool,
    /// State of the archive; none without.
    pub archive: Option<ArchiveAccount>,
    /// Time of the last line of an hour, and of a collector: each line counts once.
    seen: (BTreeMap<Hour, Timestamp>, Option<Timestamp>),
}

impl ExportAccount {
    pub(super) fn learn(&mut self, at: Timestamp, event: &Event) {
        match event {
            Event::Exported { hour, .. } if self.is_new(*hour, at) => self.hours += 1,
            Event::ExportBehind { hour, .. } if self.is_new(*hour, at) => self.failures += 1,
            Event::Ipfix { records, dropped_segments, waiting_segments, trouble, .. }
                if self.seen.1.is_none_or(|seen| seen < at) =>
            {
                self.seen.1 = Some(at);
                self.has_collector = true;
                self.records += records;
                self.dropped_segments += dropped_segments;
                self.waiting_segments = *waiting_segments;
                self.is_away = trouble.is_some();
            }
            Event::Archive {
                segments,
                bytes,
                waiting_segments,
                waiting_bytes,
                oldest,
                removed,
                trouble,
                ..
            } => {
                let archive = self.archive.get_or_insert_default();
                if archive.told.is_none_or(|told| told < at) {
                    archive.told = Some(at);
                    archive.segments += segments;
                    archive.bytes += bytes;
                    archive.removed += removed;
                    archive.waiting_segments = *waiting_segments;
                    archive.waiting_bytes = *waiting_bytes;
                    archive.oldest = *oldest;
                    archive.failures += u64::from(trouble.is_some() && !archive.is_failing);
                    archive.is_failing = trouble.is_some();
                }
            }
            Event::Unarchived { segment } => {
                let archive = self.archive.get_or_insert_default();
                // The oldest expire first.
                if archive.last_lost < Some(*segment) {
                    archive.lost += 1;
                    archive.last_lost = Some(*segment);
                }
            }
            _ => {}
        }
    }

    fn is_new(&mut self, hour: Hour, at: Timestamp) -> bool {
        self.seen.0.insert(hour, at).is_none_or(|seen| seen < at)
    }
}

/// Account of the archive.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ArchiveAccount {
    /// Segments that went there, and bytes of their objects.
    pub segments: u64,
    /// See [`Self::segments`].
    pub bytes: u64,
    /// Objects removed because of their age.
    pub removed: u64,
    /// Segments that wait, as was last told.
    pub waiting_segments: u64,
    /// Bytes of their files.
    pub waiting_bytes: u64,
    /// Time at which the oldest of them was opened.
    pub oldest: Option<Timestamp>,
    /// Times that uploading began to fail.
    pub failures: u64,
    /// True while it fails.
    pub is_failing: bool,
    /// Segments that expired before they were archived.
    pub lost: u64,
    told: Option<Timestamp>,
    /// The last of these: a line counts once.
    last_lost: Option<SegmentName>,
}

fn add_archive(registry: &mut Registry, archive: &ArchiveAccount, now: Timestamp) {
    add_counter(registry, "archived_segments", "Segments uploaded into the archive", archive.segments);
    add_counter(registry, "archived_bytes", "Bytes of their objects", archive.bytes);
    add_counter(
        registry,
        "archive_expired_objects",
        "Objects removed from the archive because of their age",
        archive.removed,
    );
    let help = "Times that uploading into the archive began to fail";
    add_counter(registry, "archive_failures", help, archive.failures);
    let help = "Segments that expired before they were archived";
    add_counter(registry, "archive_lost_segments", help, archive.lost);
    add_gauge(
        registry,
        "archive_waiting_segments",
        "Segments that wait for the archive",
        archive.waiting_segments,
    );
    add_gauge(registry, "archive_waiting_bytes", "Bytes of their files", archive.waiting_bytes);
    let lag = archive.oldest.map_or(0, |oldest| now.ns_since(oldest) / SECOND_NS);
    add_gauge(registry, "archive_lag_seconds", "Age of the oldest segment that waits, 0 if none does", lag);
    add_gauge(
        registry,
        "archive_failing",
        "1 while nothing, or not everything, can be archived",
        archive.is_failing.into(),
    );
}

pub(super) fn add_exports(registry: &mut Registry, exports: &ExportAccount, now: Timestamp) {
    if let Some(archive) = &exports.archive {
        add_archive(registry, archive, now);
    }
    if exports.hours + exports.failures > 0 {
        add_counter(registry, "exported_hours", "Hours of the catalog written as tables", exports.hours);
        let help = "Times that an hour could not be written as a table, or only in part";
        add_counter(registry, "export_failures", help, exports.failures);
    }
    if exports.has_collector {
        add_counter(registry, "ipfix_records", "Flow records sent to the collector", exports.records);
        let help = "Segments whose flows were not sent";
        add_counter(registry, "ipfix_dropped_segments", help, exports.dropped_segments);
        let help = "Segments whose flows wait to be sent";
        add_gauge(registry, "ipfix_waiting_segments", help, exports.waiting_segments);
        let help = "1 while the collector takes nothing, 0 otherwise";
        add_gauge(registry, "ipfix_failing", help, exports.is_away.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_of_an_export_counts_once() {
        let (mut account, hour) = (ExportAccount::default(), Hour::of(Timestamp(0)));
        let ipfix = |trouble: Option<&str>| Event::Ipfix {
            collector: "udp:192.0.2.1:4739".into(),
            records: 5,
            messages: 1,
            dropped_segments: 2,
            waiting_segments: 3,
            trouble: trouble.map(str::to_owned),
        };
        for _ in 0..2 {
            account.learn(Timestamp(1), &ipfix(Some("refused")));
            account.learn(Timestamp(1), &Event::ExportBehind { hour, reason: "full".into() });
        }
        assert!(account.is_away);
        for _ in 0..2 {
            account.learn(Timestamp(2), &ipfix(None));
            account.learn(Timestamp(2), &Event::Exported { hour, records: 1, bytes: 1 });
        }
        assert_eq!((account.hours, account.failures), (1, 1));
        assert_eq!((account.records, account.dropped_segments, account.waiting_segments), (10, 4, 3));
        assert!(!account.is_away);
    }

    #[test]
    fn an_archive_that_fails_and_recovers_counts_once() {
        let mut account = ExportAccount::default();
        let archive = |segments: u64, trouble: Option<&str>| Event::Archive {
            archive: "s3://packets".into(),
            segments,
            bytes: 100 * segments,
            waiting_segments: 3,
            waiting_bytes: 300,
            oldest: Some(Timestamp(5)),
            removed: 1,
            trouble: trouble.map(str::to_owned),
        };
        let segment: SegmentName = "2026-11-22/093101.628448290Z-0".parse().unwrap();
        for _ in 0..2 {
            account.learn(Timestamp(1), &archive(2, None));
            account.learn(Timestamp(2), &archive(0, Some("refused")));
            account.learn(Timestamp(3), &archive(0, Some("refused")));
            account.learn(Timestamp(4), &archive(5, None));
            account.learn(Timestamp(4), &Event::Unarchived { segment });
        }
        let archive = account.archive.unwrap();
        assert_eq!((archive.segments, archive.bytes, archive.removed), (7, 700, 4));
        assert_eq!((archive.failures, archive.is_failing, archive.lost), (1, false, 1));
    }
}
