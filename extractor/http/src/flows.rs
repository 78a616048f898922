//! Conversations: lists, single ones, their streams, and summaries.

use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::response::Response;
use axum::{Extension, Json};
use netrewind_client::RecorderFlows;
use netrewind_extractor::Stream;
use netrewind_extractor::flows::{
    BUCKETS_MAX, Conversation, CsvRow, FlowAnswer, FlowId, FlowQuery, FlowSort, FlowSummary, PageCursor,
    Search, SummaryQuery, write_eve, write_zeek,
};
use netrewind_extractor::{Control, ExtractError, Extractor, Query, Work};
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};

use crate::audited::{AuditedQuery, STREAM};
use crate::blocking::{ClientControl, hint_for, run_blocking};
use crate::fields::{Fields, bad_value};
use crate::geoip::SummaryAnswer;
use crate::identity::Identity;
use crate::parameters::{Selection, search_of};
use crate::problem::{Kind, Problem};
use crate::request::fields_of;
use crate::rows::{Accepted, ListFormat, RowFormat, RowsAccount, document};
use crate::service::Service;
use crate::source::Source;

/// Conversations of a page at most.
pub const PAGE_MAX: u64 = 10_000;
/// Entries of a top list at most.
pub const TOP_MAX: u64 = 1_000;
/// Bytes of a stream at most, and when nothing is said.
pub const STREAM_BYTES_MAX: u64 = 16 << 20;
const STREAM_BYTES_DEFAULT: usize = 1 << 20;

/// Conversations to list, and their order.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "only its description is used")]
pub struct Listing {
    /// Sort order: `bytes` (absent), `packets` and `duration` with the greatest first, `start` with the earliest first.
    #[param(inline)]
    sort: Option<SortName>,
    /// The opposite order.
    reverse: Option<bool>,
    /// Largest number of conversations. Absent: 100.
    #[param(minimum = 1, maximum = 10_000)]
    limit: Option<u64>,
    /// The `next` of the page before: it fixes range and order.
    cursor: Option<String>,
    /// Only conversations that this search finds, such as `sni:example.com AND bytes:>1000000`.
    #[param(example = "bytes:>1000")]
    query: Option<String>,
    /// Only conversations with this Community ID (version 1).
    community_id: Option<String>,
    /// Form of the answer. Absent: what `Accept` says, or `json`.
    #[param(inline)]
    format: Option<ListFormat>,
}

/// An order.
#[derive(Debug, ToSchema)]
#[schema(rename_all = "lowercase")]
#[expect(dead_code, reason = "only its description is used")]
pub enum SortName {
    /// Bytes both ways.
    Bytes,
    /// Packets both ways.
    Packets,
    /// The first packet.
    Start,
    /// Time from the first to the last packet.
    Duration,
}

/// Size of a summary.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "only its description is used")]
pub struct Extent {
    /// Approximate number of buckets in the series. Absent: 200.
    #[param(minimum = 1, maximum = 4096)]
    buckets: Option<u64>,
    /// Entries of each top list. Absent: 10.
    #[param(minimum = 1, maximum = 1000)]
    top: Option<u64>,
    /// Number of pairs of hosts. Absent: as many as in each top list.
    #[param(minimum = 1, maximum = 1000)]
    edges: Option<u64>,
    /// Only conversations that this search finds, such as `sni:example.com AND bytes:>1000000`.
    #[param(example = "bytes:>1000")]
    query: Option<String>,
    /// Only conversations with this Community ID (version 1).
    community_id: Option<String>,
    /// Form of the answer. Absent: what `Accept` says, or `json`.
    #[param(inline)]
    format: Option<RowFormat>,
    /// List of the summary whose rows are wanted, as csv or ndjson.
    #[param(inline)]
    list: Option<SummaryList>,
}

/// A list of a summary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ToSchema)]
#[schema(rename_all = "lowercase")]
pub enum SummaryList {
    /// Packets and bytes over time.
    Series,
    /// Top hosts.
    Hosts,
    /// Top ports.
    Ports,
    /// Top applications.
    Applications,
    /// Top conversations.
    Conversations,
    /// Pairs of hosts.
    Edges,
}

impl SummaryList {
    fn read(text: &str) -> Option<Self> {
        Some(match text {
            "series" => Self::Series,
            "hosts" => Self::Hosts,
            "ports" => Self::Ports,
            "applications" => Self::Applications,
            "conversations" => Self::Conversations,
            "edges" => Self::Edges,
            _ => return None,
        })
    }
}

