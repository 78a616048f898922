//! Packets from a live interface, through a ring that the kernel fills: AF_PACKET, TPACKET_V3.
//!
//! **Invariant:** a ring block is copied out and released before anything else is waited for.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use netrewind_segment::layout::CAPLEN_MAX;
use netrewind_segment::{LinkType, RecordHeader, RingFill};

use super::{Packet, Received, Source, SourceCounters, SourceError};
use crate::sys::packet_socket::{Framing, PacketSocket, RingBlock, Statistics, interface_names};

mod link;
#[cfg(test)]
mod tests;

/// One instruction of a classic BPF program: code, jump if true, jump if false, operand.
pub type Instruction = (u16, u8, u8, u32);

/// Bytes of a ring block. The kernel hands over a whole one, or what there is of it after [`RING_RETIRE_MS`].
pub const RING_BLOCK_BYTES: u32 = 1 << 20;
/// Blocks of a lane's ring: 256 MiB.
pub const RING_BLOCKS: u32 = 256;
/// How long a packet waits at most in a ring block that does not fill.
pub const RING_RETIRE_MS: u32 = 50;
/// Lanes of one interface at most; the kernel's own limit is 256.
pub const LANES_MAX: usize = 64;

/// A program that accepts nothing.
const ACCEPT_NOTHING: [Instruction; 1] = [(BPF_RETURN, 0, 0, 0)];
/// BPF_RET | BPF_K: linux/filter.h.
const BPF_RETURN: u16 = 0x06;

/// What to receive from an interface, and into what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RingConfig {
    /// The interface's name.
    pub interface: String,
    /// Bytes kept of each packet at most.
    pub snaplen: u32,
    /// A classic BPF program that the kernel runs over each packet: it sees frames without the VLAN tag that the network
    /// card took out, so compile expressions that name `vlan` for that. Empty for all packets.
    pub capture_filter: Vec<Instruction>,
    /// Receive frames for other stations too.
    pub is_promiscuous: bool,
    /// Use the interface's own timestamps where it has any. Its clock must be kept on time by somebody (ptp4l, phc2sys).
    pub use_hardware_timestamps: bool,
    /// Bytes of a ring block: a multiple of the page's.
    pub block_bytes: u32,
    /// Blocks of each lane's ring.
    pub blocks: u32,
}

impl RingConfig {
    /// Everything that arrives at `interface`, whole.
    pub fn new(interface: &str) -> Self {
        Self {
            interface: interface.to_owned(),
            snaplen: CAPLEN_MAX,
            capture_filter: Vec::new(),
            is_promiscuous: true,
            use_hardware_timestamps: false,
            block_bytes: RING_BLOCK_BYTES,
            blocks: RING_BLOCKS,
        }
    }
}

/// The group that the rings of one interface share its packets in, and the number that the interface had when it was
/// made: an interface that comes back with another number needs a new one.
type FanoutGroup = Arc<Mutex<Option<(u32, u16)>>>;

/// One ring: all packets of an interface, or one lane's share of them.
pub struct PacketRing {
    config: RingConfig,
    group: Option<FanoutGroup>,
    bound: Bound,
    is_down: bool,
    is_stopped: bool,
    counted: SourceCounters,
    /// Since somebody last asked.
    filled_max: u32,
    freezes: u64,
    has_hardware_timestamps: bool,
}

/// A socket on an interface.
struct Bound {
    socket: PacketSocket,
    interface: u32,
    link_type: LinkType,
    framing: Framing,
    has_hardware_timestamps: bool,
}

