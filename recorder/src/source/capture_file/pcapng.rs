//! The pcapng format: sections of blocks, each with its own byte order and interfaces.
//!
//! Source: draft-ietf-opsawg-pcapng. `pcap-file` splits the stream into blocks. The fields of the few blocks that matter here are
//! parsed by hand: the crate refuses a whole file for faults that no other reader minds, such as a name that is not UTF-8,
//! reserved bits, an original length below the captured one, or an unknown clock.

mod interface;
mod options;

use netrewind_store::{RecordHeader, Timestamp};
use pcap_file::pcapng::blocks::{
    ENHANCED_PACKET_BLOCK, INTERFACE_DESCRIPTION_BLOCK, INTERFACE_STATISTIC_BLOCK, NAME_RESOLUTION_BLOCK,
    PACKET_BLOCK, RawBlock, SECTION_HEADER_BLOCK, SIMPLE_PACKET_BLOCK, SYSTEMD_JOURNAL_EXPORT_BLOCK,
};

use self::interface::{Described, InterfaceClock, Time};
use self::options::{BlockOptions, PacketOptions, ticks_of};
use super::byte_order::ByteOrder;
use super::halt::Halt;
use super::input::Input;
use super::left_out::{DropReports, LeftOutCounts};
use super::link_type;
use super::located::{InterfaceDescription, Located, locate};
use crate::source::SourceInterface;

/// Longest block that is read, unless packets of a link type can be longer: libpcap's limit.
const BLOCK_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Bytes of a block besides the longest packet: headers and options. libpcap's limit.
const BLOCK_OVERHEAD_BYTES_MAX: usize = 131_072 + 32;
/// Limit on the interfaces of one section.
const INTERFACES_MAX: usize = 65_536;
/// Bytes of a block's type and length, before its body.
const BLOCK_HEADER_BYTES: usize = 8;
/// Bytes of a section header block without options.
const SECTION_HEADER_BYTES_MIN: usize = 28;
/// Longest section header that libpcap accepts.
const SECTION_HEADER_BYTES_MAX: usize = 1024 * 1024;

mod field {
    pub(super) const BLOCK_TYPE: usize = 0;
    pub(super) const BLOCK_BYTES: usize = 4;
    pub(super) const BYTE_ORDER_MAGIC: usize = 8;
    pub(super) const VERSION_MAJOR: usize = 12;
    pub(super) const VERSION_MINOR: usize = 14;
}

/// Fields of an enhanced or obsolete packet block, from the start of the body.
mod packet_field {
    pub(super) const INTERFACE: usize = 0;
    pub(super) const TIME_HIGH: usize = 4;
    pub(super) const TIME_LOW: usize = 8;
    pub(super) const CAPLEN: usize = 12;
    pub(super) const LEN: usize = 16;
    pub(super) const PACKET: usize = 20;
}

/// Value in an obsolete packet block whose count of drops is unknown.
const LOST_UNKNOWN: u16 = u16::MAX;

mod simple_packet_field {
    pub(super) const LEN: usize = 0;
    pub(super) const PACKET: usize = 4;
}

mod statistics_field {
    pub(super) const INTERFACE: usize = 0;
    pub(super) const TIME_HIGH: usize = 4;
    pub(super) const TIME_LOW: usize = 8;
    pub(super) const OPTIONS: usize = 12;
}

/// Offset of a section header's options in its block's body.
const SECTION_OPTIONS: usize = 16;
const BYTE_ORDER_MAGIC: u32 = 0x1a2b_3c4d;
/// Decryption secrets.
const DECRYPTION_SECRETS_BLOCK: u32 = 10;
/// Type of secrets: a TLS key log, `TLSK`.
const TLS_KEY_LOG: u32 = 0x544c_534b;

mod secrets_field {
    pub(super) const TYPE: usize = 0;
    pub(super) const BYTES: usize = 4;
    pub(super) const SECRETS: usize = 8;
}

/// Reads the packets of a pcapng file.
pub(super) struct PcapngReader {
    order: ByteOrder,
    /// The file's name, if interfaces without a name are numbered.
    file: Option<String>,
    interfaces: Vec<InterfaceDescription>,
    /// Further state of each interface.
    states: Vec<InterfaceState>,
    block_bytes_max: usize,
}

struct InterfaceState {
    clock: InterfaceClock,
    snaplen: u32,
    told: DropReports,
}

/// The block that was read.
pub(super) enum NextBlock {
    Packet(Located),
    /// No packet.
    Block,
    /// The end, behind the last block.
    End,
}

/// A packet as its block describes it.
struct PacketBlock {
    interface: usize,
    ticks: u64,
    caplen: u32,
    len: u32,
    /// Offset of the packet's bytes in the block's body.
    at: usize,
    /// The options behind them.
    beside: PacketOptions,
}

/// True if a block in the place of a pcap record begins a section.
pub(super) fn is_section(begun: &[u8]) -> bool {
    is_pcapng(begun) && order_of(begun).is_some()
}

