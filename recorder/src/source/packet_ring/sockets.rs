//! Packet sockets, which only a process with CAP_NET_RAW may open: this one, or another that hands them over.

use std::io;
use std::os::fd::OwnedFd;

use crate::sys::packet_socket::{Framing, PacketSocket};

/// Opens packet sockets.
pub trait PacketSockets: Send + Sync {
    /// Opens a socket that receives nothing yet.
    fn open(&self, framing: Framing) -> io::Result<OwnedFd>;

    /// Turns on the timestamps of an interface, if its driver offers them for all packets; false if it does not. Changing them needs
    /// CAP_NET_ADMIN.
    fn turn_on_timestamps(&self, interface: &str) -> io::Result<bool>;
}

/// Sockets that this process opens itself.
#[derive(Clone, Copy, Debug)]
pub struct OwnSockets;

impl PacketSockets for OwnSockets {
    fn open(&self, framing: Framing) -> io::Result<OwnedFd> {
        PacketSocket::open(framing).map(Into::into)
    }

    fn turn_on_timestamps(&self, interface: &str) -> io::Result<bool> {
        PacketSocket::open(Framing::Raw)?.turn_on_timestamps(interface)
    }
}
