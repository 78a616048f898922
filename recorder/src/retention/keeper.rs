//! Who makes room in a store: before a segment is created, ahead of need, and by age.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::Duration;

use netrewind_segment::store::ListedSegment;
use netrewind_segment::{Event, SegmentName, SegmentState, Store, StoreError};

use super::room::{DISK_SEGMENTS_MIN, GROWTH_MAX, Space, halvings, segment_bytes_max, with_index};
use super::{Kept, Usage, is_too_old, oldest_to_free, sort_by_age};
use crate::clock::Clock;
use crate::config::SEGMENT_BYTES_MIN;

/// How often segments expire for one that is to be created, or ahead of it. If there is still no room for it, what they left was
/// taken by others, or is of no use: nothing more goes before a segment could be created.
const EXPIRIES_MAX: u32 = 4;
/// How long what has expired may take to become free: whoever answers a query keeps a segment for two seconds after it.
const FREED_WITHIN: Duration = Duration::from_secs(3);
/// How often is looked whether it is.
const FREED_LOOK_INTERVAL: Duration = Duration::from_millis(20);
/// For how long the room suffices that is kept free ahead, at the pace of the last segments: some file systems give back what was
/// removed only with their next commit.
const AHEAD_NS: u64 = 1_000_000_000;
/// The part of all room that is kept free ahead at most.
const AHEAD_DIVISOR: u64 = 2;
/// What counts as free where nobody can tell.
const UNKNOWN_BYTES: u64 = u64::MAX / 4;

/// The type that statfs(2) gives for btrfs.
const BTRFS: rustix::fs::FsWord = 0x9123_683e;

/// Why segments expire, as the logbook says it.
const BUDGET: &str = "budget";
const DISK_FULL: &str = "disk full";
const AGE: &str = "age";

/// Makes room in a store, for all lanes that write to it.
pub struct Keeper {
    store: Store,
    budget_bytes: Option<u64>,
    age_max: Option<Duration>,
    lanes: u64,
    clock: Arc<dyn Clock>,
    events: mpsc::Sender<Event>,
    /// What the next segment can have, by the last look; 0 before the first.
    room_bytes: AtomicU64,
    /// Room that is found must be taken before another lane looks for some.
    turn: Mutex<Turn>,
}

/// What is known from one look to the next.
#[derive(Debug, Default)]
struct Turn {
    lanes: BTreeMap<u16, Need>,
    awaited: Option<Awaited>,
    /// How often segments have expired since a segment was last created.
    expiries: u32,
}

/// What a lane needs for its next segment.
#[derive(Clone, Copy, Debug, Default)]
struct Need {
    wanted_bytes: u64,
    /// What its last segment took.
    last_bytes: u64,
    /// When that was sealed, by the monotonic clock, and how long after the one before.
    sealed_ns: u64,
    took_ns: u64,
}

/// Room of segments that have expired, which is not free before others let go of them.
#[derive(Clone, Copy, Debug)]
struct Awaited {
    since_ns: u64,
    freed_bytes: u64,
    /// What will be free then.
    expected_bytes: u64,
}

/// What is in the store.
struct Looked {
    /// Oldest first.
    kept: Vec<Kept>,
    usage: Usage,
    /// What open segments take.
    open_bytes: u64,
    /// Space that open segments will take, of which the file system knows nothing: not every one can reserve.
    promised_bytes: u64,
}

/// What became of an attempt to create a segment.
enum Attempt<T> {
    Done(T, u64),
    /// What has expired is not free yet.
    Wait,
}

impl Keeper {
    /// Keeps `store` within a budget and an age, for so many lanes; what expires is told to `events`.
    pub fn new(
        store: Store,
        budget_bytes: Option<u64>,
        age_max: Option<Duration>,
        lanes: usize,
        clock: Arc<dyn Clock>,
        events: mpsc::Sender<Event>,
    ) -> Self {
        let (room_bytes, turn) = (AtomicU64::new(0), Mutex::default());
        Self { store, budget_bytes, age_max, lanes: lanes as u64, clock, events, room_bytes, turn }
    }

    fn turn(&self) -> MutexGuard<'_, Turn> {
        // Whole at every moment: a panic elsewhere does not spoil it.
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a segment of `wanted_bytes` could have, as far as is known without looking.
    pub fn room_bytes(&self, wanted_bytes: u64) -> u64 {
        match self.room_bytes.load(Ordering::Relaxed) {
            0 => wanted_bytes,
            known => known.min(wanted_bytes),
        }
    }

