//! Judging of whole hours: which of their segments can have packets in the answer, by the index of the hour alone.
//!
//! **Invariant:** a segment that is left out has no packet that the filters accept, whatever its time: each of its templates is
//! judged *never*, or none of its flows can meet any of the alternatives that the filter demands of the template.

use std::collections::HashMap;
use std::sync::Arc;

use netrewind_filter::Verdict;
use netrewind_index::{HourIndex, HourKey, IndexError, KeyConstraint, KeyField, SegmentSet, Template};
use netrewind_packet::TransportKey;
use netrewind_store::Map;
use netrewind_store::catalog::Hour;

use super::judge::{Alternatives, Judgements};
use super::query_filter::{LinkTypeVerdict, QueryFilter};
use crate::store::segment::Segment;

/// Templates that share alternatives, and the segments that have one of them.
struct Group {
    alternatives: Arc<Alternatives>,
    is_ipv6: bool,
    has_ports: bool,
    segments: SegmentSet,
}

/// Judges hours for one query.
pub(crate) struct HourJudge<'q> {
    filters: &'q QueryFilter,
    is_wanted: &'q dyn Fn(&Template) -> bool,
    judgements: Judgements,
    /// Segments that can have packets; `None` where the hour's index turned out to be damaged.
    hours: HashMap<Hour, Option<SegmentSet>>,
}

impl<'q> HourJudge<'q> {
    /// For packets that the filters accept.
    pub(crate) fn new(filters: &'q QueryFilter) -> Self {
        Self::of_templates(filters, &|_| true)
    }

    /// For those of certain templates.
    pub(crate) fn of_templates(filters: &'q QueryFilter, is_wanted: &'q dyn Fn(&Template) -> bool) -> Self {
        Self { filters, is_wanted, judgements: Judgements::default(), hours: HashMap::new() }
    }

    /// True if the segment may have packets in the answer. If its hour does not know it, it may.
    pub(crate) fn may_have_packets(&mut self, segment: &Segment) -> bool {
        let Some(place) = &segment.hour else { return true };
        match self.filters.link_type_verdict(segment.link_type) {
            LinkTypeVerdict::Nothing => return false,
            LinkTypeVerdict::Everything => return true,
            LinkTypeVerdict::Depends => {}
        }
        let (index, judgements) = (&place.hour.index, &mut self.judgements);
        let (filters, is_wanted) = (self.filters, self.is_wanted);
        let possible = self.hours.entry(index.hour()).or_insert_with(|| {
            let possible = possible_segments(index, judgements, filters, is_wanted).ok();
            possible.filter(|_| !index.bytes().has_lost())
        });
        possible.as_ref().is_none_or(|possible| possible.contains(place.number))
    }
}

/// The segments of an hour that can have packets of wanted templates which the filters accept.
fn possible_segments(
    index: &HourIndex<Map>,
    judgements: &mut Judgements,
    filters: &QueryFilter,
    is_wanted: &dyn Fn(&Template) -> bool,
) -> Result<SegmentSet, IndexError> {
    let mut possible = index.none();
    let mut groups: Vec<Group> = Vec::new();
    for (number, template) in index.templates()?.iter().enumerate() {
        let judged = judgements.of(template, filters);
        if judged.looked_at == Verdict::Never || !is_wanted(template) {
            continue;
        }
        let segments = index.with_template(number)?;
        let alternatives = match (judged.looked_at, &judged.alternatives) {
            (Verdict::Maybe, Some(alternatives)) => alternatives,
            _ => {
                possible.add(&segments);
                continue;
            }
        };
        let has_ports = template.transport_key() == TransportKey::Ports;
        let is_same = |group: &&mut Group| {
            Arc::ptr_eq(&group.alternatives, alternatives)
                && (group.is_ipv6, group.has_ports) == (judged.is_ipv6, has_ports)
        };
        match groups.iter_mut().find(is_same) {
            Some(group) => group.segments.add(&segments),
            None => groups.push(Group {
                alternatives: Arc::clone(alternatives),
                is_ipv6: judged.is_ipv6,
                has_ports,
                segments,
            }),
        }
    }
    let mut looked_up = HashMap::new();
    for group in groups {
        let mut of_group = group.meeting_any(index, &mut looked_up)?;
        of_group.keep(&group.segments);
        possible.add(&of_group);
    }
    Ok(possible)
}

/// Results of looking up the constraints of an hour.
type LookedUp = HashMap<(HourKey, KeyConstraint), SegmentSet>;

impl Group {
    /// The segments whose flows may meet one of the alternatives.
    fn meeting_any(
        &self,
        index: &HourIndex<Map>,
        looked_up: &mut LookedUp,
    ) -> Result<SegmentSet, IndexError> {
        let mut found = index.none();
        for alternative in self.alternatives.iter() {
            let mut meeting = index.all();
            for term in alternative {
                let Some(key) = self.key_of(term.field) else { continue };
                let known = match looked_up.get(&(key, term.clone())) {
                    Some(known) => known,
                    None => {
                        let with_value = index.with_value(key, &term.constraint)?;
                        looked_up.entry((key, term.clone())).or_insert(with_value)
                    }
                };
                meeting.keep(known);
            }
            found.add(&meeting);
            if found.is_all() {
                break;
            }
        }
        Ok(found)
    }

    /// Kind of the values of a field, if the hour lists them.
    fn key_of(&self, field: KeyField) -> Option<HourKey> {
        match field {
            KeyField::SourceAddress | KeyField::DestinationAddress if self.is_ipv6 => {
                Some(HourKey::AddressV6)
            }
            KeyField::SourceAddress | KeyField::DestinationAddress => Some(HourKey::AddressV4),
            // Type and code of ICMP are no ports.
            KeyField::SourcePort | KeyField::DestinationPort => self.has_ports.then_some(HourKey::Port),
        }
    }
}
