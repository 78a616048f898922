//! Time bounds of a segment without an index, taken from the record headers themselves.

use netrewind_store::layout::{CAPLEN_MAX, FILE_HEADER_BYTES, RecordHeader};
use netrewind_store::{Medium, SegmentBlock, Timestamp};

/// The granules of a scan: coarser than an index's, because they serve only order and time.
pub(crate) const WALK_GRANULE_BYTES: u64 = 64 << 10;
/// Granules after which a walk asks whether it should go on.
const GRANULES_BETWEEN_QUESTIONS: usize = 64;

/// A range of a segment: the records whose headers begin in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ScanGranule {
    /// Start of the first of them.
    pub(crate) start: u64,
    /// End of the last of them.
    pub(crate) end: u64,
    /// The earliest timestamp among them.
    pub(crate) first: Timestamp,
    /// The latest timestamp among them.
    pub(crate) last: Timestamp,
}

/// A segment's granules, and how far it can be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Scan {
    /// In stored order, without those in which no record begins.
    pub(crate) granules: Vec<ScanGranule>,
    /// Records in them.
    pub(crate) records: u64,
    /// Bytes of their packets on the wire.
    pub(crate) wire_bytes: u64,
    /// End of the last whole record.
    pub(crate) end: u64,
}

impl Scan {
    /// Scans all whole records of a segment that begin after the known ones; `None` if `stop` returned true.
    pub(crate) fn extended(mut self, segment: &Medium, stop: &dyn Fn() -> bool) -> Option<Self> {
        self.end = self.end.max(FILE_HEADER_BYTES as u64);
        let mut granule_end = self.granules.last().map_or(0, |granule| end_of_granule(granule.start));
        for piece in segment.pieces(self.end) {
            self.extend_by(&piece, &mut granule_end, stop)?;
        }
        Some(self)
    }

    /// Scans the whole records at the beginning of a piece; `None` if `stop` returned true.
    fn extend_by(
        &mut self,
        piece: &SegmentBlock,
        granule_end: &mut u64,
        stop: &dyn Fn() -> bool,
    ) -> Option<()> {
        for record in piece.records() {
            let at = record.header.timestamp();
            self.records += 1;
            self.wire_bytes += u64::from(record.header.len);
            self.end = record.end();
            match self.granules.last_mut() {
                Some(granule) if record.offset < *granule_end => {
                    granule.end = self.end;
                    granule.first = granule.first.min(at);
                    granule.last = granule.last.max(at);
                }
                _ => {
                    if self.granules.len().is_multiple_of(GRANULES_BETWEEN_QUESTIONS) && stop() {
                        return None;
                    }
                    *granule_end = end_of_granule(record.offset);
                    self.granules.push(ScanGranule {
                        start: record.offset,
                        end: self.end,
                        first: at,
                        last: at,
                    });
                }
            }
        }
        Some(())
    }

    /// The granules after `begin`, where a record begins; of the granule around it, the rest, with the bounds of the whole.
    pub(crate) fn granules_from(&self, begin: u64) -> impl Iterator<Item = ScanGranule> {
        let known = self.granules.partition_point(|granule| granule.end <= begin);
        let rest = self.granules.get(known..).unwrap_or_default().iter();
        rest.map(move |granule| ScanGranule { start: granule.start.max(begin), ..*granule })
    }

    /// Likewise, up to `end`, where a record ends.
    pub(crate) fn granules_within(&self, begin: u64, end: u64) -> impl Iterator<Item = ScanGranule> {
        let within = self.granules_from(begin).take_while(move |granule| granule.start < end);
        within.map(move |granule| ScanGranule { end: granule.end.min(end), ..granule })
    }

    /// The earliest and the latest timestamp, if there is a record.
    pub(crate) fn bounds(&self) -> Option<(Timestamp, Timestamp)> {
        let first = self.granules.iter().map(|granule| granule.first).min()?;
        let last = self.granules.iter().map(|granule| granule.last).max()?;
        Some((first, last))
    }
}

fn end_of_granule(offset: u64) -> u64 {
    (offset / WALK_GRANULE_BYTES + 1) * WALK_GRANULE_BYTES
}

/// Reason why the first record of a segment's rest cannot be read.
pub(crate) fn damage_at(rest: &[u8]) -> String {
    match RecordHeader::read(rest) {
        Some(header) if header.caplen > CAPLEN_MAX => {
            format!("the record claims a packet of {} bytes; run netrewind verify", header.caplen)
        }
        _ => "the record is cut short; run netrewind verify".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use netrewind_store::{LinkType, Map, PcapWriter, Records};

    use super::*;

    #[test]
    fn granules_tile_the_records_and_bound_their_times() {
        let mut writer = PcapWriter::new(Vec::new(), LinkType::ETHERNET).unwrap();
        let mut seconds = 1000;
        for n in 0..5000u32 {
            seconds = (seconds * 17 + n) % 3000;
            let caplen = if n == 700 { 200_000 } else { n % 400 };
            let header = RecordHeader { seconds, nanoseconds: n, caplen, len: caplen };
            writer.write(&header, &vec![0; caplen as usize]).unwrap();
        }
        let segment = writer.finish().unwrap();
        let medium = Medium::mapped(Map::from_bytes(segment.clone()));
        let cut = medium.front(medium.bytes() - 1);
        let walk = Scan::default().extended(&cut, &|| false).unwrap();
        for part in [0, 1000, 300_000] {
            let begun = Scan::default().extended(&medium.front(part), &|| false).unwrap();
            assert_eq!(begun.extended(&cut, &|| false), Some(walk.clone()));
        }
        assert_eq!(walk.records, 4999, "the last one is cut");
        assert!(damage_at(&cut.read(walk.end..cut.bytes())).contains("cut short"));
        let mut at = FILE_HEADER_BYTES as u64;
        for granule in &walk.granules {
            assert_eq!(granule.start, at);
            let bytes = &segment[granule.start as usize..granule.end as usize];
            let times: Vec<_> = Records::new(bytes, at).map(|record| record.header.timestamp()).collect();
            assert_eq!((times.iter().min(), times.iter().max()), (Some(&granule.first), Some(&granule.last)));
            at = granule.end;
        }
        assert_eq!(at, walk.end);
        assert_eq!(Scan::default().extended(&medium, &|| true), None);
        for begin in [0, FILE_HEADER_BYTES as u64, walk.granules[3].end, walk.end] {
            let rest: Vec<_> = walk.granules_from(begin).collect();
            assert_eq!(rest, walk.granules.iter().filter(|g| g.start >= begin).copied().collect::<Vec<_>>());
        }
        let ScanGranule { start, end, first, last } = walk.granules[3];
        let rest = ScanGranule { start: end - 16, end, first, last };
        assert!(start < rest.start && walk.granules_from(end - 16).next() == Some(rest));
    }
}
