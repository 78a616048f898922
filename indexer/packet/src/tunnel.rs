//! Tunnels: what a packet carries inside, and where it stands.
//!
//! A packet is stored as it was received. Its *views* are itself and every inner packet that peeling a known tunnel
//! exposes, nested. `peel_ip` and its siblings take the headers of one tunnel off and say where the inner packet
//! begins; the walk in [`crate::dissect`] calls them until nothing more comes off. An inner packet is always a run of the
//! stored packet's bytes: nothing is copied, decompressed or put together.
//!
//! Rules for views:
//! - It begins with Ethernet ([`LinkType::ETHERNET`](netrewind_store::LinkType)), or with an IP header
//!   (`LinkType::RAW`).
//! - It ends where the outer lengths say (IP total length, UDP, PPPoE, GTP-U and PPTP lengths), and one that begins with
//!   IP ends at its own total length where that is shorter, so that the padding of a short Ethernet frame is in no inner
//!   packet. Its `len` is that length, its `caplen` what of it was captured. Lengths of zero (segmentation offload,
//!   jumbograms) limit nothing.
//! - It has captured at least its Ethernet header, or the fixed part of its IP header. A packet cut before has fewer views.
//! - A first fragment has an inner view, which ends where the fragment ends; a later one has none.
//!
//! Sources: RFC 2784, 2890 (GRE), 2637 (PPTP), 7637 (NVGRE), draft-foschiano-erspan (ERSPAN), 7348 (VXLAN),
//! draft-ietf-nvo3-vxlan-gpe, 8926 (Geneve), 8300 (NSH), 3GPP TS 29.281 (GTP-U), 3032, 4023, 6790, 7510 (MPLS), 4385,
//! 4448 (pseudowires), 2516 (PPPoE), 1661 (PPP), 2003, 2473, 4213 (IP in IP), 4380 (Teredo), 3378 (EtherIP), 2661 (L2TPv2),
//! 3931 (L2TPv3), draft-wilson-wrec-wccp-v2 (WCCP), Wireshark's packet-tzsp.c and packet-gre.c (TZSP, EoIP), which no standard
//! describes.
//!
//! **Invariant:** total functions of bytes: no panic, no allocation, and work bounded by [`LAYERS_MAX`].

mod gre;
mod identity;
mod inner;
mod ip;
mod kind;
mod layer;
mod mpls;
mod port_change;
mod ports;
mod ppp;
mod udp;
mod window;

pub use identity::{Tunnel, addresses_of, erspan_timestamp, id_bytes, tunnels};
pub(crate) use inner::Inner;
pub use kind::{LayerKind, TunnelKind, UdpTunnel};
pub(crate) use layer::Layers;
pub use layer::{LAYERS_MAX, Layer};
pub use port_change::PortChange;
pub use ports::{PORTS_MAX, TunnelPorts};
pub(crate) use window::Window;

pub(crate) use ip::{may_carry, peel_ip};
pub(crate) use mpls::{mpls, nsh};
pub(crate) use ppp::{ppp, pppoe};

/// Largest number of labels of an MPLS stack that is peeled.
pub const MPLS_LABELS_MAX: usize = 16;
/// Largest number of extension headers of a GTP-U header that is peeled.
pub const GTP_EXTENSIONS_MAX: usize = 4;
/// Largest number of tagged fields of a TZSP header that is peeled.
pub const TZSP_FIELDS_MAX: usize = 32;
/// Largest number of consecutive network service headers that are peeled.
pub const NSH_MAX: usize = 4;
