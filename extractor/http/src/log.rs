//! One line for each request: never its query string, which can hold private data.

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;

use crate::front::below_recorder;
use crate::problem::Problem;

/// Paths that monitoring and open pages ask for every few seconds, which are not worth a line each. Who asked for flows, the audit
/// tells.
const POLLED_PATHS: [&str; 7] = [
    "/healthz",
    "/metrics",
    "/api/v1/recorders",
    "/api/v1/status",
    "/api/v1/summary",
    "/api/v1/series",
    "/api/v1/flows",
];

/// Logs the request and its answer; what is polled, at debug level, unless it failed. Of a body that is still being sent only the beginning is known.
pub(crate) async fn each_request(request: Request, next: Next) -> Response {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let begun = tokio::time::Instant::now();
    let response = next.run(request).await;
    let status = response.status().as_u16();
    let problem = response.extensions().get::<Problem>().map_or("", Problem::type_uri);
    let milliseconds = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    let is_polled = POLLED_PATHS.contains(&below_recorder(&path).map_or(path.as_str(), |(_, below)| below));
    if problem.is_empty() && is_polled {
        tracing::debug!(%method, path, status, problem, milliseconds, "request");
    } else {
        tracing::info!(%method, path, status, problem, milliseconds, "request");
    }
    response
}