/// True if a file with this beginning is pcapng.
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
    /// Reads the first section header. Like libpcap, it ignores the length repeated at the end of the block.
    pub(super) fn open(
        input: &mut Input,
        file: Option<&str>,
        tally: &mut LeftOutCounts,
    ) -> Result<Self, Halt> {
        let offset = input.offset();
        let damaged = |reason: String| Halt::Damaged { offset, reason };
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
                "pcapng of version {major}.{minor} is not supported; version 1.0 is"
            )));
        }
        let block = input.peek(block_bytes)?;
        let reader = Self::of_section(order, file.map(str::to_owned));
        let body = block.get(BLOCK_HEADER_BYTES..block_bytes - 4).unwrap_or_default();
        tally.left_out.comments += BlockOptions::behind(body, SECTION_OPTIONS, order).comments();
        input.take(block_bytes);
        Ok(reader)
    }

    fn of_section(order: ByteOrder, file: Option<String>) -> Self {
        let (interfaces, states) = (Vec::new(), Vec::new());
        Self { order, file, interfaces, states, block_bytes_max: BLOCK_BYTES_MAX }
    }

    /// The interfaces of the current section.
    pub(super) fn interfaces(&self) -> &[InterfaceDescription] {
        &self.interfaces
    }

    /// Steps over the next block.
    pub(super) fn next(&mut self, input: &mut Input, tally: &mut LeftOutCounts) -> Result<NextBlock, Halt> {
        let offset = input.offset();
        let damaged = |reason| Halt::Damaged { offset, reason };
        let Some(block_bytes) = self.block_bytes(input)? else { return Ok(NextBlock::End) };
        let bytes = input.peek(block_bytes)?;
        if bytes.len() < block_bytes {
            return Err(damaged(format!("the file ends within a block of {block_bytes} bytes")));
        }
        let block = self.parse_block(bytes).map_err(damaged)?;
        let packet = self.read_block(bytes, &block, tally).map_err(damaged)?;
        let block = input.take(block_bytes);
        Ok(match packet {
            Some(packet) => {
                NextBlock::Packet(self.hand_over(input, &packet, block.start + BLOCK_HEADER_BYTES, tally))
            }
            None => NextBlock::Block,
        })
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
        if begun.iter().all(|byte| *byte == 0) {
            return damaged("there are zeros instead of a block: the capture was cut short".into());
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

    /// Processes a block, or finds the packet in it.
    fn read_block(
        &mut self,
        bytes: &[u8],
        block: &RawBlock<'_>,
        tally: &mut LeftOutCounts,
    ) -> Result<Option<PacketBlock>, String> {
        let left_out = &mut tally.left_out;
        match block.type_ {
            ENHANCED_PACKET_BLOCK | PACKET_BLOCK => return self.packet(block).map(Some),
            SIMPLE_PACKET_BLOCK => return self.simple_packet(&block.body).map(Some),
            SECTION_HEADER_BLOCK => {
                self.begin_section(bytes)?;
                let body = bytes.get(BLOCK_HEADER_BYTES..bytes.len() - 4).unwrap_or_default();
                left_out.comments += BlockOptions::behind(body, SECTION_OPTIONS, self.order).comments();
            }
            INTERFACE_DESCRIPTION_BLOCK => left_out.comments += self.add_interface(&block.body)?,
            INTERFACE_STATISTIC_BLOCK => self.statistics(&block.body, tally),
            NAME_RESOLUTION_BLOCK => left_out.names += 1,
            SYSTEMD_JOURNAL_EXPORT_BLOCK => left_out.journal_entries += 1,
            DECRYPTION_SECRETS_BLOCK => match self.key_log(&block.body) {
                Some(lines) => tally.add_key_log(lines),
                None => left_out.secrets += 1,
            },
            _ => left_out.other_blocks += 1,
        }
        Ok(None)
    }

    /// The TLS key log in a block of secrets, if it is one, and whole.
    fn key_log<'b>(&self, body: &'b [u8]) -> Option<&'b [u8]> {
        use secrets_field::{BYTES, SECRETS, TYPE};
        let is_tls = self.order.u32_at(body, TYPE) == Some(TLS_KEY_LOG);
        let bytes = self.order.u32_at(body, BYTES).filter(|_| is_tls)? as usize;
        body.get(SECRETS..)?.get(..bytes)
    }

    fn begin_section(&mut self, block: &[u8]) -> Result<(), String> {
        let order = order_of(block).ok_or("a section begins with an unknown byte order")?;
        match order.u16_at(block, field::VERSION_MAJOR) {
            Some(1) if block.len() >= SECTION_HEADER_BYTES_MIN => {
                *self = Self::of_section(order, std::mem::take(&mut self.file));
                Ok(())
            }
            Some(major) if major != 1 => {
                Err(format!("a section has pcapng version {major}, which is not supported"))
            }
            _ => Err("a section header is too short".into()),
        }
    }

    /// Adds an interface; returns the number of its comments.
    fn add_interface(&mut self, body: &[u8]) -> Result<u64, String> {
        if self.interfaces.len() == INTERFACES_MAX {
            return Err(format!("a section has more than {INTERFACES_MAX} interfaces"));
        }
        let Described { mut interface, clock, snaplen, comments } = Described::read(body, self.order)?;
        interface.known_as = self.known_as(&interface);
        let packet_bytes_max = link_type::caplen_max(interface.link_type) as usize;
        self.block_bytes_max = self.block_bytes_max.max(packet_bytes_max + BLOCK_OVERHEAD_BYTES_MAX);
        self.interfaces.push(interface);
        self.states.push(InterfaceState { clock, snaplen, told: DropReports::default() });
        Ok(comments)
    }

    /// Name and description of an interface. One without either has the name of the file, and its number unless it is first.
    fn known_as(&self, interface: &InterfaceDescription) -> Option<SourceInterface> {
        let (name, description) = match (&interface.name, &interface.description) {
            (Some(name), description) => (name.clone(), description.clone()),
            (None, Some(description)) => (description.clone(), None),
            (None, None) if self.interfaces.is_empty() => return None,
            (None, None) => (format!("{}#{}", self.file.as_ref()?, self.interfaces.len()), None),
        };
        Some(SourceInterface { name, description })
    }

    /// Notes the drops in an interface statistics block, as far as it can be read.
    fn statistics(&mut self, body: &[u8], tally: &mut LeftOutCounts) {
        use statistics_field::{INTERFACE, OPTIONS, TIME_HIGH, TIME_LOW};
        let u32_at = |at| self.order.u32_at(body, at);
        let interface = u32_at(INTERFACE).and_then(|number| usize::try_from(number).ok());
        let ticks = u32_at(TIME_HIGH).zip(u32_at(TIME_LOW)).map(|(high, low)| ticks_of(high, low));
        let state = interface.and_then(|number| self.states.get_mut(number));
        let (Some(number), Some(ticks), Some(state)) = (interface, ticks, state) else {
            tally.left_out.other_blocks += 1;
            return;
        };
        let counted = BlockOptions::behind(body, OPTIONS, self.order).statistics();
        tally.left_out.comments += counted.comments;
        let since = counted.since.map(|ticks| state.clock.timestamp(ticks));
        let name = self.interfaces.get(number).and_then(|it| it.known_as.as_ref()).map(|it| it.name.as_str());
        state.told.statistics(counted.dropped, since, state.clock.timestamp(ticks), name, tally);
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
        let ticks = ticks_of(u32_at(TIME_HIGH)?, u32_at(TIME_LOW)?);
        let (caplen, len) = (u32_at(CAPLEN)?, u32_at(LEN)?);
        let options = PACKET.saturating_add((caplen as usize).next_multiple_of(4));
        let mut beside = match body.len() > options {
            true => BlockOptions::behind(body, options, self.order).beside(),
            false => PacketOptions::default(),
        };
        if block.type_ == PACKET_BLOCK {
            let lost = self.order.u16_at(body, INTERFACE + 2).filter(|lost| *lost != LOST_UNKNOWN);
            beside.lost_before = u64::from(lost.unwrap_or(0));
        }
        let interface = interface as usize;
        self.check(body, PacketBlock { interface, ticks, caplen, len, at: PACKET, beside })
    }

    /// Locates the packet of a simple packet block, which has no time, and comes from the section's first interface, whose
    /// snaplen cut it.
    fn simple_packet(&self, body: &[u8]) -> Result<PacketBlock, String> {
        use simple_packet_field::{LEN, PACKET};
        let len = self.order.u32_at(body, LEN).ok_or("a simple packet block is too short for its fields")?;
        let caplen = self.states.first().map_or(len, |state| len.min(state.snaplen));
        let beside = PacketOptions::default();
        self.check(body, PacketBlock { interface: 0, ticks: 0, caplen, len, at: PACKET, beside })
    }

    fn check(&self, body: &[u8], packet: PacketBlock) -> Result<PacketBlock, String> {
        if packet.interface >= self.interfaces.len() {
            return Err(format!(
                "a packet names interface {}, which the section does not describe",
                packet.interface
            ));
        }
        if body.len() - packet.at < packet.caplen as usize {
            return Err(format!("a packet of {} bytes is longer than its block", packet.caplen));
        }
        Ok(packet)
    }

    fn hand_over(
        &mut self,
        input: &mut Input,
        packet: &PacketBlock,
        body: usize,
        tally: &mut LeftOutCounts,
    ) -> Located {
        let state = &mut self.states[packet.interface];
        let Time { seconds, nanoseconds, is_moved } = state.clock.time_of(packet.ticks);
        let name = self.interfaces[packet.interface].known_as.as_ref().map(|it| it.name.as_str());
        let at = Timestamp::new(seconds, nanoseconds);
        state.told.packet(at, packet.beside.lost_before, name, tally);
        tally.left_out.times_moved += u64::from(is_moved);
        tally.left_out.comments += packet.beside.comments;
        tally.left_out.directions += u64::from(packet.beside.has_direction);
        let header = RecordHeader { seconds, nanoseconds, caplen: packet.caplen, len: packet.len };
        let range = body + packet.at..body + packet.at + packet.caplen as usize;
        let link_type = self.interfaces[packet.interface].link_type;
        locate(input, packet.interface, link_type, self.order, header, range)
    }
}