impl PacketRing {
    /// Opens `lanes` rings that share the interface's packets, each conversation (both directions) in one of them. No
    /// packet that the filter rejects is ever handed over.
    pub fn open(config: &RingConfig, lanes: usize) -> Result<Vec<Self>, SourceError> {
        let lanes = lanes.clamp(1, LANES_MAX);
        let group = (lanes > 1).then(FanoutGroup::default);
        let mut rings = Vec::with_capacity(lanes);
        for _ in 0..lanes {
            let bound = Bound::open(config, group.as_ref())?;
            rings.push(Self {
                config: config.clone(),
                group: group.clone(),
                has_hardware_timestamps: bound.has_hardware_timestamps,
                bound,
                is_down: false,
                is_stopped: false,
                counted: SourceCounters::default(),
                filled_max: 0,
                freezes: 0,
            });
        }
        for ring in &rings {
            ring.bound.admit(config)?;
        }
        Ok(rings)
    }

    /// Whether the interface stamps the packets itself.
    pub fn has_hardware_timestamps(&self) -> bool {
        self.has_hardware_timestamps
    }

    /// The link type of the interface's packets.
    pub fn link_type(&self) -> LinkType {
        self.bound.link_type
    }

    fn hand_over(&mut self, take: &mut dyn FnMut(Packet<'_>)) -> Option<u64> {
        let (link_type, framing) = (self.bound.link_type, self.bound.framing);
        self.filled_max = self.filled_max.max(self.bound.socket.filled_blocks());
        let block = self.bound.socket.take_block()?;
        Some(walk(&block, link_type, framing, take))
    }

    /// What is known of the interface after the kernel noted an error.
    fn look_at_interface(&mut self, error: io::Error) -> SourceError {
        self.is_down = true;
        refused(&self.config.interface, "the interface is down; recording goes on when it is back", error)
    }

    /// Whether the interface can be received from again, after it was down.
    fn come_back(&mut self) -> Result<(), SourceError> {
        let name = &self.config.interface.clone();
        let down = |error| refused(name, "the interface is away; recording goes on when it is back", error);
        let interface = self.bound.socket.index_of(name).map_err(down)?;
        if !self.bound.socket.is_up(name).map_err(down)? {
            return Err(down(io::Error::from_raw_os_error(libc::ENETDOWN)));
        }
        if interface != self.bound.interface {
            self.count().map_err(|error| refused(name, "reading the kernel's counters", error))?;
            let bound = Bound::open(&self.config, self.group.as_ref())?;
            bound.admit(&self.config)?;
            self.bound = bound;
        }
        // The interface may have gone and come again in between.
        let _ = self.bound.socket.take_error();
        self.is_down = false;
        Ok(())
    }

    fn count(&mut self) -> io::Result<()> {
        let Statistics { packets, drops, freezes } = self.bound.socket.take_statistics()?;
        self.counted.received += u64::from(packets);
        self.counted.dropped += u64::from(drops);
        self.freezes += u64::from(freezes);
        Ok(())
    }
}

impl Bound {
    /// A socket on the interface that accepts nothing yet.
    fn open(config: &RingConfig, group: Option<&FanoutGroup>) -> Result<Self, SourceError> {
        let name = &config.interface;
        let failed = |what: &str| {
            let what = what.to_owned();
            move |error| refused(name, &what, error)
        };
        let Hardware { interface, hardware_type, link_type, framing } = Hardware::of(name)?;
        if framing == Framing::Cooked && !config.capture_filter.is_empty() {
            let reason =
                "a capture filter cannot be used on an interface of this kind: filter when you extract";
            return Err(SourceError::Unsupported { name: name.clone(), reason: reason.into() });
        }
        let mut socket = PacketSocket::open(framing).map_err(|error| not_permitted(name, error))?;
        socket.attach_filter(&ACCEPT_NOTHING).map_err(failed("attaching a filter"))?;
        socket.map_ring(config.block_bytes, config.blocks, RING_RETIRE_MS).map_err(failed(&format!(
            "reserving a ring of {} blocks of {} bytes: choose a smaller one",
            config.blocks, config.block_bytes
        )))?;
        // On the loopback interface every packet is sent and received: once is enough.
        let ignores_outgoing = hardware_type == libc::ARPHRD_LOOPBACK;
        if ignores_outgoing {
            socket.ignore_outgoing().map_err(failed("leaving out what is sent"))?;
        }
        let has_hardware_timestamps = config.use_hardware_timestamps
            && socket.use_hardware_timestamps(name).map_err(failed("asking for hardware timestamps"))?;
        socket.bind(interface).map_err(failed("binding"))?;
        if config.is_promiscuous && !ignores_outgoing {
            socket.promiscuous(interface).map_err(failed("making the interface promiscuous"))?;
        }
        if let Some(group) = group {
            join(&socket, interface, group, ignores_outgoing)
                .map_err(failed("sharing packets between lanes"))?;
        }
        Ok(Self { socket, interface, link_type, framing, has_hardware_timestamps })
    }

