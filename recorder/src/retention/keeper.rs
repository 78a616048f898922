//! Keeper of a store's room: frees space before a segment is created, ahead of need, and by age.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use netrewind_store::catalog::Hour;
use netrewind_store::clock::Clock;
use netrewind_store::files::FileSystemSpace;
use netrewind_store::room::Room;
use netrewind_store::store::secret_files::SecretFiles;
use netrewind_store::store::{CaseFiles, HourFiles, ListedSegment};
use netrewind_store::turns::QueueSender;
use netrewind_store::{Event, Logbook, SegmentName, SegmentState, Store, StoreError, locked};

use super::holds::KnownHolds;
use super::keeper_state::{Awaited, KeeperState, Need};
use super::no_room::{NoRoom, lacks_room};
use super::room::{DISK_SEGMENTS_MIN, Space, halvings, segment_bytes_max, with_index};
use super::{ExpiryCandidate, RetentionLimits, Usage, is_too_old, oldest_to_free, sort_by_age};
use crate::config::SEGMENT_BYTES_MIN;

/// Rounds of expiry for one segment that is to be created, or ahead of it. If there is still no room, others took the freed space
/// or it is of no use: nothing more expires until a segment could be created.
const EXPIRIES_MAX: u32 = 4;
/// Interval between two attempts while expired space is waited for.
pub const FREED_LOOK_INTERVAL: Duration = Duration::from_millis(20);
/// Largest part of all room that is kept free ahead.
const AHEAD_DIVISOR: u64 = 2;
/// Bytes that count as free where the file system does not say.
const UNKNOWN_BYTES: u64 = u64::MAX / 4;

/// Reasons for expiry, as written to the logbook.
const BUDGET: &str = "budget";
const DISK_FULL: &str = "disk full";
const AGE: &str = "age";

/// Makes room in a store, for all lanes that write to it.
pub struct Keeper {
    store: Store,
    limits: Mutex<RetentionLimits>,
    lanes: u64,
    clock: Arc<dyn Clock>,
    events: QueueSender<Event>,
    /// Room for the next segment, as of the last look; 0 before the first.
    room_bytes: AtomicU64,
    /// Set once nobody receives the events any more.
    logs_alone: AtomicBool,
    /// Segments that are not to be removed.
    holds: Mutex<KnownHolds>,
    /// Held while room is found and taken, so that no other lane takes it.
    turn: Mutex<KeeperState>,
}

/// Contents of the store.
struct Looked {
    /// Oldest first.
    kept: Vec<ExpiryCandidate>,
    usage: Usage,
    /// Bytes of open segments.
    open_bytes: u64,
    /// Space that open segments, and packets of cases, will take and that the file system does not know of: not every one can
    /// reserve.
    promised_bytes: u64,
}

/// Outcome of a round of expiry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Freed {
    /// Enough has expired.
    Enough,
    /// Some of it was held in this very moment: others have to expire instead.
    Less,
    /// Nothing is left that could expire, or it was in vain too often.
    Nothing,
}

/// Outcome of an attempt to create a segment.
#[derive(Debug, PartialEq, Eq)]
pub enum Attempt<T> {
    /// Created, with room for so many bytes.
    Done(T, u64),
    /// Expired space is not free yet: to be tried again after [`FREED_LOOK_INTERVAL`].
    Wait,
}

impl Keeper {
    /// Keeps `store` within a budget and an age, for this many lanes; expiries are sent to `events`.
    pub fn new(
        store: Store,
        budget_bytes: Option<u64>,
        age_max: Option<Duration>,
        lanes: usize,
        clock: Arc<dyn Clock>,
        events: QueueSender<Event>,
    ) -> Self {
        Self {
            store,
            limits: Mutex::new(RetentionLimits { budget_bytes, age_max }),
            lanes: lanes as u64,
            clock,
            events,
            room_bytes: AtomicU64::new(0),
            logs_alone: AtomicBool::new(false),
            holds: Mutex::default(),
            turn: Mutex::default(),
        }
    }

    /// Keeps the store within other limits from now on.
    pub fn set_limits(&self, limits: RetentionLimits) {
        let _turn = self.turn();
        *locked(&self.limits) = limits;
        // Found within the limits of before.
        self.room_bytes.store(0, Ordering::Relaxed);
    }

