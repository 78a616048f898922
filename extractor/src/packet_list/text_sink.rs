//! Writes packets in lines, for people and their tools.

use std::io::Write;

use netrewind_packet::ViewBytes;
use netrewind_packet::tunnel::TunnelPorts;

use super::describe::describe_packet;
use super::line::PacketLine;
use crate::answer::Answer;
use crate::answer::error::SinkError;
use crate::sink::{AnswerPacket, Preface, Sink};
use crate::view_mode::ViewMode;

/// Sink that writes a line for each packet: time, source, destination, protocol, bytes on the wire, summary; tabs between them.
#[derive(Debug)]
pub struct TextSink<W: Write> {
    output: W,
    ports: TunnelPorts,
    view: ViewMode,
}

impl<W: Write> TextSink<W> {
    /// Writes to `output`.
    pub fn new(output: W) -> Self {
        Self { output, ports: TunnelPorts::DEFAULT, view: ViewMode::default() }
    }
}

impl<W: Write> Sink for TextSink<W> {
    fn begin(&mut self, preface: &Preface<'_>) -> Result<(), SinkError> {
        self.ports = preface.tunnel_ports.clone();
        self.view = preface.query.view;
        Ok(())
    }

    fn packet(&mut self, packet: &AnswerPacket<'_>) -> Result<(), SinkError> {
        let AnswerPacket { header, bytes, link_type, .. } = *packet;
        let viewed = ViewBytes { link_type, bytes, len: header.len };
        let line = describe_packet(&self.ports, viewed, self.view);
        let PacketLine { source, destination, protocol, summary, .. } = &line;
        let [source, destination] = [source, destination].map(|address| address.as_deref().unwrap_or("-"));
        let at = header.timestamp();
        writeln!(self.output, "{at}\t{source}\t{destination}\t{protocol}\t{}\t{summary}", header.len)?;
        Ok(())
    }

    fn flush(&mut self) -> Result<(), SinkError> {
        Ok(self.output.flush()?)
    }

    fn finish(&mut self, _answer: &Answer) -> Result<(), SinkError> {
        Ok(self.output.flush()?)
    }
}
