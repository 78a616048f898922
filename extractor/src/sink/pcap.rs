//! A nanosecond pcap file: the same bytes as a segment.

use std::io::Write;

use netrewind_store::{LinkType, PcapWriter};

use super::{AnswerPacket, AnswerRecords, Preface, Sink};
use crate::Answer;
use crate::answer::error::SinkError;

/// Writes a pcap file. The output should be buffered.
#[derive(Debug)]
pub struct PcapSink<W: Write> {
    state: PcapState<W>,
    /// Link type of an answer without packets.
    default_link_type: LinkType,
}

#[derive(Debug)]
enum PcapState<W> {
    /// Nothing written yet: the first packet determines the link type.
    Waiting(W),
    Writing(LinkType, PcapWriter<W>),
    Ended,
}

impl<W: Write> PcapSink<W> {
    /// Writes to `output`.
    pub fn new(output: W) -> Self {
        Self { state: PcapState::Waiting(output), default_link_type: LinkType::ETHERNET }
    }

    /// Writes the file header if that is still to be done, and returns the writer.
    fn writer(&mut self, link_type: LinkType) -> Result<&mut PcapWriter<W>, SinkError> {
        if let PcapState::Waiting(_) = self.state
            && let PcapState::Waiting(output) = std::mem::replace(&mut self.state, PcapState::Ended)
        {
            self.state = PcapState::Writing(link_type, PcapWriter::new(output, link_type)?);
        }
        match &mut self.state {
            PcapState::Writing(written, writer) if *written == link_type => Ok(writer),
            PcapState::Writing(written, _) => Err(SinkError::SeveralLinkTypes(vec![*written, link_type])),
            PcapState::Waiting(_) | PcapState::Ended => {
                Err(SinkError::Unwritable("the pcap file has ended".into()))
            }
        }
    }
}

impl<W: Write> Sink for PcapSink<W> {
    fn begin(&mut self, preface: &Preface<'_>) -> Result<(), SinkError> {
        if preface.certain_link_types.len() > 1 {
            return Err(SinkError::SeveralLinkTypes(preface.certain_link_types.to_vec()));
        }
        let likely = preface.certain_link_types.first().or(preface.possible_link_types.first());
        self.default_link_type = likely.copied().unwrap_or(LinkType::ETHERNET);
        if preface.possible_link_types.len() == 1 {
            self.writer(self.default_link_type)?; // a reader that waits for the header can open the file now
        }
        Ok(())
    }

    fn packet(&mut self, packet: &AnswerPacket<'_>) -> Result<(), SinkError> {
        Ok(self.writer(packet.link_type)?.write(&packet.header, packet.bytes)?)
    }

    fn records(&mut self, records: &AnswerRecords<'_>) -> Result<(), SinkError> {
        Ok(self.writer(records.link_type)?.write_records(records.bytes)?)
    }

    fn flush(&mut self) -> Result<(), SinkError> {
        match &mut self.state {
            PcapState::Writing(_, writer) => Ok(writer.flush()?),
            PcapState::Waiting(_) | PcapState::Ended => Ok(()),
        }
    }

    fn finish(&mut self, _answer: &Answer) -> Result<(), SinkError> {
        if let PcapState::Waiting(_) = self.state {
            self.writer(self.default_link_type)?;
        }
        if let PcapState::Writing(_, writer) = std::mem::replace(&mut self.state, PcapState::Ended) {
            writer.finish()?;
        }
        Ok(())
    }
}
