//! Work on threads that may wait: for a turn, for the disk, for a filter to be compiled.

use std::cell::RefCell;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use netrewind_extractor::{Aside, Control, ExtractError, Hint, Query, hint_time};
use netrewind_store::clock::Now;
use tokio::runtime::Handle;

use crate::peer_limiter::Peer;
use crate::problem::{Kind, Problem};
use crate::service::{Phase, Service};
use crate::slots::{Pool, Slot};

/// Interval at which a waiting thread checks if the client is still there.
const GIVEN_UP_INTERVAL: Duration = Duration::from_millis(20);

/// Does work on a thread of its own, once there is a place for this peer; cancels it when the client goes.
pub(crate) async fn run_blocking<T: Send + 'static>(
    service: &Arc<Service>,
    pool: &Pool,
    peer: &Peer,
    work: impl FnOnce(&Service, &mut ClientControl<'_>) -> Result<T, ExtractError> + Send + 'static,
) -> Result<T, Problem> {
    if service.phase() != Phase::Serving {
        return Err(shutting_down());
    }
    let slot = pool.slot(peer).await?;
    let gone = SetOnDrop(Arc::default());
    let (of_work, flag) = (Arc::clone(service), Arc::clone(&gone.0));
    let task = tokio::task::spawn_blocking(move || {
        work(&of_work, &mut ClientControl { service: &of_work, gone: &flag, slot: RefCell::new(slot) })
    });
    match task.await {
        Ok(Err(ExtractError::Cancelled)) => Err(shutting_down()),
        Ok(done) => Ok(done?),
        Err(_) => Err(Problem::new(Kind::Failed, "the answer broke off: see the service's log")),
    }
}

/// Set when the waiter has gone.
struct SetOnDrop(Arc<AtomicBool>);

impl Drop for SetOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Gives up when the client has gone or the service ends, and lets others read while a filter is compiled.
pub(crate) struct ClientControl<'a> {
    service: &'a Service,
    gone: &'a AtomicBool,
    slot: RefCell<Slot>,
}

impl<'a> ClientControl<'a> {
    /// The service that answers.
    pub(crate) fn service(&self) -> &'a Service {
        self.service
    }
}

impl Control for ClientControl<'_> {
    fn cancelled(&self) -> bool {
        self.gone.load(Ordering::Relaxed) || self.service.phase() == Phase::Cutting
    }

    fn aside(&self, what: Aside, work: &mut dyn FnMut()) {
        let peer = self.slot.borrow().peer().clone();
        let Some(_beside) = self.service.aside.try_acquire(&peer) else { return };
        self.slot.borrow_mut().step_aside();
        run_aside(self.service, &peer, what, &|| self.cancelled(), work);
        self.slot.borrow_mut().resume(&Handle::current());
    }
}

/// Problem sent by a service that is about to end.
pub fn shutting_down() -> Problem {
    Problem::new(Kind::ShuttingDown, "the service is shutting down: ask again later").retry_after(5)
}

/// Runs the parts of an answer besides reading. Work in a separate process waits for its peer's turn, unless it is cancelled.
pub fn run_aside(
    service: &Service,
    peer: &Peer,
    what: Aside,
    is_given_up: &dyn Fn() -> bool,
    work: &mut dyn FnMut(),
) {
    if what != Aside::Compiling {
        return work();
    }
    let place = Handle::current().block_on(async {
        let mut place = pin!(service.compiling.acquire(peer));
        loop {
            match tokio::time::timeout(GIVEN_UP_INTERVAL, &mut place).await {
                Ok(place) => return place,
                Err(_) if is_given_up() => return None,
                Err(_) => {}
            }
        }
    });
    if place.is_some() {
        work();
    }
}

/// A changed query, for an empty answer; searched within a small part of the time that the answer took.
pub(crate) fn hint_for(
    service: &Service,
    query: &Query,
    begun: Now,
    is_gone: &dyn Fn() -> bool,
) -> Option<Hint> {
    let clock = &*service.clock;
    let now = clock.now();
    let until_ns = now.after(hint_time(now.since(begun.monotonic_ns)));
    service.source.hint(query, &|| clock.now().monotonic_ns >= until_ns || is_gone())
}