    fn budget_bytes(&self) -> Option<u64> {
        locked(&self.limits).budget_bytes
    }

    /// The holds as they are now.
    fn holds(&self) -> MutexGuard<'_, KnownHolds> {
        // Consistent at every moment: a panic elsewhere does no harm.
        let mut holds = locked(&self.holds);
        holds.refresh(&self.store, self.clock.now().wall);
        holds
    }

    /// Holds that cannot be read, in words.
    pub fn troubles_of_holds(&self) -> Vec<String> {
        self.holds().troubles()
    }

    fn turn(&self) -> MutexGuard<'_, KeeperState> {
        // Consistent at every moment: a panic elsewhere does no harm.
        locked(&self.turn)
    }

    /// Room for a segment of `wanted_bytes`, as far as known without a new look.
    pub fn room_bytes(&self, wanted_bytes: u64) -> u64 {
        match self.room_bytes.load(Ordering::Relaxed) {
            0 => wanted_bytes,
            known => known.min(wanted_bytes),
        }
    }

    /// Finds the room for the first segments, before any packet comes.
    pub fn look_ahead(&self, wanted_bytes: u64) -> Result<(), StoreError> {
        let turn = self.turn();
        if self.has_plenty(&turn, wanted_bytes) {
            return Ok(());
        }
        let looked = self.measure()?;
        let fit = self.space(&turn, &looked).0.fit(self.most(&turn, &looked, wanted_bytes), 0);
        self.room_bytes.store(fit.map_or(SEGMENT_BYTES_MIN, |fit| fit.segment_bytes), Ordering::Relaxed);
        Ok(())
    }

    /// Creates a file of `wanted_bytes`, or as many as there is room for (with its index, later), after making room for it.
    /// `create` is given the size, and called again with less if the disk has less than it says.
    pub fn create<T>(
        &self,
        lane: u16,
        wanted_bytes: u64,
        mut create: impl FnMut(u64) -> io::Result<T>,
    ) -> io::Result<Attempt<T>> {
        let mut turn = self.turn();
        turn.lanes.entry(lane).or_default().wanted_bytes = wanted_bytes;
        let attempt = self.attempt(&mut turn, lane, &mut create)?;
        if let Attempt::Done(_, bytes) = &attempt {
            turn.created(*bytes);
        }
        Ok(attempt)
    }

    fn attempt<T>(
        &self,
        turn: &mut KeeperState,
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
        let looked = self.measure().map_err(io::Error::other)?;
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
        if fit.to_free_bytes > 0
            && self.expire_for_room(turn, &looked, fit.to_free_bytes, reason).map_err(io::Error::other)?
                == Freed::Less
        {
            return Ok(Attempt::Wait);
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
            && self.expire_for_room(turn, &looked, 1, DISK_FULL).map_err(io::Error::other)? != Freed::Nothing
        {
            return Ok(Attempt::Wait);
        }
        self.wait_or(turn, || failure)
    }

    /// Waits if expired space is still to become free, otherwise fails.
    fn wait_or<T>(&self, turn: &KeeperState, failure: impl FnOnce() -> io::Error) -> io::Result<Attempt<T>> {
        if self.is_awaiting(turn) { Ok(Attempt::Wait) } else { Err(failure()) }
    }

    fn is_awaiting(&self, turn: &KeeperState) -> bool {
        turn.awaited_bytes(self.now_ns(), self.unreserved_bytes()) > 0
    }

    /// Notes the bytes that a lane's segment used of its room: its next one will need as many.
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

    fn make_room_in(&self, turn: &mut KeeperState, bytes: u64) -> io::Result<()> {
        if self.budget_bytes().is_none() && self.available_bytes(turn) >= bytes {
            return Ok(());
        }
        let looked = self.measure().map_err(io::Error::other)?;
        let (space, reason) = self.space(turn, &looked);
        let needed = bytes.saturating_add(space.over_bytes).saturating_sub(space.available_bytes);
        let suffices = needed == 0
            || (needed <= space.expirable_bytes
                && self.expire_for_room(turn, &looked, needed, reason).map_err(io::Error::other)?
                    == Freed::Enough);
        if suffices { Ok(()) } else { Err(self.no_room(&space, reason)) }
    }

    /// Removes segments that are too old or, since indexes have grown, over the budget; where the disk is smaller than the
    /// budget, also makes the room that the next segments will need.
    pub fn enforce_limits(&self) -> Result<Usage, StoreError> {
        self.expire_old(&|_| false)?;
        let mut turn = self.turn();
        // Over the budget with nothing left to remove: what is being written stays, and is sealed before long.
        if self.budget_bytes().is_some() {
            let _ = self.make_room_in(&mut turn, 0);
        }
        self.keep_ahead_in(&mut turn)?;
        Ok(self.measure()?.usage)
    }

    /// Removes segments that are too old, except those spared.
    pub fn expire_old(&self, is_spared: &dyn Fn(&SegmentName) -> bool) -> Result<(), StoreError> {
        let Some(age_max) = locked(&self.limits).age_max else { return Ok(()) };
        let _turn = self.turn();
        let now = self.clock.now().wall;
        let mut expired = Vec::new();
        for segment in self.measure()?.kept {
            let written = self.store.written(&segment.name, now)?;
            if is_too_old(written, now, age_max) && !is_spared(&segment.name) {
                expired.push(segment);
            }
        }
        self.expire(&expired, AGE, None)?;
        Ok(())
    }

    /// Lets the oldest segments expire before the next ones need their room: a segment that a query still reads is freed only
    /// afterwards, and some file systems take time as well.
    pub fn keep_ahead(&self) -> Result<(), StoreError> {
        let has_expired = self.keep_ahead_in(&mut self.turn())?;
        let (files, root) = (self.store.files(), self.store.root());
        if has_expired && files.frees_when_synced(root) {
            // Synced here, and not while a lane waits for a segment. If that fails, the space is freed later.
            let _ = files.sync_file_system(root);
        }
        Ok(())
    }

    /// Frees space for the next segments; true if anything has expired.
    fn keep_ahead_in(&self, turn: &mut KeeperState) -> Result<bool, StoreError> {
        let wanted = turn.ahead_bytes();
        if self.available_bytes(turn) >= wanted {
            return Ok(false);
        }
        let looked = self.measure()?;
        let (available, expirable) = (self.available_bytes(turn), expirable(&looked.kept));
        let all = available.saturating_add(expirable);
        let wanted = wanted.min((all / AHEAD_DIVISOR).max(with_index(SEGMENT_BYTES_MIN)));
        let missing = wanted.saturating_sub(available);
        let can_be_freed = missing > 0 && missing <= expirable;
        Ok(can_be_freed && self.expire_for_room(turn, &looked, missing, DISK_FULL)? != Freed::Nothing)
    }

    /// Reason that no segment can be created now, whatever expires; `None` if one can.
    pub fn lacks_room(&self) -> Option<String> {
        let turn = self.turn();
        let least = with_index(SEGMENT_BYTES_MIN);
        if self.budget_bytes().is_none() && self.free_bytes() >= least {
            return None;
        }
        let looked = self.measure().ok()?;
        let (mut space, reason) = self.space(&turn, &looked);
        if reason == DISK_FULL {
            space.available_bytes = self.free_bytes();
        }
        (space.capacity_bytes() < least).then(|| self.no_room(&space, reason).to_string())
    }

    /// Lets the oldest segments expire that are not held.
    fn expire_for_room(
        &self,
        turn: &mut KeeperState,
        looked: &Looked,
        bytes: u64,
        reason: &'static str,
    ) -> Result<Freed, StoreError> {
        let expired = looked.kept.get(..oldest_to_free(&looked.kept, bytes)).unwrap_or_default();
        // The budget no longer counts a removed segment, but others may take the space on the disk.
        let is_in_vain = reason == DISK_FULL && turn.expiries >= EXPIRIES_MAX;
        if expired.is_empty() || is_in_vain {
            return Ok(Freed::Nothing);
        }
        turn.expiries += u32::from(reason == DISK_FULL);
        let (now_ns, free_bytes) = (self.now_ns(), self.unreserved_bytes());
        let awaited_bytes = turn.awaited_bytes(now_ns, free_bytes);
        let held_bytes = Some(looked.usage.held_bytes).filter(|&held_bytes| held_bytes > 0);
        let freed_bytes = self.expire(expired, reason, held_bytes)?;
        let awaited_bytes = awaited_bytes.saturating_add(freed_bytes);
        turn.awaited = Some(Awaited {
            since_ns: now_ns,
            freed_bytes: awaited_bytes,
            expected_bytes: free_bytes.saturating_add(awaited_bytes),
        });
        Ok(if freed_bytes < bytes.min(expirable(expired)) { Freed::Less } else { Freed::Enough })
    }

    /// Has an expiry written into the logbook. Once the recording has ended, there is nobody else to write it.
    fn tell(&self, event: Event) -> Result<(), StoreError> {
        if !self.logs_alone.load(Ordering::Acquire) && self.events.send(event.clone()).is_ok() {
            return Ok(());
        }
        let mut logbook = Logbook::new(&self.store);
        logbook.append(self.clock.now().wall, event)?;
        logbook.sync()
    }

    /// Writes expiries into the logbook by itself from now on: whoever has received them until now finds the last ones in the queue.
    /// Indexes are still written, and need room, when a recording has ended.
    pub fn log_alone(&self) {
        let _turn = self.turn();
        self.logs_alone.store(true, Ordering::Release);
    }

    /// Removes segments, except those that have been held since they were looked at; returns the bytes of those removed.
    fn expire(
        &self,
        expired: &[ExpiryCandidate],
        reason: &str,
        held_bytes: Option<u64>,
    ) -> Result<u64, StoreError> {
        let mut freed_bytes = 0;
        for segment in expired {
            let mut is_held = || self.holds().may_hold(&segment.name);
            if !CaseFiles::of(&self.store).remove_unless(&segment.name, &mut is_held)? {
                continue;
            }
            freed_bytes += segment.bytes;
            self.tell(Event::Expire {
                segment: segment.name,
                freed_bytes: segment.bytes,
                reason: reason.to_owned(),
                held_bytes,
                first: None,
                last: None,
            })?;
        }
        if expired.is_empty() {
            return Ok(0);
        }
        let kept = ListedSegment::all(&self.store)?;
        // The index of an hour goes with the last of its segments; before the oldest hour there may be some of held ones.
        let hours = kept.iter().map(|segment| Hour::of(segment.name.opened)).collect();
        let holds = self.holds();
        let free = kept.iter().find(|segment| !holds.may_hold(&segment.name));
        let first = free.or(kept.last()).map(|segment| Hour::of(segment.name.opened));
        drop(holds);
        HourFiles::of(&self.store).remove_spent(&hours, first)?;
        let mut openings: Vec<_> = kept.iter().map(|segment| segment.name.opened).collect();
        openings.sort_unstable();
        SecretFiles::of(&self.store).remove_spent(&openings)?;
        self.expire_logbook(&kept)?;
        Ok(freed_bytes)
    }

    /// Removes the logbook of days before the oldest segment's, held or not: from that day on, it tells what is complete.
    fn expire_logbook(&self, kept: &[ListedSegment]) -> Result<(), StoreError> {
        let today = self.clock.now().wall.date();
        let Some(oldest) = kept.iter().map(|segment| segment.name.date()).min() else { return Ok(()) };
        for date in self.store.logbook_dates()? {
            if date < oldest && date < today {
                self.store.remove_logbook(&date)?;
            }
        }
        Ok(())
    }
}

