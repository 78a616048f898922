//! The clocks, as an argument, and the wait for a moment.
//!
//! **Invariant:** no other library code reads the system's clocks or sleeps: whoever needs the time, or has to wait, is given a
//! [`Clock`].

use std::fmt::Debug;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use crate::Timestamp;
use crate::locked;

/// Both clocks' times at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// The wall clock: names segments and logbook lines. It may jump.
    pub wall: Timestamp,
    /// Nanoseconds of a clock that never jumps, from an arbitrary origin: measures every interval.
    pub monotonic_ns: u64,
}

impl Now {
    /// The monotonic time, since its origin.
    pub fn monotonic(&self) -> Duration {
        Duration::from_nanos(self.monotonic_ns)
    }

    /// The monotonic time after this long.
    pub fn after(&self, time: Duration) -> u64 {
        self.monotonic_ns.saturating_add(nanoseconds(time))
    }

    /// Time that has passed since a monotonic time; zero if that is still to come.
    pub fn since(&self, monotonic_ns: u64) -> Duration {
        Duration::from_nanos(self.monotonic_ns.saturating_sub(monotonic_ns))
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Source of the time.
pub trait Clock: Debug + Send + Sync {
    /// The time now.
    fn now(&self) -> Now;

    /// Waits until the monotonic clock shows `until_ns`, or for ever without it, and ends early when `waker` is woken. A call of
    /// [`Waker::wake`] ends one wait: the present one, or else the next.
    fn wait(&self, until_ns: Option<u64>, waker: &Waker);

    /// Waits this long.
    fn sleep(&self, time: Duration) {
        self.wait(Some(self.now().after(time)), &Waker::default());
    }
}

/// Ends another thread's wait.
#[derive(Clone, Debug, Default)]
pub struct Waker(Arc<WakerState>);

#[derive(Debug, Default)]
struct WakerState {
    signal: Mutex<Signal>,
    changed: Condvar,
}

#[derive(Clone, Copy, Debug, Default)]
struct Signal {
    is_woken: bool,
    /// The clock that is waited by has been moved.
    is_clock_moved: bool,
}

impl Waker {
    /// Ends the present wait, or the next one.
    pub fn wake(&self) {
        self.signal().is_woken = true;
        self.0.changed.notify_all();
    }

    /// True if it was woken since a wait last ended so. Counts as the end of a wait.
    pub fn take(&self) -> bool {
        std::mem::take(&mut self.signal().is_woken)
    }

    fn signal(&self) -> MutexGuard<'_, Signal> {
        // Consistent at every moment: a panic elsewhere does no harm.
        locked(&self.0.signal)
    }

    fn clock_moved(&self) {
        self.signal().is_clock_moved = true;
        self.0.changed.notify_all();
    }

    /// Waits for a signal, at most this long; takes it.
    fn next_signal(&self, at_most: Duration) -> Signal {
        let is_quiet = |signal: &mut Signal| !signal.is_woken && !signal.is_clock_moved;
        let waited = self.0.changed.wait_timeout_while(self.signal(), at_most, is_quiet);
        let (mut signal, _) = waited.unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *signal)
    }
}

/// The system's clocks.
#[derive(Debug)]
pub struct SystemClock {
    started: Instant,
}

impl SystemClock {
    /// The clocks; the monotonic one begins now.
    #[expect(clippy::new_without_default, reason = "two of them do not show the same time")]
    pub fn new() -> Self {
        Self { started: Instant::now() }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Now {
        Now {
            wall: Timestamp::from_system(SystemTime::now()),
            monotonic_ns: nanoseconds(self.started.elapsed()),
        }
    }

    fn wait(&self, until_ns: Option<u64>, waker: &Waker) {
        let passed = || nanoseconds(self.started.elapsed());
        loop {
            let left_ns = until_ns.map_or(u64::MAX, |until_ns| until_ns.saturating_sub(passed()));
            if waker.next_signal(Duration::from_nanos(left_ns)).is_woken || left_ns == 0 {
                return;
            }
        }
    }
}

/// Clocks that stand still until they are moved: for tests and simulated worlds.
#[derive(Debug)]
pub struct ManualClock {
    time: Mutex<ManualTime>,
    moves_by_itself: bool,
}

#[derive(Debug)]
struct ManualTime {
    now: Now,
    waiting: Vec<Waker>,
}

impl ManualClock {
    /// Clocks that only [`Self::advance`] moves. The wall clock shows `wall`, the monotonic one zero.
    pub fn new(wall: Timestamp) -> Self {
        let time = ManualTime { now: Now { wall, monotonic_ns: 0 }, waiting: Vec::new() };
        Self { time: Mutex::new(time), moves_by_itself: false }
    }

