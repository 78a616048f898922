//! Kinds of headers, their numbers in the index, and their bits that vary between the packets of one flow.

/// A kind of tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum TunnelKind {
    /// GRE version 0. Id: the key, where there is one. NVGRE is GRE with the key `VSID << 8 | flow id`, see
    /// [`super::Tunnel::virtual_network`].
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
    /// EoIP, as MikroTik has it: GRE version 1, with Ethernet. Id: the tunnel (16 bits).
    Eoip = 19,
    /// TZSP. No id.
    Tzsp = 20,
}

impl TunnelKind {
    const ALL: [Self; 20] = [
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
        Self::Eoip,
        Self::Tzsp,
    ];
}

/// Kind of a header. The number is the one that the index stores.
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

    /// One of 256 numbers for each kind, in the fewest steps; [`Self::number`] is that of the format.
    #[inline]
    pub(super) fn code(self) -> u8 {
        match self {
            Self::Tunnel(kind) => kind as u8,
            Self::Varying => 0xf0,
            Self::VlanPriority => 0xf1,
            Self::EthernetLength => 0xf2,
            Self::Ipv4 => 0xf3,
            Self::Ipv6 => 0xf4,
            Self::Extension => 0xf5,
            Self::Fragment => 0xf6,
            Self::Udp => 0xf7,
            Self::UdpFixed => 0xf8,
            Self::EntropyLabel => 0xf9,
        }
    }

    /// Mask of the bits that vary between the packets of one flow, from the header's first byte. All bytes behind the table
    /// vary.
    pub(super) fn varying_bits(self) -> &'static [u8] {
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
            // The length.
            Self::Pptp | Self::Eoip => &[0, 0, 0, 0, 0xff, 0xff, 0, 0],
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
            // TZSP's tagged fields are noted where they stand.
            Self::L2tp3 | Self::Tzsp => &[0, 0, 0, 0],
        }
    }
}

/// A tunnel over UDP. The number is what the index's list of ports holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum UdpTunnel {
    /// VXLAN, and OTV, which looks the same.
    Vxlan = 1,
    /// VXLAN with a next protocol.
    VxlanGpe = 2,
    /// Geneve.
    Geneve = 3,
    /// GTP version 1, user plane.
    GtpU = 4,
    /// An MPLS stack.
    Mpls = 5,
    /// Teredo: IPv6 through NAT.
    Teredo = 6,
    /// L2TP version 2 or 3.
    L2tp = 7,
    /// TZSP: mirrored frames.
    Tzsp = 8,
}

impl UdpTunnel {
    /// The port can be either end's. The others are named by the destination port; their source port is chosen by a hash
    /// of the inner flow.
    #[inline]
    pub(crate) fn is_symmetric(self) -> bool {
        matches!(self, Self::Teredo | Self::L2tp)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_one_to_one() {
        let kinds: Vec<_> = (0..=u8::MAX).filter_map(LayerKind::from_number).collect();
        assert_eq!(kinds.len(), TunnelKind::ALL.len() + LayerKind::PLAIN.len());
        for &kind in &kinds {
            assert_eq!(LayerKind::from_number(kind.number()), Some(kind));
        }
        let codes: std::collections::BTreeSet<u8> = kinds.iter().map(|kind| kind.code()).collect();
        assert_eq!(codes.len(), kinds.len());
    }
}
