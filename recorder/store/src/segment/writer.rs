//! Writing nanosecond pcap to any stream: the format of segments and of extractions.

use std::io::{self, Write};

use super::layout::{RecordHeader, file_header};
use crate::{LinkType, Record};

/// Writes a nanosecond pcap file. The recorder does not go through it: it lays the same bytes into aligned buffers.
#[derive(Debug)]
pub struct PcapWriter<W> {
    output: W,
}

impl<W: Write> PcapWriter<W> {
    /// Writes the file header. Buffer the output: every record is two writes.
    pub fn new(mut output: W, link_type: LinkType) -> io::Result<Self> {
        output.write_all(&file_header(link_type))?;
        Ok(Self { output })
    }

    /// Appends a packet; `packet` has `header.caplen` bytes.
    pub fn write(&mut self, header: &RecordHeader, packet: &[u8]) -> io::Result<()> {
        debug_assert_eq!(header.caplen as usize, packet.len());
        self.output.write_all(&header.to_bytes())?;
        self.output.write_all(packet)
    }

    /// Appends a record as it stands in a segment.
    pub fn write_record(&mut self, record: &Record<'_>) -> io::Result<()> {
        self.write(&record.header, record.packet)
    }

    /// Appends records as they stand in a segment, one behind the other.
    pub fn write_records(&mut self, records: &[u8]) -> io::Result<()> {
        self.output.write_all(records)
    }

    /// Flushes the output.
    pub fn flush(&mut self) -> io::Result<()> {
        self.output.flush()
    }

    /// Flushes and returns the output.
    pub fn finish(mut self) -> io::Result<W> {
        self.output.flush()?;
        Ok(self.output)
    }
}
