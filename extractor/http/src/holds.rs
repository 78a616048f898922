//! `/api/v1/holds`: what is kept for cases, made and released by administrators.

use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use http::StatusCode;
use netrewind_cases::{
    HoldError, HoldRequest, HoldView, PacketsRequest as CasePacketsRequest, hold_packets, hold_segments,
    list_holds, release_hold,
};
use netrewind_extractor::{Asked, Completeness, ExtractError, Extractor, Query};
use netrewind_store::hold::{CaseFormat, CaseName};
use netrewind_store::store::{CaseFiles, StoreListing};
use netrewind_store::{SegmentName, StoreError};
use serde::Serialize;
use utoipa::openapi::schema::{AdditionalProperties, ObjectBuilder};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{IntoParams, PartialSchema, ToSchema};

use crate::audit::AuditedHold;
use crate::blocking::{ClientControl, run_blocking};
use crate::fields::Fields;
use crate::identity::Identity;
use crate::parameters::{Format, Selection};
use crate::problem::{Kind, Problem};
use crate::request::fields_of;
use crate::service::Service;

/// The holds of the store.
#[derive(Debug, Serialize, ToSchema)]
pub struct HoldList {
    /// Every hold, by the name of its case.
    holds: Vec<HoldView>,
    /// Disk space that they take, in bytes.
    bytes: u64,
    /// Disk space that they may take, in bytes.
    bytes_max: u64,
}

/// A hold that was made.
#[derive(Debug, Default, Serialize, ToSchema)]
pub struct HoldAnswer {
    /// The case.
    case: String,
    /// Segments that are held; none if the packets have a file of their own.
    segments: u64,
    /// Packets in a file of their own.
    packets: u64,
    /// Disk space that it takes, in bytes.
    bytes: u64,
    /// Segments of the range that expired while it was made.
    #[schema(value_type = Vec<String>)]
    expired: Vec<SegmentName>,
    /// Completeness of the packets, if they have a file of their own.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    completeness: Option<Completeness>,
}

/// Parameters of a hold, besides the selection of packets.
#[derive(Clone, Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct HoldParameters {
    /// The case: up to 64 letters, digits, dots, `_` and `-`.
    #[param(pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$", value_type = String, example = "INC-2041")]
    case: CaseName,
    /// The reason, for whoever finds the hold.
    note: Option<String>,
    /// Form of the file that a filter makes. Absent: pcap.
    #[param(inline)]
    format: Option<Format>,
}

impl HoldParameters {
    /// Takes what belongs to it.
    fn from_fields(fields: &mut Fields) -> Result<Self, Problem> {
        let wrong = |detail: String| Problem::new(Kind::BadParameter, detail).with("parameter", "case");
        let case = fields.text("case")?.ok_or_else(|| wrong("case: name the case".to_owned()))?;
        let case = case.parse().map_err(|error| wrong(format!("case: {error}")))?;
        let format = fields.parsed("format", "pcap or pcapng", Format::read)?;
        Ok(Self { case, note: fields.text("note")?, format })
    }
}

/// All of these in the body of a POST.
#[derive(Debug)]
pub struct HoldBody;

impl ToSchema for HoldBody {}

impl PartialSchema for HoldBody {
    fn schema() -> RefOr<Schema> {
        let in_body = || None;
        let groups = [HoldParameters::into_params(in_body), Selection::into_params(in_body)];
        let mut object = ObjectBuilder::new();
        for parameter in groups.into_iter().flatten() {
            if let Some(schema) = parameter.schema {
                object = object.property(parameter.name, schema);
            }
        }
        let object = object.required("case");
        object.additional_properties(Some(AdditionalProperties::FreeForm(false))).into()
    }
}

/// The holds, and what has become of what they keep
#[utoipa::path(get, path = "/api/v1/holds", tag = "holds", responses(
    (status = 200, description = "Every hold", body = HoldList)
))]
pub async fn list(
    State(service): State<Arc<Service>>,
    Extension(identity): Extension<Identity>,
    request: Request,
) -> Result<Json<HoldList>, Problem> {
    fields_of(request, &service).await?.end()?;
    let line = AuditedHold::by(&identity, "list");
    let listed = carry_out(&service, &identity, line, |_, extractor, _, _| {
        let store = extractor.store();
        let files = CaseFiles::of(store);
        let bytes = files.account(&StoreListing::of(store).segments)?.bytes;
        Ok(HoldList { holds: list_holds(store)?, bytes, bytes_max: files.bytes_max()? })
    });
    Ok(Json(listed.await?))
}

/// Hold packets for a case
///
/// Without `filter` and the like, every segment with packets of the range is held as it is. Otherwise the packets are written into a
/// file of their own in the store, with a manifest, and no segment is held. Holds have a part of the store's budget.
#[utoipa::path(post, path = "/api/v1/holds", tag = "holds", request_body(content(
    (HoldBody = "application/json"), (HoldBody = "application/x-www-form-urlencoded")
)), responses(
    (status = 201, description = "The hold was made", body = HoldAnswer)
))]
pub async fn add(
    State(service): State<Arc<Service>>,
    Extension(identity): Extension<Identity>,
    request: Request,
) -> Result<Response, Problem> {
    let mut fields = fields_of(request, &service).await?;
    let parameters = HoldParameters::from_fields(&mut fields)?;
    let selection = Selection::from_fields(&mut fields)?;
    fields.end()?;
    let query = service.query_for(&identity, selection)?;
    let HoldParameters { case, note, format } = parameters;
    let request =
        HoldRequest { case: case.clone(), by: identity.name.clone(), note: note.unwrap_or_default() };
    let line = AuditedHold { query: Some(query.clone()), ..AuditedHold::by(&identity, "add").of(&case) };
    let held = carry_out(&service, &identity, line, move |service, extractor, control, line| {
        let answer = make((service, extractor), &request, &query, format.unwrap_or_default(), control)?;
        (line.segments, line.packets, line.bytes) = (answer.segments, answer.packets, answer.bytes);
        Ok(answer)
    });
    Ok((StatusCode::CREATED, Json(held.await?)).into_response())
}

