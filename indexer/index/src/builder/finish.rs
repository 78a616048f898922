//! Assembles the bytes of an index from the tables of a finished segment.

use super::flow_table::FlowState;
use super::radix::{scatter, sort_by_upper_half};
use super::tables::SegmentTables;
use crate::blocks::BlockWriter;
use crate::checksums;
use crate::column::{self, BLOCK_ROWS};
use crate::details::{self, DetailCoders, DetailRow};
use crate::dictionary::{put_u32, put_u128};
use crate::granules;
use crate::keys::{self, KeyRow, NO_ADDRESS};
use crate::layout::{
    IndexHeader, SECTION_BYTES_MAX, SEGMENT_BYTES_MAX, Section, SectionEntry, SectionTable, head_hash,
    section_checksum, tunnel_ports_hash,
};
use crate::observations;
use crate::positions::{self, BitWriter};
use crate::ranking::{Census, Rankings};
use crate::strings;
use crate::{BuildError, POSITIONS_WITHOUT_LENGTH_MAX, template_list};
use netrewind_packet::{Shape, TransportKey};
use netrewind_store::Timestamp;

/// A flow in the order of the index.
#[derive(Clone, Copy, Default)]
struct OrderedFlow {
    key: KeyRow,
    /// Its number in the tables.
    flow: u32,
}

/// The bytes of each section.
type Sections = [Vec<u8>; Section::ALL.len()];

/// Puts the index together.
pub(super) fn assemble(tables: &mut SegmentTables) -> Result<Vec<u8>, BuildError> {
    if tables.totals.segment_bytes > SEGMENT_BYTES_MAX {
        return Err(BuildError::TooLong { max: SEGMENT_BYTES_MAX });
    }
    cover_segment(tables);
    let shapes: Vec<Shape> = tables.templates.templates().map(|template| template.shape).collect();
    let addresses = Addresses::collect(tables, &shapes);
    let places = order(tables, &addresses);
    let positions = FlowGranules::collect(tables, &places);
    let ports = ports(tables, &shapes);

    let mut sections = Sections::default();
    let mut put = |section: Section, bytes: Vec<u8>| sections[section as usize] = bytes;
    let mut put_blocks = |section: Section, directory: Section, writer: BlockWriter| {
        put(section, writer.blocks);
        put(directory, writer.directory);
    };
    let v4 = put_u32(Section::AddressesV4, &addresses.v4);
    put_blocks(Section::AddressesV4, Section::AddressV4Directory, v4);
    let v6 = put_u128(Section::AddressesV6, &addresses.v6);
    put_blocks(Section::AddressesV6, Section::AddressV6Directory, v6);
    put_blocks(Section::Ports, Section::PortDirectory, put_u32(Section::Ports, &ports));
    let granules = granules::put(&tables.granules, tables.limits.granule_shift);
    put_blocks(Section::Granules, Section::GranuleDirectory, granules);
    if let Some(checksums) = &mut tables.checksums {
        put_blocks(Section::Checksums, Section::ChecksumDirectory, checksums::put(checksums.finish()));
    }
    let flows = EncodedFlows::encode(tables, &places, &positions);
    put_blocks(Section::Keys, Section::KeyDirectory, flows.keys);
    put_blocks(Section::Details, Section::DetailDirectory, flows.details);
    put_blocks(Section::Positions, Section::PositionDirectory, flows.positions);
    put(Section::Rankings, flows.rankings.put());
    put(Section::Templates, template_list::put(tables.templates.templates()));
    put(Section::Seconds, tables.seconds.put());
    let mut header = header(tables, &addresses, places.len(), ports.len());
    if let Some(observer) = &mut tables.observer {
        let (observed, texts) = observer.finish(&tables.flows, places.iter().map(|place| place.flow));
        (header.observations, header.strings) = (observed.len() as u32, texts.len() as u32);
        let mut put_blocks = |section: Section, directory: Section, writer: BlockWriter| {
            sections[section as usize] = writer.blocks;
            sections[directory as usize] = writer.directory;
        };
        put_blocks(Section::Observations, Section::ObservationDirectory, observations::put(&observed));
        put_blocks(Section::Strings, Section::StringDirectory, strings::put(&texts));
    }
    join(&header, &sections)
}

