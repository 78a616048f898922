//! The index of one segment: flows, and the places and times of their packets.
//!
//! `FORMAT.md` beside this crate is the normative description of the file; `layout` holds its offsets.
//!
//! **Invariant:** an index is a pure function of its segment's bytes: built while recording or afterwards, it is the
//! same to the byte.
//!
//! **Invariant:** an index only skips work. What it calls known of a flow is true of every packet of the flow, and every
//! packet is in one of the granules of its flow.
//!
//! **Invariant:** no unsafe code outside `sys`, no threads, no clock, no files, no chance: time and the seed of the flow table are
//! arguments.

mod blocks;
mod builder;
mod checksums;
mod column;
mod details;
mod dictionary;
mod error;
mod flow;
mod granules;
mod hour;
mod keys;
mod layout;
mod observations;
mod positions;
mod ranking;
mod reader;
mod seconds;
mod strings;
mod sys;
mod template;
mod template_list;
mod value_set;

pub use builder::{Builder, FlowShare, IndexLimits, build_from, build_with};
pub use checksums::GranuleChecksums;
pub use error::{BuildError, IndexError};
pub use flow::{Flow, TcpFlags};
pub use granules::Granule;
pub use hour::{HourBuilder, HourIndex, HourKey, HourSegment, SegmentSet, restamped};
pub use layout::mark_late;
pub use observations::{LabelKey, Observation};
pub use reader::{Comparison, Constraint, FlowCursor, FlowIter, Index, KeyConstraint, Observations, Second};
pub use template::{Description, KeyField, Template, ViewLengths};
pub use value_set::ValueSet;

/// Flows in more granules than this have the bits of their positions counted, so that a reader can skip them.
pub(crate) const POSITIONS_WITHOUT_LENGTH_MAX: u64 = 64;