/// Conversations, sorted and paged
///
/// Packets and bytes are those in the range that the filter accepts. Pages stay consistent while recording continues. Of several
/// recorders each conversation has its `recorder`, and the list has one page: `has_more` says whether there are more.
#[utoipa::path(get, path = "/api/v1/flows", tag = "flows", params(Selection, Listing), responses(
    (status = 200, description = "A page of conversations", content(
        (FlowAnswer = "application/json"), (String = "text/csv"), (String = "application/x-ndjson"), (String = "text/tab-separated-values")
    ), headers(
        ("Netrewind-Completeness" = String, description = "Of rows: completeness, as JSON"),
        ("Netrewind-Answer" = String, description = "Of rows: their number, completeness, and what else a document has beside its lists, as JSON"),
    ))
))]
pub async fn list(
    State(service): State<Arc<Service>>,
    Extension(identity): Extension<Identity>,
    request: Request,
) -> Result<Response, Problem> {
    let accepted = Accepted::of(request.headers());
    let mut fields = fields_of(request, &service).await?;
    let (selection, flows) = (Selection::from_fields(&mut fields)?, listing(&mut fields)?);
    let format = accepted.format(&mut fields, ListFormat::OF_CONVERSATIONS)?;
    fields.end()?;
    let query = service.query_for(&identity, selection)?;
    let is_restricted = identity.filter.is_some();
    let audited = AuditedQuery { service: Arc::clone(&service), identity, what: "flows", flow: None, query };
    let work = move |source: &Source, query: &Query, control: &mut ClientControl<'_>| {
        let service = control.service();
        let begun = service.clock.now();
        let mut found = source.flows(query, &flows, control)?;
        if found.answer.totals.conversations == 0 && flows.search.is_none() {
            let hint = hint_for(service, query, begun, &|| control.cancelled());
            found.answer.hint = hint.or(found.answer.hint);
        }
        Ok(found)
    };
    let RecorderFlows { mut answer, recorders, has_more } =
        audited.answer_of_all(&service.packets, None, work).await?;
    if is_restricted {
        // The time that it took depends on packets that the asker may not know of.
        answer.work = Work::default();
    }
    let account = RowsAccount::new(&answer.completeness)
        .counting(answer.totals, answer.approximate)
        .before(answer.next)
        .hinting(answer.hint.clone());
    let flows = &answer.flows;
    Ok(match format {
        ListFormat::Eve => account.written(format, flows.len(), |body| write_eve(flows, body)),
        ListFormat::Zeek => account.written(format, flows.len(), |body| write_zeek(flows, body)),
        _ if recorders.is_empty() => account.respond(format, flows, &answer),
        _ => {
            let listed: Vec<_> =
                recorders.iter().zip(flows).map(|(recorder, flow)| ListedFlow { recorder, flow }).collect();
            let rest = FlowAnswer { flows: Vec::new(), ..answer.clone() };
            let mut whole = serde_json::to_value(rest).unwrap_or_default();
            if let Some(members) = whole.as_object_mut() {
                members.insert("flows".to_owned(), serde_json::to_value(&listed).unwrap_or_default());
                members.insert("has_more".to_owned(), has_more.into());
            }
            account.respond(format, &listed, &whole)
        }
    })
}

/// A conversation, and the recorder that has it.
#[derive(Debug, Serialize)]
struct ListedFlow<'a> {
    recorder: &'a str,
    #[serde(flatten)]
    flow: &'a Conversation,
}

/// Columns of a conversation, and the recorder behind them.
const LISTED_FIELDS: [&str; Conversation::FIELDS.len() + 1] = {
    let mut names = ["recorder"; Conversation::FIELDS.len() + 1];
    let mut at = 0;
    while at < Conversation::FIELDS.len() {
        names[at] = Conversation::FIELDS[at];
        at += 1;
    }
    names
};

impl CsvRow for ListedFlow<'_> {
    const FIELDS: &'static [&'static str] = &LISTED_FIELDS;

    fn fields(&self) -> Vec<String> {
        self.flow.fields().into_iter().chain([self.recorder.to_owned()]).collect()
    }
}

fn listing(fields: &mut Fields) -> Result<FlowQuery, Problem> {
    let sort =
        fields.parsed("sort", "bytes, packets, start or duration", |text| text.parse::<FlowSort>().ok())?;
    let limit = at_least_one(fields, "limit", PAGE_MAX)?;
    let after = fields.parsed("cursor", "the next of a page", |text| text.parse::<PageCursor>().ok())?;
    let plain = FlowQuery::default();
    let (reverse, search) = (fields.flag("reverse")?, search(fields)?);
    Ok(FlowQuery {
        sort: sort.unwrap_or(plain.sort),
        reverse,
        limit: limit.unwrap_or(plain.limit),
        after,
        search,
    })
}