/// Adds the granules in which no record begins at the end of the segment, where a long record covers them.
fn cover_segment(tables: &mut SegmentTables) {
    let count = tables.totals.segment_bytes.div_ceil(1 << tables.limits.granule_shift);
    let empty = granules::Granule { offset: 0, records: 0, first: Timestamp::MIN, last: Timestamp::MIN };
    tables.granules.resize(count as usize, empty);
    tables.posting_starts.resize(count as usize + 1, tables.postings.len() as u32);
}

fn header(tables: &SegmentTables, addresses: &Addresses, flows: usize, ports: usize) -> IndexHeader {
    let totals = &tables.totals;
    IndexHeader {
        link_type: tables.link_type,
        granule_shift: tables.limits.granule_shift,
        second_shift: tables.seconds.shift,
        is_late: false,
        segment_bytes: totals.segment_bytes,
        records: totals.records,
        wire_bytes: totals.wire_bytes,
        first: Timestamp(totals.first),
        last: Timestamp(totals.last),
        disorder_ns: totals.disorder_ns,
        head_hash: head_hash(&tables.head),
        last_record: totals.last_record,
        last_header: totals.last_header,
        flows: flows as u32,
        granules: tables.granules.len() as u32,
        addresses_v4: addresses.v4.len() as u32,
        addresses_v6: addresses.v6.len() as u32,
        ports: ports as u32,
        templates: tables.templates.len() as u32,
        tunnel_ports: tunnel_ports_hash(&tables.ports),
        observations: 0,
        strings: 0,
    }
}

fn join(header: &IndexHeader, sections: &Sections) -> Result<Vec<u8>, BuildError> {
    let mut table = SectionTable::default();
    for (section, bytes) in Section::ALL.into_iter().zip(sections) {
        if bytes.len() as u64 > SECTION_BYTES_MAX {
            return Err(BuildError::TooLong { max: SEGMENT_BYTES_MAX });
        }
        let checksum = if section.is_blocked() { 0 } else { section_checksum(section, bytes) };
        table[section as usize] = SectionEntry { bytes: bytes.len() as u64, checksum };
    }
    let mut file = header.to_bytes(&table);
    file.reserve_exact(sections.iter().map(Vec::len).sum());
    sections.iter().for_each(|bytes| file.extend_from_slice(bytes));
    Ok(file)
}

/// The sets of addresses, and the ids of each flow's.
struct Addresses {
    v4: Vec<u32>,
    v6: Vec<u128>,
    /// Source and destination of each flow of the tables.
    ids: Vec<[u32; 2]>,
}

impl Addresses {
    fn collect(tables: &SegmentTables, shapes: &[Shape]) -> Self {
        let states = &tables.flows.states;
        let mut ids = vec![[NO_ADDRESS; 2]; states.len()];
        let mut v4_uses = Vec::with_capacity(states.len() * 2);
        for (flow, state) in states.iter().enumerate() {
            if let Shape::Ipv4 { .. } = shapes[usize::from(state.key().template)] {
                let place = flow as u64 * 2;
                v4_uses.push(u64::from(state.key().source) << 32 | place);
                v4_uses.push(u64::from(state.key().destination) << 32 | place | 1);
            }
        }
        sort_by_upper_half(&mut v4_uses);
        let mut v4: Vec<u32> = Vec::new();
        for used in v4_uses {
            let address = (used >> 32) as u32;
            if v4.last() != Some(&address) {
                v4.push(address);
            }
            let place = used as u32 as usize;
            ids[place / 2][place % 2] = v4.len() as u32;
        }
        let (v6, pair_ids) = number_pairs(&tables.flows.pairs, v4.len() as u32 + 1);
        for (state, ids) in states.iter().zip(&mut ids) {
            if let Shape::Ipv6 { .. } = shapes[usize::from(state.key().template)] {
                *ids = pair_ids[state.key().source as usize];
            }
        }
        Self { v4, v6, ids }
    }
}

