//! The flow summary view: files that the build put into this program, if it had them.
//!
//! `scripts/run` builds them from `extractor/http/ui` before the program. Without npm the program is built without them, and
//! says here that they are missing.

use axum::Router;
use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use rust_embed::{EmbeddedFile, RustEmbed};

use crate::problem::{Kind, Problem};

/// Build of `extractor/http/ui` by Vite.
#[derive(RustEmbed)]
#[folder = "ui/dist"]
#[allow_missing = true]
struct PageFiles;

const PAGE: &str = "index.html";
/// Head of the page on which a recorder is chosen.
const CHOOSER_HEAD: &str = "<head>\n    <meta name=\"netrewind-recorders\" content=\"several\">";

/// True if this build has the page.
pub fn is_built_in() -> bool {
    PageFiles::get(PAGE).is_some()
}

/// Names of assets hold a hash of what is in them.
const FOREVER: &str = "public, max-age=31536000, immutable";
/// The page names its assets, so it is revalidated each time, and rarely sent again.
const ASK_AGAIN: &str = "no-cache";
const MISSING: &str = "This build has no page: npm was missing when it was built. Install nodejs and npm, and build with scripts/run.\nEverything else works: see /openapi.json, netrewind flows, netrewind extract.\n";

/// The page and its assets.
pub(crate) fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new().route("/", get(page)).route("/assets/{*path}", get(asset))
}

/// The page on which a recorder is chosen, where several are served, and its assets.
pub(crate) fn chooser_routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new().route("/", get(chooser)).route("/assets/{*path}", get(asset))
}

async fn page(headers: HeaderMap) -> Response {
    match PageFiles::get(PAGE) {
        Some(file) => answer(PAGE, &file, ASK_AGAIN, &headers),
        None => missing(),
    }
}

/// The same file; its script shows the recorders where it finds this mark.
async fn chooser() -> Response {
    let Some(file) = PageFiles::get(PAGE) else { return missing() };
    let text = String::from_utf8_lossy(&file.data).replacen("<head>", CHOOSER_HEAD, 1);
    let headers = [
        (header::CACHE_CONTROL, HeaderValue::from_static(ASK_AGAIN)),
        (header::CONTENT_TYPE, HeaderValue::from_static(content_type(PAGE))),
    ];
    (headers, text).into_response()
}

fn missing() -> Response {
    (StatusCode::NOT_FOUND, [(header::CONTENT_TYPE, "text/plain; charset=utf-8")], MISSING).into_response()
}

async fn asset(Path(name): Path<String>, headers: HeaderMap) -> Response {
    let path = format!("assets/{name}");
    match PageFiles::get(&path) {
        Some(file) => answer(&path, &file, FOREVER, &headers),
        None => Problem::new(Kind::NotFound, format!("the view has no {path}")).into_response(),
    }
}

fn answer(path: &str, file: &EmbeddedFile, caching: &'static str, asked: &HeaderMap) -> Response {
    let tag = tag(file);
    let kept = [(header::ETAG, tag.clone()), (header::CACHE_CONTROL, HeaderValue::from_static(caching))];
    if asked.get(header::IF_NONE_MATCH) == Some(&tag) {
        return (StatusCode::NOT_MODIFIED, kept).into_response();
    }
    let content_type = HeaderValue::from_static(content_type(path));
    (kept, [(header::CONTENT_TYPE, content_type)], file.data.clone().into_owned()).into_response()
}

fn tag(file: &EmbeddedFile) -> HeaderValue {
    let digits: String = file.metadata.sha256_hash()[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    HeaderValue::from_str(&format!("\"{digits}\"")).unwrap_or(HeaderValue::from_static("\"\""))
}

fn content_type(path: &str) -> &'static str {
    match path.rsplit_once('.').map(|(_, extension)| extension) {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("json") => "application/json",
        _ => "application/octet-stream",
    }
}