pub(crate) fn search(fields: &mut Fields) -> Result<Option<Search>, Problem> {
    let text = search_of(fields.text("query")?, fields.text("community_id")?)?;
    let Some(text) = text else { return Ok(None) };
    let wrong =
        |error| Problem::new(Kind::BadParameter, format!("query: {error}")).with("parameter", "query");
    text.parse().map(Some).map_err(wrong)
}

pub(crate) fn at_least_one(
    fields: &mut Fields,
    name: &'static str,
    most: u64,
) -> Result<Option<usize>, Problem> {
    match fields.number(name, most)? {
        Some(0) => Err(bad_value(name, "0", "a whole number of at least 1")),
        number => Ok(number.and_then(|number| usize::try_from(number).ok())),
    }
}

/// One conversation, by its id
///
/// Time from its first packet to its end, or to the end of the range.
#[utoipa::path(get, path = "/api/v1/flows/{id}", tag = "flows",
    params(("id" = String, Path, description = "Id of the flow, as in the list of flows"), Selection), responses(
    (status = 200, description = "The conversation", body = Conversation)
))]
pub async fn one(
    State(service): State<Arc<Service>>,
    Extension(identity): Extension<Identity>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Json<Conversation>, Problem> {
    let id = flow_id(&id)?;
    let mut fields = fields_of(request, &service).await?;
    let selection = Selection::from_fields(&mut fields)?;
    fields.end()?;
    let query = service.query_for(&identity, selection)?;
    let audited =
        AuditedQuery { service: Arc::clone(&service), identity, what: "flow", flow: Some(id), query };
    let work = move |extractor: &Extractor, query: &Query, control: &mut ClientControl<'_>| {
        extractor.flow(query, id, control)
    };
    audited.answer(&service.packets, None, work).await?.map(Json).ok_or_else(|| no_such_flow(id))
}

pub(crate) fn flow_id(text: &str) -> Result<FlowId, Problem> {
    text.parse().map_err(|error| Problem::new(Kind::NotFound, format!("{error}")))
}

fn no_such_flow(id: FlowId) -> Problem {
    ExtractError::NoSuchFlow(id).into()
}

/// Size of a stream.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "only its description is used")]
pub struct StreamBound {
    /// Maximum bytes of payload. Absent: 1 MiB.
    #[param(minimum = 1, maximum = 16_777_216)]
    max_bytes: Option<u64>,
}

/// Payload of both ends of a conversation, in order
///
/// TCP payload is reassembled by sequence numbers; each UDP datagram is a chunk.
#[utoipa::path(get, path = "/api/v1/flows/{id}/stream", tag = "flows",
    params(("id" = String, Path, description = "Id of the flow, as in the list of flows"), Selection, StreamBound), responses(
    (status = 200, description = "The stream", body = Stream)
))]
pub async fn stream(
    State(service): State<Arc<Service>>,
    Extension(identity): Extension<Identity>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Json<Stream>, Problem> {
    let id = flow_id(&id)?;
    let mut fields = fields_of(request, &service).await?;
    let selection = Selection::from_fields(&mut fields)?;
    let bytes_max = at_least_one(&mut fields, "max_bytes", STREAM_BYTES_MAX)?.unwrap_or(STREAM_BYTES_DEFAULT);
    fields.end()?;
    let query = service.query_for(&identity, selection)?;
    let audited =
        AuditedQuery { service: Arc::clone(&service), identity, what: STREAM, flow: Some(id), query };
    let work = move |extractor: &Extractor, query: &Query, control: &mut ClientControl<'_>| {
        extractor.stream_of(query, id, bytes_max, control)
    };
    audited.answer(&service.packets, None, work).await?.map(Json).ok_or_else(|| no_such_flow(id))
}

