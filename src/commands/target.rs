//! Source of a query's answer: a store, an archive, or recorders over HTTP.

use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use anyhow::Context;
use netrewind_client::{Access, RecorderEstimate, RecorderFlows, Remote, RemoteError};
use netrewind_extractor::flows::{FlowQuery, FlowSummary, Search, SummaryQuery};
use netrewind_extractor::{
    Answer, Control, Estimate, ExtractError, Extractor, FollowClock, Hint, Options, Query, Sink, SinkError,
    hint_time,
};
use netrewind_filter::Workers;
use netrewind_store::Store;

use super::archived::{PreparedArchive, ReadArchiveArguments};
use super::following::FollowingClock;
use super::query::{failure, options};
use super::store::STORE_VARIABLE;
use crate::confine::{KeptCapabilities, Walls};
use crate::outcome::Failure;
use crate::terminal::ReaderGone;

/// Arguments that name a store or recorders.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct TargetArguments {
    /// The store's folder
    #[arg(long, value_name = "DIR", env = STORE_VARIABLE, hide_env_values = true,
        required_unless_present_any = ["url", "archive"], conflicts_with = "url")]
    pub store: Option<PathBuf>,
    #[command(flatten)]
    pub archive: ReadArchiveArguments,
    /// URL of a recorder that answers over HTTP (netrewind serve); several recorders give one answer, sorted by time; may be given
    /// several times, or with spaces between
    #[arg(
        long,
        value_name = "URL",
        env = "NETREWIND_URL",
        hide_env_values = true,
        value_delimiter = ' ',
        conflicts_with = "archive"
    )]
    pub url: Vec<String>,
    /// File with the token for recorders
    #[arg(long, value_name = "FILE", requires = "url")]
    pub token_file: Option<PathBuf>,
    /// Certificate authorities (PEM) that signed the recorders' certificates, or self-signed certificates of recorders themselves
    /// [default: those that the system trusts]
    #[arg(long, value_name = "FILE", requires = "url")]
    pub ca_file: Option<PathBuf>,
    /// The token itself; not an argument, which others could read.
    #[arg(skip)]
    pub token: Option<String>,
}

/// The opened store or recorders.
pub enum QueryTarget {
    /// A store.
    Local(Box<Extractor>),
    /// An archive, with a store or without one.
    Archived(Box<ArchivedTarget>),
    /// Recorders.
    Remote(Remote),
}

/// An archive that is asked behind walls.
pub struct ArchivedTarget {
    archive: PreparedArchive,
    options: Options,
    /// Opened for the first question.
    opened: OnceLock<OpenedArchive>,
}

/// The recorders of an archive.
enum OpenedArchive {
    One(Box<Extractor>),
    Several(Remote),
}

