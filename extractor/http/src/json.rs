//! Answers in JSON: counts, estimates, the store at a glance.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use axum::extract::{Request, State};
use axum::{Extension, Json};
use serde::Serialize;
use tokio::runtime::Handle;
use utoipa::ToSchema;

use crate::audited::Inquiry;
use crate::identity::Identity;
use crate::packet_answer::{aside, ending};
use crate::parameters::{Bounds, Conversations, Selection};
use crate::peer_limiter::Peer;
use crate::problem::{Kind, Problem};
use crate::request::fields_of;
use crate::service::{Phase, Service};
use crate::slots::{Pool, Slot};
use netrewind_extractor::Aside;
use netrewind_extractor::{
    Answer, Completeness, Control, Estimate, ExtractError, Extractor, Hint, Overview, Query, ReachedLimit,
    SegmentOverview, Work, hint_time,
};

/// Number of packets that match
///
/// The account of the answer, with its whole completeness. Segments whose index has the count are not read.
#[utoipa::path(get, path = "/api/v1/packets/count", tag = "packets", params(Selection, Conversations, Bounds), responses(
    (status = 200, description = "The account of the answer", body = Answer)
))]
pub async fn count(
    State(service): State<Arc<Service>>,
    Extension(identity): Extension<Identity>,
    request: Request,
) -> Result<Json<Answer>, Problem> {
    let mut fields = fields_of(request, &service.limits).await?;
    let (selection, conversations) = (Selection::take(&mut fields)?, Conversations::take(&mut fields)?);
    let bounds = Bounds::take(&mut fields)?;
    fields.end()?;
    let query = conversations.of(service.query_for(&identity, selection)?)?;
    let query = Query { limits: bounds.limits(), ..query };
    let is_restricted = identity.filter.is_some();
    let inquiry = Inquiry { service: Arc::clone(&service), identity, what: "count", flow: None, query };
    let work = |extractor: &Extractor, query: &Query, caller: &mut Caller<'_>| {
        let begun = Instant::now();
        let mut answer = extractor.count(query, caller)?;
        if answer.packets == 0 {
            answer.hint = hint_for(extractor, query, begun, &|| caller.cancelled());
        }
        Ok(answer)
    };
    let mut answer = inquiry.answer(&service.packets, bounds.time(), work).await?;
    if is_restricted {
        // The number of examined packets depends on those that the asker may not know of.
        answer.work = Work::default();
    }
    Ok(Json(answer))
}

/// Upper bounds of an answer, from indexes alone.
#[derive(Debug, Serialize, ToSchema)]
pub struct EstimateAnswer {
    #[serde(flatten)]
    estimate: Estimate,
    /// Completeness of the answer as known before reading.
    pub(crate) completeness: Completeness,
}

/// Largest number of packets that can match, from indexes alone
#[utoipa::path(get, path = "/api/v1/packets/estimate", tag = "packets", params(Selection, Conversations, Bounds), responses(
    (status = 200, description = "Bounds of the answer", body = EstimateAnswer)
))]
pub async fn estimate(
    State(service): State<Arc<Service>>,
    Extension(identity): Extension<Identity>,
    request: Request,
) -> Result<Json<EstimateAnswer>, Problem> {
    let mut fields = fields_of(request, &service.limits).await?;
    let (selection, conversations) = (Selection::take(&mut fields)?, Conversations::take(&mut fields)?);
    let bounds = Bounds::take(&mut fields)?;
    fields.end()?;
    let query = conversations.of(service.query_for(&identity, selection)?)?;
    let query = Query { limits: bounds.limits(), ..query };
    let chooses = query.chooses_conversations();
    let inquiry = Inquiry { service: Arc::clone(&service), identity, what: "estimate", flow: None, query };
    let work = |extractor: &Extractor, query: &Query, caller: &mut Caller<'_>| {
        let estimate = extractor.estimate_with(query, caller)?;
        Ok(EstimateAnswer { estimate, completeness: extractor.completeness(query)? })
    };
    // A search reads as lists of flows do.
    let pool = if chooses { &service.packets } else { &service.lookups };
    Ok(Json(inquiry.answer(pool, bounds.time(), work).await?))
}

