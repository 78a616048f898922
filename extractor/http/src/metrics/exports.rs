//! What leaves the store behind a recording, according to the logbook.

use std::collections::BTreeMap;

use netrewind_store::catalog::Hour;
use netrewind_store::{Event, Timestamp};
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
            _ => {}
        }
    }

    fn is_new(&mut self, hour: Hour, at: Timestamp) -> bool {
        self.seen.0.insert(hour, at).is_none_or(|seen| seen < at)
    }
}

pub(super) fn add_exports(registry: &mut Registry, exports: &ExportAccount) {
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
}
