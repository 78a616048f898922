//! Conversations broken down: by the values of their labels, and over time by application or host.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Request, State};
use axum::response::Response;
use netrewind_extractor::flows::{
    BUCKETS_MAX, LISTED_VALUES_MAX, PropertyList, SPLIT_PARTS_MAX, SplitBy, SplitQuery, SplitSeries,
    ValuesQuery, split_rows, value_rows,
};
use netrewind_extractor::{Completeness, Extractor, Query, Work};
use utoipa::IntoParams;

use crate::audited::{AuditFacts, AuditedQuery};
use crate::blocking::ClientControl;
use crate::flows::{at_least_one, search};
use crate::identity::Identity;
use crate::parameters::Selection;
use crate::problem::Problem;
use crate::request::fields_of;
use crate::rows::{Accepted, ListFormat, RowFormat, RowsAccount, document};
use crate::service::Service;

/// Size of the lists of values.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "only its description is used")]
pub struct ValuesExtent {
    /// Values of each property. Absent: 10.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u64>,
    /// Only conversations that this search finds, such as `sni:example.com AND bytes:>1000000`.
    #[param(example = "bytes:>1000")]
    query: Option<String>,
    /// Only conversations with this Community ID (version 1).
    community_id: Option<String>,
    /// Form of the answer. Absent: what `Accept` says, or `json`.
    #[param(inline)]
    format: Option<RowFormat>,
}

/// Values of labels and other properties, counted
///
/// For each property that conversations of the range have: the values that most of them have.
#[utoipa::path(get, path = "/api/v1/values", tag = "flows", params(Selection, ValuesExtent), responses(
    (status = 200, description = "Properties and their values", content(
        (PropertyList = "application/json"), (String = "text/csv"), (String = "application/x-ndjson")
    ), headers(
        ("Netrewind-Completeness" = String, description = "Of rows: completeness, as JSON"),
        ("Netrewind-Answer" = String, description = "Of rows: their number, completeness, and what else a document has beside its lists, as JSON"),
    ))
))]
pub async fn values(
    State(service): State<Arc<Service>>,
    Extension(identity): Extension<Identity>,
    request: Request,
) -> Result<Response, Problem> {
    let accepted = Accepted::of(request.headers());
    let mut fields = fields_of(request, &service).await?;
    let selection = Selection::from_fields(&mut fields)?;
    let limit = at_least_one(&mut fields, "limit", LISTED_VALUES_MAX as u64)?;
    let search = search(&mut fields)?;
    let format = accepted.format(&mut fields, ListFormat::OF_ROWS)?;
    fields.end()?;
    let query = service.query_for(&identity, selection)?;
    let is_restricted = identity.filter.is_some();
    let audited = AuditedQuery { service: Arc::clone(&service), identity, what: "values", flow: None, query };
    let asked = ValuesQuery { limit: limit.unwrap_or(ValuesQuery::default().limit), search };
    let work = move |extractor: &Extractor, query: &Query, control: &mut ClientControl<'_>| {
        extractor.values(query, &asked, control)
    };
    let mut list = audited.answer(&service.packets, None, work).await?;
    if is_restricted {
        // The time that it took depends on packets that the asker may not know of.
        list.work = Work::default();
    }
    if format == ListFormat::Json {
        return Ok(document(&list));
    }
    let account = RowsAccount::new(&list.completeness).counting(list.totals, list.approximate);
    Ok(account.respond(format, &value_rows(&list), &list))
}

/// Parts of traffic, and their number.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "only its description is used")]
pub struct SplitExtent {
    /// Property that traffic is split by. Absent: `application`.
    #[param(inline)]
    by: Option<SplitBy>,
    /// Parts beside the rest. Absent: 8.
    #[param(minimum = 1, maximum = 20)]
    parts: Option<u64>,
    /// Approximate number of buckets. Absent: 200.
    #[param(minimum = 1, maximum = 4096)]
    buckets: Option<u64>,
    /// Only conversations that this search finds, such as `sni:example.com AND bytes:>1000000`.
    #[param(example = "bytes:>1000")]
    query: Option<String>,
    /// Only conversations with this Community ID (version 1).
    community_id: Option<String>,
    /// Form of the answer. Absent: what `Accept` says, or `json`.
    #[param(inline)]
    format: Option<RowFormat>,
}

/// Traffic over time, split by application or host
///
/// Packets, bytes and retransmissions of each part. Those of a conversation are spread evenly over its time.
#[utoipa::path(get, path = "/api/v1/series", tag = "flows", params(Selection, SplitExtent), responses(
    (status = 200, description = "A series for each part", content(
        (SplitSeries = "application/json"), (String = "text/csv"), (String = "application/x-ndjson")
    ), headers(
        ("Netrewind-Completeness" = String, description = "Of rows: completeness, as JSON"),
        ("Netrewind-Answer" = String, description = "Of rows: their number, completeness, and what else a document has beside its lists, as JSON"),
    ))
))]
pub async fn series(
    State(service): State<Arc<Service>>,
    Extension(identity): Extension<Identity>,
    request: Request,
) -> Result<Response, Problem> {
    let accepted = Accepted::of(request.headers());
    let mut fields = fields_of(request, &service).await?;
    let selection = Selection::from_fields(&mut fields)?;
    let by = fields.parsed("by", "application or host", |text| match text {
        "application" => Some(SplitBy::Application),
        "host" => Some(SplitBy::Host),
        _ => None,
    })?;
    let parts = at_least_one(&mut fields, "parts", SPLIT_PARTS_MAX as u64)?;
    let buckets = at_least_one(&mut fields, "buckets", BUCKETS_MAX as u64)?;
    let search = search(&mut fields)?;
    let format = accepted.format(&mut fields, ListFormat::OF_ROWS)?;
    fields.end()?;
    let query = service.query_for(&identity, selection)?;
    let audited = AuditedQuery { service: Arc::clone(&service), identity, what: "series", flow: None, query };
    let plain = SplitQuery::default();
    let asked = SplitQuery {
        by: by.unwrap_or(plain.by),
        parts: parts.unwrap_or(plain.parts),
        buckets: buckets.unwrap_or(plain.buckets),
        search,
    };
    let work = move |extractor: &Extractor, query: &Query, control: &mut ClientControl<'_>| {
        extractor.split_series(query, &asked, control)
    };
    let series = audited.answer(&service.packets, None, work).await?;
    if format == ListFormat::Json {
        return Ok(document(&series));
    }
    Ok(RowsAccount::new(&series.completeness).respond(format, &split_rows(&series), &series))
}

impl AuditFacts for PropertyList {
    fn completeness(&self) -> Option<&Completeness> {
        Some(&self.completeness)
    }
}

impl AuditFacts for SplitSeries {
    fn completeness(&self) -> Option<&Completeness> {
        Some(&self.completeness)
    }
}
