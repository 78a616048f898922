//! Answers in JSON: counts, estimates, the store at a glance.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::{Extension, Json};
use netrewind_extractor::{Answer, Completeness, Control, Estimate, Overview, Query, SegmentOverview, Work};
use serde::Serialize;
use utoipa::ToSchema;

use crate::audited::{AuditFacts, AuditedQuery};
use crate::blocking::{ClientControl, hint_for, run_blocking};
use crate::identity::Identity;
use crate::parameters::{Bounds, Conversations, CountRequest, Selection};
use crate::problem::Problem;
use crate::request::fields_of;
use crate::service::Service;
use crate::source::Source;

/// Number of packets that match
///
/// The account of the answer, with its whole completeness. Segments whose index has the count are not read.
#[utoipa::path(get, path = "/api/v1/packets/count", tag = "packets", params(Selection, Conversations, Bounds), responses(
    (status = 200, description = "The account of the answer", body = Answer)
))]
pub async fn get_count(
    State(service): State<Arc<Service>>,
    Extension(identity): Extension<Identity>,
    request: Request,
) -> Result<Json<Answer>, Problem> {
    count(service, identity, request).await
}

/// The same, with the parameters in the body
#[utoipa::path(post, path = "/api/v1/packets/count", tag = "packets", request_body(content(
    (CountRequest = "application/json"), (CountRequest = "application/x-www-form-urlencoded")
)), responses(
    (status = 200, description = "The account of the answer", body = Answer)
))]
pub async fn post_count(
    State(service): State<Arc<Service>>,
    Extension(identity): Extension<Identity>,
    request: Request,
) -> Result<Json<Answer>, Problem> {
    count(service, identity, request).await
}

async fn count(service: Arc<Service>, identity: Identity, request: Request) -> Result<Json<Answer>, Problem> {
    let mut fields = fields_of(request, &service).await?;
    let (selection, conversations) =
        (Selection::from_fields(&mut fields)?, Conversations::from_fields(&mut fields)?);
    let bounds = Bounds::from_fields(&mut fields)?;
    fields.end()?;
    let query = service.query_of(&identity, selection, conversations)?;
    let query = Query { limits: bounds.limits(), ..query };
    let is_restricted = identity.filter.is_some();
    let audited = AuditedQuery { service: Arc::clone(&service), identity, what: "count", flow: None, query };
    let work = |source: &Source, query: &Query, control: &mut ClientControl<'_>| {
        let service = control.service();
        let begun = service.clock.now();
        let mut answer = source.count(query, control)?;
        if answer.packets == 0 {
            answer.hint = hint_for(service, query, begun, &|| control.cancelled()).or(answer.hint);
        }
        Ok(answer)
    };
    let mut answer = audited.answer_of_all(&service.packets, bounds.time(), work).await?;
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
    completeness: Completeness,
}

impl AuditFacts for EstimateAnswer {
    fn completeness(&self) -> Option<&Completeness> {
        Some(&self.completeness)
    }
}

/// Largest number of packets that can match, from indexes alone
#[utoipa::path(get, path = "/api/v1/packets/estimate", tag = "packets", params(Selection, Conversations, Bounds), responses(
    (status = 200, description = "Bounds of the answer", body = EstimateAnswer)
))]
pub async fn get_estimate(
    State(service): State<Arc<Service>>,
    Extension(identity): Extension<Identity>,
    request: Request,
) -> Result<Json<EstimateAnswer>, Problem> {
    estimate(service, identity, request).await
}

/// The same, with the parameters in the body
#[utoipa::path(post, path = "/api/v1/packets/estimate", tag = "packets", request_body(content(
    (CountRequest = "application/json"), (CountRequest = "application/x-www-form-urlencoded")
)), responses(
    (status = 200, description = "Bounds of the answer", body = EstimateAnswer)
))]
pub async fn post_estimate(
    State(service): State<Arc<Service>>,
    Extension(identity): Extension<Identity>,
    request: Request,
) -> Result<Json<EstimateAnswer>, Problem> {
    estimate(service, identity, request).await
}

async fn estimate(
    service: Arc<Service>,
    identity: Identity,
    request: Request,
) -> Result<Json<EstimateAnswer>, Problem> {
    let mut fields = fields_of(request, &service).await?;
    let (selection, conversations) =
        (Selection::from_fields(&mut fields)?, Conversations::from_fields(&mut fields)?);
    let bounds = Bounds::from_fields(&mut fields)?;
    fields.end()?;
    let query = service.query_of(&identity, selection, conversations)?;
    let query = Query { limits: bounds.limits(), ..query };
    let chooses = query.chooses_conversations();
    let audited =
        AuditedQuery { service: Arc::clone(&service), identity, what: "estimate", flow: None, query };
    let work = |source: &Source, query: &Query, control: &mut ClientControl<'_>| {
        let (estimate, completeness) = source.estimate(query, control)?;
        Ok(EstimateAnswer { estimate, completeness })
    };
    // A search reads as lists of flows do.
    let pool = if chooses { &service.packets } else { &service.lookups };
    Ok(Json(audited.answer_of_all(pool, bounds.time(), work).await?))
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
    fields_of(request, &service).await?.end()?;
    let extractor = Arc::clone(service.extractor()?);
    let work = move |service: &Service, _: &mut ClientControl<'_>| {
        let Service { clock, remembered, .. } = service;
        Ok(Overview::with(remembered, extractor.store(), clock.now().wall)?)
    };
    Ok(Json(run_blocking(&service, &service.lookups, &identity.share(), work).await?))
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
    fields_of(request, &service).await?.end()?;
    let extractor = Arc::clone(service.extractor()?);
    let work = move |_: &Service, _: &mut ClientControl<'_>| Ok(SegmentOverview::all(extractor.store()));
    Ok(Json(run_blocking(&service, &service.lookups, &identity.share(), work).await?))
}
