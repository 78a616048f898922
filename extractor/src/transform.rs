//! Changes to the packets of an answer: reassembly of fragments, deduplication, decapsulation.

pub(crate) mod decapsulate;
pub(crate) mod dedup;
pub(crate) mod reassembly;
