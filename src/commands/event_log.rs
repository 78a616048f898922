//! Arguments that name a log of events, in place of a range and a filter.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use anyhow::Context;
use netrewind_extractor::events::{self, EventTimes, LogKind, LoggedEvent};

use super::query::QueryArguments;
use crate::clock;
use crate::outcome::Failure;

/// Other ways to select packets.
const OTHER_SELECTIONS: [&str; 3] = ["from", "to", "around"];

/// Arguments that name a log.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct EventLogArguments {
    /// Packets of the events in this log of Suricata (EVE, JSON lines), each with --window before and after it; - for standard
    /// input
    #[arg(long, value_name = "FILE", conflicts_with_all = OTHER_SELECTIONS)]
    eve: Option<PathBuf>,
    /// The same for a conn.log of Zeek, tab-separated or JSON lines
    #[arg(long, value_name = "FILE", conflicts_with_all = OTHER_SELECTIONS, conflicts_with = "eve")]
    zeek: Option<PathBuf>,
}

impl EventLogArguments {
    /// True if there is one.
    pub fn is_given(&self) -> bool {
        self.eve.is_some() || self.zeek.is_some()
    }

    /// The events in it; `None` without a log.
    pub fn read(&self, query: &QueryArguments) -> Result<Option<Vec<LoggedEvent>>, Failure> {
        let (path, kind, name) = match (&self.eve, &self.zeek) {
            (Some(path), _) => (path, LogKind::Eve, "--eve"),
            (None, Some(path)) => (path, LogKind::Zeek, "--zeek"),
            (None, None) => return Ok(None),
        };
        let zone = query.zone()?;
        let times = EventTimes { now: clock::now(), zone: &zone, window: query.window() };
        let mut log: Box<dyn BufRead> = match path == Path::new("-") {
            true => Box::new(io::stdin().lock()),
            false => Box::new(BufReader::new(File::open(path).with_context(|| path.display().to_string())?)),
        };
        let events = events::read(log.as_mut(), kind, &times);
        events.map(Some).map_err(|error| Failure::usage(format!("{name} {}: {error}", path.display())))
    }
}
