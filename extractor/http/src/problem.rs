//! Errors as problem documents (RFC 9457).

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use netrewind_extractor::{ExtractError, SinkError};
use netrewind_filter::FilterError;
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

/// The media type of a problem document.
pub const PROBLEM_JSON: &str = "application/problem+json";

/// Wait that clients are told if there is no room.
pub const RETRY_AFTER_SECONDS: u32 = 5;

/// The kinds of problems. Their names are stable: clients tell problems apart by them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The filter is not an expression, or has a name that would have to be looked up.
    BadFilter,
    /// The filter would take too long to compile.
    FilterTooExpensive,
    /// A time cannot be read.
    BadTime,
    /// A parameter's value cannot be read, or is not allowed beside another.
    BadParameter,
    /// There is no such parameter.
    UnknownParameter,
    /// A parameter was given twice.
    RepeatedParameter,
    /// The body cannot be read.
    BadBody,
    /// The body is longer than is read.
    BodyTooLarge,
    /// The body is of a media type that is not read.
    UnsupportedBody,
    /// The body did not arrive in time.
    SlowRequest,
    /// Nothing in the queried range is kept.
    NotKept,
    /// There is nothing at this path.
    NotFound,
    /// The path does not accept this method.
    MethodNotAllowed,
    /// The part that is asked for lies behind the end of the answer.
    RangeNotSatisfiable,
    /// The client accepts none of the forms that the answer has.
    NotAcceptable,
    /// The answer has several link types, and a pcap file can hold only one.
    SeveralLinkTypes,
    /// There is no token, or one that is worth nothing.
    NoAccess,
    /// The token is for something else, or the page that asks is.
    Forbidden,
    /// The request is for another host.
    WrongHost,
    /// There were too many wrong tokens.
    TooManyFailures,
    /// No token can be checked.
    AccessUnavailable,
    /// There are more requests than can be answered at once.
    Busy,
    /// The time that was allowed passed before the answer could begin.
    OutOfTime,
    /// The service is about to end.
    ShuttingDown,
    /// The case has a hold already.
    HoldExists,
    /// Holds have no room for more.
    NoRoom,
    /// The service may not write what was asked for into the store.
    NotWritable,
    /// Several recorders are served, and this is asked of one.
    SeveralRecorders,
    /// A recorder cannot be read, or none of several.
    RecorderUnreadable,
    /// The answer failed, through no fault of the asker.
    Failed,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 30] = [
        Self::BadFilter,
        Self::FilterTooExpensive,
        Self::BadTime,
        Self::BadParameter,
        Self::UnknownParameter,
        Self::RepeatedParameter,
        Self::BadBody,
        Self::BodyTooLarge,
        Self::UnsupportedBody,
        Self::SlowRequest,
        Self::NotKept,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::NotAcceptable,
        Self::RangeNotSatisfiable,
        Self::SeveralLinkTypes,
        Self::NoAccess,
        Self::Forbidden,
        Self::WrongHost,
        Self::TooManyFailures,
        Self::AccessUnavailable,
        Self::Busy,
        Self::OutOfTime,
        Self::ShuttingDown,
        Self::HoldExists,
        Self::NoRoom,
        Self::NotWritable,
        Self::SeveralRecorders,
        Self::RecorderUnreadable,
        Self::Failed,
    ];

    /// Its type URI, the status it is sent with, and its title.
    const fn description(self) -> (&'static str, StatusCode, &'static str) {
        use StatusCode as S;
        match self {
            Self::BadFilter => ("/problems/bad-filter", S::BAD_REQUEST, "The filter is wrong"),
            Self::FilterTooExpensive => (
                "/problems/filter-too-expensive",
                S::UNPROCESSABLE_ENTITY,
                "The filter is too expensive to compile",
            ),
            Self::BadTime => ("/problems/bad-time", S::BAD_REQUEST, "A time cannot be read"),
            Self::BadParameter => ("/problems/bad-parameter", S::BAD_REQUEST, "A parameter's value is wrong"),
            Self::UnknownParameter => {
                ("/problems/unknown-parameter", S::BAD_REQUEST, "There is no such parameter")
            }
            Self::RepeatedParameter => {
                ("/problems/repeated-parameter", S::BAD_REQUEST, "A parameter was given twice")
            }
            Self::BadBody => ("/problems/bad-body", S::BAD_REQUEST, "The body cannot be read"),
            Self::BodyTooLarge => ("/problems/body-too-large", S::PAYLOAD_TOO_LARGE, "The body is too large"),
            Self::UnsupportedBody => (
                "/problems/unsupported-body",
                S::UNSUPPORTED_MEDIA_TYPE,
                "The body's media type is not supported",
            ),
            Self::SlowRequest => {
                ("/problems/slow-request", S::REQUEST_TIMEOUT, "The body did not arrive in time")
            }
            Self::NotKept => ("/problems/not-kept", S::NOT_FOUND, "No packets of this time are kept"),
            Self::NotFound => ("/problems/not-found", S::NOT_FOUND, "There is nothing at this path"),
            Self::RangeNotSatisfiable => (
                "/problems/range-not-satisfiable",
                S::RANGE_NOT_SATISFIABLE,
                "The answer ends before the range",
            ),
            Self::NotAcceptable => (
                "/problems/not-acceptable",
                S::NOT_ACCEPTABLE,
                "The answer has none of the accepted media types",
            ),
            Self::MethodNotAllowed => (
                "/problems/method-not-allowed",
                S::METHOD_NOT_ALLOWED,
                "The path does not accept this method",
            ),
            Self::SeveralLinkTypes => (
                "/problems/several-link-types",
                S::UNPROCESSABLE_ENTITY,
                "A pcap file can hold only one link type",
            ),
            Self::NoAccess => ("/problems/no-access", S::UNAUTHORIZED, "A valid token is needed"),
            Self::HoldExists => ("/problems/hold-exists", S::CONFLICT, "The case has a hold already"),
            Self::NoRoom => ("/problems/no-room", S::INSUFFICIENT_STORAGE, "There is no room for it"),
            Self::NotWritable => {
                ("/problems/not-writable", S::FORBIDDEN, "The service may not write to the store")
            }
            Self::SeveralRecorders => {
                ("/problems/several-recorders", S::NOT_FOUND, "This is asked of one of the recorders")
            }
            Self::RecorderUnreadable => {
                ("/problems/recorder-unreadable", S::SERVICE_UNAVAILABLE, "The recorder cannot be read")
            }
            Self::Forbidden => ("/problems/forbidden", S::FORBIDDEN, "This is not allowed"),
            Self::WrongHost => {
                ("/problems/wrong-host", S::MISDIRECTED_REQUEST, "The request is for another host")
            }
            Self::TooManyFailures => {
                ("/problems/too-many-failures", S::TOO_MANY_REQUESTS, "Too many wrong tokens")
            }
            Self::AccessUnavailable => {
                ("/problems/access-unavailable", S::SERVICE_UNAVAILABLE, "Tokens cannot be checked")
            }
            Self::Busy => ("/problems/busy", S::TOO_MANY_REQUESTS, "There are too many requests"),
            Self::OutOfTime => (
                "/problems/out-of-time",
                S::SERVICE_UNAVAILABLE,
                "The time limit was reached before the answer began",
            ),
            Self::ShuttingDown => {
                ("/problems/shutting-down", S::SERVICE_UNAVAILABLE, "The service is shutting down")
            }
            Self::Failed => ("/problems/failed", S::INTERNAL_SERVER_ERROR, "The answer failed"),
        }
    }

    /// The URI reference that tells it from others.
    pub const fn type_uri(self) -> &'static str {
        self.description().0
    }

    /// The status it is sent with.
    pub const fn status(self) -> StatusCode {
        self.description().1
    }

    /// Title of the kind, whatever the occasion.
    pub const fn title(self) -> &'static str {
        self.description().2
    }
}

