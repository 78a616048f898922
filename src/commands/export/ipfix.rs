//! `netrewind export ipfix`: conversations of the catalog to an IPFIX collector.

use std::sync::atomic::Ordering;
use std::time::Duration;

use netrewind_catalog_tantivy::TantivyCatalog;
use netrewind_ipfix::collector::CollectorAddress;
use netrewind_ipfix::{HourSender, SendError};
use netrewind_store::Store;
use netrewind_store::clock::{Clock, SystemClock};

use super::hours::HourArguments;
use crate::commands::record::exporting::collector_walls;
use crate::confine::Walls;
use crate::outcome::{Failure, Outcome};
use crate::{signals, terminal};

/// Arguments of `netrewind export ipfix`.
#[derive(Debug, clap::Args)]
pub struct ExportIpfixArguments {
    #[command(flatten)]
    hours: HourArguments,
    /// Collector, over UDP unless it is written as tcp:HOST:PORT
    #[arg(long, value_name = "HOST:PORT")]
    collector: CollectorAddress,
    /// Observation domain that the records are of
    #[arg(long, value_name = "N", default_value = "1")]
    domain: u32,
}

/// Runs the command.
pub fn run(arguments: &ExportIpfixArguments) -> Result<Outcome, Failure> {
    let range = arguments.hours.range()?;
    let stop = signals::stop_flag()?;
    let store = Store::open_to_read(&arguments.hours.store.store)?;
    let raised = collector_walls(Walls::around(&store), &arguments.collector).raise();
    if !arguments.hours.quiet {
        raised.say_gaps();
    }
    let chosen = arguments.hours.choose(&store, range)?;
    let clock = SystemClock::new();
    let pause = |time: Duration| clock.sleep(time);
    let now = || clock.now();
    let failed = |error| anyhow::anyhow!("--collector {}: {error}", arguments.collector);
    let mut sender =
        HourSender::connect(&arguments.collector, arguments.domain, &now, &pause).map_err(failed)?;
    let (mut outcome, mut sent) = (chosen.outcome, 0);
    for manifest in &chosen.manifests {
        let hour = manifest.hour;
        match sender.send(&store, &TantivyCatalog, manifest, &|| stop.load(Ordering::Relaxed)) {
            Ok(account) => {
                sent += account.records;
                if !arguments.hours.quiet {
                    let others = match account.without_addresses {
                        0 => String::new(),
                        others => format!("; {others} without IP addresses left out"),
                    };
                    terminal::say(format_args!("hour {hour}: {} records{others}", account.records));
                }
                for lacks in manifest.lacks.iter().chain(&account.lacks) {
                    terminal::say(format_args!("hour {hour} lacks {lacks}"));
                    outcome = Outcome::Incomplete;
                }
            }
            Err(SendError::Stopped) => {
                terminal::say(format_args!("interrupted: {sent} records sent"));
                return Ok(Outcome::Incomplete);
            }
            Err(SendError::Unreadable(reason)) => {
                terminal::say(format_args!(
                    "hour {hour} is left out: {reason}: run netrewind index --catalog"
                ));
                outcome = Outcome::Incomplete;
            }
            Err(SendError::Collector(error)) => return Err(failed(error).into()),
        }
    }
    if !arguments.hours.quiet {
        terminal::say(format_args!("{sent} records sent to {}", arguments.collector));
    }
    Ok(outcome)
}