    /// Begins to accept packets.
    fn admit(&self, config: &RingConfig) -> Result<(), SourceError> {
        let keep = |&(code, jt, jf, k): &Instruction| match code {
            BPF_RETURN => (code, jt, jf, k.min(config.snaplen)),
            _ => (code, jt, jf, k),
        };
        let program: Vec<Instruction> = config.capture_filter.iter().map(keep).collect();
        let result = if !program.is_empty() {
            self.socket.attach_filter(&program)
        } else if config.snaplen < CAPLEN_MAX {
            self.socket.attach_filter(&[(BPF_RETURN, 0, 0, config.snaplen)])
        } else {
            self.socket.detach_filter()
        };
        result.map_err(|error| refused(&config.interface, "attaching the capture filter", error))
    }
}

/// What an interface is.
struct Hardware {
    interface: u32,
    hardware_type: u16,
    link_type: LinkType,
    framing: Framing,
}

impl Hardware {
    fn of(name: &str) -> Result<Self, SourceError> {
        let looking = PacketSocket::open(Framing::Raw).map_err(|error| not_permitted(name, error))?;
        let interface = looking.index_of(name).map_err(|_| unknown_interface(name))?;
        let hardware_type =
            looking.hardware_type(name).map_err(|error| refused(name, "asking for its link type", error))?;
        let (link_type, framing) = link::of_hardware(hardware_type);
        Ok(Self { interface, hardware_type, link_type, framing })
    }
}

/// The link type of an interface's packets: what a capture filter for it is compiled for.
pub fn link_type_of(interface: &str) -> Result<LinkType, SourceError> {
    Ok(Hardware::of(interface)?.link_type)
}

fn join(
    socket: &PacketSocket,
    interface: u32,
    group: &FanoutGroup,
    ignores_outgoing: bool,
) -> io::Result<()> {
    let mut group = group.lock().unwrap_or_else(PoisonError::into_inner);
    let known = group.filter(|&(of, _)| of == interface).map(|(_, number)| number);
    let number = socket.join_fanout(known, ignores_outgoing)?;
    *group = Some((interface, number));
    Ok(())
}

fn refused(name: &str, what: &str, source: io::Error) -> SourceError {
    SourceError::System { what: format!("{name}: {what}"), source }
}

fn not_permitted(name: &str, source: io::Error) -> SourceError {
    let remedy = "opening a packet socket needs the capability CAP_NET_RAW: run it with sudo, or give it to the program \
                  once with `sudo setcap cap_net_raw+ep` and its path";
    match source.kind() {
        io::ErrorKind::PermissionDenied => refused(name, remedy, source),
        _ => refused(name, "opening a packet socket", source),
    }
}

fn unknown_interface(name: &str) -> SourceError {
    let names = interface_names().join(", ");
    SourceError::Unsupported {
        name: name.to_owned(),
        reason: format!("no such interface; there are: {names}"),
    }
}

/// Where the fields of a packet's header in the ring stand: `struct tpacket3_hdr`.
mod packet_field {
    use std::ops::Range;
    pub const NEXT: Range<usize> = 0..4;
    pub const SECONDS: Range<usize> = 4..8;
    pub const NANOSECONDS: Range<usize> = 8..12;
    pub const CAPLEN: Range<usize> = 12..16;
    pub const LEN: Range<usize> = 16..20;
    pub const STATUS: Range<usize> = 20..24;
    pub const MAC: Range<usize> = 24..26;
    pub const NET: Range<usize> = 26..28;
    pub const VLAN_TCI: Range<usize> = 32..36;
    pub const VLAN_TPID: Range<usize> = 36..38;
    pub const BYTES: usize = 48;
}

fn word(header: &[u8; packet_field::BYTES], field: std::ops::Range<usize>) -> u32 {
    let mut bytes = [0; 4];
    bytes.copy_from_slice(&header[field]);
    u32::from_ne_bytes(bytes)
}

fn half(header: &[u8; packet_field::BYTES], field: std::ops::Range<usize>) -> u16 {
    let mut bytes = [0; 2];
    bytes.copy_from_slice(&header[field]);
    u16::from_ne_bytes(bytes)
}

/// Hands over every packet of a block; returns how many.
fn walk(
    block: &RingBlock<'_>,
    link_type: LinkType,
    framing: Framing,
    take: &mut dyn FnMut(Packet<'_>),
) -> u64 {
    let mut offset = block.first_packet();
    let mut handed_over = 0;
    for _ in 0..block.packets() {
        let Some(header) = block.bytes(offset, packet_field::BYTES).and_then(|it| it.first_chunk()) else {
            break;
        };
        match framing {
            Framing::Raw => hand_over_raw(block, offset, header, link_type, take),
            Framing::Cooked => link::hand_over_cooked(block, offset, header, link_type, take),
        }
        handed_over += 1;
        offset += word(header, packet_field::NEXT) as usize;
    }
    handed_over
}

#[inline]
fn hand_over_raw(
    block: &RingBlock<'_>,
    offset: usize,
    header: &[u8; packet_field::BYTES],
    link_type: LinkType,
    take: &mut dyn FnMut(Packet<'_>),
) {
    let caplen = word(header, packet_field::CAPLEN);
    let start = offset + usize::from(half(header, packet_field::MAC));
    let bytes = block.bytes(start, caplen as usize).unwrap_or_default();
    let mut record = RecordHeader {
        seconds: word(header, packet_field::SECONDS),
        nanoseconds: word(header, packet_field::NANOSECONDS),
        caplen,
        len: word(header, packet_field::LEN),
    };
    let tag = link::stripped_tag(header).filter(|_| link_type == LinkType::ETHERNET);
    let (head, tail) = match bytes.split_at_checked(link::TAG_OFFSET) {
        Some((head, tail)) if tag.is_some() => (head, tail),
        _ => {
            return take(Packet {
                header: record,
                link_type,
                head: bytes,
                tag: None,
                tail: &[],
                interface: None,
            });
        }
    };
    record.caplen += link::TAG_BYTES;
    record.len += link::TAG_BYTES;
    take(Packet { header: record, link_type, head, tag, tail, interface: None });
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
            return Ok(Received::Packets(packets));
        }
        if self.is_down && !self.is_stopped {
            return match self.come_back() {
                Ok(()) => Ok(Received::Quiet),
                Err(error) => {
                    std::thread::sleep(patience);
                    Err(error)
                }
            };
        }
        let name = &self.config.interface;
        let is_ready =
            self.bound.socket.wait(patience).map_err(|error| refused(name, "waiting for packets", error))?;
        if !is_ready {
            return Ok(Received::Quiet);
        }
        if let Some(packets) = self.hand_over(take) {
            return Ok(Received::Packets(packets));
        }
        match self.bound.socket.take_error() {
            Ok(()) => Ok(Received::Quiet),
            Err(error) => Err(self.look_at_interface(error)),
        }
    }

    fn is_live(&self) -> bool {
        true
    }

    fn stop(&mut self) -> Result<(), SourceError> {
        self.is_stopped = true;
        self.bound
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
        result.map_err(|error| refused(&self.config.interface, "reading the kernel's counters", error))?;
        Ok(self.counted)
    }
}
