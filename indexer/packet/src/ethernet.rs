//! EtherTypes, and VLAN tags: what announces one, and where they stand behind each kind of link-layer header. The one place
//! of the project that knows.
//!
//! Sources: IEEE 802.3, 802.1Q, IANA's IEEE 802 numbers, tcpdump.org/linktypes.html (LINUX_SLL, LINUX_SLL2).

use netrewind_store::LinkType;

/// EtherTypes that say what follows.
pub mod ethertype {
    /// IPv4.
    pub const IPV4: u16 = 0x0800;
    /// ARP.
    pub const ARP: u16 = 0x0806;
    /// A whole Ethernet frame, in GRE and Geneve.
    pub const ETHERNET: u16 = 0x6558;
    /// RARP.
    pub const RARP: u16 = 0x8035;
    /// IPv6.
    pub const IPV6: u16 = 0x86dd;
    /// Slow protocols: LACP, OAM.
    pub const SLOW: u16 = 0x8809;
    /// An MPLS stack.
    pub const MPLS: u16 = 0x8847;
    /// An MPLS stack with a label from upstream, once of multicast.
    pub const MPLS_MULTICAST: u16 = 0x8848;
    /// PPPoE discovery.
    pub const PPPOE_DISCOVERY: u16 = 0x8863;
    /// A PPPoE session.
    pub const PPPOE_SESSION: u16 = 0x8864;
    /// 802.1X.
    pub const EAPOL: u16 = 0x888e;
    /// LLDP.
    pub const LLDP: u16 = 0x88cc;
    /// A network service header.
    pub const NSH: u16 = 0x894f;
}

/// The type field holds a length up to this value.
pub const LENGTH_MAX: u16 = 1500;
/// The smallest EtherType; values between a length and it mean nothing.
pub const ETHERTYPE_MIN: u16 = 0x0600;
/// Largest number of consecutive VLAN tags walked over.
pub const VLAN_TAGS_MAX: usize = 8;
/// Bytes of a VLAN tag: TPID and TCI.
pub const VLAN_TAG_BYTES: usize = 4;
/// EtherTypes that announce a VLAN tag: 802.1Q, 802.1ad, and those used for the latter before it was standardised.
const VLAN_TPIDS: [u16; 5] = [0x8100, 0x88a8, 0x9100, 0x9200, 0x9300];

/// True if this EtherType announces a VLAN tag.
#[inline]
pub fn is_vlan_tpid(ethertype: u16) -> bool {
    VLAN_TPIDS.contains(&ethertype)
}

/// Offsets of a header's type field and of its payload, both from the view's first byte.
///
/// A VLAN tag takes the place of both: its TPID stands where the type would, and its TCI, with the type behind it, where the
/// payload would begin. So a tag behind a header of which the type stands at the front (LINUX_SLL2) is the same as one
/// between the addresses and the type (Ethernet).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TypePlace {
    /// Offset of the two bytes of the type.
    pub type_at: usize,
    /// Offset of the payload that the type announces.
    pub payload_at: usize,
}

impl TypePlace {
    /// Offsets in the header of this link type; `None` if it has no place for a VLAN tag.
    #[inline]
    pub const fn of(link_type: LinkType) -> Option<Self> {
        match link_type {
            LinkType::ETHERNET => Some(Self { type_at: 12, payload_at: 14 }),
            LinkType::LINUX_SLL => Some(Self { type_at: 14, payload_at: 16 }),
            LinkType::LINUX_SLL2 => Some(Self { type_at: 0, payload_at: 20 }),
            _ => None,
        }
    }

    /// Offsets behind the tag that is here.
    #[inline]
    pub const fn behind_tag(self) -> Self {
        Self { type_at: self.payload_at + VLAN_TAG_BYTES - 2, payload_at: self.payload_at + VLAN_TAG_BYTES }
    }
}
