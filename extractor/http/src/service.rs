//! State shared by all requests.

use std::sync::Arc;

use netrewind_cases::SignerKey;
use netrewind_extractor::lists::ListMemory;
use netrewind_extractor::{Extractor, OverviewCache, Query};
use netrewind_store::clock::Clock;
use tokio::sync::{Semaphore, watch};

use crate::audit::Audit;
use crate::connection::Connections;
use crate::dissector::Dissector;
use crate::geoip::GeoDatabase;
use crate::identity::Identity;
use crate::limits::ServiceLimits;
use crate::manifests::Manifests;
use crate::metrics::{BuildFacts, Metrics, ProcessMeter};
use crate::parameters::{Conversations, Selection};
use crate::peer_limiter::PeerLimiter;
use crate::problem::{Kind, Problem};
use crate::resume::KnownLengths;
use crate::slots::Pool;

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
    /// Tells what `2h ago` means, and times what is measured.
    pub clock: Arc<dyn Clock>,
    /// Its bounds.
    pub limits: ServiceLimits,
    /// Places for answers that read packets.
    pub packets: Pool,
    /// Places for answers that follow.
    pub followers: Pool,
    /// Places for answers from indexes and the logbook alone.
    pub lookups: Pool,
    /// Places for long bodies of requests.
    pub large_bodies: Semaphore,
    /// Memory for lists.
    pub list_memory: Arc<ListMemory>,
    /// Places for filters that take a process of their own to compile.
    pub compiling: PeerLimiter,
    /// Places for answers that wait beside the others.
    pub aside: PeerLimiter,
    /// Places for packets that are taken apart.
    pub dissecting: Arc<Semaphore>,
    /// Takes packets apart.
    pub dissector: Option<Dissector>,
    /// The connections that there are.
    pub connections: Arc<Connections>,
    /// Its counters.
    pub metrics: Metrics,
    /// Audit of answers.
    pub audit: Option<Audit>,
    /// Lengths of answers that were made to their end.
    pub known_lengths: KnownLengths,
    /// Locations of addresses.
    pub geo_database: Option<Arc<GeoDatabase>>,
    /// Manifests of answers that were sent.
    pub manifests: Manifests,
    /// Signs manifests.
    pub signer: Option<SignerKey>,
    /// Reason that holds are neither made nor released here, if so.
    pub holds_refused: Option<&'static str>,
    /// State of the store when it was last looked at.
    pub remembered: OverviewCache,
    /// Measures this process.
    pub process: Option<Arc<dyn ProcessMeter>>,
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
            large_bodies: Semaphore::new(limits.large_bodies_max),
            list_memory: ListMemory::new(limits.list_bytes_max),
            compiling: PeerLimiter::with_share(limits.compiling_max, limits.compiling_peer_max),
            aside: PeerLimiter::with_share(limits.aside_max, limits.aside_peer_max),
            dissecting: Arc::new(Semaphore::new(limits.dissecting_max)),
            dissector: None,
            connections: Connections::new(&limits),
            metrics: Metrics::default(),
            audit,
            known_lengths: KnownLengths::default(),
            geo_database: None,
            manifests: Manifests::default(),
            signer: None,
            holds_refused: None,
            remembered: OverviewCache::default(),
            process: None,
            phase: watch::Sender::new(Phase::Serving),
        }
    }

    /// Adds a database of locations.
    pub fn with_geo_database(self, database: Option<GeoDatabase>) -> Self {
        Self { geo_database: database.map(Arc::new), ..self }
    }

    /// Takes packets apart by this dissector.
    pub fn with_dissector(self, dissector: Option<Dissector>) -> Self {
        Self { dissector, ..self }
    }

    /// Signs manifests with this key.
    pub fn with_signer(self, signer: Option<SignerKey>) -> Self {
        Self { signer, ..self }
    }

    /// Tells in the figures which program this is, and what its process takes.
    pub fn with_program(mut self, facts: &BuildFacts, process: Option<Arc<dyn ProcessMeter>>) -> Self {
        self.metrics.tell_build(facts);
        Self { process, ..self }
    }

    /// Refuses to make and release holds, for this reason.
    pub fn refusing_holds(self, reason: Option<&'static str>) -> Self {
        Self { holds_refused: reason, ..self }
    }

    /// The query that this selection means for this asker: the one place where a selection becomes a query.
    pub fn query_for(&self, identity: &Identity, selection: Selection) -> Result<Query, Problem> {
        let joined = identity.filter.iter().cloned().collect();
        let now = self.clock.now().wall;
        self.with_room(Query { joined, asked_at: Some(now), ..selection.query(now)? })
    }

    /// The query with memory for its lists.
    fn with_room(&self, mut query: Query) -> Result<Query, Problem> {
        query.lists.room = None;
        if !query.lists.are_none() {
            let room = self.list_memory.take(query.lists.memory_bytes()).ok_or_else(|| {
                Problem::new(
                    Kind::Busy,
                    "the lists of other queries take all memory for lists: ask again in some seconds",
                )
            })?;
            query.lists.room = Some(room);
        }
        Ok(query)
    }

    /// The query that this selection, restricted to these conversations or events, means for this asker.
    pub fn query_of(
        &self,
        identity: &Identity,
        mut selection: Selection,
        mut conversations: Conversations,
    ) -> Result<Query, Problem> {
        let events = conversations.take_events(&mut selection)?;
        let query = conversations.restrict(self.query_for(identity, selection)?)?;
        match events {
            None => Ok(query),
            Some(events) => self.with_room(events.restrict(&query)?),
        }
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
