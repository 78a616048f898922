//! The command `netrewind`: records packets, and returns exactly those that a query asks for.
//!
//! **Invariant:** exit codes are decided here and nowhere else; clocks, the environment and the terminal are read in this
//! package and in no library.

mod archive_access;
mod arguments;
mod broker;
mod clock;
mod commands;
mod config;
mod confine;
mod exported_hours;
mod extracted_hours;
mod help;
mod logs;
mod machine;
mod manager;
mod outcome;
mod process_meter;
mod sharing;
mod signals;
mod soundness;
mod sys;
mod table_target;
mod terminal;
mod version;
mod writable_store;

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser};

use crate::commands::Command;
use crate::config::Settings;
use crate::outcome::{Failure, Outcome};

/// Rewind your network: a continuous packet recorder that can always answer "give me those packets".
#[derive(Debug, Parser)]
#[command(name = "netrewind", version, long_version = version::described(), max_term_width = 110, after_help = EXAMPLES)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
    /// Confine nothing: to find out whether a failure is due to the confinement (see docs/security.md)
    #[arg(long, global = true)]
    no_confine: bool,
}

const EXAMPLES: &str = "\
Examples:
  sudo netrewind record --store /data/nr --interface eth1 --budget 500GiB
  netrewind extract --store /data/nr --from '2h ago' --filter 'host 10.1.2.3 and port 443' -o talk.pcap
  netrewind extract --store /data/nr --filter 'icmp' -o - | wireshark -k -i -
  netrewind status --store /data/nr

Exit status: 0 done, 1 done but incomplete or found wrong, 2 wrong usage, 3 failed.";

/// Description of the whole command line.
fn command_line() -> clap::Command {
    help::arranged(CommandLine::command())
}

fn main() -> ExitCode {
    sys::return_freed_memory();
    let given = commands::extcap::as_subcommand(std::env::args_os());
    let outcome = match read(given) {
        Err(code) => return code,
        Ok((CommandLine { command, no_confine }, settings)) => {
            if no_confine {
                confine::turn_off();
            }
            command.run(&settings, command_line)
        }
    };
    status(&outcome)
}

/// Prints why a command did not do its work, if so.
fn status(outcome: &Result<Outcome, Failure>) -> ExitCode {
    if let Err(failure) = outcome
        && !failure.is_reader_gone()
    {
        failure.print();
    }
    match outcome {
        // Whoever read the output has seen enough.
        Err(failure) if failure.is_reader_gone() => 0.into(),
        Ok(Outcome::Done) => 0.into(),
        Ok(Outcome::Incomplete) => 1.into(),
        Err(Failure::Usage(_)) => 2.into(),
        Err(Failure::Failed(_)) => 3.into(),
    }
}

/// The command line with its settings, or the exit status where it asks for help or is wrong.
fn read(given: Vec<OsString>) -> Result<(CommandLine, Settings), ExitCode> {
    let merged = config::merge(command_line, given).map_err(|failure| status(&Err(failure)))?;
    let note = merged.note();
    let read = merged.parse().and_then(|(matches, settings)| {
        let line = CommandLine::from_arg_matches(&matches);
        Ok((line.map_err(|error| error.format(&mut command_line()))?, settings))
    });
    read.map_err(|error| {
        let printed = error.print();
        if !error.use_stderr() {
            let printed =
                printed.and_then(|()| std::io::stdout().flush()).map_err(terminal::of_standard_output);
            return status(&printed.map(|()| Outcome::Done).map_err(Failure::from));
        }
        // A closed standard error leaves the exit status to speak.
        note.iter().for_each(terminal::say);
        u8::try_from(error.exit_code()).unwrap_or(2).into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The command line as it is parsed, with what clap adds.
    fn built() -> clap::Command {
        let mut all = command_line();
        all.build();
        all
    }

    fn names(command: &clap::Command) -> Vec<&str> {
        config::settings_of(command).map(|(name, _)| name).collect()
    }

    #[test]
    fn every_flag_of_what_runs_has_a_key_and_every_key_a_flag() {
        let all = built();
        let command = |name: &str| all.find_subcommand(name).expect("a command");
        // What reads an archive is of no use to what records.
        let whole = [names(command("run")), names(command("serve"))].concat();
        for name in ["record", "run", "serve"] {
            let flags = command(name).get_arguments().filter(|flag| !flag.is_positional());
            for flag in flags {
                let long = flag.get_long().expect("a long name");
                assert!(
                    whole.contains(&long) || ["config", "help"].contains(&long),
                    "{name} --{long} has no key"
                );
            }
        }
        let some = [names(command("record")), names(command("serve"))].concat();
        assert!(whole.iter().all(|key| some.contains(key)), "a key of neither record nor serve");
        assert!(config::reload::LIVE.iter().all(|key| whole.contains(key)));
    }

    /// Lines of examples, each a command as it would be pasted.
    fn examples(command: &clap::Command, found: &mut Vec<String>) {
        let text = command.get_after_long_help().map(ToString::to_string).unwrap_or_default();
        let joined = text.replace("\\\n", " ");
        found.extend(joined.lines().filter(|line| line.starts_with("  ")).map(str::to_owned));
        for line in text.lines().filter(|line| line.starts_with("  ")) {
            assert!(line.chars().count() <= 80, "{}: a line that is broken: {line}", command.get_name());
        }
        command.get_subcommands().for_each(|command| examples(command, found));
    }

    #[test]
    fn examples_are_commands_that_there_are() {
        let mut found = Vec::new();
        examples(&built(), &mut found);
        let mut tried = 0;
        for line in &found {
            for part in line.split(" | ").filter_map(|part| part.split_once("netrewind ")) {
                let (before, part) = part;
                if !before.trim().is_empty() && before.trim() != "sudo" {
                    continue;
                }
                let ends = [" ;", " #", " >", " &"].into_iter().filter_map(|mark| part.find(mark));
                let part = &part[..ends.min().unwrap_or(part.len())];
                let words = std::process::Command::new("bash")
                    .args(["-c", &format!("for word in netrewind {part}; do printf '%s\\0' \"$word\"; done")])
                    .output()
                    .expect("bash");
                let words = String::from_utf8(words.stdout).expect("text");
                let words = words.split_terminator('\0');
                if let Err(error) = command_line().try_get_matches_from(words) {
                    // What is required may be in the file.
                    let is_in_file = error.kind() == clap::error::ErrorKind::MissingRequiredArgument;
                    assert!(is_in_file && line.contains("--config"), "{line}: {error}");
                }
                tried += 1;
            }
        }
        assert!(tried > 40, "{tried} examples");
    }

    #[test]
    fn short_help_is_short() {
        for command in built().get_subcommands_mut().filter(|command| !command.is_hide_set()) {
            let (short, long) = (command.render_help().to_string(), command.render_long_help().to_string());
            assert!(short.lines().count() <= 72, "{}: {} lines", command.get_name(), short.lines().count());
            assert!(short.len() <= long.len());
        }
    }
}
