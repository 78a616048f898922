//! Fourth stage of a query: divides the open segments, and settles what is to be read of them and in which form.

use std::sync::Arc;

use super::engine::Engine;
use super::interfaces::AnswerInterfaces;
use super::output::AnswerForm;
use super::prepare::PreparedQuery;
use crate::answer::completeness::{Completeness, RejectedIndex, Unreadable};
use crate::answer::control::{Control, is_over};
use crate::answer::error::ExtractError;
use crate::flows::Chosen;
use crate::plan::query_filter::QueryFilter;
use crate::query::{Query, TimeRange};
use crate::store::segment::Segment;

/// Query whose segments are about to be read.
pub(crate) struct PlannedQuery<'q> {
    pub(super) engine: &'q Engine,
    pub(super) query: &'q Query,
    pub(super) range: TimeRange,
    pub(super) filters: QueryFilter,
    /// Segments to read, those beside the range included; an error if the caller gave up meanwhile.
    pub(super) segments: Result<Vec<Arc<Segment>>, ExtractError>,
    pub(super) segments_in_range: u64,
    pub(super) segments_in_store: u64,
    pub(super) form: AnswerForm,
    /// True if only the number of packets is wanted, and indexes may tell it.
    pub(super) only_counts: bool,
    /// Restricts the answer to packets of these conversations.
    pub(super) chosen: Option<Chosen>,
    pub(super) completeness: Completeness,
    pub(super) rejected: Vec<RejectedIndex>,
    pub(super) unreadable: Vec<Unreadable>,
    pub(super) interfaces: AnswerInterfaces,
}

impl<'q> PlannedQuery<'q> {
    /// Plans a prepared query.
    pub(crate) fn plan(
        prepared: PreparedQuery<'q>,
        form: AnswerForm,
        chosen: Option<Chosen>,
        control: &dyn Control,
    ) -> Self {
        let PreparedQuery {
            engine,
            query,
            range,
            filters,
            segments,
            rejected,
            unreadable,
            completeness,
            interfaces,
            ..
        } = prepared;
        let (segments_in_range, segments_in_store) =
            (segments.in_range.len() as u64, segments.names.len() as u64);
        let to_read: Vec<_> = segments.in_range.into_iter().chain(segments.beside).collect();
        let segments = match query.use_index {
            true => engine.live_indexes.divide(to_read, &filters, &|| is_over(control)),
            false => Ok(to_read),
        };
        let only_counts = form.only_counts() && chosen.is_none();
        Self {
            engine,
            query,
            range,
            filters,
            segments,
            segments_in_range,
            segments_in_store,
            form,
            only_counts,
            chosen,
            completeness,
            rejected,
            unreadable,
            interfaces,
        }
    }
}
