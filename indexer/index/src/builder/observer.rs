//! Follows streams and conversations, packet by packet, as far as their flows have ports of TCP or UDP.

use std::collections::HashMap;
use std::net::IpAddr;

use hashbrown::HashTable;
use netrewind_labels::{BYTES_MAX, DATAGRAMS_MAX, Transport};

use super::flow_table::{FlowState, FlowTable, Pending};
use super::keyed_hash::KeyedHash;
use super::labelling::Labelling;
use super::message::Payloads;
use super::stream::{TcpSegment, UNLINKED, WITHOUT, tcp};
use super::template_table::TemplateTable;
use crate::observations::Observation;
use netrewind_packet::Shape;
use netrewind_packet::tunnel::TunnelKind;

/// Conversations of which something is observed.
pub(crate) const CONVERSATIONS_MAX: usize = 1 << 20;
/// Largest delay of a segment that counts as out of order if the round trip is unknown; the same as tshark's.
const NEAR_NS: u64 = 3_000_000;

/// Properties shared by the flows of a conversation: protocol, tunnels, and the two ends, the lesser first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct ConversationKey {
    ends: [(u128, u16); 2],
    carrier: u32,
    transport: Transport,
    is_ipv6: bool,
}

/// A template's tunnels, as far as they are the same both ways.
type TunnelPath = Vec<(TunnelKind, Option<u32>, Option<(IpAddr, IpAddr)>)>;

/// Conversations observed so far.
#[derive(Clone, Debug)]
pub(super) struct Observer {
    pub(super) payloads: Payloads,
    labelling: Labelling,
    hasher: KeyedHash,
    /// Conversations with the hashes of their ends.
    numbers: HashTable<(u64, u32)>,
    /// Ends of conversations by their numbers.
    ends: Vec<ConversationKey>,
    carriers: HashMap<TunnelPath, u32>,
    /// The carriers of templates, as far as they were asked for.
    carrier_of: Vec<Option<u32>>,
}