    /// Finds out what the first segments can have, before any packet comes.
    pub fn look_ahead(&self, wanted_bytes: u64) -> Result<(), StoreError> {
        let turn = self.turn();
        if self.has_plenty(&turn, wanted_bytes) {
            return Ok(());
        }
        let looked = self.look()?;
        let fit = self.space(&turn, &looked).0.fit(self.most(&turn, &looked, wanted_bytes), 0);
        self.room_bytes.store(fit.map_or(SEGMENT_BYTES_MIN, |fit| fit.segment_bytes), Ordering::Relaxed);
        Ok(())
    }

    /// Creates what takes `wanted_bytes`, or as much of it as there is room for (and its index, later), after making room for
    /// it: `create` is told how much, and asked again with less where the disk has less than it says. Gives back how much it
    /// was.
    pub fn create<T>(
        &self,
        lane: u16,
        wanted_bytes: u64,
        mut create: impl FnMut(u64) -> io::Result<T>,
    ) -> io::Result<(T, u64)> {
        loop {
            let mut turn = self.turn();
            turn.lanes.entry(lane).or_default().wanted_bytes = wanted_bytes;
            if let Attempt::Done(made, bytes) = self.attempt(&mut turn, lane, &mut create)? {
                turn.created(bytes);
                return Ok((made, bytes));
            }
            // Nobody else has to wait for it: the status is looked after every second.
            drop(turn);
            std::thread::sleep(FREED_LOOK_INTERVAL);
        }
    }

    fn attempt<T>(
        &self,
        turn: &mut Turn,
        lane: u16,
        create: &mut dyn FnMut(u64) -> io::Result<T>,
    ) -> io::Result<Attempt<T>> {
        let Need { wanted_bytes, last_bytes, .. } = turn.lanes.get(&lane).copied().unwrap_or_default();
        if self.has_plenty(turn, wanted_bytes) {
            match create(wanted_bytes) {
                Err(error) if lacks_room(&error) => {}
                made => {
                    self.room_bytes.store(wanted_bytes, Ordering::Relaxed);
                    return Ok(Attempt::Done(made?, wanted_bytes));
                }
            }
        }
        let looked = self.look().map_err(io::Error::other)?;
        let (mut space, reason) = self.space(turn, &looked);
        let most = self.most(turn, &looked, wanted_bytes);
        let Some(fit) = space.fit(most, last_bytes) else {
            // Privileged users may have some of what the file system reserves, and some file systems cannot tell.
            if reason == DISK_FULL
                && let Ok(made) = create(SEGMENT_BYTES_MIN)
            {
                return Ok(Attempt::Done(made, SEGMENT_BYTES_MIN));
            }
            return self.wait_or(turn, || self.no_room(&space, reason));
        };
        if fit.to_free_bytes > 0 {
            self.expire_for_room(turn, &looked, fit.to_free_bytes, reason).map_err(io::Error::other)?;
        }
        let mut failure = None;
        let is_plausible = |bytes: &u64| {
            [fit.segment_bytes, SEGMENT_BYTES_MIN].contains(bytes)
                || with_index(*bytes) <= space.available_bytes
        };
        for bytes in halvings(fit.segment_bytes).filter(is_plausible) {
            match create(bytes) {
                Err(error) if lacks_room(&error) => failure = Some(error),
                made => {
                    let made = made?;
                    let left = space.available_bytes.saturating_add(fit.to_free_bytes);
                    space.available_bytes = left.saturating_sub(with_index(bytes));
                    let next = space.fit(most, last_bytes).map_or(SEGMENT_BYTES_MIN, |fit| fit.segment_bytes);
                    self.room_bytes.store(next, Ordering::Relaxed);
                    return Ok(Attempt::Done(made, bytes));
                }
            }
        }
        // The disk has less than it says: what has expired is still being read, a quota is used up, or what counts files.
        let failure = failure.unwrap_or_else(|| self.no_room(&space, reason));
        if !self.is_awaiting(turn)
            && failure.kind() != io::ErrorKind::FileTooLarge
            && self.expire_for_room(turn, &looked, 1, DISK_FULL).map_err(io::Error::other)?
        {
            return Ok(Attempt::Wait);
        }
        self.wait_or(turn, || failure)
    }

    /// There is nothing to be had at the moment; later, where something has expired.
    fn wait_or<T>(&self, turn: &Turn, failure: impl FnOnce() -> io::Error) -> io::Result<Attempt<T>> {
        if self.is_awaiting(turn) { Ok(Attempt::Wait) } else { Err(failure()) }
    }

    fn is_awaiting(&self, turn: &Turn) -> bool {
        turn.awaited_bytes(self.now_ns(), self.unreserved_bytes()) > 0
    }