/// The distinct addresses of pairs, ascending, and the ids of each pair's; `base` is the id of the first.
fn number_pairs(pairs: &[[u128; 2]], base: u32) -> (Vec<u128>, Vec<[u32; 2]>) {
    let mut uses: Vec<(u128, u32)> = Vec::with_capacity(pairs.len() * 2);
    for (place, pair) in (0..).step_by(2).zip(pairs) {
        uses.extend([(pair[0], place), (pair[1], place + 1)]);
    }
    uses.sort_unstable();
    let mut distinct: Vec<u128> = Vec::new();
    let mut ids = vec![[NO_ADDRESS; 2]; pairs.len()];
    for (address, place) in uses {
        if distinct.last() != Some(&address) {
            distinct.push(address);
        }
        ids[place as usize / 2][place as usize % 2] = base + distinct.len() as u32 - 1;
    }
    (distinct, ids)
}

/// The flows in the order of the index.
fn order(tables: &SegmentTables, addresses: &Addresses) -> Vec<OrderedFlow> {
    let mut places = Vec::with_capacity(addresses.ids.len());
    for (state, ids) in tables.flows.states.iter().zip(&addresses.ids) {
        let key = state.key();
        let (source, destination) = ((key.source_port, ids[0]), (key.destination_port, ids[1]));
        let key = KeyRow::new(u32::from(key.template), source, destination);
        places.push(OrderedFlow { key, flow: places.len() as u32 });
    }
    let mut sorted = vec![OrderedFlow::default(); places.len()];
    let ids = 1 + addresses.v4.len() + addresses.v6.len();
    let ends = scatter(&places, &mut sorted, |place| place.key.greater_address as usize, ids);
    let mut start = 0;
    for end in ends {
        if end - start > 1 {
            sorted[start as usize..end as usize].sort_unstable_by_key(|place| place.key.within_address());
        }
        start = end;
    }
    sorted
}

/// All ports of flows that have ports, ascending.
fn ports(tables: &SegmentTables, shapes: &[Shape]) -> Vec<u32> {
    let mut is_used = vec![false; 1 << 16];
    for state in &tables.flows.states {
        if let Shape::Ipv4 { key: TransportKey::Ports, .. } | Shape::Ipv6 { key: TransportKey::Ports, .. } =
            shapes[usize::from(state.key().template)]
        {
            is_used[usize::from(state.key().source_port)] = true;
            is_used[usize::from(state.key().destination_port)] = true;
        }
    }
    (0..).zip(is_used).filter(|(_, is_used)| *is_used).map(|(port, _)| port).collect()
}

/// The granules of each flow.
struct FlowGranules {
    granules: Vec<u32>,
    /// End of the granules of each flow of the tables; they begin where those of the flow before it end.
    ends: Vec<u32>,
    /// Start of those granules, likewise.
    starts: Vec<u32>,
}

impl FlowGranules {
    fn collect(tables: &SegmentTables, places: &[OrderedFlow]) -> Self {
        let mut counts = vec![0u32; tables.flows.states.len()];
        tables.postings.iter().for_each(|&flow| counts[flow as usize] += 1);
        let mut starts = counts;
        let mut next = 0;
        for place in places {
            next += std::mem::replace(&mut starts[place.flow as usize], next);
        }
        let mut granules = vec![0; tables.postings.len()];
        let mut ends = starts.clone();
        for (granule, range) in (0..).zip(tables.posting_starts.windows(2)) {
            for &flow in &tables.postings[range[0] as usize..range[1] as usize] {
                let end = &mut ends[flow as usize];
                granules[*end as usize] = granule;
                *end += 1;
            }
        }
        Self { granules, ends, starts }
    }

    fn of(&self, flow: u32) -> &[u32] {
        &self.granules[self.starts[flow as usize] as usize..self.ends[flow as usize] as usize]
    }
}

/// The encoded blocks of flows.
struct EncodedFlows {
    rankings: Rankings,
    keys: BlockWriter,
    details: BlockWriter,
    positions: BlockWriter,
}

