//! libpcap's own interpreter, which the tests compare with ours.
//!
//! Obligations: the program is one that `bpf_validate` accepts, and its `ja` instructions come to an end.

use std::ffi::{c_int, c_uint};

use crate::RawInstruction;

/// `struct bpf_insn`.
#[repr(C)]
#[derive(Clone, Copy)]
struct BpfInstruction {
    code: u16,
    jt: u8,
    jf: u8,
    k: u32,
}

// The `pcap` crate links libpcap.
unsafe extern "C" {
    fn bpf_filter(
        program: *const BpfInstruction,
        packet: *const u8,
        wire_len: c_uint,
        caplen: c_uint,
    ) -> c_uint;
    fn bpf_validate(program: *const BpfInstruction, count: c_int) -> c_int;
}

/// A program in libpcap's layout that it has validated.
pub(crate) struct Oracle(Vec<BpfInstruction>);

impl Oracle {
    /// None where libpcap finds the program invalid.
    pub(crate) fn new(raw: &[RawInstruction]) -> Option<Self> {
        let program: Vec<_> =
            raw.iter().map(|i| BpfInstruction { code: i.code, jt: i.jt, jf: i.jf, k: i.k }).collect();
        let count = c_int::try_from(program.len()).ok()?;
        // SAFETY: the pointer and the count are of one vector, and `bpf_validate` only reads it.
        let valid = unsafe { bpf_validate(program.as_ptr(), count) } != 0;
        valid.then_some(Self(program))
    }

    /// libpcap's verdict.
    pub(crate) fn accepts(&self, packet: &[u8], wire_len: u32) -> bool {
        let caplen = c_uint::try_from(packet.len()).expect("a packet");
        // SAFETY: the program is validated; the pointer and the length are of one slice.
        unsafe { bpf_filter(self.0.as_ptr(), packet.as_ptr(), wire_len, caplen) != 0 }
    }
}
