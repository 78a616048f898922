//! Tunnels as they are told apart: kind, id, ends.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Range;

use super::kind::{LayerKind, TunnelKind};
use super::layer::Layer;
use super::window::Window;
use super::{gre, ppp};

/// The lower bits of NVGRE's key tell flows (RFC 7637).
const NVGRE_FLOW_BITS: u32 = 8;

/// A tunnel of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tunnel {
    /// Kind of tunnel.
    pub kind: TunnelKind,
    /// Its id, see [`TunnelKind`].
    pub id: Option<u32>,
    /// The view that its header stands in; the next one, if there is one, is what it carries.
    pub view: u8,
    /// Offset of its header in the stored packet.
    pub offset: usize,
    /// Source and destination of the IP header that carries it; none where Ethernet does.
    pub outer: Option<(IpAddr, IpAddr)>,
    /// True if it is GRE as in NVGRE (RFC 7637): with a key, which then is `VSID << 8 | flow id`, without checksum and
    /// sequence, around Ethernet.
    pub is_nvgre: bool,
}

impl Tunnel {
    /// True if it carries a numbered virtual network: VXLAN, VXLAN-GPE, Geneve and NVGRE.
    pub fn is_of_virtual_network(&self) -> bool {
        self.is_nvgre || matches!(self.kind, TunnelKind::Vxlan | TunnelKind::VxlanGpe | TunnelKind::Geneve)
    }

    /// The number of the virtual network that it carries: VNI or VSID (24 bits).
    pub fn virtual_network(&self) -> Option<u32> {
        let id = self.id.filter(|_| self.is_of_virtual_network())?;
        Some(if self.is_nvgre { id >> NVGRE_FLOW_BITS } else { id })
    }

    /// Properties that are the same in both directions of a conversation: kind, id if it names a network and not a direction
    /// (as a TEID or an MPLS label does), and the two ends in order.
    pub fn both_ways(&self) -> (TunnelKind, Option<u32>, Option<(IpAddr, IpAddr)>) {
        use TunnelKind::{Eoip, Erspan2, Erspan3, Geneve, Gre, PppoE, Vxlan, VxlanGpe};
        let names_a_network =
            matches!(self.kind, Gre | Eoip | Erspan2 | Erspan3 | Vxlan | VxlanGpe | Geneve | PppoE);
        let ends = self.outer.map(|(one, other)| (one.min(other), one.max(other)));
        (self.kind, self.id.filter(|_| names_a_network), ends)
    }
}

/// The tunnels among `layers`, from the outermost, in a packet that begins with these bytes.
pub fn tunnels<'a>(layers: &'a [Layer], packet: &'a [u8]) -> impl Iterator<Item = Tunnel> + 'a {
    layers.iter().enumerate().filter_map(move |(index, layer)| {
        let LayerKind::Tunnel(kind) = layer.kind else { return None };
        let mut outer = layers[..index].iter().rev().take_while(|before| before.view == layer.view);
        Some(Tunnel {
            kind,
            id: id_place(layer, packet).and_then(|place| place.read(packet)),
            view: layer.view,
            offset: usize::from(layer.offset),
            outer: outer.find_map(|before| addresses_of(*before, packet)),
            is_nvgre: kind == TunnelKind::Gre && gre::is_nvgre(packet.get(usize::from(layer.offset)..)),
        })
    })
}

/// The time stamp of an ERSPAN III header, in units that its granularity (0: 100 us, 1: 100 ns, 2: IEEE 1588, 3: user)
/// tells: `(time stamp, granularity)`.
pub fn erspan_timestamp(tunnel: &Tunnel, packet: &[u8]) -> Option<(u32, u8)> {
    let window = Window { at: tunnel.offset, ..Window::new(packet, u32::MAX) };
    (tunnel.kind == TunnelKind::Erspan3).then_some((window.u32(4)?, (window.u8(11)? >> 1) & 3))
}

/// Location of a tunnel's id: the bits of `mask`, shifted down, in a number of `bytes` bytes.
#[derive(Clone, Copy, Debug)]
struct IdPlace {
    /// Offset in the stored packet.
    offset: usize,
    /// Number of bytes: at most 4.
    bytes: usize,
    mask: u32,
    is_little_endian: bool,
}

impl IdPlace {
    fn read(self, packet: &[u8]) -> Option<u32> {
        let bytes = packet.get(self.offset..self.offset + self.bytes)?;
        let append = |number: u32, byte: &u8| number << 8 | u32::from(*byte);
        let number = match self.is_little_endian {
            true => bytes.iter().rev().fold(0, append),
            false => bytes.iter().fold(0, append),
        };
        Some((number & self.mask) >> self.mask.trailing_zeros())
    }
}

/// The bytes of the stored packet that hold the tunnel's id, if this is a tunnel's header and has one.
pub fn id_bytes(layer: &Layer, packet: &[u8]) -> Option<Range<usize>> {
    id_place(layer, packet).map(|place| place.offset..place.offset + place.bytes)
}

/// Location of the tunnel's id, if this is a tunnel's header and has one.
fn id_place(layer: &Layer, packet: &[u8]) -> Option<IdPlace> {
    use TunnelKind::*;
    let LayerKind::Tunnel(kind) = layer.kind else { return None };
    let offset = usize::from(layer.offset);
    let header = Window { at: offset, ..Window::new(packet, u32::MAX) };
    let (at, bytes, mask) = match kind {
        Gre => (gre::key_offset(header)?, 4, u32::MAX),
        Pptp | Eoip => (6, 2, 0xffff),
        Erspan2 | Erspan3 => (2, 2, 0x3ff),
        Vxlan | VxlanGpe | Geneve | Nsh => (4, 3, 0xff_ffff),
        GtpU => (4, 4, u32::MAX),
        Mpls => (0, 3, 0xff_fff0),
        PppoE => (2, 2, 0xffff),
        L2tp2 => (ppp::l2tp2_id_offset(header)?, 4, u32::MAX),
        L2tp3 => (0, 4, u32::MAX),
        Erspan1 | IpInIp | Teredo | EtherIp | Wccp | Tzsp => return None,
    };
    Some(IdPlace { offset: offset + at, bytes, mask, is_little_endian: kind == Eoip })
}

/// Source and destination of an IP header.
pub fn addresses_of(layer: Layer, packet: &[u8]) -> Option<(IpAddr, IpAddr)> {
    let header = packet.get(usize::from(layer.offset)..)?;
    let v4 = |at: usize| Some(Ipv4Addr::from(<[u8; 4]>::try_from(header.get(at..at + 4)?).ok()?).into());
    let v6 = |at: usize| Some(Ipv6Addr::from(<[u8; 16]>::try_from(header.get(at..at + 16)?).ok()?).into());
    match layer.kind {
        LayerKind::Ipv4 => Some((v4(12)?, v4(16)?)),
        LayerKind::Ipv6 => Some((v6(8)?, v6(24)?)),
        _ => None,
    }
}
