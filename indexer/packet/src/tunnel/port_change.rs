//! Differences between the ports of a store and the default ones, as written by users: `vxlan=5555`, `none=8472`.

use std::fmt;
use std::str::FromStr;

use super::kind::UdpTunnel;

/// Change of a UDP port from [`TunnelPorts::DEFAULT`](super::TunnelPorts::DEFAULT). Written `vxlan=5555`, or `none=8472` for a port that is no tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PortChange {
    /// The port.
    pub port: u16,
    /// Tunnel on the port; `None` if it is no tunnel.
    pub tunnel: Option<UdpTunnel>,
}

/// The names, in the order of the numbers.
const NAMES: [(&str, UdpTunnel); 8] = [
    ("vxlan", UdpTunnel::Vxlan),
    ("vxlan-gpe", UdpTunnel::VxlanGpe),
    ("geneve", UdpTunnel::Geneve),
    ("gtp-u", UdpTunnel::GtpU),
    ("mpls", UdpTunnel::Mpls),
    ("teredo", UdpTunnel::Teredo),
    ("l2tp", UdpTunnel::L2tp),
    ("tzsp", UdpTunnel::Tzsp),
];
const NO_TUNNEL: &str = "none";

impl FromStr for PortChange {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let names = || NAMES.map(|(name, _)| name).join(", ");
        let wrong =
            || format!("{text:?} is not a tunnel port: write vxlan=5555 (or {}), or none=8472", names());
        let (name, port) = text.split_once('=').ok_or_else(wrong)?;
        let port = port.parse().ok().filter(|&port| port > 0).ok_or_else(wrong)?;
        let known = NAMES.iter().find(|(known, _)| *known == name).map(|&(_, tunnel)| tunnel);
        match (known, name) {
            (Some(_), _) | (None, NO_TUNNEL) => Ok(Self { port, tunnel: known }),
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for PortChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = NAMES
            .iter()
            .find(|&&(_, tunnel)| Some(tunnel) == self.tunnel)
            .map_or(NO_TUNNEL, |(name, _)| name);
        write!(f, "{name}={}", self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tunnel::TunnelPorts;

    fn written(changes: &[&str]) -> Result<TunnelPorts, String> {
        TunnelPorts::written(&changes.iter().map(|&text| text.to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn changes_are_read_as_they_are_written() {
        for (number, (name, tunnel)) in NAMES.iter().enumerate() {
            let change = PortChange { port: 5555, tunnel: Some(*tunnel) };
            assert_eq!((change.to_string(), *tunnel as usize), (format!("{name}=5555"), number + 1));
            assert_eq!(change.to_string().parse(), Ok(change));
        }
        assert_eq!("none=8472".parse::<PortChange>().unwrap().to_string(), "none=8472");
        for wrong in ["", "vxlan", "vxlan=", "vxlan=0", "vxlan=65536", "VXLAN=1", "wireguard=1", "none", "=1"]
        {
            assert!(wrong.parse::<PortChange>().unwrap_err().contains("vxlan=5555"), "{wrong}");
        }
    }

    #[test]
    fn changes_precede_the_usual_ports() {
        let ports = written(&["vxlan=2152", "none=8472", "geneve=7"]).unwrap();
        let of = |port| ports.tunnel_of(40_000, port).map(|(tunnel, _)| tunnel);
        assert_eq!(
            [2152, 8472, 7, 4789].map(of),
            [Some(UdpTunnel::Vxlan), None, Some(UdpTunnel::Geneve), Some(UdpTunnel::Vxlan)]
        );
        assert!(written(&["vxlan=7", "geneve=7"]).unwrap_err().contains("twice"));
        let many: Vec<String> = (1..40).map(|port| format!("vxlan={port}")).collect();
        assert!(TunnelPorts::written(&many).unwrap_err().contains("at most 32"));
    }

    #[test]
    fn the_same_ports_have_the_same_list() {
        let list = |changes: &[&str]| written(changes).unwrap().list();
        assert_eq!(list(&[]), TunnelPorts::DEFAULT.list());
        assert_eq!(list(&["vxlan=4789"]), list(&[]));
        assert_eq!(list(&["vxlan=7", "geneve=8"]), list(&["geneve=8", "vxlan=7"]));
        let others = [list(&["vxlan=7"]), list(&["geneve=7"]), list(&["none=4789"]), list(&["geneve=4789"])];
        for (number, other) in others.iter().enumerate() {
            assert!(*other != list(&[]) && !others[..number].contains(other));
        }
    }
}
