//! Settings of `record`, `run` and `serve`: flags over the environment over a file over defaults.
//!
//! The keys of the file are the long flags of `netrewind run` and of `serve`, as clap knows them: a flag that is added has its key. What the file
//! says is put before the flags on the command line, and so is checked and refused as they are.

mod file;
pub mod reload;
mod setting;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::builder::{OsStr, Resettable};
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command};

use crate::outcome::Failure;
use file::{ConfigFile, EntryValue};
pub use file::{settings_of, words};
use setting::{Setting, SettingOrigin};

/// The file that is read where no other is named.
pub const DEFAULT_FILE: &str = "/etc/netrewind/netrewind.toml";
/// The command that has all settings, but for those of [`READING`].
const WHOLE: &str = "run";
/// The command that has those of an archive that is read.
const READING: &str = "serve";
/// Commands that have settings.
const CONFIGURED: [&str; 3] = ["record", WHOLE, READING];

/// The option that names the file.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct ConfigArgument {
    /// File with a key for each flag, in TOML; flags and the environment go over it
    /// [default: /etc/netrewind/netrewind.toml, if it exists and --store is not given]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// The settings of a command, and where they come from.
#[derive(Clone)]
pub struct Settings {
    command_line: fn() -> Command,
    given: Vec<OsString>,
    /// The file, if one was read.
    pub file: Option<PathBuf>,
    /// Every setting of the command, in the order of its help.
    pub all: Vec<Setting>,
}

/// A command line with what the environment and a file add to it, not parsed yet.
pub struct MergedLine {
    command: Command,
    arguments: Vec<OsString>,
    /// What it comes to.
    pub settings: Settings,
}

/// The flags that were given, of the command that was named.
struct GivenFlags<'c> {
    command: &'c Command,
    matches: &'c ArgMatches,
}

impl GivenFlags<'_> {
    fn source(&self, flag: &Arg) -> Option<ValueSource> {
        self.matches
            .value_source(flag.get_id().as_str())
            .filter(|&source| source != ValueSource::DefaultValue)
    }

    fn values(&self, flag: &Arg) -> Vec<String> {
        let values = self.matches.get_raw(flag.get_id().as_str());
        values.into_iter().flatten().map(|value| value.to_string_lossy().into_owned()).collect()
    }

    /// True if another flag that was given by `source` excludes this one.
    fn excludes(&self, flag: &Arg, is_source: impl Fn(ValueSource) -> bool) -> bool {
        let excluded = |one: &Arg, other: &Arg| {
            self.command.get_arg_conflicts_with(one).iter().any(|arg| arg.get_id() == other.get_id())
        };
        let mut others = self.command.get_arguments().filter(|other| other.get_id() != flag.get_id());
        others.any(|other| {
            self.source(other).is_some_and(&is_source) && (excluded(flag, other) || excluded(other, flag))
        })
    }

    /// Flags whose variable does not count: it is empty, or a flag on the command line excludes it.
    fn deaf(&self) -> Vec<String> {
        let is_deaf = |flag: &&Arg| {
            let variable = flag.get_env().and_then(std::env::var_os);
            let is_empty = variable.is_some_and(|value| value.is_empty());
            let from_line = |source| source == ValueSource::CommandLine;
            is_empty || flag.get_env().is_some() && self.excludes(flag, from_line)
        };
        let flags = self.command.get_arguments().filter(is_deaf);
        flags.map(|flag| flag.get_id().as_str().to_owned()).collect()
    }
}

