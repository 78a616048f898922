//! Packets from a live interface, through a ring that the kernel fills: AF_PACKET, TPACKET_V3.
//!
//! **Invariant:** a ring block is copied out and released before anything else is waited for.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use netrewind_store::clock::Clock;
use netrewind_store::{LinkType, RingFill};

use super::{Packet, Received, Source, SourceCounters, SourceError};
use crate::sys::interfaces;
use crate::sys::packet_socket::Statistics;

use bound::{BindError, Bound, FanoutGroup, Hardware, refused, unknown_interface};
use capture_filter::ACCEPT_NOTHING;
use walk::{RingSettings, Walked};

mod bound;
mod capture_filter;
mod claims;
mod link;
mod ring_config;
mod ring_header;
mod sockets;
#[cfg(test)]
mod tests;
mod walk;

pub use capture_filter::{CaptureFilter, CompiledFilter, KERNEL_INSTRUCTIONS_MAX, KernelMetadata};
pub use claims::Claims;
pub use ring_config::{ANY, RING_BLOCK_BYTES, RING_BLOCKS, RING_RETIRE_MS, RingConfig};
pub use sockets::{OwnSockets, PacketSockets};

pub use crate::sys::packet_socket::{Framing, SockFilter};

/// Limit on the lanes of one interface; the kernel's own limit is 256.
pub const LANES_MAX: usize = 64;
/// Interval between two checks of an interface that seems well: its socket reports that it goes down, but not that another takes
/// its name.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// Time for which a ring is still read after its interface has gone: the last block is handed over by a timer.
const LAST_BLOCKS: Duration = Duration::from_millis(4 * RING_RETIRE_MS as u64);

/// One ring: all packets of an interface, or one lane's share of them.
pub struct PacketRing {
    config: RingConfig,
    group: Option<FanoutGroup>,
    /// `None` before the interface was there for the first time.
    bound: Option<Bound>,
    /// Start of the time in which nothing can be received; `None` while packets can be.
    down_since_ns: Option<u64>,
    /// Reason for that, until it has been reported.
    untold: Option<SourceError>,
    looked_ns: u64,
    clock: Arc<dyn Clock>,
    /// Present name of the interface.
    known_as: String,
    is_stopped: bool,
    counted: SourceCounters,
    walked: Walked,
    /// Largest fill since the last call that took it.
    filled_max: u32,
    freezes: u64,
    notices: Vec<String>,
    /// Buffer for packets that are assembled for the filter.
    scratch: Vec<u8>,
}

impl PacketRing {
    /// Opens `lanes` rings that share the interface's packets, each conversation (both directions) in one of them. No
    /// packet that the filter rejects is ever handed over. An interface that is not there is waited for.
    pub fn open(config: &RingConfig, lanes: usize, clock: &Arc<dyn Clock>) -> Result<Vec<Self>, SourceError> {
        let lanes = lanes.clamp(1, LANES_MAX);
        let group = (lanes > 1).then(FanoutGroup::default);
        let mut rings = Vec::with_capacity(lanes);
        for _ in 0..lanes {
            rings.push(match Bound::open(config, group.as_ref()) {
                Ok(bound) => Self::new(config, group.clone(), Some(bound), None, clock),
                Err(BindError::Passing(error)) => Self::new(config, group.clone(), None, Some(error), clock),
                Err(BindError::Lasting(error)) => return Err(error),
            });
        }
        // Only when all share the packets does any of them begin.
        rings.iter_mut().try_for_each(Self::start_accepting)?;
        Ok(rings)
    }

    fn new(
        config: &RingConfig,
        group: Option<FanoutGroup>,
        bound: Option<Bound>,
        untold: Option<SourceError>,
        clock: &Arc<dyn Clock>,
    ) -> Self {
        let now_ns = clock.now().monotonic_ns;
        Self {
            config: config.clone(),
            group,
            down_since_ns: bound.is_none().then_some(now_ns),
            bound,
            untold,
            looked_ns: now_ns,
            clock: clock.clone(),
            known_as: config.interface.clone(),
            is_stopped: false,
            counted: SourceCounters::default(),
            walked: Walked::default(),
            filled_max: 0,
            freezes: 0,
            notices: Vec::new(),
            scratch: Vec::new(),
        }
    }

