//! Every problem that an operation can have, written into the document that describes the service.

use std::collections::BTreeMap;

use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::path::Operation;
use utoipa::openapi::{ContentBuilder, OpenApi, Ref, Response, ResponseBuilder};

use crate::access::SESSION_ROUTE;
use crate::problem::{Kind, PROBLEM_JSON};

/// Problems of operations that take parameters.
const OF_PARAMETERS: [Kind; 3] = [Kind::BadParameter, Kind::UnknownParameter, Kind::RepeatedParameter];
/// Problems of operations that wait for a place and read the store.
const OF_READING: [Kind; 3] = [Kind::Busy, Kind::ShuttingDown, Kind::Failed];
/// Problems of operations with a query.
const OF_QUERIES: [Kind; 4] = [Kind::BadFilter, Kind::FilterTooExpensive, Kind::BadTime, Kind::OutOfTime];
/// Problems of capture files.
const OF_CAPTURES: [Kind; 2] = [Kind::NotKept, Kind::SeveralLinkTypes];
/// Problems of lists, which have several forms.
const OF_ROWS: [Kind; 1] = [Kind::NotAcceptable];
/// Paths of lists.
const LISTS: [&str; 6] = [
    "/api/v1/flows",
    "/api/v1/summary",
    "/api/v1/values",
    "/api/v1/series",
    "/api/v1/packets/list",
    "/api/v1/packets/hits",
];
/// Problems of operations with a body.
const OF_BODIES: [Kind; 4] = [Kind::BadBody, Kind::BodyTooLarge, Kind::UnsupportedBody, Kind::SlowRequest];

/// Problems of making a hold.
const OF_HOLDS: [Kind; 3] = [Kind::HoldExists, Kind::NoRoom, Kind::NotWritable];
/// Path of holds.
const HOLDS: &str = "/api/v1/holds";

/// Problems of every operation: the gate's.
const OF_THE_GATE: [Kind; 2] = [Kind::WrongHost, Kind::Forbidden];
/// Problems of operations that tell what is recorded: the gate's, if there are tokens.
const OF_TOKENS: [Kind; 3] = [Kind::NoAccess, Kind::TooManyFailures, Kind::AccessUnavailable];

/// Adds them to each operation.
pub fn add_problems(document: &mut OpenApi) {
    for (path, item) in &mut document.paths.paths {
        if path == SESSION_ROUTE {
            let of_all: Vec<_> = OF_PARAMETERS.into_iter().chain(OF_THE_GATE).collect();
            item.delete.iter_mut().for_each(|operation| add(operation, &of_all));
            let of_post: Vec<_> = of_all.iter().chain(&OF_TOKENS).copied().collect();
            item.post.iter_mut().for_each(|operation| add(operation, &of_post));
            continue;
        }
        if path.starts_with(HOLDS) {
            let of_all: Vec<_> = [&OF_PARAMETERS[..], &OF_THE_GATE, &OF_TOKENS, &OF_READING].concat();
            item.get.iter_mut().for_each(|operation| add(operation, &of_all));
            let of_release = [&of_all[..], &[Kind::NotFound, Kind::NotWritable]].concat();
            item.delete.iter_mut().for_each(|operation| add(operation, &of_release));
            let of_add = [&of_all[..], &OF_QUERIES, &OF_CAPTURES, &OF_BODIES, &OF_HOLDS].concat();
            item.post.iter_mut().for_each(|operation| add(operation, &of_add));
            continue;
        }
        let takes_query = [
            "/api/v1/packets",
            "/api/v1/flows",
            "/api/v1/summary",
            "/api/v1/values",
            "/api/v1/series",
            "/api/v1/filter",
        ]
        .iter()
        .any(|queried| path.starts_with(queried));
        let may_be_missing =
            path.contains("{id}") || path.contains("{name}") || path.starts_with("/api/v1/packets");
        let is_capture = path == "/api/v1/packets" || path.ends_with("/packets");
        let reads = path.starts_with("/api/");
        let mut kinds = OF_PARAMETERS.to_vec();
        kinds.extend(OF_THE_GATE);
        kinds.extend(OF_TOKENS.iter().filter(|_| reads));
        kinds.extend(OF_READING.iter().filter(|_| reads));
        kinds.extend(OF_QUERIES.iter().filter(|_| takes_query));
        kinds.extend(OF_CAPTURES.iter().filter(|_| is_capture));
        kinds.extend(OF_ROWS.iter().filter(|_| LISTS.contains(&path.as_str())));
        kinds.extend(Some(Kind::NotFound).filter(|_| may_be_missing));
        if let Some(operation) = &mut item.get {
            let of_parts = Some(Kind::RangeNotSatisfiable).filter(|_| path == "/api/v1/packets");
            add(operation, &kinds.iter().copied().chain(of_parts).collect::<Vec<_>>());
        }
        if let Some(operation) = &mut item.post {
            kinds.extend(OF_BODIES);
            add(operation, &kinds);
        }
    }
}

fn add(operation: &mut Operation, kinds: &[Kind]) {
    let mut by_status = BTreeMap::<u16, Vec<Kind>>::new();
    for &kind in kinds {
        by_status.entry(kind.status().as_u16()).or_default().push(kind);
    }
    for (status, kinds) in by_status {
        operation.responses.responses.insert(status.to_string(), response(&kinds).into());
    }
}

fn response(kinds: &[Kind]) -> Response {
    let lines: Vec<_> = kinds.iter().map(|kind| format!("{}: `{}`", kind.title(), kind.type_uri())).collect();
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
    let response = ResponseBuilder::new().description(lines.join("; ")).content(PROBLEM_JSON, content);
    if kinds.iter().any(|kind| [429, 503].contains(&kind.status().as_u16())) {
        let header = HeaderBuilder::new().description(Some("Seconds to wait")).build();
        return response.header("Retry-After", header).build();
    }
    response.build()
}
