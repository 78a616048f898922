//! Lists as demands of a query: judged on packets, on flows, and on templates.

use std::net::IpAddr;

use netrewind_filter::Verdict;
use netrewind_index::{Constraint, Flow, KeyConstraint, KeyField, Template, ValueSet};
use netrewind_packet::{Ends, Peeled, Shape, TransportKey};
use netrewind_store::Timestamp;
use serde::{Deserialize, Serialize};

use super::addresses::AddressList;
use super::events::EventList;
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
    /// Conversations of one of which the packet is, each with its range. A later fragment is in the list if the first one of
    /// its packet is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub events: Option<EventList>,
    /// Memory that a service has given them.
    #[serde(skip)]
    pub room: Option<ListRoom>,
}

impl ListDemands {
    /// True if nothing is demanded.
    pub fn are_none(&self) -> bool {
        self.hosts.is_none() && self.ports.is_none() && self.events.is_none()
    }

    /// Memory that they take, in bytes.
    pub fn memory_bytes(&self) -> u64 {
        let hosts = self.hosts.as_ref().map_or(0, AddressList::memory_bytes);
        let ports = self.ports.as_ref().map_or(0, PortList::memory_bytes);
        let events = self.events.as_ref().map_or(0, EventList::memory_bytes);
        hosts.saturating_add(ports).saturating_add(events)
    }

    /// True if a packet that was received at this time is in the lists.
    pub(crate) fn are_met(&self, view: ViewMode, peeled: Peeled<'_, '_>, at: Timestamp) -> bool {
        let hosts = self.hosts.as_ref().is_none_or(|hosts| listed(hosts, view, peeled).next().is_some());
        hosts
            && self.ports.as_ref().is_none_or(|ports| {
                peeled.ports().is_some_and(|(one, other)| ports.contains(one) || ports.contains(other))
            })
            && self.events.as_ref().is_none_or(|events| {
                peeled.ends(view.numbers(peeled.view_count())).any(|ends| events.contains(&ends, at))
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
        let of_ports = match (&self.ports, template.transport_key()) {
            (None, _) => Verdict::Always,
            _ if template.is_opaque() => Verdict::Maybe,
            (Some(_), TransportKey::Ports) => Verdict::Maybe,
            (Some(_), TransportKey::None | TransportKey::TypeAndCode) => Verdict::Never,
        };
        of_hosts.and(of_ports).and(match (&self.events, template.shape) {
            (None, _) => Verdict::Always,
            _ if template.is_opaque() || !decides(view, template) => Verdict::Maybe,
            (Some(_), Shape::None) => Verdict::Never,
            (Some(events), Shape::Ipv4 { .. }) if events.v4().is_empty() => Verdict::Never,
            (Some(events), Shape::Ipv6 { .. }) if events.v6().is_empty() => Verdict::Never,
            (Some(_), _) => Verdict::Maybe,
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
        let of_ports = match &self.ports {
            None => Verdict::Always,
            Some(ports) => verdict(
                template.transport_key() == TransportKey::Ports
                    && (ports.contains(flow.source_port) || ports.contains(flow.destination_port)),
            ),
        };
        of_hosts.and(of_ports).and(match (&self.events, ends_of(template, flow)) {
            (None, _) => Verdict::Always,
            (Some(_), _) if !decides(view, template) => Verdict::Maybe,
            (Some(events), Some(ends)) => events.judge(&ends, flow.first, flow.last),
            (Some(_), None) => Verdict::Never,
        })
    }

    /// What the key of a flow of a template has to meet, for its packets to be in one of the lists: in the one that leaves fewest.
    /// `None` if any key may.
    pub(crate) fn key_constraints(&self, view: ViewMode, template: &Template) -> Option<ListConstraints> {
        let fields = |fields: [KeyField; 2], constraint: Constraint| {
            fields.map(|field| KeyConstraint { field, constraint: constraint.clone() })
        };
        let addresses = |set: &ValueSet| {
            fields([KeyField::SourceAddress, KeyField::DestinationAddress], Constraint::AnyOf(set.clone()))
        };
        let events = self.events.as_ref().filter(|_| decides(view, template) && !template.is_opaque());
        match (events, template.shape) {
            (Some(events), Shape::Ipv4 { .. }) => return Some(ListConstraints::Both(addresses(events.v4()))),
            (Some(events), Shape::Ipv6 { .. }) => return Some(ListConstraints::Both(addresses(events.v6()))),
            _ => {}
        }
        let hosts = self.hosts.as_ref().filter(|_| decides(view, template) && !template.is_opaque());
        match (hosts, &self.ports, template.shape) {
            (Some(hosts), _, Shape::Ipv4 { .. }) => Some(ListConstraints::Either(addresses(hosts.v4()))),
            (Some(hosts), _, Shape::Ipv6 { .. }) => Some(ListConstraints::Either(addresses(hosts.v6()))),
            (_, Some(ports), _) if template.transport_key() == TransportKey::Ports => {
                Some(ListConstraints::Either(fields(
                    [KeyField::SourcePort, KeyField::DestinationPort],
                    Constraint::AnyOf(ports.values().clone()),
                )))
            }
            _ => None,
        }
    }
}

/// Requirements on two fields of a key.
#[derive(Clone, Debug)]
pub(crate) enum ListConstraints {
    /// One of them meets its own.
    Either([KeyConstraint; 2]),
    /// Both addresses meet theirs.
    Both([KeyConstraint; 2]),
}

/// The ends of a flow's packets, where its template tells them.
fn ends_of(template: &Template, flow: &Flow) -> Option<Ends> {
    let ports = (flow.source_port, flow.destination_port);
    Some(Ends {
        addresses: (flow.source?, flow.destination?),
        protocol: template.protocol()?,
        ports: (template.transport_key() == TransportKey::Ports).then_some(ports),
    })
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
