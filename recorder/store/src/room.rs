//! Room in a store, as whoever writes into it beside the recorder sees it.

use std::io;

/// Makes room in a store.
pub trait Room: Send + Sync {
    /// Makes room for a file of so many bytes that is about to be written, such as an index. Fails if there is none to be had.
    fn make_room(&self, bytes: u64) -> io::Result<()>;
}
