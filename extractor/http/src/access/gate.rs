//! Gate before the routes: every request passes here first, and every response last.
//!
//! A route that is not listed here is for administrators only: add new routes here.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{ConnectInfo, MatchedPath, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use netrewind_extractor::{ANSWER_HEADER, COMPLETENESS_HEADER};
use netrewind_store::clock::{Clock, Now};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tower_http::cors::CorsLayer;

use super::authenticator::{Authentication, Authenticator};
use super::caller::{Caller, Refusal};
use super::proxy::TrustedProxies;
use super::signed_in::SignedIn;
use super::tokens::Scope;
use crate::audit::{Audit, Refused};
use crate::identity::Identity;
use crate::metrics::Metrics;
use crate::problem::{Kind, Problem};
use crate::service::Service;

/// Hashes that are computed at a time: each takes a core and 19 MiB.
const VERIFYING_MAX: usize = 2;
/// Requests that wait for one.
const WAITING_MAX: usize = 64;
/// Requests that ask an issuer at a time: tokens of this service do not wait for them.
const ASKING_MAX: usize = 4;
/// Time that others wait for a place among these.
const ASKING_PATIENCE: Duration = Duration::from_secs(10);
/// Wait that clients are told if there is no room.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Pages may load only resources from here; nobody may frame them.
const CONTENT_POLICY: &str = "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; \
                              form-action 'self'; frame-ancestors 'none'";
/// Route at which sessions begin and end.
pub const SESSION_ROUTE: &str = "/api/v1/session";
/// A recorder that is not there, or cannot be read, where several are served.
pub const RECORDER_ROUTE: &str = "/recorders/{id}";
/// Its page.
pub const RECORDER_PAGE_ROUTE: &str = "/recorders/{id}/";
/// What it would have.
pub const BELOW_RECORDER_ROUTE: &str = "/recorders/{id}/{*path}";
/// Where a sign-in at an issuer begins.
pub const LOGIN_ROUTE: &str = "/oidc/login";
/// Where it ends.
pub const CALLBACK_ROUTE: &str = "/oidc/callback";
/// Routes of holds, which change the store: for administrators only.
const HOLD_ROUTES: [&str; 2] = ["/api/v1/holds", "/api/v1/holds/{case}"];
/// Routes whose POST only reads, as the page sends it with what is too long for an address.
const READING_POSTS: [&str; 5] = [
    "/api/v1/packets",
    "/api/v1/packets/count",
    "/api/v1/packets/estimate",
    "/api/v1/packets/hits",
    "/api/v1/events/selection",
];
/// Where a page stands that sends a request: Fetch Metadata, section 2.1.
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
/// On every response that does not say otherwise.
const HEADERS: [(HeaderName, &str); 6] = [
    (header::CONTENT_SECURITY_POLICY, CONTENT_POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];
/// A year: RFC 6797.
const STRICT_TRANSPORT: &str = "max-age=31536000";

/// Admission rules.
#[derive(Debug, Default)]
pub struct Admission {
    /// Access by tokens; `None`: everyone who can connect is admitted, which must be this machine alone.
    pub authenticator: Option<Authenticator>,
    /// Proxies that sign users in.
    pub proxies: Option<TrustedProxies>,
    /// Connections are encrypted.
    pub is_encrypted: bool,
    /// Pages of these origins may read answers too.
    pub origins: Vec<HeaderValue>,
}

/// The gate, as it is shared by all requests.
pub struct Gate {
    clock: Arc<dyn Clock>,
    audit: Option<Arc<Audit>>,
    metrics: Arc<Metrics>,
    authenticator: Option<Arc<Authenticator>>,
    proxies: Option<TrustedProxies>,
    is_encrypted: bool,
    origins: Vec<HeaderValue>,
    verifying: Semaphore,
    waiting: Semaphore,
    asking: Arc<Semaphore>,
}

/// Path that a request asked for, before that of its recorder was taken away.
#[derive(Clone, Debug)]
pub struct AskedPath(pub String);

/// Parts of the gate that the handlers of sessions need.
#[derive(Clone, Debug)]
pub struct Visit {
    /// Absent where no tokens are asked for.
    pub authenticator: Option<Arc<Authenticator>>,
    /// Time at which the request began.
    pub now: Now,
    /// Connections are encrypted.
    pub is_encrypted: bool,
    asking: Arc<Semaphore>,
}

impl Visit {
    /// A place among those who ask the issuer.
    pub async fn place_to_ask(&self) -> Result<OwnedSemaphorePermit, Refusal> {
        let asked = tokio::time::timeout(ASKING_PATIENCE, Arc::clone(&self.asking).acquire_owned()).await;
        asked.ok().and_then(Result::ok).ok_or(Refusal::TooMany(RETRY_AFTER))
    }
}

/// Callers that a route is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Audience {
    /// It reveals nothing about the recording.
    Everybody,
    /// Anybody with a token.
    Known,
    /// Anybody with a token of this scope.
    Of(Scope),
}