    /// Clocks that each wait moves to its end, so that nobody really waits.
    pub fn moved_by_waits(wall: Timestamp) -> Self {
        Self { moves_by_itself: true, ..Self::new(wall) }
    }

    fn time(&self) -> MutexGuard<'_, ManualTime> {
        locked(&self.time)
    }

    /// Moves both clocks on.
    pub fn advance(&self, by: Duration) {
        let mut time = self.time();
        time.now = Now { wall: time.now.wall.plus_ns(nanoseconds(by)), monotonic_ns: time.now.after(by) };
        time.waiting.drain(..).for_each(|waker| waker.clock_moved());
    }

    /// Sets the wall clock alone, as an administrator would.
    pub fn set_wall(&self, wall: Timestamp) {
        self.time().now.wall = wall;
    }

    /// True if the wait is over; otherwise `waker` hears of the clock's next move.
    fn is_over(&self, until_ns: Option<u64>, waker: &Waker) -> bool {
        let mut time = self.time();
        let is_over = until_ns.is_some_and(|until_ns| time.now.monotonic_ns >= until_ns);
        if !is_over {
            time.waiting.push(waker.clone());
        }
        is_over
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Now {
        self.time().now
    }

    fn wait(&self, until_ns: Option<u64>, waker: &Waker) {
        if let Some(until_ns) = until_ns.filter(|_| self.moves_by_itself) {
            if !waker.take() {
                self.advance(Duration::from_nanos(until_ns.saturating_sub(self.now().monotonic_ns)));
            }
            return;
        }
        while !waker.take() && !self.is_over(until_ns, waker) {
            if waker.next_signal(Duration::MAX).is_woken {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_wake_ends_one_wait_even_if_it_comes_first() {
        let (clock, waker) = (SystemClock::new(), Waker::default());
        waker.wake();
        clock.wait(None, &waker);
        let before = clock.now();
        clock.wait(Some(before.after(SECOND / 100)), &waker);
        assert!(clock.now().since(before.monotonic_ns) >= SECOND / 100);
        std::thread::scope(|scope| {
            scope.spawn(|| clock.wait(None, &waker));
            waker.wake();
        });
        assert!(!waker.take());
    }

    #[test]
    fn a_manual_clock_ends_the_waits_that_it_is_moved_past() {
        let (clock, waker) = (ManualClock::new(Timestamp::new(1_795_300_000, 0)), Waker::default());
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| {
                clock.wait(Some(2_000_000_000), &waker);
                clock.now().monotonic_ns
            });
            for _ in 0..3 {
                std::thread::yield_now();
                clock.advance(SECOND);
            }
            assert!((2_000_000_000..=3_000_000_000).contains(&waiting.join().unwrap()));
        });
        assert_eq!(clock.now().wall, Timestamp::new(1_795_300_003, 0));
        clock.set_wall(Timestamp::new(7, 0));
        assert_eq!(clock.now(), Now { wall: Timestamp::new(7, 0), monotonic_ns: 3_000_000_000 });
    }

    #[test]
    fn a_clock_that_waits_move_makes_nobody_wait() {
        let (clock, waker) = (ManualClock::moved_by_waits(Timestamp::new(5, 0)), Waker::default());
        clock.sleep(SECOND * 3600);
        assert_eq!(clock.now().monotonic_ns, 3_600_000_000_000);
        waker.wake();
        clock.wait(Some(u64::MAX), &waker);
        assert_eq!(clock.now().monotonic_ns, 3_600_000_000_000, "woken before");
    }
}
