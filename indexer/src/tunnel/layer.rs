//! The headers that stand between one view and the next: which bits of them vary within a flow, and what a tunnel is
//! called.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::window::Window;

/// How many headers are noted in one packet: where they are used up, nothing deeper is peeled.
pub const LAYERS_MAX: usize = 32;

/// A kind of tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum TunnelKind {
    /// GRE version 0. Id: the key, where there is one. NVGRE is GRE with the key `VSID << 8 | flow id`.
    Gre = 1,
    /// GRE version 1, with PPP. Id: the call id.
    Pptp = 2,
    /// ERSPAN I: GRE without sequence. No id.
    Erspan1 = 3,
    /// ERSPAN II. Id: the session (10 bits).
    Erspan2 = 4,
    /// ERSPAN III. Id: the session (10 bits).
    Erspan3 = 5,
    /// VXLAN or OTV. Id: the VNI (24 bits).
    Vxlan = 6,
    /// VXLAN-GPE. Id: the VNI.
    VxlanGpe = 7,
    /// Geneve. Id: the VNI.
    Geneve = 8,
    /// A network service header. Id: the service path (24 bits).
    Nsh = 9,
    /// GTP-U. Id: the TEID (32 bits).
    GtpU = 10,
    /// One entry of an MPLS stack. Id: the label (20 bits).
    Mpls = 11,
    /// PPPoE. Id: the session (16 bits).
    PppoE = 12,
    /// IPv4 or IPv6 in IPv4 or IPv6. No id.
    IpInIp = 13,
    /// Teredo. No id.
    Teredo = 14,
    /// L2TP version 2. Id: `tunnel << 16 | session`.
    L2tp2 = 15,
    /// L2TP version 3. Id: the session (32 bits).
    L2tp3 = 16,
    /// Ethernet in IP. No id.
    EtherIp = 17,
    /// A WCCP redirect. No id.
    Wccp = 18,
}

impl TunnelKind {
    const ALL: [Self; 18] = [
        Self::Gre,
        Self::Pptp,
        Self::Erspan1,
        Self::Erspan2,
        Self::Erspan3,
        Self::Vxlan,
        Self::VxlanGpe,
        Self::Geneve,
        Self::Nsh,
        Self::GtpU,
        Self::Mpls,
        Self::PppoE,
        Self::IpInIp,
        Self::Teredo,
        Self::L2tp2,
        Self::L2tp3,
        Self::EtherIp,
        Self::Wccp,
    ];
}

/// What a header is. The number is what the index stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LayerKind {
    /// A tunnel's header.
    Tunnel(TunnelKind),
    /// Bytes that vary altogether: checksums, sequence numbers, options.
    Varying,
    /// A VLAN tag's priority byte.
    VlanPriority,
    /// The length of an 802.3 frame.
    EthernetLength,
    /// An outer IPv4 header, options included.
    Ipv4,
    /// An outer IPv6 header.
    Ipv6,
    /// An IPv6 extension header, or an authentication header.
    Extension,
    /// An IPv6 fragment header of a first fragment.
    Fragment,
    /// A UDP header whose source port is a hash of the inner flow.
    Udp,
    /// A UDP header whose ports are both fixed.
    UdpFixed,
    /// An MPLS entry that is a hash of the inner flow (RFC 6790).
    EntropyLabel,
}

impl LayerKind {
    const PLAIN: [Self; 10] = [
        Self::Varying,
        Self::VlanPriority,
        Self::EthernetLength,
        Self::Ipv4,
        Self::Ipv6,
        Self::Extension,
        Self::Fragment,
        Self::Udp,
        Self::UdpFixed,
        Self::EntropyLabel,
    ];
    const PLAIN_FIRST: u8 = 64;

    /// Its number: a tunnel's, or 64 and up.
    pub fn number(self) -> u8 {
        match self {
            Self::Tunnel(kind) => kind as u8,
            plain => {
                Self::PLAIN.iter().zip(Self::PLAIN_FIRST..).find(|(k, _)| **k == plain).map_or(0, |(_, n)| n)
            }
        }
    }

