//! Interfaces of packets: the segments that an answer takes, and the names of their interfaces.

use netrewind_store::SegmentName;
use netrewind_store::time::Span;

use super::Prepared;
use crate::ExtractError;
use crate::answer::Interface;
use crate::answer::completeness::Unreadable;
use crate::history::origin::Origin;
use crate::history::timeline::RecordingTimeline;
use crate::query::Query;

/// Reason reported for a segment whose interface is not known.
const UNDECIDED: &str = "the logbook does not tell which interface its packets come from, so they are left out: ask \
                         without an interface to have them";

/// Report about a segment of unknown interface when interfaces were chosen.
pub(super) fn undecided(segment: SegmentName) -> Unreadable {
    Unreadable { segment, offset: 0, reason: UNDECIDED.to_owned() }
}

impl Prepared {
    /// Removes the segments that come from no chosen interface. Segments of unknown interface are removed, too, and the answer
    /// says so.
    pub(super) fn choose_interfaces(
        &mut self,
        query: &Query,
        timeline: &mut RecordingTimeline<'_>,
        range: Span,
    ) -> Result<(), ExtractError> {
        let chosen = &query.interfaces;
        if chosen.is_empty() {
            return Ok(());
        }
        let snapshot = &mut self.snapshot;
        let origins: Vec<_> =
            snapshot.segments.iter().map(|segment| timeline.origin_of(&segment.name)).collect();
        let is_decided = origins.iter().all(Option::is_some);
        // Who may not know of all packets does not learn either which interfaces there are.
        if is_decided && !query.is_restricted() {
            let in_range = origins.iter().flatten().map(|origin| origin.interface.clone());
            timeline.check_names(chosen, in_range, range)?;
        }
        for segment in &snapshot.segments {
            if timeline.origin_of(&segment.name).is_none() {
                self.completeness.add_unreadable(undecided(segment.name));
            }
        }
        let is_other =
            |name: &SegmentName| !timeline.origin_of(name).is_some_and(|origin| origin.is_of(chosen));
        let others: Vec<_> = snapshot.segments.extract_if(.., |segment| is_other(&segment.name)).collect();
        let beside: Vec<_> = snapshot.beside.extract_if(.., |segment| is_other(&segment.name)).collect();
        snapshot.outside.extend(others.into_iter().chain(beside));
        if !query.is_restricted() {
            timeline.keep_chosen(chosen);
        }
        Ok(())
    }

    /// Numbers the interfaces that packets of the range come from, in the order of their first segment.
    pub(super) fn name_interfaces(&mut self, timeline: &RecordingTimeline<'_>) {
        for segment in &mut self.snapshot.segments {
            let Origin { interface: name, description, .. } =
                timeline.origin_of(&segment.name).unwrap_or_default();
            let interface = Interface { name, description, link_type: segment.link_type };
            let known = self.interfaces.iter().position(|known| *known == interface);
            let number = known.unwrap_or_else(|| {
                self.accounts.push(timeline.accounts.get(&interface.name).copied().unwrap_or_default());
                self.interfaces.push(interface);
                self.interfaces.len() - 1
            });
            segment.interface = u32::try_from(number).unwrap_or(u32::MAX);
        }
    }
}
