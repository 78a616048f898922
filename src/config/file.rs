//! The file of settings: TOML, with a key for each long flag of `netrewind run`.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};

use clap::builder::{OsStr, Resettable};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, Command};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Flags that are no settings: they say what to read, or print.
const NO_SETTINGS: [&str; 3] = ["config", "help", "version"];
/// Largest file that is read: it holds a line or two for each flag.
pub const CONFIG_BYTES_MAX: u64 = 1 << 20;
/// Faults of a file that are told; the others are counted.
pub const FAULTS_TOLD_MAX: usize = 20;

/// A file without a fault.
#[derive(Clone, Debug)]
pub struct ConfigFile {
    /// Its path.
    pub path: PathBuf,
    /// Its keys, in the order of the file.
    pub entries: Vec<ConfigEntry>,
}

/// A key of a file, and its value.
#[derive(Clone, Debug)]
pub struct ConfigEntry {
    /// The long flag that it stands for.
    pub key: String,
    /// Its line, counted from 1.
    pub line: usize,
    /// Its value.
    pub value: EntryValue,
}

/// Value of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryValue {
    /// Of a flag without a value: given, or not.
    Switch(bool),
    /// Texts that the flag would be given, one each time.
    Texts(Vec<String>),
}

/// Reasons not to use a file.
#[derive(Debug)]
pub struct ConfigFaults {
    path: PathBuf,
    faults: Vec<ConfigFault>,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct ConfigFault {
    /// Line and column, counted from 1; `None` if it is the file as a whole.
    place: Option<(usize, usize)>,
    text: String,
}

impl fmt::Display for ConfigFaults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.faults.len() > 1 {
            writeln!(f, "{} faults in {}:", self.faults.len(), self.path.display())?;
        }
        for (number, ConfigFault { place, text }) in self.faults.iter().take(FAULTS_TOLD_MAX).enumerate() {
            let place = place.map_or_else(String::new, |(line, column)| format!(":{line}:{column}"));
            let separator = if number > 0 { "\n" } else { "" };
            write!(f, "{separator}{}{place}: {text}", self.path.display())?;
        }
        match self.faults.len().saturating_sub(FAULTS_TOLD_MAX) {
            0 => Ok(()),
            more => write!(f, "\nand {more} more"),
        }
    }
}

/// The flags of a command that a file can hold.
pub fn settings_of(command: &Command) -> impl Iterator<Item = (&str, &Arg)> {
    let named = command.get_arguments().filter_map(|flag| Some((flag.get_long()?, flag)));
    named.filter(|(name, _)| !NO_SETTINGS.contains(name))
}

/// True for a flag that may be given several times.
pub fn is_list(flag: &Arg) -> bool {
    matches!(flag.get_action(), ArgAction::Append)
}

/// True for a flag without a value.
pub fn is_switch(flag: &Arg) -> bool {
    matches!(flag.get_action(), ArgAction::SetTrue)
}

/// The words of an error of the command line, without the usage behind them.
pub fn words(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let end = ["\n\nUsage:", "\n\nFor more information"].iter().filter_map(|end| text.find(end)).min();
    let text = text.get(..end.unwrap_or(text.len())).unwrap_or_default();
    let words: Vec<&str> = text.trim_start_matches("error: ").split_whitespace().collect();
    words.join(" ")
}

impl ConfigFile {
    /// Reads and checks a file, whose keys are flags of this command, which is built. `None` if there is no such file.
    pub fn read(path: &Path, command: &Command) -> Result<Option<Self>, ConfigFaults> {
        let whole = |text: String| ConfigFaults {
            path: path.to_owned(),
            faults: vec![ConfigFault { place: None, text }],
        };
        let mut bytes = Vec::new();
        let read = File::open(path).and_then(|file| file.take(CONFIG_BYTES_MAX + 1).read_to_end(&mut bytes));
        match read {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(whole(error.to_string())),
            Ok(_) if bytes.len() as u64 > CONFIG_BYTES_MAX => {
                return Err(whole(format!(
                    "it has more than {CONFIG_BYTES_MAX} bytes: it is no file of settings"
                )));
            }
            Ok(_) => {}
        }
        let text = String::from_utf8(bytes).map_err(|error| {
            whole(format!("byte {} is not UTF-8: it is no text", error.utf8_error().valid_up_to()))
        })?;
        let mut reader = FileReader::new(&text, command);
        let entries = reader.entries();
        let mut faults = reader.faults;
        if !faults.is_empty() {
            faults.sort();
            return Err(ConfigFaults { path: path.to_owned(), faults });
        }
        Ok(Some(Self { path: path.to_owned(), entries }))
    }
}

/// Reads the text of a file, and collects its faults.
struct FileReader<'t> {
    text: &'t str,
    /// The command, deaf to the environment.
    command: Command,
    faults: Vec<ConfigFault>,
}

impl<'t> FileReader<'t> {
    fn new(text: &'t str, command: &Command) -> Self {
        let deaf = |flag: Arg| flag.env(Resettable::<OsStr>::Reset);
        Self { text, command: command.clone().mut_args(deaf), faults: Vec::new() }
    }

