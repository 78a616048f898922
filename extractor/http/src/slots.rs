//! Right to read: answers start in the order of their requests, and only a limited number at once.
//!
//! An answer holds a place from its beginning to its end, and the right to read only while it reads: one whose client is
//! slow to take it waits without it, so that slow clients cost memory and a thread each, but no reading. One whose filter is
//! being compiled, or that waits for memory, holds neither.

use tokio::runtime::Handle;

use crate::peer_limiter::{Peer, PeerLimiter, Permit};
use crate::problem::{Kind, Problem, RETRY_AFTER_SECONDS};

/// Limits on work done at once.
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
    admitted: PeerLimiter,
    answers: PeerLimiter,
    reading: PeerLimiter,
}

/// The right to answer, until it is dropped.
#[derive(Debug)]
pub struct Slot {
    _admitted: Permit,
    answer: Option<Permit>,
    reading: Option<Permit>,
    pool: Pool,
    peer: Peer,
}

impl Pool {
    /// A pool with these limits.
    pub fn new(limits: PoolLimits) -> Self {
        let PoolLimits { reading_max, answers_max, waiting_max } = limits;
        Self {
            admitted: PeerLimiter::new(answers_max + waiting_max),
            answers: PeerLimiter::new(answers_max),
            reading: PeerLimiter::new(reading_max),
        }
    }

    /// Answers that have begun and not ended.
    pub fn running(&self) -> u64 {
        self.answers.in_use() as u64
    }

    /// Answers that wait to begin.
    pub fn waiting(&self) -> u64 {
        (self.admitted.in_use() as u64).saturating_sub(self.running())
    }

    /// Waits for a place, first come, first served; a client that gives up leaves the queue. Refused where the queue is full.
    pub async fn slot(&self, peer: &Peer) -> Result<Slot, Problem> {
        let busy = || {
            let detail = "too many answers are running or waiting: ask again later";
            Problem::new(Kind::Busy, detail).retry_after(RETRY_AFTER_SECONDS)
        };
        let admitted = self.admitted.try_acquire(peer).ok_or_else(busy)?;
        let answer = self.answers.acquire(peer).await.ok_or_else(busy)?;
        let reading = self.reading.acquire(peer).await.ok_or_else(busy)?;
        let (pool, peer) = (self.clone(), peer.clone());
        Ok(Slot { _admitted: admitted, answer: Some(answer), reading: Some(reading), pool, peer })
    }
}

impl Slot {
    /// Holder of the slot.
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// Lets others read meanwhile.
    pub fn pause(&mut self) {
        self.reading = None;
    }

    /// Lets others answer meanwhile.
    pub fn step_aside(&mut self) {
        self.reading = None;
        self.answer = None;
    }

    /// Waits until it may answer and read again. Blocks the thread.
    pub fn resume(&mut self, runtime: &Handle) {
        if self.answer.is_none() {
            self.answer = runtime.block_on(self.pool.answers.acquire(&self.peer));
        }
        if self.reading.is_none() {
            self.reading = runtime.block_on(self.pool.reading.acquire(&self.peer));
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
            let peer = Peer::Address(None);
            let is_busy = |slot: Result<Slot, Problem>| {
                slot.is_err_and(|problem| problem.type_uri() == "/problems/busy")
            };
            let mut first = pool.slot(&peer).await.expect("a place");
            let second = tokio::spawn({
                let (pool, peer) = (pool.clone(), peer.clone());
                async move { pool.slot(&peer).await }
            });
            let third = tokio::spawn({
                let (pool, peer) = (pool.clone(), peer.clone());
                async move { pool.slot(&peer).await }
            });
            tokio::time::sleep(Duration::from_millis(50)).await;
            assert!(!second.is_finished() && !third.is_finished(), "one reads at a time");
            assert!(is_busy(pool.slot(&peer).await), "the queue is full");
            first.pause();
            let (one, other) = (second, third);
            tokio::time::sleep(Duration::from_millis(50)).await;
            assert!(one.is_finished() || other.is_finished(), "the right to read is free");
            // A client that gives up leaves the queue.
            let waiting = if one.is_finished() { other } else { one };
            waiting.abort();
            tokio::time::sleep(Duration::from_millis(50)).await;
            assert!(!is_busy(
                tokio::time::timeout(Duration::from_millis(50), pool.slot(&peer))
                    .await
                    .unwrap_or_else(|_| { Err(Problem::new(Kind::Failed, "it waits, as it should")) })
            ));
        });
    }
}
