//! A socket on an interface: properties of the interface, and options of the socket.

use std::io;
use std::sync::{Arc, Mutex};

use netrewind_store::layout::CAPLEN_MAX;
use netrewind_store::{LinkType, locked};

use super::super::SourceError;
use super::capture_filter::{ACCEPT_NOTHING, CompiledFilter, Duties, not_taken};
use super::claims::InterfaceClaim;
use super::link;
use super::ring_config::{ANY, RING_RETIRE_MS, RingConfig};
use super::sockets::PacketSockets;
use crate::sys::interfaces;
use crate::sys::packet_socket::{Framing, PacketSocket, SockFilter, interface_names};

/// The fanout group of one interface's rings, and the interface's index when it was created: an interface that comes back with
/// another index needs a new one.
pub(super) type FanoutGroup = Arc<Mutex<Option<(u32, u16)>>>;

/// A socket on an interface.
pub(super) struct Bound {
    pub socket: PacketSocket,
    pub hardware: Hardware,
    pub has_hardware_timestamps: bool,
    /// The capture filter, if the kernel does not accept it.
    pub filter: Option<Arc<dyn CompiledFilter>>,
    program: Option<Arc<dyn CompiledFilter>>,
    _claim: InterfaceClaim,
}

/// Reason that there is no socket on an interface.
#[derive(Debug)]
pub(super) enum BindError {
    /// Temporary: the interface is not there, or not ready.
    Passing(SourceError),
    /// Permanent.
    Lasting(SourceError),
}

impl From<BindError> for SourceError {
    fn from((BindError::Passing(error) | BindError::Lasting(error)): BindError) -> Self {
        error
    }
}

impl Bound {
    /// Opens a socket on the interface that accepts nothing yet.
    pub fn open(config: &RingConfig, group: Option<&FanoutGroup>) -> Result<Self, BindError> {
        let name = &config.interface;
        let failed = |what: &str| {
            let what = what.to_owned();
            move |error| refusal(name, &what, error)
        };
        let hardware = Hardware::of(name, &*config.sockets)?;
        let claim = config.claims.claim(hardware.interface, name).map_err(BindError::Passing)?;
        let program = program(config, &hardware)?;
        let mut socket = open(&*config.sockets, name, hardware.framing)?;
        socket.attach_filter(&ACCEPT_NOTHING).map_err(failed("attaching a filter"))?;
        socket.map_ring(config.block_bytes, config.blocks, RING_RETIRE_MS).map_err(failed(&format!(
            "reserving a ring of {} blocks of {} bytes: choose a smaller one",
            config.blocks, config.block_bytes
        )))?;
        // On the loopback interface every packet is sent and received: once is enough.
        let ignores_outgoing = hardware.is_loopback();
        if ignores_outgoing {
            socket.ignore_outgoing().map_err(failed("ignoring outgoing packets"))?;
        }
        let has_hardware_timestamps = use_hardware_timestamps(config, &hardware, &socket)
            .map_err(failed("asking for hardware timestamps"))?;
        socket.bind(hardware.interface).map_err(failed("binding"))?;
        if config.is_promiscuous && !ignores_outgoing && !hardware.is_any() {
            socket.promiscuous(hardware.interface).map_err(failed("making the interface promiscuous"))?;
        }
        if let Some(group) = group {
            join(&socket, hardware.interface, group, ignores_outgoing)
                .map_err(failed("sharing packets between lanes"))?;
        }
        Ok(Self { socket, hardware, has_hardware_timestamps, filter: None, program, _claim: claim })
    }

    /// Starts accepting packets; returns a notice for the user, if there is one.
    pub fn start_accepting(&mut self, config: &RingConfig) -> Result<Option<String>, SourceError> {
        let failed = |error| refused(&config.interface, "attaching the capture filter", error);
        let duties = Duties {
            framing: self.hardware.framing,
            snaplen: (config.snaplen < CAPLEN_MAX).then_some(config.snaplen),
            without_outgoing_of: self
                .hardware
                .is_any()
                .then(|| interfaces::number_of(LOOPBACK).ok())
                .flatten(),
        };
        let Some(filter) = self.program.clone() else {
            self.attach(duties.without_filter(true)).map_err(failed)?;
            return Ok(None);
        };
        let taken =
            duties.with_filter(filter.program()).and_then(|program| self.socket.attach_filter(&program));
        let Err(error) = taken else { return Ok(None) };
        // The filter looks at whole packets; they are cut behind it.
        self.attach(duties.without_filter(false)).map_err(failed)?;
        self.filter = Some(filter);
        Ok(Some(not_taken(&config.interface, &error)))
    }

    fn attach(&self, program: Option<Vec<SockFilter>>) -> io::Result<()> {
        match program {
            Some(program) => self.socket.attach_filter(&program),
            None => self.socket.detach_filter(),
        }
    }

    /// True if the kernel still has the socket bound to the interface: it unbinds it from one that is deleted or moved to another
    /// namespace, and does not bind it again.
    pub fn is_bound(&self) -> bool {
        self.socket.bound_interface().is_ok_and(|interface| interface == Some(self.hardware.interface))
    }

