//! Connections: a limited number, none that reads nothing for ever, and no idle one while others wait.
//!
//! **Invariant:** an idle connection keeps nobody out: if there is no room, one of the peer with the most idle ones is closed.

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use axum_server::accept::Accept;
use http_body::{Frame, SizeHint};
use netrewind_store::locked;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::Sleep;

use crate::limits::ServiceLimits;
use crate::peer_limiter::Peer;

/// Divisor of the connections kept from each peer for others: a quarter of all.
const KEPT_FOR_OTHERS: usize = 4;
/// Divisor of the files that the process may open: half of them are for connections, segments need the others.
const FILES_DIVISOR: u64 = 2;

/// The connections that there are.
#[derive(Debug)]
pub struct Connections {
    known: Mutex<ConnectionTable>,
    connections_max: usize,
}

#[derive(Debug, Default)]
struct ConnectionTable {
    /// Connections by number, in the order in which they came.
    connections: BTreeMap<u64, OpenConnection>,
    of_peers: HashMap<Peer, usize>,
    /// Requests that are being answered, by where they came from.
    busy: HashMap<SocketAddr, usize>,
    next: u64,
}

#[derive(Debug)]
struct OpenConnection {
    peer: Peer,
    address: SocketAddr,
    /// Closes it, once.
    close: Option<oneshot::Sender<()>>,
}

/// A place among the connections, until it is dropped.
#[derive(Debug)]
struct Admitted {
    connections: Arc<Connections>,
    number: u64,
    closed: oneshot::Receiver<()>,
}

impl Connections {
    /// Allows as many as the limits and the process's own permit.
    pub fn new(limits: &ServiceLimits) -> Arc<Self> {
        let files = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        let files_max =
            files.map_or(usize::MAX, |files| usize::try_from(files / FILES_DIVISOR).unwrap_or(usize::MAX));
        let connections_max = limits.connections_max.min(files_max).max(1);
        Arc::new(Self { known: Mutex::default(), connections_max })
    }

    fn known(&self) -> MutexGuard<'_, ConnectionTable> {
        locked(&self.known)
    }

    /// Admits a connection; if there is no room, an idle one is closed. `None` if all are busy.
    fn admit(self: &Arc<Self>, address: SocketAddr) -> Option<Admitted> {
        let peer = Peer::of_address(address.ip());
        let peer_max = (self.connections_max - self.connections_max / KEPT_FOR_OTHERS).max(1);
        let mut known = self.known();
        if known.of_peers.get(&peer).is_some_and(|&count| count >= peer_max) {
            known.close_idle(&peer)?;
        } else if known.connections.len() >= self.connections_max {
            known.close_idle_of_largest()?;
        }
        let (close, closed) = oneshot::channel();
        let number = known.next;
        known.next += 1;
        *known.of_peers.entry(peer.clone()).or_default() += 1;
        known.connections.insert(number, OpenConnection { peer, address, close: Some(close) });
        Some(Admitted { connections: Arc::clone(self), number, closed })
    }

    /// Marks a request of this connection as being answered, until the returned guard is dropped.
    fn busy(self: &Arc<Self>, address: SocketAddr) -> Busy {
        *self.known().busy.entry(address).or_default() += 1;
        Busy { connections: Arc::clone(self), address }
    }
}

impl ConnectionTable {
    /// Closes the oldest connection of this peer that does nothing.
    fn close_idle(&mut self, peer: &Peer) -> Option<()> {
        let is_idle = |entry: &OpenConnection| entry.peer == *peer && !self.busy.contains_key(&entry.address);
        let number = *self.connections.iter().find(|(_, entry)| is_idle(entry))?.0;
        self.remove(number)
    }

    /// Likewise, of the peer that has the most connections among those of which any does nothing.
    fn close_idle_of_largest(&mut self) -> Option<()> {
        let mut peers: Vec<(usize, Peer)> =
            self.of_peers.iter().map(|(peer, count)| (*count, peer.clone())).collect();
        peers.sort_unstable_by_key(|(count, _)| std::cmp::Reverse(*count));
        peers.iter().find_map(|(_, peer)| self.close_idle(peer))
    }

    fn remove(&mut self, number: u64) -> Option<()> {
        let OpenConnection { peer, close, .. } = self.connections.remove(&number)?;
        // It may be about to close by itself.
        close.and_then(|close| close.send(()).ok());
        if let Some(count) = self.of_peers.get_mut(&peer) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.of_peers.remove(&peer);
            }
        }
        Some(())
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        // One that was closed to make room is not there any more.
        self.connections.known().remove(self.number);
    }
}

/// A request that is being answered.
#[derive(Debug)]
struct Busy {
    connections: Arc<Connections>,
    address: SocketAddr,
}

impl Drop for Busy {
    fn drop(&mut self) {
        let mut known = self.connections.known();
        if let Some(count) = known.busy.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                known.busy.remove(&self.address);
            }
        }
    }
}

/// Keeps a connection from counting as idle until its answer has been sent.
pub async fn busy(
    State(connections): State<Arc<Connections>>,
    ConnectInfo(address): ConnectInfo<SocketAddr>,
    request: Request,
    next: Next,
) -> Response {
    let busy = connections.busy(address);
    next.run(request).await.map(|body| Body::new(BusyBody { body, _busy: busy }))
}

