//! Hours of the catalog to export, and those that cannot be.

use std::collections::BTreeSet;

use netrewind_extractor::time_text::{self, WrittenRange, in_zone};
use netrewind_indexer::kept_hours::{self, is_settled};
use netrewind_store::catalog::{Hour, Manifest};
use netrewind_store::store::{CatalogFolder, ListedSegment};
use netrewind_store::{SegmentState, Store, Timestamp};

use crate::commands::store::StoreArgument;
use crate::outcome::{Failure, Outcome};
use crate::{arguments, clock, terminal};

/// Selection of hours.
#[derive(Debug, clap::Args)]
pub struct HourArguments {
    #[command(flatten)]
    pub store: StoreArgument,
    /// Earliest time: the hour that it is in is exported, and those after it [default: the oldest hour]
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    from: Option<String>,
    /// End of the range, exclusive: an hour that begins before it is exported [default: up to the newest hour]
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    to: Option<String>,
    /// Time zone of times without one: UTC, local, or a zone such as Europe/Rome or +02:00
    #[arg(long, value_name = "ZONE", default_value = "UTC", allow_hyphen_values = true)]
    tz: String,
    /// Print only what goes wrong
    #[arg(long, short)]
    pub quiet: bool,
}

/// The hours of a range.
pub struct ChosenHours {
    /// Those that can be exported.
    pub manifests: Vec<Manifest>,
    /// [`Outcome::Incomplete`] if an hour is not among them although it should be.
    pub outcome: Outcome,
}

/// State of an hour that cannot be exported.
enum AbsentHour {
    /// Its segments are being written.
    NotOver,
    /// It should be there; why it is not, in words.
    Faulty(String),
}

impl HourArguments {
    /// The range of hours.
    pub fn range(&self) -> Result<(Timestamp, Timestamp), Failure> {
        let zone = arguments::zone(&self.tz)?;
        let written =
            WrittenRange { from: self.from.as_deref(), to: self.to.as_deref(), ..WrittenRange::default() };
        let range = time_text::range(&written, clock::now(), &zone)
            .map_err(|error| Failure::usage(format!("--{error}")))?;
        if let Some(note) = &range.note {
            terminal::say(in_zone(note, &zone));
        }
        Ok((range.from.unwrap_or(Timestamp::MIN), range.to.unwrap_or(Timestamp::MAX)))
    }

    /// The hours of the range, earliest first. Those that are missing are named on standard error.
    pub fn choose(&self, store: &Store, (from, to): (Timestamp, Timestamp)) -> Result<ChosenHours, Failure> {
        let kept = kept_hours::hours(store)?;
        let in_catalog = CatalogFolder::of(store).hours()?;
        let all: BTreeSet<Hour> = in_catalog.into_iter().chain(kept.keys().copied()).collect();
        let mut chosen = ChosenHours { manifests: Vec::new(), outcome: Outcome::Done };
        for hour in all.into_iter().filter(|hour| hour.start() < to && hour.end() > from) {
            let segments = kept.get(&hour).map_or(&[][..], Vec::as_slice);
            match manifest(store, hour, segments) {
                Ok(manifest) => chosen.manifests.push(manifest),
                Err(AbsentHour::NotOver) => {
                    if !self.quiet {
                        terminal::say(format_args!("hour {hour} is not over yet, and is left out"));
                    }
                }
                Err(AbsentHour::Faulty(reason)) => {
                    terminal::say(format_args!("hour {hour} is left out: {reason}"));
                    chosen.outcome = Outcome::Incomplete;
                }
            }
        }
        Ok(chosen)
    }
}

/// Manifest of an hour, whose kept segments are these.
fn manifest(store: &Store, hour: Hour, segments: &[ListedSegment]) -> Result<Manifest, AbsentHour> {
    let is_over = hour.end() <= clock::now() && !segments.iter().any(|one| one.state == SegmentState::Open);
    let faulty = |reason: &str| match is_over {
        true => AbsentHour::Faulty(format!("{reason}: run netrewind index --catalog")),
        false => AbsentHour::NotOver,
    };
    match CatalogFolder::of(store).manifest(hour) {
        Ok(Some(manifest)) if is_settled(&manifest, segments) => Ok(manifest),
        Ok(Some(_)) => Err(faulty("its record in the catalog was made without some of its segments")),
        Ok(None) => Err(faulty("it is not in the catalog")),
        Err(error) => Err(AbsentHour::Faulty(format!("{error}: run netrewind index --catalog"))),
    }
}
