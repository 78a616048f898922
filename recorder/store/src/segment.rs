//! A segment's file: its bytes, its name, its records, and the mark beside it while it is being written.

pub mod layout;
mod mark;
mod name;
mod record;
mod writer;

pub use mark::Mark;
pub use name::{NotASegmentName, SegmentName};
pub use record::{READ_AHEAD_BYTES, Record, RecordReader, Records};
pub use writer::PcapWriter;
