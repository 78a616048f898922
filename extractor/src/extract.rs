//! Queries over one store, in typed stages: open -> compile -> history -> plan -> run -> write.
//!
//! Each stage consumes the one before: [`open::OpenedQuery`], [`compile::CompiledQuery`], [`prepare::PreparedQuery`],
//! [`plan::PlannedQuery`], [`run::WrittenQuery`], and at last the [`Answer`].

mod begin;
mod compile;
mod conclude;
pub(crate) mod engine;
pub(crate) mod estimate;
pub(crate) mod follow;
pub(crate) mod hint;
mod interfaces;
mod open;
pub(crate) mod output;
mod packets;
pub(crate) mod plan;
pub(crate) mod prepare;
pub(crate) mod run;
pub(crate) mod secrets;

use netrewind_catalog::build::Catalogued;
use netrewind_catalog::condition::CatalogRecord;
use netrewind_store::catalog::Hour;
use netrewind_store::{LinkType, SegmentName, Store};

use crate::answer::completeness::{Completeness, Unreadable};
use crate::answer::control::{Control, NoControl};
use crate::answer::error::ExtractError;
use crate::answer::hint::Hint;
use crate::answer::{Answer, Estimate};
use crate::flows::{
    self, Conversation, FlowAnswer, FlowId, FlowQuery, FlowSummary, PropertyList, SplitQuery, SplitSeries,
    SummaryQuery, ValuesQuery,
};
use crate::packet_list::{PacketList, PacketListQuery};
use crate::plan::query_filter::ForProgram;
use crate::query::Query;
use crate::sink::Sink;
use crate::stream::{Ends, Stream, read_stream};
use engine::{Engine, Options};
use follow::clock::FollowClock;

/// Answers queries over one store. Shared between threads; its memory between queries is bounded.
#[derive(Debug)]
pub struct Extractor(Engine);

impl Extractor {
    /// Over a store. Nothing is read yet.
    pub fn new(store: Store, options: Options) -> Self {
        Self(Engine::new(store, options))
    }

    /// The store.
    pub fn store(&self) -> &Store {
        self.0.store()
    }

    /// Closes kept segments that are no longer in the store, or no longer used. A long-running service calls it about once a
    /// second: until then their disk space is not freed.
    pub fn evict_unused(&self) {
        self.0.segment_cache.evict_unused();
    }

    /// Checks that a filter compiles for Ethernet, or at least for bare IP packets. Reads no packets.
    pub fn check_filter(&self, filter: &str, control: &dyn Control) -> Result<(), ExtractError> {
        if filter.trim().is_empty() {
            return Ok(());
        }
        let program = |link_type| self.0.compiler.program(filter, link_type, &ForProgram(control));
        let compiled = program(LinkType::ETHERNET).or_else(|error| program(LinkType::RAW).map_err(|_| error));
        compiled.map(|_| ()).map_err(ExtractError::from)
    }

    /// Gives the packets of the answer to the sink, in order.
    pub fn extract(
        &self,
        query: &Query,
        sink: &mut dyn Sink,
        control: &mut dyn Control,
    ) -> Result<Answer, ExtractError> {
        packets::extract(&self.0, query, sink, control)
    }

    /// Gives the packets of the answer to the sink, in order, and then those that are recorded from now on, within a second
    /// of their arrival, until [`Control::cancelled`] says so, a limit is reached, or the end of the range has passed.
    ///
    /// The sink is flushed after every round. A recorder that stops is waited for.
    pub fn follow(
        &self,
        query: &Query,
        sink: &mut dyn Sink,
        control: &mut dyn Control,
        clock: &dyn FollowClock,
    ) -> Result<Answer, ExtractError> {
        follow::follow(&self.0, query, sink, control, clock)
    }

    /// Counts the packets of the answer. Segments whose index gives the count are not read.
    pub fn count(&self, query: &Query, control: &mut dyn Control) -> Result<Answer, ExtractError> {
        packets::count(&self.0, query, control)
    }

    /// A page of the packets of the answer, each in a line. Limits of the query do not count.
    pub fn list_packets(
        &self,
        query: &Query,
        page: PacketListQuery,
        control: &mut dyn Control,
    ) -> Result<PacketList, ExtractError> {
        packets::list(&self.0, query, page, control)
    }

    /// Bounds of the answer's size, without reading packets of segments that have an index. Exception: if the index would
    /// reveal packets that a joined filter may not accept, they are read and counted.
    pub fn estimate(&self, query: &Query) -> Result<Estimate, ExtractError> {
        self.estimate_with(query, &mut NoControl)
    }

