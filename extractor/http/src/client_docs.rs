//! What programs that are made from the document need: a name for each operation, and how to ask with a token.

use utoipa::openapi::OpenApi;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};

use crate::access::SESSION_ROUTE;

/// Name of the way to ask with a token.
const TOKEN: &str = "token";

/// Names of the operations: of methods in a client.
const NAMES: [(&str, &str, &str); 32] = [
    ("get", "/api/v1/events/selection", "read_event"),
    ("post", "/api/v1/events/selection", "query_event"),
    ("get", "/api/v1/filter", "check_filter"),
    ("get", "/api/v1/flows", "list_flows"),
    ("get", "/api/v1/flows/{id}", "get_flow"),
    ("get", "/api/v1/flows/{id}/packets", "get_flow_packets"),
    ("get", "/api/v1/flows/{id}/stream", "get_flow_stream"),
    ("get", "/api/v1/holds", "list_holds"),
    ("post", "/api/v1/holds", "add_hold"),
    ("delete", "/api/v1/holds/{case}", "release_hold"),
    ("get", "/api/v1/manifests/{name}", "get_manifest"),
    ("get", "/api/v1/manifests/{name}/signature", "get_manifest_signature"),
    ("get", "/api/v1/packets", "get_packets"),
    ("post", "/api/v1/packets", "query_packets"),
    ("get", "/api/v1/packets/count", "count_packets"),
    ("post", "/api/v1/packets/count", "query_count"),
    ("get", "/api/v1/packets/estimate", "estimate_packets"),
    ("post", "/api/v1/packets/estimate", "query_estimate"),
    ("get", "/api/v1/packets/hits", "list_hits"),
    ("post", "/api/v1/packets/hits", "query_hits"),
    ("get", "/api/v1/packets/dissection", "dissect_packet"),
    ("get", "/api/v1/packets/list", "list_packets"),
    ("get", "/api/v1/recorders", "list_recorders"),
    ("get", "/api/v1/segments", "list_segments"),
    ("get", "/api/v1/series", "get_series"),
    ("post", SESSION_ROUTE, "begin_session"),
    ("delete", SESSION_ROUTE, "end_session"),
    ("get", "/api/v1/status", "get_status"),
    ("get", "/api/v1/summary", "get_summary"),
    ("get", "/api/v1/values", "count_values"),
    ("get", "/healthz", "get_health"),
    ("get", "/metrics", "get_metrics"),
];

/// Names the operations, and says that a token may be needed.
pub fn describe_for_clients(document: &mut OpenApi) {
    for (method, path, name) in NAMES {
        let item = document.paths.paths.get_mut(path);
        if let Some(operation) = item.and_then(|item| operation(item, method)) {
            operation.operation_id = Some(name.to_owned());
        }
    }
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some(
        "A token of the service's tokens file. On loopback, a service without tokens answers without one.",
    ));
    let components = document.components.get_or_insert_default();
    components.add_security_scheme(TOKEN, SecurityScheme::Http(bearer.build()));
    // Either of them: with a token, or without where there are none.
    let nothing: [String; 0] = [];
    document.security = Some(vec![SecurityRequirement::new(TOKEN, nothing), SecurityRequirement::default()]);
}

fn operation<'d>(item: &'d mut PathItem, method: &str) -> Option<&'d mut Operation> {
    match method {
        "get" => item.get.as_mut(),
        "post" => item.post.as_mut(),
        _ => item.delete.as_mut(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use crate::routes::openapi;

    #[test]
    fn every_operation_has_a_name_of_its_own() {
        let document = openapi();
        let mut names = BTreeSet::new();
        for (path, item) in &document.paths.paths {
            let operations = [&item.get, &item.post, &item.delete, &item.put, &item.patch];
            for operation in operations.into_iter().flatten() {
                let name = operation.operation_id.clone().unwrap_or_default();
                let is_method =
                    name.contains('_') && name.bytes().all(|byte| byte == b'_' || byte.is_ascii_lowercase());
                assert!(is_method, "{path}: {name:?} says what is done: add it to NAMES");
                assert!(names.insert(name.clone()), "{path}: {name} is another's name");
            }
        }
        assert!(super::NAMES.iter().all(|(_, _, name)| names.contains(*name)), "{names:?}");
    }
}
