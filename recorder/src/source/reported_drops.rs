//! Drops that a source reports.

use netrewind_store::Timestamp;

/// Packets missing in a capture, as reported by the capture itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportedDrops {
    /// The interface on which they were lost; `None` if it has no name.
    pub interface: Option<String>,
    /// Number of packets.
    pub dropped: u64,
    /// Start of the loss, by the capture's clock.
    pub from: Timestamp,
    /// End of the loss.
    pub to: Timestamp,
}
