//! Resources that this process takes: proc_pid_status(5), clock_gettime(2), getrlimit(2).
//!
//! The files are opened before the process is confined, and read again and again: later, it may not open them any more.

use std::fs::File;
use std::io::{self, Error, ErrorKind};
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex};

use netrewind_http::metrics::{ProcessFigures, ProcessMeter};
use netrewind_store::{Timestamp, locked};
use rustix::fs::{Dir, Mode, OFlags};
use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, Timespec, clock_gettime};

use crate::terminal;

/// Memory and threads, a line each.
const STATUS: &str = "/proc/self/status";
/// A folder with a name for each descriptor.
const DESCRIPTORS: &str = "/proc/self/fd";
/// Numbers on one line, among them the start: proc_pid_stat(5).
const STAT: &str = "/proc/self/stat";
/// Number of the field with the start, counted from 1, and of the one behind the name.
const START_FIELD: usize = 22;
const FIELD_BEHIND_NAME: usize = 3;
/// Units of time in that line, which every architecture that Linux runs on today has: time(7).
const TICKS_PER_SECOND: f64 = 100.0;
/// Bytes of the status that are read at most: kernels of today write 1,500.
const STATUS_BYTES_MAX: usize = 8192;

/// Measures this process by the files of the kernel.
pub struct OwnProcess {
    status: File,
    descriptors: Mutex<Dir>,
    started_seconds: f64,
}

impl OwnProcess {
    /// Opens the files; `now` is the time. Without them the process goes on unmeasured, and says so.
    pub fn meter(now: Timestamp) -> Option<Arc<dyn ProcessMeter>> {
        match Self::open(now) {
            Ok(meter) => Some(Arc::new(meter)),
            Err(error) => {
                let words = "/metrics will have no figures of this process, because /proc cannot be read";
                terminal::say(format_args!("{words}: {error}"));
                None
            }
        }
    }

    fn open(now: Timestamp) -> io::Result<Self> {
        let status = File::open(STATUS)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = rustix::fs::open(DESCRIPTORS, flags, Mode::empty())?;
        let line = std::fs::read_to_string(STAT)?;
        let started_ticks = started_ticks(&line).ok_or_else(|| unexpected(STAT, &line))?;
        let up_seconds = seconds(clock_gettime(ClockId::Boottime));
        let started_seconds = now.ns() as f64 / 1e9 - up_seconds + started_ticks as f64 / TICKS_PER_SECOND;
        Ok(Self { status, descriptors: Mutex::new(Dir::new(folder)?), started_seconds })
    }

    fn open_files(&self) -> io::Result<u64> {
        let mut folder = locked(&self.descriptors);
        folder.rewind();
        let mut found = 0;
        while let Some(entry) = folder.read() {
            found += u64::from(!entry?.file_name().to_bytes().starts_with(b"."));
        }
        Ok(found)
    }
}

impl ProcessMeter for OwnProcess {
    fn measure(&self) -> io::Result<ProcessFigures> {
        let mut bytes = [0_u8; STATUS_BYTES_MAX];
        let length = self.status.read_at(&mut bytes, 0)?;
        let text = String::from_utf8_lossy(bytes.get(..length).unwrap_or_default());
        let number = |name: &str| number_of(&text, name).ok_or_else(|| unexpected(STATUS, name));
        Ok(ProcessFigures {
            cpu_seconds: seconds(clock_gettime(ClockId::ProcessCPUTime)),
            resident_bytes: number("VmRSS")? << 10,
            virtual_bytes: number("VmSize")? << 10,
            open_files: self.open_files()?,
            open_files_max: getrlimit(Resource::Nofile).current,
            threads: number("Threads")?,
            started_seconds: self.started_seconds,
        })
    }
}

fn seconds(time: Timespec) -> f64 {
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

fn unexpected(file: &str, what: &str) -> Error {
    Error::new(ErrorKind::InvalidData, format!("{file} is not understood: {what}"))
}

/// The number in the line of the status with this name: `VmRSS:      1234 kB`.
fn number_of(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Ticks from the machine's boot to the start of the process. The name, in brackets, may hold anything.
fn started_ticks(stat: &str) -> Option<u64> {
    let (_, behind) = stat.rsplit_once(')')?;
    behind.split_whitespace().nth(START_FIELD - FIELD_BEHIND_NAME)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_the_kernel_are_read() {
        let status = "Name:\tnetrewind\nVmPeak:\t    9000 kB\nVmRSS:\t    1234 kB\nThreads:\t7\n";
        assert_eq!((number_of(status, "VmRSS"), number_of(status, "Threads")), (Some(1234), Some(7)));
        assert_eq!(number_of(status, "VmSize"), None);
        let line = "7 (a) b (c) S 1 7 7 0 -1 4194304 10 0 0 0 250 50 0 0 20 0 12 0 4711 8192000 500 1";
        assert_eq!(started_ticks(line), Some(4711));
        assert_eq!(started_ticks("7 (a) S 1 7"), None);
    }

    #[test]
    fn this_process_is_measured_again_and_again() {
        let now = crate::clock::now();
        let meter = OwnProcess::open(now).expect("proc is mounted");
        let before = meter.measure().expect("figures");
        let files: Vec<File> = (0..50).map(|_| File::open("/dev/null").expect("a file")).collect();
        let mut memory = vec![0_u8; 32 << 20];
        memory.iter_mut().step_by(512).for_each(|byte| *byte = 1);
        let after = meter.measure().expect("figures");
        assert!(after.open_files >= before.open_files + files.len() as u64, "{before:?} {after:?}");
        assert!(after.resident_bytes > before.resident_bytes + (24 << 20), "{before:?} {after:?}");
        assert!(after.cpu_seconds > before.cpu_seconds && after.threads >= 1, "{before:?} {after:?}");
        let age_seconds = now.ns() as f64 / 1e9 - after.started_seconds;
        assert!((0.0..600.0).contains(&age_seconds), "it started {age_seconds} s ago");
        assert_eq!(memory.iter().map(|&byte| usize::from(byte)).sum::<usize>(), memory.len() / 512);
    }
}
