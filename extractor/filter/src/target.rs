//! Target that a program is compiled for: packets of a file, or packets as the kernel shows them to a packet socket.
//!
//! The kernel takes VLAN tags out of frames and keeps them beside, and knows a packet's direction and interface, which a file
//! does not. libpcap compiles for that (`vlan`, `inbound`, `ifindex`) on a live handle; on a handle that is not live it compiles
//! the same but for `vlan`.

use netrewind_store::{LinkType, layout};
use pcap::{Activated, Active, Capture, Linktype};

use super::instruction::RawInstruction;
use crate::sys::savefile;

/// Bytes of the ring that a handle is opened with: nothing is read from it.
const HANDLE_RING_BYTES: i32 = 1 << 16;

/// Number of DLT_RAW on Linux; in files it is 101.
const DLT_RAW: i32 = 12;

/// Use of libpcap's optimizer, which takes most of the time. A program without it gives the same verdicts, except that it
/// rejects packets cut inside a header which the optimizer found not worth looking at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Optimize {
    Yes,
    No,
}

/// Target that a program is compiled for.
#[derive(Clone, Copy, Debug)]
pub(super) enum CompileTarget<'a> {
    /// Packets of this link type in a capture file: `tcpdump -r`.
    File(LinkType),
    /// Packets of this link type as a packet socket has them: `tcpdump -i`. Ethernet needs a live handle, which is opened on
    /// the first of these interfaces that lets it.
    Socket(LinkType, &'a [String]),
    /// A packet socket without a live handle: the same errors, but not the same program for `vlan`.
    Errors(LinkType),
}

impl From<LinkType> for CompileTarget<'_> {
    fn from(link_type: LinkType) -> Self {
        Self::File(link_type)
    }
}

impl CompileTarget<'_> {
    pub fn link_type(&self) -> LinkType {
        match *self {
            Self::File(link_type) | Self::Socket(link_type, _) | Self::Errors(link_type) => link_type,
        }
    }

    /// Target that gives the same errors at little cost.
    pub fn for_errors(&self) -> Self {
        match *self {
            Self::File(link_type) => Self::File(link_type),
            Self::Socket(link_type, _) | Self::Errors(link_type) => Self::Errors(link_type),
        }
    }

    /// Compiles an expression with libpcap; the error is libpcap's message.
    pub fn compile(&self, expression: &str, optimize: Optimize) -> Result<Vec<RawInstruction>, String> {
        match *self {
            Self::File(link_type) => {
                let handle = savefile::open(link_type).map_err(|error| error.to_string())?;
                compile_on(&handle, expression, optimize)
            }
            Self::Socket(LinkType::ETHERNET, interfaces) => {
                compile_on(&live_ethernet(interfaces)?, expression, optimize)
            }
            Self::Socket(link_type, _) | Self::Errors(link_type) => {
                let number = match link_type {
                    LinkType::RAW => DLT_RAW,
                    LinkType(number) => i32::from(number),
                };
                let handle = Capture::dead(Linktype(number)).map_err(words)?;
                compile_on(&handle, expression, optimize)
            }
        }
    }
}

fn compile_on<T: Activated + ?Sized>(
    handle: &Capture<T>,
    expression: &str,
    optimize: Optimize,
) -> Result<Vec<RawInstruction>, String> {
    let program = handle.compile(expression, optimize == Optimize::Yes).map_err(words)?;
    // The binding keeps the fields to itself but prints them, as `tcpdump -ddd` does.
    let instructions = program.get_instructions().iter();
    Ok(instructions.filter_map(|instruction| RawInstruction::parse(&instruction.to_string())).collect())
}

/// Beginning of the message if no handle can be opened.
pub(super) const NO_HANDLE: &str = "no Ethernet interface can be opened: ";

/// A handle on the first of the interfaces that is of Ethernet and up.
fn live_ethernet(interfaces: &[String]) -> Result<Capture<Active>, String> {
    let mut reasons = Vec::new();
    for interface in interfaces {
        match open_live(interface) {
            Ok(handle) if handle.get_datalink() == Linktype::ETHERNET => return Ok(handle),
            Ok(_) => reasons.push(format!("{interface}: not Ethernet")),
            Err(error) => reasons.push(format!("{interface}: {}", words(error))),
        }
    }
    Err(format!("{NO_HANDLE}{}", reasons.join("; ")))
}

fn open_live(interface: &str) -> Result<Capture<Active>, pcap::Error> {
    let snaplen = i32::try_from(layout::CAPLEN_MAX).unwrap_or(i32::MAX);
    Capture::from_device(interface)?.snaplen(snaplen).buffer_size(HANDLE_RING_BYTES).open()
}

fn words(error: pcap::Error) -> String {
    match error {
        pcap::Error::PcapError(message) => message,
        error => error.to_string(),
    }
}
