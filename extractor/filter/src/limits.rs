//! What the compilation of a filter may take.

use std::time::Duration;

use super::workers::Workers;

/// Limits of a compilation.
#[derive(Clone, Debug)]
pub struct CompileLimits {
    /// The longest expression in bytes.
    pub text_bytes_max: usize,
    /// Expressions of more tokens than this are compiled by the worker.
    pub in_process_tokens_max: usize,
    /// Starts the processes that compile larger expressions. Without them such expressions are refused.
    pub worker: Option<Workers>,
    /// CPU time of one worker, in whole seconds.
    pub cpu_seconds_max: u64,
    /// Time until a worker is killed.
    pub wall_time_max: Duration,
    /// Address space of a worker, in bytes.
    pub memory_bytes_max: u64,
}

impl Default for CompileLimits {
    fn default() -> Self {
        Self {
            // Some 17,000 addresses.
            text_bytes_max: 256 << 10,
            // The worst found of this size, 32 port ranges, takes 45 ms.
            in_process_tokens_max: 64,
            worker: None,
            cpu_seconds_max: 10,
            wall_time_max: Duration::from_secs(20),
            memory_bytes_max: 1 << 30,
        }
    }
}