    /// The kind that a number stands for.
    pub fn from_number(number: u8) -> Option<Self> {
        let tunnel =
            TunnelKind::ALL.iter().find(|kind| **kind as u8 == number).map(|kind| Self::Tunnel(*kind));
        tunnel.or_else(|| Self::PLAIN.get(usize::from(number.checked_sub(Self::PLAIN_FIRST)?)).copied())
    }

    /// Which bits vary between the packets of one flow, from the header's first byte. Bytes behind the table vary
    /// altogether.
    fn varying_bits(self) -> &'static [u8] {
        match self {
            Self::Tunnel(kind) => kind.varying_bits(),
            Self::Varying => &[],
            Self::VlanPriority => &[0xf0],
            // An 802.3 length is at most 1500: the upper five bits are zero.
            Self::EthernetLength => &[0x07, 0xff],
            // Service, length, identification, the flags (the fragment offset is zero: a later fragment carries no
            // view), time to live, checksum.
            Self::Ipv4 => {
                &[0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xe0, 0, 0xff, 0, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0]
            }
            Self::Ipv6 => &IPV6_VARYING,
            Self::Extension => &[0, 0],
            Self::Fragment => &[0, 0xff, 0, 0x07],
            Self::Udp => &[0xff, 0xff, 0, 0],
            Self::UdpFixed => &[0, 0, 0, 0],
            Self::EntropyLabel => &[0xff, 0xff, 0xfe, 0xff],
        }
    }
}

/// Traffic class, flow label, length, hop limit.
const IPV6_VARYING: [u8; 40] = {
    let mut bits = [0; 40];
    bits[0] = 0x0f;
    bits[1] = 0xff;
    bits[2] = 0xff;
    bits[3] = 0xff;
    bits[4] = 0xff;
    bits[5] = 0xff;
    bits[7] = 0xff;
    bits
};

impl TunnelKind {
    fn varying_bits(self) -> &'static [u8] {
        match self {
            // Flags and protocol; checksum, key and sequence are noted where they stand.
            Self::Gre => &[0, 0, 0, 0],
            Self::Pptp => &[0, 0, 0, 0, 0xff, 0xff, 0, 0],
            Self::Erspan1 | Self::IpInIp | Self::Teredo | Self::EtherIp | Self::Wccp => &[],
            // Class of service, truncation, index.
            Self::Erspan2 => &[0, 0, 0xe4, 0],
            // Class of service, bad or short, truncation; time stamp; group; of the last two bytes the frame type and
            // the flag of the platform header are fixed, as they tell where the inner packet stands.
            Self::Erspan3 => &[0, 0, 0xfc, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x83, 0xfe],
            // The flags and the VNI are fixed, a group policy is not.
            Self::Vxlan => &[0, 0xff, 0xff, 0xff, 0, 0, 0, 0xff],
            Self::VxlanGpe => &[0, 0xff, 0xff, 0, 0, 0, 0, 0xff],
            Self::Geneve => &[0, 0, 0, 0, 0, 0, 0, 0xff],
            // Time to live.
            Self::Nsh => &[0x0f, 0xc0, 0, 0, 0, 0, 0, 0],
            // Length, sequence and N-PDU number; the type of the first extension header is fixed.
            Self::GtpU => &[0, 0, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0],
            // Traffic class and time to live.
            Self::Mpls => &[0, 0, 0x0e, 0xff],
            Self::PppoE => &[0, 0, 0, 0, 0xff, 0xff],
            // The flags; the ids are noted where they stand.
            Self::L2tp2 => &[0, 0],
            Self::L2tp3 => &[0, 0, 0, 0],
        }
    }
}

/// A header between two views.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Layer {
    /// What it is.
    pub kind: LayerKind,
    /// In which view it stands: 0 is the stored packet.
    pub view: u8,
    /// Where it begins in the stored packet.
    pub offset: u16,
    /// Its length.
    pub bytes: u16,
}

