//! Who is asked: one recorder, or several together.

use std::sync::Arc;

use netrewind_client::{RecorderFlows, Remote, RemoteError};
use netrewind_extractor::flows::{FlowQuery, FlowSummary, SummaryQuery};
use netrewind_extractor::{
    Answer, Completeness, Control, Estimate, ExtractError, Extractor, Hint, Query, Sink,
};

use crate::recorders::Recorders;

/// Who is asked.
#[derive(Clone, Debug)]
pub enum Source {
    /// One recorder.
    One(Arc<Extractor>),
    /// Several, whose answers are joined.
    Several(Arc<Recorders>),
}

impl Source {
    /// Gives the packets of the answer to the sink, in order of time.
    pub(crate) fn extract(
        &self,
        query: &Query,
        sink: &mut dyn Sink,
        control: &mut dyn Control,
    ) -> Result<Answer, ExtractError> {
        match self {
            Self::One(extractor) => extractor.extract(query, sink, control),
            Self::Several(recorders) => {
                asked(recorders, query, control)?.extract(query, sink, control, None).map_err(failure)
            }
        }
    }

    /// Counts the packets of the answer.
    pub(crate) fn count(&self, query: &Query, control: &mut dyn Control) -> Result<Answer, ExtractError> {
        match self {
            Self::One(extractor) => extractor.count(query, control),
            Self::Several(recorders) => {
                asked(recorders, query, control)?.count(query, control).map_err(failure)
            }
        }
    }

    /// Bounds of the answer's size, and its completeness as known before reading.
    pub(crate) fn estimate(
        &self,
        query: &Query,
        control: &mut dyn Control,
    ) -> Result<(Estimate, Completeness), ExtractError> {
        match self {
            Self::One(extractor) => {
                let estimate = extractor.estimate_with(query, control)?;
                Ok((estimate, extractor.completeness(query)?))
            }
            Self::Several(recorders) => {
                let told = asked(recorders, query, control)?.estimate(query, control).map_err(failure)?;
                Ok((told.bounds, told.completeness))
            }
        }
    }

    /// A list of conversations, each with its recorder where there are several.
    pub(crate) fn flows(
        &self,
        query: &Query,
        flows: &FlowQuery,
        control: &mut dyn Control,
    ) -> Result<RecorderFlows, ExtractError> {
        match self {
            Self::One(extractor) => {
                let answer = extractor.flows(query, flows, control)?;
                let has_more = answer.next.is_some();
                Ok(RecorderFlows { answer, recorders: Vec::new(), has_more })
            }
            Self::Several(recorders) => {
                asked(recorders, query, control)?.flows(query, flows, control).map_err(failure)
            }
        }
    }

    /// Totals and top lists; of several recorders without a series, conversations and pairs of hosts.
    pub(crate) fn summary(
        &self,
        query: &Query,
        summary: &SummaryQuery,
        control: &mut dyn Control,
    ) -> Result<FlowSummary, ExtractError> {
        match self {
            Self::One(extractor) => extractor.summary(query, summary, control),
            Self::Several(recorders) => {
                asked(recorders, query, control)?.summary(query, summary, control).map_err(failure)
            }
        }
    }

    /// A changed query for one that has found nothing; several recorders tell theirs with their answers.
    pub(crate) fn hint(&self, query: &Query, stop: &dyn Fn() -> bool) -> Option<Hint> {
        match self {
            Self::One(extractor) => extractor.hint(query, stop),
            Self::Several(_) => None,
        }
    }

    /// Checks that a filter compiles.
    pub(crate) fn check_filter(&self, filter: &str, control: &dyn Control) -> Result<(), ExtractError> {
        match self {
            Self::One(extractor) => extractor.check_filter(filter, control),
            Self::Several(recorders) => {
                let any = recorders.any().ok_or_else(|| ExtractError::NoRecorder(NO_RECORDER.to_owned()))?;
                any.check_filter(filter, control)
            }
        }
    }

    /// Frees the disk space of expired segments.
    pub(crate) fn evict_unused(&self) {
        match self {
            Self::One(extractor) => extractor.evict_unused(),
            Self::Several(recorders) => recorders.evict_unused(),
        }
    }
}

/// Reason for no answer where no recorder can be read.
const NO_RECORDER: &str = "no recorder can be read";

/// The recorders, which are asked once the filter is known to be right: what is wrong with it, one of them tells best.
fn asked(recorders: &Recorders, query: &Query, control: &dyn Control) -> Result<Arc<Remote>, ExtractError> {
    if let Some(any) = recorders.any() {
        any.check_filter(&query.filter, control)?;
    }
    recorders.together().ok_or_else(|| ExtractError::NoRecorder(NO_RECORDER.to_owned()))
}

fn failure(error: RemoteError) -> ExtractError {
    match error {
        RemoteError::Usage(text) => ExtractError::AskedWrongly(text),
        RemoteError::Failed(text) => ExtractError::NoRecorder(text),
        RemoteError::Sink(error) => error.into(),
        RemoteError::Cancelled => ExtractError::Cancelled,
    }
}
