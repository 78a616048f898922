//! Settings of the C library's allocator, which programs in Rust use.

/// Blocks of so many bytes have pages of their own, and free memory at the end of an arena is kept up to as much.
const KEPT_BYTES_MAX: i32 = 1 << 20;

/// Has freed memory go back to the system. Left to itself, glibc raises both bounds, to 32 and 64 MiB, with the large blocks that are
/// freed, and each of its arenas, eight for each CPU, then keeps as much.
pub(crate) fn return_freed_memory() {
    #[cfg(target_env = "gnu")]
    for bound in [libc::M_MMAP_THRESHOLD, libc::M_TRIM_THRESHOLD] {
        // SAFETY: mallopt(3) takes numbers, and refuses those that it does not know.
        unsafe { libc::mallopt(bound, KEPT_BYTES_MAX) };
    }
}
