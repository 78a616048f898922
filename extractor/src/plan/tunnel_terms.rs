//! Demands of a query on the tunnels that a packet came through.

use std::net::IpAddr;

use netrewind_index::Template;
use netrewind_packet::tunnel::{LayerKind, Tunnel, TunnelKind};
use serde::{Deserialize, Serialize};

use netrewind_filter::Verdict;

/// Demands on the tunnels of a packet, joined by AND with each other and with the filter. Each is met by any of the
/// packet's tunnels; a packet without tunnels meets none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TunnelDemands {
    /// The network identifier of VXLAN, VXLAN-GPE, Geneve or NVGRE (24 bits).
    pub vni: Option<u32>,
    /// GRE key (RFC 2890), or the EoIP tunnel id, which takes the key's place.
    pub gre_key: Option<u32>,
    /// The session of ERSPAN II or III (10 bits).
    pub erspan_session: Option<u32>,
    /// Source or destination of an IP header that carries a tunnel.
    pub peer: Option<IpAddr>,
}

/// One of the demands.
#[derive(Clone, Copy, Debug)]
enum TunnelDemand {
    VirtualNetwork(u32),
    Id(&'static [TunnelKind], u32),
    Peer(IpAddr),
}

impl TunnelDemand {
    /// True if a tunnel meets it; `None` if that is unknown.
    fn is_met_by(self, tunnel: &Tunnel) -> Option<bool> {
        match self {
            Self::VirtualNetwork(wanted) if tunnel.is_of_virtual_network() => {
                tunnel.virtual_network().map(|number| number == wanted)
            }
            Self::VirtualNetwork(_) => Some(false),
            Self::Id(kinds, wanted) if kinds.contains(&tunnel.kind) => tunnel.id.map(|id| id == wanted),
            Self::Id(..) => Some(false),
            Self::Peer(wanted) => {
                tunnel.outer.map(|(source, destination)| [source, destination].contains(&wanted))
            }
        }
    }
}

impl TunnelDemands {
    /// True if nothing is demanded.
    pub fn are_none(&self) -> bool {
        *self == Self::default()
    }

    fn each(&self) -> impl Iterator<Item = TunnelDemand> {
        use TunnelKind::{Eoip, Erspan2, Erspan3, Gre};
        let ids = [(&[Gre, Eoip] as &[_], self.gre_key), (&[Erspan2, Erspan3], self.erspan_session)];
        let ids = ids.into_iter().filter_map(|(kinds, id)| Some(TunnelDemand::Id(kinds, id?)));
        let network = self.vni.map(TunnelDemand::VirtualNetwork);
        network.into_iter().chain(ids).chain(self.peer.map(TunnelDemand::Peer))
    }

    /// True if the tunnels of a packet meet all of them.
    pub(crate) fn are_met<T: Iterator<Item = Tunnel>>(&self, tunnels: impl Fn() -> T) -> bool {
        self.each().all(|demand| tunnels().any(|tunnel| demand.is_met_by(&tunnel) == Some(true)))
    }

    /// Verdict on packets that came through these tunnels, if the tunnels are known.
    pub(crate) fn judge_known(&self, tunnels: &[Tunnel]) -> Verdict {
        let of_tunnel = |demand: TunnelDemand, tunnel: &Tunnel| {
            // Whether GRE is NVGRE is not known of a record.
            let met = [false, true].map(|is_nvgre| demand.is_met_by(&Tunnel { is_nvgre, ..*tunnel }));
            match (met, tunnel.kind) {
                ([Some(true), Some(true)], _) => Verdict::Always,
                ([Some(false), Some(false)], _) => Verdict::Never,
                ([Some(false), _], kind) if kind != TunnelKind::Gre => Verdict::Never,
                ([Some(true), _], kind) if kind != TunnelKind::Gre => Verdict::Always,
                _ if matches!(demand, TunnelDemand::Peer(_)) => Verdict::Never,
                _ => Verdict::Maybe,
            }
        };
        let verdicts =
            self.each().map(|demand| Verdict::any(tunnels.iter().map(|tunnel| of_tunnel(demand, tunnel))));
        verdicts.fold(Verdict::Always, Verdict::and)
    }

    /// Verdict on the packets of a template.
    pub(crate) fn judge(&self, template: &Template) -> Verdict {
        if self.are_none() {
            return Verdict::Always;
        }
        if template.is_opaque() {
            return Verdict::Maybe;
        }
        let tunnels: Vec<Tunnel> = template.tunnels().collect();
        let verdicts = self.each().map(|demand| {
            Verdict::any(tunnels.iter().map(|tunnel| match demand.is_met_by(tunnel) {
                Some(true) => Verdict::Always,
                Some(false) => Verdict::Never,
                None if matches!(demand, TunnelDemand::Peer(_)) && !is_in_ip(template, tunnel) => {
                    Verdict::Never
                }
                None => Verdict::Maybe, // it may be one that the template has forgotten
            }))
        });
        verdicts.fold(Verdict::Always, Verdict::and)
    }
}

/// True if the tunnel's header stands behind an IP header of its view.
fn is_in_ip(template: &Template, tunnel: &Tunnel) -> bool {
    template.layers.iter().any(|layer| {
        matches!(layer.kind, LayerKind::Ipv4 | LayerKind::Ipv6)
            && layer.view == tunnel.view
            && usize::from(layer.offset) <= tunnel.offset
    })
}
