//! Retention of the catalog's hours, by a budget and an age of their own. They also count in the store's budget, where segments
//! make room for them.

use std::time::Duration;

use netrewind_store::store::{CatalogFolder, ListedHour};
use netrewind_store::{Event, Store, StoreError, Timestamp};

/// Limits of the catalog.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CatalogLimits {
    /// Disk space; `None` for no limit.
    pub budget_bytes: Option<u64>,
    /// Age at which an hour expires, from its end; `None` for no limit.
    pub age_max: Option<Duration>,
}

impl CatalogLimits {
    /// The oldest hours that expire, each with the limit that requires it. The newest hour stays, whatever its size.
    fn expired<'h>(
        &self,
        hours: &'h [ListedHour],
        now: Timestamp,
    ) -> impl Iterator<Item = (&'h ListedHour, &'static str)> {
        let mut bytes: u64 = hours.iter().map(|hour| hour.disk_bytes).sum();
        let (budget, age_max) = (self.budget_bytes, self.age_max);
        let newest = hours.len().saturating_sub(1);
        hours.iter().take(newest).map_while(move |hour| {
            let age = Duration::from_nanos(now.ns_since(hour.hour.end()));
            let reason = if age_max.is_some_and(|age_max| age >= age_max) {
                "age"
            } else if budget.is_some_and(|budget| bytes > budget) {
                "budget"
            } else {
                return None;
            };
            bytes -= hour.disk_bytes;
            Some((hour, reason))
        })
    }

    /// Removes the hours that exceed the age or the budget, and reports each.
    pub fn keep(&self, store: &Store, now: Timestamp, tell: &mut dyn FnMut(Event)) -> Result<(), StoreError> {
        let hours = CatalogFolder::of(store).listed_hours()?;
        for (listed, reason) in self.expired(&hours, now) {
            CatalogFolder::of(store).remove_hour(listed.hour)?;
            tell(Event::ExpireHour {
                hour: listed.hour,
                freed_bytes: listed.disk_bytes,
                reason: reason.to_owned(),
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use netrewind_store::catalog::Hour;

    use super::*;

    #[test]
    fn the_oldest_hours_go_first_and_the_newest_stays() {
        let start = Timestamp::new(1_795_000_000, 0);
        let hours: Vec<ListedHour> = (0..5u64)
            .map(|n| ListedHour { hour: Hour::of(start.plus_ns(n * 3600 * 1_000_000_000)), disk_bytes: 10 })
            .collect();
        let now = hours[4].hour.end();
        let expired = |budget_bytes, age_max| {
            let limits = CatalogLimits { budget_bytes, age_max };
            limits.expired(&hours, now).map(|(_, reason)| reason).collect::<Vec<_>>()
        };
        assert_eq!(expired(None, None), Vec::<&str>::new());
        assert_eq!(expired(Some(50), None), Vec::<&str>::new());
        assert_eq!(expired(Some(31), None), ["budget", "budget"]);
        assert_eq!(expired(Some(0), None).len(), 4);
        assert_eq!(expired(None, Some(Duration::from_secs(3 * 3600))), ["age", "age"]);
        assert_eq!(expired(Some(25), Some(Duration::from_secs(4 * 3600))), ["age", "budget", "budget"]);
    }
}
