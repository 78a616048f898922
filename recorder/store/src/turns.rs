//! Threads that work in turns: each is a [`Worker`] that is told the time, does what is due, and says when it wants to be asked
//! again. A thread does that by the clock; a test, or a simulated world, does it by itself, and in any order.
//!
//! **Invariant:** a turn does not sleep. It waits for a source of packets or a disk at most, and only where [`Threads`] allow it.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, SendError};
use std::thread::JoinHandle;

use crate::clock::{Clock, Now, Waker};

/// Time of a worker's next turn. It comes earlier if the worker is woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextTurn {
    /// When the monotonic clock shows this; at once if it does already.
    At(u64),
    /// Only when the worker is woken.
    WhenWoken,
    /// Never: the work is done.
    Never,
}

/// Work that is done in turns.
pub trait Worker: Send {
    /// Does what is due.
    fn turn(&mut self, now: Now) -> NextTurn;
}

/// Starts workers.
pub trait Threads: Send + Sync {
    /// Has the turns of `worker` taken until it wants no more, earlier than it asked for when `waker` is woken.
    /// Work with a larger `niceness` leaves the processor to other work: nice(2).
    fn start(
        &self,
        name: String,
        niceness: i32,
        waker: &Waker,
        worker: Box<dyn Worker>,
    ) -> io::Result<Box<dyn RunningWorker>>;

    /// True if a worker may wait in a turn for what it works with, such as a source of packets: it keeps no other waiting.
    fn may_wait_in_turns(&self) -> bool;

    /// Has another worker's turn taken, where a worker waits in a turn that keeps the others waiting; false where they go on by
    /// themselves.
    fn let_others(&self) -> bool {
        false
    }
}

/// A worker whose turns are being taken.
pub trait RunningWorker: Send + Sync {
    /// True if it has had its last turn.
    fn is_finished(&self) -> bool;

    /// Waits for its last turn; false if it ended by a fault of the program.
    fn join(self: Box<Self>) -> bool;
}

/// A thread for each worker.
#[derive(Clone, Debug)]
pub struct SystemThreads {
    clock: Arc<dyn Clock>,
}

impl SystemThreads {
    /// Threads that wait by `clock`.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock }
    }
}

impl Threads for SystemThreads {
    fn start(
        &self,
        name: String,
        niceness: i32,
        waker: &Waker,
        mut worker: Box<dyn Worker>,
    ) -> io::Result<Box<dyn RunningWorker>> {
        let (clock, waker) = (self.clock.clone(), waker.clone());
        let thread = std::thread::Builder::new().name(name).spawn(move || {
            if niceness > 0 {
                // Of this thread, and those that it starts: nice(2) on Linux. Refused nowhere, as it only lowers.
                let _ = rustix::process::nice(niceness);
            }
            take_turns(worker.as_mut(), &*clock, &waker);
        })?;
        Ok(Box::new(thread))
    }

    fn may_wait_in_turns(&self) -> bool {
        true
    }
}

impl RunningWorker for JoinHandle<()> {
    fn is_finished(&self) -> bool {
        Self::is_finished(self)
    }

    fn join(self: Box<Self>) -> bool {
        Self::join(*self).is_ok()
    }
}

/// Has all turns of `worker` taken on this thread.
pub fn take_turns(worker: &mut dyn Worker, clock: &dyn Clock, waker: &Waker) {
    loop {
        let now = clock.now();
        match worker.turn(now) {
            NextTurn::At(at_ns) if at_ns <= now.monotonic_ns => {}
            NextTurn::At(at_ns) => clock.wait(Some(at_ns), waker),
            NextTurn::WhenWoken => clock.wait(None, waker),
            NextTurn::Never => return,
        }
    }
}

/// A queue to a worker, which is woken by all that is sent, and by the end of the last sender.
pub fn queue<T>(waker: &Waker) -> (QueueSender<T>, mpsc::Receiver<T>) {
    let (sender, receiver) = mpsc::channel();
    (QueueSender { sender, waker: WakesWhenDropped(waker.clone()) }, receiver)
}

/// The end of a queue at which it is filled.
#[derive(Debug)]
pub struct QueueSender<T> {
    // Dropped in this order: whoever is woken finds the sender gone.
    sender: mpsc::Sender<T>,
    waker: WakesWhenDropped,
}

#[derive(Debug)]
struct WakesWhenDropped(Waker);

impl Drop for WakesWhenDropped {
    fn drop(&mut self) {
        self.0.wake();
    }
}

impl<T> QueueSender<T> {
    /// Puts something into the queue; refused where the receiver is gone.
    pub fn send(&self, thing: T) -> Result<(), SendError<T>> {
        self.sender.send(thing)?;
        self.waker.0.wake();
        Ok(())
    }
}

impl<T> Clone for QueueSender<T> {
    fn clone(&self) -> Self {
        Self { sender: self.sender.clone(), waker: WakesWhenDropped(self.waker.0.clone()) }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::TryRecvError;
    use std::time::Duration;

    use super::*;
    use crate::Timestamp;
    use crate::clock::{ManualClock, SystemClock};

    /// Adds up what it is sent, and ends with the last sender.
    struct Sum(mpsc::Receiver<u64>, mpsc::Sender<u64>, u64);

    impl Worker for Sum {
        fn turn(&mut self, _: Now) -> NextTurn {
            loop {
                match self.0.try_recv() {
                    Ok(number) => self.2 += number,
                    Err(TryRecvError::Empty) => return NextTurn::WhenWoken,
                    Err(TryRecvError::Disconnected) => {
                        self.1.send(self.2).unwrap();
                        return NextTurn::Never;
                    }
                }
            }
        }
    }

    #[test]
    fn a_worker_is_woken_by_what_is_sent_and_by_the_end_of_the_last_sender() {
        let (waker, (result, sum)) = (Waker::default(), mpsc::channel());
        let (numbers, taken) = queue(&waker);
        let threads = SystemThreads::new(Arc::new(SystemClock::new()));
        let running = threads.start("sum".into(), 0, &waker, Box::new(Sum(taken, result, 0))).unwrap();
        let other = numbers.clone();
        numbers.send(3).unwrap();
        other.send(4).unwrap();
        drop(numbers);
        assert!(!running.is_finished());
        drop(other);
        assert!(running.join());
        assert_eq!(sum.recv().unwrap(), 7);
    }

    /// Notes the seconds of its turns, which it wants three of.
    struct Alarm(Vec<u64>);

    impl Worker for Alarm {
        fn turn(&mut self, now: Now) -> NextTurn {
            self.0.push(now.monotonic_ns / 1_000_000_000);
            match self.0.len() {
                1 => NextTurn::At(now.monotonic_ns),
                2 => NextTurn::At(now.after(Duration::from_secs(5))),
                _ => NextTurn::Never,
            }
        }
    }

    #[test]
    fn turns_are_taken_when_they_are_asked_for() {
        let (clock, mut alarm) = (ManualClock::moved_by_waits(Timestamp::MIN), Alarm(Vec::new()));
        take_turns(&mut alarm, &clock, &Waker::default());
        assert_eq!(alarm.0, [0, 0, 5]);
    }
}
