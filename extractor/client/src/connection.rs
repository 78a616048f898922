//! One recorder: requests out, pieces of its answer in.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use netrewind_extractor::{ANSWER_HEADER, COMPLETENESS_HEADER};
use rustls::pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde_json::{Map, Value};
use tokio::sync::mpsc::Sender;

use crate::error::{RemoteError, Trouble};
use crate::pcapng_stream::{Block, Blocks};
use crate::question::Question;
use crate::trust::Trust;

/// Interval at which the caller that waits for a recorder is asked whether to give up.
pub(super) const LOOK_INTERVAL: Duration = Duration::from_millis(50);
/// Time for a connection to come about.
const CONNECT_TIME: Duration = Duration::from_secs(10);
/// Idle time after which a connection is probed.
const KEEPALIVE: Duration = Duration::from_secs(20);
/// The longest query string; longer parameters, such as lists, go in the body of a POST.
const QUERY_STRING_BYTES_MAX: usize = 4 << 10;
/// The longest query string of a question that has no form with a body.
const LONE_QUERY_STRING_BYTES_MAX: usize = 48 << 10;
/// Conversations that are asked for at a time.
const PAGE_FLOWS: usize = 5_000;
/// Bytes of an answer that is not a capture file.
const OBJECT_BYTES_MAX: usize = 16 << 20;

/// Message about a JSON answer that is not a recorder's.
const NO_ACCOUNT: &str = "its reply is not one of a netrewind recorder";

pub(super) type HttpClient = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// Credentials for recorders.
#[derive(Clone, Default)]
pub struct Access {
    /// Bearer token sent to them.
    pub token: Option<String>,
    /// Certificates that theirs may be signed by, as PEM; absent: those that the system trusts.
    pub authorities: Option<Vec<u8>>,
}

/// A recorder that can be asked.
#[derive(Clone, Debug)]
pub(super) struct Connection {
    /// Its host and port, by which users know it.
    pub(super) name: String,
    /// Its TCP port.
    pub(super) port: u16,
    base: String,
    token: Option<String>,
    client: HttpClient,
}

/// A piece of an answer.
#[derive(Debug)]
pub(super) enum Piece {
    /// Completeness known before reading; first.
    Head(Value),
    Blocks(Vec<Block>),
    /// The recorder's account; last.
    End(Result<Value, Trouble>),
}

/// HTTP client that all connections share.
pub(super) fn client(access: &Access) -> Result<HttpClient, RemoteError> {
    let mut http = HttpConnector::new();
    http.enforce_http(false);
    http.set_connect_timeout(Some(CONNECT_TIME));
    http.set_keepalive(Some(KEEPALIVE));
    http.set_nodelay(true);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let (roots, pinned) = authorities(access.authorities.as_deref())?;
    let trust = Trust::new(roots, pinned, Arc::clone(&provider)).map_err(RemoteError::Failed)?;
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| RemoteError::Failed(error.to_string()))?
        .dangerous() // names, dates and signatures are verified all the same
        .with_custom_certificate_verifier(Arc::new(trust))
        .with_no_client_auth();
    let connector =
        HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().wrap_connector(http);
    Ok(Client::builder(TokioExecutor::new()).build(connector))
}

/// The authorities that are trusted, and the certificates that the user named.
fn authorities(
    pem: Option<&[u8]>,
) -> Result<(rustls::RootCertStore, Vec<CertificateDer<'static>>), RemoteError> {
    let (mut roots, mut pinned) = (rustls::RootCertStore::empty(), Vec::new());
    let Some(pem) = pem else {
        // A system certificate that cannot be read is ignored: no recorder needs it.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        return Ok((roots, pinned));
    };
    let wrong = |why: &str| {
        RemoteError::Usage(format!("--ca-file: {why}: give the certificates of the authorities as PEM"))
    };
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|_| wrong("a certificate in the file is damaged"))?;
        pinned.push(certificate.clone());
        roots.add(certificate).map_err(|_| wrong("a certificate in the file is of an unknown kind"))?;
    }
    match roots.is_empty() {
        true => Err(wrong("there is no certificate in the file")),
        false => Ok((roots, pinned)),
    }
}

