//! Reads the rest of a request that has been answered already: a connection that is closed over unread bytes is reset, and a
//! reset overtakes the answer (RFC 9112, section 9.6).

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use http::header;
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::{BodyExt, Limited};
use netrewind_store::locked;

/// Unread bytes that are read before the answer goes. A client that sends more may be reset.
const UNREAD_BYTES_MAX: usize = 1 << 20;
/// Longest time for that.
const UNREAD_TIME_MAX: Duration = Duration::from_secs(1);

/// Reads what is left of a request's body, so that its answer arrives.
pub(crate) async fn read_to_the_end(request: Request, next: Next) -> Response {
    // A client that waits for 100 Continue sends nothing once it has an answer (RFC 9110, section 10.1.1).
    if request.body().is_end_stream() || request.headers().contains_key(header::EXPECT) {
        return next.run(request).await;
    }
    let (parts, body) = request.into_parts();
    let body = SharedBody(Arc::new(Mutex::new(body)));
    let response = next.run(Request::from_parts(parts, Body::new(body.clone()))).await;
    if !body.is_end_stream() {
        let rest = Limited::new(body, UNREAD_BYTES_MAX).collect();
        // Whether it arrived whole changes nothing any more.
        let _ = tokio::time::timeout(UNREAD_TIME_MAX, rest).await;
    }
    response
}

/// A body that can be read on after its reader has gone.
#[derive(Clone)]
struct SharedBody(Arc<Mutex<Body>>);

impl SharedBody {
    fn with<R>(&self, act: impl FnOnce(&mut Body) -> R) -> R {
        act(&mut locked(&self.0))
    }
}

impl http_body::Body for SharedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        self.with(|body| Pin::new(body).poll_frame(context))
    }

    fn is_end_stream(&self) -> bool {
        self.with(|body| body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.with(|body| body.size_hint())
    }
}
