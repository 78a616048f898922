//! Walking the records of a segment: over bytes in memory, and over a file as a stream.

use std::io::Read;

use super::layout::{CAPLEN_MAX, FILE_HEADER_BYTES, RECORD_HEADER_BYTES, RecordHeader, link_type_of};
use crate::{LinkType, SegmentError};

/// One packet of a segment, as stored.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// Offset of its header in the segment.
    pub offset: u64,
    /// Its header.
    pub header: RecordHeader,
    /// The packet's bytes: `header.caplen` of them.
    pub packet: &'a [u8],
}

impl Record<'_> {
    /// Offset of the next record.
    #[inline]
    pub fn end(&self) -> u64 {
        self.offset + self.header.record_bytes() as u64
    }
}

/// The whole records in a run of a segment's bytes, in stored order. Stops, for good, at the end or at the first record that is
/// cut or implausible; [`Self::offset`] then gives its offset.
#[derive(Clone, Debug)]
pub struct Records<'a> {
    bytes: &'a [u8],
    position: usize,
    base: u64,
}

impl<'a> Records<'a> {
    /// Records of `bytes`, which begin with a record's header at offset `base` of the segment.
    pub fn new(bytes: &'a [u8], base: u64) -> Self {
        Self { bytes, position: 0, base }
    }

    /// Records of a whole segment, file header included.
    pub fn of_segment(segment: &'a [u8]) -> Self {
        Self::new(segment.get(FILE_HEADER_BYTES..).unwrap_or_default(), FILE_HEADER_BYTES as u64)
    }

    /// Offset of the next record in the segment.
    pub fn offset(&self) -> u64 {
        self.base + self.position as u64
    }

    /// The bytes from the next record on.
    pub fn bytes(&self) -> &'a [u8] {
        &self.bytes[self.position..]
    }

    /// True if every byte belonged to a whole record.
    pub fn is_exhausted(&self) -> bool {
        self.position == self.bytes.len()
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Record<'a>;

    #[inline]
    fn next(&mut self) -> Option<Record<'a>> {
        let rest = &self.bytes[self.position..];
        let header = RecordHeader::read(rest)?;
        if header.caplen > CAPLEN_MAX {
            return None;
        }
        let packet = rest.get(RECORD_HEADER_BYTES..header.record_bytes())?;
        let record = Record { offset: self.offset(), header, packet };
        self.position += header.record_bytes();
        Some(record)
    }
}

/// Bytes read ahead at a time by [`RecordReader`]; holds at least one whole record.
pub const READ_AHEAD_BYTES: usize = 1 << 20;
const _: () = assert!(READ_AHEAD_BYTES > RECORD_HEADER_BYTES + CAPLEN_MAX as usize);

/// Reads a segment from a stream, record by record, in bounded memory.
#[derive(Debug)]
pub struct RecordReader<R> {
    input: R,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    offset: u64,
    link_type: LinkType,
}

impl<R: Read> RecordReader<R> {
    /// Reads the file header. `limit` is the segment's committed length where it is still open: wrap the input in
    /// [`Read::take`] for that.
    pub fn new(mut input: R) -> Result<Self, SegmentError> {
        let mut header = [0; FILE_HEADER_BYTES];
        input.read_exact(&mut header).map_err(|error| match error.kind() {
            std::io::ErrorKind::UnexpectedEof => SegmentError::NotASegment,
            _ => SegmentError::Io(error),
        })?;
        let link_type = link_type_of(&header).ok_or(SegmentError::NotASegment)?;
        Ok(Self {
            input,
            buffer: vec![0; READ_AHEAD_BYTES],
            start: 0,
            end: 0,
            offset: FILE_HEADER_BYTES as u64,
            link_type,
        })
    }

    /// The segment's link type.
    pub fn link_type(&self) -> LinkType {
        self.link_type
    }

