//! Reading: the queue of planned runs, threads that read ahead, the exact judgement of each packet, and the merge by time.

mod cached;
pub(crate) mod check;
pub(crate) mod matches;
pub(crate) mod merge;
pub(crate) mod place;
pub(crate) mod read_ahead;
pub(crate) mod reader;
pub(crate) mod run_queue;
mod side_by_side;
mod whole;
