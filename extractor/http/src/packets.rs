//! `/api/v1/packets`: a capture file, streamed from its first packet.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use http_body::Frame;
use netrewind_cases::HashTally;
use netrewind_extractor::flows::FlowId;
use netrewind_extractor::{ANSWER_HEADER, Answer, COMPLETENESS_HEADER, Completeness, Query};
use tokio::sync::mpsc::Receiver;

use crate::blocking::shutting_down;
use crate::body_channel::{AnswerHead, BodyWriter, PARTS_MAX, Part};
use crate::flows::flow_id;
use crate::headers::{AnswerAccount, Summary, file_name, header_value};
use crate::identity::Identity;
use crate::packet_answer::PacketAnswer;
use crate::parameters::{Bounds, Conversations, FileForm, Form, Format, PacketsRequest, Selection};
use crate::problem::{Kind, Problem};
use crate::request::fields_of;
use crate::resume::{AnswerTag, Part as ContentPart, PartRequest};
use crate::service::{Phase, Service};

/// An answer that is complete within this time is sent with its account and its length in the headers.
const WHOLE_WITHIN: Duration = Duration::from_millis(100);

/// Exactly the packets asked for, as a capture file
#[utoipa::path(get, path = "/api/v1/packets", tag = "packets", params(Selection, Conversations, Bounds, Form), responses(
    (status = 200, description = "A capture file. A body that breaks off is not a complete answer.", content(
        (Vec<u8> = "application/vnd.tcpdump.pcap"), (Vec<u8> = "application/x-pcapng")
    ), headers(
        ("ETag" = String, description = "Of a finished answer, of which the same bytes come again: names these bytes"),
        ("Accept-Ranges" = String, description = "`bytes` of a finished answer: `Range: bytes=N-` asks for the rest of it"),
        ("Netrewind-Completeness" = String, description = "Completeness as known before reading, as JSON"),
        ("Netrewind-Answer" = String, description = "The account of the answer, as JSON. A trailer, or a header for a small answer"),
    )),
    (status = 206, description = "The rest of a finished answer, from `Range: bytes=N-` on", content(
        (Vec<u8> = "application/vnd.tcpdump.pcap"), (Vec<u8> = "application/x-pcapng")
    ), headers(("Content-Range" = String, description = "Its first and last byte, and the length of the whole answer")))
))]
pub async fn get_packets(
    State(service): State<Arc<Service>>,
    Extension(identity): Extension<Identity>,
    request: Request,
) -> Result<Response, Problem> {
    packets(service, identity, request).await
}

/// The same, with the parameters in the body
#[utoipa::path(post, path = "/api/v1/packets", tag = "packets", request_body(content(
    (PacketsRequest = "application/json"), (PacketsRequest = "application/x-www-form-urlencoded")
)), responses(
    (status = 200, description = "A capture file. A body that breaks off is not a complete answer.", content(
        (Vec<u8> = "application/vnd.tcpdump.pcap"), (Vec<u8> = "application/x-pcapng")
    ), headers(
        ("Netrewind-Completeness" = String, description = "Completeness as known before reading, as JSON"),
        ("Netrewind-Answer" = String, description = "The account of the answer, as JSON. A trailer, or a header for a small answer"),
    ))
))]
pub async fn post_packets(
    State(service): State<Arc<Service>>,
    Extension(identity): Extension<Identity>,
    request: Request,
) -> Result<Response, Problem> {
    packets(service, identity, request).await
}

/// Exactly the packets of one conversation, as a capture file
///
/// The packets that its record counts. `from` and `to` cut it; without them the conversation is whole.
#[utoipa::path(get, path = "/api/v1/flows/{id}/packets", tag = "flows",
    params(("id" = String, Path, description = "Id of the flow, as in the list of flows"), Selection, Bounds, FileForm), responses(
    (status = 200, description = "A capture file. A body that breaks off is not a complete answer.", content(
        (Vec<u8> = "application/vnd.tcpdump.pcap"), (Vec<u8> = "application/x-pcapng")
    ), headers(
        ("Netrewind-Completeness" = String, description = "Completeness as known before reading, as JSON"),
        ("Netrewind-Answer" = String, description = "The account of the answer, as JSON. A trailer, or a header for a small answer"),
    ))
))]
pub async fn of_flow(
    State(service): State<Arc<Service>>,
    Extension(identity): Extension<Identity>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let id: FlowId = flow_id(&id)?;
    service.extractor()?;
    let head_only = request.method() == Method::HEAD;
    let mut fields = fields_of(request, &service).await?;
    let selection = Selection::from_fields(&mut fields)?;
    let (bounds, form) = (Bounds::from_fields(&mut fields)?, FileForm::from_fields(&mut fields)?);
    fields.end()?;
    let query = Query { flow: Some(id), ..service.query_for(&identity, selection)? };
    give(service, identity, query, &bounds, &form, Wanted { head_only, part: None }).await
}

