//! The pcapng format: sections of blocks, each with its own byte order and interfaces.
//!
//! Source: draft-ietf-opsawg-pcapng. `pcap-file` cuts the stream into blocks. The fields of the few blocks that matter
//! here are read by hand: the crate refuses a whole file for what no other reader minds, such as a name that is not
//! UTF-8, reserved bits, a length on the wire below the captured one, or a clock that it does not know.

mod interface;

use netrewind_segment::RecordHeader;
use pcap_file::pcapng::blocks::{
    ENHANCED_PACKET_BLOCK, INTERFACE_DESCRIPTION_BLOCK, PACKET_BLOCK, RawBlock, SECTION_HEADER_BLOCK,
    SIMPLE_PACKET_BLOCK,
};

use self::interface::{Clock, Described};
use super::byte_order::ByteOrder;
use super::input::Input;
use super::{Halt, Interface, Located, link_type, locate};

/// The longest block that is read, unless packets of a link type can be longer: libpcap's limit.
const BLOCK_BYTES_MAX: usize = 16 * 1024 * 1024;
/// What a block may hold beside the longest packet: headers and options. libpcap's limit.
const BLOCK_OVERHEAD_BYTES_MAX: usize = 131_072 + 32;
/// Interfaces that one section may have.
const INTERFACES_MAX: usize = 65_536;
/// Bytes of a block's type and length, before its body.
const BLOCK_HEADER_BYTES: usize = 8;
/// Bytes of a section header block without options.
const SECTION_HEADER_BYTES_MIN: usize = 28;
/// libpcap takes no longer section header for one.
const SECTION_HEADER_BYTES_MAX: usize = 1024 * 1024;

mod field {
    pub(super) const BLOCK_TYPE: usize = 0;
    pub(super) const BLOCK_BYTES: usize = 4;
    pub(super) const BYTE_ORDER_MAGIC: usize = 8;
    pub(super) const VERSION_MAJOR: usize = 12;
    pub(super) const VERSION_MINOR: usize = 14;
}

/// Fields of an enhanced or obsolete packet block, from the body's beginning.
mod packet_field {
    pub(super) const INTERFACE: usize = 0;
    pub(super) const TIME_HIGH: usize = 4;
    pub(super) const TIME_LOW: usize = 8;
    pub(super) const CAPLEN: usize = 12;
    pub(super) const LEN: usize = 16;
    pub(super) const PACKET: usize = 20;
}

mod simple_packet_field {
    pub(super) const LEN: usize = 0;
    pub(super) const PACKET: usize = 4;
}

const BYTE_ORDER_MAGIC: u32 = 0x1a2b_3c4d;

/// Reads the packets of a pcapng file.
pub(super) struct PcapngReader {
    order: ByteOrder,
    interfaces: Vec<Interface>,
    clocks: Vec<Clock>,
    snaplens: Vec<u32>,
    block_bytes_max: usize,
}

/// A packet as its block describes it.
struct PacketBlock {
    interface: usize,
    ticks: u64,
    caplen: u32,
    len: u32,
    /// Where the packet's bytes begin in the block's body.
    at: usize,
}

/// Whether a file that begins so is pcapng.
pub(super) fn is_pcapng(begun: &[u8]) -> bool {
    ByteOrder::Little.u32_at(begun, field::BLOCK_TYPE) == Some(SECTION_HEADER_BLOCK)
        && begun
            .get(field::BYTE_ORDER_MAGIC..field::BYTE_ORDER_MAGIC + 4)
            .is_none_or(|_| order_of(begun).is_some())
}

/// The byte order that a section header block is written in.
fn order_of(block: &[u8]) -> Option<ByteOrder> {
    [ByteOrder::Little, ByteOrder::Big]
        .into_iter()
        .find(|order| order.u32_at(block, field::BYTE_ORDER_MAGIC) == Some(BYTE_ORDER_MAGIC))
}

