//! The catalog: records of conversations by the hour, kept longer than their packets.
//!
//! ```text
//! parts of an hour's segments -> HourBuilder -> records -> an index of the hour, which implements Catalog
//!                                            -> rollup: what they add up to
//! rollups and open records of two hours -> boundary: what the conversations between them add up to
//! ```
//!
//! `FORMAT.md` beside this crate is the normative description of records, rollups and boundaries; golden files hold it.
//!
//! **Invariant:** a rollup or a boundary only saves work: the records of its hours say the same.
//!
//! **Invariant:** nothing that is read is trusted: bytes that do not fit are no record, no rollup and no boundary.
//!
//! How records are indexed is not known here: an hour is read through the trait [`Catalog`].

pub mod boundary;
pub mod boundary_join;
pub mod build;
pub mod cache;
pub mod condition;
pub mod document;
pub mod edges;
pub mod expiry;
pub mod record;
pub mod rollup;
pub mod search_condition;
pub mod settle;
pub mod short;
pub mod sums_file;

use std::fmt;

use condition::Condition;
use netrewind_store::catalog::Manifest;
use netrewind_store::{Store, Timestamp};

/// Reads hours of the catalog.
pub trait Catalog: fmt::Debug + Send + Sync {
    /// Passes the records of an hour that fulfil the condition to `take`, in the order in which they were written, until it
    /// refuses one: those with an instant from `from` to `last`, and those that are open.
    fn visit(
        &self,
        store: &Store,
        manifest: &Manifest,
        condition: &Condition,
        from: Timestamp,
        last: Timestamp,
        take: &mut dyn FnMut(&[u8]) -> bool,
    ) -> Result<(), String>;

    /// Passes the open records of an hour to `take`, in the order in which they were written, until it refuses one: at least those whose
    /// times are wanted, the first packet's rounded down to seconds since the epoch and the last's rounded up.
    fn visit_open(
        &self,
        store: &Store,
        manifest: &Manifest,
        is_wanted: &dyn Fn(u64, u64) -> bool,
        take: &mut dyn FnMut(&[u8]) -> bool,
    ) -> Result<(), String>;
}
