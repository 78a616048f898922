//! `/api/v1/events/selection`: the packets that an alert of another tool is about, as range and filter.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use jiff::tz::TimeZone;
use netrewind_extractor::events::{Alert, AlertKind, EVENT_WINDOW, EventTimes, read_alert};
use netrewind_extractor::time_text;
use netrewind_store::Timestamp;
use serde::Serialize;
use utoipa::openapi::{RefOr, Schema};
use utoipa::{IntoParams, PartialSchema, ToSchema};

use crate::fields::Fields;
use crate::parameters::{body_schema, in_body};
use crate::problem::{Kind, Problem};
use crate::request::fields_of;
use crate::service::Service;

/// An alert.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "only its description is used")]
pub struct AlertText {
    /// A Community ID; a 5-tuple, such as `tcp 10.0.0.5:50000 -> 192.0.2.1:443`, perhaps with a time; lines of Suricata's EVE log or
    /// fast.log; lines of Zeek's `conn.log` (JSON, or tab-separated with or without its head). At most 20 events, and 512 KiB.
    #[param(example = "tcp 10.0.0.5:50000 -> 192.0.2.1:443")]
    event: String,
    /// Time before and after each event, such as `30s`. Absent: `1m`.
    window: Option<String>,
    /// Time zone of times without one, such as `Europe/Rome` or `+02:00`. Absent: UTC.
    tz: Option<String>,
}

/// The same in the body of a POST.
#[derive(Debug)]
pub struct AlertRequest;

impl ToSchema for AlertRequest {}

impl PartialSchema for AlertRequest {
    fn schema() -> RefOr<Schema> {
        body_schema([AlertText::into_params(in_body)])
    }
}

/// Kind of alert.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AlertName {
    /// A Community ID.
    CommunityId,
    /// A 5-tuple.
    Tuple,
    /// A record of Suricata's EVE log.
    Eve,
    /// A line of Zeek's `conn.log`.
    Zeek,
}

/// Selection of the packets that an alert is about, in parameters of `/api/v1/packets`.
#[derive(Debug, Serialize, ToSchema)]
pub struct AlertSelection {
    kind: AlertName,
    /// Number of events that were read.
    events: usize,
    /// A pcap-filter(7) expression; empty for a Community ID.
    filter: String,
    /// A search, for a Community ID.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    query: Option<String>,
    /// Earliest time; absent if the alert has no time.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "date-time", nullable = false)]
    from: Option<Timestamp>,
    /// End of the range, exclusive; absent if the alert has no time.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "date-time", nullable = false)]
    to: Option<Timestamp>,
    /// True where the filter says nothing of VLAN tags, which other tools do not name.
    ignore_vlan: bool,
}

impl From<Alert> for AlertSelection {
    fn from(alert: Alert) -> Self {
        let Alert { kind, events, filter, search, range } = alert;
        let kind = match kind {
            AlertKind::CommunityId => AlertName::CommunityId,
            AlertKind::Tuple => AlertName::Tuple,
            AlertKind::Eve => AlertName::Eve,
            AlertKind::Zeek => AlertName::Zeek,
        };
        let (from, to) = range.unzip();
        let ignore_vlan = !filter.is_empty();
        Self { kind, events, filter, query: search, from, to, ignore_vlan }
    }
}

/// Selection of the packets that an alert is about
///
/// Reads what another tool wrote, and no packets.
#[utoipa::path(get, path = "/api/v1/events/selection", tag = "packets", params(AlertText), responses(
    (status = 200, description = "Range and filter", body = AlertSelection)
))]
pub async fn get_selection(
    State(service): State<Arc<Service>>,
    request: Request,
) -> Result<Json<AlertSelection>, Problem> {
    selection(&service, fields_of(request, &service).await?)
}

/// The same, with the alert in the body
#[utoipa::path(post, path = "/api/v1/events/selection", tag = "packets", request_body(content(
    (AlertRequest = "application/json"), (AlertRequest = "application/x-www-form-urlencoded")
)), responses(
    (status = 200, description = "Range and filter", body = AlertSelection)
))]
pub async fn post_selection(
    State(service): State<Arc<Service>>,
    request: Request,
) -> Result<Json<AlertSelection>, Problem> {
    selection(&service, fields_of(request, &service).await?)
}

fn selection(service: &Service, mut fields: Fields) -> Result<Json<AlertSelection>, Problem> {
    let (event, window, zone) = (fields.text("event")?, fields.text("window")?, fields.text("tz")?);
    fields.end()?;
    let wrong = |parameter: &'static str, message: String| {
        Problem::new(Kind::BadParameter, format!("{parameter}: {message}"))
            .with("parameter", parameter)
            .with("message", message)
    };
    let zone = zone
        .map_or(Ok(TimeZone::UTC), |zone| time_text::time_zone(&zone).map_err(|error| wrong("tz", error)))?;
    let window = window.unwrap_or_else(|| EVENT_WINDOW.to_owned());
    time_text::duration(&window).map_err(|error| wrong("window", error))?;
    let event = event.ok_or_else(|| wrong("event", "an alert is missing".to_owned()))?;
    let times = EventTimes { now: service.clock.now().wall, zone: &zone, window: &window };
    let read = read_alert(&event, &times).map_err(|error| wrong("event", error))?;
    Ok(Json(read.into()))
}
