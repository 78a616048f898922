//! A setting: its value, and where that comes from.

use std::fmt;
use std::path::PathBuf;

use clap::Arg;
use serde_json::{Value, json};

use super::file::{is_list, is_switch};
use crate::terminal;

/// A flag of a command, as it is settled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Its long name.
    pub key: String,
    /// Its values; none if it is not given and has no default that can be written.
    pub values: Vec<String>,
    /// Where they come from.
    pub origin: SettingOrigin,
    kind: SettingKind,
    /// Description of the default, if that is none that can be written.
    default: Option<String>,
}

/// Source of a setting, the strongest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SettingOrigin {
    /// The command line.
    Flag,
    /// A variable of the environment.
    Environment(String),
    /// A line of a file.
    File(PathBuf, usize),
    /// The program.
    Default,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SettingKind {
    Single,
    List,
    Switch,
}

impl fmt::Display for SettingOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag => f.write_str("flag"),
            Self::Environment(name) => write!(f, "environment: {name}"),
            Self::File(path, line) => write!(f, "{}:{line}", path.display()),
            Self::Default => f.write_str("default"),
        }
    }
}

impl SettingOrigin {
    fn json(&self) -> Value {
        match self {
            Self::Flag => json!({"kind": "flag"}),
            Self::Environment(name) => json!({"kind": "environment", "name": name}),
            Self::File(path, line) => {
                json!({"kind": "file", "file": path.display().to_string(), "line": line})
            }
            Self::Default => json!({"kind": "default"}),
        }
    }
}

impl Setting {
    /// A flag's setting.
    pub fn new(flag: &Arg, key: &str, values: Vec<String>, origin: SettingOrigin) -> Self {
        let kind = match (is_switch(flag), is_list(flag)) {
            (true, _) => SettingKind::Switch,
            (_, true) => SettingKind::List,
            _ => SettingKind::Single,
        };
        let help = flag.get_help().map(ToString::to_string).unwrap_or_default();
        let default = help.rsplit_once("[default: ").and_then(|(_, rest)| rest.strip_suffix(']'));
        Self { key: key.to_owned(), values, origin, kind, default: default.map(str::to_owned) }
    }

    /// A line of a file of settings, which says where the setting comes from: `lanes = "2"  # flag`. One that is not given is a
    /// comment.
    pub fn line(&self) -> String {
        let Self { key, origin, default, .. } = self;
        match (self.text(), default) {
            (Some(text), _) => format!("{:<40} # {origin}", format!("{key} = {text}")),
            (None, Some(default)) => format!("{:<40} # {origin}: {default}", format!("# {key} =")),
            (None, None) => format!("{:<40} # {origin}: none", format!("# {key} =")),
        }
    }

    /// The value as it stands in a file; `None` if there is none.
    pub fn text(&self) -> Option<String> {
        match self.json_value() {
            Value::Null => None,
            value => terminal::object(&value).ok(),
        }
    }

    fn json_value(&self) -> Value {
        match (self.kind, &self.values[..]) {
            (SettingKind::Switch, values) => json!(values.iter().any(|value| value == "true")),
            (_, []) => Value::Null,
            (SettingKind::List, values) => json!(values),
            (SettingKind::Single, [value, ..]) => json!(value),
        }
    }

    /// The setting as JSON.
    pub fn json(&self) -> Value {
        json!({"key": self.key, "value": self.json_value(), "origin": self.origin.json(), "default": self.default})
    }
}
