//! JSON schemas of other crates' types.

use utoipa::ToSchema;

/// Packets that arrived and were not written, by who dropped them.
#[derive(Debug, ToSchema)]
#[schema(as = Drops)]
#[expect(dead_code, reason = "only its schema is used: netrewind_store::Drops is what is sent")]
pub struct DropsSchema {
    /// Packets dropped by the kernel, for want of room in the ring; absent: none.
    kernel: Option<u64>,
    /// Packets dropped by the recorder, for want of room on the disk; absent: none.
    disk: Option<u64>,
}