    /// Notes what a lane's segment took of what it had: its next one will need as much.
    pub fn sealed(&self, lane: u16, bytes: u64, had_bytes: u64) {
        let now_ns = self.now_ns();
        let mut turn = self.turn();
        let need = turn.lanes.entry(lane).or_default();
        need.took_ns = now_ns.saturating_sub(need.sealed_ns).max(1);
        (need.last_bytes, need.sealed_ns) = (bytes, now_ns);
        if let Some(awaited) = &mut turn.awaited {
            awaited.expected_bytes = awaited.expected_bytes.saturating_add(had_bytes.saturating_sub(bytes));
        }
    }

    /// Makes room for a file that another is about to write into the store, such as an index.
    pub fn make_room(&self, bytes: u64) -> io::Result<()> {
        let mut turn = self.turn();
        self.make_room_in(&mut turn, bytes)
    }

    fn make_room_in(&self, turn: &mut Turn, bytes: u64) -> io::Result<()> {
        if self.budget_bytes.is_none() && self.available_bytes(turn) >= bytes {
            return Ok(());
        }
        let looked = self.look().map_err(io::Error::other)?;
        let (space, reason) = self.space(turn, &looked);
        let needed = bytes.saturating_add(space.over_bytes).saturating_sub(space.available_bytes);
        let suffices = needed == 0
            || (needed <= space.expirable_bytes
                && self.expire_for_room(turn, &looked, needed, reason).map_err(io::Error::other)?);
        if suffices { Ok(()) } else { Err(self.no_room(&space, reason)) }
    }

    /// Removes what has become too old, what is over the budget since indexes have grown, and where the disk is smaller than
    /// the budget, what the next segments will need.
    pub fn tend(&self) -> Result<Usage, StoreError> {
        self.expire_old(&|_| false)?;
        let mut turn = self.turn();
        // Over the budget with nothing left to remove: what is being written stays, and is sealed before long.
        if self.budget_bytes.is_some() {
            let _ = self.make_room_in(&mut turn, 0);
        }
        self.keep_ahead_in(&mut turn)?;
        Ok(self.look()?.usage)
    }

    /// Removes what has become too old, but for what is spared.
    pub fn expire_old(&self, is_spared: &dyn Fn(&SegmentName) -> bool) -> Result<(), StoreError> {
        let Some(age_max) = self.age_max else { return Ok(()) };
        let _turn = self.turn();
        let now = self.clock.now().wall;
        let mut expired = Vec::new();
        for segment in self.look()?.kept {
            let written = self.store.written(&segment.name, now)?;
            if is_too_old(written, now, age_max) && !is_spared(&segment.name) {
                expired.push(segment);
            }
        }
        self.expire(&expired, AGE)
    }

    /// Has the oldest expire before the next segments need their room: what a query still reads becomes free only after it, and
    /// some file systems need their time as well.
    pub fn keep_ahead(&self) -> Result<(), StoreError> {
        let has_expired = self.keep_ahead_in(&mut self.turn())?;
        if has_expired && self.frees_when_committed() {
            // Here, and not where a segment is waited for. What cannot be synced now is freed later.
            let _ = std::fs::File::open(self.store.root()).and_then(|root| Ok(rustix::fs::syncfs(root)?));
        }
        Ok(())
    }

    /// Whether what is removed becomes free only with the file system's next commit.
    fn frees_when_committed(&self) -> bool {
        rustix::fs::statfs(self.store.root()).is_ok_and(|found| found.f_type == BTRFS)
    }

    /// Whether anything has expired.
    fn keep_ahead_in(&self, turn: &mut Turn) -> Result<bool, StoreError> {
        let wanted = turn.ahead_bytes();
        if self.available_bytes(turn) >= wanted {
            return Ok(false);
        }
        let looked = self.look()?;
        let (available, expirable) = (self.available_bytes(turn), expirable(&looked.kept));
        let all = available.saturating_add(expirable);
        let wanted = wanted.min((all / AHEAD_DIVISOR).max(with_index(SEGMENT_BYTES_MIN)));
        let missing = wanted.saturating_sub(available);
        Ok(missing > 0 && missing <= expirable && self.expire_for_room(turn, &looked, missing, DISK_FULL)?)
    }

    /// Why no segment can be created now, whatever expires; `None` where one can.
    pub fn lacks_room(&self) -> Option<String> {
        let turn = self.turn();
        let least = with_index(SEGMENT_BYTES_MIN);
        if self.budget_bytes.is_none() && self.free_bytes() >= least {
            return None;
        }
        let looked = self.look().ok()?;
        let (mut space, reason) = self.space(&turn, &looked);
        if reason == DISK_FULL {
            space.available_bytes = self.free_bytes();
        }
        (space.capacity_bytes() < least).then(|| self.no_room(&space, reason).to_string())
    }

