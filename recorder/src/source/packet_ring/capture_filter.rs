//! Capture filters: run by the kernel if it takes the program, otherwise here, over each packet.

use std::io;
use std::sync::Arc;

use netrewind_store::LinkType;

use super::link::{SLL2_BYTES, address_field};
use crate::sys::packet_socket::{Framing, SockFilter};

/// A program that accepts nothing.
pub(super) const ACCEPT_NOTHING: [SockFilter; 1] = [(BPF_RETURN, 0, 0, 0)];
/// BPF_RET | BPF_K: linux/filter.h.
pub(super) const BPF_RETURN: u16 = 0x06;
/// BPF_LD | BPF_W | BPF_ABS.
const BPF_LOAD_WORD: u16 = 0x20;
/// BPF_JMP | BPF_JEQ | BPF_K.
const BPF_IF_EQUAL: u16 = 0x15;
/// BPF_JMP | BPF_JA.
const BPF_JUMP: u16 = 0x05;

/// The longest program that the kernel takes: BPF_MAXINSNS of linux/bpf_common.h.
pub const KERNEL_INSTRUCTIONS_MAX: usize = 4096;

/// Offsets at which the kernel shows a program facts besides the packet: SKF_AD_OFF and following, of linux/filter.h.
mod ancillary {
    pub const PROTOCOL: u32 = 0xffff_f000;
    pub const PACKET_TYPE: u32 = PROTOCOL + 4;
    pub const INTERFACE: u32 = PROTOCOL + 8;
    pub const HARDWARE_TYPE: u32 = PROTOCOL + 28;
}

/// Source of a capture filter's program, once the link type of an interface is known.
pub trait CaptureFilter: Send + Sync {
    /// The filter for packets of this link type, which come from `interface`; `None` while it is still being compiled. The error
    /// is the reason that it has no program.
    fn compiled(
        &self,
        interface: &str,
        link_type: LinkType,
    ) -> Result<Option<Arc<dyn CompiledFilter>>, String>;
}

/// A capture filter for packets as a packet socket delivers them: a stripped VLAN tag is passed separately.
pub trait CompiledFilter: Send + Sync {
    /// The program, as libpcap makes it for a live interface.
    fn program(&self) -> &[SockFilter];

    /// True if it accepts a packet, given its captured bytes, its length on the wire, and the kernel's facts about it.
    fn accepts(&self, packet: &[u8], wire_len: u32, metadata: &KernelMetadata) -> bool;
}

/// Facts that the kernel knows of a packet besides its bytes: `struct sockaddr_ll`, and the VLAN tag.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KernelMetadata {
    /// Protocol of its payload: an ethertype, or one of the kernel's `ETH_P_` numbers.
    pub protocol: u16,
    /// Direction and kind of receiver: one of packet(7)'s `PACKET_` numbers.
    pub packet_type: u8,
    /// Index of the interface.
    pub interface: u32,
    /// The interface's `ARPHRD_` number.
    pub hardware_type: u16,
    /// TPID and TCI of a VLAN tag that was stripped from the packet.
    pub tag: Option<(u16, u16)>,
}

impl KernelMetadata {
    pub(super) fn of(address: &[u8; address_field::BYTES], tag: Option<[u8; 4]>) -> Self {
        let half = |field: std::ops::Range<usize>| [address[field.start], address[field.start + 1]];
        let mut interface = [0; 4];
        interface.copy_from_slice(&address[address_field::INTERFACE]);
        Self {
            protocol: u16::from_be_bytes(half(address_field::PROTOCOL)),
            packet_type: address[address_field::PACKET_TYPE],
            interface: u32::from_ne_bytes(interface),
            hardware_type: u16::from_ne_bytes(half(address_field::HARDWARE_TYPE)),
            tag: tag.map(|[a, b, c, d]| (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]))),
        }
    }
}

/// Tasks of a socket's program besides filtering.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Duties {
    pub framing: Framing,
    /// Bytes kept of each packet at most, a cooked header included; `None` keeps all.
    pub snaplen: Option<u32>,
    /// An interface whose outgoing packets are left out, because they are received as well.
    pub without_outgoing_of: Option<u32>,
}

impl Duties {
    /// Bytes that the kernel keeps of a packet; at least one, as zero would reject it.
    fn kept(&self) -> u32 {
        let header = if self.framing == Framing::Cooked { SLL2_BYTES as u32 } else { 0 };
        self.snaplen.map_or(u32::MAX, |snaplen| snaplen.saturating_sub(header).max(1))
    }

    /// Program for the kernel without a filter; `None` if it needs none at all.
    pub fn without_filter(&self, snaplen: bool) -> Option<Vec<SockFilter>> {
        let kept = if snaplen { self.kept() } else { u32::MAX };
        let is_needed = kept < u32::MAX || self.without_outgoing_of.is_some();
        is_needed.then(|| [self.beginning(), vec![(BPF_RETURN, 0, 0, kept)]].concat())
    }

    /// The filter's program as the kernel takes it; the error is the reason that it does not.
    pub fn with_filter(&self, program: &[SockFilter]) -> Result<Vec<SockFilter>, io::Error> {
        let unfit = |reason: String| io::Error::new(io::ErrorKind::Unsupported, reason);
        let mut whole = self.beginning();
        for &instruction in program {
            let fitted = self.fitted(instruction);
            whole
                .push(fitted.ok_or_else(|| unfit("it uses a field that only recorded packets have".into()))?);
        }
        if whole.len() > KERNEL_INSTRUCTIONS_MAX {
            let count = whole.len();
            return Err(unfit(format!(
                "its program has {count} instructions, and the kernel takes at most {KERNEL_INSTRUCTIONS_MAX}"
            )));
        }
        let goes_back = |&(code, _, _, k): &SockFilter| code == BPF_JUMP && k > i32::MAX as u32;
        match program.iter().any(goes_back) {
            true => Err(unfit("its program has a loop".into())),
            false => Ok(whole),
        }
    }