    /// Offset of the next record.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The next record; `None` at a clean end. A record that is cut or implausible is an error that gives its offset, and every
    /// call after it returns the same error.
    #[inline]
    pub fn next_record(&mut self) -> Result<Option<Record<'_>>, SegmentError> {
        let Some(header) = self.fill_record()? else { return Ok(None) };
        let record_start = self.start;
        let offset = self.offset;
        self.start += header.record_bytes();
        self.offset += header.record_bytes() as u64;
        let packet = &self.buffer[record_start + RECORD_HEADER_BYTES..self.start];
        Ok(Some(Record { offset, header, packet }))
    }

    /// The records that are in memory, at least one; `None` at a clean end. They are the same again until [`Self::skip_to`]. Errors are those of
    /// [`Self::next_record`].
    pub fn ahead(&mut self) -> Result<Option<Records<'_>>, SegmentError> {
        let record = self.fill_record()?;
        Ok(record.map(|_| Records::new(&self.buffer[self.start..self.end], self.offset)))
    }

    /// Goes on at `offset`, where a record ends that is in memory.
    pub fn skip_to(&mut self, offset: u64) {
        let bytes = offset.saturating_sub(self.offset) as usize;
        debug_assert!(bytes <= self.end - self.start, "no farther than what is in memory");
        self.start += bytes;
        self.offset += bytes as u64;
    }

    /// Makes the next record available, and reads its header; `None` at a clean end.
    #[inline]
    fn fill_record(&mut self) -> Result<Option<RecordHeader>, SegmentError> {
        if !self.fill(RECORD_HEADER_BYTES)? {
            return match self.end - self.start {
                0 => Ok(None),
                _ => Err(SegmentError::TornRecord { offset: self.offset }),
            };
        }
        let Some(header) = RecordHeader::read(&self.buffer[self.start..self.end]) else {
            return Err(SegmentError::TornRecord { offset: self.offset });
        };
        if header.caplen > CAPLEN_MAX {
            return Err(SegmentError::ImplausibleRecord { offset: self.offset, caplen: header.caplen });
        }
        if !self.fill(header.record_bytes())? {
            return Err(SegmentError::TornRecord { offset: self.offset });
        }
        Ok(Some(header))
    }

    /// Makes `wanted` bytes available from `start`; false if the input ends before.
    #[inline]
    fn fill(&mut self, wanted: usize) -> Result<bool, SegmentError> {
        if self.end - self.start >= wanted {
            return Ok(true);
        }
        self.refill(wanted)
    }

    #[cold]
    fn refill(&mut self, wanted: usize) -> Result<bool, SegmentError> {
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        while self.end < wanted {
            match self.input.read(&mut self.buffer[self.end..]) {
                Ok(0) => return Ok(false),
                Ok(n) => self.end += n,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(SegmentError::Io(error)),
            }
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PcapWriter;

    fn segment(lengths: &[u32]) -> Vec<u8> {
        let mut writer = PcapWriter::new(Vec::new(), LinkType::ETHERNET).unwrap();
        for (i, &caplen) in lengths.iter().enumerate() {
            let header = RecordHeader { seconds: i as u32, nanoseconds: 7, caplen, len: caplen + 1 };
            writer.write(&header, &vec![i as u8; caplen as usize]).unwrap();
        }
        writer.finish().unwrap()
    }

    proptest::proptest! {
        #[test]
        fn both_walks_agree_at_every_cut(
            lengths in proptest::collection::vec(0u32..300_000, 0..12), cut in 0.0f64..=1.0,
        ) {
            let lengths: Vec<u32> = lengths.into_iter().map(|n| n.min(CAPLEN_MAX)).collect();
            let whole = segment(&lengths);
            let cut = FILE_HEADER_BYTES + ((whole.len() - FILE_HEADER_BYTES) as f64 * cut) as usize;
            let bytes = &whole[..cut];
            let mut walk = Records::of_segment(bytes);
            let mut stream = RecordReader::new(bytes).unwrap();
            for record in walk.by_ref() {
                let same = stream.next_record().unwrap().unwrap();
                assert_eq!((record.offset, record.header, record.packet), (same.offset, same.header, same.packet));
            }
            assert_eq!(walk.offset(), stream.offset());
            assert_eq!(walk.is_exhausted(), matches!(stream.next_record(), Ok(None)));
            let mut runs = RecordReader::new(bytes).unwrap();
            let mut walk = Records::of_segment(bytes);
            while let Ok(Some(mut records)) = runs.ahead() {
                for record in records.by_ref() {
                    let same = walk.next().unwrap();
                    assert_eq!((record.offset, record.header, record.packet), (same.offset, same.header, same.packet));
                }
                let offset = records.offset();
                runs.skip_to(offset);
            }
            assert_eq!((walk.next().is_none(), walk.offset()), (true, runs.offset()));
            assert_eq!(walk.is_exhausted(), matches!(runs.ahead(), Ok(None)));
        }
    }

    #[test]
    fn an_implausible_record_is_named() {
        let mut bytes = segment(&[4, 4]);
        bytes[FILE_HEADER_BYTES + 20 + 8..][..4].copy_from_slice(&u32::MAX.to_le_bytes());
        let mut stream = RecordReader::new(&bytes[..]).unwrap();
        stream.next_record().unwrap().unwrap();
        let error = stream.next_record().unwrap_err();
        assert!(matches!(error, SegmentError::ImplausibleRecord { offset: 44, caplen: u32::MAX }));
        assert_eq!(Records::of_segment(&bytes).count(), 1);
    }
}
