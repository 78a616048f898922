//! Answers about chosen conversations: their packets, their counts, and the stream of one.

use std::borrow::Cow;

use super::Extractor;
use crate::answer::completeness::Asked;
use crate::answer::control::Control;
use crate::answer::{Answer, Estimate};
use crate::flows::{Aim, FlowId, FlowSelection};
use crate::sink::{CountSink, Sink};
use crate::stream::{Ends, Stream};
use crate::{ExtractError, Query};

impl Extractor {
    /// Counts the packets of the answer. Segments whose index gives the count are not read.
    pub fn count(&self, query: &Query, control: &mut dyn Control) -> Result<Answer, ExtractError> {
        if query.chooses_conversations() && !query.limits.are_set() && !query.decapsulate {
            let choice = self.choose(query, Aim::Count, control)?;
            if let Some(choice) = choice.filter(|choice| choice.are_kept) {
                return self.count_chosen(choice, query);
            }
        }
        self.extract(query, &mut CountSink, control)
    }

    /// Answers a count from the records of the conversations.
    fn count_chosen(&self, choice: FlowSelection, query: &Query) -> Result<Answer, ExtractError> {
        let mut completeness = self.completeness(&choice.query)?;
        completeness.asked = Asked { from: query.from, to: query.to };
        let mut rejected_indexes = choice.rejected;
        completeness.tell_of_segments(&mut rejected_indexes, query.is_restricted());
        for place in choice.unreadable {
            completeness.add_unreadable(place);
        }
        Ok(Answer {
            packets: choice.packets,
            bytes: choice.bytes,
            completeness,
            rejected_indexes,
            work: choice.work,
            ..Answer::default()
        })
    }

    /// Gives the packets of the answer to the sink: where conversations are chosen, only theirs.
    pub(super) fn extract_chosen(
        &self,
        choice: Option<FlowSelection>,
        query: &Query,
        sink: &mut dyn Sink,
        control: &mut dyn Control,
    ) -> Result<Answer, ExtractError> {
        let (read, chosen, expired) = match choice {
            Some(FlowSelection { query, chosen, expired, .. }) => (Cow::Owned(query), Some(chosen), expired),
            None => (Cow::Borrowed(query), None, None),
        };
        let wants = sink.wants();
        let mut prepared = self.prepare(&read, wants, control)?;
        prepared.completeness.asked = Asked { from: query.from, to: query.to };
        prepared.chosen = chosen;
        expired.into_iter().for_each(|span| prepared.completeness.add_gone(span));
        self.begin(&prepared, &read, sink, control)?;
        let answer = self.carry_out(&mut prepared, &read, wants, sink, control)?;
        sink.finish(&answer)?;
        Ok(answer)
    }

    /// Size of the answer by the records of the conversations; an upper bound unless all of them are kept.
    pub(super) fn estimate_chosen(choice: &FlowSelection) -> Estimate {
        Estimate {
            packets_min: if choice.are_kept { choice.packets } else { 0 },
            packets_max: choice.packets,
            bytes_max: choice.bytes,
            segments: choice.segments,
        }
    }

    /// Stream of a conversation, at most `bytes_max` bytes of it; `None` if the query's packets do not hold the conversation.
    pub fn stream_of(
        &self,
        query: &Query,
        id: FlowId,
        bytes_max: usize,
        control: &mut dyn Control,
    ) -> Result<Option<Stream>, ExtractError> {
        let choice = match self.choose(&Query { flow: Some(id), ..query.clone() }, Aim::Packets, control) {
            Err(ExtractError::NoSuchFlow(_)) => return Ok(None),
            choice => choice?,
        };
        let Some(ends) = choice.as_ref().and_then(|choice| choice.conversation.as_ref()).map(Ends::of) else {
            return Ok(None);
        };
        Stream::of(ends, bytes_max, |sink| self.extract_chosen(choice, query, sink, control)).map(Some)
    }
}