/// Makes room for a file that another part of the program is about to write into the store.
impl Room for Keeper {
    fn make_room(&self, bytes: u64) -> io::Result<()> {
        let mut turn = self.turn();
        self.make_room_in(&mut turn, bytes)
    }
}

/// Measures of the room that is free, and that could be freed.
impl Keeper {
    fn now_ns(&self) -> u64 {
        self.clock.now().monotonic_ns
    }

    /// Bytes that any user may take of the store's file system.
    fn unreserved_bytes(&self) -> u64 {
        self.file_system_space().map_or(UNKNOWN_BYTES, |space| space.available_bytes)
    }

    /// The same, including the space reserved for privileged users.
    fn free_bytes(&self) -> u64 {
        self.file_system_space().map_or(UNKNOWN_BYTES, |space| space.free_bytes)
    }

    /// Space of the file system, if it says. Otherwise, missing space shows when a segment is created.
    fn file_system_space(&self) -> Option<FileSystemSpace> {
        self.store.files().space(self.store.root())
    }

    /// Bytes free on the disk, with those that will be free soon.
    fn available_bytes(&self, turn: &KeeperState) -> u64 {
        let free_bytes = self.unreserved_bytes();
        free_bytes.saturating_add(turn.awaited_bytes(self.now_ns(), free_bytes))
    }

