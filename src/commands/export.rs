//! `netrewind export`: conversations of the catalog for other programs.

mod flows;
mod hours;
mod ipfix;

use crate::outcome::{Failure, Outcome};

const EXAMPLES: &str = "\
Examples:
  netrewind export flows --store /data/nr --into /data/tables
  netrewind export flows --store /data/nr --into s3://tables/nr --from '2d ago'
  netrewind export ipfix --store /data/nr --collector 192.0.2.1:4739 --from '1d ago'

Hours that are over are exported, whole, as the catalog has them; those that it does not have yet are named: netrewind index --catalog
writes them. The exit status is 1 if an hour is missing, or lacks something.";

/// Arguments of `netrewind export`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct ExportCommandArguments {
    #[command(subcommand)]
    command: ExportCommand,
}

#[derive(Debug, clap::Subcommand)]
enum ExportCommand {
    /// Write each hour as a Parquet file, for DuckDB, ClickHouse, Polars, Spark and others
    Flows(flows::ExportFlowsArguments),
    /// Send the conversations of each hour to an IPFIX collector
    Ipfix(ipfix::ExportIpfixArguments),
}

/// Runs the command.
pub fn run(arguments: &ExportCommandArguments) -> Result<Outcome, Failure> {
    match &arguments.command {
        ExportCommand::Flows(arguments) => flows::run(arguments),
        ExportCommand::Ipfix(arguments) => ipfix::run(arguments),
    }
}
