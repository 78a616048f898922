//! Memory shared by all answers.
//!
//! ```text
//! answer -> Account -> Holding: a table, a piece of a segment's parts, rows of a list, packets that wait
//! ```
//!
//! An answer reserves memory as it grows. If there is none left, it releases everything, waits for its turn, and starts over;
//! the answer whose turn it is waits a little for room that others give back, and beyond that makes do with what there is, which
//! makes the answer approximate. What is read in order, and cannot be begun anew, makes do at once: it forgets earlier.
//!
//! **Invariant:** only the one who has the turn waits while it holds any, so that nobody waits for somebody who waits for them.

use netrewind_store::locked;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use netrewind_flows::memory::TableMemory;

use crate::ExtractError;
use crate::answer::control::{Aside, Control};

/// Default limit on the bytes of all answers together.
pub const ANSWERS_BYTES_MAX: u64 = 512 << 20;
/// Memory in bytes that any answer gets, whatever the others hold: small queries never have to wait.
const SMALL_BYTES: u64 = 2 << 20;
/// Interval at which a waiting answer checks for room.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);
/// Checks after which the answer whose turn it is continues with the memory that it has: five seconds.
const LOOKS_IN_TURN_MAX: u32 = 250;

/// The memory.
#[derive(Clone, Debug)]
pub struct Memory(Arc<SharedMemory>);

#[derive(Debug)]
struct SharedMemory {
    bytes_max: u64,
    state: Mutex<MemoryState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct MemoryState {
    held: u64,
    /// Answers waiting for their turn; the first of them is next.
    waiting: VecDeque<u64>,
    next_number: u64,
    turn_is_taken: bool,
    /// True if the answer whose turn it is waits for room: no other may grow.
    turn_waits: bool,
}

/// Memory held by one answer.
#[derive(Clone, Debug)]
pub(crate) struct MemoryAccount(Arc<AccountInner>);

#[derive(Debug)]
struct AccountInner {
    memory: Memory,
    held: AtomicU64,
    /// It was refused more: it cannot be answered so.
    is_short: AtomicBool,
    /// It has waited in vain.
    makes_do: AtomicBool,
    turn: Option<MemoryTurn>,
}

/// Part of an answer's memory, held until it is dropped.
#[derive(Debug)]
pub(crate) struct Holding {
    account: MemoryAccount,
    bytes: u64,
    /// Those of a table, and those beside it.
    table_bytes: u64,
    bytes_beside: u64,
}

/// The turn, until it is dropped.
#[derive(Debug)]
struct MemoryTurn(Memory);

/// Place in the queue for the turn.
struct Waiter<'m> {
    memory: &'m Memory,
    number: u64,
}

impl Memory {
    /// Of so many bytes.
    pub fn new(bytes_max: u64) -> Self {
        Self(Arc::new(SharedMemory { bytes_max, state: Mutex::default(), changed: Condvar::new() }))
    }

