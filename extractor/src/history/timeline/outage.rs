//! Times in which a lane received nothing, although it was recording.

use netrewind_store::Timestamp;

use super::RecordingTimeline;

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

impl RecordingTimeline<'_> {
    /// Notes that a lane's interface was found gone at `at`, after it had worked until `worked_until`.
    pub(super) fn down(&mut self, lane: u16, reason: String, worked_until: Option<Timestamp>, at: Timestamp) {
        // An interface that has received nothing since the lane started was missing from then on.
        let is_new = |from| !self.outages.iter().any(|outage| outage.lane == lane && outage.from >= from);
        let session = self.open.get(&lane);
        let untried = session.filter(|session| {
            let counted_until = session.counted.as_ref().map(|counted| counted.until);
            counted_until == Some(session.from) && is_new(session.from)
        });
        let from = worked_until.or(untried.map(|session| session.from)).unwrap_or(at).min(at);
        self.sign_of_life(lane, at, at);
        self.outages.push(Outage { lane, from, to: None, reason, is_of_disk: false });
    }

    /// Notes that it is back.
    pub(super) fn up(&mut self, lane: u16, at: Timestamp) {
        self.sign_of_life(lane, at, at);
        if self.outages.iter().any(|outage| outage.lane == lane && outage.to == Some(at)) {
            return; // it stands there twice
        }
        let known = self.outages.iter_mut().rev().find(|outage| outage.lane == lane && outage.to.is_none());
        match known {
            Some(outage) => outage.to = Some(at),
            None => {
                // It went away before what was read of the logbook.
                let reason = "the interface was gone".to_owned();
                let outage = Outage { lane, from: Timestamp::MIN, to: Some(at), reason, is_of_disk: false };
                self.outages.push(outage);
            }
        }
    }
}
