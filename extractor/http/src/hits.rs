//! `/api/v1/packets/hits`: the addresses of a list that packets have.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Request, State};
use axum::response::Response;
use netrewind_extractor::lists::{HitSink, ListedHit};
use netrewind_extractor::{Answer, Completeness, Control, CountSink, Hint, Query};
use serde::Serialize;
use utoipa::openapi::{RefOr, Schema};
use utoipa::{IntoParams, PartialSchema, ToSchema};

use crate::audited::{AuditFacts, AuditedQuery};
use crate::blocking::{ClientControl, hint_for};
use crate::identity::Identity;
use crate::parameters::{Bounds, Conversations, Selection, body_schema, in_body};
use crate::problem::{Kind, Problem};
use crate::request::fields_of;
use crate::rows::{Accepted, ListFormat, RowFormat, RowsAccount};
use crate::service::Service;
use crate::source::Source;

/// Addresses whose hits are counted and listed.
pub const LISTED_HITS_MAX: usize = 100_000;

/// Form of the hits.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "only its description is used")]
pub struct HitsForm {
    /// Form of the answer. Absent: what `Accept` says, or `json`.
    #[param(inline)]
    format: Option<RowFormat>,
}

/// All parameters in the body of a POST.
#[derive(Debug)]
pub struct HitsRequest;

impl ToSchema for HitsRequest {}

impl PartialSchema for HitsRequest {
    fn schema() -> RefOr<Schema> {
        body_schema([
            Selection::into_params(in_body),
            Conversations::into_params(in_body),
            Bounds::into_params(in_body),
            HitsForm::into_params(in_body),
        ])
    }
}

/// Hits of a list.
#[derive(Debug, Serialize, ToSchema)]
pub struct HitList {
    /// By address, those with most packets first; at most 100,000.
    hits: Vec<ListedHit>,
    /// Packets of further addresses.
    uncounted: u64,
    /// Packets with an address of the list.
    packets: u64,
    /// Their bytes on the wire.
    bytes: u64,
    /// Completeness of the packets that were counted.
    completeness: Completeness,
    /// Changed query that would find packets, if this one found none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    hint: Option<Hint>,
}

impl AuditFacts for HitList {
    fn completeness(&self) -> Option<&Completeness> {
        Some(&self.completeness)
    }
}

/// Addresses of a list that the packets have
///
/// For each address of `hosts` that was met: its entry in the list, packets, bytes, first and last time. A packet counts for each of
/// its listed addresses.
#[utoipa::path(get, path = "/api/v1/packets/hits", tag = "packets", params(Selection, Conversations, Bounds, HitsForm), responses(
    (status = 200, description = "Hits by address", content(
        (HitList = "application/json"), (String = "text/csv"), (String = "application/x-ndjson")
    ), headers(
        ("Netrewind-Completeness" = String, description = "Of rows: completeness, as JSON"),
        ("Netrewind-Answer" = String, description = "Of rows: their number, completeness, and what else a document has beside its lists, as JSON"),
    ))
))]
pub async fn get_hits(
    State(service): State<Arc<Service>>,
    Extension(identity): Extension<Identity>,
    request: Request,
) -> Result<Response, Problem> {
    hits(service, identity, request).await
}

/// The same, with the parameters in the body
#[utoipa::path(post, path = "/api/v1/packets/hits", tag = "packets", request_body(content(
    (HitsRequest = "application/json"), (HitsRequest = "application/x-www-form-urlencoded")
)), responses(
    (status = 200, description = "Hits by address", content(
        (HitList = "application/json"), (String = "text/csv"), (String = "application/x-ndjson")
    ), headers(
        ("Netrewind-Completeness" = String, description = "Of rows: completeness, as JSON"),
        ("Netrewind-Answer" = String, description = "Of rows: their number, completeness, and what else a document has beside its lists, as JSON"),
    ))
))]
pub async fn post_hits(
    State(service): State<Arc<Service>>,
    Extension(identity): Extension<Identity>,
    request: Request,
) -> Result<Response, Problem> {
    hits(service, identity, request).await
}

async fn hits(service: Arc<Service>, identity: Identity, request: Request) -> Result<Response, Problem> {
    let accepted = Accepted::of(request.headers());
    let mut fields = fields_of(request, &service).await?;
    let (selection, conversations) =
        (Selection::from_fields(&mut fields)?, Conversations::from_fields(&mut fields)?);
    let bounds = Bounds::from_fields(&mut fields)?;
    let format = accepted.format(&mut fields, ListFormat::OF_ROWS)?;
    fields.end()?;
    let query = service.query_of(&identity, selection, conversations)?;
    let query = Query { limits: bounds.limits(), ..query };
    let Some(hosts) = query.lists.hosts.clone() else {
        let detail = "hosts: give the list whose addresses are looked for";
        return Err(Problem::new(Kind::BadParameter, detail).with("parameter", "hosts"));
    };
    let audited = AuditedQuery { service: Arc::clone(&service), identity, what: "hits", flow: None, query };
    let work = move |source: &Source, query: &Query, control: &mut ClientControl<'_>| {
        let service = control.service();
        let begun = service.clock.now();
        let mut nothing = CountSink;
        let mut counting = HitSink::new(&mut nothing, hosts, LISTED_HITS_MAX);
        let answer = source.extract(query, &mut counting, control)?;
        let (hits, uncounted) = counting.finish();
        let Answer { packets, bytes, completeness, .. } = answer;
        let is_empty = packets == 0;
        let hint = is_empty.then(|| hint_for(service, query, begun, &|| control.cancelled())).flatten();
        Ok(HitList { hits, uncounted, packets, bytes, completeness, hint })
    };
    let list = audited.answer_of_all(&service.packets, bounds.time(), work).await?;
    let account = RowsAccount::new(&list.completeness)
        .of_packets(list.packets, list.bytes)
        .without(list.uncounted)
        .hinting(list.hint.clone());
    Ok(account.respond(format, &list.hits, &list))
}
