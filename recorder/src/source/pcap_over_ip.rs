//! Capture streams over TCP: a pcap or pcapng file without end, as sent by `tcpdump -w - | nc`, PolarProxy and Wireshark's
//! `TCP@host:port`. There is no other protocol: the connection is the file.
//!
//! A recorder connects to its peer, again and again if need be, or listens for peers that connect. Packets that have arrived
//! whole are kept, however the stream ends.
//!
//! **Invariant:** no call blocks for longer than its patience, whatever a peer does: names are looked up and connections made on
//! a separate thread, and sockets are read only when bytes are there. No clock is read but the caller's.

mod dial;
mod listen;
#[cfg(test)]
mod tests;

use netrewind_store::clock::Clock;
use std::fmt;
use std::io;
use std::net::TcpStream;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use rustix::net::sockopt;

use self::dial::Dialer;
use self::listen::PeerSlot;
use super::capture_file::CaptureFile;
use super::{Packet, PeerChange, Received, ReportedDrops, Source, SourceCounters, SourceError};

/// Limit on the peers of one listening source at a time. Further ones wait, unread, until one of these has gone.
pub const PEERS_MAX: usize = 8;
/// Time that a peer may be silent before the kernel sends a keepalive probe.
pub const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);
/// Time that the kernel waits for the answer to each probe.
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// Time in which a connecting peer must send the header of its capture, before another gets its place. (`tcpdump -U` sends it at
/// once.)
pub const HEADER_WITHIN: Duration = Duration::from_secs(10);
/// Unanswered probes after which the peer counts as gone.
pub const KEEPALIVE_PROBES: u32 = 3;

/// Origin of the streams.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// `connect:HOST:PORT`: a peer that serves its packets.
    Connect {
        /// A name or an address; IPv6 without brackets.
        host: String,
        /// The TCP port.
        port: u16,
    },
    /// `listen:ADDR:PORT`: peers that connect to us.
    Listen {
        /// An address of this machine, or a name for one; IPv6 without brackets.
        host: String,
        /// The TCP port; 0 lets the system choose one.
        port: u16,
    },
}

impl FromStr for Endpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("{text:?}: write connect:HOST:PORT or listen:ADDRESS:PORT (IPv6: [ADDRESS]:PORT)");
        let (way, place) = text.split_once(':').ok_or_else(wrong)?;
        let (host, port) = place.rsplit_once(':').ok_or_else(wrong)?;
        let port = port.parse().map_err(|_| wrong())?;
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        if host.is_empty() || (bare.is_none() && host.contains(':')) {
            return Err(wrong());
        }
        let host = bare.unwrap_or(host).to_owned();
        match way {
            "connect" if port > 0 => Ok(Self::Connect { host, port }),
            "listen" => Ok(Self::Listen { host, port }),
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (way, host, port) = match self {
            Self::Connect { host, port } => ("connect", host, port),
            Self::Listen { host, port } => ("listen", host, port),
        };
        match host.contains(':') {
            true => write!(f, "{way}:[{host}]:{port}"),
            false => write!(f, "{way}:{host}:{port}"),
        }
    }
}

/// One stream at a time: from the peer that is connected to, or from one of those that connect.
pub struct PcapOverIp {
    name: String,
    origin: PeerOrigin,
    clock: Arc<dyn Clock>,
    peer: Option<PeerStream>,
    changes: Vec<PeerChange>,
    handed_over: u64,
    has_had_peer: bool,
    is_stopped: bool,
}

enum PeerOrigin {
    Dialer(Dialer),
    Slot(PeerSlot),
}

/// A connection.
struct PeerStream {
    address: String,
    stream: CaptureFile,
    records: u64,
    connected_ns: u64,
}

impl PeerStream {
    fn new(source: &str, stream: TcpStream, connected_ns: u64) -> Result<Self, SourceError> {
        let address = stream.peer_addr().map_or_else(|_| "a peer".to_owned(), |address| address.to_string());
        let name = format!("{source}, peer {address}");
        if let Err(source) = notice_when_gone(&stream) {
            return Err(SourceError::System { what: name, source });
        }
        Ok(Self { stream: CaptureFile::from_stream(name, stream)?, address, records: 0, connected_ns })
    }
}

/// Turns on keepalive: a peer whose machine has gone sends nothing, so the kernel has to probe it. tcp(7).
fn notice_when_gone(stream: &TcpStream) -> io::Result<()> {
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, KEEPALIVE_IDLE)?;
    sockopt::set_tcp_keepintvl(stream, KEEPALIVE_INTERVAL)?;
    sockopt::set_tcp_keepcnt(stream, KEEPALIVE_PROBES)?;
    Ok(())
}

impl PcapOverIp {
    /// Opens `endpoint`: one source that connects, or [`PEERS_MAX`] that take peers in turn. Listening begins at once;
    /// connecting at the first call of [`Source::receive`].
    pub fn open(endpoint: &Endpoint, clock: &Arc<dyn Clock>) -> Result<Vec<Self>, SourceError> {
        match endpoint {
            Endpoint::Connect { host, port } => {
                let dialer = Dialer::new(host.clone(), *port, clock.clone());
                Ok(vec![Self::new(endpoint.to_string(), PeerOrigin::Dialer(dialer), clock)])
            }
            Endpoint::Listen { host, port } => {
                let (slots, address) = PeerSlot::open(host, *port, PEERS_MAX, clock)?;
                let name = format!("listen:{address}");
                let source = |slot| Self::new(name.clone(), PeerOrigin::Slot(slot), clock);
                Ok(slots.into_iter().map(source).collect())
            }
        }
    }