    /// As [`Self::estimate`], with control to give up.
    pub fn estimate_with(&self, query: &Query, control: &mut dyn Control) -> Result<Estimate, ExtractError> {
        packets::estimate(&self.0, query, control)
    }

    /// Bytes at most of the TLS secrets that an answer in a form with room for them would have.
    pub fn secrets_bytes(&self, query: &Query) -> u64 {
        secrets::secrets_bytes(self.store(), query)
    }

    /// Completeness of an answer, as far as it is known before reading.
    pub fn completeness(&self, query: &Query) -> Result<Completeness, ExtractError> {
        packets::completeness_of(&self.0, query)
    }

    /// Changed query for a query that has found no packets. `None` if nothing is known, or if `stop` ended the search first.
    pub fn hint(&self, query: &Query, stop: &dyn Fn() -> bool) -> Option<Hint> {
        hint::find_hint(&self.0, query, stop)
    }

    /// Stream between the two ends in the packets of the query, at most `bytes_max` bytes of it.
    pub fn stream(
        &self,
        query: &Query,
        ends: Ends,
        bytes_max: usize,
        control: &mut dyn Control,
    ) -> Result<Stream, ExtractError> {
        read_stream(ends, bytes_max, |sink| self.extract(query, sink, control))
    }

    /// Stream of a conversation, at most `bytes_max` bytes of it; `None` if the query's packets do not hold the conversation.
    pub fn stream_of(
        &self,
        query: &Query,
        id: FlowId,
        bytes_max: usize,
        control: &mut dyn Control,
    ) -> Result<Option<Stream>, ExtractError> {
        packets::stream_of(&self.0, query, id, bytes_max, control)
    }

    /// The conversation of this id, from its first packet on to its end or the query's; `None` if it is not (any more) in the
    /// query's packets.
    pub fn flow(
        &self,
        query: &Query,
        id: FlowId,
        control: &mut dyn Control,
    ) -> Result<Option<Conversation>, ExtractError> {
        flows::choose::find_flow(&self.0, query, id, control)
    }

    /// The conversations of a query's packets, sorted. Limits of the query do not count.
    pub fn flows(
        &self,
        query: &Query,
        flows: &FlowQuery,
        control: &mut dyn Control,
    ) -> Result<FlowAnswer, ExtractError> {
        flows::list::list_flows(&self.0, query, flows, control)
    }

    /// Totals of a query's packets: over time, and by host, port, application and conversation.
    pub fn summary(
        &self,
        query: &Query,
        summary: &SummaryQuery,
        control: &mut dyn Control,
    ) -> Result<FlowSummary, ExtractError> {
        flows::summarize::summarize(&self.0, query, summary, control)
    }

    /// Values of the labels and other properties that a query's conversations have, counted.
    pub fn values(
        &self,
        query: &Query,
        values: &ValuesQuery,
        control: &mut dyn Control,
    ) -> Result<PropertyList, ExtractError> {
        flows::values::list_values(&self.0, query, values, control)
    }

    /// Traffic of a query's packets over time, split by application or host.
    pub fn split_series(
        &self,
        query: &Query,
        split: &SplitQuery,
        control: &mut dyn Control,
    ) -> Result<SplitSeries, ExtractError> {
        flows::split_series::split_series(&self.0, query, split, control)
    }

    /// Gives the records of the sealed segments that were opened in an hour to `take`, until it refuses one, and returns their
    /// manifest and rollup. The hour should be over.
    pub fn catalogue(
        &self,
        hour: Hour,
        control: &mut dyn Control,
        take: &mut dyn FnMut(&CatalogRecord) -> bool,
    ) -> Result<Catalogued, ExtractError> {
        flows::hour_source::catalogue(&self.0, hour, control, take)
    }

    /// Gives the conversations of a sealed segment to `take`, each by itself: not joined with those of other segments. The first
    /// `skip` are left out; they come in the same order each time, until `take` refuses one. Returns the places that could not be
    /// read; `None` if the segment is not there (any more).
    pub fn segment_flows(
        &self,
        segment: &SegmentName,
        skip: u64,
        control: &mut dyn Control,
        take: &mut dyn FnMut(&Conversation) -> bool,
    ) -> Result<Option<Vec<Unreadable>>, ExtractError> {
        flows::of_segment::visit_segment(&self.0, segment, skip, control, take)
    }
}
