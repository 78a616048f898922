//! Arguments for tunnels: those that the packets of a query come through, and a store's tunnel ports.

use std::net::IpAddr;

use netrewind_extractor::TunnelDemands;
use netrewind_packet::tunnel::{PortChange, TunnelPorts};

use crate::arguments;
use crate::outcome::Failure;
use crate::terminal;
use crate::writable_store::WritableStore;

/// Conditions on tunnels.
#[derive(Debug, clap::Args)]
pub struct TunnelArguments {
    /// Packets in VXLAN, VXLAN-GPE, Geneve or NVGRE with this network identifier
    #[arg(long, value_name = "N", value_parser = number::<24>)]
    vni: Option<u32>,
    /// Packets in GRE with this key, or in EoIP with this tunnel id
    #[arg(long, value_name = "N", value_parser = number::<32>)]
    gre_key: Option<u32>,
    /// Packets in ERSPAN of this session
    #[arg(long, value_name = "N", value_parser = number::<10>)]
    erspan_session: Option<u32>,
    /// Packets in a tunnel from or to this IPv4 or IPv6 address
    #[arg(long, value_name = "ADDRESS", value_parser = arguments::address)]
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

/// Value that restores the usual ports.
const USUAL: &str = "default";

/// UDP ports that are decoded as tunnels in a store.
#[derive(Debug, clap::Args)]
pub struct PortArguments {
    /// A UDP port to decode as a tunnel in this store from now on, as vxlan=5555 (or vxlan-gpe, geneve, gtp-u, mpls, teredo,
    /// l2tp, tzsp); none=8472: no tunnel; default: only the usual ports; may be given several times
    #[arg(long, value_name = "TUNNEL=PORT", value_parser = port_change)]
    tunnel_port: Vec<String>,
}

fn port_change(text: &str) -> Result<String, String> {
    if text == USUAL {
        Ok(text.to_owned())
    } else {
        text.parse().map(|change: PortChange| change.to_string())
    }
}

impl PortArguments {
    /// Stores the ports, if any are given.
    pub fn apply(&self, writing: &mut WritableStore) -> Result<(), Failure> {
        if self.tunnel_port.is_empty() {
            return Ok(());
        }
        let mut changes: Vec<String> =
            self.tunnel_port.iter().filter(|text| *text != USUAL).cloned().collect();
        changes.sort_unstable();
        changes.dedup();
        TunnelPorts::written(&changes).map_err(|error| Failure::usage(format!("--tunnel-port: {error}")))?;
        if writing.store.identity().tunnel_ports != changes {
            writing.lock.set_tunnel_ports(&mut writing.store, changes)?;
            if writing.has_indexes {
                terminal::say(
                    "the tunnel ports have changed: run netrewind index to rebuild the existing indexes",
                );
            }
        }
        Ok(())
    }
}
