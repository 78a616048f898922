//! A transport session with a collector: its socket, its sequence number, and its templates.

use std::io;
use std::time::Duration;

use netrewind_store::clock::Now;
use netrewind_store::time::SECOND_NS;

use crate::collector::{CollectorAddress, CollectorSocket, Transport};
use crate::message::FlowMessage;

/// Messages that are sent one after the other, and the pause behind them: a collector's buffer holds more, but not much more.
pub(crate) const BURST_MESSAGES: u32 = 16;
pub(crate) const BURST_PAUSE: Duration = Duration::from_millis(1);
/// Interval after which templates are sent again over UDP.
pub(crate) const TEMPLATE_INTERVAL: Duration = Duration::from_secs(60);
/// Messages after which they are.
pub(crate) const TEMPLATE_MESSAGES: u64 = 1024;

/// A session with a collector, which begins anew when its connection does.
#[derive(Debug)]
pub(crate) struct CollectorSession {
    collector: CollectorAddress,
    domain: u32,
    socket: Option<CollectorSocket>,
    /// The socket is kept whatever happens: there may be no other.
    is_for_good: bool,
    /// Data records sent, modulo 2^32.
    sequence: u32,
    /// Time at which templates were sent, and the messages since then.
    templates: Option<(u64, u64)>,
}

impl CollectorSession {
    pub(crate) fn new(collector: CollectorAddress, domain: u32) -> Self {
        Self { collector, domain, socket: None, is_for_good: false, sequence: 0, templates: None }
    }

    pub(crate) fn collector(&self) -> &CollectorAddress {
        &self.collector
    }

    /// Connects, unless it is connected.
    pub(crate) fn connect(&mut self) -> io::Result<()> {
        if self.socket.as_ref().is_some_and(CollectorSocket::is_closed) {
            self.give_up();
        }
        if self.socket.is_none() {
            self.socket = Some(CollectorSocket::connect(&self.collector)?);
            (self.sequence, self.templates) = (0, None);
        }
        Ok(())
    }

    /// Opens a socket that is never opened again, if the collector has an address and takes datagrams; false if not.
    pub(crate) fn open_for_good(&mut self) -> io::Result<bool> {
        let can_be = self.collector.transport == Transport::Udp && self.collector.address().is_some();
        if can_be {
            self.connect()?;
            self.is_for_good = true;
        }
        Ok(can_be)
    }

    /// Sends a message, behind templates where they are due. After an error it has not been sent.
    pub(crate) fn send(&mut self, message: &mut FlowMessage, now: Now) -> io::Result<()> {
        let Self { collector, domain, socket, sequence, templates, .. } = self;
        let socket = socket.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        let export_seconds = u32::try_from(now.wall.ns() / SECOND_NS).unwrap_or(u32::MAX);
        let is_due = match (&templates, collector.transport) {
            (None, _) => true,
            (Some(_), Transport::Tcp) => false,
            (Some((at_ns, messages)), Transport::Udp) => {
                now.since(*at_ns) >= TEMPLATE_INTERVAL || *messages >= TEMPLATE_MESSAGES
            }
        };
        if is_due {
            socket.send(FlowMessage::of_templates(*domain).stamped(export_seconds, *sequence))?;
            *templates = Some((now.monotonic_ns, 0));
        }
        socket.send(message.stamped(export_seconds, *sequence))?;
        *sequence = sequence.wrapping_add(message.records());
        *templates = templates.map(|(at_ns, messages)| (at_ns, messages + 1));
        Ok(())
    }

    /// Gives up the connection after an error: what comes next begins anew.
    pub(crate) fn give_up(&mut self) {
        if !self.is_for_good {
            self.socket = None;
        }
        // A collector that has been started again has none.
        self.templates = None;
    }
}
