//! Recorders that one service answers for: which there are, the service of each, and their answers together.
//!
//! They are looked for now and then: one that comes is served, one that goes is not, and one that cannot be read is named, with the
//! reason, and tried again.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use netrewind_client::Remote;
use netrewind_extractor::{Extractor, OverviewCache};
use netrewind_store::clock::Now;
use netrewind_store::{StoreError, Timestamp, locked};

use crate::metrics::{LookedAt, Recording, RecordingState};

/// Recorders that one service answers for.
pub const RECORDERS_MAX: usize = 256;

/// Time for which nobody looks again which recorders there are.
pub const FOUND_FOR: Duration = Duration::from_secs(10);

/// A recorder that was found.
pub struct FoundRecorder {
    /// The id of its store.
    pub id: String,
    /// Its extractor, or the reason why it cannot be read.
    pub extractor: Result<Extractor, String>,
}

/// Finds recorders.
pub trait RecorderFinder: Send + Sync {
    /// The ids of all recorders; or the reason why they are not known.
    fn ids(&self) -> Result<Vec<String>, String>;

    /// Opens recorders.
    fn open(&self, ids: &[String]) -> Vec<FoundRecorder>;
}

/// A recorder that is served.
#[derive(Debug)]
pub(crate) struct ServedRecorder {
    pub(crate) extractor: Arc<Extractor>,
    /// State of its store when it was last looked at.
    pub(crate) remembered: OverviewCache,
}

/// A recorder by its id, or the reason why it cannot be read.
pub(crate) type NamedRecorder = (String, Result<Arc<ServedRecorder>, String>);

/// The recorders that are known.
#[derive(Default)]
struct KnownRecorders {
    /// Each with its service, or the reason why it cannot be read.
    recorders: BTreeMap<String, Result<Arc<ServedRecorder>, String>>,
    /// All of them, as they are asked together.
    together: Option<Arc<Remote>>,
    /// Reason why it is not known which there are now.
    trouble: Option<String>,
    /// Monotonic time of the last look.
    looked_at_ns: u64,
}

/// Recorders that one service answers for.
pub struct Recorders {
    finder: Box<dyn RecorderFinder>,
    known: Mutex<KnownRecorders>,
}

impl std::fmt::Debug for Recorders {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recorders").finish_non_exhaustive()
    }
}

impl Recorders {
    /// Those that this finds. None is known yet.
    pub(crate) fn new(finder: Box<dyn RecorderFinder>) -> Self {
        Self { finder, known: Mutex::default() }
    }

    /// Looks which there are, unless that was done a moment ago. Those that are served stay as they are. Blocks.
    pub(crate) fn find(&self, now: Now) {
        {
            let mut known = locked(&self.known);
            let is_first = known.together.is_none();
            if !is_first && now.since(known.looked_at_ns) < FOUND_FOR {
                return;
            }
            known.looked_at_ns = now.monotonic_ns;
        }
        let mut ids = match self.finder.ids() {
            Ok(ids) => ids,
            Err(trouble) => {
                tracing::warn!(trouble, "it is not known which recorders there are");
                locked(&self.known).trouble = Some(trouble);
                return;
            }
        };
        let left_out = ids.split_off(ids.len().min(RECORDERS_MAX));
        // One whose identity is damaged may be whole by now.
        let is_whole = |served: &ServedRecorder| served.extractor.store().identity_fault().is_none();
        let is_served = |id: &String| match locked(&self.known).recorders.get(id) {
            Some(Ok(served)) => is_whole(served),
            _ => false,
        };
        let wanted: Vec<String> = ids.iter().filter(|&id| !is_served(id)).cloned().collect();
        let opened = self.finder.open(&wanted);
        let mut known = locked(&self.known);
        known.trouble = (!left_out.is_empty()).then(|| {
            format!("only {RECORDERS_MAX} recorders are served, and these are not: {}", left_out.join(", "))
        });
        let before = known.recorders.len();
        known.recorders.retain(|id, _| ids.contains(id));
        let mut has_changed = known.recorders.len() < before || known.together.is_none();
        for FoundRecorder { id, extractor } in opened {
            let served = extractor.map(|extractor| {
                let (extractor, remembered) = (Arc::new(extractor), OverviewCache::default());
                Arc::new(ServedRecorder { extractor, remembered })
            });
            let is_known = matches!(known.recorders.get(&id), Some(Ok(_)));
            if is_known && !served.as_ref().is_ok_and(|served| is_whole(served)) {
                continue;
            }
            match &served {
                Ok(_) => tracing::info!(recorder = id, "a recorder is served"),
                Err(trouble) => tracing::warn!(recorder = id, trouble, "a recorder cannot be read"),
            }
            known.recorders.insert(id, served);
            has_changed = true;
        }
        if has_changed {
            let each = known.recorders.iter().map(|(id, served)| {
                let extractor = served.as_ref().map(|served| Arc::clone(&served.extractor));
                (id.clone(), extractor.map_err(Clone::clone))
            });
            known.together = Some(Arc::new(Remote::of_stores(each)));
        }
    }

    /// The extractor of a recorder that can be asked.
    pub(crate) fn extractor(&self, id: &str) -> Option<Arc<Extractor>> {
        let known = locked(&self.known);
        Some(Arc::clone(&known.recorders.get(id)?.as_ref().ok()?.extractor))
    }

    /// The reason why a recorder cannot be read.
    pub(crate) fn trouble(&self, id: &str) -> Option<String> {
        locked(&self.known).recorders.get(id).and_then(|served| served.as_ref().err().cloned())
    }

    /// All of them together.
    pub(crate) fn together(&self) -> Option<Arc<Remote>> {
        locked(&self.known).together.clone()
    }

    /// The extractor of any of them.
    pub(crate) fn any(&self) -> Option<Arc<Extractor>> {
        self.served().into_iter().next().map(|served| Arc::clone(&served.extractor))
    }

    fn served(&self) -> Vec<Arc<ServedRecorder>> {
        let known = locked(&self.known);
        known.recorders.values().filter_map(|served| served.as_ref().ok().cloned()).collect()
    }

    /// Frees the disk space of expired segments.
    pub(crate) fn evict_unused(&self) {
        self.served().iter().for_each(|served| served.extractor.evict_unused());
    }

    /// How many there are.
    pub(crate) fn counted(&self) -> LookedAt<'static> {
        let known = locked(&self.known);
        let unreadable = known.recorders.values().filter(|served| served.is_err()).count() as u64;
        LookedAt::Recorders { served: known.recorders.len() as u64 - unreadable, unreadable }
    }

    /// State of recording: of all of them, the first that is not well.
    pub(crate) fn recording(&self, now: Timestamp) -> Result<RecordingState, StoreError> {
        for served in self.served() {
            let state = Recording::state(served.extractor.store(), now)?;
            if state != RecordingState::Yes {
                return Ok(state);
            }
        }
        Ok(if self.lacks_any() { RecordingState::No } else { RecordingState::Yes })
    }

    fn lacks_any(&self) -> bool {
        let known = locked(&self.known);
        known.recorders.is_empty() || known.recorders.values().any(Result::is_err)
    }

    /// All of them, each with the reason if it cannot be read, and the reason why there may be others.
    pub(crate) fn all(&self) -> (Vec<NamedRecorder>, Option<String>) {
        let known = locked(&self.known);
        (known.recorders.clone().into_iter().collect(), known.trouble.clone())
    }
}
