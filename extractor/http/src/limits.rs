//! Limits of the service: on what is done at once, and on how long clients may take.

use std::time::Duration;

use crate::slots::PoolLimits;

/// The bounds of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServiceLimits {
    /// Answers that read packets.
    pub packets: PoolLimits,
    /// Answers that follow the recording. They read little at a time.
    pub followers: PoolLimits,
    /// Answers from indexes and the logbook alone.
    pub lookups: PoolLimits,
    /// Large filters that are compiled at the same time.
    pub compiling_max: usize,
    /// Those of one peer.
    pub compiling_peer_max: usize,
    /// Packets that are taken apart at the same time, each by a process of its own.
    pub dissecting_max: usize,
    /// Answers that wait beside the others, for filters to be compiled and for memory.
    pub aside_max: usize,
    /// Those of one peer.
    pub aside_peer_max: usize,
    /// Connections, within the process's limit of open files: an idle one of the peer with the most makes room for another.
    pub connections_max: usize,
    /// Time in which a client must have sent something.
    pub silence_time_max: Duration,
    /// Bytes of a request's body.
    pub body_bytes_max: usize,
    /// Bytes of one that is read at once; longer ones, such as of lists, wait for their turn.
    pub small_body_bytes_max: usize,
    /// Longer ones read at the same time.
    pub large_bodies_max: usize,
    /// Memory of the lists of all queries.
    pub list_bytes_max: u64,
    /// Time for a request's head, and between two requests.
    pub head_time_max: Duration,
    /// Time for a request's body.
    pub body_time_max: Duration,
    /// Time in which a client must read some of an answer; otherwise the answer is cut off.
    pub stall_time_max: Duration,
    /// Time that running answers have to end after the service is told to stop.
    pub shutdown_time_max: Duration,
}

impl Default for ServiceLimits {
    fn default() -> Self {
        Self {
            packets: PoolLimits { reading_max: 8, answers_max: 64, waiting_max: 448 },
            followers: PoolLimits { reading_max: 32, answers_max: 32, waiting_max: 0 },
            lookups: PoolLimits { reading_max: 4, answers_max: 4, waiting_max: 252 },
            compiling_max: 2,
            compiling_peer_max: 1,
            dissecting_max: 2,
            aside_max: 64,
            aside_peer_max: 32,
            connections_max: 4096,
            silence_time_max: Duration::from_secs(5),
            body_bytes_max: 32 << 20,        // 100,000 events, quoted in JSON
            small_body_bytes_max: 256 << 10, // a filter of the longest kind, every byte of it escaped
            large_bodies_max: 2,
            list_bytes_max: 256 << 20,
            head_time_max: Duration::from_secs(30),
            body_time_max: Duration::from_secs(30),
            stall_time_max: Duration::from_secs(60),
            shutdown_time_max: Duration::from_secs(10),
        }
    }
}