impl EncodedFlows {
    fn encode(tables: &SegmentTables, places: &[OrderedFlow], positions: &FlowGranules) -> Self {
        let rankings = rank(tables, places);
        let (lesser_ports, codes) = (rankings.lesser_port.coder(), rankings.code.coder());
        let coders = DetailCoders::new(&rankings);
        let mut keys = BlockWriter::new(Section::Keys);
        let mut details = BlockWriter::new(Section::Details);
        let mut position_blocks = BlockWriter::new(Section::Positions);
        let mut bits = BitWriter::default();
        let (mut key_rows, mut detail_rows, mut begins) = (Vec::new(), Vec::new(), Vec::new());
        for block in places.chunks(BLOCK_ROWS) {
            key_rows.clear();
            key_rows.extend(block.iter().map(|place| place.key));
            let first = key_rows[0].greater_address.to_le_bytes();
            keys.put(&first, |bytes| keys::put(bytes, &key_rows, &lesser_ports, &codes));
            begins.clear();
            begins.push(true);
            begins.extend(key_rows.windows(2).map(|pair| !pair[1].is_same_conversation(&pair[0])));
            detail_rows.clear();
            detail_rows
                .extend(block.iter().map(|place| detail(tables, place.flow, positions.of(place.flow))));
            details.put(&[], |bytes| details::put(bytes, &detail_rows, &begins, &coders));
            let lists = || block.iter().map(|place| positions.of(place.flow));
            position_blocks.put(&[], |bytes| put_positions(bytes, lists, &mut bits));
        }
        Self { rankings, keys, details, positions: position_blocks }
    }
}

fn rank(tables: &SegmentTables, places: &[OrderedFlow]) -> Rankings {
    let ranking = |count: &mut dyn FnMut(&mut Census)| {
        let mut census = Census::new();
        count(&mut census);
        census.rank()
    };
    let states = &tables.flows.states;
    let several = || states.iter().filter(|state| state.packets > 1);
    Rankings {
        lesser_port: ranking(&mut |census| {
            let conversations = places.chunk_by(|a, b| a.key.is_same_conversation(&b.key));
            conversations.for_each(|flows| census.count(u64::from(flows[0].key.lesser_port)));
        }),
        code: ranking(&mut |census| places.iter().for_each(|place| census.count(u64::from(place.key.code)))),
        len_min: ranking(&mut |census| {
            states.iter().for_each(|state| census.count(u64::from(state.len_min)))
        }),
        len_max: ranking(&mut |census| several().for_each(|state| census.count(u64::from(state.len_max)))),
        tcp_flags: ranking(&mut |census| {
            states.iter().for_each(|state| census.count(u64::from(tcp_flags(state))))
        }),
    }
}

fn tcp_flags(state: &FlowState) -> u16 {
    u16::from_be_bytes([state.flags_all, state.flags_any])
}

fn detail(tables: &SegmentTables, flow: u32, granules: &[u32]) -> DetailRow {
    let state = &tables.flows.states[flow as usize];
    let (first_granule, last_granule) = (granules[0], granules[granules.len() - 1]);
    let first_instant = tables.granules[first_granule as usize].first.ns();
    let last_instant = tables.granules[last_granule as usize].last.ns();
    DetailRow {
        packets: u64::from(state.packets),
        granules: granules.len() as u64,
        first_granule,
        last_granule,
        after_first: state.first.wrapping_sub(first_instant),
        before_last: if state.packets > 1 { last_instant.wrapping_sub(state.last) } else { 0 },
        bytes: state.bytes,
        len_min: state.len_min,
        len_max: state.len_max,
        caplen_min: state.caplen_min,
        caplen_max: state.caplen_max,
        tcp_flags: tcp_flags(state),
        has_fragments: tables.flows.has_fragments.get(flow as usize) == Some(&true),
        is_cut: (state.caplen_min, state.caplen_max) != (state.len_min, state.len_max),
    }
}

/// Appends a block of positions: the bits of the long lists, then for each flow what lies between its first and last
/// granule.
fn put_positions<'a, I: Iterator<Item = &'a [u32]>>(
    block: &mut Vec<u8>,
    lists: impl Fn() -> I,
    bits: &mut BitWriter,
) {
    bits.clear();
    let mut lengths = Vec::new();
    for list in lists() {
        let before = bits.bits();
        if let [first, between @ .., last] = list {
            positions::put(bits, between, *first, *last);
        }
        if list.len() as u64 > POSITIONS_WITHOUT_LENGTH_MAX {
            lengths.push(bits.bits() - before);
        }
    }
    bits.finish();
    column::put(block, &lengths);
    block.extend_from_slice(&bits.bytes);
}
