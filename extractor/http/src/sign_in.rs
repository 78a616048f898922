//! `/oidc/login` and `/oidc/callback`: a browser is sent to the issuer of OpenID Connect, and comes back signed in.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{ConnectInfo, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};
use http::{HeaderMap, StatusCode, header};
use netrewind_store::clock::Now;

use crate::access::{
    Authenticator, CALLBACK_ROUTE, LOGIN_ROUTE, LoginError, Oidc, Visit, authority, cookies, problem,
    set_cookie,
};
use crate::problem::{Kind, Problem};
use crate::service::Service;

/// Bytes of what the issuer sends a browser back with.
const QUERY_BYTES_MAX: usize = 16 << 10;
/// Parameters of it.
const PARAMETERS_MAX: usize = 32;

/// The routes.
pub(crate) fn routes() -> Router<Arc<Service>> {
    Router::new().route(LOGIN_ROUTE, get(login)).route(CALLBACK_ROUTE, get(callback))
}

fn nowhere() -> Problem {
    Problem::new(Kind::NotFound, "nobody signs in here by OpenID Connect: see netrewind serve --oidc-issuer")
}

/// The issuer, and who lets its users in.
fn issuer(visit: &Visit) -> Result<(Arc<Authenticator>, Arc<Oidc>), Problem> {
    let authenticator = visit.authenticator.clone().ok_or_else(nowhere)?;
    let oidc = authenticator.oidc().ok_or_else(nowhere)?;
    Ok((authenticator, oidc))
}

/// Work that waits for the issuer.
async fn asking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Problem> {
    let failed =
        |_| Problem::new(Kind::Failed, "the sign-in failed because of a fault of the service: see its log");
    tokio::task::spawn_blocking(work).await.map_err(failed)
}

async fn login(Extension(visit): Extension<Visit>, request: Request) -> Result<Response, Problem> {
    let (_, oidc) = issuer(&visit)?;
    let host = authority(&request).ok_or_else(nowhere)?;
    let origin = format!("{}://{host}", if visit.is_encrypted { "https" } else { "http" });
    let now = visit.now;
    let _place = visit.place_to_ask().await.map_err(|refusal| problem(&refusal))?;
    let start = asking(move || oidc.begin_login(&origin, now)).await?;
    let start = start.map_err(|reason| Problem::new(Kind::AccessUnavailable, reason))?;
    let headers = [(header::LOCATION, start.url), (header::SET_COOKIE, start.set_cookie)];
    Ok((StatusCode::SEE_OTHER, headers).into_response())
}

async fn callback(
    State(service): State<Arc<Service>>,
    Extension(visit): Extension<Visit>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
) -> Result<Response, Problem> {
    let (authenticator, oidc) = issuer(&visit)?;
    let query = request.uri().query().unwrap_or_default();
    if query.len() > QUERY_BYTES_MAX {
        return Err(Problem::new(
            Kind::BadParameter,
            format!("the issuer's answer has more than {QUERY_BYTES_MAX} bytes"),
        ));
    }
    let parameters =
        form_urlencoded::parse(query.as_bytes()).into_owned().take(PARAMETERS_MAX).collect::<Vec<_>>();
    let (cookies, now) = (cookies(request.headers()), visit.now);
    let _place = visit.place_to_ask().await.map_err(|refusal| problem(&refusal))?;
    let ended = asking(move || oidc.end_login(&parameters, cookies.as_deref(), now)).await?;
    let user = ended.map_err(|error| {
        let kind = match &error {
            LoginError::Refused(_) => Kind::Forbidden,
            LoginError::Unavailable(_) => Kind::AccessUnavailable,
        };
        refused(&service, now, peer, &error.to_string());
        Problem::new(kind, error.to_string())
    })?;
    let begun = authenticator.begin_session_of(&user, now);
    let (value, time) = begun.map_err(|refusal| {
        refused(&service, now, peer, &refusal.to_string());
        problem(&refusal)
    })?;
    if let Some(audit) = &service.audit {
        audit.session(now.wall, &user.name(), Some(peer));
    }
    let mut headers = HeaderMap::new();
    for cookie in [set_cookie(&value, time), Oidc::forget_login()] {
        if let Ok(cookie) = cookie.parse() {
            headers.append(header::SET_COOKIE, cookie);
        }
    }
    headers.insert(header::LOCATION, http::HeaderValue::from_static("/"));
    Ok((StatusCode::SEE_OTHER, headers).into_response())
}

/// Puts a failed sign-in into the audit.
fn refused(service: &Service, now: Now, peer: SocketAddr, reason: &str) {
    tracing::info!(%peer, reason, "a sign-in failed");
    if let Some(audit) = &service.audit {
        let (path, reason) = (CALLBACK_ROUTE.to_owned(), reason.to_owned());
        let status = StatusCode::FORBIDDEN.as_u16();
        audit.refused(&crate::audit::Refused {
            at: now.wall,
            who: None,
            peer: Some(peer),
            status,
            path,
            reason,
        });
    }
}
