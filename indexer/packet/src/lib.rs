//! Packets: their headers, the tunnels in them, and the views that these open.
//!
//! **Invariant:** total functions of bytes: whatever is cut, malformed or unknown only makes fewer things known. No unsafe
//! code, no threads, no clock, no files.

mod dissect;
mod ethernet;
mod shape;
pub mod tunnel;
mod views;

pub use dissect::{
    Dissection, EXTENSION_HEADERS_MAX, Fragment, PREFIX_BYTES_MAX, PacketKey, PacketView, Series, TCP_FLAGS,
    VIEWS_MAX, dissect, dissect_with, ipv4_field, ipv6_field, protocol, u16_at,
};
pub use ethernet::{TypePlace, VLAN_TAG_BYTES, VLAN_TAGS_MAX, is_vlan_tpid};
pub use shape::{Shape, TransportKey, View};
pub use views::{INNER_LINK_TYPES, Peeled, Peeler, ViewBytes, VlanTags, split_type, without_tags};
