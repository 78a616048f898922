//! A capture file without packets, opened by libpcap: what `tcpdump -r` compiles its filters for.
//!
//! libpcap's "dead" handles compile some primitives (`inbound`, `ifindex`) for a live Linux socket, and want the link type
//! in the numbers of the operating system. A handle of a file does neither.
//!
//! Obligation: the descriptor is given away and not used again. It is kept by taking an [`OwnedFd`].

use std::io;
use std::os::fd::{IntoRawFd, OwnedFd};

use netrewind_store::{LinkType, layout};
use pcap::{Capture, Offline};
use rustix::fs::{MemfdFlags, memfd_create};

/// Opens a file of this link type that holds nothing but its header.
pub(crate) fn open(link_type: LinkType) -> io::Result<Capture<Offline>> {
    let file = memfd_create("link-type", MemfdFlags::CLOEXEC)?;
    rustix::io::pwrite(&file, &layout::file_header(link_type), 0)?;
    adopt(file).map_err(io::Error::other)
}

fn adopt(file: OwnedFd) -> Result<Capture<Offline>, pcap::Error> {
    let descriptor = file.into_raw_fd();
    // SAFETY: `into_raw_fd` has given up the only owner of the descriptor, so the capture is its sole owner.
    unsafe { Capture::from_raw_fd(descriptor) }
}
