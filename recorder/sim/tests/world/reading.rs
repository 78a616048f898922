//! Somebody who reads the store.

use std::sync::Arc;

use netrewind_extractor::{Answer, AnswerPacket, Control, Extractor, Options, Query, Sink, SinkError};
use netrewind_sim::SimFiles;
use netrewind_store::{SegmentName, Store, StoreError, Timestamp};

use crate::session::STORE;
use crate::traffic::{WirePacket, bytes_of, number_in};

/// An answer, packet by packet.
pub struct Reading {
    pub numbers: Vec<u64>,
    pub answer: Answer,
}

struct Patient;

impl Control for Patient {}

struct Numbers<'w> {
    wire: &'w [WirePacket],
    numbers: Vec<u64>,
    last: Option<(Timestamp, SegmentName)>,
}

impl Sink for Numbers<'_> {
    fn packet(&mut self, packet: &AnswerPacket<'_>) -> Result<(), SinkError> {
        let number = number_in(packet.bytes).expect("a packet that was never sent: it is too short");
        let sent = self.wire.get(number as usize).unwrap_or_else(|| panic!("packet {number} was never sent"));
        assert_eq!(packet.header.timestamp(), sent.at, "the time of packet {number}");
        assert!(packet.bytes == bytes_of(sent), "the bytes of packet {number}");
        assert!(sent.was_taken, "packet {number} was never taken from its ring");
        let at = packet.header.timestamp();
        assert!(self.last.is_none_or(|(last, _)| last <= at), "packet {number} is not in order of time");
        self.last = Some((at, packet.segment));
        self.numbers.push(number);
        Ok(())
    }
}

/// Opens the store for somebody who only reads.
pub fn reader(files: &SimFiles) -> Result<Extractor, StoreError> {
    let store = Store::open_in(Arc::new(files.clone()), STORE.as_ref())?;
    Ok(Extractor::new(store, Options { helpers: 0, ..Options::default() }))
}

/// Asks for a range.
pub fn read(reader: &Extractor, wire: &[WirePacket], query: &Query) -> Reading {
    let mut sink = Numbers { wire, numbers: Vec::new(), last: None };
    let answer = reader.extract(query, &mut sink, &mut Patient).expect("an answer");
    let Numbers { numbers, .. } = sink;
    assert_eq!(answer.packets, numbers.len() as u64);
    Reading { numbers, answer }
}
