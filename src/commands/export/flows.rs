//! `netrewind export flows`: hours of the catalog as Parquet files.

use std::sync::atomic::Ordering;

use netrewind_catalog_tantivy::TantivyCatalog;
use netrewind_store::Store;
use netrewind_tables::{ExportedHour, TablesError, export_hour};

use super::hours::HourArguments;
use crate::confine::Walls;
use crate::outcome::{Failure, Outcome};
use crate::table_target::{OpenedTarget, TableTarget};
use crate::{signals, terminal};

/// Arguments of `netrewind export flows`.
#[derive(Debug, clap::Args)]
pub struct ExportFlowsArguments {
    #[command(flatten)]
    hours: HourArguments,
    /// Folder for the files, or s3://BUCKET/PREFIX, gs:// or az://: flows/v1/recorder=ID/date=2026-11-22/hour=09/part-0.parquet below it
    #[arg(long, value_name = "DIR|URL")]
    into: TableTarget,
}

/// Runs the command.
pub fn run(arguments: &ExportFlowsArguments) -> Result<Outcome, Failure> {
    let range = arguments.hours.range()?;
    let stop = signals::stop_flag()?;
    let store = Store::open_to_read(&arguments.hours.store.store)?;
    let OpenedTarget { place, .. } = arguments.into.open("--into")?;
    let raised = arguments.into.walls(Walls::around(&store)).raise();
    if !arguments.hours.quiet {
        raised.say_gaps();
    }
    let chosen = arguments.hours.choose(&store, range)?;
    let (mut outcome, mut exported) = (chosen.outcome, 0);
    for manifest in &chosen.manifests {
        let hour = manifest.hour;
        match export_hour(&place, &store, &TantivyCatalog, manifest, &|| stop.load(Ordering::Relaxed)) {
            Ok(ExportedHour { folder, rows, bytes, is_new, lacks, .. }) => {
                exported += 1;
                if !arguments.hours.quiet {
                    let what = if is_new { terminal::bytes(bytes) } else { "already there".to_owned() };
                    terminal::say(format_args!(
                        "hour {hour}: {rows} conversations, {what}: {}",
                        folder.display()
                    ));
                }
                if !lacks.is_empty() {
                    outcome = Outcome::Incomplete;
                    lacks.iter().for_each(|lacks| terminal::say(format_args!("hour {hour} lacks {lacks}")));
                }
            }
            Err(TablesError::Stopped) => {
                terminal::say(format_args!("interrupted: {exported} hours exported"));
                return Ok(Outcome::Incomplete);
            }
            Err(error @ TablesError::Unreadable { .. }) => {
                terminal::say(format_args!("{error}"));
                outcome = Outcome::Incomplete;
            }
            // The next hour would fare no better.
            Err(error) => return Err(error.into()),
        }
    }
    if !arguments.hours.quiet {
        terminal::say(format_args!("{exported} hours exported"));
    }
    Ok(outcome)
}