    /// Turns on the interface's own timestamps again: some drivers forget the setting while they are down.
    pub fn renew(&mut self, config: &RingConfig) {
        if self.has_hardware_timestamps {
            let renewed = use_hardware_timestamps(config, &self.hardware, &self.socket);
            self.has_hardware_timestamps = renewed.unwrap_or(false);
        }
    }
}

/// The interface on which every sent packet is also received.
const LOOPBACK: &str = "lo";

fn use_hardware_timestamps(
    config: &RingConfig,
    hardware: &Hardware,
    socket: &PacketSocket,
) -> io::Result<bool> {
    if !config.use_hardware_timestamps || hardware.is_any() {
        return Ok(false);
    }
    let is_on = config.sockets.turn_on_timestamps(&interfaces::name_of(hardware.interface)?)?;
    if is_on {
        socket.use_hardware_timestamps()?;
    }
    Ok(is_on)
}

/// The capture filter, compiled for such an interface.
fn program(config: &RingConfig, hardware: &Hardware) -> Result<Option<Arc<dyn CompiledFilter>>, BindError> {
    let Some(filter) = &config.capture_filter else { return Ok(None) };
    let name = &config.interface;
    let passing =
        |reason: String| BindError::Passing(SourceError::Unsupported { name: name.clone(), reason });
    match filter.compiled(name, hardware.link_type) {
        Ok(Some(compiled)) => Ok(Some(compiled)),
        Ok(None) => Err(passing("its capture filter is being compiled".into())),
        Err(reason) => Err(passing(format!("its capture filter cannot be used: {reason}"))),
    }
}

/// Properties of an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hardware {
    pub interface: u32,
    pub hardware_type: u16,
    pub link_type: LinkType,
    pub framing: Framing,
}

impl Hardware {
    /// Properties of the interface of this name, which may be one of its alternative names.
    pub fn of(name: &str, sockets: &dyn PacketSockets) -> Result<Self, BindError> {
        let looking = open(sockets, name, Framing::Raw)?;
        if name == ANY {
            // Each packet comes from an interface of some kind: what they have in common is a cooked header.
            let (link_type, framing) = (LinkType::LINUX_SLL2, Framing::Cooked);
            return Ok(Self { interface: 0, hardware_type: libc::ARPHRD_VOID, link_type, framing });
        }
        let interface =
            interfaces::number_of(name).map_err(|_| BindError::Passing(unknown_interface(name)))?;
        Self::at(&looking, interface).map_err(|error| refusal(name, "asking for its link type", error))
    }

    /// Properties of the interface with this index.
    pub fn at(looking: &PacketSocket, interface: u32) -> io::Result<Self> {
        let hardware_type = looking.hardware_type(&interfaces::name_of(interface)?)?;
        let (link_type, framing) = link::of_hardware(hardware_type);
        Ok(Self { interface, hardware_type, link_type, framing })
    }

    /// True if it stands for all interfaces.
    pub fn is_any(&self) -> bool {
        self.interface == 0
    }

    fn is_loopback(&self) -> bool {
        self.hardware_type == libc::ARPHRD_LOOPBACK
    }
}

fn join(
    socket: &PacketSocket,
    interface: u32,
    group: &FanoutGroup,
    ignores_outgoing: bool,
) -> io::Result<()> {
    let mut group = locked(group);
    let known = group.filter(|&(of, _)| of == interface).map(|(_, number)| number);
    // A group of an interface that was made again under its old number is of no use to the new one.
    let joined = known.and_then(|number| socket.join_fanout(Some(number), ignores_outgoing).ok());
    let number = match joined {
        Some(number) => number,
        None => socket.join_fanout(None, ignores_outgoing)?,
    };
    *group = Some((interface, number));
    Ok(())
}

pub(super) fn refused(name: &str, what: &str, source: io::Error) -> SourceError {
    SourceError::System { what: format!("{name}: {what}"), source }
}

/// Classifies an error: an interface may disappear while it is being examined.
fn refusal(name: &str, what: &str, source: io::Error) -> BindError {
    let is_passing = matches!(source.raw_os_error(), Some(libc::ENODEV | libc::ENXIO | libc::ENETDOWN));
    let error = refused(name, what, source);
    if is_passing { BindError::Passing(error) } else { BindError::Lasting(error) }
}

/// Opens a socket for the interface of this name.
fn open(sockets: &dyn PacketSockets, name: &str, framing: Framing) -> Result<PacketSocket, BindError> {
    sockets.open(framing).map(PacketSocket::from).map_err(|error| not_permitted(name, error))
}

fn not_permitted(name: &str, source: io::Error) -> BindError {
    let remedy = "opening a packet socket needs the capability CAP_NET_RAW: run it with sudo, or give it to the program \
                  once with `sudo setcap cap_net_raw+ep` and its path";
    BindError::Lasting(match source.kind() {
        io::ErrorKind::PermissionDenied => refused(name, remedy, source),
        _ => refused(name, "opening a packet socket", source),
    })
}

pub(super) fn unknown_interface(name: &str) -> SourceError {
    let names = interface_names().join(", ");
    SourceError::Unsupported {
        name: name.to_owned(),
        reason: format!("no such interface; there are: {names}"),
    }
}
