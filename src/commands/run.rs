//! `netrewind run`: record, index and serve in one process.

use super::record;
use super::serve::ServingArguments;
use crate::config::Settings;
use crate::outcome::{Failure, Outcome};

const EXAMPLES: &str = "\
Examples:
  sudo netrewind run --store /data/nr --interface eth1 --budget 500GiB
  sudo netrewind run --config /etc/netrewind/netrewind.toml
  curl -fOJ 'http://127.0.0.1:8640/api/v1/packets?from=5m+ago&filter=icmp'

Records as `netrewind record` and answers as `netrewind serve`; recording goes first. Ctrl-C (or SIGTERM, or SIGHUP when the
terminal goes) lets running answers end, and then ends the recording. Without a terminal SIGHUP reads the file of settings again.";

/// Arguments of `netrewind run`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct RunArguments {
    #[command(flatten)]
    recording: record::RecordArguments,
    #[command(flatten)]
    serving: ServingArguments,
}

/// Records and serves until told to stop.
pub fn run(arguments: &RunArguments, settings: &Settings) -> Result<Outcome, Failure> {
    arguments.serving.start_logs();
    record::record(&arguments.recording, Some(&arguments.serving), settings)
}
