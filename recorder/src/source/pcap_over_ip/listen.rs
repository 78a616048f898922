//! Accepting peers that connect: several slots at one listener, each with one peer at a time.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use netrewind_store::clock::Clock;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::SourceError;

/// A listening socket, and the slots that have a peer.
struct Listener {
    socket: TcpListener,
    is_taken: Vec<AtomicBool>,
}

/// A slot for one peer: the free slot with the lowest number takes the next, so that peers that return get the slots that they
/// left.
pub(super) struct PeerSlot {
    listener: Arc<Listener>,
    number: usize,
    clock: Arc<dyn Clock>,
}

impl PeerSlot {
    /// Listens for this many peers, and returns its address.
    pub fn open(
        host: &str,
        port: u16,
        slots: usize,
        clock: &Arc<dyn Clock>,
    ) -> Result<(Vec<Self>, SocketAddr), SourceError> {
        let failed =
            |source| SourceError::System { what: format!("listening on {host}, port {port}"), source };
        let socket = TcpListener::bind((host, port)).map_err(failed)?;
        socket.set_nonblocking(true).map_err(failed)?;
        let address = socket.local_addr().map_err(failed)?;
        let is_taken = (0..slots).map(|_| AtomicBool::new(false)).collect();
        let listener = Arc::new(Listener { socket, is_taken });
        let slot = |number| Self { listener: listener.clone(), number, clock: clock.clone() };
        Ok(((0..slots).map(slot).collect(), address))
    }

    /// Number of the slot, from 0.
    pub fn number(&self) -> usize {
        self.number
    }

    /// Waits at most `patience` for a peer.
    pub fn accept(&mut self, name: &str, patience: Duration) -> Result<Option<TcpStream>, SourceError> {
        let failed = |source| SourceError::System { what: format!("{name}: waiting for a peer"), source };
        if !self.is_next() {
            self.clock.sleep(patience);
            return Ok(None);
        }
        if !self.listener.wait(patience).map_err(failed)? {
            return Ok(None);
        }
        match self.listener.socket.accept() {
            Ok((stream, _)) => {
                self.taken().store(true, Ordering::Release);
                Ok(Some(stream))
            }
            // Another slot was quicker, or the peer has gone again.
            Err(error) if is_passing(&error) => Ok(None),
            Err(error) => Err(failed(error)),
        }
    }

    /// Frees the slot.
    pub fn let_go(&self) {
        self.taken().store(false, Ordering::Release);
    }

    fn taken(&self) -> &AtomicBool {
        &self.listener.is_taken[self.number]
    }

    fn is_next(&self) -> bool {
        self.listener.is_taken[..self.number].iter().all(|taken| taken.load(Ordering::Acquire))
    }
}

fn is_passing(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted, WouldBlock};
    matches!(error.kind(), WouldBlock | Interrupted | ConnectionAborted | ConnectionReset)
}

impl Listener {
    fn wait(&self, patience: Duration) -> io::Result<bool> {
        let timeout = Timespec::try_from(patience).map_err(io::Error::other)?;
        match poll(&mut [PollFd::new(&self.socket, PollFlags::IN)], Some(&timeout)) {
            Ok(ready) => Ok(ready > 0),
            Err(rustix::io::Errno::INTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}