/// A problem document.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Problem {
    /// Identifies the kind of problem, such as /problems/bad-filter.
    #[serde(rename = "type")]
    #[schema(format = "uri-reference")]
    type_uri: &'static str,
    /// Kind of problem, whatever the occasion.
    title: &'static str,
    /// The status of the response.
    #[schema(minimum = 400, maximum = 599)]
    status: u16,
    /// Problem on this occasion, and its remedy.
    detail: String,
    /// More, by the kind: `parameter`, `position`, `length`, `message`, `known`, `link_types`, `kept`.
    #[serde(flatten)]
    #[schema(additional_properties)]
    members: Map<String, Value>,
    #[serde(skip)]
    #[schema(ignore)]
    retry_after_seconds: Option<u32>,
}

impl Problem {
    /// A problem of this kind.
    pub fn new(kind: Kind, detail: impl Into<String>) -> Self {
        let (type_uri, status, title) = kind.description();
        Self {
            type_uri,
            title,
            status: status.as_u16(),
            detail: detail.into(),
            members: Map::new(),
            retry_after_seconds: None,
        }
    }

    /// Adds a member that a program can read.
    #[must_use]
    pub fn with(mut self, member: &str, value: impl Into<Value>) -> Self {
        self.members.insert(member.to_owned(), value.into());
        self
    }