/// Who answers.
enum AnswerSource<'t> {
    One(&'t Extractor),
    Several(&'t Remote),
}

/// Reason that there is no answer.
pub enum NoAnswer {
    /// The reader of the answer has gone: not an error.
    ReaderGone,
    /// An error.
    Because(Failure),
}

/// Upper bounds of an answer.
pub struct TargetEstimate {
    /// Bounds of those that answered.
    pub bounds: Estimate,
    /// Recorders that did not answer, each with the reason.
    pub troubles: Vec<String>,
}

impl TargetArguments {
    /// Opens the store, or finds out what the recorders need.
    pub fn open(&self, workers: Option<Workers>) -> Result<QueryTarget, Failure> {
        if let Some(archive) = self.archive.prepare(self.store.as_deref())? {
            let (options, opened) = (options(workers), OnceLock::new());
            return Ok(QueryTarget::Archived(Box::new(ArchivedTarget { archive, options, opened })));
        }
        if let Some(store) = &self.store {
            return Ok(QueryTarget::Local(Box::new(Extractor::new(
                Store::open_to_read(store)?,
                options(workers),
            ))));
        }
        Ok(QueryTarget::Remote(self.recorders()?))
    }

    /// The recorders that are named. Nothing is asked of them yet.
    pub fn recorders(&self) -> Result<Remote, Failure> {
        let read = |path: &PathBuf| fs::read(path).with_context(|| path.display().to_string());
        let token = match &self.token_file {
            Some(path) => Some(String::from_utf8_lossy(&read(path)?).trim().to_owned()),
            None => self.token.clone(),
        };
        let authorities = self.ca_file.as_ref().map(read).transpose()?;
        match Remote::new(&self.url, &Access { token, authorities }) {
            Ok(remote) => Ok(remote),
            Err(RemoteError::Usage(text)) => Err(Failure::usage(text)),
            Err(error) => Err(error.into()),
        }
    }
}

impl QueryTarget {
    /// Walls around a command that asks it.
    pub fn walls(&self) -> Walls {
        match self {
            Self::Local(extractor) => Walls::around(extractor.store()),
            Self::Archived(target) => target.archive.walls(),
            Self::Remote(remote) => {
                Walls::new().connecting(remote.ports()).keeping(KeptCapabilities::files_if_needed())
            }
        }
    }

    /// Passes the packets of the answer to the sink; with a clock, also those recorded from now on.
    pub fn extract(
        &self,
        query: &Query,
        sink: &mut dyn Sink,
        control: &mut dyn Control,
        clock: Option<&FollowingClock>,
    ) -> Result<Answer, NoAnswer> {
        let clock = clock.map(|clock| clock as &dyn FollowClock);
        match (self, clock) {
            (Self::Archived(target), None) => target.extract(query, sink, control),
            (Self::Archived(target), Some(clock)) => {
                Ok(target.sole()?.follow(query, sink, control, clock)?)
            }
            (Self::Local(extractor), None) => Ok(extractor.extract(query, sink, control)?),
            (Self::Local(extractor), Some(clock)) => Ok(extractor.follow(query, sink, control, clock)?),
            (Self::Remote(remote), clock) => Ok(remote.extract(query, sink, control, clock)?),
        }
    }

    /// Counts the packets.
    pub fn count(&self, query: &Query, control: &mut dyn Control) -> Result<Answer, NoAnswer> {
        match self {
            Self::Local(extractor) => Ok(extractor.count(query, control)?),
            Self::Archived(target) => target.count(query, control),
            Self::Remote(remote) => Ok(remote.count(query, control)?),
        }
    }

    /// Lists conversations; the search is that of the query.
    pub fn flows(
        &self,
        query: &Query,
        flows: &FlowQuery,
        control: &mut dyn Control,
    ) -> Result<RecorderFlows, NoAnswer> {
        match self.asked()? {
            AnswerSource::One(extractor) => {
                let (query, search) = without_search(query)?;
                let answer = extractor.flows(&query, &FlowQuery { search, ..flows.clone() }, control)?;
                let has_more = answer.next.is_some();
                Ok(RecorderFlows { answer, recorders: Vec::new(), has_more })
            }
            AnswerSource::Several(remote) => Ok(remote.flows(query, flows, control)?),
        }
    }

    /// Totals and top lists; the search is that of the query.
    pub fn summary(
        &self,
        query: &Query,
        summary: &SummaryQuery,
        control: &mut dyn Control,
    ) -> Result<FlowSummary, NoAnswer> {
        match self.asked()? {
            AnswerSource::One(extractor) => {
                let (query, search) = without_search(query)?;
                Ok(extractor.summary(&query, &SummaryQuery { search, ..summary.clone() }, control)?)
            }
            AnswerSource::Several(remote) => Ok(remote.summary(query, summary, control)?),
        }
    }

    fn asked(&self) -> Result<AnswerSource<'_>, NoAnswer> {
        Ok(match self {
            Self::Local(extractor) => AnswerSource::One(extractor),
            Self::Archived(target) => match target.opened()? {
                OpenedArchive::One(extractor) => AnswerSource::One(extractor),
                OpenedArchive::Several(remote) => AnswerSource::Several(remote),
            },
            Self::Remote(remote) => AnswerSource::Several(remote),
        })
    }

    /// A hint for another query than this one, which found nothing in this time. Recorders give theirs themselves.
    pub fn hint(&self, query: &Query, took: Duration) -> Option<Hint> {
        let Ok(AnswerSource::One(extractor)) = self.asked() else { return None };
        let until = Instant::now() + hint_time(took);
        extractor.hint(query, &|| Instant::now() >= until)
    }

    /// Adds a hint for another query to an empty answer that took this long. Recorders add theirs themselves.
    pub fn add_hint(&self, query: &Query, answer: &mut Answer, took: Duration) {
        answer.hint = answer.hint.take().or_else(|| self.hint(query, took));
    }

    /// Upper bounds of the number of packets.
    pub fn estimate(&self, query: &Query, control: &mut dyn Control) -> Result<TargetEstimate, NoAnswer> {
        match self {
            Self::Local(extractor) => {
                Ok(TargetEstimate { bounds: extractor.estimate_with(query, control)?, troubles: Vec::new() })
            }
            Self::Archived(target) => target.estimate(query, control),
            Self::Remote(remote) => {
                let RecorderEstimate { bounds, troubles, .. } = remote.estimate(query, control)?;
                Ok(TargetEstimate { bounds, troubles })
            }
        }
    }
}