/// Contents of the store, and how far back one can rewind
#[utoipa::path(get, path = "/api/v1/status", tag = "store", responses(
    (status = 200, description = "The store at a glance", body = Overview)
))]
pub async fn status(
    State(service): State<Arc<Service>>,
    Extension(identity): Extension<Identity>,
    request: Request,
) -> Result<Json<Overview>, Problem> {
    fields_of(request, &service.limits).await?.end()?;
    let work = |service: &Service, _: &mut Caller<'_>| {
        let Service { extractor, clock, remembered, .. } = service;
        Ok(Overview::with(remembered, extractor.store(), clock.now())?)
    };
    Ok(Json(look_up(&service, &service.lookups, &identity.share(), work).await?))
}

/// The segments of the store, oldest first
#[utoipa::path(get, path = "/api/v1/segments", tag = "store", responses(
    (status = 200, description = "Every segment", body = Vec<SegmentOverview>)
))]
pub async fn segments(
    State(service): State<Arc<Service>>,
    Extension(identity): Extension<Identity>,
    request: Request,
) -> Result<Json<Vec<SegmentOverview>>, Problem> {
    fields_of(request, &service.limits).await?.end()?;
    let work = |service: &Service, _: &mut Caller<'_>| Ok(SegmentOverview::all(service.extractor.store()));
    Ok(Json(look_up(&service, &service.lookups, &identity.share(), work).await?))
}

/// A changed query, for an empty answer; searched within a small part of the time that the answer took.
pub(crate) fn hint_for(
    extractor: &Extractor,
    query: &Query,
    begun: Instant,
    is_gone: &dyn Fn() -> bool,
) -> Option<Hint> {
    let until = Instant::now() + hint_time(begun.elapsed());
    extractor.hint(query, &|| Instant::now() >= until || is_gone())
}

/// Does work on a thread of its own, once there is a place for this peer; cancels it when the client goes.
pub(crate) async fn look_up<T: Send + 'static>(
    service: &Arc<Service>,
    pool: &Pool,
    peer: &Peer,
    work: impl FnOnce(&Service, &mut Caller<'_>) -> Result<T, ExtractError> + Send + 'static,
) -> Result<T, Problem> {
    if service.phase() != Phase::Serving {
        return Err(ending());
    }
    let slot = pool.slot(peer).await?;
    let gone = SetOnDrop(Arc::default());
    let (of_work, flag) = (Arc::clone(service), Arc::clone(&gone.0));
    let task = tokio::task::spawn_blocking(move || {
        work(&of_work, &mut Caller { service: &of_work, gone: &flag, slot: RefCell::new(slot) })
    });
    match task.await {
        Ok(Err(ExtractError::Cancelled)) => Err(ending()),
        Ok(done) => Ok(done?),
        Err(_) => Err(Problem::new(Kind::Failed, "the answer broke off: see the service's log")),
    }
}

/// Set when the waiter has gone.
struct SetOnDrop(Arc<AtomicBool>);

impl Drop for SetOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Gives up when the client has gone or the service ends, and lets others read while a filter is compiled.
pub(crate) struct Caller<'a> {
    service: &'a Service,
    gone: &'a AtomicBool,
    slot: RefCell<Slot>,
}

impl Control for Caller<'_> {
    fn cancelled(&self) -> bool {
        self.gone.load(Ordering::Relaxed) || self.service.phase() == Phase::Cutting
    }

    fn cut(&self) -> Option<ReachedLimit> {
        None
    }

    fn aside(&self, what: Aside, work: &mut dyn FnMut()) {
        let peer = self.slot.borrow().peer().clone();
        let Some(_beside) = self.service.aside.try_take(&peer) else { return };
        self.slot.borrow_mut().step_aside();
        aside(self.service, &peer, what, &|| self.cancelled(), work);
        self.slot.borrow_mut().resume(&Handle::current());
    }
}
