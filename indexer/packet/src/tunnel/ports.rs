//! UDP ports of tunnels.

/// Largest number of ports in a [`TunnelPorts`].
pub const PORTS_MAX: usize = 32;

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

/// UDP ports of tunnels. An index depends on them: it and the queries over it use the same ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TunnelPorts {
    ports: [(u16, UdpTunnel); PORTS_MAX],
    count: usize,
    /// A bit for each port's hash: most packets are done after one look at it.
    hashes: u64,
}

impl TunnelPorts {
    /// The ports that IANA assigned; 8472, which VXLAN had in Linux before and OTV has; 37008, which everybody has for TZSP.
    pub const DEFAULT: Self = Self::none()
        .with(4789, UdpTunnel::Vxlan)
        .with(8472, UdpTunnel::Vxlan)
        .with(4790, UdpTunnel::VxlanGpe)
        .with(6081, UdpTunnel::Geneve)
        .with(2152, UdpTunnel::GtpU)
        .with(6635, UdpTunnel::Mpls)
        .with(3544, UdpTunnel::Teredo)
        .with(1701, UdpTunnel::L2tp)
        .with(37008, UdpTunnel::Tzsp);

    /// No port is a tunnel.
    pub const fn none() -> Self {
        Self { ports: [(0, UdpTunnel::Vxlan); PORTS_MAX], count: 0, hashes: 0 }
    }

    /// These ports and one more. Ports beyond [`PORTS_MAX`] are left out. The first entry of a port counts.
    pub const fn with(mut self, port: u16, tunnel: UdpTunnel) -> Self {
        if self.count < PORTS_MAX {
            self.ports[self.count] = (port, tunnel);
            self.count += 1;
            self.hashes |= hash_bit(port);
        }
        self
    }

    /// The ports and what they are.
    pub fn iter(&self) -> impl Iterator<Item = (u16, UdpTunnel)> + '_ {
        self.ports.iter().take(self.count).copied()
    }

    /// Tunnel that a packet between these ports can be, and true if that is certain. It is a guess, which the inner packet has
    /// to confirm, if only the source port names a protocol that does not use it so.
    #[inline]
    pub fn tunnel_of(&self, source: u16, destination: u16) -> Option<(UdpTunnel, bool)> {
        if self.hashes & (hash_bit(source) | hash_bit(destination)) == 0 {
            return None;
        }
        let of = |wanted| self.iter().find(|&(port, _)| port == wanted).map(|(_, tunnel)| tunnel);
        match of(destination) {
            Some(tunnel) => Some((tunnel, true)),
            None => of(source).map(|tunnel| (tunnel, tunnel.is_symmetric())),
        }
    }
}

impl Default for TunnelPorts {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// One of 64 bits, by the upper bits of a multiplication, so that neighbouring ports do not collide.
#[inline]
const fn hash_bit(port: u16) -> u64 {
    1 << (port.wrapping_mul(0x9e37) >> 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_port_is_found_and_no_other() {
        for source in [0u16, 53, 443, 3544, 1701] {
            for destination in 0..=u16::MAX {
                let slow = |wanted: u16| TunnelPorts::DEFAULT.iter().find(|&(port, _)| port == wanted);
                let by_source = slow(source).map(|(_, tunnel)| (tunnel, true));
                let expected = slow(destination).map(|(_, tunnel)| (tunnel, true)).or(by_source);
                assert_eq!(TunnelPorts::DEFAULT.tunnel_of(source, destination), expected);
            }
        }
    }

    #[test]
    fn too_many_ports_are_left_out() {
        let ports = (0..100).fold(TunnelPorts::none(), |ports, port| ports.with(port, UdpTunnel::Geneve));
        assert_eq!(ports.iter().count(), PORTS_MAX);
        assert_eq!(ports.tunnel_of(200, 99), None);
    }
}
