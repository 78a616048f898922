//! `netrewind status`: contents of a store, and how far back it reaches.

use jiff::tz::TimeZone;
use netrewind_client::{RecorderStatus, RemoteError};
use netrewind_extractor::time_text::in_zone;
use netrewind_extractor::{Damage, InterfaceOverview, NoControl, Overview};
use netrewind_store::Drops;
use netrewind_store::time::SECOND_NS;
use serde::Serialize;

use super::archived::StoredArguments;
use super::target::{QueryTarget, TargetArguments};
use crate::outcome::{Failure, Outcome};
use crate::{arguments, clock, terminal};

const EXAMPLES: &str = "\
Examples:
  netrewind status --store /data/nr
  netrewind status --store /data/nr --json | jq .rewind_to
  netrewind status --url https://nr1:8640 --url https://nr2:8640 --token-file token";

/// Arguments of `netrewind status`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct StatusArguments {
    #[command(flatten)]
    target: TargetArguments,
    /// Time zone of printed times: UTC, local, or a zone such as Europe/Rome or +02:00
    #[arg(long, value_name = "ZONE", default_value = "UTC", allow_hyphen_values = true)]
    tz: String,
    /// Print one JSON object, or one for each recorder; times are in UTC
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(arguments: &StatusArguments) -> Result<Outcome, Failure> {
    let zone = arguments::zone(&arguments.tz)?;
    if !arguments.target.url.is_empty() {
        return of_recorders(arguments, &zone);
    }
    let TargetArguments { store, archive, .. } = arguments.target.clone();
    let store = StoredArguments { store, archive }.prepare()?;
    store.walls().raise().say_gaps();
    let mut outcome = Outcome::Done;
    let stores = store.open()?;
    let is_sole = stores.len() == 1;
    for (id, store) in stores {
        let store = match store {
            Ok(store) => store,
            Err(failure) if is_sole => return Err(failure),
            Err(failure) => {
                outcome = Outcome::Incomplete;
                terminal::say(format_args!("{id}: {}", failure.text()));
                continue;
            }
        };
        let overview = Overview::of(&store, clock::now())?;
        if arguments.json {
            terminal::print(terminal::object(&overview)?)?;
        } else {
            print_overview(&overview, &zone)?;
        }
        if !overview.damaged.is_empty() {
            outcome = Outcome::Incomplete;
        }
    }
    Ok(outcome)
}

/// The state of each recorder's store, as it tells it itself.
fn of_recorders(arguments: &StatusArguments, zone: &TimeZone) -> Result<Outcome, Failure> {
    let target = QueryTarget::Remote(arguments.target.recorders()?);
    target.walls().raise().say_gaps();
    let QueryTarget::Remote(remote) = target else { return Ok(Outcome::Done) };
    let found = remote.statuses(&mut NoControl).map_err(|error| match error {
        RemoteError::Usage(text) => Failure::usage(text),
        error => error.into(),
    })?;
    let are_several = found.len() > 1;
    let mut outcome = Outcome::Done;
    for RecorderStatus { recorder, overview } in found {
        let overview = match overview {
            Ok(overview) => overview,
            Err(trouble) => {
                outcome = Outcome::Incomplete;
                terminal::say(format_args!("{recorder}: {trouble}"));
                continue;
            }
        };
        match (arguments.json, are_several) {
            (true, true) => {
                terminal::print(terminal::object(&OfRecorder { recorder, overview: &overview })?)?
            }
            (true, false) => terminal::print(terminal::object(&overview)?)?,
            (false, _) => {
                terminal::print(format_args!("{:<12}{recorder}", "recorder"))?;
                print_overview(&overview, zone)?;
            }
        }
        if !overview.damaged.is_empty() {
            outcome = Outcome::Incomplete;
        }
    }
    Ok(outcome)
}

/// The state of a recorder's store, where there are several.
#[derive(Serialize)]
struct OfRecorder<'o> {
    recorder: String,
    #[serde(flatten)]
    overview: &'o Overview,
}