    fn state(&self) -> MutexGuard<'_, MemoryState> {
        locked(&self.0.state)
    }

    fn wait<'s>(&'s self, state: MutexGuard<'s, MemoryState>) -> MutexGuard<'s, MemoryState> {
        self.0.changed.wait_timeout(state, LOOK_INTERVAL).unwrap_or_else(PoisonError::into_inner).0
    }

    /// Account of an answer that cannot be begun anew.
    pub(crate) fn account(&self) -> MemoryAccount {
        self.account_with(None)
    }

    fn account_with(&self, turn: Option<MemoryTurn>) -> MemoryAccount {
        MemoryAccount(Arc::new(AccountInner {
            memory: self.clone(),
            held: AtomicU64::new(0),
            is_short: AtomicBool::new(false),
            makes_do: AtomicBool::new(false),
            turn,
        }))
    }

    /// Runs `ask`; if memory runs out, runs it again once it is its turn.
    pub(crate) fn answer<T>(
        &self,
        control: &mut dyn Control,
        mut ask: impl FnMut(&MemoryAccount, &mut dyn Control) -> Result<T, ExtractError>,
    ) -> Result<T, ExtractError> {
        let account = self.account_with(None);
        match ask(&account, control) {
            // Threads cancel work that is in vain like work that nobody waits for.
            Err(ExtractError::NoMemory | ExtractError::Cancelled) if account.is_short() => {}
            answered => return answered,
        }
        drop(account);
        let turn = self.take_turn(control)?;
        ask(&self.account_with(Some(turn)), control)
    }

    fn take_turn(&self, control: &dyn Control) -> Result<MemoryTurn, ExtractError> {
        let mut turn = Err(ExtractError::NoMemory);
        control.aside(Aside::WaitingForMemory, &mut || turn = self.wait_for_turn(control));
        turn
    }

    fn wait_for_turn(&self, control: &dyn Control) -> Result<MemoryTurn, ExtractError> {
        let number = {
            let mut state = self.state();
            state.next_number += 1;
            let number = state.next_number;
            state.waiting.push_back(number);
            number
        };
        // It leaves the queue however this ends.
        let waiter = Waiter { memory: self, number };
        while !control.cancelled() {
            let mut state = self.state();
            if !state.turn_is_taken && state.waiting.front() == Some(&waiter.number) {
                state.turn_is_taken = true;
                drop(state);
                return Ok(MemoryTurn(self.clone()));
            }
            drop(self.wait(state));
        }
        Err(ExtractError::Cancelled)
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.memory.state().waiting.retain(|number| *number != self.number);
        self.memory.0.changed.notify_all();
    }
}

impl Drop for MemoryTurn {
    fn drop(&mut self) {
        let mut state = self.0.state();
        (state.turn_is_taken, state.turn_waits) = (false, false);
        drop(state);
        self.0.0.changed.notify_all();
    }
}

impl MemoryAccount {
    /// Empty holding of this account.
    pub(crate) fn holding(&self) -> Holding {
        Holding { account: self.clone(), bytes: 0, table_bytes: 0, bytes_beside: 0 }
    }

    /// True if there was no room and it is not its turn: its work is in vain.
    pub(crate) fn is_short(&self) -> bool {
        self.0.is_short.load(Ordering::Relaxed)
    }

    /// True if it may hold this many bytes more. Waits for them if it is its turn and others hold them.
    fn may_take(&self, more: u64) -> bool {
        let AccountInner { memory, held, turn, makes_do, .. } = &*self.0;
        let own = held.load(Ordering::Relaxed);
        let mut state = memory.state();
        for look in 0.. {
            let has_room = state.held.saturating_add(more) <= memory.0.bytes_max;
            let is_let = turn.is_some() || !state.turn_waits;
            if own.saturating_add(more) <= SMALL_BYTES || has_room && is_let {
                state.held += more;
                state.turn_waits &= turn.is_none();
                held.fetch_add(more, Ordering::Relaxed);
                return true;
            }
            let is_alone = state.held <= held.load(Ordering::Relaxed);
            if turn.is_none() || is_alone || look >= LOOKS_IN_TURN_MAX || makes_do.load(Ordering::Relaxed) {
                break;
            }
            state.turn_waits = true;
            state = memory.wait(state);
        }
        if turn.is_some() {
            state.turn_waits = false;
            makes_do.store(true, Ordering::Relaxed);
        } else {
            self.0.is_short.store(true, Ordering::Relaxed);
        }
        false
    }

    fn give_back(&self, bytes: u64) {
        let AccountInner { memory, held, .. } = &*self.0;
        held.fetch_sub(bytes, Ordering::Relaxed);
        memory.state().held -= bytes;
        memory.0.changed.notify_all();
    }
}

impl Holding {
    /// Sets the memory held to this many bytes; false if there is no room for more: then the old size stays.
    pub(crate) fn hold(&mut self, bytes: u64) -> bool {
        if bytes == self.bytes {
            return true;
        }
        if bytes > self.bytes {
            if !self.account.may_take(bytes - self.bytes) {
                return false;
            }
        } else {
            self.account.give_back(self.bytes - bytes);
        }
        self.bytes = bytes;
        true
    }
}