/// Totals of the packets
///
/// Over time, and by host, port, application and conversation; with `--geoip`, with the locations of hosts. Of several recorders
/// together: totals, and the lists of hosts, ports and applications.
#[utoipa::path(get, path = "/api/v1/summary", tag = "flows", params(Selection, Extent), responses(
    (status = 200, description = "Series, totals and top lists", content(
        (SummaryAnswer = "application/json"), (String = "text/csv"), (String = "application/x-ndjson")
    ), headers(
        ("Netrewind-Completeness" = String, description = "Of rows: completeness, as JSON"),
        ("Netrewind-Answer" = String, description = "Of rows: their number, completeness, and what else a document has beside its lists, as JSON"),
    ))
))]
pub async fn summary(
    State(service): State<Arc<Service>>,
    Extension(identity): Extension<Identity>,
    request: Request,
) -> Result<Response, Problem> {
    let accepted = Accepted::of(request.headers());
    let mut fields = fields_of(request, &service).await?;
    let selection = Selection::from_fields(&mut fields)?;
    let buckets = at_least_one(&mut fields, "buckets", BUCKETS_MAX as u64)?;
    let top = at_least_one(&mut fields, "top", TOP_MAX)?;
    let edges = at_least_one(&mut fields, "edges", TOP_MAX)?;
    let search = search(&mut fields)?;
    let format = accepted.format(&mut fields, ListFormat::OF_ROWS)?;
    let lists = "series, hosts, ports, applications, conversations or edges";
    let list = fields.parsed("list", lists, SummaryList::read)?;
    fields.end()?;
    if (format == ListFormat::Json) != list.is_none() {
        let detail =
            format!("list: rows (csv, ndjson) are of one list, {lists}; json has all of them, and no list");
        return Err(Problem::new(Kind::BadParameter, detail).with("parameter", "list"));
    }
    let plain = SummaryQuery::default();
    let extent = SummaryQuery {
        buckets: buckets.unwrap_or(plain.buckets),
        top: top.unwrap_or(plain.top),
        edges,
        search,
    };
    let query = service.query_for(&identity, selection)?;
    let is_restricted = identity.filter.is_some();
    let audited =
        AuditedQuery { service: Arc::clone(&service), identity, what: "summary", flow: None, query };
    let database = service.geo_database.clone();
    let work = move |source: &Source, query: &Query, control: &mut ClientControl<'_>| {
        let service = control.service();
        let begun = service.clock.now();
        let summary = source.summary(query, &extent, control)?;
        let mut answer = SummaryAnswer::new(summary, database.as_deref());
        if answer.summary.totals.packets == 0 && extent.search.is_none() {
            answer.hint = hint_for(service, query, begun, &|| control.cancelled());
        }
        Ok(answer)
    };
    let mut answer = audited.answer_of_all(&service.packets, None, work).await?;
    if is_restricted {
        answer.summary.work = Work::default();
    }
    let Some(list) = list else { return Ok(document(&answer)) };
    let FlowSummary { series, top, edges, totals, approximate, completeness, .. } = &answer.summary;
    let account = RowsAccount::new(completeness).counting(*totals, *approximate).hinting(answer.hint.clone());
    Ok(match list {
        SummaryList::Series => account.respond(format, series, &answer),
        SummaryList::Hosts => account.respond(format, &top.hosts, &answer),
        SummaryList::Ports => account.respond(format, &top.ports, &answer),
        SummaryList::Applications => account.respond(format, &top.applications, &answer),
        SummaryList::Conversations => account.respond(format, &top.conversations, &answer),
        SummaryList::Edges => account.respond(format, edges, &answer),
    })
}

/// Answer for a valid filter.
#[derive(Debug, Serialize, ToSchema)]
pub struct RightFilter {
    /// The filter.
    filter: String,
}

/// An expression.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "only its description is used")]
pub struct Expression {
    /// A pcap-filter(7) expression.
    filter: String,
}

/// Check of a filter
///
/// Checks a filter while it is typed, without reading packets. Errors are the same as from the endpoints that use the filter.
#[utoipa::path(get, path = "/api/v1/filter", tag = "packets", params(Expression), responses(
    (status = 200, description = "It is", body = RightFilter)
))]
pub async fn filter(
    State(service): State<Arc<Service>>,
    Extension(identity): Extension<Identity>,
    request: Request,
) -> Result<Json<RightFilter>, Problem> {
    let mut fields = fields_of(request, &service).await?;
    let filter = fields.text("filter")?;
    fields.end()?;
    let missing =
        || Problem::new(Kind::BadParameter, "filter: an expression is missing").with("parameter", "filter");
    let filter = filter.ok_or_else(missing)?;
    let checked = filter.clone();
    let work = move |service: &Service, control: &mut ClientControl<'_>| {
        service.source.check_filter(&checked, control)
    };
    run_blocking(&service, &service.lookups, &identity.share(), work).await?;
    Ok(Json(RightFilter { filter }))
}
