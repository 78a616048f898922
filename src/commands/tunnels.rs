//! Which tunnels the packets of a query come through, as arguments.

use std::net::IpAddr;

use netrewind_extractor::TunnelDemands;

use crate::arguments;

/// Demands on tunnels.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Tunnels (joined to the filter by AND; numbers as 42 or 0x2a)")]
pub struct TunnelArguments {
    /// Packets in VXLAN, VXLAN-GPE or Geneve with this network identifier
    #[arg(long, value_name = "N", value_parser = number::<24>)]
    vni: Option<u32>,
    /// Packets in GRE with this key
    #[arg(long, value_name = "N", value_parser = number::<32>)]
    gre_key: Option<u32>,
    /// Packets in ERSPAN of this session
    #[arg(long, value_name = "N", value_parser = number::<10>)]
    erspan_session: Option<u32>,
    /// Packets in a tunnel from or to this IPv4 or IPv6 address
    #[arg(long, value_name = "ADDRESS")]
    tunnel_peer: Option<IpAddr>,
}

fn number<const BITS: u32>(text: &str) -> Result<u32, String> {
    arguments::number(text, BITS)
}

impl From<&TunnelArguments> for TunnelDemands {
    fn from(arguments: &TunnelArguments) -> Self {
        Self {
            vni: arguments.vni,
            gre_key: arguments.gre_key,
            erspan_session: arguments.erspan_session,
            peer: arguments.tunnel_peer,
        }
    }
}
