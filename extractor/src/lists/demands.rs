//! Lists as demands of a query: judged on packets, on flows, and on templates.

use std::net::IpAddr;

use netrewind_filter::Verdict;
use netrewind_index::{Constraint, Flow, KeyConstraint, KeyField, Template};
use netrewind_packet::{Peeled, Shape, TransportKey};
use serde::{Deserialize, Serialize};

use super::addresses::AddressList;
use super::ports::PortList;
use super::room::ListRoom;
use crate::view_mode::ViewMode;

/// Lists that a packet has to be in, joined by AND with each other and with the filter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ListDemands {
    /// Source or destination address of an IP header: of the innermost packet, of the packet as received, or of any of its
    /// views, as the query's view says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hosts: Option<AddressList>,
    /// Source or destination port of the innermost packet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ports: Option<PortList>,
    /// Memory that a service has given them.
    #[serde(skip)]
    pub room: Option<ListRoom>,
}

impl ListDemands {
    /// True if nothing is demanded.
    pub fn are_none(&self) -> bool {
        self.hosts.is_none() && self.ports.is_none()
    }

    /// Memory that they take, in bytes.
    pub fn memory_bytes(&self) -> u64 {
        let hosts = self.hosts.as_ref().map_or(0, AddressList::memory_bytes);
        hosts.saturating_add(self.ports.as_ref().map_or(0, PortList::memory_bytes))
    }

    /// True if a packet is in the lists.
    pub(crate) fn are_met(&self, view: ViewMode, peeled: Peeled<'_, '_>) -> bool {
        let hosts = self.hosts.as_ref().is_none_or(|hosts| listed(hosts, view, peeled).next().is_some());
        hosts
            && self.ports.as_ref().is_none_or(|ports| {
                peeled.ports().is_some_and(|(one, other)| ports.contains(one) || ports.contains(other))
            })
    }

    /// Verdict on the packets of a template.
    pub(crate) fn judge(&self, view: ViewMode, template: &Template) -> Verdict {
        let of_hosts = match (&self.hosts, template.shape) {
            (None, _) => Verdict::Always,
            _ if template.is_opaque() || !decides(view, template) => Verdict::Maybe,
            (Some(_), Shape::None) => Verdict::Never,
            (Some(hosts), Shape::Ipv4 { .. }) if hosts.v4().is_empty() => Verdict::Never,
            (Some(hosts), Shape::Ipv6 { .. }) if hosts.v6().is_empty() => Verdict::Never,
            (Some(_), _) => Verdict::Maybe,
        };
        of_hosts.and(match (&self.ports, template.transport_key()) {
            (None, _) => Verdict::Always,
            _ if template.is_opaque() => Verdict::Maybe,
            (Some(_), TransportKey::Ports) => Verdict::Maybe,
            (Some(_), TransportKey::None | TransportKey::TypeAndCode) => Verdict::Never,
        })
    }

    /// Verdict on the packets of a flow of a template, of which [`Self::judge`] says maybe.
    pub(crate) fn judge_flow(&self, view: ViewMode, template: &Template, flow: &Flow) -> Verdict {
        let verdict = |is_listed: bool| if is_listed { Verdict::Always } else { Verdict::Never };
        if template.is_opaque() {
            return self.judge(view, template);
        }
        let of_hosts = match &self.hosts {
            None => Verdict::Always,
            Some(_) if !decides(view, template) => Verdict::Maybe,
            Some(hosts) => {
                let ends = [flow.source, flow.destination].into_iter().flatten();
                verdict(ends.into_iter().any(|address| hosts.contains(address)))
            }
        };
        of_hosts.and(match &self.ports {
            None => Verdict::Always,
            Some(ports) => verdict(
                template.transport_key() == TransportKey::Ports
                    && (ports.contains(flow.source_port) || ports.contains(flow.destination_port)),
            ),
        })
    }

    /// What the key of a flow of a template has to meet one of, for its packets to be in one of the lists: in the one that leaves
    /// fewest. `None` if any key may.
    pub(crate) fn key_constraints(&self, view: ViewMode, template: &Template) -> Option<Vec<KeyConstraint>> {
        let of = |fields: [KeyField; 2], constraint: Constraint| {
            fields.map(|field| KeyConstraint { field, constraint: constraint.clone() }).to_vec()
        };
        let hosts = self.hosts.as_ref().filter(|_| decides(view, template) && !template.is_opaque());
        match (hosts, &self.ports, template.shape) {
            (Some(hosts), _, Shape::Ipv4 { .. }) => Some(of(
                [KeyField::SourceAddress, KeyField::DestinationAddress],
                Constraint::AnyOf(hosts.v4().clone()),
            )),
            (Some(hosts), _, Shape::Ipv6 { .. }) => Some(of(
                [KeyField::SourceAddress, KeyField::DestinationAddress],
                Constraint::AnyOf(hosts.v6().clone()),
            )),
            (_, Some(ports), _) if template.transport_key() == TransportKey::Ports => Some(of(
                [KeyField::SourcePort, KeyField::DestinationPort],
                Constraint::AnyOf(ports.values().clone()),
            )),
            _ => None,
        }
    }
}

/// The addresses of a packet that are in the list: of one view after the other, the source first.
pub(super) fn listed<'l>(
    hosts: &'l AddressList,
    view: ViewMode,
    peeled: Peeled<'l, 'l>,
) -> impl Iterator<Item = IpAddr> + use<'l> {
    let ends = peeled
        .addresses(view.numbers(peeled.view_count()))
        .flat_map(|(source, destination)| [source, destination]);
    ends.filter(|address| hosts.contains(*address))
}

/// True if the addresses of a flow's key are all that the view shows.
fn decides(view: ViewMode, template: &Template) -> bool {
    view == ViewMode::Inner || template.views.len() == 1
}
