//! The one place where the recorder is unsafe: the kernel's packet rings and io_uring.
//!
//! Obligations of each part:
//! - `write_ring`: memory given to the kernel stays where it is, and unchanged, until the kernel has answered;
//! - `packet_socket`: a ring block is read only between the kernel's handing it over and our giving it back; structures
//!   passed to the kernel have the layout and length that it expects.

pub(crate) mod interfaces;
pub(crate) mod packet_socket;
pub(crate) mod write_ring;