    /// True if the interface timestamps packets itself.
    pub fn has_hardware_timestamps(&self) -> bool {
        self.bound.as_ref().is_some_and(|bound| bound.has_hardware_timestamps)
    }

    /// The link type of an interface's packets; `None` if it is not there or cannot be examined.
    pub fn link_type_at(interface: &str) -> Option<LinkType> {
        Hardware::of(interface, &OwnSockets).ok().map(|hardware| hardware.link_type)
    }

    /// The link type of its packets; `None` as long as its interface has not been there.
    pub fn link_type(&self) -> Option<LinkType> {
        self.bound.as_ref().map(|bound| bound.hardware.link_type)
    }

    /// Reason that the interface is waited for, until it has been reported.
    pub fn waits_because(&self) -> Option<String> {
        self.untold.as_ref().map(SourceError::to_string)
    }

    fn start_accepting(&mut self) -> Result<(), SourceError> {
        let Some(bound) = &mut self.bound else { return Ok(()) };
        self.notices.extend(bound.start_accepting(&self.config)?);
        let interface = bound.hardware.interface;
        self.known_as = interfaces::name_of(interface).unwrap_or_else(|_| self.config.interface.clone());
        Ok(())
    }

    fn hand_over(&mut self, take: &mut dyn FnMut(Packet<'_>)) -> Option<u64> {
        let bound = self.bound.as_mut()?;
        self.filled_max = self.filled_max.max(bound.socket.filled_blocks());
        let Hardware { link_type, framing, .. } = bound.hardware;
        let walk = RingSettings { link_type, framing, filter: bound.filter.as_deref() };
        let block = bound.socket.take_block()?;
        let Walked { handed_over, rejected } = walk.block(&block, &mut self.scratch, take);
        self.walked.handed_over += handed_over;
        self.walked.rejected += rejected;
        Some(handed_over)
    }

    /// Notes that nothing can be received any more, and returns the error.
    fn go_down(&mut self, what: &str, error: io::Error) -> SourceError {
        self.down_since_ns = Some(self.clock.now().monotonic_ns);
        refused(&self.config.interface, what, error)
    }

    /// Checks an interface that seems well, once per [`LOOK_INTERVAL`].
    fn check_interface(&mut self) -> Result<(), SourceError> {
        let now = self.clock.now();
        let Some(bound) = self.bound.as_ref().filter(|_| now.since(self.looked_ns) >= LOOK_INTERVAL) else {
            return Ok(());
        };
        self.looked_ns = now.monotonic_ns;
        if let Err(error) = bound.socket.take_error() {
            return Err(self.go_down(DOWN, error));
        }
        if bound.hardware.is_any() {
            return Ok(());
        }
        if !bound.is_bound() {
            return Err(self.go_down(AWAY, io::Error::from_raw_os_error(libc::ENODEV)));
        }
        let number = bound.hardware.interface;
        if interfaces::number_of(&self.config.interface).is_ok_and(|named| named != number) {
            // First the packets left in the ring are taken, then the other interface is used.
            let _ = bound.socket.attach_filter(&ACCEPT_NOTHING);
            return Err(self.go_down(OTHER, io::Error::from_raw_os_error(libc::ENODEV)));
        }
        self.note_name(number);
        Ok(())
    }

    fn note_name(&mut self, number: u32) {
        let Ok(name) = interfaces::name_of(number) else { return };
        if name != self.known_as {
            let asked = &self.config.interface;
            self.notices.push(match name == *asked {
                true => format!("{asked} has its name back"),
                false => {
                    format!("{asked} was renamed to {name}: it is still recorded under the name {asked}")
                }
            });
            self.known_as = name;
        }
    }

    /// Resumes an interface that was away, if it can be received from again. `is_drained` says that no packets are left in the
    /// ring, so that another ring can take its place.
    fn come_back(&mut self, is_drained: bool) -> Result<(), SourceError> {
        let down = |error| refused(&self.config.interface, DOWN, error);
        let named =
            if self.config.interface == ANY { Ok(0) } else { interfaces::number_of(&self.config.interface) };
        let bound = self.bound.as_ref().filter(|bound| bound.is_bound());
        // Under another name as well, unless that name is another interface's by now.
        let kept = bound.filter(|bound| !matches!(named, Ok(named) if named != bound.hardware.interface));
        if let Some(bound) = kept.filter(|bound| !bound.hardware.is_any()) {
            let name = interfaces::name_of(bound.hardware.interface).map_err(down)?;
            if !bound.socket.is_up(&name).map_err(down)? {
                return Err(down(io::Error::from_raw_os_error(libc::ENETDOWN)));
            }
        }
        let is_same = |bound: &&Bound| {
            bound.hardware.is_any()
                || Hardware::at(&bound.socket, bound.hardware.interface)
                    .is_ok_and(|now| now == bound.hardware)
        };
        if kept.filter(is_same).is_none() {
            // Nothing more is received from its previous interface.
            let _ = self.bound.as_ref().map(|bound| bound.socket.attach_filter(&ACCEPT_NOTHING));
            let now = self.clock.now();
            let waited = self.down_since_ns.is_none_or(|since_ns| now.since(since_ns) >= LAST_BLOCKS);
            if !(is_drained && waited) {
                return Err(down(io::Error::from_raw_os_error(libc::ENETDOWN)));
            }
            self.bind_again(named)?;
        }
        self.resume();
        Ok(())
    }

    fn bind_again(&mut self, named: io::Result<u32>) -> Result<(), SourceError> {
        named.map_err(|_| unknown_interface(&self.config.interface))?;
        if self.bound.is_some() {
            self.count().map_err(|error| refused(&self.config.interface, COUNTERS, error))?;
            // Packets left in the old ring are lost with it.
            let SourceCounters { received, dropped } = self.counted;
            let Walked { handed_over, rejected } = self.walked;
            self.counted.dropped += received.saturating_sub(dropped + handed_over + rejected);
        }
        let had_timestamps = self.has_hardware_timestamps();
        let before = self.bound.as_ref().map(|bound| bound.hardware.clone());
        let mut bound = Bound::open(&self.config, self.group.as_ref())?;
        let notice = bound.start_accepting(&self.config)?;
        let name = &self.config.interface;
        self.notices.extend(notice);
        if had_timestamps && !bound.has_hardware_timestamps {
            self.notices.push(format!("{name} no longer has hardware timestamps: the kernel's are used"));
        }
        let Hardware { interface: number, link_type: new_type, .. } = bound.hardware;
        if let Some(Hardware { interface: old, .. }) = before.as_ref().filter(|it| it.interface != number) {
            self.notices.push(format!(
                "{name} is a different interface than before (index {number}, before {old}): recording continues on it"
            ));
            self.known_as = interfaces::name_of(number).unwrap_or_else(|_| name.clone());
        }
        if before.is_some_and(|before| before.link_type != new_type) {
            self.notices
                .push(format!("{name} has come back with packets of another link type ({})", new_type.0));
        }
        self.bound = Some(bound);
        Ok(())
    }

    fn resume(&mut self) {
        self.down_since_ns = None;
        self.looked_ns = self.clock.now().monotonic_ns;
        let Some(bound) = &mut self.bound else { return };
        // The interface may have gone and come again in between.
        let _ = bound.socket.take_error();
        bound.renew(&self.config);
        let number = bound.hardware.interface;
        if number != 0 {
            self.note_name(number);
        }
    }

    fn count(&mut self) -> io::Result<()> {
        let Some(bound) = &self.bound else { return Ok(()) };
        let Statistics { packets, drops, freezes } = bound.socket.take_statistics()?;
        self.counted.received += u64::from(packets);
        self.counted.dropped += u64::from(drops);
        self.freezes += u64::from(freezes);
        Ok(())
    }

    /// Reports the reason that nothing is received, once, and then tries to resume.
    fn receive_nothing(&mut self) -> Result<Received, SourceError> {
        match self.untold.take() {
            Some(error) => Err(error),
            None => self.come_back(true).map(|()| Received::Quiet),
        }
    }

    /// Waits for packets; an error says that none will come.
    fn wait(&mut self, patience: Duration) -> Result<bool, SourceError> {
        let Some(bound) = &self.bound else { return Ok(false) };
        bound
            .socket
            .wait(patience)
            .map_err(|error| refused(&self.config.interface, "waiting for packets", error))
    }
}

const DOWN: &str = "the interface is down; recording continues when it is back";
const AWAY: &str = "the interface is gone; recording continues when it is back";
const OTHER: &str = "a different interface has this name now; recording continues on it";
const COUNTERS: &str = "reading the kernel's counters";

/// Index of an interface, by its name or an alternative one; `None` if there is no such interface. [`ANY`] has 0.
pub fn number_of(interface: &str) -> Option<u32> {
    if interface == ANY { Some(0) } else { interfaces::number_of(interface).ok() }
}

/// Names of the machine's interfaces.
pub fn interface_names() -> Vec<String> {
    crate::sys::packet_socket::interface_names()
}

impl Source for PacketRing {
    fn name(&self) -> &str {
        &self.config.interface
    }