impl Layer {
    const EMPTY: Self = Self { kind: LayerKind::Varying, view: 0, offset: 0, bytes: 0 };

    /// Where it ends in the stored packet.
    pub fn end(&self) -> usize {
        usize::from(self.offset) + usize::from(self.bytes)
    }

    /// Clears those bits of `known`, which begins with the stored packet's first byte, that vary.
    pub fn clear_varying(&self, known: &mut [u8]) {
        let offset = usize::from(self.offset).min(known.len());
        let end = (offset + usize::from(self.bytes)).min(known.len());
        let header = &mut known[offset..end];
        let table = self.kind.varying_bits();
        let (named, rest) = header.split_at_mut(table.len().min(header.len()));
        named.iter_mut().zip(table).for_each(|(byte, varying)| *byte &= !varying);
        rest.fill(0);
    }
}

/// A tunnel of a packet, from the outermost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tunnel {
    /// What it is.
    pub kind: TunnelKind,
    /// Its id, see [`TunnelKind`].
    pub id: Option<u32>,
    /// The view that its header stands in; the next one, if there is one, is what it carries.
    pub view: u8,
    /// Where its header begins in the stored packet.
    pub offset: usize,
    /// Source and destination of the IP header that carries it; none where Ethernet does.
    pub outer: Option<(IpAddr, IpAddr)>,
}

/// The headers of a packet that stand before its innermost network header, as far as they are tunnels or have bits that
/// vary.
#[derive(Clone)]
pub struct Layers {
    layers: [Layer; LAYERS_MAX],
    count: usize,
    /// The view that is walked.
    pub(crate) view: u8,
}

impl Default for Layers {
    #[inline]
    fn default() -> Self {
        Self { layers: [Layer::EMPTY; LAYERS_MAX], count: 0, view: 0 }
    }
}

impl fmt::Debug for Layers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_slice().fmt(f)
    }
}

impl Layers {
    /// The headers, from the outermost.
    #[inline]
    pub fn as_slice(&self) -> &[Layer] {
        &self.layers[..self.count]
    }

    /// Forgets what came after the first `count`.
    #[inline]
    pub(crate) fn truncate(&mut self, count: usize) {
        self.count = self.count.min(count);
    }

    /// Notes a header; `None` where there is no room.
    #[inline]
    pub(crate) fn push(&mut self, kind: LayerKind, offset: usize, bytes: usize) -> Option<()> {
        let layer = Layer {
            kind,
            view: self.view,
            offset: u16::try_from(offset).ok()?,
            bytes: u16::try_from(bytes).ok()?,
        };
        *self.layers.get_mut(self.count)? = layer;
        self.count += 1;
        Some(())
    }

    /// Notes a tunnel's header at the beginning of `window`.
    #[inline]
    pub(crate) fn push_tunnel(&mut self, kind: TunnelKind, window: Window, bytes: usize) -> Option<()> {
        self.push(LayerKind::Tunnel(kind), window.at, bytes)
    }
}

/// The tunnels among `layers`, from the outermost, in a packet that begins with these bytes.
pub fn tunnels<'a>(layers: &'a [Layer], packet: &'a [u8]) -> impl Iterator<Item = Tunnel> + 'a {
    layers.iter().enumerate().filter_map(move |(index, layer)| {
        let LayerKind::Tunnel(kind) = layer.kind else { return None };
        let mut outer = layers[..index].iter().rev().take_while(|before| before.view == layer.view);
        Some(Tunnel {
            kind,
            id: layer.id_place(packet).and_then(|place| place.read(packet)),
            view: layer.view,
            offset: usize::from(layer.offset),
            outer: outer.find_map(|before| addresses_of(*before, packet)),
        })
    })
}