/// Callers that a route is for.
fn audience_of(method: &Method, route: &str) -> Audience {
    match (route, method) {
        // Nobody is kept from leaving.
        (SESSION_ROUTE, &Method::DELETE) => Audience::Everybody,
        (SESSION_ROUTE | RECORDER_ROUTE | RECORDER_PAGE_ROUTE | BELOW_RECORDER_ROUTE, _) => Audience::Known,
        _ => scope_of(route).map_or(Audience::Everybody, Audience::Of),
    }
}

/// A session permits reading, and holds from the page itself: a request that another page makes the browser send changes nothing.
fn is_for_sessions(request: &Request) -> bool {
    match *request.method() {
        Method::GET | Method::HEAD => true,
        Method::POST => READING_POSTS.contains(&request.uri().path()) || is_hold(request),
        Method::DELETE => is_hold(request),
        _ => false,
    }
}

/// True if it makes or releases a hold.
fn is_hold(request: &Request) -> bool {
    let is_plain = matches!(*request.method(), Method::GET | Method::HEAD);
    let path = request.uri().path();
    !is_plain
        && path.strip_prefix(HOLD_ROUTES[0]).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The scope that a route needs; `None`: none, because it reveals nothing about the recording.
fn scope_of(route: &str) -> Option<Scope> {
    match route {
        "/" | "/healthz" | "/openapi.json" | "/assets/{*path}" | SESSION_ROUTE | LOGIN_ROUTE
        | CALLBACK_ROUTE => None,
        "/metrics" | "/api/v1/status" | "/api/v1/segments" | "/api/v1/recorders" => Some(Scope::Status),
        "/api/v1/flows"
        | "/api/v1/flows/{id}"
        | "/api/v1/summary"
        | "/api/v1/values"
        | "/api/v1/series"
        | "/api/v1/filter"
        | "/api/v1/events/selection" => Some(Scope::Flows),
        "/api/v1/packets"
        | "/api/v1/packets/count"
        | "/api/v1/packets/estimate"
        | "/api/v1/packets/list"
        | "/api/v1/packets/hits"
        | "/api/v1/packets/dissection"
        | "/api/v1/manifests/{name}"
        | "/api/v1/manifests/{name}/signature"
        | "/api/v1/flows/{id}/packets"
        | "/api/v1/flows/{id}/stream" => Some(Scope::Extract),
        // The routes of holds, and what is not listed here.
        _ => Some(Scope::Admin),
    }
}

/// Puts the gate before routes.
pub fn guard(router: Router, gate: &Arc<Gate>) -> Router {
    let cross_origin = (!gate.origins.is_empty()).then(|| {
        CorsLayer::new()
            .allow_origin(gate.origins.clone())
            .allow_methods([Method::GET, Method::HEAD, Method::POST])
            .allow_headers([header::AUTHORIZATION, header::CONTENT_TYPE])
            .expose_headers([COMPLETENESS_HEADER, ANSWER_HEADER].map(HeaderName::from_static))
    });
    let guarded = router.layer(from_fn_with_state(Arc::clone(gate), pass));
    match cross_origin {
        Some(layer) => guarded.layer(layer),
        None => guarded,
    }
}

async fn pass(
    State(gate): State<Arc<Gate>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    mut request: Request,
    next: Next,
) -> Response {
    let begun = gate.clock.now().monotonic_ns;
    let route = request.extensions().get::<MatchedPath>().map(|matched| matched.as_str().to_owned());
    let asked = request.extensions().get::<AskedPath>().map(|AskedPath(path)| path.clone());
    let path = asked.unwrap_or_else(|| request.uri().path().to_owned());
    // Unknown routes reveal nothing.
    let audience = route.as_deref().map_or(Audience::Everybody, |route| audience_of(request.method(), route));
    let admitted = match gate.check_origin(&request) {
        Ok(()) => {
            let authenticator = gate.authenticator.as_ref().filter(|_| audience != Audience::Everybody);
            let checked = authenticator.map(|authenticator| {
                (Arc::clone(authenticator), gate.authenticate(authenticator, &request, peer.ip()))
            });
            gate.admit(audience, checked).await
        }
        Err(refusal) => Err((refusal, None)),
    };
    let mut response = match admitted {
        Ok(caller) => {
            if let Some(Caller { name, joined, .. }) = caller {
                let is_local = gate.authenticator.is_none();
                let identity = Identity { name, filter: joined, peer: Some(peer), is_local };
                request.extensions_mut().insert(identity);
            }
            if let Some(SESSION_ROUTE | LOGIN_ROUTE | CALLBACK_ROUTE) = route.as_deref() {
                request.extensions_mut().insert(gate.visit());
            }
            next.run(request).await
        }
        Err((refusal, who)) => gate.refuse(&refusal, who, peer, path),
    };
    gate.add_common_headers(response.headers_mut());
    let took = gate.clock.now().since(begun);
    gate.metrics.request(route.as_deref(), response.status().as_u16(), took);
    response
}

impl Gate {
    /// The gate of a service.
    pub fn new(service: &Service, admission: Admission) -> Self {
        let Admission { authenticator, proxies, is_encrypted, origins } = admission;
        Self {
            clock: Arc::clone(&service.clock),
            audit: service.audit.clone(),
            metrics: Arc::clone(&service.metrics),
            authenticator: authenticator.map(Arc::new),
            proxies,
            is_encrypted,
            origins,
            verifying: Semaphore::new(VERIFYING_MAX),
            waiting: Semaphore::new(WAITING_MAX),
            asking: Arc::new(Semaphore::new(ASKING_MAX)),
        }
    }

    fn visit(&self) -> Visit {
        Visit {
            authenticator: self.authenticator.clone(),
            now: self.clock.now(),
            is_encrypted: self.is_encrypted,
            asking: Arc::clone(&self.asking),
        }
    }

    /// Refuses pages from elsewhere if no tokens are asked for: a page must not send queries on its reader's behalf, neither by
    /// a name of its own that suddenly means this machine (DNS rebinding), nor by sending a form here.
    fn check_origin(&self, request: &Request) -> Result<(), Refusal> {
        if self.authenticator.is_some() {
            return Ok(());
        }
        let host = authority(request);
        if let Some(host) = host.as_deref().filter(|host| !is_loopback(host)) {
            return Err(Refusal::WrongHost(host.chars().take(80).collect()));
        }
        if self.is_from_elsewhere(request) { Err(Refusal::WrongOrigin) } else { Ok(()) }
    }

    /// True if it was sent by a page of another origin that is not allowed.
    fn is_from_elsewhere(&self, request: &Request) -> bool {
        let Some(origin) = request.headers().get(header::ORIGIN) else { return false };
        !self.origins.contains(origin) && !is_from_here(request)
    }

    /// Caller, if the route needs one; or the reason to refuse, with the caller's name if it is known.
    async fn admit(
        &self,
        audience: Audience,
        checked: Option<(Arc<Authenticator>, Authentication)>,
    ) -> Result<Option<Caller>, (Refusal, Option<String>)> {
        if audience == Audience::Everybody {
            return Ok(None);
        }
        let Some((authenticator, authentication)) = checked else { return Ok(Some(Caller::local())) };
        let caller = match authentication {
            Authentication::Known(caller) => Ok(caller),
            Authentication::Refused(refusal) => Err(refusal),
            Authentication::Foreign(claim) => {
                let _place = self.visit().place_to_ask().await.map_err(|refusal| (refusal, None))?;
                let now = self.clock.now();
                let verified =
                    tokio::task::spawn_blocking(move || authenticator.verify_foreign(&claim, now)).await;
                verified.unwrap_or(Err(Refusal::Unavailable))
            }
            Authentication::Unknown(claim) => {
                let Ok(_waiting) = self.waiting.try_acquire() else {
                    return Err((Refusal::TooMany(RETRY_AFTER), None));
                };
                let _verifying = self.verifying.acquire().await;
                let now = self.clock.now();
                let verified = tokio::task::spawn_blocking(move || authenticator.verify(&claim, now)).await;
                verified.unwrap_or(Err(Refusal::Unavailable))
            }
        };
        let caller = caller.map_err(|refusal| {
            let who = match &refusal {
                Refusal::NoRights(user) => Some(user.clone()),
                _ => None,
            };
            (refusal, who)
        })?;
        match audience {
            Audience::Of(scope) if !caller.may(scope) => Err((Refusal::OutOfScope(scope), Some(caller.name))),
            _ => Ok(Some(caller)),
        }
    }

    /// Identifies a request by its token, or else by its session if that suffices.
    fn authenticate(&self, authenticator: &Authenticator, request: &Request, peer: IpAddr) -> Authentication {
        let headers = request.headers();
        if let Some(user) = self.proxies.as_ref().and_then(|proxies| proxies.user_of(headers, peer)) {
            return self.authenticate_user(authenticator, user, request);
        }
        if headers.contains_key(header::AUTHORIZATION) || !is_for_sessions(request) {
            let token = headers.get(header::AUTHORIZATION).map(|value| value.to_str().unwrap_or_default());
            return authenticator.check_authorization(token, peer, self.clock.now());
        }
        // The browser sends the cookie by itself, even if another page makes it send a form.
        let is_from_elsewhere = match is_hold(request) {
            true => headers.contains_key(header::COOKIE) && !is_from_here(request),
            false => self.changes_from_elsewhere(request),
        };
        if is_from_elsewhere {
            return Authentication::Refused(Refusal::WrongOrigin);
        }
        authenticator.check_cookie(cookies(headers).as_deref(), peer, self.clock.now())
    }

    /// True if a page of another origin has sent it, and it is not one that only reads.
    fn changes_from_elsewhere(&self, request: &Request) -> bool {
        let is_plain = matches!(*request.method(), Method::GET | Method::HEAD);
        // What has no page behind it names neither.
        let is_told = || match request.headers().get(FETCH_SITE).map(HeaderValue::as_bytes) {
            None | Some(b"same-origin" | b"none") => false,
            Some(_) => !request.headers().contains_key(header::ORIGIN),
        };
        !is_plain && (self.is_from_elsewhere(request) || is_told())
    }

    /// Identifies a request by the user whom a trusted proxy names. The proxy knows its users by cookies, which browsers send by
    /// themselves: what changes something has to come from the page itself, or from no page at all.
    fn authenticate_user(
        &self,
        authenticator: &Authenticator,
        user: Result<SignedIn, String>,
        request: &Request,
    ) -> Authentication {
        let checked = match user {
            Err(reason) => Err(Refusal::BadUser(reason)),
            Ok(_) if self.changes_from_elsewhere(request) => Err(Refusal::WrongOrigin),
            Ok(user) => authenticator.check_user(&user, self.clock.now()),
        };
        checked.map_or_else(Authentication::Refused, Authentication::Known)
    }

    fn refuse(&self, refusal: &Refusal, who: Option<String>, peer: SocketAddr, path: String) -> Response {
        let mut problem = problem(refusal);
        let signs_in =
            self.authenticator.as_ref().is_some_and(|authenticator| authenticator.oidc().is_some());
        if signs_in && matches!(refusal, Refusal::NoToken) {
            // For the page, which offers it.
            problem = problem.with("sign_in", LOGIN_ROUTE);
        }
        let response = problem.into_response();
        let (status, reason) = (response.status().as_u16(), refusal.to_string());
        tracing::info!(%peer, status, reason, "not let in");
        if let Some(audit) = &self.audit {
            let at = self.clock.now().wall;
            audit.refused(&Refused { at, who, peer: Some(peer), status, path, reason });
        }
        let challenge = match refusal {
            Refusal::NoToken => "Bearer realm=\"netrewind\"",
            Refusal::WrongToken => "Bearer realm=\"netrewind\", error=\"invalid_token\"",
            Refusal::OutOfScope(_) => "Bearer realm=\"netrewind\", error=\"insufficient_scope\"",
            _ => return response,
        };
        ([(header::WWW_AUTHENTICATE, challenge)], response).into_response()
    }

    /// Gives a response what every one has.
    fn add_common_headers(&self, headers: &mut HeaderMap) {
        for (name, value) in HEADERS {
            headers.entry(name).or_insert(HeaderValue::from_static(value));
        }
        headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
        if self.is_encrypted {
            headers.insert(header::STRICT_TRANSPORT_SECURITY, HeaderValue::from_static(STRICT_TRANSPORT));
        }
    }
}

/// Problem document for a refusal.
pub fn problem(refusal: &Refusal) -> Problem {
    let kind = match refusal {
        Refusal::NoToken | Refusal::WrongToken => Kind::NoAccess,
        Refusal::OutOfScope(_) | Refusal::WrongOrigin | Refusal::NoRights(_) | Refusal::BadUser(_) => {
            Kind::Forbidden
        }
        Refusal::WrongHost(_) => Kind::WrongHost,
        Refusal::TooMany(_) => Kind::TooManyFailures,
        Refusal::Unavailable | Refusal::NoIssuer(_) => Kind::AccessUnavailable,
    };
    let problem = Problem::new(kind, refusal.to_string());
    match refusal {
        Refusal::TooMany(wait) => problem.retry_after(u32::try_from(wait.as_secs() + 1).unwrap_or(u32::MAX)),
        _ => problem,
    }
}

/// All cookies of a request; HTTP/2 may send each in a header of its own.
pub fn cookies(headers: &HeaderMap) -> Option<String> {
    let all: Vec<_> =
        headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok()).collect();
    (!all.is_empty()).then(|| all.join("; "))
}

