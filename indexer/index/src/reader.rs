//! Reading an index from its bytes, which may be a memory map: a section is verified when it is first used, a block each
//! time it is decoded, and nothing else is touched.

mod checksums;
mod cursor;
#[cfg(test)]
mod hostile;
mod lookup;
mod observations;
mod sections;
mod time;

use std::net::IpAddr;
use std::ops::{Range, RangeInclusive};

use netrewind_packet::tunnel::TunnelPorts;
use netrewind_store::{LinkType, Medium, Timestamp};

pub use checksums::Comparison;
pub use cursor::{FlowCursor, FlowIter};
pub use lookup::{Constraint, KeyConstraint};
pub use observations::Observations;
use sections::IndexSections;
pub use time::Second;
use time::{earliest_from, granules_in, seconds};

use crate::blocks::BlockReader;
use crate::layout::{HEAD_BYTES, Section, head_hash, tunnel_ports_hash};
use crate::template::Template;
use crate::{IndexError, IndexLimits};

/// The index of one segment. Opening reads a few hundred bytes; every other call reads what it needs and verifies it
/// first, so that damage is an error and never a wrong answer.
#[derive(Debug)]
pub struct Index<B> {
    sections: IndexSections<B>,
}

impl<B: AsRef<[u8]>> Index<B> {
    /// Opens an index after checking its header. Costs the same whatever the index's size.
    pub fn open(bytes: B) -> Result<Self, IndexError> {
        Ok(Self { sections: IndexSections::open(bytes)? })
    }

    /// Bytes that the index was opened from.
    pub fn bytes(&self) -> &B {
        &self.sections.bytes
    }

    /// The segment's link type.
    pub fn link_type(&self) -> LinkType {
        self.sections.header.link_type
    }

    /// Records in the segment.
    pub fn records(&self) -> u64 {
        self.sections.header.records
    }

    /// Bytes of the segment, file header included.
    pub fn segment_bytes(&self) -> u64 {
        self.sections.header.segment_bytes
    }

    /// Bytes that the packets had on the wire.
    pub fn wire_bytes(&self) -> u64 {
        self.sections.header.wire_bytes
    }

    /// Earliest timestamp in the segment; [`Timestamp::MAX`] where there is no record.
    pub fn first(&self) -> Timestamp {
        self.sections.header.first
    }

    /// Latest timestamp in the segment; [`Timestamp::MIN`] where there is no record.
    pub fn last(&self) -> Timestamp {
        self.sections.header.last
    }

    /// The furthest that a record's timestamp stands before the latest of the records before it, in nanoseconds. Zero
    /// where the segment is in time order.
    pub fn disorder_ns(&self) -> u64 {
        self.sections.header.disorder_ns
    }

    /// Bytes of a granule: a power of two.
    pub fn granule_bytes(&self) -> u64 {
        1 << self.sections.header.granule_shift
    }

    /// Number of granules of the segment. A granule's number is its offset in the segment divided by the granule size.
    pub fn granule_count(&self) -> u32 {
        self.sections.header.granules
    }

    /// Number of flows in the index. They are numbered from zero; those of a conversation are neighbours.
    pub fn flow_count(&self) -> u32 {
        self.sections.header.flows
    }

    /// True if the checksums of granules were taken later than the segment was recorded, from bytes that nothing vouched for then.
    pub fn is_late(&self) -> bool {
        self.sections.header.is_late
    }

    /// Bytes of the index itself.
    pub fn index_bytes(&self) -> u64 {
        self.sections.bytes.as_ref().len() as u64
    }

    /// Approximate memory that it takes besides those bytes, for decoded parts.
    pub fn decoded_bytes(&self) -> usize {
        self.sections.decoded_bytes()
    }

    /// Bytes of each section, by its name in `FORMAT.md`.
    pub fn section_bytes(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Section::ALL.iter().zip(&self.sections.table).map(|(section, entry)| (section.name(), entry.bytes))
    }

    /// Number of bytes at the beginning of the segment that [`Self::matches`] needs.
    pub fn head_bytes(&self) -> usize {
        self.sections.header.segment_bytes.min(HEAD_BYTES as u64) as usize
    }

    /// Offset of the segment's last record, and its header; `None` if there are no records.
    pub fn last_record(&self) -> Option<(u64, [u8; 16])> {
        (self.sections.header.records > 0)
            .then_some((self.sections.header.last_record, self.sections.header.last_header))
    }

    /// Checks in a microsecond that the index belongs to a segment of `segment_bytes` that begins with `head` (its first
    /// [`Self::head_bytes`], or more).
    pub fn matches(&self, segment_bytes: u64, head: &[u8]) -> Result<(), IndexError> {
        if segment_bytes != self.sections.header.segment_bytes {
            return Err(IndexError::Foreign { reason: "it was built from a segment of a different length" });
        }
        match head.get(..self.head_bytes()) {
            Some(head) if head_hash(head) == self.sections.header.head_hash => Ok(()),
            _ => Err(IndexError::Foreign { reason: "the segment begins with different bytes" }),
        }
    }