/// The time stamp of an ERSPAN III header, in units that its granularity (0: 100 us, 1: 100 ns, 2: IEEE 1588, 3: user)
/// tells: `(time stamp, granularity)`.
pub fn erspan_timestamp(tunnel: &Tunnel, packet: &[u8]) -> Option<(u32, u8)> {
    let window = Window { at: tunnel.offset, ..Window::new(packet, u32::MAX) };
    (tunnel.kind == TunnelKind::Erspan3).then_some((window.u32(4)?, (window.u8(11)? >> 1) & 3))
}

/// Where a tunnel's id stands: in the bits of `mask`, which is moved down, of a number of `bytes` bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IdPlace {
    /// In the stored packet.
    pub offset: usize,
    /// At most 4.
    pub bytes: usize,
    mask: u32,
}

impl IdPlace {
    fn read(self, packet: &[u8]) -> Option<u32> {
        let bytes = packet.get(self.offset..self.offset + self.bytes)?;
        let number = bytes.iter().fold(0, |number, byte| number << 8 | u32::from(*byte));
        Some((number & self.mask) >> self.mask.trailing_zeros())
    }
}

impl Layer {
    /// Where the id of the tunnel stands, if this is a tunnel's header and has one.
    pub(crate) fn id_place(&self, packet: &[u8]) -> Option<IdPlace> {
        use TunnelKind::*;
        let LayerKind::Tunnel(kind) = self.kind else { return None };
        let offset = usize::from(self.offset);
        let header = Window { at: offset, ..Window::new(packet, u32::MAX) };
        let (at, bytes, mask) = match kind {
            Gre => (super::gre::key_offset(header)?, 4, u32::MAX),
            Pptp => (6, 2, 0xffff),
            Erspan2 | Erspan3 => (2, 2, 0x3ff),
            Vxlan | VxlanGpe | Geneve | Nsh => (4, 3, 0xff_ffff),
            GtpU => (4, 4, u32::MAX),
            Mpls => (0, 3, 0xff_fff0),
            PppoE => (2, 2, 0xffff),
            L2tp2 => (super::ppp::l2tp2_id_offset(header)?, 4, u32::MAX),
            L2tp3 => (0, 4, u32::MAX),
            Erspan1 | IpInIp | Teredo | EtherIp | Wccp => return None,
        };
        Some(IdPlace { offset: offset + at, bytes, mask })
    }
}

fn addresses_of(layer: Layer, packet: &[u8]) -> Option<(IpAddr, IpAddr)> {
    let header = packet.get(usize::from(layer.offset)..)?;
    let v4 = |at: usize| Some(Ipv4Addr::from(<[u8; 4]>::try_from(header.get(at..at + 4)?).ok()?).into());
    let v6 = |at: usize| Some(Ipv6Addr::from(<[u8; 16]>::try_from(header.get(at..at + 16)?).ok()?).into());
    match layer.kind {
        LayerKind::Ipv4 => Some((v4(12)?, v4(16)?)),
        LayerKind::Ipv6 => Some((v6(8)?, v6(24)?)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_one_to_one() {
        let kinds: Vec<_> = (0..=u8::MAX).filter_map(LayerKind::from_number).collect();
        assert_eq!(kinds.len(), TunnelKind::ALL.len() + LayerKind::PLAIN.len());
        for kind in kinds {
            assert_eq!(LayerKind::from_number(kind.number()), Some(kind));
        }
    }

    #[test]
    fn bytes_behind_a_table_vary() {
        let mut known = [0xff; 32];
        Layer { kind: LayerKind::Ipv4, view: 0, offset: 2, bytes: 24 }.clear_varying(&mut known);
        assert_eq!(known[..2], [0xff; 2]);
        assert_eq!(known[2..14], [0xff, 0, 0, 0, 0, 0, 0x1f, 0xff, 0, 0xff, 0, 0]);
        assert_eq!(known[14..22], [0xff; 8]);
        assert_eq!(known[22..26], [0; 4]);
        assert_eq!(known[26..], [0xff; 6]);
    }
}