    /// True if there is so much room that its source does not matter.
    fn has_plenty(&self, turn: &KeeperState, wanted_bytes: u64) -> bool {
        let all = with_index(wanted_bytes).saturating_mul(DISK_SEGMENTS_MIN).saturating_mul(self.lanes(turn));
        self.budget_bytes().is_none() && self.unreserved_bytes() >= all
    }

    fn lanes(&self, turn: &KeeperState) -> u64 {
        self.lanes.max(turn.lanes.len() as u64).max(1)
    }

    /// The largest segment for which the disk is large enough.
    fn most(&self, turn: &KeeperState, looked: &Looked, wanted_bytes: u64) -> u64 {
        let ours = expirable(&looked.kept).saturating_add(looked.open_bytes);
        segment_bytes_max(wanted_bytes, self.available_bytes(turn).saturating_add(ours), self.lanes(turn))
    }

    /// Room for the next segment, and the limit that bounds it.
    fn space(&self, turn: &KeeperState, looked: &Looked) -> (Space, &'static str) {
        let of_disk = self.available_bytes(turn).saturating_sub(looked.promised_bytes);
        let used = looked.usage.bytes;
        let of_budget = self.budget_bytes().map_or(UNKNOWN_BYTES, |budget| budget.saturating_sub(used));
        let space = Space {
            available_bytes: of_disk.min(of_budget),
            over_bytes: self.budget_bytes().map_or(0, |budget| used.saturating_sub(budget)),
            expirable_bytes: expirable(&looked.kept),
        };
        (space, if of_budget < of_disk { BUDGET } else { DISK_FULL })
    }

