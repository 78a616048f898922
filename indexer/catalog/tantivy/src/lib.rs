//! The catalog: records of conversations by the hour, kept longer than their packets and found by word, address and number.
//!
//! ```text
//! records of an hour -> HourWriter -> a tantivy index in a folder of its own, never changed again
//! Condition -> HourReader::visit -> the documents of the records that fulfil it, in the order in which they were added
//! ```
//!
//! **Invariant:** an hour is written once, whole, and is dropped whole. What a crash leaves half written is not an hour: it
//! is written again from the indexes that its records come from.
//!
//! **Invariant:** a condition finds exactly the records that [`Condition::accepts`], besides those that are open.
//!
//! **Invariant:** reading writes nothing, not even a lock.
//!
//! [`Condition::accepts`]: netrewind_catalog::condition::Condition::accepts

mod catalog;
mod error;
mod hour;
mod schema;
mod search;
mod writer;

pub use catalog::TantivyCatalog;
pub use error::CatalogError;
pub use hour::HourReader;
pub use search::Range;
pub use writer::{HourWriter, WRITER_BYTES};
