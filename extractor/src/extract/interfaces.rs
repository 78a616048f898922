//! Interfaces of packets: selection of segments by interface, and the interfaces' names.

use netrewind_store::SegmentName;
use netrewind_store::time::Span;

use crate::answer::completeness::{Completeness, Unreadable};
use crate::answer::error::ExtractError;
use crate::answer::{Interface, InterfaceAccount};
use crate::history::origin::Origin;
use crate::history::segment_origins::{check_interface_names, keep_chosen_interfaces, origin_of};
use crate::history::timeline::RecordingTimeline;
use crate::query::Query;
use crate::store::snapshot::Snapshot;
use crate::transform::decapsulate::{InnerInterfaces, add_inner_interfaces};

/// Reason reported for a segment whose interface is not known.
const UNDECIDED: &str = "the logbook does not say which interface its packets come from, so they are left out: ask without an interface to include them";

/// Report about a segment of unknown interface when interfaces were selected.
pub(super) fn undecided(segment: SegmentName) -> Unreadable {
    Unreadable { segment, offset: 0, reason: UNDECIDED.to_owned() }
}

/// Removes segments of other interfaces than the selected ones. Segments of unknown interface are removed, too, and the answer
/// says so.
pub(super) fn choose_interfaces(
    snapshot: &mut Snapshot,
    completeness: &mut Completeness,
    query: &Query,
    timeline: &mut RecordingTimeline<'_>,
    range: Span,
) -> Result<(), ExtractError> {
    let chosen = &query.interfaces;
    if chosen.is_empty() {
        return Ok(());
    }
    let origins: Vec<_> =
        snapshot.segments.iter().map(|segment| origin_of(timeline, &segment.name)).collect();
    let is_decided = origins.iter().all(Option::is_some);
    // A restricted asker does not learn the names of interfaces either.
    if is_decided && !query.is_restricted() {
        let in_range = origins.iter().flatten().map(|origin| origin.interface.clone());
        check_interface_names(timeline, chosen, in_range, range)?;
    }
    for segment in &snapshot.segments {
        if origin_of(timeline, &segment.name).is_none() {
            completeness.add_unreadable(undecided(segment.name));
        }
    }
    let is_other = |name: &SegmentName| !origin_of(timeline, name).is_some_and(|origin| origin.is_of(chosen));
    let others: Vec<_> = snapshot.segments.extract_if(.., |segment| is_other(&segment.name)).collect();
    let beside: Vec<_> = snapshot.beside.extract_if(.., |segment| is_other(&segment.name)).collect();
    snapshot.outside.extend(others.into_iter().chain(beside));
    if !query.is_restricted() {
        keep_chosen_interfaces(timeline, chosen);
    }
    Ok(())
}

/// Interfaces of an answer's packets.
#[derive(Debug, Default)]
pub(crate) struct AnswerInterfaces {
    /// By number, in the order of their first segment.
    pub(super) names: Vec<Interface>,
    /// Packets received and dropped by each.
    pub(super) accounts: Vec<InterfaceAccount>,
    /// Interfaces of decapsulated packets.
    pub(super) inner: InnerInterfaces,
}

impl AnswerInterfaces {
    /// Numbers the interfaces that packets of the range come from, and notes the number in each segment.
    pub(super) fn of(snapshot: &mut Snapshot, timeline: &RecordingTimeline<'_>, query: &Query) -> Self {
        let Self { mut names, mut accounts, mut inner } = Self::default();
        for segment in &mut snapshot.segments {
            let Origin { interface: name, description, .. } =
                origin_of(timeline, &segment.name).unwrap_or_default();
            let interface = Interface { name, description, link_type: segment.link_type };
            let known = names.iter().position(|known| *known == interface);
            let number = known.unwrap_or_else(|| {
                accounts.push(timeline.accounts.get(&interface.name).copied().unwrap_or_default());
                names.push(interface);
                names.len() - 1
            });
            segment.interface = u32::try_from(number).unwrap_or(u32::MAX);
        }
        if query.is_restricted() {
            // They count packets that the asker may not know of.
            accounts.iter_mut().for_each(|account| account.received = None);
        }
        if query.decapsulate {
            inner = add_inner_interfaces(&mut names, &mut accounts);
        }
        Self { names, accounts, inner }
    }
}
