//! Reasons that a reader of capture files stops.

use std::io;

/// Reason that a reader stops.
pub(super) enum Halt {
    /// The bytes have not arrived yet. Nothing was consumed.
    Pending,
    Damaged {
        offset: u64,
        reason: String,
    },
    Unsupported(String),
    System(io::Error),
}
