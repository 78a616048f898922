//! Notifications to the service manager: sd_notify(3). Without one, none are sent.

use std::time::{Duration, Instant};

use sd_notify::NotifyState;

/// Notifications per watchdog interval.
const PINGS_A_PATIENCE: u32 = 3;

/// The service manager, if there is one.
#[derive(Debug)]
pub struct Manager {
    interval: Option<Duration>,
    told: Instant,
}

impl Manager {
    /// The manager that the environment names.
    pub fn new() -> Self {
        let interval = sd_notify::watchdog_enabled().map(|patience| patience / PINGS_A_PATIENCE);
        Self { interval, told: Instant::now() }
    }

    /// Reports readiness, and the present activity.
    pub fn ready(&self, what: &str) {
        notify(&[NotifyState::Ready, NotifyState::Status(what)]);
    }

    /// Reports that the end has begun.
    pub fn stopping(&self) {
        notify(&[NotifyState::Stopping]);
    }

    /// True if it is time to report progress.
    pub fn is_due(&self) -> bool {
        self.interval.is_some_and(|interval| self.told.elapsed() >= interval)
    }

    /// Reports progress.
    pub fn progress(&mut self) {
        self.told = Instant::now();
        notify(&[NotifyState::Watchdog]);
    }
}

fn notify(state: &[NotifyState<'_>]) {
    // Nobody to tell is no reason to stop.
    let _ = sd_notify::notify(state);
}

/// Turns of several threads, to see that each of them has taken one since the last check.
#[derive(Debug, Default)]
pub struct Turns(Vec<u64>);

impl Turns {
    /// True if all threads have taken a turn; `now` holds each one's turns so far, `None` for one that has ended.
    pub fn all_taken(&mut self, now: &[Option<u64>]) -> bool {
        let is_taken = |(number, turns): (usize, &Option<u64>)| {
            turns.is_none_or(|turns| self.0.get(number).is_none_or(|before| turns > *before))
        };
        let all = now.iter().enumerate().all(is_taken);
        if all {
            self.0 = now.iter().map(|turns| turns.unwrap_or_default()).collect();
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_is_stuck_is_noticed_among_others() {
        let mut turns = Turns::default();
        assert!(turns.all_taken(&[Some(1), Some(1)]));
        assert!(!turns.all_taken(&[Some(2), Some(1)]));
        assert!(!turns.all_taken(&[Some(9), Some(1)]), "for as long as it is");
        assert!(turns.all_taken(&[Some(10), Some(2)]));
        assert!(turns.all_taken(&[Some(11), None]), "one that has ended is not");
    }
}
