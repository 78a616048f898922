//! Times in which a lane received nothing, although it was recording.

use netrewind_store::Timestamp;

/// A time in which a lane received nothing, or could not write, although it was recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outage {
    pub(crate) lane: u16,
    pub(crate) from: Timestamp,
    /// Absent while it lasts.
    pub(crate) to: Option<Timestamp>,
    pub(crate) reason: String,
    /// It was the disk that failed, and has not worked since.
    pub(crate) is_of_disk: bool,
}

/// When a lane's session began, and up to when its packets have been counted; absent if its start was not read.
pub(super) type SessionCounted = (Timestamp, Option<Timestamp>);

/// Outage of a lane whose interface was found gone at `at`, after it had worked until `worked_until`.
pub(super) fn interface_gone(
    outages: &[Outage],
    lane: u16,
    reason: String,
    worked_until: Option<Timestamp>,
    session: Option<SessionCounted>,
    at: Timestamp,
) -> Outage {
    // An interface that has received nothing since the lane started was missing from then on.
    let is_new = |from| !outages.iter().any(|outage| outage.lane == lane && outage.from >= from);
    let untried = session.filter(|(from, counted_until)| *counted_until == Some(*from) && is_new(*from));
    let from = worked_until.or(untried.map(|(from, _)| from)).unwrap_or(at).min(at);
    Outage { lane, from, to: None, reason, is_of_disk: false }
}

/// Notes that a lane's interface is back.
pub(super) fn note_interface_back(outages: &mut Vec<Outage>, lane: u16, at: Timestamp) {
    if outages.iter().any(|outage| outage.lane == lane && outage.to == Some(at)) {
        return; // it stands there twice
    }
    let known = outages.iter_mut().rev().find(|outage| outage.lane == lane && outage.to.is_none());
    match known {
        Some(outage) => outage.to = Some(at),
        None => {
            // It went away before what was read of the logbook.
            let reason = "the interface was gone".to_owned();
            outages.push(Outage { lane, from: Timestamp::MIN, to: Some(at), reason, is_of_disk: false });
        }
    }
}