    /// Adds the time after which it can go well.
    #[must_use]
    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after_seconds = Some(seconds);
        self
    }

    /// Its type URI.
    pub fn type_uri(&self) -> &'static str {
        self.type_uri
    }

    /// Problem on this occasion.
    pub fn detail(&self) -> &str {
        &self.detail
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, [(header::CONTENT_TYPE, PROBLEM_JSON)], body).into_response();
        if let Some(seconds) = self.retry_after_seconds {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        let length = self.members.get("length").and_then(Value::as_u64);
        if let Some(length) = length.filter(|_| status == StatusCode::RANGE_NOT_SATISFIABLE) {
            let range = HeaderValue::from_str(&format!("bytes */{length}"));
            response.headers_mut().extend(range.ok().map(|range| (header::CONTENT_RANGE, range)));
        }
        response.extensions_mut().insert(self);
        response
    }
}

impl From<FilterError> for Problem {
    fn from(error: FilterError) -> Self {
        let detail = error.to_string();
        let at = |kind, expression: &str, span: &std::ops::Range<usize>, message: String| {
            Self::new(kind, detail.clone())
                .with("parameter", "filter")
                .with("position", characters(expression, 0, span.start))
                .with("length", characters(expression, span.start, span.end))
                .with("message", message)
        };
        match &error {
            FilterError::Syntax { expression, span, message } => {
                at(Kind::BadFilter, expression, span, message.clone())
            }
            FilterError::Name { expression, span, .. } => {
                at(Kind::BadFilter, expression, span, error.message().unwrap_or_default())
            }
            FilterError::RejectsAll { .. } | FilterError::TooLong { .. } | FilterError::Program(_) => {
                Self::new(Kind::BadFilter, detail).with("parameter", "filter")
            }
            FilterError::TooExpensive { .. } | FilterError::NoWorker { .. } => {
                Self::new(Kind::FilterTooExpensive, detail).with("parameter", "filter")
            }
            FilterError::Busy => Self::new(Kind::Busy, detail).retry_after(RETRY_AFTER_SECONDS),
            FilterError::Worker { .. } | FilterError::GivenUp | FilterError::NoHandle { .. } => {
                failed("the filter compiler cannot be run")
            }
        }
    }
}

/// Position in characters, as people and editors count.
fn characters(text: &str, from: usize, to: usize) -> usize {
    text.get(from..to).map_or(0, |part| part.chars().count())
}

impl From<ExtractError> for Problem {
    fn from(error: ExtractError) -> Self {
        match error {
            ExtractError::Filter(error) => error.into(),
            ExtractError::Sink(SinkError::SeveralLinkTypes(link_types)) => {
                let numbers: Vec<u16> = link_types.iter().map(|link_type| link_type.0).collect();
                let detail = format!(
                    "the answer has packets of several link types ({numbers:?}), and a pcap file can hold only one: \
                     ask with format=pcapng, or narrow the range or the filter"
                );
                Self::new(Kind::SeveralLinkTypes, detail).with("link_types", numbers)
            }
            ExtractError::UnknownInterface { ref known, .. } => {
                let known = known.clone();
                Self::new(Kind::BadParameter, error.to_string())
                    .with("parameter", "interface")
                    .with("known", known)
            }
            ExtractError::NoSuchFlow(_) => Self::new(Kind::NotFound, error.to_string()),
            ExtractError::Search(_) | ExtractError::TooManyChosen(_) => {
                Self::new(Kind::BadParameter, error.to_string()).with("parameter", "query")
            }
            ExtractError::NotFollowed => {
                Self::new(Kind::BadParameter, error.to_string()).with("parameter", "follow")
            }
            ExtractError::AskedWrongly(detail) => Self::new(Kind::BadParameter, detail),
            ExtractError::NoRecorder(detail) => {
                tracing::error!(error = detail, "no recorder has answered");
                let detail = "none of the recorders can be read: /api/v1/recorders says why";
                Self::new(Kind::RecorderUnreadable, detail).retry_after(RETRY_AFTER_SECONDS)
            }
            ExtractError::NoMemory => {
                Self::new(Kind::Busy, error.to_string()).retry_after(RETRY_AFTER_SECONDS)
            }
            other => failed(&other.to_string()),
        }
    }
}

/// Hides from a client the details of a failure that is not its own; the log has them, as they may name files.
fn failed(detail: &str) -> Problem {
    tracing::error!(error = detail, "an answer failed");
    Problem::new(Kind::Failed, "the store could not be read: see the service's log")
}