impl Connection {
    pub(super) fn new(url: &str, client: HttpClient, access: &Access) -> Result<Self, RemoteError> {
        let wrong =
            |why: &str| RemoteError::Usage(format!("{url:?} {why}; write one as https://recorder:8640"));
        let with_scheme = with_scheme(url);
        let uri: Uri = with_scheme.parse().map_err(|_| wrong("is not a URL"))?;
        let authority = uri.authority().ok_or_else(|| wrong("names no host"))?.clone();
        match uri.scheme_str() {
            Some("https") => {}
            Some("http") if access.token.is_none() || is_loopback(authority.host()) => {}
            Some("http") => return Err(wrong("is not encrypted: a token is only sent over https")),
            _ => return Err(wrong("is not an http or https URL")),
        }
        let base = with_scheme.trim_end_matches('/').to_owned();
        let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("https") { 443 } else { 80 });
        Ok(Self { name: authority.to_string(), port, base, token: access.token.clone(), client })
    }

    fn request(&self, method: Method, path: &str, body: Bytes) -> Result<Request<Full<Bytes>>, Trouble> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}/api/v1/{path}", self.base))
            .header(header::TE, "trailers")
            .header(header::CONTENT_TYPE, "application/json");
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        request.body(Full::new(body)).map_err(|_| {
            Trouble::Wrong(format!(
                "{}: the address or the token has characters that a request cannot hold",
                self.base
            ))
        })
    }

    async fn ask(&self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, Trouble> {
        let response = self.client.request(request).await;
        let response =
            response.map_err(|error| Trouble::Silent(format!("it cannot be reached: {}", cause(&error))))?;
        match response.status() {
            StatusCode::OK => Ok(response),
            status => Err(problem(status, response.into_body()).await),
        }
    }

    /// Asks for one object. Of conversations it asks for one page after the other, as far as they are wanted.
    pub(super) async fn look_up(
        self,
        question: Question,
        mut fields: Map<String, Value>,
    ) -> Result<Value, Trouble> {
        let Question::Flows(asked) = &question else { return self.object(&question, &fields).await };
        let mut answer = Value::Null;
        loop {
            let found = flows_in(&mut answer).map_or(0, |flows| flows.len());
            let wanted = asked.limit.saturating_sub(found);
            fields.insert("limit".into(), wanted.clamp(1, PAGE_FLOWS).into());
            let mut page = self.object(&question, &fields).await?;
            let next = page.get("next").cloned().unwrap_or_default();
            let count = flows_in(&mut page).map_or(0, |flows| flows.len());
            match flows_in(&mut answer) {
                None => answer = page,
                Some(flows) => {
                    flows.append(flows_in(&mut page).unwrap_or(&mut Vec::new()));
                    answer["next"] = next.clone();
                }
            }
            if next.is_null() || count == 0 || count >= wanted {
                return Ok(answer);
            }
            fields.insert("cursor".into(), next);
        }
    }

    async fn object(&self, question: &Question, fields: &Map<String, Value>) -> Result<Value, Trouble> {
        let (query, path) = (query_string(fields), question.path());
        let bytes_max =
            if question.takes_body() { QUERY_STRING_BYTES_MAX } else { LONE_QUERY_STRING_BYTES_MAX };
        let request = match query.len() <= bytes_max {
            true => self.request(Method::GET, &format!("{path}?{query}"), Bytes::new())?,
            false if question.takes_body() => {
                let body = serde_json::to_vec(fields).map_err(|error| Trouble::Wrong(error.to_string()))?;
                self.request(Method::POST, path, body.into())?
            }
            false => {
                return Err(Trouble::Wrong(
                    "the filter and the lists are too long to be sent with this question: shorten them, or ask \
                     the store itself with --store"
                        .to_owned(),
                ));
            }
        };
        let response = self.ask(request).await?;
        let body = Limited::new(response.into_body(), OBJECT_BYTES_MAX).collect().await;
        let body = body.map_err(|error| Trouble::Broken(cause(&*error)))?.to_bytes();
        serde_json::from_slice(&body).map_err(|_| Trouble::Broken(NO_ACCOUNT.to_owned()))
    }

    /// Requests packets, and passes them on as they arrive, as fast as they are taken.
    pub(super) async fn stream(self, fields: Map<String, Value>, pieces: Sender<Piece>) {
        let end = self.read(&fields, &pieces).await;
        // Whoever does not listen any more has ended.
        let _ = pieces.send(Piece::End(end)).await;
    }

    async fn read(&self, fields: &Map<String, Value>, pieces: &Sender<Piece>) -> Result<Value, Trouble> {
        let body = serde_json::to_vec(fields).map_err(|error| Trouble::Wrong(error.to_string()))?;
        let response = self.ask(self.request(Method::POST, "packets", body.into())?).await?;
        let head = object(response.headers(), COMPLETENESS_HEADER).unwrap_or_default();
        let mut account = object(response.headers(), ANSWER_HEADER);
        if pieces.send(Piece::Head(head)).await.is_err() {
            return Err(Trouble::Broken("nothing listens there".to_owned()));
        }
        let mut body = response.into_body();
        let mut blocks = Blocks::default();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| Trouble::Broken(cause(&error)))?;
            match frame.into_data() {
                Ok(bytes) => {
                    blocks.feed(&bytes);
                    let mut found = Vec::new();
                    while let Some(block) = blocks.next().map_err(Trouble::Broken)? {
                        found.push(block);
                    }
                    if pieces.send(Piece::Blocks(found)).await.is_err() {
                        return Err(Trouble::Broken("nothing listens there".to_owned()));
                    }
                }
                Err(frame) => {
                    let told = frame.trailers_ref().and_then(|trailers| object(trailers, ANSWER_HEADER));
                    account = told.or(account);
                }
            }
        }
        match account {
            Some(account) if blocks.is_at_end() => Ok(account),
            Some(_) => Err(Trouble::Broken("its last block is cut".to_owned())),
            None => Err(Trouble::Broken("its account is missing".to_owned())),
        }
    }
}

