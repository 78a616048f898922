//! Memory that tables grow into, and that their owner limits.

use std::fmt;

/// Memory of one growing table.
pub trait TableMemory: fmt::Debug {
    /// True if a table of this many entries may grow. While it does, it takes the old table and the new one.
    fn may_grow(&mut self, capacity: usize, entry_bytes: usize) -> bool;

    /// Notes that the table has grown to this capacity.
    fn has_grown(&mut self, capacity: usize, entry_bytes: usize);

    /// True if what the entries refer to, such as texts, may take so many bytes in all.
    fn may_hold_beside(&mut self, bytes: u64) -> bool;
}
