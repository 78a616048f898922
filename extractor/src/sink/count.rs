//! Counts, and wants to see nothing.

use super::{AnswerPacket, Sink, Wants};
use crate::answer::error::SinkError;

/// Sink that only counts: see [`crate::Answer`].
#[derive(Clone, Copy, Debug, Default)]
pub struct CountSink;

impl Sink for CountSink {
    fn wants(&self) -> Wants {
        Wants { packets: false, interfaces: false, secrets: false }
    }

    fn packet(&mut self, _packet: &AnswerPacket<'_>) -> Result<(), SinkError> {
        Ok(())
    }
}