/// `localhost:8640` means http, as it is served by default; any other host means https.
fn with_scheme(url: &str) -> String {
    let url = url.trim();
    if url.contains("://") || url.is_empty() {
        return url.to_owned();
    }
    let authority = url.split('/').next().unwrap_or_default();
    let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
    format!("{}://{url}", if is_loopback(host) { "http" } else { "https" })
}

fn query_string(fields: &Map<String, Value>) -> String {
    let mut form = form_urlencoded::Serializer::new(String::new());
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    for (name, value) in fields {
        let list = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
        for value in list {
            form.append_pair(name, &text(value));
        }
    }
    form.finish()
}

/// The conversations of a page.
fn flows_in(page: &mut Value) -> Option<&mut Vec<Value>> {
    page.get_mut("flows")?.as_array_mut()
}

/// JSON value of a header.
fn object(headers: &HeaderMap, name: &str) -> Option<Value> {
    serde_json::from_slice(headers.get(name)?.as_bytes()).ok()
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// Trouble described by a problem document (RFC 9457).
async fn problem(status: StatusCode, body: Incoming) -> Trouble {
    let body = Limited::new(body, OBJECT_BYTES_MAX).collect().await.map(|body| body.to_bytes());
    let document: Value = body.ok().and_then(|body| serde_json::from_slice(&body).ok()).unwrap_or_default();
    let member = |name: &str| document.get(name).and_then(Value::as_str);
    let text =
        member("detail").or(member("title")).map_or_else(|| format!("it answers {status}"), str::to_owned);
    match (member("type"), status) {
        (Some("/problems/not-kept"), _) => Trouble::NothingKept(text),
        (Some("/problems/bad-parameter"), _) if member("parameter") == Some("interface") => {
            Trouble::NoSuchInterface(text)
        }
        (_, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND) => {
            Trouble::Silent(text)
        }
        (_, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT) => Trouble::Silent(text),
        (_, status) if status.is_client_error() => Trouble::Wrong(text),
        _ => Trouble::Silent(text),
    }
}

/// Root cause of an error, in a network engineer's words: the message of the system or of TLS, or that the other end went.
pub(super) fn cause(error: &(dyn std::error::Error + 'static)) -> String {
    let mut at = Some(error);
    while let Some(error) = at {
        if let Some(system) = error.downcast_ref::<std::io::Error>() {
            if let Some(tls) = system.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
                return of_tls(tls);
            }
            if system.kind() == std::io::ErrorKind::TimedOut {
                return format!("no answer within {} s", CONNECT_TIME.as_secs());
            }
            // A failed name lookup has a text, but no error number of the system.
            if system.raw_os_error().is_some() || error.source().is_none() && system.get_ref().is_none() {
                return system.to_string();
            }
            // Its `source` would skip the error that it wraps.
            if let Some(held) = system.get_ref() {
                at = Some(held);
                continue;
            }
        }
        if let Some(tls) = error.downcast_ref::<rustls::Error>() {
            return of_tls(tls);
        }
        at = error.source();
    }
    let last = last_words(error);
    match last.contains("lookup") {
        true => last,
        false => "the connection ended".to_owned(),
    }
}

fn last_words(error: &(dyn std::error::Error + 'static)) -> String {
    let mut last = error;
    while let Some(error) = last.source() {
        last = error;
    }
    last.to_string()
}

fn of_tls(error: &rustls::Error) -> String {
    use rustls::CertificateError as Certificate;
    match error {
        rustls::Error::InvalidCertificate(fault) => match fault {
            Certificate::UnknownIssuer => {
                "its certificate is not signed by a trusted authority: name its authority with --ca-file"
                    .to_owned()
            }
            Certificate::Expired | Certificate::ExpiredContext { .. } => {
                "its certificate has expired".to_owned()
            }
            Certificate::NotValidYet | Certificate::NotValidYetContext { .. } => {
                "its certificate is not valid yet: are both clocks right?".to_owned()
            }
            Certificate::NotValidForName | Certificate::NotValidForNameContext { .. } => {
                "its certificate is for another name: use the name in the certificate".to_owned()
            }
            _ => "its certificate is not valid".to_owned(),
        },
        rustls::Error::InvalidMessage(_) => "it does not speak TLS there: is it http://?".to_owned(),
        _ => "the TLS handshake with it failed".to_owned(),
    }
}
