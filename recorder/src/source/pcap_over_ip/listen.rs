//! Accepting peers that connect: several desks at one door, each with one peer at a time.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::SourceError;

/// A listener, and the desks at it that have a peer.
struct Door {
    listener: TcpListener,
    is_taken: Vec<AtomicBool>,
}

/// One place for a peer: the free desk with the lowest number takes the next, so that peers that return get the desks that they
/// left.
pub(super) struct Desk {
    door: Arc<Door>,
    number: usize,
}

impl Desk {
    /// Opens a door with this many desks, and returns its address.
    pub fn open(host: &str, port: u16, desks: usize) -> Result<(Vec<Self>, SocketAddr), SourceError> {
        let failed =
            |source| SourceError::System { what: format!("listening on {host}, port {port}"), source };
        let listener = TcpListener::bind((host, port)).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let is_taken = (0..desks).map(|_| AtomicBool::new(false)).collect();
        let door = Arc::new(Door { listener, is_taken });
        Ok(((0..desks).map(|number| Self { door: door.clone(), number }).collect(), address))
    }

    /// Number of the desk, from 0.
    pub fn number(&self) -> usize {
        self.number
    }

    /// Waits at most `patience` for a peer.
    pub fn accept(&mut self, name: &str, patience: Duration) -> Result<Option<TcpStream>, SourceError> {
        let failed = |source| SourceError::System { what: format!("{name}: waiting for a peer"), source };
        if !self.is_next() {
            std::thread::sleep(patience);
            return Ok(None);
        }
        if !self.door.wait(patience).map_err(failed)? {
            return Ok(None);
        }
        match self.door.listener.accept() {
            Ok((stream, _)) => {
                self.taken().store(true, Ordering::Release);
                Ok(Some(stream))
            }
            // Another desk was quicker, or the peer has gone again.
            Err(error) if is_passing(&error) => Ok(None),
            Err(error) => Err(failed(error)),
        }
    }

    /// Frees the desk.
    pub fn let_go(&self) {
        self.taken().store(false, Ordering::Release);
    }

    fn taken(&self) -> &AtomicBool {
        &self.door.is_taken[self.number]
    }

    fn is_next(&self) -> bool {
        self.door.is_taken[..self.number].iter().all(|taken| taken.load(Ordering::Acquire))
    }
}

fn is_passing(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted, WouldBlock};
    matches!(error.kind(), WouldBlock | Interrupted | ConnectionAborted | ConnectionReset)
}

impl Door {
    fn wait(&self, patience: Duration) -> io::Result<bool> {
        let timeout = Timespec::try_from(patience).map_err(io::Error::other)?;
        match poll(&mut [PollFd::new(&self.listener, PollFlags::IN)], Some(&timeout)) {
            Ok(ready) => Ok(ready > 0),
            Err(rustix::io::Errno::INTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}
