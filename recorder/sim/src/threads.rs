//! Workers whose turns are all taken by one thread, in an order that a test decides, on a clock that moves when all have
//! nothing to do.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use netrewind_store::clock::{Clock, ManualClock, Waker};
use netrewind_store::locked;
use netrewind_store::turns::{NextTurn, RunningWorker, Threads, Worker};

/// Decides which of several workers is next: given `n`, it returns a number below it.
type Below = Box<dyn FnMut(usize) -> usize + Send>;

/// The workers of a simulated process. Its clones are the same process.
#[derive(Clone)]
pub struct SimThreads(Arc<SimProcess>);

struct SimProcess {
    clock: Arc<ManualClock>,
    is_killed: AtomicBool,
    workers: Mutex<Vec<SimWorker>>,
    below: Mutex<Below>,
}

struct SimWorker {
    name: String,
    waker: Waker,
    next: NextTurn,
    /// `None` during its turn, and after its last.
    worker: Option<Box<dyn Worker>>,
}

impl SimThreads {
    /// No workers yet. `below` decides, of `n` workers that could have a turn, which one has it.
    pub fn new(clock: Arc<ManualClock>, below: impl FnMut(usize) -> usize + Send + 'static) -> Self {
        let (workers, below) = (Mutex::default(), Mutex::new(Box::new(below) as Below));
        Self(Arc::new(SimProcess { clock, is_killed: AtomicBool::new(false), workers, below }))
    }

    /// Ends the process as kill -9 does: nobody has a turn any more.
    pub fn kill(&self) {
        self.0.is_killed.store(true, Ordering::Relaxed);
        // What a worker has ends with it, and may have waited for another worker's last turn.
        let workers = std::mem::take(&mut *locked(&self.0.workers));
        drop(workers);
    }

    /// Has one turn taken; moves the clock before, if nobody has anything to do earlier. False if nobody ever has.
    pub fn step(&self) -> bool {
        let SimProcess { clock, is_killed, workers, below } = &*self.0;
        if is_killed.load(Ordering::Relaxed) {
            return false;
        }
        let now_ns = clock.now().monotonic_ns;
        let mut all = locked(workers);
        let mut due = Vec::new();
        for (at, known) in all.iter_mut().enumerate().filter(|(_, known)| known.worker.is_some()) {
            if known.waker.take() {
                known.next = NextTurn::At(now_ns);
            }
            due.extend(matches!(known.next, NextTurn::At(at_ns) if at_ns <= now_ns).then_some(at));
        }
        if due.is_empty() {
            let times = all.iter().filter(|known| known.worker.is_some());
            let times = times.filter_map(|known| match known.next {
                NextTurn::At(at_ns) => Some(at_ns),
                NextTurn::WhenWoken | NextTurn::Never => None,
            });
            let Some(next_ns) = times.min() else { return false };
            drop(all);
            clock.advance(Duration::from_nanos(next_ns - now_ns));
            return true;
        }
        let Some(&at) = due.get((locked(below))(due.len())) else { return true };
        let taken = all.get_mut(at).and_then(|known| known.worker.take());
        drop(all);
        let Some(mut worker) = taken else { return true };
        match worker.turn(clock.now()) {
            // Its queues end with it, which wakes others.
            NextTurn::Never => drop(worker),
            next => {
                if let Some(known) = locked(workers).get_mut(at) {
                    (known.next, known.worker) = (next, Some(worker));
                }
            }
        }
        true
    }

    /// Names of the workers that have not had their last turn.
    pub fn running(&self) -> Vec<String> {
        let workers = locked(&self.0.workers);
        workers.iter().filter(|known| known.worker.is_some()).map(|known| known.name.clone()).collect()
    }
}

impl Threads for SimThreads {
    fn start(
        &self,
        name: String,
        _niceness: i32,
        waker: &Waker,
        worker: Box<dyn Worker>,
    ) -> io::Result<Box<dyn RunningWorker>> {
        let mut workers = locked(&self.0.workers);
        let number = workers.len();
        workers.push(SimWorker { name, waker: waker.clone(), next: NextTurn::At(0), worker: Some(worker) });
        Ok(Box::new(SimRunning { threads: self.clone(), number }))
    }

    fn may_wait_in_turns(&self) -> bool {
        false
    }

    fn let_others(&self) -> bool {
        self.step()
    }
}

struct SimRunning {
    threads: SimThreads,
    number: usize,
}

impl RunningWorker for SimRunning {
    fn is_finished(&self) -> bool {
        locked(&self.threads.0.workers).get(self.number).is_none_or(|known| known.worker.is_none())
    }

    fn join(self: Box<Self>) -> bool {
        while !self.is_finished() {
            if !self.threads.step() {
                return false;
            }
        }
        true
    }
}
