//! Totals of conversations.

use serde::{Deserialize, Serialize};

use crate::heavy_hitters::Weight;
use crate::part::FlowCounters;

/// Totals of conversations. Sums stop at the greatest number: records of a damaged file may claim any.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Totals {
    /// Packets of the answer.
    pub packets: u64,
    /// Their bytes on the wire.
    pub bytes: u64,
    /// Conversations that these packets belong to.
    pub conversations: u64,
}

impl Totals {
    /// Adds other totals.
    pub fn add_all(&mut self, other: &Self) {
        self.packets = self.packets.saturating_add(other.packets);
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.conversations = self.conversations.saturating_add(other.conversations);
    }

    /// Counts a conversation.
    pub fn add(&mut self, body: &FlowCounters) {
        self.packets = self.packets.saturating_add(body.packets());
        self.bytes = self.bytes.saturating_add(body.bytes());
        self.conversations += 1;
    }
}

impl Weight for Totals {
    fn weight(&self) -> u64 {
        self.bytes
    }
}