fn print_overview(overview: &Overview, zone: &TimeZone) -> std::io::Result<()> {
    let now = clock::now();
    let print =
        |name: &str, text: String| terminal::print(format_args!("{name:<12}{}", in_zone(&text, zone)));
    print("store", format!("{} ({})", overview.store, overview.id))?;
    print("writer", overview.writer.clone().unwrap_or_else(|| "none: nothing is being recorded".into()))?;
    if let Some(trouble) = &overview.trouble {
        print("trouble", format!("nothing is being written: {trouble}"))?;
    }
    let kept = format!(
        "{} segments, {} of them being written, {} without index",
        overview.segments, overview.open_segments, overview.without_index
    );
    print("segments", kept)?;
    let disk = terminal::bytes(overview.disk_bytes);
    match overview.budget_bytes {
        Some(budget) => {
            let share = terminal::percent(overview.disk_bytes as f64 / budget.max(1) as f64);
            print("disk", format!("{disk}, {share} of the budget of {}", terminal::bytes(budget)))?;
        }
        None => print("disk", disk)?,
    }
    if let Some(seconds) = overview.reach_seconds {
        print("forecast", format!("at this rate it will reach back {}", terminal::span(seconds as u64)))?;
    }
    if let Some(archive) = &overview.archived {
        let text = format!(
            "{}: {} segments that are not in the folder, {}",
            archive.url,
            archive.segments,
            terminal::bytes(archive.bytes)
        );
        print("archived", text)?;
    }
    if let Some(held) = &overview.held {
        let most = held.bytes_max.map_or_else(String::new, |most| format!(" of {}", terminal::bytes(most)));
        let text = format!(
            "{} cases, {} segments, {}{most} that holds may take (netrewind hold list)",
            held.cases,
            held.segments,
            terminal::bytes(held.bytes)
        );
        print("held", text)?;
    }
    match (overview.rewind_to, overview.newest) {
        (Some(oldest), Some(newest)) => {
            let ago = terminal::span(now.ns_since(oldest) / SECOND_NS);
            print("rewind to", format!("{oldest} ({ago} ago)"))?;
            print("newest", newest.to_string())?;
        }
        _ => print("rewind to", "nothing is stored yet".into())?,
    }
    if let Some(catalog) = &overview.catalog {
        let span =
            catalog.from.zip(catalog.to).map_or_else(String::new, |(from, to)| format!(", {from} to {to}"));
        let damaged =
            if catalog.damaged > 0 { format!(", {} damaged", catalog.damaged) } else { String::new() };
        let text = format!(
            "{} hours{damaged}, {} conversations, {}{span}",
            catalog.hours,
            catalog.records,
            terminal::bytes(catalog.disk_bytes)
        );
        print("catalog", text)?;
    }
    if let Some(archive) = &overview.archive {
        let lag = archive.oldest.map_or_else(String::new, |oldest| {
            format!(
                ", {} segments wait ({}), the oldest since {oldest}",
                archive.waiting_segments,
                terminal::bytes(archive.waiting_bytes)
            )
        });
        let lost = match archive.unarchived_last_day {
            0 => String::new(),
            lost => format!(", {lost} segments expired before they were archived in the last 24 hours"),
        };
        print("archive", format!("{}{lag}{lost}", archive.url))?;
        if let Some(trouble) = &archive.trouble {
            print("", format!("nothing, or not everything, is archived: {trouble}"))?;
        }
    }
    if let (Some(packets), Some(bits)) = (overview.packets_per_second, overview.bits_per_second) {
        let rates = format!("{}packets/s, {}bit/s", terminal::thousands(packets), terminal::thousands(bits));
        print("rate", rates)?;
    }
    for InterfaceOverview { name, received_last_day, dropped_last_day } in &overview.interfaces {
        let Drops { kernel, disk } = *dropped_last_day;
        let received = terminal::thousands(*received_last_day as f64);
        let dropped = match dropped_last_day.total() {
            0 => "none dropped".to_owned(),
            _ => format!("{kernel} dropped by the kernel, {disk} by the disk"),
        };
        print("interface", format!("{name}: {received}packets in the last 24 hours, {dropped}"))?;
    }
    let Drops { kernel, disk } = overview.dropped_last_day;
    print("dropped", format!("{kernel} by the kernel, {disk} by the disk in the last 24 hours"))?;
    if let Some(share) = overview.ring_filled_last_day {
        print("ring", format!("at most {} full in the last 24 hours", terminal::percent(share)))?;
    }
    if let Some(seconds) = overview.slowest_write_last_day {
        print("slowest", format!("slowest write of the last 24 hours: {}", terminal::moment(seconds)))?;
    }
    for interface in &overview.down {
        print("down", interface.clone())?;
    }
    for Damage { part, reason, .. } in &overview.damaged {
        print("unreadable", format!("{part}: {reason}"))?;
    }
    Ok(())
}