    /// Has the oldest expire; false where none is left, or that has been in vain too often.
    fn expire_for_room(
        &self,
        turn: &mut Turn,
        looked: &Looked,
        bytes: u64,
        reason: &'static str,
    ) -> Result<bool, StoreError> {
        let expired = looked.kept.get(..oldest_to_free(&looked.kept, bytes)).unwrap_or_default();
        // What a budget counts is gone with its name; what the disk counts others may take.
        let is_in_vain = reason == DISK_FULL && turn.expiries >= EXPIRIES_MAX;
        if expired.is_empty() || is_in_vain {
            return Ok(false);
        }
        turn.expiries += u32::from(reason == DISK_FULL);
        let (now_ns, freed_bytes) = (self.now_ns(), expirable(expired));
        let free_bytes = self.unreserved_bytes();
        let awaited_bytes = turn.awaited_bytes(now_ns, free_bytes).saturating_add(freed_bytes);
        self.expire(expired, reason)?;
        turn.awaited = Some(Awaited {
            since_ns: now_ns,
            freed_bytes: awaited_bytes,
            expected_bytes: free_bytes.saturating_add(awaited_bytes),
        });
        Ok(true)
    }

    fn expire(&self, expired: &[Kept], reason: &str) -> Result<(), StoreError> {
        for segment in expired {
            self.store.remove(&segment.name)?;
            // Nobody listens any more only at the very end.
            let _ = self.events.send(Event::Expire {
                segment: segment.name,
                freed_bytes: segment.bytes,
                reason: reason.to_owned(),
                first: None,
                last: None,
            });
        }
        if expired.is_empty() { Ok(()) } else { self.expire_logbook() }
    }

    /// Removes the logbook of days before the oldest segment's.
    fn expire_logbook(&self) -> Result<(), StoreError> {
        let today = self.clock.now().wall.date();
        let Some(oldest) = self.store.segments()?.iter().map(|segment| segment.name.date()).min() else {
            return Ok(());
        };
        for date in self.store.logbook_dates()? {
            if date < oldest && date < today {
                self.store.remove_logbook(&date)?;
            }
        }
        Ok(())
    }
}

/// What is there, and what there is to be had.
impl Keeper {
    fn now_ns(&self) -> u64 {
        self.clock.now().monotonic_ns
    }

    /// Bytes that anybody may take of the store's file system: statvfs(3).
    fn unreserved_bytes(&self) -> u64 {
        self.statvfs().map_or(UNKNOWN_BYTES, |found| found.f_bavail.saturating_mul(found.f_frsize))
    }

    /// The same with what only privileged users may take.
    fn free_bytes(&self) -> u64 {
        self.statvfs().map_or(UNKNOWN_BYTES, |found| found.f_bfree.saturating_mul(found.f_frsize))
    }

    /// What the file system says of itself, if it says anything. Who cannot tell how much is free finds out when a segment is
    /// created.
    fn statvfs(&self) -> Option<rustix::fs::StatVfs> {
        rustix::fs::statvfs(self.store.root()).ok().filter(|found| found.f_blocks > 0)
    }

    /// What the disk has, with what will be free soon.
    fn available_bytes(&self, turn: &Turn) -> u64 {
        let free_bytes = self.unreserved_bytes();
        free_bytes.saturating_add(turn.awaited_bytes(self.now_ns(), free_bytes))
    }

    /// Whether there is so much that nobody need look where it comes from.
    fn has_plenty(&self, turn: &Turn, wanted_bytes: u64) -> bool {
        let all = with_index(wanted_bytes).saturating_mul(DISK_SEGMENTS_MIN).saturating_mul(self.lanes(turn));
        self.budget_bytes.is_none() && self.unreserved_bytes() >= all
    }

    fn lanes(&self, turn: &Turn) -> u64 {
        self.lanes.max(turn.lanes.len() as u64).max(1)
    }

    /// The largest segment that the disk is large enough for.
    fn most(&self, turn: &Turn, looked: &Looked, wanted_bytes: u64) -> u64 {
        let ours = expirable(&looked.kept).saturating_add(looked.open_bytes);
        segment_bytes_max(wanted_bytes, self.available_bytes(turn).saturating_add(ours), self.lanes(turn))
    }

