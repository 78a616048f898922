//! Endpoints for monitoring: health, and figures.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};
use netrewind_extractor::ExtractError;
use serde::Serialize;
use utoipa::ToSchema;

use crate::metrics::{LookedAt, OPENMETRICS_TEXT, Recording, RecordingState};
use crate::problem::{Kind, Problem};
use crate::request::fields_of;
use crate::service::{Phase, Service};
use crate::source::Source;

/// State of the service and of recording.
#[derive(Debug, Serialize, ToSchema)]
pub struct Health {
    /// `ok`, or the fault.
    status: Wellness,
    /// True if queries are answered.
    serving: bool,
    /// State of recording into the store, by this process or another.
    recording: RecordingState,
    /// True if packets can be taken apart (`--sharkd`).
    dissects: bool,
}

/// Overall health.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Wellness {
    /// All is well.
    Ok,
    /// The service is about to end.
    Ending,
    /// Packets are not recorded, which was required.
    NotRecording,
}

/// State of the service and of recording
///
/// With `recording=required` it is healthy only while packets are recorded.
#[utoipa::path(get, path = "/healthz", tag = "service",
    params(("recording" = Option<String>, Query, description = "`required`: healthy only while packets are recorded", example = "required", pattern = "^required$")),
    responses(
        (status = 200, description = "Healthy", body = Health),
        (status = 503, description = "Not healthy", body = Health)
    )
)]
pub async fn healthz(State(service): State<Arc<Service>>, request: Request) -> Result<Response, Problem> {
    let mut fields = fields_of(request, &service).await?;
    let requires = match fields.text("recording")?.as_deref() {
        None => false,
        Some("required") => true,
        Some(_) => return Err(Problem::new(Kind::BadParameter, "the only value of recording is required")),
    };
    fields.end()?;
    let serving = service.phase() == Phase::Serving;
    let dissects = service.dissector.is_some();
    let state = read_store(service, |service| {
        let now = service.clock.now().wall;
        match &service.source {
            Source::One(extractor) => Recording::state(extractor.store(), now),
            Source::Several(recorders) => recorders.recording(now),
        }
    })
    .await?;
    let (code, status) = match serving {
        false => (StatusCode::SERVICE_UNAVAILABLE, Wellness::Ending),
        true if requires && state != RecordingState::Yes => {
            (StatusCode::SERVICE_UNAVAILABLE, Wellness::NotRecording)
        }
        true => (StatusCode::OK, Wellness::Ok),
    };
    Ok((code, Json(Health { status, serving, recording: state, dissects })).into_response())
}

/// Figures of the service, the store and the recorder, as OpenMetrics text
#[utoipa::path(get, path = "/metrics", tag = "service", responses(
    (status = 200, description = "OpenMetrics text", body = String, content_type = "application/openmetrics-text")
))]
pub async fn figures(State(service): State<Arc<Service>>, request: Request) -> Result<Response, Problem> {
    fields_of(request, &service).await?.end()?;
    let text = read_store(service, |service| {
        let process = service.process.as_ref().and_then(|process| match process.measure() {
            Ok(figures) => Some(figures),
            Err(error) => {
                tracing::warn!(%error, "the figures of this process are left out: they cannot be read");
                None
            }
        });
        let now = service.clock.now().wall;
        let looked_at = match &service.source {
            Source::One(extractor) => LookedAt::Store(extractor.store(), &service.recorded),
            Source::Several(recorders) => recorders.counted(),
        };
        service.metrics.text(&looked_at, &service.packets, process.as_ref(), now)
    });
    Ok(([(header::CONTENT_TYPE, OPENMETRICS_TEXT)], text.await?).into_response())
}

/// Reads the store on a thread that may wait for the disk. These requests are answered however busy the service is.
async fn read_store<T: Send + 'static>(
    service: Arc<Service>,
    work: impl FnOnce(&Service) -> Result<T, netrewind_store::StoreError> + Send + 'static,
) -> Result<T, Problem> {
    match tokio::task::spawn_blocking(move || work(&service)).await {
        Ok(read) => Ok(read.map_err(ExtractError::from)?),
        Err(_) => Err(Problem::new(Kind::Failed, "the answer broke off: see the service's log")),
    }
}
