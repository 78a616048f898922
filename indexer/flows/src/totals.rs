//! Totals of conversations.

use serde::Serialize;
use utoipa::ToSchema;

use crate::heavy_hitters::Weight;
use crate::part::FlowCounters;

/// Totals of conversations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
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
        self.packets += other.packets;
        self.bytes += other.bytes;
        self.conversations += other.conversations;
    }

    /// Counts a conversation.
    pub fn add(&mut self, body: &FlowCounters) {
        self.packets += body.packets();
        self.bytes += body.bytes();
        self.conversations += 1;
    }
}

impl Weight for Totals {
    fn weight(&self) -> u64 {
        self.bytes
    }
}
