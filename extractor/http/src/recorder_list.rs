//! `/api/v1/recorders`: the recorders that the service answers for.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::{Extension, Json};
use netrewind_extractor::Overview;
use netrewind_store::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use crate::blocking::{ClientControl, run_blocking};
use crate::identity::Identity;
use crate::problem::Problem;
use crate::recorders::{NamedRecorder, Recorders};
use crate::request::fields_of;
use crate::service::Service;
use crate::source::Source;

/// Recorders whose state is looked at at the same time.
const LOOKED_AT_ONCE: usize = 16;

/// Recorders that the service answers for.
#[derive(Debug, Serialize, ToSchema)]
pub struct RecorderList {
    /// By their ids.
    recorders: Vec<ListedRecorder>,
    /// Reason why there may be others.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    trouble: Option<String>,
}

/// A recorder that the service answers for.
#[derive(Debug, Serialize, ToSchema)]
pub struct ListedRecorder {
    /// The id of its store.
    id: String,
    /// Path below which its page and its API are.
    path: String,
    /// The store at a glance; absent if it cannot be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    status: Option<Overview>,
    /// Reason why it cannot be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    trouble: Option<String>,
}

impl ListedRecorder {
    fn of((id, served): &NamedRecorder, now: Timestamp) -> Self {
        let looked = served.as_ref().map_err(Clone::clone).and_then(|served| {
            let overview = Overview::with(&served.remembered, served.extractor.store(), now);
            overview.map_err(|error| error.to_string())
        });
        let (status, trouble) = match looked {
            Ok(status) => (Some(status), None),
            Err(trouble) => (None, Some(trouble)),
        };
        Self { id: id.clone(), path: format!("/recorders/{id}/"), status, trouble }
    }
}

/// Those of several, each with its state.
fn listed(recorders: &Recorders, now: Timestamp) -> RecorderList {
    let (all, trouble) = recorders.all();
    let mut listed = Vec::with_capacity(all.len());
    for some in all.chunks(LOOKED_AT_ONCE) {
        std::thread::scope(|scope| {
            let looks: Vec<_> =
                some.iter().map(|recorder| scope.spawn(move || ListedRecorder::of(recorder, now))).collect();
            listed.extend(looks.into_iter().filter_map(|look| look.join().ok()));
        });
    }
    RecorderList { recorders: listed, trouble }
}

/// The recorders that are served, each with its state
///
/// Each answers below its `path` as if it were served alone. One that cannot be read is named, with the reason.
#[utoipa::path(get, path = "/api/v1/recorders", tag = "store", responses(
    (status = 200, description = "Every recorder", body = RecorderList)
))]
pub async fn list(
    State(service): State<Arc<Service>>,
    Extension(identity): Extension<Identity>,
    request: Request,
) -> Result<Json<RecorderList>, Problem> {
    fields_of(request, &service).await?.end()?;
    let work = move |service: &Service, _: &mut ClientControl<'_>| {
        service.find_recorders();
        let now = service.clock.now().wall;
        Ok(match &service.source {
            Source::Several(recorders) => listed(recorders, now),
            Source::One(extractor) => {
                let status = Some(Overview::with(&service.remembered, extractor.store(), now)?);
                let id = extractor.store().identity().id.clone();
                let path = "/".to_owned();
                RecorderList {
                    recorders: vec![ListedRecorder { id, path, status, trouble: None }],
                    trouble: None,
                }
            }
        })
    };
    Ok(Json(run_blocking(&service, &service.lookups, &identity.share(), work).await?))
}