impl PcapngReader {
    /// Reads the first section header. Like libpcap, it does not look at the length that the block repeats at its end.
    pub(super) fn open(input: &mut Input) -> Result<Self, Halt> {
        let damaged = |reason: String| Halt::Damaged { offset: 0, reason };
        let cut = || damaged("the file ends within its first section header".into());
        let begun = input.peek(SECTION_HEADER_BYTES_MIN)?;
        let order = order_of(begun).ok_or_else(cut)?;
        let block_bytes = order.u32_at(begun, field::BLOCK_BYTES).ok_or_else(cut)? as usize;
        let major = order.u16_at(begun, field::VERSION_MAJOR).ok_or_else(cut)?;
        let minor = order.u16_at(begun, field::VERSION_MINOR).ok_or_else(cut)?;
        if !(SECTION_HEADER_BYTES_MIN..=SECTION_HEADER_BYTES_MAX).contains(&block_bytes) {
            return Err(damaged(format!("the section header claims {block_bytes} bytes")));
        }
        if input.peek(block_bytes)?.len() < block_bytes {
            return Err(cut());
        }
        if major != 1 || !matches!(minor, 0 | 2) {
            return Err(Halt::Unsupported(format!(
                "pcapng of version {major}.{minor} is not known; version 1.0 is"
            )));
        }
        input.take(block_bytes);
        Ok(Self::of_section(order))
    }

    fn of_section(order: ByteOrder) -> Self {
        Self {
            order,
            interfaces: Vec::new(),
            clocks: Vec::new(),
            snaplens: Vec::new(),
            block_bytes_max: BLOCK_BYTES_MAX,
        }
    }

    /// The interfaces of the section that is being read.
    pub(super) fn interfaces(&self) -> &[Interface] {
        &self.interfaces
    }

    /// Steps to the next packet; `None` where the file ends behind the last block.
    pub(super) fn next(&mut self, input: &mut Input) -> Result<Option<Located>, Halt> {
        loop {
            let offset = input.offset();
            let damaged = |reason| Halt::Damaged { offset, reason };
            let Some(block_bytes) = self.block_bytes(input)? else { return Ok(None) };
            let bytes = input.peek(block_bytes)?;
            if bytes.len() < block_bytes {
                return Err(damaged(format!("the file ends within a block of {block_bytes} bytes")));
            }
            let block = self.parse_block(bytes).map_err(damaged)?;
            let packet = self.read_block(bytes, &block).map_err(damaged)?;
            let block = input.take(block_bytes);
            if let Some(packet) = packet {
                return Ok(Some(self.hand_over(input, packet, block.start + BLOCK_HEADER_BYTES)));
            }
        }
    }

    /// The length of the next block; `None` at the end of the file.
    fn block_bytes(&self, input: &mut Input) -> Result<Option<usize>, Halt> {
        let offset = input.offset();
        let damaged = |reason| Err(Halt::Damaged { offset, reason });
        // A section header tells its byte order only behind its length.
        let begun = input.peek(BLOCK_HEADER_BYTES + 4)?;
        if begun.is_empty() {
            return Ok(None);
        }
        let is_section = self.order.u32_at(begun, field::BLOCK_TYPE) == Some(SECTION_HEADER_BLOCK);
        let order = if is_section { order_of(begun) } else { Some(self.order) };
        let Some(order) = order else { return damaged("a section begins with an unknown byte order".into()) };
        let Some(block_bytes) = order.u32_at(begun, field::BLOCK_BYTES) else {
            return damaged(format!("the file ends within a block's header, after {} bytes", begun.len()));
        };
        if block_bytes as usize > self.block_bytes_max {
            return damaged(format!("a block claims {block_bytes} bytes"));
        }
        // Shorter than its own header: what is wrong with it is said when it is parsed.
        Ok(Some((block_bytes as usize).max(BLOCK_HEADER_BYTES + 4)))
    }