/// The body of an answer, with what says that it is being sent.
struct BusyBody {
    body: Body,
    _busy: Busy,
}

impl http_body::Body for BusyBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        http_body::Body::poll_frame(Pin::new(&mut self.body), context)
    }

    fn is_end_stream(&self) -> bool {
        http_body::Body::is_end_stream(&self.body)
    }

    fn size_hint(&self) -> SizeHint {
        http_body::Body::size_hint(&self.body)
    }
}

/// Accepts as another does, but not more connections at a time than are allowed.
#[derive(Clone, Debug)]
pub struct Bounded<A> {
    inner: A,
    connections: Arc<Connections>,
    stall_time_max: Duration,
    silence_time_max: Duration,
}

impl<A> Bounded<A> {
    /// Around another acceptor.
    pub fn new(inner: A, connections: &Arc<Connections>, limits: &ServiceLimits) -> Self {
        let ServiceLimits { stall_time_max, silence_time_max, .. } = *limits;
        Self { inner, connections: Arc::clone(connections), stall_time_max, silence_time_max }
    }
}

impl<S, A> Accept<TcpStream, S> for Bounded<A>
where
    A: Accept<WatchedStream<TcpStream>, S>,
    A::Future: Send + 'static,
    A::Stream: Send + 'static,
    A::Service: Send + 'static,
{
    type Stream = A::Stream;
    type Service = A::Service;
    type Future = Pin<Box<dyn Future<Output = io::Result<(Self::Stream, Self::Service)>> + Send>>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        let admitted = stream.peer_addr().map(|address| self.connections.admit(address));
        let admitted = admitted
            .and_then(|admitted| admitted.ok_or_else(|| io::Error::other("there are too many connections")));
        match admitted {
            Ok(admitted) => {
                let silent = Some(Box::pin(tokio::time::sleep(self.silence_time_max)));
                let stall_time_max = self.stall_time_max;
                let connection = WatchedStream { stream, stall_time_max, stalled: None, silent, admitted };
                Box::pin(self.inner.accept(connection, service))
            }
            Err(error) => Box::pin(std::future::ready(Err(error))),
        }
    }
}

/// A connection that fails if its client reads nothing for too long, never sends anything, or is idle while there is no room for
/// others.
#[derive(Debug)]
pub struct WatchedStream<T> {
    stream: T,
    stall_time_max: Duration,
    /// Runs while the client takes nothing.
    stalled: Option<Pin<Box<Sleep>>>,
    /// Runs until the client has sent something.
    silent: Option<Pin<Box<Sleep>>>,
    admitted: Admitted,
}

impl<T: AsyncWrite + Unpin> WatchedStream<T> {
    /// Checks the outcome of a write: it may be pending only for a limited time.
    fn watch<R>(&mut self, context: &mut Context<'_>, written: Poll<io::Result<R>>) -> Poll<io::Result<R>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let until = tokio::time::Instant::now() + self.stall_time_max;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(until)));
        match stalled.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for WatchedStream<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buffer.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(context, buffer);
        if read.is_ready() {
            if buffer.filled().len() > before {
                this.silent = None;
            }
            return read;
        }
        if Pin::new(&mut this.admitted.closed).poll(context).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        match this.silent.as_mut().map(|silent| silent.as_mut().poll(context)) {
            Some(Poll::Ready(())) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            _ => Poll::Pending,
        }
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for WatchedStream<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.watch(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.watch(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        self.watch(context, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.stream).poll_shutdown(context);
        self.watch(context, shut)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connections(connections_max: usize) -> Arc<Connections> {
        Arc::new(Connections { known: Mutex::default(), connections_max })
    }

    fn address(host: u8, port: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, host], port))
    }

    fn is_closed(admitted: &mut Admitted) -> bool {
        admitted.closed.try_recv().is_ok()
    }

    #[test]
    fn where_there_is_no_room_the_oldest_idle_one_of_whoever_has_most_is_closed() {
        let all = connections(8);
        let mut many: Vec<_> = (0..5).map(|port| all.admit(address(1, port)).expect("room")).collect();
        let mut few: Vec<_> = (0..3).map(|port| all.admit(address(2, port)).expect("room")).collect();
        let answering = all.busy(address(1, 0));
        let mut newest = all.admit(address(3, 0)).expect("room is made");
        let closed: Vec<bool> = many.iter_mut().map(is_closed).collect();
        assert_eq!(closed, [false, true, false, false, false], "the oldest answers");
        assert!(!few.iter_mut().any(is_closed) && !is_closed(&mut newest));
        drop(answering);
        drop(many);
        assert_eq!(all.known().connections.len(), 4);
        drop((few, newest));
        let known = all.known();
        assert!(known.connections.is_empty() && known.of_peers.is_empty() && known.busy.is_empty());
    }

    #[test]
    fn one_peer_never_has_all_and_busy_ones_are_left_alone() {
        let all = connections(8);
        let kept: Vec<_> =
            (0..6).map(|port| (all.admit(address(1, port)), all.busy(address(1, port)))).collect();
        assert!(all.admit(address(1, 6)).is_none(), "its share is in use");
        let mut others: Vec<_> = (0..2).map(|port| all.admit(address(2, port)).expect("room")).collect();
        let _newest = all.admit(address(3, 0)).expect("room is made");
        assert!(is_closed(&mut others[0]) && !is_closed(&mut others[1]));
        drop(kept);
    }
}
