//! `netrewind hold`: packets that are kept for a case, whatever their age.

use std::path::{Path, PathBuf};

use jiff::tz::TimeZone;
use netrewind_cases::{
    HoldError, HoldRequest, HoldView, MadeHold, PacketsRequest, hold_packets, hold_segments, list_holds,
    release_hold,
};
use netrewind_extractor::events;
use netrewind_extractor::time_text::in_zone;
use netrewind_extractor::{Asked, ExtractError, Extractor};
use netrewind_store::Store;
use netrewind_store::clock::SystemClock;
use netrewind_store::hold::{CaseFormat, CaseName};
use netrewind_store::store::{CaseFiles, ListedSegment, StoreListing};
use netrewind_store::time::Span;

use super::event_log::EventLogArguments;
use super::keys::signer;
use super::progress::ProgressDisplay;
use super::query::{QueryArguments, failure, options, workers};
use super::store::StoreArgument;
use crate::confine::Walls;
use crate::outcome::{Failure, Outcome};
use crate::sharing::SharingArguments;
use crate::{arguments, signals, terminal};

const EXAMPLES: &str = "\
Examples:
  netrewind hold add INC-2041 --store /data/nr --from '2026-11-22 09:30' --to +20m --note 'leak, ask ann'
  netrewind hold add INC-2042 --store /data/nr --around 2026-11-22T09:31:01Z --window 5m --filter 'host 10.1.2.3'
  netrewind hold add INC-2043 --store /data/nr --eve alerts.json --window 30s
  netrewind hold list --store /data/nr
  netrewind hold release INC-2041 --store /data/nr

Without --filter, every segment with packets of the range is held as it is: retention leaves it alone, with its index and the
logbook since then. With --filter, --eve or --zeek, the packets are written to cases/CASE.pcap in the store, with a manifest of their hash, the
query and its completeness, and nothing else is held. Both count within the budget, up to --hold-budget of netrewind record
(half of the budget, unless that says otherwise); what would take more is refused.";

/// Arguments of `netrewind hold`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct HoldArguments {
    #[command(subcommand)]
    action: HoldAction,
}

#[derive(Debug, clap::Subcommand)]
enum HoldAction {
    /// Hold the packets of a range for a case
    Add(Box<AddArguments>),
    /// List the holds, and what has become of what they keep
    List(ListArguments),
    /// Let retention have a case's segments again; packets of its own are removed
    Release(ReleaseArguments),
}

