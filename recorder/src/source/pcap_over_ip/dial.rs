//! Connections to a peer, made on a separate thread, and retried after a growing pause.

use netrewind_store::clock::Clock;
use std::io;
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::Duration;

use super::SourceError;

/// Time that one address of a peer may take to answer.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Pause before the first retry after a useful connection.
pub const PAUSE_MIN: Duration = Duration::from_millis(250);
/// Limit on the pause, which doubles with each failed try.
pub const PAUSE_MAX: Duration = Duration::from_secs(10);

/// Keeps one peer connected.
pub(super) struct Dialer {
    host: String,
    port: u16,
    clock: Arc<dyn Clock>,
    attempt: Option<Receiver<io::Result<TcpStream>>>,
    pause: Duration,
    not_before_ns: u64,
    failure: Option<String>,
}

impl Dialer {
    pub fn new(host: String, port: u16, clock: Arc<dyn Clock>) -> Self {
        Self { host, port, clock, attempt: None, pause: PAUSE_MIN, not_before_ns: 0, failure: None }
    }

    /// Waits at most `patience` for a connection. The error is the reason that there is none; the next call goes on trying.
    pub fn dial(&mut self, name: &str, patience: Duration) -> Result<Option<TcpStream>, SourceError> {
        let away = |why: &str| SourceError::Unsupported { name: name.to_owned(), reason: why.to_owned() };
        if self.attempt.is_none() {
            if self.clock.now().monotonic_ns < self.not_before_ns {
                self.clock.sleep(patience);
                return Err(away(self.failure.as_deref().unwrap_or("not connected")));
            }
            self.attempt =
                Some(begin(self.host.clone(), self.port).map_err(|error| away(&error.to_string()))?);
        }
        let Some(attempt) = &self.attempt else { return Ok(None) };
        let result = match attempt.recv_timeout(patience) {
            Ok(result) => result,
            Err(RecvTimeoutError::Timeout) => {
                return Err(away(self.failure.as_deref().unwrap_or("not connected yet")));
            }
            Err(RecvTimeoutError::Disconnected) => Err(io::Error::other("the connecting thread failed")),
        };
        self.attempt = None;
        match result {
            Ok(stream) => {
                self.failure = None;
                Ok(Some(stream))
            }
            Err(error) => {
                let reason = format!("cannot connect: {error}; retrying");
                self.put_off();
                Err(away(self.failure.insert(reason)))
            }
        }
    }

    /// Notes the end of the connection; `was_useful` if it carried any packets.
    pub fn let_go(&mut self, was_useful: bool) {
        if was_useful {
            self.pause = PAUSE_MIN;
        }
        self.put_off();
    }

    fn put_off(&mut self) {
        let pause_ns = u64::try_from(self.pause.as_nanos()).unwrap_or(u64::MAX);
        self.not_before_ns = self.clock.now().monotonic_ns.saturating_add(pause_ns);
        self.pause = (self.pause * 2).min(PAUSE_MAX);
    }
}

/// Looks the name up and tries its addresses in turn. Nobody waits for the thread: if its result is no longer wanted, it ends by
/// itself.
fn begin(host: String, port: u16) -> io::Result<Receiver<io::Result<TcpStream>>> {
    let (answer, attempt) = mpsc::channel();
    std::thread::Builder::new().name("connect".into()).spawn(move || {
        let _ = answer.send(connect(&host, port));
    })?;
    Ok(attempt)
}

fn connect(host: &str, port: u16) -> io::Result<TcpStream> {
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "the name does not resolve to an address");
    for address in (host, port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, CONNECT_TIMEOUT) {
            Ok(stream) => return Ok(stream),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}
