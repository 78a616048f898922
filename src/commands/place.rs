//! Where packets are asked for: in a store, or of recorders over HTTP.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context;
use netrewind_extractor::http::client::{Access, Remote, RemoteError};
use netrewind_extractor::{
    Answer, Estimate, ExtractError, Extractor, FollowClock, Hooks, Query, Sink, SinkError, hint_time,
};
use netrewind_segment::Store;

use super::following::FollowingClock;
use super::query::{failure, options};
use crate::outcome::Failure;

/// The place.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct PlaceArguments {
    /// The store's folder
    #[arg(long, value_name = "DIR", required_unless_present = "url", conflicts_with = "url")]
    pub store: Option<PathBuf>,
    /// A recorder that answers over HTTP (netrewind serve); several give one answer, in order of time
    #[arg(long, value_name = "URL")]
    pub url: Vec<String>,
    /// The file with the token that recorders ask for
    #[arg(long, value_name = "FILE", requires = "url")]
    pub token_file: Option<PathBuf>,
    /// Certificate authorities (PEM) that recorders' certificates are signed by [default: those that the system trusts]
    #[arg(long, value_name = "FILE", requires = "url")]
    pub ca_file: Option<PathBuf>,
    /// The token itself; not an argument, which others could read.
    #[arg(skip)]
    pub token: Option<String>,
}

/// The place, open.
pub enum Place {
    /// A store.
    Local(Box<Extractor>),
    /// Recorders.
    Remote(Remote),
}

/// There is no answer.
pub enum NoAnswer {
    /// Whoever read it has gone: nothing is wrong.
    ReaderGone,
    /// Something is wrong.
    Because(Failure),
}

/// What there can be at most.
pub struct Bounds {
    /// Of those that told.
    pub bounds: Estimate,
    /// Who did not, and why.
    pub troubles: Vec<String>,
}

impl PlaceArguments {
    /// Opens it.
    pub fn open(&self) -> Result<Place, Failure> {
        if let Some(store) = &self.store {
            return Ok(Place::Local(Box::new(Extractor::new(Store::open_to_read(store)?, options()))));
        }
        let read = |path: &PathBuf| fs::read(path).with_context(|| path.display().to_string());
        let token = match &self.token_file {
            Some(path) => Some(String::from_utf8_lossy(&read(path)?).trim().to_owned()),
            None => self.token.clone(),
        };
        let authorities = self.ca_file.as_ref().map(read).transpose()?;
        match Remote::new(&self.url, &Access { token, authorities }) {
            Ok(remote) => Ok(Place::Remote(remote)),
            Err(RemoteError::Usage(text)) => Err(Failure::usage(text)),
            Err(error) => Err(error.into()),
        }
    }
}

impl Place {
    /// Gives the packets of the answer to the sink; with a clock, also those that are recorded from now on.
    pub fn extract(
        &self,
        query: &Query,
        sink: &mut dyn Sink,
        hooks: &mut dyn Hooks,
        clock: Option<&FollowingClock>,
    ) -> Result<Answer, NoAnswer> {
        let clock = clock.map(|clock| clock as &dyn FollowClock);
        match (self, clock) {
            (Self::Local(extractor), None) => Ok(extractor.extract(query, sink, hooks)?),
            (Self::Local(extractor), Some(clock)) => Ok(extractor.follow(query, sink, hooks, clock)?),
            (Self::Remote(remote), clock) => Ok(remote.extract(query, sink, hooks, clock)?),
        }
    }

    /// How many packets there are.
    pub fn count(&self, query: &Query, hooks: &mut dyn Hooks) -> Result<Answer, NoAnswer> {
        match self {
            Self::Local(extractor) => Ok(extractor.count(query, hooks)?),
            Self::Remote(remote) => Ok(remote.count(query, hooks)?),
        }
    }

    /// Adds to an answer that is empty, and took so long, how else to ask. Recorders have said that themselves.
    pub fn add_hint(&self, query: &Query, answer: &mut Answer, took: Duration) {
        if let Self::Local(extractor) = self {
            let until = Instant::now() + hint_time(took);
            answer.hint = extractor.hint(query, &|| Instant::now() >= until);
        }
    }

    /// How many packets there can be.
    pub fn estimate(&self, query: &Query, hooks: &mut dyn Hooks) -> Result<Bounds, NoAnswer> {
        match self {
            Self::Local(extractor) => {
                Ok(Bounds { bounds: extractor.estimate_with(query, hooks)?, troubles: Vec::new() })
            }
            Self::Remote(remote) => {
                let (bounds, troubles) = remote.estimate(query, hooks)?;
                Ok(Bounds { bounds, troubles })
            }
        }
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
