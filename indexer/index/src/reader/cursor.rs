//! Reading flows one by one, with memory of what has been decoded.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netrewind_store::Timestamp;

use super::sections::IndexSections;
use crate::column::{BLOCK_ROWS, Values, take_values};
use crate::details::{self, DetailRow, NO_FLAGS};
use crate::flow::{Flow, TcpFlags};
use crate::granules::{Granule, GranuleBlock};
use crate::keys::{KeyBlock, KeyRow, NO_ADDRESS};
use crate::layout::Section;
use crate::positions::{self, BitReader};
use crate::template::Template;
use crate::{IndexError, POSITIONS_WITHOUT_LENGTH_MAX};

/// After this many single lookups in a table, all of it is decoded at once.
const SINGLE_LOOKS_MAX: u32 = 256;

/// Reads flows, their positions, and granules. Cheapest when the numbers asked for ascend.
#[derive(Debug)]
pub struct FlowCursor<'a, B> {
    index: &'a IndexSections<B>,
    templates: Option<&'a [Template]>,
    keys: Box<KeyBlock>,
    keys_block: Option<usize>,
    details: Box<[DetailRow; BLOCK_ROWS]>,
    details_block: Option<usize>,
    positions: Option<PositionBlock<'a>>,
    v4: Members<u32>,
    v6: Members<u128>,
    granules: GranuleCache,
}

impl<'a, B: AsRef<[u8]>> FlowCursor<'a, B> {
    pub(super) fn new(index: &'a IndexSections<B>) -> Self {
        Self {
            index,
            templates: None,
            keys: Box::default(),
            keys_block: None,
            details: Box::new([DetailRow::default(); BLOCK_ROWS]),
            details_block: None,
            positions: None,
            v4: Members::default(),
            v6: Members::default(),
            granules: GranuleCache::default(),
        }
    }

    /// The flow with a number below [`Index::flow_count`](crate::Index::flow_count); a greater number is an error.
    pub fn flow(&mut self, id: u32) -> Result<Flow, IndexError> {
        let (block, row) = (id as usize / BLOCK_ROWS, id as usize % BLOCK_ROWS);
        self.load_details(block)?;
        if row >= self.keys.rows {
            return Err(Section::Details.damaged());
        }
        self.assemble(row)
    }

    /// The numbers of all flows with the same two ends as the flow with a number.
    pub fn conversation_of(&mut self, id: u32) -> Result<std::ops::Range<u32>, IndexError> {
        let key = self.key_of(id)?;
        let (mut from, mut to) = (id, id + 1);
        while from > 0 && self.key_of(from - 1)?.is_same_conversation(&key) {
            from -= 1;
        }
        while to < self.index.header.flows && self.key_of(to)?.is_same_conversation(&key) {
            to += 1;
        }
        Ok(from..to)
    }

    fn key_of(&mut self, id: u32) -> Result<KeyRow, IndexError> {
        let (block, row) = (id as usize / BLOCK_ROWS, id as usize % BLOCK_ROWS);
        if id >= self.index.header.flows {
            return Err(Section::Keys.damaged());
        }
        self.load_keys(block)?;
        Ok(self.keys.row(row))
    }

    /// Appends the numbers of the granules that hold the flow's packets to `granules`, ascending.
    pub fn granules_of(&mut self, id: u32, granules: &mut Vec<u32>) -> Result<(), IndexError> {
        let (block, row) = (id as usize / BLOCK_ROWS, id as usize % BLOCK_ROWS);
        self.load_details(block)?;
        if row >= self.keys.rows {
            return Err(Section::Details.damaged());
        }
        if !self.positions.as_ref().is_some_and(|positions| positions.block == block && positions.row <= row)
        {
            let bytes = self.index.positions()?.block(block)?;
            self.positions = Some(PositionBlock::new(block, bytes));
        }
        let rows = &self.details[..self.keys.rows];
        let read = self
            .positions
            .as_mut()
            .and_then(|positions| positions.append(rows, row, self.index.header.granules, granules));
        if read.is_none() {
            self.positions = None;
        }
        read.ok_or(Section::Positions.damaged())
    }

