//! UDP ports of tunnels.

use super::kind::UdpTunnel;
use super::port_change::PortChange;

/// Largest number of ports in a [`TunnelPorts`].
pub const PORTS_MAX: usize = 32;

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

    /// The usual ports with these changes, of which each port may have one.
    pub fn changed(changes: &[PortChange]) -> Result<Self, String> {
        let mut ports = Self::none();
        for (number, change) in changes.iter().enumerate() {
            if let Some(other) = changes[..number].iter().find(|other| other.port == change.port) {
                return Err(format!("port {} is given twice: {other} and {change}", change.port));
            }
        }
        let unchanged =
            Self::DEFAULT.iter().filter(|(port, _)| changes.iter().all(|change| change.port != *port));
        let changed = changes.iter().filter_map(|change| Some((change.port, change.tunnel?)));
        let all: Vec<_> = changed.chain(unchanged).collect();
        if all.len() > PORTS_MAX {
            return Err(format!("{} tunnel ports are too many: at most {PORTS_MAX}", all.len()));
        }
        for (port, tunnel) in all {
            ports = ports.with(port, tunnel);
        }
        Ok(ports)
    }

    /// Like [`Self::changed`], for changes as they are written.
    pub fn written(changes: &[String]) -> Result<Self, String> {
        let changes: Vec<PortChange> = changes.iter().map(|text| text.parse()).collect::<Result<_, _>>()?;
        Self::changed(&changes)
    }

    /// Canonical list of the ports, by which an index knows what it was built with: for each port, ascending, its two bytes and
    /// the tunnel's number.
    pub fn list(&self) -> Vec<u8> {
        let mut ports: Vec<_> = self.iter().collect();
        ports.sort_by_key(|&(port, _)| port); // stable: the first that names a port is the one
        ports.dedup_by_key(|&mut (port, _)| port);
        ports
            .into_iter()
            .flat_map(|(port, tunnel)| [port.to_le_bytes()[0], port.to_le_bytes()[1], tunnel as u8])
            .collect()
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