impl Holding {
    /// The same memory on an account without a turn: it is held while others take theirs.
    pub(crate) fn without_turn(mut self) -> Self {
        let memory = &self.account.0.memory;
        let account = memory.account();
        let bytes = std::mem::take(&mut self.bytes);
        account.0.held.fetch_add(bytes, Ordering::Relaxed);
        self.account.0.held.fetch_sub(bytes, Ordering::Relaxed);
        Self { account, bytes, table_bytes: self.table_bytes, bytes_beside: self.bytes_beside }
    }
}

impl TableMemory for Holding {
    fn may_grow(&mut self, capacity: usize, entry_bytes: usize) -> bool {
        let while_growing = table_bytes(capacity, entry_bytes) + table_bytes(2 * capacity, entry_bytes);
        self.hold(while_growing + self.bytes_beside)
    }

    fn has_grown(&mut self, capacity: usize, entry_bytes: usize) {
        self.table_bytes = table_bytes(capacity, entry_bytes);
        // At most what it holds while it grows.
        self.hold((self.table_bytes + self.bytes_beside).min(self.bytes));
    }

    fn may_hold_beside(&mut self, bytes: u64) -> bool {
        let is_let = self.hold(self.table_bytes + bytes);
        if is_let {
            self.bytes_beside = bytes;
        }
        is_let
    }
}

impl Drop for Holding {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.account.give_back(self.bytes);
        }
    }
}

/// Bytes of a hash table: an eighth of its places stays empty, and each has a byte beside it.
fn table_bytes(capacity: usize, entry_bytes: usize) -> u64 {
    (capacity as u64).saturating_mul(entry_bytes as u64 + 1) / 7 * 8
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::NoControl;

    const MIB: u64 = 1 << 20;

    #[test]
    fn who_finds_no_room_gives_back_and_begins_anew_in_turn() {
        let memory = Memory::new(100 * MIB);
        let running = AtomicU64::new(0);
        let most = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for _ in 0..6 {
                scope.spawn(|| {
                    let answer = memory.answer(&mut NoControl, |account, _| {
                        let mut holding = account.holding();
                        for step in 1..=60 {
                            if !holding.hold(step * MIB) {
                                assert!(account.is_short());
                                return Err(ExtractError::NoMemory);
                            }
                            most.fetch_max(memory.state().held, Ordering::Relaxed);
                            std::thread::sleep(Duration::from_millis(1));
                        }
                        running.fetch_add(1, Ordering::Relaxed);
                        Ok(())
                    });
                    answer.unwrap();
                });
            }
        });
        assert_eq!(running.into_inner(), 6, "all are answered");
        assert!(most.into_inner() <= 100 * MIB);
        let state = memory.state();
        assert_eq!((state.held, state.turn_is_taken, state.waiting.len()), (0, false, 0));
    }

    #[test]
    fn one_that_needs_more_than_there_is_makes_do_and_small_ones_go_on() {
        let memory = Memory::new(10 * MIB);
        let mut rounds = 0;
        let answered = memory.answer(&mut NoControl, |account, _| {
            rounds += 1;
            let mut holding = account.holding();
            assert!(holding.hold(9 * MIB));
            let is_more_granted = holding.hold(20 * MIB);
            assert!(!is_more_granted);
            if account.is_short() {
                return Err(ExtractError::NoMemory);
            }
            let small = memory.answer(&mut NoControl, |account, _| Ok(account.holding().hold(MIB)));
            assert!(small.unwrap(), "small ones are never in the way");
            Ok(holding.bytes)
        });
        assert_eq!((answered.unwrap(), rounds), (9 * MIB, 2));
    }

    #[test]
    fn who_gives_up_leaves_the_queue() {
        let memory = Memory::new(10 * MIB);
        let account = memory.account_with(Some(memory.take_turn(&NoControl).unwrap()));
        let is_gone = AtomicBool::new(true);
        assert!(matches!(memory.take_turn(&&is_gone), Err(ExtractError::Cancelled)));
        assert!(memory.state().waiting.is_empty() && memory.state().turn_is_taken);
        drop(account);
        assert!(!memory.state().turn_is_taken);
    }
}
