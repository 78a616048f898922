//! The store of netrewind: format of segments, names of files, contents of the logbook.
//!
//! `FORMAT.md` beside this crate is the normative description; `layout` holds the offsets, and `store` the names: no
//! other module of the project builds paths inside a store.
//!
//! **Invariant:** no threads; time is an argument, and the clocks that give it are in `clock`. Unsafe code stands in `sys`.

pub mod archived;
pub mod catalog;
pub mod clock;
pub mod cold;
mod error;
pub mod files;
pub mod hold;
mod link_type;
mod locked;
pub mod logbook;
mod logbook_end;
mod medium;
mod replacing;
pub mod room;
pub mod seal;
mod seed;
mod segment;
pub mod sink;
pub mod store;
mod sys;
mod text;
pub mod time;
pub mod turns;

pub use error::{SegmentError, StoreError};
pub use link_type::LinkType;
pub use locked::locked;
pub use logbook::{
    Account, Drops, Event, LaneLoad, Logbook, LostPackets, RingFill, WRITE_BOUNDS_US, WRITE_BUCKETS,
    WriteTimes,
};
pub use medium::{Medium, Pieces, SegmentBlock};
pub use seed::random_seed;
pub use segment::layout::{self, RecordHeader};
pub use segment::{
    Mark, NotASegmentName, PcapWriter, READ_AHEAD_BYTES, Record, RecordReader, Records, SegmentName,
};
pub use store::{SegmentState, Store, StoreLock};
pub use sys::{LOST_PAGES, Map, pages_lost_elsewhere};
pub use text::toml_fault;
pub use time::Timestamp;
