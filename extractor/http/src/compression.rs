//! Compression of answers for clients that accept it: the page, JSON and other text, and never packets, of which most are
//! compressed or encrypted already, and whose answers are to leave at once.

use http::{Extensions, HeaderMap, StatusCode, Version, header};
use tower_http::CompressionLevel;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{And, Predicate, SizeAbove};

/// Bodies shorter than this fit in a packet as they are.
const COMPRESSED_BYTES_MIN: u64 = 1024;
/// Media types that are compressed, before any parameters.
const COMPRESSED_TYPES: [&str; 10] = [
    "text/html",
    "text/css",
    "text/javascript",
    "image/svg+xml",
    "text/csv",
    "text/tab-separated-values",
    "application/json",
    "application/x-ndjson",
    "application/problem+json",
    "application/openmetrics-text",
];

type IsText = fn(StatusCode, Version, &HeaderMap, &Extensions) -> bool;

fn is_text(_: StatusCode, _: Version, headers: &HeaderMap, _: &Extensions) -> bool {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let media_type = content_type.and_then(|text| text.split(';').next()).unwrap_or_default();
    COMPRESSED_TYPES.contains(&media_type.trim())
}

/// Layer that compresses by brotli or gzip, as the client prefers.
pub(crate) fn layer() -> CompressionLayer<And<SizeAbove, IsText>> {
    CompressionLayer::new()
        .quality(CompressionLevel::Default)
        .compress_when(SizeAbove::new(COMPRESSED_BYTES_MIN).and(is_text as IsText))
}