    /// Checks that packets were dissected with these ports: other ports give other flows.
    pub fn matches_ports(&self, ports: &TunnelPorts) -> Result<(), IndexError> {
        if self.sections.header.tunnel_ports == tunnel_ports_hash(ports) {
            Ok(())
        } else {
            Err(IndexError::OtherPorts)
        }
    }

    /// Checks as [`Self::matches`], and looks at the segment's last record as well.
    pub fn matches_segment(&self, segment: &Medium) -> Result<(), IndexError> {
        self.matches(segment.bytes(), &segment.read(0..self.head_bytes() as u64))?;
        let Some((offset, header)) = self.last_record() else { return Ok(()) };
        let found = segment.read(offset..offset.saturating_add(header.len() as u64));
        match *found == header[..] {
            true => Ok(()),
            false => Err(IndexError::Foreign { reason: "the segment's last record is different" }),
        }
    }

    /// The templates, by number.
    pub fn templates(&self) -> Result<&[Template], IndexError> {
        self.sections.templates()
    }

    /// True if packets may be counted in flows of unknown addresses, because there were too many flows or templates.
    pub fn has_packets_without_key(&self) -> Result<bool, IndexError> {
        Ok(self.flow_count() >= IndexLimits::default().flows_max
            || self.templates()?.iter().any(Template::is_opaque))
    }

    /// Bits of the views, counted from the outermost, in which the segment can have fragments other than the first of their packet.
    pub fn later_views(&self) -> Result<u8, IndexError> {
        if self.has_packets_without_key()? {
            return Ok(u8::MAX);
        }
        let later = self.templates()?.iter().filter(|template| template.is_later_fragment());
        Ok(later.fold(0, |views, template| views | 1 << template.innermost_view()))
    }

    /// The IPv4 addresses of the flows, ascending.
    pub(crate) fn addresses_v4(&self) -> Result<Vec<u32>, IndexError> {
        let mut addresses = Vec::new();
        self.sections.v4()?.decode_all(&mut addresses)?;
        Ok(addresses)
    }

    /// The IPv6 addresses of the flows, ascending.
    pub(crate) fn addresses_v6(&self) -> Result<Vec<u128>, IndexError> {
        let mut addresses = Vec::new();
        self.sections.v6()?.decode_all(&mut addresses)?;
        Ok(addresses)
    }

    /// The ports of the flows, ascending.
    pub(crate) fn ports(&self) -> Result<Vec<u32>, IndexError> {
        let mut ports = Vec::new();
        self.sections.ports()?.decode_all(&mut ports)?;
        Ok(ports)
    }

    /// The flow with a number. For more than a few, a [`FlowCursor`] is cheaper.
    pub fn flow(&self, id: u32) -> Result<crate::Flow, IndexError> {
        self.cursor().flow(id)
    }