/// Arguments of `netrewind hold add`.
#[derive(Debug, clap::Args)]
struct AddArguments {
    /// The case: up to 64 letters, digits, dots, _ and -
    #[arg(value_name = "CASE")]
    case: CaseName,
    #[command(flatten)]
    store: StoreArgument,
    #[command(flatten)]
    query: QueryArguments,
    #[command(flatten)]
    log: EventLogArguments,
    /// The reason, for whoever finds the hold
    #[arg(long, value_name = "TEXT", default_value = "")]
    note: String,
    /// Name of who holds [default: the user]
    #[arg(long, value_name = "NAME")]
    by: Option<String>,
    /// Form of the file that --filter makes: pcap (one link type) or pcapng
    #[arg(long, value_name = "FORMAT", default_value = "pcap", value_parser = ["pcap", "pcapng"])]
    format: String,
    /// Sign the manifest of the packets that --filter selects with this private key (Ed25519, PKCS#8 PEM)
    #[arg(long, value_name = "KEY.pem")]
    sign: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Arguments of `netrewind hold list`.
#[derive(Debug, clap::Args)]
struct ListArguments {
    #[command(flatten)]
    store: StoreArgument,
    /// Time zone of printed times: UTC, local, or a zone such as Europe/Rome or +02:00
    #[arg(long, value_name = "ZONE", default_value = "UTC", allow_hyphen_values = true)]
    tz: String,
    /// Print one JSON object; its times are in UTC
    #[arg(long)]
    json: bool,
}

/// Arguments of `netrewind hold release`.
#[derive(Debug, clap::Args)]
struct ReleaseArguments {
    /// The case
    #[arg(value_name = "CASE")]
    case: CaseName,
    #[command(flatten)]
    store: StoreArgument,
}

/// Runs the command.
pub fn run(arguments: &HoldArguments) -> Result<Outcome, Failure> {
    match &arguments.action {
        HoldAction::Add(arguments) => add(arguments),
        HoldAction::List(arguments) => list(arguments),
        HoldAction::Release(arguments) => release(arguments),
    }
}

/// Opens a store whose cases are to be changed, and the folder of these, before anything else is closed to this process.
fn open(folder: &Path) -> Result<Store, Failure> {
    let store = Store::open(folder)?;
    check_user(&store)?;
    SharingArguments::default().begin(folder)?;
    CaseFiles::of(&store).prepare().map_err(|error| hold_failure(error.into()))?;
    Ok(store)
}

/// Refuses to write files that the recorder could not read: what it cannot read, it must not remove.
fn check_user(store: &Store) -> Result<(), Failure> {
    use std::os::unix::fs::MetadataExt;
    let owner = std::fs::metadata(store.root())?.uid();
    if rustix::process::geteuid().is_root() && owner != 0 {
        return Err(Failure::usage(format!(
            "the store belongs to user {owner}, who could not read what root writes: run this as that user (sudo -u '#{owner}' netrewind hold ...)"
        )));
    }
    Ok(())
}

fn add(arguments: &AddArguments) -> Result<Outcome, Failure> {
    let AddArguments { case, query, note, .. } = arguments;
    let asked = match arguments.log.read(query)? {
        Some(events) => events::query_for_all(&events, &query.query_of_events()?),
        None => query.query(false)?,
    };
    if arguments.sign.is_some() && !asked.is_selective() {
        return Err(Failure::usage(
            "--sign signs the manifest of the packets that --filter selects: without --filter, segments are held, which their checksums vouch for",
        ));
    }
    let signer = arguments.sign.as_deref().map(signer).transpose()?;
    let stop = signals::stop_flag()?;
    let workers = workers(&asked.filter)?;
    let store = open(&arguments.store.store)?;
    let by = arguments.by.clone().unwrap_or_else(user);
    let request = HoldRequest { case: case.clone(), by, note: note.clone() };
    Walls::around(&store).writing(&CaseFiles::of(&store).folder()).raise().say_gaps();
    let clock = SystemClock::new();
    if !asked.is_selective() {
        let range = Asked { from: asked.from, to: asked.to };
        let made = hold_segments(&store, &clock, &request, range, asked.range()).map_err(hold_failure)?;
        return report_segments(arguments, &made);
    }
    let mut control = ProgressDisplay::new(stop, arguments.json, query.zone()?);
    let format = if arguments.format == "pcapng" { CaseFormat::Pcapng } else { CaseFormat::Pcap };
    let packets = PacketsRequest { query: &asked, format, signer: signer.as_ref() };
    let extractor = Extractor::new(store, options(workers));
    let held = hold_packets(&extractor, &clock, &request, packets, &mut control);
    control.end();
    let (answer, bytes) = held.map_err(hold_failure)?;
    if arguments.json {
        terminal::if_read(terminal::print(terminal::object(
            &serde_json::json!({"case": case, "bytes": bytes, "answer": answer}),
        )?))?;
    } else {
        terminal::say(format_args!(
            "case {case}: {} packets in {}, with their manifest in the store's folder cases",
            answer.packets,
            terminal::bytes(bytes)
        ));
        let zone = query.zone()?;
        answer.completeness.lines().iter().for_each(|line| terminal::say_completeness(&in_zone(line, &zone)));
    }
    Ok(if answer.completeness.is_sound() { Outcome::Done } else { Outcome::Incomplete })
}

fn report_segments(arguments: &AddArguments, made: &MadeHold) -> Result<Outcome, Failure> {
    let MadeHold { segments, bytes, expired, ends_later } = made;
    let case = &arguments.case;
    if arguments.json {
        let account =
            serde_json::json!({"case": case, "segments": segments, "bytes": bytes, "expired": expired});
        terminal::if_read(terminal::print(terminal::object(&account)?))?;
    } else {
        terminal::say(format_args!("case {case}: {segments} segments are held, {}", terminal::bytes(*bytes)));
        if *ends_later {
            terminal::say("the range goes on after now: what is recorded later is not held");
        }
        for name in expired {
            terminal::say(format_args!("segment {name} expired just now: it is not held"));
        }
    }
    Ok(if expired.is_empty() { Outcome::Done } else { Outcome::Incomplete })
}

/// The user, as far as it is known.
fn user() -> String {
    let named = ["SUDO_USER", "USER", "LOGNAME"].iter().find_map(|name| std::env::var(name).ok());
    named.unwrap_or_else(|| format!("user {}", rustix::process::getuid().as_raw()))
}

fn list(arguments: &ListArguments) -> Result<Outcome, Failure> {
    let zone = arguments::zone(&arguments.tz)?;
    let store = Store::open_to_read(&arguments.store.store)?;
    Walls::around(&store).raise().say_gaps();
    let views = list_holds(&store)?;
    let segments: Vec<ListedSegment> = StoreListing::of(&store).segments;
    let held = CaseFiles::of(&store).account(&segments)?;
    let bytes_max = CaseFiles::of(&store).bytes_max()?;
    if arguments.json {
        let all = serde_json::json!({"holds": views, "bytes": held.bytes, "bytes_max": bytes_max});
        terminal::print(terminal::object(&all)?)?;
    } else {
        for view in &views {
            print_hold(view, &zone)?;
        }
        terminal::print(format_args!(
            "{} cases, {} segments, {} of the {} that holds may take",
            views.len(),
            held.segments,
            terminal::bytes(held.bytes),
            terminal::bytes(bytes_max)
        ))?;
    }
    let are_sound = views.iter().all(HoldView::is_sound);
    Ok(if are_sound { Outcome::Done } else { Outcome::Incomplete })
}

fn print_hold(view: &HoldView, zone: &TimeZone) -> std::io::Result<()> {
    let range = match (view.from, view.to) {
        (Some(from), Some(to)) => Span { from, to }.to_string(),
        (Some(from), None) => format!("{from} on"),
        (None, Some(to)) => format!("before {to}"),
        (None, None) => "everything".to_owned(),
    };
    let kept = match &view.file {
        Some(file) => format!("packets in {file}, {}", terminal::bytes(view.bytes)),
        None => format!("{} segments, {}", view.segments, terminal::bytes(view.bytes)),
    };
    terminal::print(in_zone(&format!("{}: {range}: {kept}", view.case), zone))?;
    if let Some(made) = view.made {
        let note = if view.note.is_empty() { String::new() } else { format!(": {}", view.note) };
        terminal::print(in_zone(&format!("  held {made} by {}{note}", view.by), zone))?;
    }
    if view.is_unfinished {
        terminal::print(
            "  unfinished: its packets are being written, or were when that was broken off: release it, and hold it again",
        )?;
    }
    for name in &view.gone {
        terminal::print(format_args!("  gone: segment {name}"))?;
    }
    for text in &view.unreadable {
        terminal::print(format_args!("  unreadable: {text}"))?;
    }
    if view.unlisted > 0 {
        terminal::print(format_args!("  and {} more", view.unlisted))?;
    }
    Ok(())
}

fn release(arguments: &ReleaseArguments) -> Result<Outcome, Failure> {
    let store = open(&arguments.store.store)?;
    Walls::around(&store).writing(&CaseFiles::of(&store).folder()).raise().say_gaps();
    let view = release_hold(&store, &arguments.case).map_err(hold_failure)?;
    terminal::say(match &view.file {
        Some(file) => format!("case {}: released, and {file} removed", view.case),
        None => format!("case {}: released: retention may remove its {} segments", view.case, view.segments),
    });
    Ok(Outcome::Done)
}

/// Classifies errors: what the user can correct by another command is wrong usage.
fn hold_failure(error: HoldError) -> Failure {
    match error {
        HoldError::Extract(error @ (ExtractError::Filter(_) | ExtractError::UnknownInterface { .. })) => {
            failure(error)
        }
        HoldError::Extract(error @ ExtractError::Sink(_)) => failure(error),
        HoldError::Extract(_) | HoldError::Store(_) | HoldError::Denied { .. } | HoldError::NoRoomMade(_) => {
            Failure::Failed(error.into())
        }
        _ => Failure::Usage(error.into()),
    }
}