    /// What there is to fit a segment into, and what limits it.
    fn space(&self, turn: &Turn, looked: &Looked) -> (Space, &'static str) {
        let of_disk = self.available_bytes(turn).saturating_sub(looked.promised_bytes);
        let used = looked.usage.bytes;
        let of_budget = self.budget_bytes.map_or(UNKNOWN_BYTES, |budget| budget.saturating_sub(used));
        let space = Space {
            available_bytes: of_disk.min(of_budget),
            over_bytes: self.budget_bytes.map_or(0, |budget| used.saturating_sub(budget)),
            expirable_bytes: expirable(&looked.kept),
        };
        (space, if of_budget < of_disk { BUDGET } else { DISK_FULL })
    }

    fn no_room(&self, space: &Space, reason: &str) -> io::Error {
        let least_bytes = with_index(SEGMENT_BYTES_MIN);
        let error = match self.budget_bytes {
            Some(budget_bytes) if reason == BUDGET => NoRoom::Budget { budget_bytes, least_bytes },
            _ => NoRoom::Disk {
                store: self.store.root().to_owned(),
                free_bytes: self.free_bytes(),
                kept_bytes: space.expirable_bytes,
                least_bytes,
            },
        };
        io::Error::new(io::ErrorKind::StorageFull, error)
    }

    /// What could expire, oldest first, and what everything takes.
    fn look(&self) -> Result<Looked, StoreError> {
        let segments = self.store.segments()?;
        let is_open = |segment: &&ListedSegment| segment.state == SegmentState::Open;
        // A file system that cannot reserve shows an open segment's space only by the file's length.
        let promised = |segment: &ListedSegment| segment.file_bytes.saturating_sub(segment.disk_bytes);
        let promised_bytes = segments.iter().filter(is_open).map(promised).sum::<u64>();
        let mut kept: Vec<Kept> = segments
            .iter()
            .filter(|segment| segment.state == SegmentState::Sealed)
            .map(|segment| Kept { name: segment.name, bytes: segment.disk_bytes })
            .collect();
        sort_by_age(&mut kept, self.clock.now().wall);
        let usage = Usage {
            bytes: self.store.disk_bytes()? + promised_bytes,
            segments: segments.len() as u64,
            oldest: segments.iter().map(|segment| segment.name.opened).min(),
        };
        let open_bytes = segments.iter().filter(is_open).map(|segment| segment.disk_bytes).sum();
        Ok(Looked { kept, usage, open_bytes, promised_bytes })
    }
}

impl Turn {
    fn created(&mut self, bytes: u64) {
        self.expiries = 0;
        if let Some(awaited) = &mut self.awaited {
            awaited.expected_bytes = awaited.expected_bytes.saturating_sub(bytes);
        }
    }

    /// What has expired and is not free yet.
    fn awaited_bytes(&self, now_ns: u64, free_bytes: u64) -> u64 {
        self.awaited.map_or(0, |Awaited { since_ns, freed_bytes, expected_bytes }| {
            let is_late = u128::from(now_ns.saturating_sub(since_ns)) >= FREED_WITHIN.as_nanos();
            if is_late { 0 } else { expected_bytes.saturating_sub(free_bytes).min(freed_bytes) }
        })
    }

    /// What the next segments of all lanes will need, as far as their last ones tell.
    fn ahead_bytes(&self) -> u64 {
        let paced = |need: &Need| need.last_bytes.saturating_mul(AHEAD_NS / need.took_ns.max(1));
        let next =
            |need: &Need| need.last_bytes.saturating_mul(GROWTH_MAX).min(need.wanted_bytes).max(paced(need));
        self.lanes.values().filter(|need| need.last_bytes > 0).map(|need| with_index(next(need))).sum()
    }
}

fn expirable(kept: &[Kept]) -> u64 {
    kept.iter().map(|segment| segment.bytes).sum()
}

/// Whether less would do, or something else gone: ENOSPC, EDQUOT, EFBIG.
pub(crate) fn lacks_room(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}

/// Why nothing can be created.
#[derive(Debug, thiserror::Error)]
enum NoRoom {
    #[error(
        "no room: the budget of {budget_bytes} bytes is used by what is being written and by what belongs to it; a segment takes at \
         least {least_bytes}: raise the budget"
    )]
    Budget { budget_bytes: u64, least_bytes: u64 },
    #[error(
        "no room: {free_bytes} bytes are free on the file system of {}, and {kept_bytes} could be made free of old segments; \
         a segment takes at least {least_bytes}: make room there, or use another disk", .store.display()
    )]
    Disk { store: PathBuf, free_bytes: u64, kept_bytes: u64, least_bytes: u64 },
}