    /// The granule with a number below [`Index::granule_count`](crate::Index::granule_count); a greater number is an error.
    pub fn granule(&mut self, number: u32) -> Result<Granule, IndexError> {
        let mut granule = self.granules.granule(self.index, number)?;
        let mut next = number + 1;
        while granule.records == 0 && next < self.index.header.granules {
            let following = self.granules.granule(self.index, next)?;
            if following.records > 0 {
                granule.offset = following.offset;
                return Ok(granule);
            }
            next += 1;
        }
        if granule.records == 0 {
            granule.offset = self.index.header.segment_bytes;
        }
        Ok(granule)
    }

    /// End of the last record that begins in a granule: offset of the first record of a later granule, or the segment's end.
    pub fn granule_end(&mut self, number: u32) -> Result<u64, IndexError> {
        match number + 1 < self.index.header.granules {
            true => Ok(self.granule(number + 1)?.offset),
            false => Ok(self.index.header.segment_bytes),
        }
    }

    pub(super) fn load_keys(&mut self, block: usize) -> Result<(), IndexError> {
        if self.keys_block == Some(block) {
            return Ok(());
        }
        self.keys_block = None;
        let keys = self.index.keys()?;
        let rankings = self.index.rankings()?;
        let first = u32::from_le_bytes(keys.key(block));
        self.keys
            .decode(keys.block(block)?, keys.rows_of(block), first, &rankings.lesser_port, &rankings.code)
            .ok_or(Section::Keys.damaged())?;
        self.keys_block = Some(block);
        Ok(())
    }

    pub(super) fn keys(&self) -> &KeyBlock {
        &self.keys
    }

    fn load_details(&mut self, block: usize) -> Result<(), IndexError> {
        if self.details_block == Some(block) && self.keys_block == Some(block) {
            return Ok(());
        }
        self.details_block = None;
        if block >= self.index.details()?.count() {
            return Err(Section::Details.damaged());
        }
        self.load_keys(block)?;
        let bytes = self.index.details()?.block(block)?;
        details::decode(bytes, &mut self.details, &self.keys, self.index.rankings()?)
            .ok_or(Section::Details.damaged())?;
        self.details_block = Some(block);
        Ok(())
    }

    fn assemble(&mut self, row: usize) -> Result<Flow, IndexError> {
        let key = self.keys.row(row);
        let detail = self.details[row];
        let templates = match self.templates {
            Some(templates) => templates,
            None => self.index.templates()?,
        };
        self.templates = Some(templates);
        let template = templates.get(key.template() as usize).ok_or(Section::Keys.damaged())?;
        let (source, destination) = key.ends();
        let first =
            self.granules.instants(self.index, detail.first_granule)?.0.wrapping_add(detail.after_first);
        let last = match detail.packets {
            1 => first,
            _ => self.granules.instants(self.index, detail.last_granule)?.1.wrapping_sub(detail.before_last),
        };
        let has_flags = detail.tcp_flags != NO_FLAGS && template.tcp_flags_offset().is_some();
        Ok(Flow {
            template: key.template(),
            source: self.address(source.1)?,
            destination: self.address(destination.1)?,
            source_port: source.0,
            destination_port: destination.0,
            first: Timestamp(first),
            last: Timestamp(last),
            packets: detail.packets,
            bytes: detail.bytes,
            len: detail.len_min..=detail.len_max,
            caplen: detail.caplen_min..=detail.caplen_max,
            tcp_flags: has_flags.then_some({
                let [all, any] = detail.tcp_flags.to_be_bytes();
                TcpFlags { all, any }
            }),
            has_fragments: detail.has_fragments,
            granules: u32::try_from(detail.granules).map_err(|_| Section::Details.damaged())?,
        })
    }

    fn address(&mut self, id: u32) -> Result<Option<IpAddr>, IndexError> {
        if id == NO_ADDRESS {
            return Ok(None);
        }
        let rank = id as usize - 1;
        let v4_count = self.index.header.addresses_v4 as usize;
        match rank.checked_sub(v4_count) {
            None => {
                let index = self.index;
                let decode_all = |all: &mut Vec<u32>| index.v4()?.decode_all(all);
                let address = self.v4.get(rank, |id| index.v4()?.member(id), decode_all)?;
                Ok(Some(IpAddr::V4(Ipv4Addr::from_bits(address))))
            }
            Some(rank) => {
                let index = self.index;
                let decode_all = |all: &mut Vec<u128>| index.v6()?.decode_all(all);
                let address = self.v6.get(rank, |id| index.v6()?.member(id), decode_all)?;
                Ok(Some(IpAddr::V6(Ipv6Addr::from_bits(address))))
            }
        }
    }
}

