//! Resources of the machine, or of the part of it that this process may use.

use std::fs;
use std::path::Path;

/// Memory statistics of the kernel: proc(5).
const MEMORY: &str = "/proc/meminfo";
/// Control group of this process, and the folder of all groups: cgroups(7).
const OWN_GROUP: &str = "/proc/self/cgroup";
const GROUPS: &str = "/sys/fs/cgroup";

/// Bytes of memory that this process can use at most; `None` if unknown.
pub fn memory_bytes() -> Option<u64> {
    let machine = fs::read_to_string(MEMORY).ok().and_then(|text| total_in(&text));
    let own = fs::read_to_string(OWN_GROUP).unwrap_or_default();
    let group = own.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
    // Limits of the groups around it hold, too.
    let groups = Path::new(group).ancestors().map(|group| Path::new(GROUPS).join(group));
    let limits = groups.flat_map(|group| ["memory.max", "memory.high"].map(|file| group.join(file)));
    let limits = limits.filter_map(|file| fs::read_to_string(file).ok()?.trim().parse().ok());
    machine.into_iter().chain(limits).min()
}

fn total_in(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kibibytes << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_words_are_read() {
        assert_eq!(total_in("MemTotal:       24683864 kB\nMemFree: 1 kB\n"), Some(24_683_864 << 10));
        assert_eq!(total_in("MemFree: 1 kB"), None);
        assert!(memory_bytes().is_some_and(|bytes| bytes > 64 << 20));
    }
}