    /// Instructions that reject outgoing packets, if configured: `interface == loopback and type == PACKET_OUTGOING`.
    fn beginning(&self) -> Vec<SockFilter> {
        let Some(interface) = self.without_outgoing_of else { return Vec::new() };
        vec![
            (BPF_LOAD_WORD, 0, 0, ancillary::INTERFACE),
            (BPF_IF_EQUAL, 0, 3, interface),
            (BPF_LOAD_WORD, 0, 0, ancillary::PACKET_TYPE),
            (BPF_IF_EQUAL, 0, 1, u32::from(libc::PACKET_OUTGOING)),
            (BPF_RETURN, 0, 0, 0),
        ]
    }

    /// The instruction adapted to the kernel, which has no cooked header, but knows most of its fields (`fix_offset` of libpcap).
    /// `None` if it does not know the field.
    fn fitted(&self, instruction: SockFilter) -> Option<SockFilter> {
        let (code, jt, jf, k) = instruction;
        if code == BPF_RETURN {
            return Some((code, jt, jf, k.min(self.kept())));
        }
        if self.framing == Framing::Raw || !loads_from_packet(code) || k >= ancillary::PROTOCOL {
            return Some(instruction);
        }
        let k = match k {
            0 => ancillary::PROTOCOL,
            4 => ancillary::INTERFACE,
            8 => ancillary::HARDWARE_TYPE,
            10 => ancillary::PACKET_TYPE,
            k => k.checked_sub(SLL2_BYTES as u32)?,
        };
        Some((code, jt, jf, k))
    }
}

/// True if the operation is a load (BPF_LD, BPF_LDX) whose operand is in the packet (BPF_ABS, BPF_IND, BPF_MSH).
fn loads_from_packet(code: u16) -> bool {
    matches!(code & 0x07, 0x00 | 0x01) && matches!(code & 0xe0, 0x20 | 0x40 | 0xa0)
}

/// Notice that the kernel does not accept a capture filter.
pub(super) fn not_taken(interface: &str, error: &io::Error) -> String {
    let remedy = match error.raw_os_error() {
        Some(libc::ENOMEM) => " (a higher `sysctl -w net.core.optmem_max=...` allows larger programs)",
        _ => "",
    };
    format!(
        "{interface}: the kernel does not accept the capture filter: {error}{remedy}. The recorder applies it instead, at a cost for every packet that arrives"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn duties(framing: Framing, snaplen: Option<u32>, without_outgoing_of: Option<u32>) -> Duties {
        Duties { framing, snaplen, without_outgoing_of }
    }

    #[test]
    fn what_stands_in_a_cooked_header_is_asked_of_the_kernel() {
        let cooked = duties(Framing::Cooked, Some(100), None);
        // ldh [0]; jeq 0x800; ldxb 4*([20]&0xf); ldh [x + 22]; ldb [10]; ret 262144; ret 0
        let program = [
            (0x28, 0, 0, 0),
            (0x15, 0, 4, 0x800),
            (0xb1, 0, 0, 20),
            (0x48, 0, 0, 22),
            (0x30, 0, 0, 10),
            (0x06, 0, 0, 262_144),
            (0x06, 0, 0, 0),
        ];
        let wanted = [
            (0x28, 0, 0, 0xffff_f000),
            (0x15, 0, 4, 0x800),
            (0xb1, 0, 0, 0),
            (0x48, 0, 0, 2),
            (0x30, 0, 0, 0xffff_f004),
            (0x06, 0, 0, 80),
            (0x06, 0, 0, 0),
        ];
        assert_eq!(cooked.with_filter(&program).unwrap(), wanted);
        assert!(cooked.with_filter(&[(0x30, 0, 0, 12), (0x06, 0, 0, 1)]).is_err(), "the address");
        let tiny = duties(Framing::Cooked, Some(7), None);
        assert_eq!(tiny.without_filter(true), Some(vec![(0x06, 0, 0, 1)]), "a packet of no byte is rejected");
    }

    #[test]
    fn what_the_kernel_does_not_take_is_told_with_the_reason() {
        let raw = duties(Framing::Raw, None, Some(1));
        let long = vec![(0x28, 0, 0, 12); KERNEL_INSTRUCTIONS_MAX];
        let error = raw.with_filter(&long).unwrap_err();
        assert!(
            not_taken("b0", &error).contains("4101 instructions, and the kernel takes at most 4096"),
            "{error}"
        );
        let back = [(0x28, 0, 0, 12), (0x05, 0, 0, (-2_i32).cast_unsigned()), (0x06, 0, 0, 1)];
        assert!(raw.with_filter(&back).unwrap_err().to_string().contains("a loop"));
        let refused = io::Error::from_raw_os_error(libc::ENOMEM);
        assert!(not_taken("b0", &refused).contains("net.core.optmem_max"));
        assert_eq!(raw.without_filter(true).unwrap().len(), 6);
        assert_eq!(duties(Framing::Raw, None, None).without_filter(true), None);
        assert_eq!(duties(Framing::Raw, Some(9), None).without_filter(false), None);
    }
}