/// A query, and the search that it has, apart.
fn without_search(query: &Query) -> Result<(Query, Option<Search>), NoAnswer> {
    let search = query.search.as_deref().map(str::parse).transpose();
    let search = search.map_err(|error| NoAnswer::Because(Failure::usage(format!("--query: {error}"))))?;
    Ok((Query { search: None, ..query.clone() }, search))
}

impl ArchivedTarget {
    /// The URL of the archive.
    pub fn url(&self) -> String {
        self.archive.url()
    }

    fn opened(&self) -> Result<&OpenedArchive, NoAnswer> {
        if let Some(opened) = self.opened.get() {
            return Ok(opened);
        }
        let mut stores = self.archive.open().map_err(NoAnswer::Because)?;
        let extractor = |store| Extractor::new(store, self.options.clone());
        let opened = match stores.len() {
            1 => {
                let (_, store) = stores.swap_remove(0);
                OpenedArchive::One(Box::new(extractor(store.map_err(NoAnswer::Because)?)))
            }
            _ => OpenedArchive::Several(Remote::of_stores(stores.into_iter().map(|(id, store)| {
                let extractor = store.map(|store| Arc::new(extractor(store)));
                (id, extractor.map_err(|failure| failure.text()))
            }))),
        };
        Ok(self.opened.get_or_init(|| opened))
    }

    /// The only recorder.
    fn sole(&self) -> Result<&Extractor, NoAnswer> {
        match self.opened()? {
            OpenedArchive::One(extractor) => Ok(extractor),
            OpenedArchive::Several(_) => Err(NoAnswer::Because(Failure::usage(
                "--follow is for one recorder, and the archive has several: name one with --recorder",
            ))),
        }
    }

    fn extract(
        &self,
        query: &Query,
        sink: &mut dyn Sink,
        control: &mut dyn Control,
    ) -> Result<Answer, NoAnswer> {
        match self.opened()? {
            OpenedArchive::One(extractor) => Ok(extractor.extract(query, sink, control)?),
            OpenedArchive::Several(remote) => Ok(remote.extract(query, sink, control, None)?),
        }
    }

    fn count(&self, query: &Query, control: &mut dyn Control) -> Result<Answer, NoAnswer> {
        match self.opened()? {
            OpenedArchive::One(extractor) => Ok(extractor.count(query, control)?),
            OpenedArchive::Several(remote) => Ok(remote.count(query, control)?),
        }
    }

    fn estimate(&self, query: &Query, control: &mut dyn Control) -> Result<TargetEstimate, NoAnswer> {
        let (bounds, troubles) = match self.opened()? {
            OpenedArchive::One(extractor) => (extractor.estimate_with(query, control)?, Vec::new()),
            OpenedArchive::Several(remote) => {
                let RecorderEstimate { bounds, troubles, .. } = remote.estimate(query, control)?;
                (bounds, troubles)
            }
        };
        Ok(TargetEstimate { bounds, troubles })
    }
}

impl From<ExtractError> for NoAnswer {
    fn from(error: ExtractError) -> Self {
        match error {
            ExtractError::ReaderGone => Self::ReaderGone,
            error => Self::Because(failure(error)),
        }
    }
}

impl From<NoAnswer> for Failure {
    fn from(no_answer: NoAnswer) -> Self {
        match no_answer {
            NoAnswer::ReaderGone => Self::Failed(ReaderGone.into()),
            NoAnswer::Because(failure) => failure,
        }
    }
}

impl From<SinkError> for NoAnswer {
    fn from(error: SinkError) -> Self {
        ExtractError::from(error).into()
    }
}

impl From<RemoteError> for NoAnswer {
    fn from(error: RemoteError) -> Self {
        match error {
            RemoteError::Usage(text) => Self::Because(Failure::usage(text)),
            RemoteError::Sink(error) => error.into(),
            error => Self::Because(error.into()),
        }
    }
}
