//! Resources that a process uses, from proc(5).

use std::fmt;

use anyhow::Context;

/// Usage at one moment.
pub struct Usage {
    /// Resident memory of its own, and of mapped files: pages that the kernel takes back when it needs them.
    own_mib: u64,
    mapped_mib: u64,
    peak_mib: u64,
    threads: u64,
    files: usize,
    cpu_s: f64,
}

impl Usage {
    /// Usage of a process.
    pub fn of(pid: u32) -> anyhow::Result<Self> {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))
            .with_context(|| format!("process {pid} has gone"))?;
        let number = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            let number = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
            number.with_context(|| format!("no {name} in /proc/{pid}/status"))
        };
        Ok(Self {
            own_mib: (number("RssAnon")? + number("RssShmem")?) >> 10,
            mapped_mib: number("RssFile")? >> 10,
            peak_mib: number("VmHWM")? >> 10,
            threads: number("Threads")?,
            files: std::fs::read_dir(format!("/proc/{pid}/fd"))?.count(),
            cpu_s: cpu_seconds(pid)?,
        })
    }
}

/// CPU time of user and system: fields 14 and 15, in hundredths of a second.
fn cpu_seconds(pid: u32) -> anyhow::Result<f64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let behind_name = text.rsplit(')').next().unwrap_or_default();
    let ticks = |place: usize| behind_name.split_whitespace().nth(place)?.parse::<u64>().ok();
    let (user, system) = ticks(11).zip(ticks(12)).context("no times in /proc/PID/stat")?;
    Ok((user + system) as f64 / 100.0)
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { own_mib, mapped_mib, peak_mib, threads, files, cpu_s } = self;
        write!(
            f,
            "rss_mib={own_mib} mapped_mib={mapped_mib} peak_mib={peak_mib} threads={threads} files={files} cpu_s={cpu_s:.2}"
        )
    }
}
