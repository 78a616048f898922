//! JSON schemas of other crates' types.

use utoipa::ToSchema;

/// Packets received but not written, by cause.
#[derive(Debug, ToSchema)]
#[schema(as = Drops)]
#[expect(dead_code, reason = "only its schema is used: netrewind_store::Drops is what is sent")]
pub struct DropsSchema {
    /// Packets dropped by the kernel because its ring was full; absent: none.
    kernel: Option<u64>,
    /// Packets dropped by the recorder because the disk was full or failed; absent: none.
    disk: Option<u64>,
}
