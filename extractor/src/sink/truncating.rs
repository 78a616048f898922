//! Packets cut to a snaplen, on their way to another sink.

use super::{AnswerPacket, Preface, Sink, Wants};
use crate::Answer;
use crate::answer::Interface;
use crate::answer::error::SinkError;

/// Gives another sink the first bytes of each packet, which keeps its true length, as `editcap -s` does.
pub struct TruncatingSink<'s> {
    sink: &'s mut dyn Sink,
    snaplen: u32,
}

impl<'s> TruncatingSink<'s> {
    /// Leaves `snaplen` bytes of each packet, at most.
    pub fn new(sink: &'s mut dyn Sink, snaplen: u32) -> Self {
        Self { sink, snaplen }
    }
}

impl Sink for TruncatingSink<'_> {
    fn wants(&self) -> Wants {
        self.sink.wants()
    }

    fn begin(&mut self, preface: &Preface<'_>) -> Result<(), SinkError> {
        self.sink.begin(preface)
    }

    fn secrets(&mut self, key_log: &[u8]) -> Result<(), SinkError> {
        self.sink.secrets(key_log)
    }

    fn packet(&mut self, packet: &AnswerPacket<'_>) -> Result<(), SinkError> {
        let mut cut = *packet;
        cut.header.caplen = cut.header.caplen.min(self.snaplen);
        cut.bytes = cut.bytes.get(..cut.header.caplen as usize).unwrap_or(cut.bytes);
        self.sink.packet(&cut)
    }

    fn flush(&mut self) -> Result<(), SinkError> {
        self.sink.flush()
    }

    fn know_interfaces(&mut self, interfaces: &[Interface]) {
        self.sink.know_interfaces(interfaces);
    }

    fn finish(&mut self, answer: &Answer) -> Result<(), SinkError> {
        self.sink.finish(answer)
    }
}