/// Wanted part of an answer.
struct Wanted {
    /// The headers alone.
    head_only: bool,
    /// Its end; `None` for all of it.
    part: Option<PartRequest>,
}

async fn packets(service: Arc<Service>, identity: Identity, request: Request) -> Result<Response, Problem> {
    let head_only = request.method() == Method::HEAD;
    let part = PartRequest::of(request.method(), request.headers());
    let mut fields = fields_of(request, &service).await?;
    let (selection, conversations) =
        (Selection::from_fields(&mut fields)?, Conversations::from_fields(&mut fields)?);
    let (bounds, form) = (Bounds::from_fields(&mut fields)?, Form::from_fields(&mut fields)?);
    fields.end()?;
    let selection = selection.following(form.follow == Some(true));
    let part = part.map(|part| part.fixed(selection.is_fixed(service.clock.now().wall)));
    let query = service.query_of(&identity, selection, conversations)?;
    if form.follow == Some(true) && query.chooses_conversations() {
        let detail = "follow: follow does not work with the packets of selected conversations: leave out flow and query";
        return Err(Problem::new(Kind::BadParameter, detail).with("parameter", "follow"));
    }
    give(service, identity, query, &bounds, &form, Wanted { head_only, part }).await
}

/// Has the packets read, and the answer sent.
async fn give(
    service: Arc<Service>,
    identity: Identity,
    query: Query,
    bounds: &Bounds,
    form: &Form,
    Wanted { head_only, part }: Wanted,
) -> Result<Response, Problem> {
    let decapsulate = form.decapsulate.unwrap_or_default();
    let check = form.check.unwrap_or_default();
    let secrets = form.secrets.unwrap_or_default();
    let query = Query { limits: bounds.limits(), decapsulate, check, secrets, ..query };
    let follow = form.follow.unwrap_or_default();
    if follow || form.manifest.is_some() || query.flow.is_some() {
        // Several recorders have no packets to come, no common manifest, and each its own conversations.
        service.extractor()?;
    }
    if service.phase() != Phase::Serving {
        return Err(shutting_down());
    }
    let places = if follow { &service.followers } else { &service.packets };
    let slot = places.slot(&identity.share()).await?;
    let format = form.format.unwrap_or_default();
    let name = form.manifest.clone().filter(|_| !head_only);
    let manifest = name
        .map(|name| service.manifests.begin(&identity.name, name, service.clock.now().monotonic_ns))
        .transpose()?;
    let (body, parts) = BodyWriter::new(Arc::clone(&service), slot);
    let timer = Timer::new(bounds.time());
    let out_of_time = Arc::clone(&timer.is_over);
    let is_tagged = bounds.max_seconds.is_none();
    let answer = PacketAnswer {
        service,
        identity,
        query,
        format,
        follow,
        head_only,
        given: Cell::default(),
        out_of_time,
        is_tagged,
        wanted: part.filter(|_| is_tagged && !follow),
        tag: Cell::default(),
        hash: manifest.is_some().then(HashTally::default),
        file: RefCell::default(),
    };
    tokio::task::spawn_blocking(move || answer.carry_out(body, manifest));
    respond(parts, timer, format, head_only).await
}

