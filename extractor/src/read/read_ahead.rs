//! Thread pool for reading ahead: tasks start in the order of their submission, and a thread that waits for one works on others
//! meanwhile.
//!
//! Threads are started only once the waiting work is worth it: a small query never leaves its thread.

use netrewind_store::locked;
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::Scope;

/// Waiting work, in the unit of [`WorkPool::submit`]'s weight, from which on helpers are started.
const HELPERS_FROM_WEIGHT: u64 = 2 << 20;

/// A task that was submitted.
pub(crate) struct Task<T, R> {
    pub(crate) input: T,
    state: Mutex<TaskState<R>>,
    changed: Condvar,
}

enum TaskState<R> {
    Waiting,
    Running,
    Done(R),
    /// Its result was taken, or its worker panicked.
    Gone,
}

struct PoolShared<T, R> {
    queue: Mutex<TaskQueue<T, R>>,
    work_or_end: Condvar,
}

struct TaskQueue<T, R> {
    waiting: VecDeque<Arc<Task<T, R>>>,
    ended: bool,
}

/// Runs `work` on tasks, on the calling thread and at most `helpers` others.
pub(crate) struct WorkPool<'scope, 'env, T, R> {
    scope: &'scope Scope<'scope, 'env>,
    shared: Arc<PoolShared<T, R>>,
    work: &'scope (dyn Fn(&T) -> R + Sync),
    helpers: usize,
    weight: u64,
}

impl<'scope, 'env, T: Send + Sync + 'scope, R: Send + 'scope> WorkPool<'scope, 'env, T, R> {
    /// No thread is started yet.
    pub(crate) fn new(
        scope: &'scope Scope<'scope, 'env>,
        helpers: usize,
        work: &'scope (dyn Fn(&T) -> R + Sync),
    ) -> Self {
        let queue = Mutex::new(TaskQueue { waiting: VecDeque::new(), ended: false });
        Self {
            scope,
            shared: Arc::new(PoolShared { queue, work_or_end: Condvar::new() }),
            work,
            helpers,
            weight: 0,
        }
    }

    /// Puts a task at the end of the queue. `weight` says how much work it is, for instance in bytes to read.
    pub(crate) fn submit(&mut self, input: T, weight: u64) -> Arc<Task<T, R>> {
        let task = Arc::new(Task { input, state: Mutex::new(TaskState::Waiting), changed: Condvar::new() });
        locked(&self.shared.queue).waiting.push_back(Arc::clone(&task));
        self.shared.work_or_end.notify_one();
        self.weight += weight;
        if self.weight >= HELPERS_FROM_WEIGHT {
            for _ in 0..std::mem::take(&mut self.helpers) {
                let (shared, work) = (Arc::clone(&self.shared), self.work);
                self.scope.spawn(move || help(&shared, work));
            }
        }
        task
    }

    /// Result of a task; works on waiting tasks meanwhile.
    pub(crate) fn finish(&self, task: &Task<T, R>) -> R {
        loop {
            if let Some(result) = task.take_if_done() {
                return result;
            }
            let other = locked(&self.shared.queue).waiting.pop_front();
            match other {
                Some(other) => other.run(self.work),
                // A helper has taken it, or it was lost by one that panicked: then the panic is raised here.
                None if task.wait() => {}
                None => return (self.work)(&task.input),
            }
        }
    }
}

impl<T, R> Drop for WorkPool<'_, '_, T, R> {
    fn drop(&mut self) {
        let mut queue = locked(&self.shared.queue);
        queue.waiting.clear();
        queue.ended = true;
        self.shared.work_or_end.notify_all();
    }
}

fn help<T, R>(shared: &PoolShared<T, R>, work: &(dyn Fn(&T) -> R + Sync)) {
    loop {
        let mut queue = locked(&shared.queue);
        let task = loop {
            if queue.ended {
                return;
            }
            match queue.waiting.pop_front() {
                Some(task) => break task,
                None => queue = shared.work_or_end.wait(queue).unwrap_or_else(PoisonError::into_inner),
            }
        };
        drop(queue);
        task.run(work);
    }
}

impl<T, R> Task<T, R> {
    /// Runs it, unless another thread has.
    fn run(&self, work: &(dyn Fn(&T) -> R + Sync)) {
        {
            let mut state = locked(&self.state);
            if !matches!(*state, TaskState::Waiting) {
                return;
            }
            *state = TaskState::Running;
        }
        let unless_done = MarkGone(self);
        let result = work(&self.input);
        std::mem::forget(unless_done);
        *locked(&self.state) = TaskState::Done(result);
        self.changed.notify_all();
    }

    fn take_if_done(&self) -> Option<R> {
        let mut state = locked(&self.state);
        if !matches!(*state, TaskState::Done(_)) {
            return None;
        }
        match std::mem::replace(&mut *state, TaskState::Gone) {
            TaskState::Done(result) => Some(result),
            _ => None,
        }
    }

    /// Waits until it is done; false where it never will be.
    fn wait(&self) -> bool {
        let mut state = locked(&self.state);
        while matches!(*state, TaskState::Waiting | TaskState::Running) {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        matches!(*state, TaskState::Done(_))
    }
}

/// Marks a task as gone when its worker panics, and wakes the waiting threads.
struct MarkGone<'a, T, R>(&'a Task<T, R>);

impl<T, R> Drop for MarkGone<'_, T, R> {
    fn drop(&mut self) {
        *locked(&self.0.state) = TaskState::Gone;
        self.0.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_the_order_they_are_asked_for() {
        for helpers in [0, 1, 3] {
            let work = |n: &u64| n * n;
            std::thread::scope(|scope| {
                let mut pool = WorkPool::new(scope, helpers, &work);
                let tasks: Vec<_> = (0..500).map(|n| pool.submit(n, HELPERS_FROM_WEIGHT / 100)).collect();
                for (n, task) in (0..500).zip(&tasks) {
                    assert_eq!(pool.finish(task), n * n);
                }
                pool.submit(7, 0); // left behind: the pool ends all the same
            });
        }
    }
}