    fn place(&self, at: &Range<usize>) -> (usize, usize) {
        let before = self.text.get(..at.start).unwrap_or(self.text);
        let line = before.rsplit('\n').next().unwrap_or_default();
        (before.matches('\n').count() + 1, line.chars().count() + 1)
    }

    fn fault(&mut self, at: &Range<usize>, text: String) {
        let place = Some(self.place(at));
        self.faults.push(ConfigFault { place, text });
    }

    fn entries(&mut self) -> Vec<ConfigEntry> {
        let (table, errors) = DeTable::parse_recoverable(self.text);
        for error in errors {
            let at = error.span().unwrap_or(self.text.len()..self.text.len());
            self.fault(&at, error.message().replace('\n', ", "));
        }
        // What is wrong already is not told twice.
        let wrong: Vec<usize> = self.faults.iter().filter_map(|fault| Some(fault.place?.0)).collect();
        let mut entries = Vec::new();
        for (key, value) in table.get_ref() {
            let line = self.place(&key.span()).0;
            if !wrong.contains(&line)
                && let Some(value) = self.value(key, value)
            {
                entries.push(ConfigEntry { key: key.get_ref().to_string(), line, value });
            }
        }
        entries.sort_by_key(|entry| entry.line);
        entries
    }

    /// The value of a key, if that is known and its flag would take it.
    fn value(
        &mut self,
        key: &Spanned<std::borrow::Cow<'_, str>>,
        value: &Spanned<DeValue<'_>>,
    ) -> Option<EntryValue> {
        let name = key.get_ref();
        let flag = settings_of(&self.command).find(|(known, _)| known == name).map(|(_, flag)| flag.clone());
        let Some(flag) = flag else {
            let text = match value.get_ref() {
                DeValue::Table(_) => {
                    format!("unknown table {name:?}: keys stand alone, as budget = \"500GiB\"")
                }
                _ => format!("unknown key {name:?}{}", self.suggestion(name)),
            };
            self.fault(&key.span(), text);
            return None;
        };
        match (value.get_ref(), is_switch(&flag), is_list(&flag)) {
            (DeValue::Boolean(is_set), true, _) => Some(EntryValue::Switch(*is_set)),
            (_, true, _) => {
                self.fault(
                    &value.span(),
                    format!("{name} is a switch: write {name} = true or {name} = false"),
                );
                None
            }
            (DeValue::Array(items), _, true) => {
                let texts: Vec<_> = items.iter().map(|item| self.text_of(name, item)).collect();
                texts.into_iter().collect::<Option<_>>().map(EntryValue::Texts)
            }
            (DeValue::Array(_), ..) => {
                self.fault(&value.span(), format!("{name} takes one value, not a list"));
                None
            }
            _ => self.text_of(name, value).map(|text| EntryValue::Texts(vec![text])),
        }
    }

    /// One value as the text that its flag would be given, if that would take it.
    fn text_of(&mut self, name: &str, value: &Spanned<DeValue<'_>>) -> Option<String> {
        let text = match value.get_ref() {
            DeValue::String(text) => text.to_string(),
            DeValue::Integer(number) if number.radix() == 10 => number.as_str().to_owned(),
            DeValue::Integer(number) => match i128::from_str_radix(number.as_str(), number.radix()) {
                Ok(number) => number.to_string(),
                Err(_) => number.to_string(),
            },
            DeValue::Float(number) => number.as_str().to_owned(),
            other => {
                let kind = other.type_str();
                self.fault(
                    &value.span(),
                    format!("{name} takes a text or a number, and this is of type {kind}"),
                );
                return None;
            }
        };
        if let Some(refusal) = self.refusal(&format!("--{name}={text}")) {
            self.fault(&value.span(), refusal);
            return None;
        }
        Some(text)
    }

    /// Words with which the command refuses a flag's value, if it does. Other flags that it needs are looked at together.
    fn refusal(&self, flag: &str) -> Option<String> {
        let error = self.command.clone().try_get_matches_from([self.command.get_name(), flag]).err()?;
        let is_about_value = matches!(
            error.kind(),
            ErrorKind::InvalidValue
                | ErrorKind::ValueValidation
                | ErrorKind::InvalidUtf8
                | ErrorKind::NoEquals
        );
        is_about_value.then(|| words(&error))
    }

    /// The known key that is nearest to a name.
    fn suggestion(&self, name: &str) -> String {
        let flag = format!("--{name}");
        let error = self.command.clone().try_get_matches_from([self.command.get_name(), flag.as_str()]).err();
        let nearest = error.and_then(|error| match error.get(ContextKind::SuggestedArg) {
            Some(ContextValue::String(flag)) => Some(flag.trim_start_matches('-').to_owned()),
            _ => None,
        });
        match nearest {
            Some(nearest) if !NO_SETTINGS.contains(&nearest.as_str()) => format!(": did you mean {nearest}?"),
            _ => ": netrewind config show lists all keys".to_owned(),
        }
    }
}
