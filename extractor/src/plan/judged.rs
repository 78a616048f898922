//! Templates and flows as the filter sees them: abstract packets of the selected view.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use netrewind_indexer::{self as indexer, Description, Flow, Shape, Template, TransportKey};
use netrewind_segment::layout::CAPLEN_MAX;

use crate::filter::{AbstractPacket, Conjunction, Demand, KeyField, Term, Terms, Verdict};
use crate::filters::{Choice, Filters};
use crate::views::{TemplateView, template_view};

/// Templates of which the judgement is remembered from segment to segment.
const REMEMBERED_TEMPLATES_MAX: usize = 1 << 14;

/// Bytes of a network header that a template's shape says were captured: IPv4 (RFC 791) and IPv6 (RFC 8200).
const IPV4_HEADER_BYTES: usize = 20;
const IPV6_HEADER_BYTES: usize = 40;

/// A template under a filter.
#[derive(Clone, Debug)]
pub(crate) struct Judged {
    /// What the filter says of all its packets.
    pub(crate) verdict: Verdict,
    /// What it demands of their key, where that is little enough to be looked up; nothing where it may be any.
    pub(crate) terms: Option<Vec<indexer::Term>>,
    /// Whether addresses are of IPv6.
    pub(crate) is_ipv6: bool,
    /// The link type of the view that is judged, and the view, where all packets have the same.
    view: Option<TemplateView>,
    packet: AbstractPacket,
    tcp_flags: Option<usize>,
}

impl Judged {
    pub(crate) fn new(template: &Template, filters: &Filters) -> Self {
        let mut description = Description::default();
        template.describe_any(&mut description);
        let view = template_view(filters.selection(), template, &description);
        let mut judged = Self {
            verdict: Verdict::Maybe,
            terms: None,
            is_ipv6: matches!(template.shape, Shape::Ipv6 { .. }),
            view,
            packet: AbstractPacket::new(),
            tcp_flags: None,
        };
        if let Some(view) = view {
            fill(&mut judged.packet, template, &description, &view);
            judged.tcp_flags = template.tcp_flags_offset().and_then(|offset| view.place(offset));
            judged.conclude(filters.choice(view.link_type));
        }
        judged
    }

    fn conclude(&mut self, choice: &Choice) {
        match choice {
            Choice::Everything => self.verdict = Verdict::Always,
            Choice::Nothing => self.verdict = Verdict::Never,
            Choice::Program(program) => {
                self.verdict = program.judge(&self.packet);
                if self.verdict == Verdict::Maybe {
                    match program.terms(&self.packet) {
                        Terms::Unconstrained => {}
                        Terms::AnyOf(none) if none.is_empty() => self.verdict = Verdict::Never,
                        Terms::AnyOf(some) => self.terms = most_selective(&some),
                    }
                }
            }
        }
    }

    /// What the filter says of all packets of a flow of this template. `scratch` is this template's abstract packet.
    pub(crate) fn judge(&self, flow: &Flow, filters: &Filters, scratch: &mut AbstractPacket) -> Verdict {
        let Some(view) = self.view.filter(|_| self.verdict == Verdict::Maybe) else { return self.verdict };
        let Choice::Program(program) = filters.choice(view.link_type) else { return self.verdict };
        set_address(scratch, KeyField::SourceAddress, flow.source);
        set_address(scratch, KeyField::DestinationAddress, flow.destination);
        scratch.set_key(KeyField::SourcePort, &flow.source_port.to_be_bytes());
        scratch.set_key(KeyField::DestinationPort, &flow.destination_port.to_be_bytes());
        scratch.set_wire_len(view.length(*flow.len.start())..=view.length(*flow.len.end()));
        scratch.set_captured_len(view.length(*flow.caplen.start())..=view.length(*flow.caplen.end()));
        match (self.tcp_flags, flow.tcp_flags) {
            (Some(offset), Some(flags)) => {
                scratch.describe(offset, &[flags.all], &[!(flags.all ^ flags.any)])
            }
            (Some(offset), None) => scratch.forget(offset, 1),
            _ => {}
        }
        program.judge(scratch)
    }

