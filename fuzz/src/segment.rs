//! Whatever stands in a segment: read whole, and from a stream that comes in pieces, its records are the same.

use arbitrary::{Arbitrary, Unstructured};
use std::io::Read;

use netrewind_store::layout::FILE_HEADER_BYTES;
use netrewind_store::{LinkType, PcapWriter, RecordReader, Records};

/// Gives a few bytes at a time.
struct Pieces<'a> {
    bytes: &'a [u8],
    piece_bytes: usize,
}

impl Read for Pieces<'_> {
    fn read(&mut self, to: &mut [u8]) -> std::io::Result<usize> {
        let count = self.piece_bytes.min(to.len()).min(self.bytes.len());
        let (piece, rest) = self.bytes.split_at(count);
        to[..count].copy_from_slice(piece);
        self.bytes = rest;
        Ok(count)
    }
}

/// Reads any bytes.
pub fn read(bytes: &[u8]) {
    let Ok(input) = <(u8, bool, &[u8])>::arbitrary_take_rest(Unstructured::new(bytes)) else { return };
    let (piece, has_header, bytes) = input;
    let mut segment = Vec::new();
    if has_header {
        segment = PcapWriter::new(segment, LinkType::ETHERNET)
            .and_then(PcapWriter::finish)
            .expect("memory takes everything");
    }
    segment.extend_from_slice(bytes);
    let pieces = Pieces { bytes: &segment, piece_bytes: usize::from(piece) + 1 };
    let Ok(mut reader) = RecordReader::new(pieces) else { return };
    let mut records = Records::of_segment(&segment);
    let mut end = FILE_HEADER_BYTES as u64;
    loop {
        match (reader.next_record(), records.next()) {
            (Ok(Some(one)), Some(other)) => {
                assert_eq!((one.offset, one.header, one.packet), (other.offset, other.header, other.packet));
                assert_eq!(one.offset, end);
                end = one.end();
            }
            (Ok(None), None) => {
                assert!(records.is_exhausted());
                assert_eq!(end, segment.len() as u64);
                break;
            }
            (Err(_), None) => {
                assert!(!records.is_exhausted());
                assert!(end < segment.len() as u64);
                assert!(reader.next_record().is_err(), "an error stays one");
                break;
            }
            (one, other) => panic!("{one:?} and {other:?}"),
        }
    }
    assert_eq!((reader.offset(), records.offset()), (end, end));
}
