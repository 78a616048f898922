//! Signals: those that end a command, and those that do not.
//!
//! SIGINT and SIGTERM end a command; SIGHUP does too if there is a terminal that can go away; without one, as in a service, it
//! requests a reload of files, and nothing ends. A command that writes segments is never ended by a second signal: packets that
//! have arrived are sealed first.

use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::flag;

/// A flag that the first SIGINT, SIGTERM or SIGHUP sets. The second one ends the process at once: for commands that then leave
/// nothing unfinished.
pub fn stop_flag() -> std::io::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        ends_the_second_time(signal, &stop)?;
    }
    Ok(stop)
}

/// A flag that SIGINT, SIGTERM, SIGHUP and SIGQUIT set, as often as they come: for commands that seal what they wrote.
pub fn patient_stop_flag() -> std::io::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP, SIGQUIT] {
        sets(signal, &stop)?;
    }
    Ok(stop)
}

/// Requests to a running recorder or service.
pub struct Requests {
    stop: Arc<AtomicBool>,
    reload: Arc<AtomicBool>,
    tell: Arc<AtomicBool>,
}

impl Requests {
    /// Requests to a command that always seals its segments before it ends.
    pub fn of_recorder() -> std::io::Result<Self> {
        let requests = Self::none();
        for signal in [SIGINT, SIGTERM, SIGQUIT] {
            sets(signal, &requests.stop)?;
        }
        requests.hear_hangup(false)?;
        // Of tcpdump the first is asked for its counts, the second to write what it has: neither should kill.
        sets(SIGUSR1, &requests.tell)?;
        flag::register(SIGUSR2, Arc::default())?;
        Ok(requests)
    }

    /// Requests to a service that only reads: the second signal ends it at once.
    pub fn of_reader() -> std::io::Result<Self> {
        let requests = Self::none();
        for signal in [SIGINT, SIGTERM] {
            ends_the_second_time(signal, &requests.stop)?;
        }
        requests.hear_hangup(true)?;
        Ok(requests)
    }

    fn none() -> Self {
        Self { stop: Arc::default(), reload: Arc::default(), tell: Arc::default() }
    }

    fn hear_hangup(&self, ends_the_second: bool) -> std::io::Result<()> {
        match has_terminal() {
            true if ends_the_second => ends_the_second_time(SIGHUP, &self.stop),
            true => sets(SIGHUP, &self.stop),
            false => sets(SIGHUP, &self.reload),
        }
    }

    /// True if it was asked to stop, ever.
    pub fn is_to_stop(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// True if a reload of files was requested since the last call.
    pub fn take_reload(&self) -> bool {
        self.reload.swap(false, Ordering::Relaxed)
    }

    /// True if its status was requested since the last call.
    pub fn take_tell(&self) -> bool {
        self.tell.swap(false, Ordering::Relaxed)
    }

    /// Clears the stop flag and returns it, for another thread to watch: it is set when asked to stop once more.
    pub fn again(&self) -> Arc<AtomicBool> {
        self.stop.store(false, Ordering::Relaxed);
        Arc::clone(&self.stop)
    }
}

fn ends_the_second_time(signal: i32, stop: &Arc<AtomicBool>) -> std::io::Result<()> {
    if signal == SIGHUP && is_hangup_ignored() {
        return Ok(());
    }
    // In this order: the first signal finds the flag unset, passes, and sets it.
    flag::register_conditional_default(signal, Arc::clone(stop))?;
    flag::register(signal, Arc::clone(stop)).map(drop)
}

fn sets(signal: i32, flag: &Arc<AtomicBool>) -> std::io::Result<()> {
    if signal == SIGHUP && is_hangup_ignored() {
        return Ok(());
    }
    flag::register(signal, Arc::clone(flag)).map(drop)
}

/// True if the process was started from a terminal, which may go away. Call it at the start: afterwards there is none.
fn has_terminal() -> bool {
    File::open("/dev/tty").is_ok()
}

/// True if the process was started to outlive its terminal: nohup(1).
fn is_hangup_ignored() -> bool {
    let Ok(status) = std::fs::read_to_string("/proc/self/status") else { return false };
    ignores(&status, SIGHUP)
}

/// True if a signal is ignored, by the line `SigIgn:` of the process's status in proc(5).
fn ignores(status: &str, signal: i32) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ignored_signal_is_read_off_the_process_status() {
        let status = "Name:\tnetrewind\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000001001\nSigCgt:\t0\n";
        assert!(ignores(status, SIGHUP) && ignores(status, 13));
        assert!(!ignores(status, SIGINT) && !ignores("", SIGHUP));
    }
}
