//! The store under its writer: whether its folder is still the one that was opened, and what is missing of it.

use netrewind_segment::{Event, Store, StoreError, StoreLock};

/// How often it is looked at.
const LOOK_INTERVAL_NS: u64 = 400_000_000;

/// Looks after the store's own files and folders.
pub(super) struct Guard {
    store: Store,
    lock: StoreLock,
    looked_ns: u64,
}

/// What a look came to.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// What was made again.
    pub events: Vec<Event>,
    /// What a person should know.
    pub notices: Vec<String>,
    /// Why nothing can be written any more, ever.
    pub end: Option<String>,
}

impl Guard {
    pub fn new(store: &Store, lock: &StoreLock) -> Self {
        Self { store: store.clone(), lock: lock.clone(), looked_ns: 0 }
    }

    /// Looks, unless that was done a moment ago, and makes again what is missing.
    pub fn look(&mut self, now_ns: u64) -> Found {
        let mut found = Found::default();
        if now_ns.saturating_sub(self.looked_ns) < LOOK_INTERVAL_NS {
            return found;
        }
        self.looked_ns = now_ns;
        match self.lock.keep(&self.store) {
            Ok(made) => {
                for name in made {
                    let what = format!("{name} had been removed or renamed while it was in use");
                    found.notices.push(format!("{}: {what}: it was made again", self.store.root().display()));
                    found.events.push(Event::Mended { what });
                }
            }
            Err(error @ (StoreError::Gone { .. } | StoreError::Locked { .. })) => {
                found.end = Some(error.to_string())
            }
            Err(error) => found.notices.push(format!("the store cannot be looked after: {error}")),
        }
        found
    }

    /// Tells whoever looks at the store why nothing can be written, or that it can.
    pub fn tell(&self, trouble: Option<&str>) {
        self.lock.tell(trouble);
    }
}