    /// Reads flows, their positions and granules, and remembers what it has decoded.
    pub fn cursor(&self) -> FlowCursor<'_, B> {
        FlowCursor::new(&self.sections)
    }

    /// All flows in the order of their numbers.
    pub fn flows(&self) -> FlowIter<'_, B> {
        FlowIter::new(&self.sections, None)
    }

    /// The flows of those templates whose place in `wanted` holds true, in the order of their numbers.
    pub fn flows_of<'a>(&'a self, wanted: &'a [bool]) -> FlowIter<'a, B> {
        FlowIter::new(&self.sections, Some(wanted))
    }

    /// Reads what was observed of flows.
    pub fn observations(&self) -> Result<Observations<'_>, IndexError> {
        let directory = self.sections.section(Section::ObservationDirectory)?;
        let blocks = self.sections.section(Section::Observations)?;
        let rows =
            BlockReader::new(Section::Observations, blocks, directory, self.sections.header.observations)?;
        let directory = self.sections.section(Section::StringDirectory)?;
        let blocks = self.sections.section(Section::Strings)?;
        Ok(Observations::new(
            rows,
            BlockReader::new(Section::Strings, blocks, directory, self.sections.header.strings)?,
        ))
    }

    /// Compares the checksums of all that flows and observations are read from, without decoding it: later, only pages that get lost
    /// can be an error.
    pub fn check_flows(&self) -> Result<(), IndexError> {
        self.templates()?;
        self.sections.rankings()?;
        self.sections.v4()?.check()?;
        self.sections.v6()?.check()?;
        self.sections.granule_table()?.check()?;
        self.sections.keys()?.check()?;
        self.sections.details()?.check()?;
        self.observations()?.check()
    }

    /// Packets and bytes a second, ascending; seconds without packets are left out.
    pub fn seconds(&self) -> Result<Vec<Second>, IndexError> {
        seconds(&self.sections)
    }

    /// The numbers of the granules that can hold a packet with `from <= timestamp < to`, ascending.
    pub fn granules_in(&self, range: Range<Timestamp>) -> Result<Vec<u32>, IndexError> {
        granules_in(&self.sections, range)
    }

    /// The earliest timestamp of a record in `granule` or any later one; [`Timestamp::MAX`] where there is none. Earlier packets
    /// can be given out once all granules before have been read, however much the segment is out of order.
    pub fn earliest_from(&self, granule: u32) -> Result<Timestamp, IndexError> {
        earliest_from(&self.sections, granule)
    }

    /// The flows of the `wanted` templates (by their number) that satisfy at least one of the terms, ascending. A term on
    /// a field that a template does not have is not satisfied by its flows.
    pub fn flows_with_any(&self, wanted: &[bool], terms: &[KeyConstraint]) -> Result<Vec<u32>, IndexError> {
        lookup::flows_with_any(&self.sections, wanted, terms)
    }

    /// Finds of those flows at least the ones with both addresses satisfying one of `ends`, be it as source or destination.
    /// Flows are in the order of one of their addresses, so only the few blocks that can hold them are looked at.
    pub fn flows_between(
        &self,
        wanted: &[bool],
        terms: &[KeyConstraint],
        ends: &[KeyConstraint],
    ) -> Result<Vec<u32>, IndexError> {
        lookup::flows_between(&self.sections, wanted, terms, ends)
    }

    /// True if [`Self::flows_with_any`] has to scan the flows, false if it finds nothing. Looks at one block of addresses for
    /// each term, and at nothing else.
    pub fn may_have_any(&self, wanted: &[bool], terms: &[KeyConstraint]) -> Result<bool, IndexError> {
        lookup::may_have_any(&self.sections, wanted, terms)
    }

    /// True where a packet of the segment has this source or destination address in its innermost network header, as
    /// far as the index knows them: packets that no flow is known of (see [`netrewind_packet::Shape::None`]) may have any.
    /// Reads one block.
    pub fn contains_address(&self, address: IpAddr) -> Result<bool, IndexError> {
        lookup::contains_addresses(&self.sections, address..=address)
    }

    /// Likewise for a range of addresses of one family.
    pub fn contains_addresses(&self, range: RangeInclusive<IpAddr>) -> Result<bool, IndexError> {
        lookup::contains_addresses(&self.sections, range)
    }

    /// True where a flow has a source or destination port in the range (type and code of ICMP do not count).
    pub fn contains_ports(&self, range: RangeInclusive<u16>) -> Result<bool, IndexError> {
        lookup::contains_ports(&self.sections, range)
    }

    /// The checksum of each granule; none where the part of the index in which it stands is damaged. Of an index that was built
    /// without checksums, nothing.
    pub fn checksums(&self) -> Result<Vec<Option<u32>>, IndexError> {
        checksums::checksums(&self.sections)
    }

    /// Ranges of a part of the segment, whole granules from the number `first` on, that are not as they were when the index was built:
    /// neighbours joined. An error if the index cannot tell of one of them.
    pub fn altered(&self, first: u64, bytes: &[u8]) -> Result<Vec<Range<u64>>, IndexError> {
        checksums::altered(&self.sections, first, bytes)
    }

    /// Compares with the checksums that the granules of the segment have now (see [`crate::GranuleChecksums`]), which is `bytes`
    /// bytes long now. Of a segment that is shorter or longer than it was, the part is compared that it had and has.
    pub fn compare(&self, now: &[u32], bytes: u64) -> Result<Comparison, IndexError> {
        checksums::compare(&self.sections, now, bytes)
    }

    /// Verifies every checksum and decodes everything once.
    pub fn verify(&self) -> Result<(), IndexError> {
        for section in Section::ALL {
            self.sections.section(section)?;
        }
        self.seconds()?;
        self.sections.v4()?.decode_all::<u32>(&mut Vec::new())?;
        self.sections.v6()?.decode_all::<u128>(&mut Vec::new())?;
        self.sections.ports()?.decode_all::<u32>(&mut Vec::new())?;
        self.observations()?.verify(self.flow_count())?;
        self.sections.checksum_blocks()?.as_ref().map_or(Ok(()), crate::checksums::verify)?;
        let mut cursor = self.cursor();
        let mut positions = Vec::new();
        for granule in 0..self.granule_count() {
            cursor.granule(granule)?;
        }
        for flow in 0..self.flow_count() {
            cursor.flow(flow)?;
            positions.clear();
            cursor.granules_of(flow, &mut positions)?;
        }
        Ok(())
    }
}
