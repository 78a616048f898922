//! Version of the libpcap that this process runs with, which need not be the one that it was built with.
//!
//! Obligation: pcap_lib_version(3PCAP) returns a text that ends with a zero byte and stays for ever.

use std::ffi::{CStr, c_char};

// The `pcap` crate links libpcap.
unsafe extern "C" {
    fn pcap_lib_version() -> *const c_char;
}

/// What libpcap says of itself: `libpcap version 1.10.3 (with TPACKET_V3)`.
pub fn libpcap_version() -> String {
    // SAFETY: the function takes nothing, and returns a static text that ends with a zero byte.
    let text = unsafe { CStr::from_ptr(pcap_lib_version()) };
    text.to_string_lossy().into_owned()
}
