//! Filters: an expression is compiled once by libpcap and run in three ways on one decoded form.
//!
//! ```text
//!  expression -- guard -> libpcap -> Program -- accepts(packet) -> bool               a packet
//!                                        \----- evaluate(abstract)  -> never/always/maybe  all packets of a flow
//!                                         \---- terms(abstract)  -> necessary terms     a template, its key unknown
//! ```
//!
//! The language is all of pcap-filter(7) as tcpdump understands it, but for names that would have to be looked up.
//!
//! **Invariant:** the expression is never looked at but for its tokens; what it means, only the compiled program says.

mod abstract_packet;
mod compile;
mod compiler;
mod concrete;
mod diagnosis;
mod error;
mod facts;
mod guard;
mod instruction;
mod lexer;
mod limits;
mod lists;
mod lockstep;
mod machine;
mod number;
mod program;
mod remedy;
mod steps;
mod sys;
mod target;
mod term;
mod terms;
mod worker;
mod workers;

pub use abstract_packet::{
    AbstractPacket, DESCRIBED_BYTES_MAX, KEY_FIELD_BYTES_MAX, KeyPlace, TermField, Verdict,
};
pub use compile::{check_for_socket, compile, compile_for_socket, is_large};
pub use compiler::{CACHED_PROGRAMS_MAX, CompileControl, Compiler, NoCompileControl};
pub use concrete::{AncillaryData, BACKWARD_JUMPS_MAX};
pub use error::FilterError;
pub use instruction::{
    Arithmetic, BranchTest, INSTRUCTIONS_MAX, Instruction, MEMORY_WORDS, Operand, ProgramError,
    RawInstruction, Width,
};
pub use limits::CompileLimits;
pub use lockstep::{LOCKSTEP_PACKETS, LOCKSTEP_SLACK_BYTES, Lockstep, PaddedPacket};
pub use number::NumberSet;
pub use program::Program;
pub use sys::version::libpcap_version;
pub use term::{Conjunction, Demand, Term, Terms};
pub use worker::serve_worker;
pub use workers::{RunningWorker, StartWorker, WORKER_SUBCOMMAND, Workers};

#[cfg(test)]
mod tests;
