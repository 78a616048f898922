//! The subcommands: parse arguments, call a library, report to the user.

use crate::config::Settings;
use crate::outcome::{Failure, Outcome};

mod access;
mod archive;
mod archived;
mod broker;
mod compile_filter;
mod completions;
mod compress;
mod compressed;
mod config;
mod destination;
mod dissect_packet;
mod event_log;
mod export;
pub mod extcap;
mod extract;
mod flows;
mod following;
mod hint;
mod hold;
mod import;
mod index;
mod keylog;
mod keys;
mod licenses;
mod lists;
mod man;
mod progress;
mod query;
pub mod record;
mod run;
mod serve;
mod status;
mod store;
mod target;
mod token;
mod tunnels;
mod verify;

/// Commands of netrewind.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Record interfaces into a store, until Ctrl-C
    Record(record::RecordArguments),
    /// Import capture files into a store, unchanged
    Import(import::ImportArguments),
    /// Build missing indexes, or rebuild all of them
    Index(index::IndexArguments),
    /// Compress complete segments
    Compress(compress::CompressArguments),
    /// Upload complete segments into object storage, or show which are not there yet
    Archive(archive::ArchiveArguments),
    /// Extract exactly the packets of a query, as a capture file
    Extract(Box<extract::ExtractArguments>),
    /// List conversations, hosts, ports or applications, from the indexes
    Flows(Box<flows::FlowsArguments>),
    /// Export conversations, as Parquet files or to an IPFIX collector
    Export(export::ExportCommandArguments),
    /// Record, index and answer over HTTP in one process
    Run(Box<run::RunArguments>),
    /// Answer over HTTP
    Serve(serve::ServeArguments),
    /// Show recorded packets as an interface in Wireshark
    Extcap(Box<extcap::ExtcapArguments>),
    /// Show the contents of a store, and how far back it reaches
    Status(status::StatusArguments),
    /// Check every segment, index and count
    Verify(verify::VerifyArguments),
    /// Keep packets for a case, whatever their age, until they are released
    Hold(hold::HoldArguments),
    /// Check and show settings
    Config(config::ConfigArguments),
    /// Manage the tokens for access to the service
    Token(token::TokenArguments),
    /// Print the licences of everything that this program contains
    Licenses,
    /// Print what completes the command in a shell: netrewind completions bash
    Completions(completions::CompletionsArguments),
    /// Write the manual pages into a folder
    Man(man::ManArguments),
    /// Compile a large filter in a process of its own; started by netrewind itself
    #[command(hide = true)]
    CompileFilter(compile_filter::CompileFilterArguments),
    /// Take a packet apart in a process of its own; started by netrewind itself
    #[command(hide = true)]
    DissectPacket(dissect_packet::DissectPacketArguments),
    /// Do for a confined process what that may not do itself; started by netrewind itself
    #[command(hide = true)]
    Broker(broker::BrokerArguments),
}

impl Command {
    /// Runs the command, with its settings. `command_line` describes the whole command line.
    pub fn run(self, settings: &Settings, command_line: fn() -> clap::Command) -> Result<Outcome, Failure> {
        match self {
            Self::Record(arguments) => record::run(&arguments, settings),
            Self::Import(arguments) => import::run(&arguments),
            Self::Index(arguments) => index::run(&arguments),
            Self::Compress(arguments) => compress::run(&arguments),
            Self::Archive(arguments) => archive::run(&arguments),
            Self::Extract(arguments) => extract::run(&arguments),
            Self::Flows(arguments) => flows::run(&arguments),
            Self::Export(arguments) => export::run(&arguments),
            Self::Run(arguments) => run::run(&arguments, settings),
            Self::Serve(arguments) => serve::run(&arguments, settings),
            Self::Extcap(arguments) => extcap::run(&arguments),
            Self::Status(arguments) => status::run(&arguments),
            Self::Verify(arguments) => verify::run(&arguments),
            Self::Hold(arguments) => hold::run(&arguments),
            Self::Config(arguments) => config::run(&arguments, command_line),
            Self::Token(arguments) => token::run(&arguments),
            Self::Licenses => licenses::run(),
            Self::Completions(arguments) => completions::run(&arguments, command_line()),
            Self::Man(arguments) => man::run(&arguments, command_line()),
            Self::CompileFilter(arguments) => compile_filter::run(&arguments),
            Self::DissectPacket(arguments) => dissect_packet::run(&arguments),
            Self::Broker(arguments) => broker::run(&arguments),
        }
    }
}
