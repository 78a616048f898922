//! Beginning of an answer: tells the sink what is known before the first packet.

use netrewind_store::LinkType;
use xxhash_rust::xxh3::Xxh3;

use super::estimate::estimate_segment;
use super::prepare::PreparedQuery;
use crate::answer::control::Control;
use crate::answer::error::ExtractError;
use crate::fragments::Relevant;
use crate::plan::planner::Planner;
use crate::sink::{Preface, Sink, Wants};

/// Segments of a link type that are examined to find out whether the answer certainly has it.
const SEGMENTS_LOOKED_AT_MAX: usize = 8;

/// Begins the sink with the facts known before the first packet. `is_chosen`: the answer has packets of chosen conversations
/// alone.
pub(super) fn begin(
    prepared: &PreparedQuery<'_>,
    is_chosen: bool,
    sink: &mut dyn Sink,
    control: &dyn Control,
) -> Result<(), ExtractError> {
    let possible = prepared.possible_link_types();
    let certain = match is_chosen {
        true => Vec::new(),
        false => certain_link_types(prepared, &possible, control)?,
    };
    sink.begin(&Preface {
        query: prepared.query,
        possible_link_types: &possible,
        certain_link_types: &certain,
        interfaces: &prepared.interfaces.names,
        completeness: &prepared.completeness,
        tunnel_ports: &prepared.filters.ports,
        fingerprint: if is_chosen { None } else { fingerprint(prepared, sink.wants()) },
    })?;
    Ok(())
}

/// Number of the segments that decide about the answer, by their names: a sealed segment never changes. What stands in the file
/// besides packets, if the sink writes that, is told by the logbook.
fn fingerprint(prepared: &PreparedQuery<'_>, wants: Wants) -> Option<u128> {
    let PreparedQuery { engine, segments, unreadable, completeness, interfaces, filters, .. } = prepared;
    // What cannot be read now, or fetched, may be the next time.
    if !unreadable.is_empty() || engine.store().files().archive().is_some() {
        return None;
    }
    let mut digest = Xxh3::new();
    for segment in segments.in_range.iter().chain(&segments.beside) {
        if !segment.is_sealed() {
            return None;
        }
        digest.update(format!("{} {:?}\n", segment.name, segment.bounds).as_bytes());
    }
    digest.update(format!("{:?}", filters.ports).as_bytes());
    if wants.interfaces {
        digest.update(format!("{:?} {:?}", interfaces.names, interfaces.accounts).as_bytes());
        digest.update(&serde_json::to_vec(completeness).ok()?);
    }
    Some(digest.digest128())
}

/// Link types that the answer has in any case, judged by a few segments of each. Only needed if several are possible.
fn certain_link_types(
    prepared: &PreparedQuery<'_>,
    possible: &[LinkType],
    control: &dyn Control,
) -> Result<Vec<LinkType>, ExtractError> {
    let PreparedQuery { engine, query, range, filters, segments, .. } = prepared;
    let mut certain = Vec::new();
    // The contents of packets are not known before they are read.
    let is_certain = !query.limits.are_set() && !query.decapsulate && query.dedup.is_none();
    if possible.len() < 2 || !is_certain {
        return Ok(certain);
    }
    let stop = || control.cancelled();
    let mut planner = Planner::new(*range, filters);
    for &link_type in possible {
        let of_type = segments.in_range.iter().filter(|segment| segment.link_type == link_type);
        for segment in of_type.take(SEGMENTS_LOOKED_AT_MAX) {
            let nothing = Relevant::default();
            let estimate = estimate_segment(engine, segment, &nothing, query, &mut planner, &stop)?;
            if estimate.is_some_and(|estimate| estimate.packets_min > 0) {
                certain.push(link_type);
                break;
            }
        }
    }
    Ok(certain)
}
