//! Requests over HTTP, with their bytes counted as they go and come, and sent no faster than told.

use std::error::Error as _;
use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use http_body_util::BodyExt;
use netrewind_store::locked;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpResponseBody,
    HttpService, ReqwestConnector,
};
use object_store::{ClientConfigKey, ClientOptions};
use tokio::time::Instant;

/// Pace of what is sent, and count of what is sent and received.
#[derive(Debug, Default)]
pub(super) struct Traffic {
    bytes: AtomicU64,
    bytes_per_second: Option<u64>,
    /// Time at which the next bytes may go.
    free_at: Mutex<Option<Instant>>,
}

impl Traffic {
    /// Sends at most so many bytes a second; as fast as it goes for `None`.
    pub(super) fn at_most(bytes_per_second: Option<u64>) -> Self {
        Self { bytes_per_second, ..Self::default() }
    }

    /// Bytes sent and received so far.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// The rate that it keeps to.
    pub(super) fn bytes_per_second(&self) -> Option<u64> {
        self.bytes_per_second
    }

    fn count(&self, bytes: usize) {
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Waits until so many bytes may go.
    async fn wait_for(&self, bytes: usize) {
        let Some(rate) = self.bytes_per_second.filter(|rate| *rate > 0) else { return };
        let at = {
            let mut free_at = locked(&self.free_at);
            let now = tokio::time::Instant::now();
            let at = free_at.map_or(now, |at| at.max(now));
            *free_at = Some(at + Duration::from_secs_f64(bytes as f64 / rate as f64));
            at
        };
        tokio::time::sleep_until(at).await;
    }
}

/// Makes clients whose traffic is counted.
pub(super) struct CountedConnector {
    pub(super) traffic: Arc<Traffic>,
    /// Makes the client, for servers with or without encryption.
    pub(super) client: Box<dyn Fn(bool) -> reqwest::Result<reqwest::Client> + Send + Sync>,
    /// The connection time of the bucket's own requests. Those for keys have another, and go the usual way.
    pub(super) connect_timeout: String,
}

impl fmt::Debug for CountedConnector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CountedConnector")
    }
}

impl HttpConnector for CountedConnector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let value = |key: &ClientConfigKey| options.get_config_value(key);
        if value(&ClientConfigKey::ConnectTimeout).as_ref() != Some(&self.connect_timeout) {
            return ReqwestConnector::default().connect(options);
        }
        let allows_http = value(&ClientConfigKey::AllowHttp).as_deref() == Some("true");
        let client = (self.client)(allows_http)
            .map_err(|error| object_store::Error::Generic { store: "HTTP", source: error.into() })?;
        Ok(HttpClient::new(CountedClient { client, traffic: Arc::clone(&self.traffic) }))
    }
}

#[derive(Debug)]
struct CountedClient {
    client: reqwest::Client,
    traffic: Arc<Traffic>,
}

impl CountedClient {
    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let (parts, body) = request.into_parts();
        let url =
            parts.uri.to_string().parse().map_err(|error| HttpError::new(HttpErrorKind::Unknown, error))?;
        let mut request = reqwest::Request::new(parts.method, url);
        *request.headers_mut() = parts.headers;
        let body = match body.as_bytes() {
            Some(bytes) => bytes.clone().into(),
            None => {
                let traffic = Arc::clone(&self.traffic);
                reqwest::Body::wrap_stream(body.into_data_stream().then(move |chunk| {
                    let traffic = Arc::clone(&traffic);
                    async move {
                        let bytes = chunk.as_ref().map_or(0, Bytes::len);
                        traffic.wait_for(bytes).await;
                        traffic.count(bytes);
                        chunk
                    }
                }))
            }
        };
        *request.body_mut() = Some(body);
        let response = self.client.execute(request).await.map_err(fault)?;
        let response: http::Response<reqwest::Body> = response.into();
        let (parts, body) = response.into_parts();
        let traffic = Arc::clone(&self.traffic);
        let counted = body.map_err(fault).map_frame(move |frame| {
            traffic.count(frame.data_ref().map_or(0, Bytes::len));
            frame
        });
        Ok(HttpResponse::from_parts(parts, HttpResponseBody::new(counted)))
    }
}

impl HttpService for CountedClient {
    fn call<'s, 'f>(
        &'s self,
        request: HttpRequest,
    ) -> Pin<Box<dyn Future<Output = Result<HttpResponse, HttpError>> + Send + 'f>>
    where
        's: 'f,
        Self: 'f,
    {
        Box::pin(self.send(request))
    }
}

/// The fault of a request, by which the client decides about another attempt.
fn fault(error: reqwest::Error) -> HttpError {
    let kind = match () {
        () if error.is_timeout() => HttpErrorKind::Timeout,
        () if error.is_connect() => HttpErrorKind::Connect,
        () if error.is_decode() && error.source().is_none() => HttpErrorKind::Decode,
        () => HttpErrorKind::Interrupted,
    };
    HttpError::new(kind, error.without_url())
}
