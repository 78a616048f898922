//! The one place of this crate with unsafe code: instructions that not every machine has. Each file states its obligations.

mod wide;
mod wide_hash;

pub(crate) use wide::with_wide_instructions;
pub(crate) use wide_hash::xxh3_64;