    fn parse_block<'a>(&self, bytes: &'a [u8]) -> Result<RawBlock<'a>, String> {
        let parsed = match self.order {
            ByteOrder::Little => RawBlock::from_slice::<byteorder_slice::LittleEndian>(bytes),
            ByteOrder::Big => RawBlock::from_slice::<byteorder_slice::BigEndian>(bytes),
        };
        parsed.map(|(_, block)| block).map_err(|error| error.to_string())
    }

    /// Learns from a block, or finds the packet in it.
    fn read_block(&mut self, bytes: &[u8], block: &RawBlock<'_>) -> Result<Option<PacketBlock>, String> {
        match block.type_ {
            SECTION_HEADER_BLOCK => self.begin_section(bytes).map(|()| None),
            INTERFACE_DESCRIPTION_BLOCK => self.add_interface(&block.body).map(|()| None),
            ENHANCED_PACKET_BLOCK | PACKET_BLOCK => self.packet(block).map(Some),
            SIMPLE_PACKET_BLOCK => self.simple_packet(&block.body).map(Some),
            _ => Ok(None),
        }
    }

    fn begin_section(&mut self, block: &[u8]) -> Result<(), String> {
        let order = order_of(block).ok_or("a section begins with an unknown byte order")?;
        match order.u16_at(block, field::VERSION_MAJOR) {
            Some(1) if block.len() >= SECTION_HEADER_BYTES_MIN => {
                *self = Self::of_section(order);
                Ok(())
            }
            Some(major) if major != 1 => Err(format!("a section of pcapng version {major} is not known")),
            _ => Err("a section header is too short".into()),
        }
    }

    fn add_interface(&mut self, body: &[u8]) -> Result<(), String> {
        if self.interfaces.len() == INTERFACES_MAX {
            return Err(format!("a section has more than {INTERFACES_MAX} interfaces"));
        }
        let Described { interface, clock, snaplen } = Described::read(body, self.order)?;
        let packet_bytes_max = link_type::caplen_max(interface.link_type) as usize;
        self.block_bytes_max = self.block_bytes_max.max(packet_bytes_max + BLOCK_OVERHEAD_BYTES_MAX);
        self.interfaces.push(interface);
        self.clocks.push(clock);
        self.snaplens.push(snaplen);
        Ok(())
    }

    fn packet(&self, block: &RawBlock<'_>) -> Result<PacketBlock, String> {
        use packet_field::{CAPLEN, INTERFACE, LEN, PACKET, TIME_HIGH, TIME_LOW};
        let body = block.body.as_ref();
        let u32_at = |at| self.order.u32_at(body, at).ok_or("a packet block is too short for its fields");
        // The obsolete block spends half of the interface's field on a count of drops.
        let interface = if block.type_ == PACKET_BLOCK {
            self.order.u16_at(body, INTERFACE).map_or(u32::MAX, u32::from)
        } else {
            u32_at(INTERFACE)?
        };
        let ticks = u64::from(u32_at(TIME_HIGH)?) << 32 | u64::from(u32_at(TIME_LOW)?);
        let (caplen, len) = (u32_at(CAPLEN)?, u32_at(LEN)?);
        self.check(body, PacketBlock { interface: interface as usize, ticks, caplen, len, at: PACKET })
    }

    /// A simple packet block has no time, and comes from the section's first interface, whose snaplen cut it.
    fn simple_packet(&self, body: &[u8]) -> Result<PacketBlock, String> {
        use simple_packet_field::{LEN, PACKET};
        let len = self.order.u32_at(body, LEN).ok_or("a simple packet block is too short for its fields")?;
        let caplen = self.snaplens.first().map_or(len, |&snaplen| len.min(snaplen));
        self.check(body, PacketBlock { interface: 0, ticks: 0, caplen, len, at: PACKET })
    }

    fn check(&self, body: &[u8], packet: PacketBlock) -> Result<PacketBlock, String> {
        if packet.interface >= self.interfaces.len() {
            return Err(format!("a packet names interface {}, which the section lacks", packet.interface));
        }
        if body.len() - packet.at < packet.caplen as usize {
            return Err(format!("a packet of {} bytes is longer than its block", packet.caplen));
        }
        Ok(packet)
    }

    fn hand_over(&self, input: &mut Input, packet: PacketBlock, body: usize) -> Located {
        let (seconds, nanoseconds) = self.clocks[packet.interface].time_of(packet.ticks);
        let header = RecordHeader { seconds, nanoseconds, caplen: packet.caplen, len: packet.len };
        let range = body + packet.at..body + packet.at + packet.caplen as usize;
        let link_type = self.interfaces[packet.interface].link_type;
        locate(input, packet.interface, link_type, self.order, header, range)
    }
}