    fn new(name: String, origin: PeerOrigin, clock: &Arc<dyn Clock>) -> Self {
        let (peer, changes, clock) = (None, Vec::new(), clock.clone());
        Self { name, origin, clock, peer, changes, handed_over: 0, has_had_peer: false, is_stopped: false }
    }

    /// Waits for a peer, at most for `patience`. The error is the reason that there is none; a listener without peers is no
    /// error.
    fn seek_peer(&mut self, patience: Duration) -> Result<Received, SourceError> {
        let found = match &mut self.origin {
            PeerOrigin::Dialer(dialer) => dialer.dial(&self.name, patience)?,
            PeerOrigin::Slot(slot) => slot.accept(&self.name, patience)?,
        };
        let Some(stream) = found else { return Ok(Received::Quiet) };
        let peer = PeerStream::new(&self.name, stream, self.clock.now().monotonic_ns)
            .inspect_err(|_| self.origin.let_go(false))?;
        self.changes.push(PeerChange::Connected { peer: peer.address.clone() });
        self.has_had_peer = true;
        self.peer = Some(peer);
        Ok(Received::Quiet)
    }

    /// Ends the connection after the peer's stream has ended, with or without an error.
    fn part(&mut self, result: Result<(), SourceError>) -> Result<Received, SourceError> {
        let Some(peer) = self.peer.take() else { return Ok(Received::Quiet) };
        let reason = match &result {
            Ok(()) => "the peer ended its stream".to_owned(),
            Err(error) => error.to_string(),
        };
        let (peer, records) = (peer.address, peer.records);
        let was_useful = records > 0;
        self.changes.push(PeerChange::Disconnected { peer, records, reason, turned_away: None });
        self.origin.let_go(was_useful);
        match (result, &self.origin) {
            (Err(error), _) => Err(error),
            // A peer that we connect to is expected to stay; a peer that connects to us may end its stream.
            (Ok(()), PeerOrigin::Dialer(_)) => Err(closed(&self.name)),
            (Ok(()), PeerOrigin::Slot(_)) => Ok(Received::Quiet),
        }
    }
}

impl PcapOverIp {
    /// Ends a peer that has sent no header in time and so keeps others from its place. A peer that we connected to has no place.
    fn look_at_clock(&mut self) {
        let now_ns = self.clock.now().monotonic_ns;
        let within_ns = u64::try_from(HEADER_WITHIN.as_nanos()).unwrap_or(u64::MAX);
        let is_late = |peer: &mut PeerStream| {
            !peer.stream.has_begun() && now_ns.saturating_sub(peer.connected_ns) > within_ns
        };
        if !matches!(self.origin, PeerOrigin::Slot(_)) {
            return;
        }
        let Some(PeerStream { address, .. }) = self.peer.take_if(is_late) else { return };
        let reason = format!("it sent no capture header within {} s", HEADER_WITHIN.as_secs());
        // A peer that keeps reconnecting is reported once: its port differs each time.
        let host = address.rsplit_once(':').map_or(&address[..], |(host, _)| host);
        let turned_away = Some(format!(
            "{}: peer {host} was disconnected to make room for another: {reason} (use tcpdump with -U)",
            self.name
        ));
        self.changes.push(PeerChange::Disconnected { peer: address, records: 0, reason, turned_away });
        self.origin.let_go(false);
    }
}

impl PeerOrigin {
    /// Lets go of the peer; `was_useful` if it had sent anything.
    fn let_go(&mut self, was_useful: bool) {
        match self {
            Self::Dialer(dialer) => dialer.let_go(was_useful),
            Self::Slot(slot) => slot.let_go(),
        }
    }
}

fn closed(name: &str) -> SourceError {
    let what = format!("{name}: the peer ended its stream; connecting again");
    SourceError::System { what, source: io::ErrorKind::ConnectionAborted.into() }
}

impl Source for PcapOverIp {
    fn name(&self) -> &str {
        &self.name
    }

    fn receive(
        &mut self,
        patience: Duration,
        take: &mut dyn FnMut(Packet<'_>),
    ) -> Result<Received, SourceError> {
        let Some(peer) = &mut self.peer else {
            return if self.is_stopped { Ok(Received::End) } else { self.seek_peer(patience) };
        };
        match peer.stream.receive(patience, take) {
            Ok(Received::Packets(packets)) => {
                peer.records += packets;
                self.handed_over += packets;
                Ok(Received::Packets(packets))
            }
            Ok(Received::Quiet) => {
                self.look_at_clock();
                Ok(Received::Quiet)
            }
            Ok(Received::End) => self.part(Ok(())),
            Err(error) => self.part(Err(error)),
        }
    }

    fn is_live(&self) -> bool {
        true
    }

    fn can_wait(&self) -> bool {
        true
    }

    fn take_reported_drops(&mut self) -> Vec<ReportedDrops> {
        self.peer.as_mut().map(|peer| peer.stream.take_reported_drops()).unwrap_or_default()
    }

    fn is_spare(&self) -> bool {
        matches!(&self.origin, PeerOrigin::Slot(slot) if slot.number() > 0) && !self.has_had_peer
    }

    fn take_changes(&mut self) -> Vec<PeerChange> {
        std::mem::take(&mut self.changes)
    }

    fn stop(&mut self) -> Result<(), SourceError> {
        self.is_stopped = true;
        Ok(())
    }

    fn counters(&mut self) -> Result<SourceCounters, SourceError> {
        Ok(SourceCounters { received: self.handed_over, dropped: 0 })
    }
}
