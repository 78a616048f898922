//! Who may read: answers are begun in the order in which they were asked for, and only so many at once.
//!
//! An answer holds a place from its beginning to its end, and the right to read only while it reads: one whose client is
//! slow to take it waits without it, so that slow clients cost memory and a thread each, but no reading.

use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::problem::{Kind, Problem};

/// What a client is told to wait where the queue is full.
const RETRY_AFTER_SECONDS: u32 = 5;

/// How much is done at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolLimits {
    /// Answers that read at the same time.
    pub reading_max: usize,
    /// Answers that have begun and not ended.
    pub answers_max: usize,
    /// Answers that wait to begin.
    pub waiting_max: usize,
}

/// Hands out the right to answer.
#[derive(Clone, Debug)]
pub struct Pool {
    admitted: Arc<Semaphore>,
    answers: Arc<Semaphore>,
    reading: Arc<Semaphore>,
    limits: PoolLimits,
}

/// The right to answer, until it is dropped.
#[derive(Debug)]
pub struct Slot {
    _admitted: OwnedSemaphorePermit,
    _answer: OwnedSemaphorePermit,
    reading: Option<OwnedSemaphorePermit>,
    all_reading: Arc<Semaphore>,
}

impl Pool {
    /// With these limits.
    pub fn new(limits: PoolLimits) -> Self {
        let PoolLimits { reading_max, answers_max, waiting_max } = limits;
        Self {
            admitted: Arc::new(Semaphore::new(answers_max + waiting_max)),
            answers: Arc::new(Semaphore::new(answers_max)),
            reading: Arc::new(Semaphore::new(reading_max)),
            limits,
        }
    }

    /// Answers that have begun and not ended.
    pub fn running(&self) -> u64 {
        (self.limits.answers_max - self.answers.available_permits()) as u64
    }

    /// Answers that wait to begin.
    pub fn waiting(&self) -> u64 {
        let PoolLimits { answers_max, waiting_max, .. } = self.limits;
        let admitted = (answers_max + waiting_max - self.admitted.available_permits()) as u64;
        admitted.saturating_sub(self.running())
    }

    /// Waits for a place, first come, first served; a client that gives up leaves the queue. Refused where the queue is
    /// full.
    pub async fn slot(&self) -> Result<Slot, Problem> {
        let busy = || {
            let detail = "as many answers as are given at once are being read or waited for: ask again later";
            Problem::new(Kind::Busy, detail).retry_after(RETRY_AFTER_SECONDS)
        };
        let admitted = Arc::clone(&self.admitted).try_acquire_owned().map_err(|_| busy())?;
        let answer = Arc::clone(&self.answers).acquire_owned().await.map_err(|_| busy())?;
        let reading = Arc::clone(&self.reading).acquire_owned().await.map_err(|_| busy())?;
        Ok(Slot {
            _admitted: admitted,
            _answer: answer,
            reading: Some(reading),
            all_reading: Arc::clone(&self.reading),
        })
    }
}

impl Slot {
    /// Lets others read meanwhile.
    pub fn pause(&mut self) {
        self.reading = None;
    }

    /// Waits until it may read again. Blocks the thread.
    pub fn resume(&mut self, runtime: &Handle) {
        if self.reading.is_none() {
            // The semaphore is never closed.
            self.reading = runtime.block_on(Arc::clone(&self.all_reading).acquire_owned()).ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn places_are_given_in_turn_and_beyond_the_queue_none() {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let pool = Pool::new(PoolLimits { reading_max: 1, answers_max: 2, waiting_max: 1 });
            let is_busy = |slot: Result<Slot, Problem>| {
                slot.is_err_and(|problem| problem.type_uri() == "/problems/busy")
            };
            let mut first = pool.slot().await.expect("a place");
            let second = tokio::spawn({
                let pool = pool.clone();
                async move { pool.slot().await }
            });
            let third = tokio::spawn({
                let pool = pool.clone();
                async move { pool.slot().await }
            });
            tokio::time::sleep(Duration::from_millis(50)).await;
            assert!(!second.is_finished() && !third.is_finished(), "one reads at a time");
            assert!(is_busy(pool.slot().await), "the queue is full");
            first.pause();
            let (one, other) = (second, third);
            tokio::time::sleep(Duration::from_millis(50)).await;
            assert!(one.is_finished() || other.is_finished(), "the right to read is free");
            // A client that gives up leaves the queue.
            let waiting = if one.is_finished() { other } else { one };
            waiting.abort();
            tokio::time::sleep(Duration::from_millis(50)).await;
            assert!(!is_busy(
                tokio::time::timeout(Duration::from_millis(50), pool.slot())
                    .await
                    .unwrap_or_else(|_| { Err(Problem::new(Kind::Failed, "it waits, as it should")) })
            ));
        });
    }
}