/// Adds to a command line what the environment and a file say. Fails if the file has faults; what is wrong with the command line is
/// found when it is parsed.
pub fn merge(command_line: fn() -> Command, given: Vec<OsString>) -> Result<MergedLine, Failure> {
    let settings = Settings { command_line, given: given.clone(), file: None, all: Vec::new() };
    let plain = |command| MergedLine { command, arguments: given.clone(), settings: settings.clone() };
    let mut built = command_line();
    built.build();
    // Wrong flags are told of later; help and versions need no settings.
    let Ok(matches) = command_line().ignore_errors(true).try_get_matches_from(&given) else {
        return Ok(plain(command_line()));
    };
    let (mut command, mut matches, mut path) = (&built, &matches, Vec::new());
    while let Some((name, inner)) = matches.subcommand() {
        let Some(known) = command.find_subcommand(name) else { break };
        (command, matches) = (known, inner);
        path.push(known.get_name().to_owned());
    }
    let flags = GivenFlags { command, matches };
    let deaf = flags.deaf();
    let heard = without_variables(command_line(), &path, &deaf);
    let [name] = &path[..] else { return Ok(plain(heard)) };
    if !CONFIGURED.contains(&name.as_str()) {
        return Ok(plain(heard));
    }
    let file = read_file(&flags, &built)?;
    let (mut inserted, mut all) = (Vec::new(), Vec::new());
    for (key, flag) in settings_of(command) {
        let is_deaf = deaf.iter().any(|id| id == flag.get_id().as_str());
        let source = flags.source(flag).filter(|&source| source == ValueSource::CommandLine || !is_deaf);
        let entry = file.iter().flat_map(|file| &file.entries).find(|entry| entry.key == key);
        let setting = match (source, entry, &file) {
            (Some(ValueSource::EnvVariable), ..) => {
                let name = flag.get_env().map(|name| name.to_string_lossy().into_owned());
                Setting::new(
                    flag,
                    key,
                    flags.values(flag),
                    SettingOrigin::Environment(name.unwrap_or_default()),
                )
            }
            (Some(_), ..) => Setting::new(flag, key, flags.values(flag), SettingOrigin::Flag),
            (None, Some(entry), Some(file)) if !flags.excludes(flag, |_| true) => {
                let values = match &entry.value {
                    EntryValue::Switch(is_set) => {
                        inserted.extend(is_set.then(|| OsString::from(format!("--{key}"))));
                        vec![is_set.to_string()]
                    }
                    EntryValue::Texts(texts) => {
                        inserted.extend(texts.iter().map(|text| OsString::from(format!("--{key}={text}"))));
                        texts.clone()
                    }
                };
                Setting::new(flag, key, values, SettingOrigin::File(file.path.clone(), entry.line))
            }
            _ => {
                let values =
                    flag.get_default_values().iter().map(|value| value.to_string_lossy().into_owned());
                Setting::new(flag, key, values.collect(), SettingOrigin::Default)
            }
        };
        all.push(setting);
    }
    let mut arguments = given.clone();
    // Options before the command have no values.
    let at =
        arguments.iter().position(|argument| argument == name.as_str()).map_or(arguments.len(), |at| at + 1);
    arguments.splice(at..at, inserted);
    let file = file.map(|file| file.path);
    Ok(MergedLine { command: heard, arguments, settings: Settings { file, all, ..settings } })
}

/// The file of settings, if there is one. One that was named must be there; the default one is for command lines that do not say which
/// store they are about.
fn read_file(flags: &GivenFlags<'_>, built: &Command) -> Result<Option<ConfigFile>, Failure> {
    let (Some(whole), Some(reading)) = (built.find_subcommand(WHOLE), built.find_subcommand(READING)) else {
        return Ok(None);
    };
    let further = settings_of(reading).filter(|(key, _)| settings_of(whole).all(|(known, _)| known != *key));
    let whole = &whole.clone().args(further.map(|(_, flag)| flag));
    let named = flags.matches.try_get_one::<PathBuf>("config").ok().flatten();
    let names_store = flags.matches.value_source("store") == Some(ValueSource::CommandLine);
    let path = match named {
        Some(path) => path.as_path(),
        None if names_store => return Ok(None),
        None => Path::new(DEFAULT_FILE),
    };
    let file = ConfigFile::read(path, whole).map_err(Failure::usage)?;
    if file.is_none() && named.is_some() {
        return Err(Failure::usage(format!("{}: there is no such file", path.display())));
    }
    Ok(file)
}

/// The command line, which listens to fewer variables.
fn without_variables(command: Command, path: &[String], deaf: &[String]) -> Command {
    match path {
        [name, rest @ ..] => command.mut_subcommand(name, |command| without_variables(command, rest, deaf)),
        [] => deaf.iter().fold(command, |command, id| {
            command.mut_arg(id, |flag: Arg| flag.env(Resettable::<OsStr>::Reset))
        }),
    }
}

impl MergedLine {
    /// Parses it.
    pub fn parse(self) -> Result<(ArgMatches, Settings), clap::Error> {
        let Self { command, arguments, settings } = self;
        Ok((command.try_get_matches_from(arguments)?, settings))
    }

    /// The words to say behind an error of the command line: what it may not show.
    pub fn note(&self) -> Option<String> {
        let file = self.settings.file.as_ref()?;
        Some(format!("note: the keys of {} count as flags (netrewind config show)", file.display()))
    }
}

impl Settings {
    /// Reads the file again, and parses the same command line with what it says now.
    fn reread(&self) -> Result<(ArgMatches, Self), Failure> {
        let merged = merge(self.command_line, self.given.clone())?;
        if let (Some(file), None) = (&self.file, &merged.settings.file) {
            return Err(Failure::usage(format!("{}: there is no such file any more", file.display())));
        }
        let (matches, settings) = merged.parse().map_err(|error| Failure::usage(words(&error)))?;
        match matches.subcommand() {
            Some((_, inner)) => Ok((inner.clone(), settings)),
            None => Ok((matches, settings)),
        }
    }
}
