//! Front of a service of several recorders: everything below `/recorders/ID/` is answered as the service of that recorder alone
//! answers it, and the rest by all of them together.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use http::uri::PathAndQuery;
use http::{HeaderValue, StatusCode, Uri, header};
use netrewind_extractor::Extractor;
use netrewind_store::locked;
use tower_service::Service as _;

use crate::access::{AskedPath, BELOW_RECORDER_ROUTE, RECORDER_PAGE_ROUTE, RECORDER_ROUTE};
use crate::problem::{Kind, Problem, RETRY_AFTER_SECONDS};
use crate::recorders::Recorders;
use crate::service::Service;
use crate::source::Source;

/// Below it, each recorder is found by its id.
const RECORDERS: &str = "/recorders/";

/// The id of the recorder and the path below it, of a path that is below one.
pub fn below_recorder(path: &str) -> Option<(&str, &str)> {
    let below = path.strip_prefix(RECORDERS)?;
    let at = below.find('/')?;
    Some((below.get(..at)?, below.get(at..)?))
}

/// Makes the routes of a recorder.
pub type RoutesOf = Box<dyn Fn(&str, Arc<Extractor>) -> Router + Send + Sync>;

/// Where requests go.
struct Front {
    root: Router,
    recorders: Arc<Recorders>,
    routes_of: RoutesOf,
    /// Routes of the recorders that were asked for, each with the extractor that answers.
    made: Mutex<HashMap<String, (Arc<Extractor>, Router)>>,
}

impl Front {
    /// The routes of a recorder, if it can be asked.
    fn routes(&self, id: &str) -> Option<Router> {
        let mut made = locked(&self.made);
        let Some(extractor) = self.recorders.extractor(id) else {
            made.remove(id);
            return None;
        };
        match made.get(id) {
            Some((known, routes)) if Arc::ptr_eq(known, &extractor) => Some(routes.clone()),
            _ => {
                let routes = (self.routes_of)(id, Arc::clone(&extractor));
                made.insert(id.to_owned(), (extractor, routes.clone()));
                Some(routes)
            }
        }
    }
}

/// Routes of recorders that are not there.
pub fn routes() -> Router<Arc<Service>> {
    Router::new()
        .route(RECORDER_ROUTE, any(no_recorder))
        .route(RECORDER_PAGE_ROUTE, any(no_recorder))
        .route(BELOW_RECORDER_ROUTE, any(nothing_below))
}

/// The service of all recorders together, and of each.
pub fn router(root: Router, recorders: Arc<Recorders>, routes_of: RoutesOf) -> Router {
    let front = Front { root, recorders, routes_of, made: Mutex::default() };
    Router::new().fallback(dispatch).with_state(Arc::new(front))
}

async fn dispatch(State(front): State<Arc<Front>>, mut request: Request) -> Response {
    let path = request.uri().path().to_owned();
    let served = path.strip_prefix(RECORDERS).filter(|id| front.recorders.extractor(id).is_some());
    if let Some(place) = served.and_then(|id| HeaderValue::from_str(&format!("{RECORDERS}{id}/")).ok()) {
        // The page names what it needs by paths that are relative to its own.
        return (StatusCode::PERMANENT_REDIRECT, [(header::LOCATION, place)]).into_response();
    }
    let found = below_recorder(&path)
        .and_then(|(id, below)| Some((front.routes(id)?, with_path(request.uri(), below)?)));
    let answered = match found {
        Some((mut routes, uri)) => {
            *request.uri_mut() = uri;
            request.extensions_mut().insert(AskedPath(path));
            routes.call(request).await
        }
        None => front.root.clone().call(request).await,
    };
    answered.unwrap_or_else(|never| match never {})
}

/// The address with another path.
fn with_path(uri: &Uri, path: &str) -> Option<Uri> {
    let text = match uri.query() {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(text).ok()?);
    Uri::from_parts(parts).ok()
}

async fn no_recorder(State(service): State<Arc<Service>>, Path(id): Path<String>) -> Problem {
    absent(&service, &id)
}

async fn nothing_below(
    State(service): State<Arc<Service>>,
    Path((id, _)): Path<(String, String)>,
) -> Problem {
    absent(&service, &id)
}

fn absent(service: &Service, id: &str) -> Problem {
    let trouble = match &service.source {
        Source::One(_) => None,
        Source::Several(recorders) => recorders.trouble(id),
    };
    match trouble {
        Some(trouble) => Problem::new(Kind::RecorderUnreadable, trouble)
            .with("recorder", id)
            .retry_after(RETRY_AFTER_SECONDS),
        None => Problem::new(Kind::NotFound, "there is no such recorder: /api/v1/recorders lists them"),
    }
}
