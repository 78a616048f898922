//! State shared by all requests.

use std::sync::Arc;
use std::time::Duration;

use netrewind_store::Timestamp;
use tokio::sync::watch;

use crate::audit::Audit;
use crate::connection::Connections;
use crate::geoip::Places;
use crate::identity::Identity;
use crate::metrics::Metrics;
use crate::parameters::Selection;
use crate::peer_limiter::Places as Shared;
use crate::problem::Problem;
use crate::slots::{Pool, PoolLimits};
use netrewind_extractor::OverviewCache;
use netrewind_extractor::{Extractor, Query};

/// The wall clock.
pub trait Clock: Send + Sync {
    /// Current time.
    fn now(&self) -> Timestamp;
}

/// The bounds of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServiceLimits {
    /// Answers that read packets.
    pub packets: PoolLimits,
    /// Answers that follow the recording. They read little at a time.
    pub followers: PoolLimits,
    /// Answers from indexes and the logbook alone.
    pub lookups: PoolLimits,
    /// Large filters that are compiled at the same time.
    pub compiling_max: usize,
    /// Those of one peer.
    pub compiling_peer_max: usize,
    /// Answers that wait beside the others, for filters to be compiled and for memory.
    pub aside_max: usize,
    /// Those of one peer.
    pub aside_peer_max: usize,
    /// Connections, within the process's limit of open files: an idle one of the peer with the most makes room for another.
    pub connections_max: usize,
    /// Time in which a client must have sent something.
    pub silence_time_max: Duration,
    /// Bytes of a request's body.
    pub body_bytes_max: usize,
    /// Time for a request's head, and between two requests.
    pub head_time_max: Duration,
    /// Time for a request's body.
    pub body_time_max: Duration,
    /// Time in which a client must read some of an answer; otherwise the answer is cut off.
    pub stall_time_max: Duration,
    /// Time that running answers have to end after the service is told to stop.
    pub shutdown_time_max: Duration,
}

impl Default for ServiceLimits {
    fn default() -> Self {
        Self {
            packets: PoolLimits { reading_max: 8, answers_max: 64, waiting_max: 448 },
            followers: PoolLimits { reading_max: 32, answers_max: 32, waiting_max: 0 },
            lookups: PoolLimits { reading_max: 4, answers_max: 4, waiting_max: 252 },
            compiling_max: 2,
            compiling_peer_max: 1,
            aside_max: 64,
            aside_peer_max: 32,
            connections_max: 4096,
            silence_time_max: Duration::from_secs(5),
            body_bytes_max: 256 << 10, // a filter of the longest kind, every byte of it escaped
            head_time_max: Duration::from_secs(30),
            body_time_max: Duration::from_secs(30),
            stall_time_max: Duration::from_secs(60),
            shutdown_time_max: Duration::from_secs(10),
        }
    }
}

/// Phase of the service's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Everything is answered.
    Serving,
    /// Running answers are brought to their end; nothing new is begun.
    Ending,
    /// Answers still running are cut.
    Cutting,
}

/// State shared by all requests.
pub struct Service {
    /// Answers them.
    pub extractor: Arc<Extractor>,
    /// Tells what `2h ago` means.
    pub clock: Arc<dyn Clock>,
    /// Its bounds.
    pub limits: ServiceLimits,
    /// Places for answers that read packets.
    pub packets: Pool,
    /// Places for answers that follow.
    pub followers: Pool,
    /// Places for answers from indexes and the logbook alone.
    pub lookups: Pool,
    /// Places for filters that take a process of their own to compile.
    pub compiling: Shared,
    /// Places for answers that wait beside the others.
    pub aside: Shared,
    /// The connections that there are.
    pub connections: Arc<Connections>,
    /// Its counters.
    pub metrics: Metrics,
    /// Audit of answers.
    pub audit: Option<Audit>,
    /// Locations of addresses.
    pub places: Option<Arc<Places>>,
    /// State of the store when it was last looked at.
    pub remembered: OverviewCache,
    phase: watch::Sender<Phase>,
}

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Service").field("limits", &self.limits).finish_non_exhaustive()
    }
}

impl Service {
    /// Over a store.
    pub fn new(
        extractor: Arc<Extractor>,
        clock: Arc<dyn Clock>,
        limits: ServiceLimits,
        audit: Option<Audit>,
    ) -> Self {
        Self {
            extractor,
            clock,
            limits,
            packets: Pool::new(limits.packets),
            followers: Pool::new(limits.followers),
            lookups: Pool::new(limits.lookups),
            compiling: Shared::with_share(limits.compiling_max, limits.compiling_peer_max),
            aside: Shared::with_share(limits.aside_max, limits.aside_peer_max),
            connections: Connections::new(&limits),
            metrics: Metrics::default(),
            audit,
            places: None,
            remembered: OverviewCache::default(),
            phase: watch::Sender::new(Phase::Serving),
        }
    }

    /// Adds a database of locations.
    pub fn with_places(self, places: Option<Places>) -> Self {
        Self { places: places.map(Arc::new), ..self }
    }

    /// The query that this selection means for this asker: the one place where a selection becomes a query.
    pub fn query_for(&self, identity: &Identity, selection: Selection) -> Result<Query, Problem> {
        let joined = identity.filter.iter().cloned().collect();
        let now = self.clock.now();
        Ok(Query { joined, asked_at: Some(now), ..selection.query(now)? })
    }

    /// Phase of the service's life.
    pub fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// Receiver of every phase that follows.
    pub fn phases(&self) -> watch::Receiver<Phase> {
        self.phase.subscribe()
    }

    /// Enters a later phase.
    pub(crate) fn enter(&self, phase: Phase) {
        self.phase.send_if_modified(|now| {
            let is_later = *now < phase;
            *now = phase.max(*now);
            is_later
        });
    }
}
