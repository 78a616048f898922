//! Figures of the process, under the names that Prometheus' own libraries give them.

use std::io;
use std::sync::atomic::AtomicU64;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::sample::add_gauge;

/// Resources that a process takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ProcessFigures {
    /// CPU time of all its threads, in user and kernel mode, in seconds.
    pub cpu_seconds: f64,
    /// Memory that it has in the machine's, in bytes.
    pub resident_bytes: u64,
    /// Its address space, in bytes.
    pub virtual_bytes: u64,
    /// Descriptors that it has open.
    pub open_files: u64,
    /// Descriptors that it may have open; `None` without a limit.
    pub open_files_max: Option<u64>,
    /// Its threads.
    pub threads: u64,
    /// Its start, in seconds since 1970.
    pub started_seconds: f64,
}

/// Measures the process. The command implements it: libraries do not look at the process that they are in.
pub trait ProcessMeter: Send + Sync {
    /// The figures of this moment.
    fn measure(&self) -> io::Result<ProcessFigures>;
}

/// A registry of the figures.
pub(super) fn process_registry(figures: &ProcessFigures) -> Registry {
    let mut registry = Registry::with_prefix("process");
    let ProcessFigures { resident_bytes, virtual_bytes, open_files, open_files_max, threads, .. } = *figures;
    let cpu = Counter::<f64, AtomicU64>::default();
    cpu.inc_by(figures.cpu_seconds);
    registry.register("cpu_seconds", "CPU time in user and kernel mode", cpu);
    let started = Gauge::<f64, AtomicU64>::default();
    started.set(figures.started_seconds);
    registry.register("start_time_seconds", "Start of the process, in seconds since 1970", started);
    add_gauge(&mut registry, "resident_memory_bytes", "Memory in use", resident_bytes);
    add_gauge(&mut registry, "virtual_memory_bytes", "Address space in use", virtual_bytes);
    add_gauge(&mut registry, "open_fds", "Open descriptors", open_files);
    if let Some(most) = open_files_max {
        add_gauge(&mut registry, "max_fds", "Descriptors that may be open", most);
    }
    add_gauge(&mut registry, "threads", "Threads", threads);
    registry
}
