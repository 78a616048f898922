//! What a ring receives, and how large it is.

use std::sync::Arc;

use netrewind_store::layout::CAPLEN_MAX;

use super::capture_filter::CaptureFilter;
use super::claims::Claims;
use super::sockets::{OwnSockets, PacketSockets};

/// Bytes of a ring block. The kernel hands over a whole one, or what there is of it after [`RING_RETIRE_MS`].
pub const RING_BLOCK_BYTES: u32 = 1 << 20;
/// Blocks of a lane's ring: 256 MiB.
pub const RING_BLOCKS: u32 = 256;
/// Time after which the kernel hands over a ring block that does not fill.
pub const RING_RETIRE_MS: u32 = 50;
/// The name that stands for all interfaces, as with libpcap: their packets have cooked headers.
pub const ANY: &str = "any";

/// Interface to receive from, and the ring to receive into.
#[derive(Clone)]
pub struct RingConfig {
    /// The interface's name, one of its alternative names, or [`ANY`].
    pub interface: String,
    /// Bytes kept of each packet at most.
    pub snaplen: u32,
    /// Selects packets; `None` for all of them.
    pub capture_filter: Option<Arc<dyn CaptureFilter>>,
    /// Receive frames for other stations too.
    pub is_promiscuous: bool,
    /// Use the interface's own timestamps if it has any. Its clock must be kept synchronized (ptp4l, phc2sys).
    pub use_hardware_timestamps: bool,
    /// Bytes of a ring block: a multiple of the page's.
    pub block_bytes: u32,
    /// Blocks of each lane's ring.
    pub blocks: u32,
    /// Shared by all rings whose interfaces must not be recorded twice.
    pub claims: Claims,
    /// Opens the sockets.
    pub sockets: Arc<dyn PacketSockets>,
}

impl RingConfig {
    /// Receives everything that arrives at `interface`, whole.
    pub fn new(interface: &str) -> Self {
        Self {
            interface: interface.to_owned(),
            snaplen: CAPLEN_MAX,
            capture_filter: None,
            is_promiscuous: true,
            use_hardware_timestamps: false,
            block_bytes: RING_BLOCK_BYTES,
            blocks: RING_BLOCKS,
            claims: Claims::default(),
            sockets: Arc::new(OwnSockets),
        }
    }
}
