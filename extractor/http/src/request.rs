//! Parameters of a request.

use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use http::{HeaderMap, Method, header};

use crate::fields::Fields;
use crate::problem::{Kind, Problem};
use crate::service::Service;

const JSON: &str = "application/json";
const FORM: &str = "application/x-www-form-urlencoded";

/// The parameters of a request: in its query string, or, where it is a POST, in its body.
pub async fn fields_of(request: Request, service: &Service) -> Result<Fields, Problem> {
    let (parts, body) = request.into_parts();
    let query = parts.uri.query().unwrap_or_default();
    if parts.method != Method::POST {
        return Fields::from_form(query.as_bytes());
    }
    if !query.is_empty() {
        let detail = "the parameters of a POST go in its body, not in its query string";
        return Err(Problem::new(Kind::BadParameter, detail));
    }
    let media_type = media_type(&parts.headers);
    match media_type.as_str() {
        JSON => read(&parts.headers, body, service, Fields::from_json).await,
        FORM => read(&parts.headers, body, service, Fields::from_form).await,
        _ => Err(Problem::new(
            Kind::UnsupportedBody,
            format!("the media type {media_type:?} is not supported: send {JSON} or {FORM}"),
        )),
    }
}

fn media_type(headers: &HeaderMap) -> String {
    let text = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// Reads and parses a body. Long ones wait for one another, so that clients together cannot take much memory.
async fn read(
    headers: &HeaderMap,
    body: Body,
    service: &Service,
    parse: fn(&[u8]) -> Result<Fields, Problem>,
) -> Result<Fields, Problem> {
    let limits = &service.limits;
    let length = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    if length.is_some_and(|length: usize| length <= limits.small_body_bytes_max) {
        return parse(&read_whole(body, limits.small_body_bytes_max, limits.body_time_max).await?);
    }
    let turn = tokio::time::timeout(limits.body_time_max, service.large_bodies.acquire()).await;
    let _turn = turn.map_err(|_| {
        Problem::new(Kind::Busy, "other long requests are being read: send it again in some seconds")
    })?;
    parse(&read_whole(body, limits.body_bytes_max, limits.body_time_max).await?)
}

async fn read_whole(body: Body, bytes_max: usize, time_max: Duration) -> Result<bytes::Bytes, Problem> {
    match tokio::time::timeout(time_max, to_bytes(body, bytes_max)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(error)) if is_too_large(&error) => {
            Err(Problem::new(Kind::BodyTooLarge, format!("the body has more than {bytes_max} bytes")))
        }
        Ok(Err(_)) => Err(Problem::new(Kind::BadBody, "the body broke off before its end")),
        Err(_) => {
            let detail = format!("the body did not arrive within {} s", time_max.as_secs());
            Err(Problem::new(Kind::SlowRequest, detail))
        }
    }
}

fn is_too_large(error: &axum::Error) -> bool {
    std::error::Error::source(error).is_some_and(|source| source.is::<http_body_util::LengthLimitError>())
}
