//! Sockets and threads: from a listener to the routes, and shutdown.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum_server::Handle;
use axum_server::accept::DefaultAcceptor;
use axum_server::tls_rustls::RustlsAcceptor;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

use crate::connection::Bounded;
use crate::service::{Phase, Service};
use crate::source::Source;
use crate::tls::TlsFiles;

/// Threads that send and receive.
const SENDING_THREADS: usize = 2;
/// Threads for short work beside answers, as looking at tokens.
const SPARE_THREADS: usize = 4;
/// Nice value of the service's threads: a recorder in the same process goes first.
const NICENESS: i32 = 10;
/// Streams of one HTTP/2 connection at a time.
const STREAMS_MAX: u32 = 32;
/// Interval between two pings of an HTTP/2 client.
const PING_INTERVAL: Duration = Duration::from_secs(20);
/// Time in which a thread takes up work, where they are well.
const ANSWERING_WITHIN: Duration = Duration::from_secs(5);
/// Time that cut answers have to reach their clients.
const CUT_TIME: Duration = Duration::from_secs(2);

/// Interval between two passes that release kept data nobody needs.
const TIDY_INTERVAL: Duration = Duration::from_secs(1);

/// Interval between two looks which recorders there are, where several are served.
pub const FIND_INTERVAL: Duration = Duration::from_secs(60);

/// Looks which recorders there are, as long as the service runs.
async fn find_recorders(service: Arc<Service>) {
    let mut interval = tokio::time::interval(FIND_INTERVAL);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    // They were looked for before it started.
    interval.tick().await;
    loop {
        interval.tick().await;
        let service = Arc::clone(&service);
        // It only fails where the runtime ends.
        let _ = tokio::task::spawn_blocking(move || service.find_recorders()).await;
    }
}

/// Frees the disk space of expired segments, as long as the service runs.
async fn tidy(service: Arc<Service>) {
    let mut interval = tokio::time::interval(TIDY_INTERVAL);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        let source = service.source.clone();
        // It only fails where the runtime ends.
        let _ = tokio::task::spawn_blocking(move || source.evict_unused()).await;
    }
}

/// A running service.
#[derive(Debug)]
pub struct Server {
    runtime: Runtime,
    service: Arc<Service>,
    handle: Handle<SocketAddr>,
    tasks: Vec<JoinHandle<io::Result<()>>>,
    addresses: Vec<SocketAddr>,
}

impl Server {
    /// Starts answering on these listeners.
    pub fn start(
        service: Arc<Service>,
        router: Router,
        listeners: Vec<TcpListener>,
        tls: Option<TlsFiles>,
    ) -> io::Result<Self> {
        let limits = service.limits;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(SENDING_THREADS)
            .max_blocking_threads(
                limits.packets.answers_max
                    + limits.followers.answers_max
                    + limits.lookups.answers_max
                    + limits.aside_max
                    + limits.dissecting_max
                    + SPARE_THREADS,
            )
            .thread_name("http")
            .on_thread_start(|| {
                // Of this thread alone, and of those that it starts: nice(2) on Linux. Refused nowhere, as it only lowers.
                let _ = rustix::process::nice(NICENESS);
            })
            .enable_all()
            .build()?;
        let addresses = listeners.iter().map(TcpListener::local_addr).collect::<io::Result<_>>()?;
        let handle = Handle::new();
        let connections = &service.connections;
        let plain = Bounded::new(DefaultAcceptor::new(), connections, &limits);
        let encrypted = tls.as_ref().map(|tls| {
            let acceptor = RustlsAcceptor::new(tls.config()).handshake_timeout(limits.head_time_max);
            Bounded::new(acceptor, connections, &limits)
        });
        let on_runtime = runtime.enter();
        let mut tasks = Vec::new();
        for listener in listeners {
            let mut server = axum_server::from_tcp(listener)?.handle(handle.clone());
            let builder = server.http_builder();
            builder.http1().header_read_timeout(limits.head_time_max);
            builder
                .http2()
                .max_concurrent_streams(STREAMS_MAX)
                .keep_alive_interval(PING_INTERVAL)
                .keep_alive_timeout(limits.stall_time_max);
            let server = server.first_request_timeout(limits.head_time_max);
            let make = router.clone().into_make_service_with_connect_info::<SocketAddr>();
            tasks.push(match encrypted.clone() {
                Some(acceptor) => runtime.spawn(server.acceptor(acceptor).serve(make)),
                None => runtime.spawn(server.acceptor(plain.clone()).serve(make)),
            });
        }
        if let Some(tls) = tls {
            runtime.spawn(tls.watch());
        }
        if let Some(database) = &service.geo_database {
            runtime.spawn(Arc::clone(database).watch());
        }
        runtime.spawn(tidy(Arc::clone(&service)));
        if matches!(service.source, Source::Several(_)) {
            runtime.spawn(find_recorders(Arc::clone(&service)));
        }
        drop(on_runtime);
        Ok(Self { runtime, service, handle, tasks, addresses })
    }

    /// Addresses that it listens on.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// True if it has ended by itself, which is a fault.
    pub fn is_finished(&self) -> bool {
        self.tasks.iter().any(JoinHandle::is_finished)
    }

    /// True if its threads still take up work.
    pub fn is_answering(&self) -> bool {
        let (done, is_done) = std::sync::mpsc::channel();
        self.runtime.spawn(async move { done.send(()) });
        is_done.recv_timeout(ANSWERING_WITHIN).is_ok()
    }

    /// Accepts no more requests, gives running answers a limited time to end, cuts off the others, and returns.
    pub fn stop(self) {
        self.service.enter(Phase::Ending);
        let time = self.service.limits.shutdown_time_max;
        self.handle.graceful_shutdown(Some(time + CUT_TIME));
        let service = Arc::clone(&self.service);
        self.runtime.spawn(async move {
            tokio::time::sleep(time).await;
            service.enter(Phase::Cutting);
        });
        let tasks = self.tasks;
        self.runtime.block_on(async {
            for task in tasks {
                // A listener that failed has nothing left to end.
                let _ = task.await;
            }
        });
        // Nobody waits for what still reads.
        self.service.enter(Phase::Cutting);
        self.runtime.shutdown_timeout(CUT_TIME);
    }
}
