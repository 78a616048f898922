//! Accounts of packets: received = written + dropped, by reason.

use netrewind_store::Account;

use crate::source::SourceCounters;

/// A lane's account together with the packets that its source dropped before the lane saw them.
pub fn with_source(lane: &Account, source: &SourceCounters) -> Account {
    let mut account = *lane;
    account.received += source.dropped;
    account.dropped.kernel += source.dropped;
    account
}

/// Packets received but neither written nor dropped yet.
pub fn pending(account: &Account) -> u64 {
    account.received.saturating_sub(account.written + account.dropped.total())
}

/// Difference of two accounts of one lane. Packets that were written and lost with their segment count as dropped, not as fewer
/// written.
pub fn since(now: &Account, before: &Account) -> Account {
    let mut account = *now;
    account.received = now.received.saturating_sub(before.received);
    account.written = now.written.saturating_sub(before.written);
    account.dropped.kernel = now.dropped.kernel.saturating_sub(before.dropped.kernel);
    account.dropped.disk = now.dropped.disk.saturating_sub(before.dropped.disk);
    account.bytes = now.bytes.saturating_sub(before.bytes);
    account.segments = now.segments.saturating_sub(before.segments);
    account
}

/// Discrepancy between a lane's account and its source's own count, once no packet is on its way any more. `None` if they agree.
pub fn discrepancy(account: &Account, source: Option<&SourceCounters>) -> Option<String> {
    if !account.adds_up() {
        let (written, dropped) = (account.written, account.dropped.total());
        return Some(format!(
            "{} packets received, but {written} written and {dropped} dropped",
            account.received
        ));
    }
    let source = source.filter(|source| source.received != account.received)?;
    Some(format!("{} packets received, but the kernel counted {}", account.received, source.received))
}

#[cfg(test)]
mod tests {
    use super::*;
    use netrewind_store::Drops;

    #[test]
    fn what_the_kernel_dropped_was_received_and_not_written() {
        let lane = Account {
            received: 10,
            written: 7,
            dropped: Drops { kernel: 0, disk: 2 },
            bytes: 1,
            segments: 1,
        };
        let counters = SourceCounters { received: 15, dropped: 5 };
        let account = with_source(&lane, &counters);
        assert_eq!((account.received, account.dropped.total(), pending(&account)), (15, 7, 1));
        assert!(discrepancy(&account, Some(&counters)).is_some());
        let whole = Account { written: 8, ..account };
        assert_eq!(discrepancy(&whole, Some(&counters)), None);
        let counters = SourceCounters { received: 16, dropped: 5 };
        assert!(discrepancy(&whole, Some(&counters)).is_some());
        assert_eq!(since(&whole, &account), Account { written: 1, ..Account::default() });
    }
}