impl Observer {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            payloads: Payloads::new(),
            labelling: Labelling::default(),
            hasher: KeyedHash::new(seed),
            numbers: HashTable::new(),
            ends: Vec::new(),
            carriers: HashMap::new(),
            carrier_of: Vec::new(),
        }
    }

    pub(super) fn reset(&mut self) {
        self.payloads.reset();
        self.labelling.reset();
        self.numbers.clear();
        self.ends.clear();
        self.carriers.clear();
        self.carrier_of.clear();
    }

    /// Takes a batch of packets whose flows have been found.
    #[inline]
    pub(super) fn take_batch(&mut self, batch: &[Pending], flows: &mut FlowTable, templates: &TemplateTable) {
        let is_full = flows.is_full();
        for packet in batch {
            let Some(transport) = packet.message.transport else { continue };
            // Packets beyond the limit of flows are not followed.
            if packet.without_key || is_full && flows.states[packet.flow as usize].key() != packet.key {
                continue;
            }
            match transport {
                Transport::Tcp => self.take_segment(packet, flows, templates),
                Transport::Udp if packet.message.payload > 0 => self.take_datagram(packet, flows, templates),
                Transport::Udp => {}
            }
        }
        self.payloads.forget_batch();
    }

    #[inline]
    fn take_segment(&mut self, packet: &Pending, flows: &mut FlowTable, templates: &TemplateTable) {
        let (message, flags) = (&packet.message, packet.flags_any);
        let mut stream = flows.stream(packet);
        if flags & tcp::SYN != 0 || stream.awaits_answer {
            self.take_handshake(packet, flows, templates);
            stream = flows.stream(packet);
        }
        if message.payload > 0 || flags & (tcp::SYN | tcp::FIN) != 0 {
            let segment = TcpSegment {
                sequence: message.sequence,
                payload: message.payload,
                flags,
                at: packet.timestamp,
            };
            let number = stream.conversation;
            stream.take(segment, || self.near_ns(number));
            if message.payload > 0 && !stream.is_labelled {
                self.label_segment(packet, flows, templates);
            }
        }
        if message.may_tell {
            self.payloads.unmark(packet.hash);
        }
    }

    /// Largest delay of a segment of this conversation that counts as out of order.
    fn near_ns(&self, conversation: u32) -> u64 {
        let known = self.labelling.conversations.get(conversation as usize);
        known.and_then(|known| known.round_trip_ns).filter(|&ns| ns > 0).unwrap_or(NEAR_NS)
    }

    /// Takes a segment with SYN, or the first one after it.
    #[cold]
    #[inline(never)]
    fn take_handshake(&mut self, packet: &Pending, flows: &mut FlowTable, templates: &TemplateTable) {
        let message = &packet.message;
        let stream = flows.stream(packet);
        match packet.flags_any & (tcp::SYN | tcp::ACK) {
            tcp::SYN => {
                stream.awaits_answer = true;
                stream.opens = true;
                stream.highest_at = packet.timestamp;
            }
            tcp::ACK => {
                stream.awaits_answer = false;
                let (sent_at, next) = (stream.highest_at, stream.next);
                let Some(number) = self.link(packet, flows, templates, false) else { return };
                let conversation = &mut self.labelling.conversations[number as usize];
                let is_answer = conversation.handshake == Some((next, message.acknowledged))
                    && message.sequence == next
                    && packet.flags_any & tcp::RST == 0;
                if is_answer && conversation.round_trip_ns.is_none() {
                    conversation.round_trip_ns = Some(packet.timestamp.saturating_sub(sent_at));
                }
            }
            0 => stream.awaits_answer = false,
            _ => {
                stream.awaits_answer = false;
                let Some(number) = self.link(packet, flows, templates, true) else { return };
                let conversation = &mut self.labelling.conversations[number as usize];
                conversation.handshake = Some((message.acknowledged, message.sequence.wrapping_add(1)));
            }
        }
    }

    /// Takes a segment with payload of a stream that may still have labels.
    #[inline]
    fn label_segment(&mut self, packet: &Pending, flows: &mut FlowTable, templates: &TemplateTable) {
        let (message, stream) = (&packet.message, flows.stream(packet));
        let syn = u32::from(packet.flags_any & tcp::SYN != 0);
        let offset = message.sequence.wrapping_add(syn).wrapping_sub(stream.base);
        match offset {
            0 if message.may_tell => self.push_segment(packet, 0, flows, templates),
            _ if stream.is_held && (offset as usize) < BYTES_MAX => {
                self.push_segment(packet, offset, flows, templates);
            }
            // The first bytes give no label, or these come far behind them.
            0 => stream.is_labelled = !stream.is_held,
            _ => {
                let is_far = (BYTES_MAX..1 << 31).contains(&(offset as usize));
                stream.is_labelled = !stream.is_held && is_far;
            }
        }
    }

    #[inline(never)]
    fn push_segment(
        &mut self,
        packet: &Pending,
        offset: u32,
        flows: &mut FlowTable,
        templates: &TemplateTable,
    ) {
        let number = self.link(packet, flows, templates, true);
        let stream = flows.stream(packet);
        let wants_more = number.is_some_and(|number| {
            let front = self.payloads.of(&packet.message);
            self.labelling.push(number, stream.is_lesser, offset, front)
        });
        stream.is_labelled = !wants_more;
        // The mark that these bytes left is removed with the packet.
        match (std::mem::replace(&mut stream.is_held, wants_more), wants_more) {
            (false, true) => self.payloads.mark(packet.hash),
            (true, false) => self.payloads.unmark(packet.hash),
            _ => {}
        }
    }

    #[inline]
    fn take_datagram(&mut self, packet: &Pending, flows: &mut FlowTable, templates: &TemplateTable) {
        let stream = flows.stream(packet);
        if stream.is_labelled {
            return;
        }
        stream.datagrams += 1;
        let is_last = stream.datagrams >= DATAGRAMS_MAX;
        if packet.message.may_tell {
            self.label_datagram(packet, flows, templates);
        }
        flows.stream(packet).is_labelled |= is_last;
    }

    #[inline(never)]
    fn label_datagram(&mut self, packet: &Pending, flows: &mut FlowTable, templates: &TemplateTable) {
        let number = self.link(packet, flows, templates, true);
        let stream = flows.stream(packet);
        stream.is_labelled = !number.is_some_and(|number| {
            self.labelling.push(number, stream.is_lesser, 0, self.payloads.of(&packet.message))
        });
    }

    /// The number of a packet's conversation; where it has none yet it gets one, if that is wanted and there is room.
    #[inline]
    fn link(
        &mut self,
        packet: &Pending,
        flows: &mut FlowTable,
        templates: &TemplateTable,
        wanted: bool,
    ) -> Option<u32> {
        match flows.stream(packet).conversation {
            UNLINKED => self.find(packet, flows, templates, wanted),
            WITHOUT => None,
            number => Some(number),
        }
    }

    #[inline(never)]
    fn find(
        &mut self,
        packet: &Pending,
        flows: &mut FlowTable,
        templates: &TemplateTable,
        wanted: bool,
    ) -> Option<u32> {
        let transport = packet.message.transport?;
        let key = &packet.key;
        let is_ipv6 = matches!(templates.shape(u32::from(key.template)), Shape::Ipv6 { .. });
        let [source, destination] = match is_ipv6 {
            true => *flows.pairs.get(key.source as usize)?,
            false => [u128::from(key.source), u128::from(key.destination)],
        };
        let mut ends = [(source, key.source_port), (destination, key.destination_port)];
        let is_lesser = ends[0] <= ends[1];
        if !is_lesser {
            ends.swap(0, 1);
        }
        let carrier = self.carrier(templates, key.template);
        let ends = ConversationKey { ends, carrier, transport, is_ipv6 };
        let hash = self.hash(&ends);
        let known = |&(known, number): &(u64, u32)| known == hash && self.ends[number as usize] == ends;
        let number = match self.numbers.find(hash, known) {
            Some(&(_, number)) => number,
            None if !wanted => return None,
            None if self.ends.len() >= CONVERSATIONS_MAX => WITHOUT,
            None => {
                let is_lesser_forward = is_forward(packet, flows.stream(packet).opens) == is_lesser;
                let [lesser, greater] = ends.ends.map(|(_, port)| port);
                let ports = if is_lesser_forward { [lesser, greater] } else { [greater, lesser] };
                let number = self.labelling.begin(transport, ports, is_lesser_forward);
                self.numbers.insert_unique(hash, (hash, number), |&(hash, _)| hash);
                self.ends.push(ends);
                number
            }
        };
        let stream = flows.stream(packet);
        (stream.conversation, stream.is_lesser) = (number, is_lesser);
        (number != WITHOUT).then_some(number)
    }

    #[inline]
    fn hash(&self, key: &ConversationKey) -> u64 {
        let [one, other] = key.ends;
        let addresses = self.hasher.of_addresses([one.0, other.0]);
        let ports = u64::from(one.1) << 16 | u64::from(other.1);
        let kinds = u64::from(key.carrier) << 2 | (key.transport as u64) << 1 | u64::from(key.is_ipv6);
        self.hasher.of_words(addresses, ports << 32 | kinds)
    }

    /// The number of a template's tunnels.
    fn carrier(&mut self, templates: &TemplateTable, template: u16) -> u32 {
        let place = usize::from(template);
        if let Some(&Some(carrier)) = self.carrier_of.get(place) {
            return carrier;
        }
        let carrier = self.find_carrier(templates, template);
        self.carrier_of.resize(self.carrier_of.len().max(place + 1), None);
        self.carrier_of[place] = Some(carrier);
        carrier
    }

    fn find_carrier(&mut self, templates: &TemplateTable, template: u16) -> u32 {
        let Some(template) = templates.get(u32::from(template)) else { return 0 };
        if template.layers.is_empty() {
            return 0;
        }
        let carrier: TunnelPath = template.tunnels().map(|tunnel| tunnel.both_ways()).collect();
        if carrier.is_empty() {
            return 0;
        }
        let next = self.carriers.len() as u32 + 1;
        *self.carriers.entry(carrier).or_insert(next)
    }

    /// Observations of flows in the order of the index, and the texts of labels.
    pub(super) fn finish(
        &mut self,
        flows: &FlowTable,
        order: impl Iterator<Item = u32>,
    ) -> (Vec<Observation>, Vec<&str>) {
        self.labelling.finish();
        let (texts, places) = self.labelling.texts();
        let mut is_told = vec![false; self.labelling.conversations.len()];
        let mut rows = Vec::new();
        for (flow, number) in (0..).zip(order) {
            let Some(FlowState { stream, .. }) = flows.states.get(number as usize) else { continue };
            let is_told_here = is_told.get_mut(stream.conversation as usize).filter(|is_told| !**is_told);
            if is_told_here.is_none() && (stream.retransmissions, stream.out_of_order) == (0, 0) {
                continue;
            }
            let mut row = Observation {
                flow,
                retransmissions: stream.retransmissions.into(),
                out_of_order: stream.out_of_order.into(),
                ..Observation::default()
            };
            if let Some(is_told) = is_told_here {
                *is_told = true;
                row.round_trip_ns = self.labelling.conversations[stream.conversation as usize].round_trip_ns;
                let labels = self.labelling.labels_of(stream.conversation).iter();
                row.labels = labels.map(|&(key, text)| (key, places[text as usize])).collect();
            }
            if row != (Observation { flow, ..Observation::default() }) {
                rows.push(row);
            }
        }
        (rows, texts)
    }
}

/// True if the sender of the first packet of a conversation is its client. `opens` is true if it has sent a SYN without ACK.
fn is_forward(packet: &Pending, opens: bool) -> bool {
    let Pending { key, message, flags_any, .. } = packet;
    let answers = flags_any & (tcp::SYN | tcp::ACK) == tcp::SYN | tcp::ACK;
    match message.transport {
        Some(Transport::Tcp) if answers => false,
        _ => opens || key.source_port >= key.destination_port,
    }
}