/// Members of a set by their id: looked up singly at first, then from memory.
#[derive(Debug, Default)]
struct Members<T> {
    looks: u32,
    /// The last two that were looked up singly: most often one end of a conversation is that of the one before.
    recent: [Option<(usize, T)>; 2],
    all: Vec<T>,
}

impl<T: Copy> Members<T> {
    fn get(
        &mut self,
        id: usize,
        single: impl FnOnce(usize) -> Result<T, IndexError>,
        decode_all: impl FnOnce(&mut Vec<T>) -> Result<(), IndexError>,
    ) -> Result<T, IndexError> {
        if let Some(&member) = self.all.get(id) {
            return Ok(member);
        }
        if let Some((_, member)) = self.recent.into_iter().flatten().find(|(recent, _)| *recent == id) {
            return Ok(member);
        }
        self.looks += 1;
        if self.looks <= SINGLE_LOOKS_MAX {
            let member = single(id)?;
            self.recent = [Some((id, member)), self.recent[0]];
            return Ok(member);
        }
        self.all.clear();
        decode_all(&mut self.all)?;
        self.all.get(id).copied().ok_or(Section::Keys.damaged())
    }
}

/// Granules by their number, likewise.
#[derive(Debug, Default)]
struct GranuleCache {
    looks: u32,
    block: Option<(usize, Box<GranuleBlock>)>,
    /// First and last timestamp of each.
    instants: Vec<(u64, u64)>,
}

impl GranuleCache {
    fn load<B: AsRef<[u8]>>(
        &mut self,
        index: &IndexSections<B>,
        number: u32,
    ) -> Result<&GranuleBlock, IndexError> {
        if number >= index.header.granules {
            return Err(Section::Granules.damaged());
        }
        let block = number as usize / BLOCK_ROWS;
        let cached = match self.block.take() {
            Some((cached, granules)) if cached == block => (block, granules),
            _ => (block, Box::new(index.granule_table()?.decode(block)?)),
        };
        Ok(&self.block.insert(cached).1)
    }

    fn granule<B: AsRef<[u8]>>(
        &mut self,
        index: &IndexSections<B>,
        number: u32,
    ) -> Result<Granule, IndexError> {
        let row = number as usize % BLOCK_ROWS;
        let granules = self.load(index, number)?;
        Ok(Granule {
            offset: granules.offsets[row],
            records: granules.records[row],
            first: Timestamp(granules.firsts[row]),
            last: Timestamp(granules.lasts[row]),
        })
    }

    fn instants<B: AsRef<[u8]>>(
        &mut self,
        index: &IndexSections<B>,
        number: u32,
    ) -> Result<(u64, u64), IndexError> {
        if let Some(&instants) = self.instants.get(number as usize) {
            return Ok(instants);
        }
        self.looks += 1;
        let table = index.granule_table()?;
        // A flow's first and last granules are often in different blocks, of which one is remembered.
        let looks_max = SINGLE_LOOKS_MAX.min(u32::try_from(table.blocks()).unwrap_or(u32::MAX));
        if self.looks > looks_max && self.instants.is_empty() {
            for block in 0..table.blocks() {
                let granules = table.decode(block)?;
                let rows = granules.firsts.into_iter().zip(granules.lasts);
                self.instants.extend(rows.take(table.rows_of(block)));
            }
            return self.instants.get(number as usize).copied().ok_or(Section::Details.damaged());
        }
        let granules = self.load(index, number)?;
        let row = number as usize % BLOCK_ROWS;
        Ok((granules.firsts[row], granules.lasts[row]))
    }
}

