//! State shared by all requests.

use std::sync::{Arc, Mutex};

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
use crate::metrics::{BuildFacts, LogbookTally, Metrics, ProcessMeter};
use crate::parameters::{Conversations, Selection};
use crate::peer_limiter::PeerLimiter;
use crate::problem::{Kind, Problem};
use crate::recorders::{RecorderFinder, Recorders};
use crate::resume::KnownLengths;
use crate::slots::Pool;
use crate::source::Source;

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

/// State shared by all requests, of one recorder or of several together. What does not depend on the recorder is shared by the
/// services of all of them.
pub struct Service {
    /// Who is asked.
    pub source: Source,
    /// The recorder that it is for, by the id of its store, where several are served.
    pub recorder: Option<String>,
    /// Tells what `2h ago` means, and times what is measured.
    pub clock: Arc<dyn Clock>,
    /// Its bounds.
    pub limits: ServiceLimits,
    /// Places for answers that read packets.
    pub packets: Arc<Pool>,
    /// Places for answers that follow.
    pub followers: Arc<Pool>,
    /// Places for answers from indexes and the logbook alone.
    pub lookups: Arc<Pool>,
    /// Places for long bodies of requests.
    pub large_bodies: Arc<Semaphore>,
    /// Memory for lists.
    pub list_memory: Arc<ListMemory>,
    /// Places for filters that take a process of their own to compile.
    pub compiling: Arc<PeerLimiter>,
    /// Places for answers that wait beside the others.
    pub aside: Arc<PeerLimiter>,
    /// Places for packets that are taken apart.
    pub dissecting: Arc<Semaphore>,
    /// Takes packets apart.
    pub dissector: Option<Dissector>,
    /// The connections that there are.
    pub connections: Arc<Connections>,
    /// Its counters.
    pub metrics: Arc<Metrics>,
    /// Audit of answers.
    pub audit: Option<Arc<Audit>>,
    /// Lengths of answers that were made to their end.
    pub known_lengths: KnownLengths,
    /// Locations of addresses.
    pub geo_database: Option<Arc<GeoDatabase>>,
    /// Manifests of answers that were sent.
    pub manifests: Arc<Manifests>,
    /// Signs manifests.
    pub signer: Option<Arc<SignerKey>>,
    /// Reason that holds are neither made nor released here, if so.
    pub holds_refused: Option<&'static str>,
    /// State of the store when it was last looked at.
    pub remembered: OverviewCache,
    /// Figures of the store's logbook, as far as it was read.
    pub recorded: Mutex<LogbookTally>,
    /// Measures this process.
    pub process: Option<Arc<dyn ProcessMeter>>,
    phase: Arc<watch::Sender<Phase>>,
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
        Self::over(Source::One(extractor), clock, limits, audit)
    }

    /// Over the recorders that this finds. None is known before [`Self::find_recorders`].
    pub fn of_several(
        finder: Box<dyn RecorderFinder>,
        clock: Arc<dyn Clock>,
        limits: ServiceLimits,
        audit: Option<Audit>,
    ) -> Self {
        Self::over(Source::Several(Arc::new(Recorders::new(finder))), clock, limits, audit)
    }

    fn over(source: Source, clock: Arc<dyn Clock>, limits: ServiceLimits, audit: Option<Audit>) -> Self {
        Self {
            source,
            recorder: None,
            clock,
            limits,
            packets: Arc::new(Pool::new(limits.packets)),
            followers: Arc::new(Pool::new(limits.followers)),
            lookups: Arc::new(Pool::new(limits.lookups)),
            large_bodies: Arc::new(Semaphore::new(limits.large_bodies_max)),
            list_memory: ListMemory::new(limits.list_bytes_max),
            compiling: Arc::new(PeerLimiter::with_share(limits.compiling_max, limits.compiling_peer_max)),
            aside: Arc::new(PeerLimiter::with_share(limits.aside_max, limits.aside_peer_max)),
            dissecting: Arc::new(Semaphore::new(limits.dissecting_max)),
            dissector: None,
            connections: Connections::new(&limits),
            metrics: Arc::default(),
            audit: audit.map(Arc::new),
            known_lengths: KnownLengths::default(),
            geo_database: None,
            manifests: Arc::default(),
            signer: None,
            holds_refused: None,
            remembered: OverviewCache::default(),
            recorded: Mutex::default(),
            process: None,
            phase: Arc::new(watch::Sender::new(Phase::Serving)),
        }
    }

    /// The service of one recorder beside others: it has the same places, limits, counters and audit.
    pub(crate) fn beside(&self, recorder: &str, extractor: Arc<Extractor>) -> Self {
        Self {
            source: Source::One(extractor),
            recorder: Some(recorder.to_owned()),
            clock: Arc::clone(&self.clock),
            limits: self.limits,
            packets: Arc::clone(&self.packets),
            followers: Arc::clone(&self.followers),
            lookups: Arc::clone(&self.lookups),
            large_bodies: Arc::clone(&self.large_bodies),
            list_memory: Arc::clone(&self.list_memory),
            compiling: Arc::clone(&self.compiling),
            aside: Arc::clone(&self.aside),
            dissecting: Arc::clone(&self.dissecting),
            dissector: self.dissector.clone(),
            connections: Arc::clone(&self.connections),
            metrics: Arc::clone(&self.metrics),
            audit: self.audit.clone(),
            known_lengths: KnownLengths::default(),
            geo_database: self.geo_database.clone(),
            manifests: Arc::clone(&self.manifests),
            signer: self.signer.clone(),
            holds_refused: self.holds_refused,
            remembered: OverviewCache::default(),
            recorded: Mutex::default(),
            process: self.process.clone(),
            phase: Arc::clone(&self.phase),
        }
    }

    /// Looks which recorders there are, where several are served. Blocks.
    pub fn find_recorders(&self) {
        if let Source::Several(recorders) = &self.source {
            recorders.find(self.clock.now());
        }
    }

    /// The extractor of the one recorder that it is for.
    pub(crate) fn extractor(&self) -> Result<&Arc<Extractor>, Problem> {
        match &self.source {
            Source::One(extractor) => Ok(extractor),
            Source::Several(_) => Err(Problem::new(
                Kind::SeveralRecorders,
                "this is asked of one recorder: /recorders/ID/ has what each of them answers, and /api/v1/recorders lists them",
            )),
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
        Self { signer: signer.map(Arc::new), ..self }
    }

    /// Tells in the figures which program this is, and what its process takes.
    pub fn with_program(mut self, facts: &BuildFacts, process: Option<Arc<dyn ProcessMeter>>) -> Self {
        let mut metrics = Metrics::default();
        metrics.tell_build(facts);
        self.metrics = Arc::new(metrics);
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
