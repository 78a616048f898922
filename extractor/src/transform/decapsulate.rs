//! Packets without the tunnels that they came through.

use netrewind_packet::tunnel::TunnelPorts;
use netrewind_packet::{INNER_LINK_TYPES, Peeler, ViewBytes};
use netrewind_store::RecordHeader;

use crate::answer::{Interface, InterfaceAccount};
use crate::sink::AnswerPacket;

/// Puts the innermost view of a packet in its place.
#[derive(Debug)]
pub(crate) struct Decapsulator {
    peeler: Peeler,
    inner_interfaces: InnerInterfaces,
}

/// For each interface, the numbers of those that its inner packets come from, by [`INNER_LINK_TYPES`].
pub(crate) type InnerInterfaces = Vec<[u32; INNER_LINK_TYPES.len()]>;

impl Decapsulator {
    pub(crate) fn new(ports: &TunnelPorts, inner_interfaces: InnerInterfaces) -> Self {
        Self { peeler: Peeler::new(ports), inner_interfaces }
    }

    /// More interfaces have become known.
    pub(crate) fn know_interfaces(&mut self, inner_interfaces: InnerInterfaces) {
        self.inner_interfaces = inner_interfaces;
    }

    /// A packet without tunnels stays as it is.
    pub(crate) fn decapsulate<'p>(&mut self, stored: AnswerPacket<'p>) -> AnswerPacket<'p> {
        let AnswerPacket { header, bytes, link_type, interface, .. } = stored;
        let peeled = self.peeler.take_apart(ViewBytes { link_type, bytes, len: header.len });
        let Some(inner) = peeled.inner() else { return stored };
        let place = INNER_LINK_TYPES.iter().position(|&link_type| link_type == inner.link_type);
        let interfaces = self.inner_interfaces.get(interface as usize);
        AnswerPacket {
            // An inner packet is no longer than the one that it came in.
            header: RecordHeader {
                caplen: u32::try_from(inner.bytes.len()).unwrap_or(header.caplen),
                len: inner.len,
                ..header
            },
            bytes: inner.bytes,
            link_type: inner.link_type,
            interface: interfaces.zip(place).map_or(interface, |(interfaces, place)| interfaces[place]),
            ..stored
        }
    }
}

/// Adds to `interfaces` those that inner packets come from: of the same name, with the link types that they can have.
pub(crate) fn add_inner_interfaces(
    interfaces: &mut Vec<Interface>,
    accounts: &mut Vec<InterfaceAccount>,
) -> InnerInterfaces {
    let outer: Vec<_> = interfaces.iter().cloned().zip(accounts.iter().copied()).collect();
    let mut number_of = |interface: Interface, account: InterfaceAccount| {
        let known = interfaces.iter().position(|known| *known == interface);
        let number = known.unwrap_or_else(|| {
            interfaces.push(interface);
            accounts.push(account);
            interfaces.len() - 1
        });
        u32::try_from(number).unwrap_or(u32::MAX)
    };
    let inner = |(interface, account): (Interface, InterfaceAccount)| {
        INNER_LINK_TYPES.map(|link_type| number_of(Interface { link_type, ..interface.clone() }, account))
    };
    outer.into_iter().map(inner).collect()
}

#[cfg(test)]
mod tests {
    use netrewind_store::LinkType;

    use super::*;

    #[test]
    fn inner_packets_come_from_interfaces_of_the_same_name() {
        let interface =
            |name: &str, link_type| Interface { name: name.to_owned(), description: None, link_type };
        let mut interfaces = vec![interface("a", LinkType::ETHERNET), interface("a", LinkType::LINUX_SLL)];
        let mut accounts = vec![InterfaceAccount { received: Some(5), ..Default::default() }; 2];
        let inner = add_inner_interfaces(&mut interfaces, &mut accounts);
        assert_eq!(inner, [[0, 2], [0, 2]]);
        assert_eq!(interfaces[2], interface("a", LinkType::RAW));
        assert_eq!((accounts.len(), accounts[2].received), (3, Some(5)));
    }
}
