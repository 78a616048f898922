//! Packets: their headers, the tunnels in them, and the views that these open.
//!
//! **Invariant:** total functions of bytes: whatever is cut, malformed or unknown only makes fewer things known. No unsafe
//! code, no threads, no clock, no files.

pub mod bytes;
mod dissect;
mod dissection;
pub mod ethernet;
mod fields;
mod shape;
pub mod tunnel;
mod views;

pub use dissect::{Fragment, Series, dissect, dissect_into, dissect_with};
pub use dissection::{Dissection, Ends, PREFIX_BYTES_MAX, PacketKey, PacketView, VIEWS_MAX};
pub use ethernet::{TypePlace, is_vlan_tpid};
pub use fields::{EXTENSION_HEADERS_MAX, ipv4_field, ipv6_field, protocol, tcp_field, udp_field};
pub use shape::{Shape, TransportKey, View};
pub use views::{INNER_LINK_TYPES, Peeled, Peeler, ViewBytes, VlanTags, split_type, without_tags};
