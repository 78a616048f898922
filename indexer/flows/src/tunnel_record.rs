//! Tunnels of a conversation, as reported.

use std::borrow::Cow;
use std::net::IpAddr;

use netrewind_packet::tunnel::{LayerKind, Tunnel, TunnelKind};
use serde::{Deserialize, Serialize};

/// A tunnel that packets came through.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct TunnelRecord {
    /// `vxlan`, `gre`...
    pub kind: Cow<'static, str>,
    /// VNI, key, session, TEID or label, depending on the kind.
    pub id: Option<u32>,
    /// Source address of the IP header that carries it; absent if Ethernet carries it.
    #[cfg_attr(feature = "schema", schema(value_type = Option<String>))]
    pub source: Option<IpAddr>,
    /// Its destination.
    #[cfg_attr(feature = "schema", schema(value_type = Option<String>))]
    pub destination: Option<IpAddr>,
}

impl TunnelRecord {
    /// Record of a tunnel.
    pub fn of(tunnel: &Tunnel) -> Self {
        let (source, destination) = tunnel.outer.unzip();
        Self { kind: tunnel_name(tunnel.kind).into(), id: tunnel.id, source, destination }
    }

    /// The tunnel in a word: `vxlan:42:192.0.2.1>192.0.2.2`.
    pub fn in_short(&self) -> String {
        let id = self.id.map_or_else(String::new, |id| format!(":{id}"));
        match self.source.zip(self.destination) {
            Some((source, destination)) => format!("{}{id}:{source}>{destination}", self.kind),
            None => format!("{}{id}", self.kind),
        }
    }

    /// Tunnel according to the record: GRE may be NVGRE.
    pub fn tunnel(&self) -> Option<Tunnel> {
        let outer = self.source.zip(self.destination);
        Some(Tunnel { kind: self.kind_of()?, id: self.id, view: 0, offset: 0, outer, is_nvgre: false })
    }

    /// Kind that it names.
    pub fn kind_of(&self) -> Option<TunnelKind> {
        (0..=u8::MAX).filter_map(tunnel_kind).find(|&kind| tunnel_name(kind) == self.kind)
    }

    /// The same tunnel, the other way.
    pub fn reversed(&self) -> Self {
        Self { source: self.destination, destination: self.source, ..self.clone() }
    }
}

/// The kind of a tunnel by its number in indexes.
pub fn tunnel_kind(number: u8) -> Option<TunnelKind> {
    match LayerKind::from_number(number)? {
        LayerKind::Tunnel(kind) => Some(kind),
        _ => None,
    }
}

/// Name of a kind of tunnel in answers.
pub fn tunnel_name(kind: TunnelKind) -> &'static str {
    match kind {
        TunnelKind::Gre => "gre",
        TunnelKind::Pptp => "pptp",
        TunnelKind::Erspan1 => "erspan1",
        TunnelKind::Erspan2 => "erspan2",
        TunnelKind::Erspan3 => "erspan3",
        TunnelKind::Vxlan => "vxlan",
        TunnelKind::VxlanGpe => "vxlan-gpe",
        TunnelKind::Geneve => "geneve",
        TunnelKind::Nsh => "nsh",
        TunnelKind::GtpU => "gtp-u",
        TunnelKind::Mpls => "mpls",
        TunnelKind::PppoE => "pppoe",
        TunnelKind::IpInIp => "ip-in-ip",
        TunnelKind::Teredo => "teredo",
        TunnelKind::L2tp2 => "l2tpv2",
        TunnelKind::L2tp3 => "l2tpv3",
        TunnelKind::EtherIp => "etherip",
        TunnelKind::Wccp => "wccp",
        TunnelKind::Eoip => "eoip",
        TunnelKind::Tzsp => "tzsp",
    }
}