    fn no_room(&self, space: &Space, reason: &str) -> io::Error {
        let least_bytes = with_index(SEGMENT_BYTES_MIN);
        let error = match self.budget_bytes() {
            Some(budget_bytes) if reason == BUDGET => NoRoom::Budget { budget_bytes, least_bytes },
            _ => NoRoom::Disk {
                store: self.store.root().to_owned(),
                free_bytes: self.free_bytes(),
                kept_bytes: space.expirable_bytes,
                least_bytes,
            },
        };
        error.beside_holds(locked(&self.holds).cases())
    }

    /// Segments that could expire, oldest first, and the disk usage of everything.
    fn measure(&self) -> Result<Looked, StoreError> {
        let segments = ListedSegment::all(&self.store)?;
        let is_open = |segment: &&ListedSegment| segment.state == SegmentState::Open;
        // A file system that cannot reserve shows an open segment's space only by the file's length.
        let promised = |segment: &ListedSegment| segment.file_bytes.saturating_sub(segment.disk_bytes);
        let promised_bytes = segments.iter().filter(is_open).map(promised).sum::<u64>();
        let holds = self.holds();
        let (held, free): (Vec<&ListedSegment>, Vec<_>) =
            segments.iter().partition(|segment| holds.may_hold(&segment.name));
        let mut kept: Vec<ExpiryCandidate> = free
            .into_iter()
            .filter(|segment| segment.state == SegmentState::Sealed)
            .map(|segment| ExpiryCandidate { name: segment.name, bytes: segment.disk_bytes })
            .collect();
        sort_by_age(&mut kept, self.clock.now().wall);
        let (packets_bytes, reserved_bytes) = holds.packets_bytes(&self.store);
        drop(holds);
        let promised_bytes = promised_bytes + reserved_bytes;
        let usage = Usage {
            held_bytes: held.iter().map(|segment| segment.disk_bytes).sum::<u64>() + packets_bytes,
            bytes: self.store.disk_bytes()? + promised_bytes,
            segments: segments.len() as u64,
            oldest: segments.iter().map(|segment| segment.name.opened).min(),
        };
        let open_bytes = segments.iter().filter(is_open).map(|segment| segment.disk_bytes).sum();
        Ok(Looked { kept, usage, open_bytes, promised_bytes })
    }
}

fn expirable(kept: &[ExpiryCandidate]) -> u64 {
    kept.iter().map(|segment| segment.bytes).sum()
}