/// Waits until the result is known, and a little longer for a complete one, and begins to send it.
async fn respond(
    mut parts: Receiver<Part>,
    timer: Timer,
    format: Format,
    head_only: bool,
) -> Result<Response, Problem> {
    let head = match parts.recv().await {
        Some(Part::Head(head)) => head,
        Some(Part::End(Err(problem))) => return Err(problem),
        Some(Part::Chunk(_) | Part::End(Ok(_))) | None => return Err(broken()),
    };
    let headers = headers(&head, format);
    let status = if head.part.is_some() { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK };
    if head_only {
        return Ok((status, headers, Body::new(CaptureBody::unsized_and_empty(parts))).into_response());
    }
    let mut ready = VecDeque::new();
    let until = tokio::time::Instant::now() + WHOLE_WITHIN;
    while ready.len() < PARTS_MAX {
        match tokio::time::timeout_at(until, parts.recv()).await {
            Ok(Some(Part::Chunk(chunk))) => ready.push_back(chunk),
            Ok(Some(Part::End(Ok(answer)))) => return Ok(whole((status, headers), &answer, ready)),
            Ok(Some(Part::End(Err(problem)))) => return Err(problem),
            Ok(Some(Part::Head(_)) | None) => return Err(broken()),
            Err(_) => break,
        }
    }
    let trailer = [(header::TRAILER, HeaderValue::from_static(ANSWER_HEADER))];
    let body = CaptureBody { ready, parts, is_ended: false, _timer: Some(timer) };
    Ok((status, headers, trailer, Body::new(body)).into_response())
}

fn broken() -> Problem {
    Problem::new(Kind::Failed, "the answer broke off: see the service's log")
}

fn headers(head: &AnswerHead, format: Format) -> HeaderMap {
    let AnswerHead { completeness, tag, part } = head;
    let mut headers = HeaderMap::new();
    headers.extend(part.and_then(ContentPart::header));
    if let Some(tag) = tag.and_then(AnswerTag::header) {
        headers.extend([tag, (header::ACCEPT_RANGES, HeaderValue::from_static("bytes"))]);
    }
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(format.media_type()));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Ok(disposition) = HeaderValue::from_str(&disposition(completeness, format)) {
        headers.insert(header::CONTENT_DISPOSITION, disposition);
    }
    let summary = header_value(&Summary::from(completeness));
    headers.insert(HeaderName::from_static(COMPLETENESS_HEADER), summary);
    headers
}

fn disposition(completeness: &Completeness, format: Format) -> String {
    format!("attachment; filename=\"{}\"", file_name(completeness, format))
}

/// A complete answer: no trailer is needed.
fn whole((status, headers): (StatusCode, HeaderMap), answer: &Answer, chunks: VecDeque<Bytes>) -> Response {
    let account = [(HeaderName::from_static(ANSWER_HEADER), header_value(&AnswerAccount::from(answer)))];
    let body = chunks.into_iter().flatten().collect::<Vec<u8>>();
    (status, headers, account, body).into_response()
}

/// Runs out after the time that the asker allowed.
struct Timer {
    is_over: Arc<AtomicBool>,
    task: Option<tokio::task::JoinHandle<()>>,
}

impl Timer {
    fn new(time: Option<Duration>) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let task = time.map(|time| {
            let is_over = Arc::clone(&is_over);
            tokio::spawn(async move {
                tokio::time::sleep(time).await;
                is_over.store(true, Ordering::Relaxed);
            })
        });
        Self { is_over, task }
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

/// The bytes of an answer and then, as a trailer, its account. If the answer fails, so does the body: its end is missing then,
/// so no client can mistake it for complete.
struct CaptureBody {
    ready: VecDeque<Bytes>,
    parts: Receiver<Part>,
    is_ended: bool,
    _timer: Option<Timer>,
}

impl CaptureBody {
    /// Body for a HEAD request: without a length.
    fn unsized_and_empty(parts: Receiver<Part>) -> Self {
        Self { ready: VecDeque::new(), parts, is_ended: false, _timer: None }
    }
}

impl http_body::Body for CaptureBody {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if let Some(chunk) = self.ready.pop_front() {
            return Poll::Ready(Some(Ok(Frame::data(chunk))));
        }
        if self.is_ended {
            return Poll::Ready(None);
        }
        let frame = match ready!(self.parts.poll_recv(context)) {
            Some(Part::Chunk(chunk)) => return Poll::Ready(Some(Ok(Frame::data(chunk)))),
            Some(Part::End(Ok(answer))) => {
                let account = header_value(&AnswerAccount::from(&*answer));
                let name = HeaderName::from_static(ANSWER_HEADER);
                Ok(Frame::trailers(HeaderMap::from_iter([(name, account)])))
            }
            Some(Part::End(Err(problem))) => Err(std::io::Error::other(problem.detail().to_owned())),
            Some(Part::Head(_)) | None => Err(std::io::Error::other("the answer broke off")),
        };
        self.is_ended = true;
        Poll::Ready(Some(frame))
    }
}