/// True if a page of this service sent it, as browsers say of every request that may change something.
fn is_from_here(request: &Request) -> bool {
    let origin = request.headers().get(header::ORIGIN).and_then(|origin| origin.to_str().ok());
    let own = authority(request);
    let of_origin = origin.and_then(|origin| origin.split_once("://")).map(|(_, of_origin)| of_origin);
    of_origin.is_some() && of_origin == own.as_deref()
}

/// Host and port that the request is for, by its target or its `Host`.
pub(crate) fn authority(request: &Request) -> Option<String> {
    let of_header =
        || request.headers().get(header::HOST).map(|host| String::from_utf8_lossy(host.as_bytes()));
    match request.uri().authority() {
        Some(authority) => Some(authority.as_str().to_owned()),
        None => of_header().map(|host| host.into_owned()),
    }
}

/// True if it can only mean this machine: not a name that DNS could resolve to it.
fn is_loopback(authority: &str) -> bool {
    let host = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, port)) if port.is_empty() || port.starts_with(':') => address,
        Some(_) => return false,
        None => authority.split_once(':').map_or(authority, |(host, _)| host),
    };
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_nobody_can_bend_mean_this_machine() {
        let own = [
            "localhost",
            "LOCALHOST:8640",
            "127.0.0.1:8640",
            "127.9.9.9",
            "[::1]:8640",
            "[::1]",
            "[::ffff:127.0.0.1]",
        ];
        assert_eq!(own.iter().find(|host| !is_loopback(host)), None);
        let foreign = [
            "evil.example",
            "localhost.evil.example:8640",
            "127.0.0.1.evil.example",
            "10.0.0.1:8640",
            "[::2]",
            "",
            "[::1]evil.example",
            "localhost@evil.example",
            "0.0.0.0",
            "2130706433",
        ];
        assert_eq!(foreign.iter().find(|host| is_loopback(host)), None);
    }

    /// The page sends by POST what is too long for an address, and has a session alone.
    #[test]
    fn every_post_that_reads_is_for_sessions() {
        let document = serde_json::to_value(crate::openapi()).expect("a document");
        let paths = document["paths"].as_object().expect("paths");
        let posts =
            paths.iter().filter(|(_, methods)| methods.get("post").is_some()).map(|(path, _)| &**path);
        let reading: Vec<_> = posts.filter(|path| ![SESSION_ROUTE, HOLD_ROUTES[0]].contains(path)).collect();
        let mut known = READING_POSTS;
        known.sort_unstable();
        assert_eq!(reading, known);
    }

    /// A route without an entry here would be closed to all but administrators: an oversight.
    #[test]
    fn every_route_says_whom_it_is_for() {
        let document = serde_json::to_value(crate::openapi()).expect("a document");
        let paths = document["paths"].as_object().expect("paths");
        assert!(paths.len() > 4);
        let unsaid: Vec<_> = paths.keys().filter(|path| scope_of(path) == Some(Scope::Admin)).collect();
        assert_eq!(unsaid, HOLD_ROUTES.iter().collect::<Vec<_>>());
        assert_eq!(scope_of("/api/v1/anything/else"), Some(Scope::Admin));
        assert_eq!(audience_of(&Method::POST, SESSION_ROUTE), Audience::Known);
    }
}
