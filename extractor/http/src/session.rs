//! `/api/v1/session`: a page exchanges a token for a cookie, and ends the session.

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};

use crate::access::{Visit, cookies, problem, set_cookie};
use crate::fields::Fields;
use crate::identity::Identity;
use crate::problem::Problem;
use crate::service::Service;

/// Begins a session
///
/// Takes a token in `Authorization`. The cookie gives the same access as the token for requests that only read, and for holds from this page, until the
/// session is ended, half a day has passed, or the token expires. Services without tokens have no sessions.
#[utoipa::path(post, path = "/api/v1/session", tag = "service", responses(
    (status = 204, description = "The session has begun", headers(("Set-Cookie" = Option<String>, description = "The session")))
))]
pub async fn begin(
    State(service): State<Arc<Service>>,
    Extension(Visit { authenticator, now, .. }): Extension<Visit>,
    Extension(identity): Extension<Identity>,
    request: Request,
) -> Result<Response, Problem> {
    check_parameters(&request)?;
    let Some(authenticator) = authenticator else { return Ok(StatusCode::NO_CONTENT.into_response()) };
    let authorization = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let begun = authenticator.begin_session(authorization.unwrap_or_default(), now);
    let (value, time) = begun.map_err(|refusal| problem(&refusal))?;
    if let Some(audit) = &service.audit {
        audit.session(now.wall, &identity.name, identity.peer);
    }
    Ok((StatusCode::NO_CONTENT, [(header::SET_COOKIE, set_cookie(&value, time))]).into_response())
}

/// Ends a session
///
/// The one of the cookie, if there is one.
#[utoipa::path(delete, path = "/api/v1/session", tag = "service", responses(
    (status = 204, description = "The session has ended", headers(("Set-Cookie" = String, description = "Removes the cookie")))
))]
pub async fn end(
    Extension(Visit { authenticator, .. }): Extension<Visit>,
    request: Request,
) -> Result<Response, Problem> {
    check_parameters(&request)?;
    if let (Some(authenticator), Some(cookies)) = (authenticator, cookies(request.headers())) {
        authenticator.end_session(&cookies);
    }
    Ok((StatusCode::NO_CONTENT, [(header::SET_COOKIE, set_cookie("", Duration::ZERO))]).into_response())
}

/// There are none.
fn check_parameters(request: &Request) -> Result<(), Problem> {
    Fields::from_form(request.uri().query().unwrap_or_default().as_bytes())?.end()
}
