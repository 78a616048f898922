//! The broker: a process of this program that does for a confined one what that may not do itself.
//!
//! It is started before the walls are raised (see [`crate::confine`]), or by the service manager, and ends with the process that it serves. It opens packet
//! sockets and the audit's file, turns on an interface's timestamps, and starts the processes that compile filters and take packets apart; it reads nothing but requests, and
//! gives nothing away but what they are about.
//!
//! Requests are messages on a pair of sockets: a letter, for timestamps followed by an interface's name, and with it the socket for
//! the answer. An answer is a number, negative for an error of the system, with the descriptor where one was asked for.

mod client;
mod server;

use std::path::PathBuf;

pub use client::Broker;
pub use server::serve;

/// The hidden subcommand that serves.
pub const BROKER_SUBCOMMAND: &str = "broker";
/// The option with which it opens packet sockets.
pub const SOCKETS_OPTION: &str = "sockets";
/// The option with which it turns on timestamps.
pub const TIMESTAMPS_OPTION: &str = "timestamps";
/// The option with which it opens the files of an audit.
pub const AUDIT_OPTION: &str = "audit";
/// The option of a filter compiler that looks at an interface.
pub const LIVE_OPTION: &str = "live";

/// The option that names the program which takes packets apart.
pub const SHARKD_OPTION: &str = "sharkd";

/// Bytes of a request: a letter and the name of an interface.
const REQUEST_BYTES_MAX: usize = 256;
/// Descriptors that come with one: the answer's, and the two pipes of a process to be started.
const DESCRIPTORS_MAX: usize = 3;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Request {
    RawSocket = b'r',
    CookedSocket = b'c',
    Timestamps = b't',
    /// A filter compiler, which is ended when the socket for its answer is.
    Compiler = b'f',
    /// One that may open an interface.
    LiveCompiler = b'l',
    /// A process that takes a packet apart, ended in the same way.
    Dissector = b'd',
    /// The file of the audit.
    Audit = b'a',
    /// Another one, after the full ones have been renamed.
    NextAudit = b'n',
}

impl Request {
    const ALL: [Self; 8] = [
        Self::RawSocket,
        Self::CookedSocket,
        Self::Timestamps,
        Self::Compiler,
        Self::LiveCompiler,
        Self::Dissector,
        Self::Audit,
        Self::NextAudit,
    ];

    fn of_letter(letter: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|request| *request as u8 == letter)
    }
}

/// What a broker may do, besides starting filter compilers.
#[derive(Clone, Debug, Default, PartialEq, Eq, clap::Args)]
pub struct BrokerRights {
    /// Open packet sockets
    #[arg(long = SOCKETS_OPTION)]
    pub sockets: bool,
    /// Turn on timestamps of interfaces
    #[arg(long = TIMESTAMPS_OPTION)]
    pub timestamps: bool,
    /// Open the file of an audit, and rename it when it is full: its path, then those of the full ones, the youngest first
    #[arg(long = AUDIT_OPTION)]
    pub audit: Vec<PathBuf>,
    /// Start this program, Wireshark's sharkd, to take packets apart
    #[arg(long = SHARKD_OPTION, value_name = "PATH")]
    pub sharkd: Option<PathBuf>,
}
