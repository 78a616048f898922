//! Documents of other services, such as an issuer of OpenID Connect: one at a time, in bounded time and size.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Uri, header};
use http_body_util::{BodyExt, Full, Limited};

use crate::connection::{Access, HttpClient, cause, client};
use crate::error::RemoteError;

/// Bytes of a document.
const DOCUMENT_BYTES_MAX: usize = 1 << 20;
/// Time in which one has to come.
const FETCH_TIME_MAX: Duration = Duration::from_secs(10);

/// Asks other services.
#[derive(Clone)]
pub struct WebClient(HttpClient);

impl fmt::Debug for WebClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WebClient")
    }
}

impl WebClient {
    /// Trusts these authorities (PEM), or those of the system. No thread is started.
    pub fn new(authorities: Option<Vec<u8>>) -> Result<Self, RemoteError> {
        client(&Access { token: None, authorities }).map(Self)
    }

    /// Gets a document, or posts a form: its status and body. Waits for it; not to be called by tasks.
    pub fn fetch(
        &self,
        url: &str,
        authorization: Option<&str>,
        form: Option<&str>,
    ) -> Result<(u16, Vec<u8>), String> {
        let uri: Uri = url.parse().map_err(|_| "its address is not a URL".to_owned())?;
        let mut request = Request::builder()
            .method(if form.is_some() { Method::POST } else { Method::GET })
            .uri(uri)
            .header(header::ACCEPT, "application/json")
            // Each has a connection of its own.
            .header(header::CONNECTION, "close");
        if form.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        }
        if let Some(authorization) = authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        let body = Full::new(Bytes::from(form.unwrap_or_default().to_owned()));
        let request = request.body(body).map_err(|_| "the request cannot be written".to_owned())?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| error.to_string())?;
        let unreachable = |text: String| format!("it cannot be reached: {text}");
        let fetched = async {
            let response = self.0.request(request).await.map_err(|error| unreachable(cause(&error)))?;
            let status = response.status().as_u16();
            let body = Limited::new(response.into_body(), DOCUMENT_BYTES_MAX).collect().await;
            let body = body.map_err(|error| format!("its answer broke off: {}", cause(&*error)))?;
            Ok((status, body.to_bytes().to_vec()))
        };
        let late = |_| format!("no answer within {} s", FETCH_TIME_MAX.as_secs());
        runtime.block_on(async { tokio::time::timeout(FETCH_TIME_MAX, fetched).await }).map_err(late)?
    }
}
