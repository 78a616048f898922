//! The holds of a store as the keeper knows them: looked at before anything is removed, and read again when they have changed.
//!
//! **Invariant:** what cannot be judged is held. Of a hold that cannot be read, every segment that existed when it was last changed.

use std::collections::BTreeMap;

use netrewind_store::files::FileStamp;
use netrewind_store::hold::{CaseName, Doubt, HeldNames};
use netrewind_store::store::CaseFiles;
use netrewind_store::{SegmentName, Store, Timestamp};

/// Holds that are known.
#[derive(Debug)]
pub(super) struct KnownHolds {
    cases: BTreeMap<CaseName, KnownHold>,
    /// Reason that it is not known which holds there are: then everything is held.
    unlisted: Option<String>,
    /// Time of the last look.
    looked: Timestamp,
}

/// A hold as it was read.
#[derive(Debug)]
struct KnownHold {
    stamp: FileStamp,
    /// True if every later change gives it another stamp.
    is_settled: bool,
    names: HeldNames,
    /// Disk space that it keeps for packets that are still being written.
    reserved_bytes: u64,
    has_packets: bool,
    faults: Vec<String>,
}

impl Default for KnownHolds {
    fn default() -> Self {
        Self { cases: BTreeMap::new(), unlisted: None, looked: Timestamp::MIN }
    }
}

impl KnownHolds {
    /// Looks at them again.
    pub(super) fn refresh(&mut self, store: &Store, now: Timestamp) {
        self.looked = now;
        let files = CaseFiles::of(store);
        let listed = match files.cases() {
            Ok(listed) => listed,
            Err(error) => {
                self.unlisted = Some(error.to_string());
                return;
            }
        };
        self.unlisted = None;
        let mut cases = BTreeMap::new();
        for case in listed {
            let found = match files.look(&case) {
                Ok(Some(found)) => found,
                Ok(None) => continue, // it was released just now
                Err(error) => {
                    self.unlisted = Some(error.to_string());
                    continue;
                }
            };
            let (stamp, is_settled) = (found.stamp(), found.stamp().is_settled(now));
            let known = self.cases.remove(&case).filter(|known| known.is_settled && known.stamp == stamp);
            let read = || KnownHold::read(&files, &case, stamp, is_settled);
            if let Some(hold) = known.or_else(read) {
                cases.insert(case, hold);
            }
        }
        self.cases = cases;
    }

    /// True if a hold keeps the segment, or may.
    pub(super) fn may_hold(&self, name: &SegmentName) -> bool {
        // A name of the future was given before the clock was set back, so that it says nothing of the order.
        let is_ahead = name.opened > self.looked;
        let may_be = |hold: &KnownHold| hold.names.may_hold(name) || is_ahead && hold.names.is_doubtful();
        self.unlisted.is_some() || self.cases.values().any(may_be)
    }

    /// Disk space of the packets of cases, and the space that is kept for those being written beyond what they take already.
    pub(super) fn packets_bytes(&self, store: &Store) -> (u64, u64) {
        let with_packets = self.cases.iter().filter(|(_, hold)| hold.has_packets);
        let of_case = |(case, hold): (&CaseName, &KnownHold)| {
            // What cannot be looked at is counted with the rest of the store.
            let bytes = CaseFiles::of(store).packets_disk_bytes(case).unwrap_or(0);
            (bytes, hold.reserved_bytes.saturating_sub(bytes))
        };
        with_packets.map(of_case).fold((0, 0), |all, next| (all.0 + next.0, all.1 + next.1))
    }

    /// Names of the cases.
    pub(super) fn cases(&self) -> impl Iterator<Item = &CaseName> {
        self.cases.keys()
    }

    /// Holds that cannot be read, in words.
    pub(super) fn troubles(&self) -> Vec<String> {
        let unlisted = self.unlisted.iter().map(|reason| {
            format!("it is not known which segments are held, so that none of them expires: {reason}")
        });
        let damaged = self.cases.iter().filter_map(|(case, hold)| {
            let reason = hold.faults.first()?;
            Some(format!(
                "the hold of case {case} cannot be read as it was written ({reason}): every segment that it may name is kept; release the case, and hold it again"
            ))
        });
        unlisted.chain(damaged).collect()
    }
}

impl KnownHold {
    /// Reads one; `None` if it is not there any more.
    fn read(files: &CaseFiles<'_>, case: &CaseName, stamp: FileStamp, is_settled: bool) -> Option<Self> {
        let unread = |reason: String| Self {
            stamp,
            is_settled: false,
            names: HeldNames::unknown(Doubt::opened_by(changed_at(stamp))),
            reserved_bytes: 0,
            has_packets: true,
            faults: vec![reason],
        };
        match files.read(case) {
            Err(error) => Some(unread(error.to_string())),
            Ok(None) => None,
            Ok(Some(text)) => {
                let packets = text.head.as_ref().and_then(|head| head.packets);
                Some(Self {
                    stamp,
                    is_settled,
                    names: text.names(),
                    reserved_bytes: packets.map_or(0, |packets| packets.reserved_bytes),
                    has_packets: packets.is_some() || text.head.is_none(),
                    faults: text.faults,
                })
            }
        }
    }
}

fn changed_at(stamp: FileStamp) -> Timestamp {
    Timestamp(u64::try_from(stamp.changed_ns).unwrap_or(u64::MAX))
}