    fn receive(
        &mut self,
        patience: Duration,
        take: &mut dyn FnMut(Packet<'_>),
    ) -> Result<Received, SourceError> {
        if let Some(packets) = self.hand_over(take) {
            match (self.is_stopped, self.is_down()) {
                (true, _) => {}
                // What waited in the ring, or packets of an interface that is back.
                (false, true) => drop(self.come_back(false)),
                (false, false) => self.check_interface()?,
            }
            return Ok(Received::Packets(packets));
        }
        if self.is_down() && !self.is_stopped {
            return self.receive_nothing();
        }
        if !self.wait(patience)? {
            return if self.is_stopped {
                Ok(Received::Quiet)
            } else {
                self.check_interface().map(|()| Received::Quiet)
            };
        }
        if let Some(packets) = self.hand_over(take) {
            return Ok(Received::Packets(packets));
        }
        match self.bound.as_ref().map_or(Ok(()), |bound| bound.socket.take_error()) {
            Ok(()) => Ok(Received::Quiet),
            Err(error) => {
                let is_there = self.bound.as_ref().is_some_and(Bound::is_bound);
                Err(self.go_down(if is_there { DOWN } else { AWAY }, error))
            }
        }
    }

    fn is_live(&self) -> bool {
        true
    }

    fn is_down(&self) -> bool {
        self.down_since_ns.is_some()
    }

    fn take_notices(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notices)
    }

    fn stop(&mut self) -> Result<(), SourceError> {
        self.is_stopped = true;
        let Some(bound) = &self.bound else { return Ok(()) };
        bound
            .socket
            .attach_filter(&ACCEPT_NOTHING)
            .map_err(|error| refused(&self.config.interface, "stopping", error))
    }

    fn take_ring(&mut self) -> Option<RingFill> {
        let (filled_max, freezes) = (std::mem::take(&mut self.filled_max), std::mem::take(&mut self.freezes));
        Some(RingFill { blocks: self.config.blocks, filled_max, freezes })
    }

    fn counters(&mut self) -> Result<SourceCounters, SourceError> {
        let result = self.count();
        result.map_err(|error| refused(&self.config.interface, COUNTERS, error))?;
        // Packets that the capture filter rejected do not count as received, wherever it ran.
        let SourceCounters { received, dropped } = self.counted;
        Ok(SourceCounters { received: received.saturating_sub(self.walked.rejected), dropped })
    }
}
