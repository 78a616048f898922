//! The index of an hour: of all its segments at once, which of them have an address, a port or a template, and what a query
//! has to know of a segment before it opens it.
//!
//! `HOUR-FORMAT.md` beside this crate is the normative description of the file; `layout` holds its offsets.
//!
//! **Invariant:** it only skips work, and speaks of a segment only as long as the segment and its index have the stamps that they
//! had when it was made.

mod builder;
#[cfg(test)]
mod hostile;
mod layout;
mod members;
mod reader;
mod segments;
mod set;

pub use builder::HourBuilder;
pub use layout::restamped;
pub use reader::{HourIndex, HourKey};
pub use segments::HourSegment;
pub use set::SegmentSet;
