//! The index of one segment: flows, where their packets stand, and when.
//!
//! `FORMAT.md` beside this crate is the normative description of the file; `layout` holds its offsets, and no other
//! module of the project knows them.
//!
//! **Invariant:** an index is a pure function of its segment's bytes: built while recording or afterwards, it is the
//! same to the byte.
//!
//! **Invariant:** an index only skips work. What it calls known of a flow is true of every packet of the flow, and every
//! packet is in one of the granules of its flow.
//!
//! **Invariant:** no unsafe code, no threads, no clock, no files, no chance: time and the seed of the flow table are
//! arguments.

mod error;
mod flow;
mod layout;
pub mod packet;
mod template;

pub use error::{BuildError, IndexError};
pub use flow::{Flow, TcpFlags};
pub use template::{Description, KeyField, Shape, Template, TransportKey, View};
