//! The routes, and the document that describes them.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::Uri;
use axum::response::{IntoResponse, Response};
use axum::{Json, Router, middleware};
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::access::{Admission, Gate, guard};
use crate::mcp::with_mcp;
use crate::problem::{Kind, Problem};
use crate::request::fields_of;
use crate::service::Service;
use crate::source::Source;
use crate::{
    alert, breakdown, client_docs, compression, connection, dissection, drain, flows, front, hits, holds,
    json, log, manifest_answer, operations, packet_list, packets, page, problem_docs, recorder_list, session,
    sign_in,
};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "netrewind",
        description = "Exactly the packets asked for, by time range and filter. HEAD is \
        answered wherever GET is. All errors are problem documents (RFC 9457), also unknown paths (404) and methods (405, with Allow)."
    ),
    components(schemas(Problem, crate::headers::Summary, crate::headers::AnswerAccount))
)]
struct Document;

/// This description of the service
#[utoipa::path(get, path = "/openapi.json", tag = "service", responses(
    (status = 200, description = "An OpenAPI document", body = serde_json::Value)
))]
async fn openapi_json(
    State(service): State<Arc<Service>>,
    request: Request,
) -> Result<Json<utoipa::openapi::OpenApi>, Problem> {
    fields_of(request, &service).await?.end()?;
    Ok(Json(openapi()))
}

fn documented() -> OpenApiRouter<Arc<Service>> {
    OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(operations::healthz))
        .routes(routes!(operations::figures))
        .routes(routes!(openapi_json))
        .routes(routes!(session::begin, session::end))
        .routes(routes!(packets::get_packets, packets::post_packets))
        .routes(routes!(json::get_count, json::post_count))
        .routes(routes!(json::get_estimate, json::post_estimate))
        .routes(routes!(packet_list::packet_list))
        .routes(routes!(hits::get_hits, hits::post_hits))
        .routes(routes!(dissection::packet_dissection))
        .routes(routes!(recorder_list::list))
        .routes(routes!(json::status))
        .routes(routes!(json::segments))
        .routes(routes!(flows::list))
        .routes(routes!(flows::one))
        .routes(routes!(flows::stream))
        .routes(routes!(packets::of_flow))
        .routes(routes!(flows::summary))
        .routes(routes!(breakdown::values))
        .routes(routes!(breakdown::series))
        .routes(routes!(flows::filter))
        .routes(routes!(alert::get_selection, alert::post_selection))
        .routes(routes!(manifest_answer::get_manifest))
        .routes(routes!(manifest_answer::get_signature))
        .routes(routes!(holds::list, holds::add))
        .routes(routes!(holds::release))
}

/// The document that describes the service.
pub fn openapi() -> utoipa::openapi::OpenApi {
    let mut document = documented().split_for_parts().1;
    problem_docs::add_problems(&mut document);
    client_docs::describe_for_clients(&mut document);
    document
}

/// The routes, behind the gate; also those for language models if they are to be answered.
pub fn router(service: Arc<Service>, admission: Admission, is_for_models: bool) -> Router {
    let gate = Arc::new(Gate::new(&service, admission));
    let connections = Arc::clone(&service.connections);
    let recorders = match &service.source {
        Source::One(_) => None,
        Source::Several(recorders) => Some(Arc::clone(recorders)),
    };
    let router = match recorders {
        None => of_recorder(service, &gate, is_for_models),
        Some(recorders) => {
            let pages = page::chooser_routes().merge(front::routes());
            let root = guarded(Arc::clone(&service), &gate, pages);
            let routes_of: front::RoutesOf = Box::new(move |id, extractor| {
                of_recorder(Arc::new(service.beside(id, extractor)), &gate, is_for_models)
            });
            front::router(root, recorders, routes_of)
        }
    };
    router
        .layer(compression::layer())
        .layer(middleware::from_fn(drain::read_to_the_end))
        .layer(middleware::from_fn(log::each_request))
        .layer(middleware::from_fn_with_state(connections, connection::busy))
}

/// The routes of one recorder.
fn of_recorder(service: Arc<Service>, gate: &Arc<Gate>, is_for_models: bool) -> Router {
    let router = guarded(service, gate, page::routes());
    if is_for_models { with_mcp(router) } else { router }
}

fn guarded(service: Arc<Service>, gate: &Arc<Gate>, pages: Router<Arc<Service>>) -> Router {
    let (router, _) = documented().split_for_parts();
    let router = router
        .merge(pages)
        .merge(sign_in::routes())
        .fallback(nothing_here)
        .method_not_allowed_fallback(not_for_this_method)
        .with_state(service);
    guard(router, gate)
}

async fn nothing_here(uri: Uri) -> Response {
    let detail = format!("there is nothing at {}: /openapi.json lists the API", uri.path());
    Problem::new(Kind::NotFound, detail).into_response()
}

/// The layer above adds which methods are allowed.
async fn not_for_this_method(request: Request) -> Response {
    let detail = format!("{} does not accept {}: see Allow", request.uri().path(), request.method());
    Problem::new(Kind::MethodNotAllowed, detail).into_response()
}
