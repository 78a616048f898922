//! Guard of the store under its writer: checks that its folder is still the one that was opened, and restores missing parts.

use netrewind_store::{Event, Store, StoreError, StoreLock};

/// Interval between two checks.
const LOOK_INTERVAL_NS: u64 = 400_000_000;

/// Guards the store's own files and folders.
pub(super) struct Guard {
    store: Store,
    lock: StoreLock,
    looked_ns: u64,
}

/// Result of a check.
#[derive(Debug, Default)]
pub(super) struct GuardReport {
    /// Parts that were restored.
    pub events: Vec<Event>,
    /// Notices for the user.
    pub notices: Vec<String>,
    /// Reason that nothing can be written any more, ever.
    pub end: Option<String>,
}

impl Guard {
    pub fn new(store: &Store, lock: &StoreLock) -> Self {
        Self { store: store.clone(), lock: lock.clone(), looked_ns: 0 }
    }

    /// Checks, unless the last check is too recent, and restores missing parts.
    pub fn check(&mut self, now_ns: u64) -> GuardReport {
        let mut found = GuardReport::default();
        if now_ns.saturating_sub(self.looked_ns) < LOOK_INTERVAL_NS {
            return found;
        }
        self.looked_ns = now_ns;
        match self.lock.keep(&self.store) {
            Ok(made) => {
                for name in made {
                    let what = format!("{name} was removed or renamed while it was in use");
                    found.notices.push(format!("{}: {what}: it was made again", self.store.root().display()));
                    found.events.push(Event::Mended { what });
                }
            }
            Err(error @ (StoreError::Gone { .. } | StoreError::Locked { .. })) => {
                found.end = Some(error.to_string())
            }
            Err(error) => found.notices.push(format!("the store cannot be checked: {error}")),
        }
        found
    }

    /// Publishes in the store the reason that nothing can be written, or that writing works.
    pub fn publish_trouble(&self, trouble: Option<&str>) {
        self.lock.publish_trouble(trouble);
    }
}