    /// An abstract packet for [`Self::judge`].
    pub(crate) fn scratch(&self) -> AbstractPacket {
        self.packet.clone()
    }
}

/// Describes all packets of a template as its view shows them.
fn fill(packet: &mut AbstractPacket, template: &Template, description: &Description, view: &TemplateView) {
    let cut = view.offset + view.cut_at;
    for (place, bytes) in [(0, view.offset..cut), (view.cut_at, cut + view.cut_bytes..usize::MAX)] {
        let bytes = bytes.start.min(description.bytes.len())..bytes.end.min(description.bytes.len());
        packet.describe(place, &description.bytes[bytes.clone()], &description.known[bytes]);
    }
    let mut captured = template.prefix.len()
        + match template.shape {
            Shape::None => 0,
            Shape::Ipv4 { .. } => IPV4_HEADER_BYTES,
            Shape::Ipv6 { .. } => IPV6_HEADER_BYTES,
        };
    for (theirs, ours) in indexer::KeyField::ALL.into_iter().zip(KeyField::ALL) {
        let Some(range) = template.field(theirs) else { continue };
        captured = captured.max(range.end);
        let place = view.place(range.start).and_then(|place| u32::try_from(place).ok());
        let bytes = u8::try_from(range.len()).ok();
        if let (Some(place), Some(bytes)) = (place, bytes) {
            packet.place(ours, place, bytes);
        }
    }
    debug_assert!(template.transport_key() == TransportKey::None || captured > template.prefix.len());
    packet.set_captured_len(view.length(u32::try_from(captured).unwrap_or(0))..=CAPLEN_MAX);
}

fn set_address(packet: &mut AbstractPacket, field: KeyField, address: Option<IpAddr>) {
    match address {
        Some(IpAddr::V4(address)) => packet.set_key(field, &address.octets()),
        Some(IpAddr::V6(address)) => packet.set_key(field, &address.octets()),
        None => {}
    }
}

/// One term of each conjunction: the flows that satisfy any of them are all that can matter, and each is judged whole.
/// None where one of them demands nothing.
fn most_selective(conjunctions: &[Conjunction]) -> Option<Vec<indexer::Term>> {
    let best = |terms: &Conjunction| terms.iter().copied().max_by_key(|term| selectivity(&term.demand));
    let mut terms: Vec<Term> = conjunctions.iter().map(best).collect::<Option<_>>()?;
    terms.sort_unstable();
    terms.dedup();
    Some(terms.iter().map(index_term).collect())
}

/// How many bits a demand pins down.
fn selectivity(demand: &Demand) -> u32 {
    match demand {
        Demand::Bits { mask, .. } => mask.count_ones(),
        Demand::Range { low, high } => u16::BITS - (u32::from(high.saturating_sub(*low)) + 1).ilog2(),
    }
}

fn index_term(term: &Term) -> indexer::Term {
    let field = match term.field {
        KeyField::SourceAddress => indexer::KeyField::SourceAddress,
        KeyField::DestinationAddress => indexer::KeyField::DestinationAddress,
        KeyField::SourcePort => indexer::KeyField::SourcePort,
        KeyField::DestinationPort => indexer::KeyField::DestinationPort,
    };
    let constraint = match term.demand {
        Demand::Bits { mask, value, .. } => indexer::Constraint::Masked { mask, value },
        Demand::Range { low, high } => indexer::Constraint::Range(low.into()..=high.into()),
    };
    indexer::Term { field, constraint }
}

/// Judgements by template: the same templates come back in every segment.
#[derive(Debug, Default)]
pub(crate) struct Judgements(HashMap<Template, Arc<Judged>>);

impl Judgements {
    pub(crate) fn of(&mut self, template: &Template, filters: &Filters) -> Arc<Judged> {
        if let Some(judged) = self.0.get(template) {
            return Arc::clone(judged);
        }
        if self.0.len() >= REMEMBERED_TEMPLATES_MAX {
            self.0.clear();
        }
        let judged = Arc::new(Judged::new(template, filters));
        self.0.insert(template.clone(), Arc::clone(&judged));
        judged
    }
}