/// A block of positions, read up to a flow: see `FORMAT.md`, "Positions".
#[derive(Debug)]
struct PositionBlock<'a> {
    block: usize,
    /// The flow whose positions are read next.
    row: usize,
    /// The bits that the long lists take, from the next one on; not yet read where the first flow is the next.
    lengths: Values,
    next_length: usize,
    input: BitReader<'a>,
    bytes: &'a [u8],
}

fn is_long(row: &DetailRow) -> bool {
    row.granules > POSITIONS_WITHOUT_LENGTH_MAX
}

impl<'a> PositionBlock<'a> {
    fn new(block: usize, bytes: &'a [u8]) -> Self {
        let lengths = [0; BLOCK_ROWS];
        Self { block, row: 0, lengths, next_length: 0, input: BitReader::new(&[]), bytes }
    }

    /// Appends the granules of the flow `row`, which is not before the next; `rows` are the details of the block.
    fn append(
        &mut self,
        rows: &[DetailRow],
        row: usize,
        granule_count: u32,
        output: &mut Vec<u32>,
    ) -> Option<()> {
        if self.row == 0 {
            let mut block = self.bytes;
            take_values(&mut block, rows.iter().filter(|row| is_long(row)).count(), &mut self.lengths)?;
            self.input = BitReader::new(block);
            self.next_length = 0;
        }
        for before in rows.get(self.row..row)? {
            self.skip(before)?;
        }
        self.row = row + 1;
        let row = rows.get(row)?;
        if row.last_granule >= granule_count || row.granules > u64::from(granule_count) {
            return None;
        }
        output.push(row.first_granule);
        if let Some(between) = row.granules.checked_sub(2) {
            let start = output.len();
            output.resize(start + between as usize, 0);
            positions::take(&mut self.input, &mut output[start..], row.first_granule, row.last_granule)?;
            output.push(row.last_granule);
        }
        self.next_length += usize::from(is_long(row));
        Some(())
    }

    fn skip(&mut self, row: &DetailRow) -> Option<()> {
        if is_long(row) {
            self.input.skip(*self.lengths.get(self.next_length)?)?;
            self.next_length += 1;
        } else if let Some(between) = row.granules.checked_sub(2) {
            let mut passed = [0; POSITIONS_WITHOUT_LENGTH_MAX as usize];
            let between = passed.get_mut(..between as usize)?;
            positions::take(&mut self.input, between, row.first_granule, row.last_granule)?;
        }
        Some(())
    }
}

/// Flows in the order of their numbers: see [`Index::flows`](crate::Index::flows). Ends after the first error.
#[derive(Debug)]
pub struct FlowIter<'a, B> {
    cursor: FlowCursor<'a, B>,
    wanted: Option<&'a [bool]>,
    next: u32,
}

impl<'a, B: AsRef<[u8]>> FlowIter<'a, B> {
    pub(super) fn new(index: &'a IndexSections<B>, wanted: Option<&'a [bool]>) -> Self {
        Self { cursor: FlowCursor::new(index), wanted, next: 0 }
    }

    /// Cursor that reads the flows: it keeps the blocks around the last of them decoded.
    pub fn cursor(&mut self) -> &mut FlowCursor<'a, B> {
        &mut self.cursor
    }

    fn is_wanted(&mut self, id: u32) -> Result<bool, IndexError> {
        let Some(wanted) = self.wanted else { return Ok(true) };
        self.cursor.load_keys(id as usize / BLOCK_ROWS)?;
        let template = self.cursor.keys().code(id as usize % BLOCK_ROWS) >> 1;
        Ok(wanted.get(template as usize).copied().unwrap_or(false))
    }

    fn advance(&mut self) -> Result<Option<(u32, Flow)>, IndexError> {
        while self.next < self.cursor.index.header.flows {
            let id = self.next;
            self.next += 1;
            if self.is_wanted(id)? {
                return Ok(Some((id, self.cursor.flow(id)?)));
            }
        }
        Ok(None)
    }
}

impl<B: AsRef<[u8]>> Iterator for FlowIter<'_, B> {
    type Item = Result<(u32, Flow), IndexError>;

    fn next(&mut self) -> Option<Self::Item> {
        let item = self.advance();
        if item.is_err() {
            self.next = u32::MAX;
        }
        item.transpose()
    }
}
