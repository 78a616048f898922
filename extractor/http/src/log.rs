//! One line for each request: never its query string, which can hold private data.

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;

use crate::problem::Problem;

/// Path that monitoring asks for every few seconds: not worth a line each.
const HEALTH_PATH: &str = "/healthz";

/// Logs the request and its answer. Of a body that is still being sent only the beginning is known.
pub(crate) async fn each_request(request: Request, next: Next) -> Response {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let begun = tokio::time::Instant::now();
    let response = next.run(request).await;
    let status = response.status().as_u16();
    let problem = response.extensions().get::<Problem>().map_or("", Problem::type_uri);
    let milliseconds = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    if path == HEALTH_PATH {
        tracing::debug!(%method, path, status, problem, milliseconds, "request");
    } else {
        tracing::info!(%method, path, status, problem, milliseconds, "request");
    }
    response
}
