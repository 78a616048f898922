//! Pipes and other readers that have nothing yet.

use std::io::{self, Cursor, ErrorKind, Read, Write};
use std::time::{Duration, Instant};

use super::build::Order;
use super::{CaptureFile, corpus, drain, read, seeded};
use crate::source::{Received, Source, SourceError};

/// Hands out few bytes at a time, and often none yet.
struct Halting {
    bytes: Cursor<Vec<u8>>,
    random: fastrand::Rng,
}

impl Read for Halting {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.random.u8(..6) {
            0 => Err(ErrorKind::WouldBlock.into()),
            1 => Err(ErrorKind::Interrupted.into()),
            _ => {
                let most = buffer.len().min(self.random.usize(1..2000));
                self.bytes.read(&mut buffer[..most])
            }
        }
    }
}

#[test]
fn bytes_that_arrive_late_are_read_as_if_they_had_been_there() {
    let mut random = seeded();
    for (path, bytes) in corpus().into_iter().step_by(7) {
        let expected = read(bytes.as_slice()).0;
        let zstd = zstd::encode_all(bytes.as_slice(), 1).expect("compressed");
        for bytes in [bytes, zstd] {
            let halting = Halting { bytes: Cursor::new(bytes), random: random.fork() };
            let (found, error) = drain(&mut CaptureFile::from_reader("halting", halting));
            assert!(error.is_none(), "{}: {error:?}", path.display());
            assert!(found == expected, "{}", path.display());
        }
    }
}

#[test]
fn a_pipe_is_waited_for_no_longer_than_asked() {
    const PATIENCE: Duration = Duration::from_millis(30);
    let order = Order { big: false };
    let (reader, mut writer) = io::pipe().expect("a pipe");
    let mut file = CaptureFile::from_stream("pipe", reader).expect("a source");
    let receive = |file: &mut CaptureFile| file.receive(PATIENCE, &mut |_| {}).expect("no damage");
    let begun = Instant::now();
    assert_eq!(receive(&mut file), Received::Quiet);
    assert!(begun.elapsed() >= PATIENCE);

    let record = order.record([1, 2, 4, 4], b"abcd");
    writer.write_all(&order.pcap(0xa1b2_c3d4, (2, 4), 0, 1)).expect("written");
    writer.write_all(&record[..18]).expect("written");
    assert_eq!(receive(&mut file), Received::Quiet);
    writer.write_all(&record[18..]).expect("written");
    assert_eq!(receive(&mut file), Received::Packets(1));
    drop(writer);
    assert_eq!(receive(&mut file), Received::End);
    assert_eq!(file.counters().expect("counted").received, 1);
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let error = CaptureFile::open(std::path::Path::new("/nowhere/x.pcap")).err();
    assert!(matches!(error, Some(SourceError::System { what, .. }) if what.contains("/nowhere/x.pcap")));
}

/// A pcap file without end, of which only a buffer is ever in memory.
#[test]
fn many_packets_come_in_bounded_calls() {
    let order = Order { big: false };
    let header = order.pcap(0xa1b2_3c4d, (2, 4), 0, 1);
    let records = order.record([1, 2, 60, 60], &[7; 60]).repeat(10_000);
    let mut file = CaptureFile::from_reader("long", Cursor::new(header).chain(Cursor::new(records)));
    let mut calls = 0;
    while file.receive(Duration::ZERO, &mut |_| {}).expect("no damage") != Received::End {
        calls += 1;
    }
    assert_eq!(file.counters().expect("counted").received, 10_000);
    assert_eq!(calls, 10_000usize.div_ceil(4096));
}