/// Release a case
///
/// Retention may have its segments again; packets of its own are removed.
#[utoipa::path(delete, path = "/api/v1/holds/{case}", tag = "holds",
    params(("case" = String, Path, description = "The case")), responses(
    (status = 200, description = "The hold that was released", body = HoldView)
))]
pub async fn release(
    State(service): State<Arc<Service>>,
    Extension(identity): Extension<Identity>,
    Path(case): Path<String>,
    request: Request,
) -> Result<Json<HoldView>, Problem> {
    fields_of(request, &service).await?.end()?;
    let case: CaseName = case.parse().map_err(|_| {
        Problem::new(Kind::NotFound, "there is no hold for such a case: see /api/v1/holds".to_owned())
    })?;
    let line = AuditedHold::by(&identity, "release").of(&case);
    let released = carry_out(&service, &identity, line, move |service, extractor, _, line| {
        check_may_hold(service, extractor)?;
        let view = release_hold(extractor.store(), &case)?;
        (line.segments, line.bytes) = (view.segments, view.bytes);
        Ok(view)
    });
    Ok(Json(released.await?))
}

/// Does the work on a thread that may wait, and writes its line into the audit.
async fn carry_out<T: Send + 'static>(
    service: &Arc<Service>,
    identity: &Identity,
    mut line: AuditedHold,
    work: impl FnOnce(&Service, &Extractor, &mut ClientControl<'_>, &mut AuditedHold) -> Result<T, HoldError>
    + Send
    + 'static,
) -> Result<T, Problem> {
    let extractor = Arc::clone(service.extractor()?);
    line.recorder.clone_from(&service.recorder);
    let audited = move |service: &Service, control: &mut ClientControl<'_>| {
        let asked = service.clock.now();
        let done = work(service, &extractor, control, &mut line);
        line.at = asked.wall;
        line.seconds = service.clock.now().since(asked.monotonic_ns).as_secs_f64();
        line.error = done.as_ref().err().map(ToString::to_string);
        if let Some(audit) = &service.audit {
            audit.hold(&line);
        }
        match done {
            Err(HoldError::Extract(error @ ExtractError::Cancelled)) => Err(error),
            done => Ok(done),
        }
    };
    Ok(run_blocking(service, &service.packets, &identity.share(), audited).await??)
}

fn check_may_hold(service: &Service, extractor: &Extractor) -> Result<(), HoldError> {
    let Some(reason) = service.holds_refused else { return Ok(()) };
    let source = std::io::Error::new(std::io::ErrorKind::PermissionDenied, reason);
    let path = CaseFiles::of(extractor.store()).folder();
    Err(StoreError::Io { path, source }.into())
}

fn make(
    (service, extractor): (&Service, &Extractor),
    request: &HoldRequest,
    query: &Query,
    format: Format,
    control: &mut ClientControl<'_>,
) -> Result<HoldAnswer, HoldError> {
    check_may_hold(service, extractor)?;
    let case = request.case.to_string();
    if !query.is_selective() {
        let asked = Asked { from: query.from, to: query.to };
        let store = extractor.store();
        let made = hold_segments(store, &*service.clock, request, asked, query.range())?;
        let (segments, bytes, expired) = (made.segments, made.bytes, made.expired);
        return Ok(HoldAnswer { case, segments, bytes, expired, ..HoldAnswer::default() });
    }
    let format = if format == Format::Pcapng { CaseFormat::Pcapng } else { CaseFormat::Pcap };
    let packets = CasePacketsRequest { query, format, signer: service.signer.as_deref() };
    let (answer, bytes) = hold_packets(extractor, &*service.clock, request, packets, control)?;
    let (packets, completeness) = (answer.packets, Some(answer.completeness));
    Ok(HoldAnswer { case, packets, bytes, completeness, ..HoldAnswer::default() })
}

impl From<HoldError> for Problem {
    fn from(error: HoldError) -> Self {
        let detail = error.to_string();
        match error {
            HoldError::Exists(_) => Self::new(Kind::HoldExists, detail),
            HoldError::Unknown { .. } => Self::new(Kind::NotFound, detail),
            HoldError::NothingKept(_) | HoldError::NothingAccepted(_) | HoldError::AllExpired(_) => {
                Self::new(Kind::NotKept, detail)
            }
            HoldError::OverBudget { .. }
            | HoldError::NoRoom { .. }
            | HoldError::NoRoomMade(_)
            | HoldError::TooManyCases => Self::new(Kind::NoRoom, detail),
            HoldError::TooManySegments(_) => Self::new(Kind::BadParameter, detail).with("parameter", "from"),
            HoldError::TooLong(_) => Self::new(Kind::BadParameter, detail).with("parameter", "note"),
            HoldError::Denied { .. } => {
                tracing::warn!(error = detail, "a hold was refused");
                let detail = "the service may not write holds into this store: make them on the recorder, by netrewind hold";
                Self::new(Kind::NotWritable, detail)
            }
            HoldError::Extract(error) => error.into(),
            HoldError::Store(error) => ExtractError::from(error).into(),
        }
    }
}
