//! Offsets.

/// Version of the format.
pub const VERSION: u32 = 1;
/// The longest segment that an index describes.
pub const SEGMENT_BYTES_MAX: u64 = 1 << 36;
