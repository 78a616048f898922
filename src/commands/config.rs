//! `netrewind config`: checks and shows settings.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{ArgMatches, FromArgMatches};
use serde_json::json;

use super::record::RecordArguments;
use super::serve::ServingArguments;
use crate::config::{DEFAULT_FILE, MergedLine, merge, words};
use crate::outcome::{Failure, Outcome};
use crate::terminal;

const EXAMPLES: &str = "\
Examples:
  netrewind config check
  netrewind config check /etc/netrewind/netrewind.toml --for serve
  netrewind config show
  netrewind config show ./netrewind.toml --json -- --budget 1TiB

The file has a key for each flag of netrewind run, as budget = \"500GiB\" or interface = [\"eth1\", \"eth2\"]; record and serve take
from it what they have flags for. Flags go over the variables NETREWIND_STORE and NETREWIND_LOG, these over the file, and that over
defaults. On SIGHUP the file is read again: budgets, ages and log levels change at once, and what needs a restart is named.";

/// Arguments of `netrewind config`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct ConfigArguments {
    #[command(subcommand)]
    action: ConfigAction,
}

#[derive(Debug, clap::Subcommand)]
enum ConfigAction {
    /// Check a file as a whole, with the files that it names; nothing is started
    Check(CheckArguments),
    /// Show every setting, and where it comes from
    Show(ShowArguments),
}

/// A file of settings, and what goes with it.
#[derive(Debug, clap::Args)]
struct MergedArguments {
    /// The file
    #[arg(value_name = "FILE", default_value = DEFAULT_FILE)]
    file: PathBuf,
    /// The command that it is for
    #[arg(long = "for", value_name = "COMMAND", default_value = "run", value_parser = ["record", "run", "serve"])]
    command: String,
    /// Flags of that command, which go over the file
    #[arg(value_name = "FLAGS", last = true, allow_hyphen_values = true)]
    flags: Vec<OsString>,
}

/// Arguments of `netrewind config check`.
#[derive(Debug, clap::Args)]
struct CheckArguments {
    #[command(flatten)]
    merged: MergedArguments,
}

/// Arguments of `netrewind config show`.
#[derive(Debug, clap::Args)]
struct ShowArguments {
    #[command(flatten)]
    merged: MergedArguments,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl MergedArguments {
    fn merge(&self, command_line: fn() -> clap::Command) -> Result<MergedLine, Failure> {
        let start = ["netrewind", &self.command, "--config"].map(OsString::from);
        let line = start.into_iter().chain([self.file.clone().into()]).chain(self.flags.iter().cloned());
        merge(command_line, line.collect())
    }
}

/// Runs the command.
pub fn run(arguments: &ConfigArguments, command_line: fn() -> clap::Command) -> Result<Outcome, Failure> {
    match &arguments.action {
        ConfigAction::Check(arguments) => check(&arguments.merged, command_line),
        ConfigAction::Show(arguments) => show(arguments, command_line),
    }
}

fn check(arguments: &MergedArguments, command_line: fn() -> clap::Command) -> Result<Outcome, Failure> {
    let MergedArguments { file, command, .. } = arguments;
    let (matches, _) = arguments.merge(command_line)?.parse().map_err(|error| {
        Failure::usage(format!("{}: netrewind {command} does not take it: {}", file.display(), words(&error)))
    })?;
    let faults = matches.subcommand_matches(command).map(|matches| faults(command, matches)).transpose()?;
    let faults = faults.unwrap_or_default();
    if !faults.is_empty() {
        return Err(Failure::usage(format!("{}: {}", file.display(), faults.join("\n"))));
    }
    terminal::say(format_args!("{}: nothing is wrong with it for netrewind {command}", file.display()));
    Ok(Outcome::Done)
}

/// What a command would find wrong once it starts, without starting anything.
fn faults(command: &str, matches: &ArgMatches) -> Result<Vec<String>, Failure> {
    let mut faults = Vec::new();
    if command != "serve" {
        faults.extend(RecordArguments::from_arg_matches(matches)?.faults());
    }
    if command != "record" {
        faults.extend(ServingArguments::from_arg_matches(matches)?.faults());
    }
    Ok(faults)
}

fn show(arguments: &ShowArguments, command_line: fn() -> clap::Command) -> Result<Outcome, Failure> {
    let settings = arguments.merged.merge(command_line)?.settings;
    if arguments.json {
        let all: Vec<_> = settings.all.iter().map(|setting| setting.json()).collect();
        let file = settings.file.map(|file| file.display().to_string());
        terminal::print(terminal::object(&json!({"file": file, "settings": all}))?)?;
    } else {
        for setting in &settings.all {
            terminal::print(setting.line())?;
        }
    }
    Ok(Outcome::Done)
}
