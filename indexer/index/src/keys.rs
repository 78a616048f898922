//! The blocks of keys: the conversations, and the flows of each.

use crate::column::{BLOCK_ROWS, Column, Values, put_all, take};
use crate::ranking::{Coder, Ranking};

/// The id of "no address". Behind it come the ranks of the IPv4 addresses, then those of the IPv6 addresses.
pub(crate) const NO_ADDRESS: u32 = 0;

/// The key of a flow, as blocks hold it. An end is a port and an address id; the greater end of a conversation, by port
/// first, is most often the client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct KeyRow {
    pub(crate) greater_address: u32,
    pub(crate) greater_port: u16,
    pub(crate) lesser_address: u32,
    pub(crate) lesser_port: u16,
    /// Twice the template, plus one where the lesser end is the source.
    pub(crate) code: u32,
}

impl KeyRow {
    #[inline]
    pub(crate) fn new(template: u32, source: (u16, u32), destination: (u16, u32)) -> Self {
        let rank = |(port, address): (u16, u32)| u64::from(port) << 32 | u64::from(address);
        let (greater, lesser, direction) = match rank(source) >= rank(destination) {
            true => (source, destination, 0),
            false => (destination, source, 1),
        };
        Self {
            greater_address: greater.1,
            greater_port: greater.0,
            lesser_address: lesser.1,
            lesser_port: lesser.0,
            code: template << 1 | direction,
        }
    }

    /// The order of the flows with the same greater address, as one number.
    #[inline]
    pub(crate) fn within_address(&self) -> u128 {
        let ports = u128::from(self.greater_port) << 80 | u128::from(self.lesser_port) << 32;
        ports | u128::from(self.lesser_address) << 48 | u128::from(self.code)
    }

    pub(crate) fn template(&self) -> u32 {
        self.code >> 1
    }

    /// Port and address id of the source, then of the destination.
    pub(crate) fn ends(&self) -> ((u16, u32), (u16, u32)) {
        let greater = (self.greater_port, self.greater_address);
        let lesser = (self.lesser_port, self.lesser_address);
        if self.code & 1 == 0 { (greater, lesser) } else { (lesser, greater) }
    }

    /// True where the other flow is of the same conversation.
    pub(crate) fn is_same_conversation(&self, other: &Self) -> bool {
        (self.greater_address, self.greater_port, self.lesser_address, self.lesser_port)
            == (other.greater_address, other.greater_port, other.lesser_address, other.lesser_port)
    }
}

/// Appends a block of at most 128 rows, which ascend.
pub(crate) fn put(block: &mut Vec<u8>, rows: &[KeyRow], lesser_ports: &Coder, codes: &Coder) {
    let conversations: Vec<&[KeyRow]> = rows.chunk_by(KeyRow::is_same_conversation).collect();
    block.push(conversations.len() as u8);
    let mut values: Values = [0; BLOCK_ROWS];
    let values = &mut values;
    let firsts = || conversations.iter().map(|flows| flows[0]);
    put_all(block, values, conversations.iter().map(|flows| flows.len() as u64 - 1));
    let mut previous = rows.first().map_or(0, |row| row.greater_address);
    let step = |row: KeyRow| row.greater_address - std::mem::replace(&mut previous, row.greater_address);
    put_all(block, values, firsts().map(step).map(u64::from));
    put_all(block, values, firsts().map(|row| u64::from(row.lesser_address)));
    put_all(block, values, firsts().map(|row| u64::from(row.greater_port)));
    put_all(block, values, firsts().map(|row| lesser_ports.code(u64::from(row.lesser_port))));
    put_all(block, values, rows.iter().map(|row| codes.code(u64::from(row.code))));
}

/// Copies values to the front of `narrow` by `cast`; `None` where one is above `most`, which is all ones.
fn narrow<T>(values: &[u64], narrow: &mut [T], most: u64, cast: impl Fn(u64) -> T) -> Option<()> {
    // All values fit where the bits of all taken together do: that needs no branch for each.
    if values.iter().fold(0, |all, value| all | value) > most {
        return None;
    }
    for (slot, &value) in narrow.iter_mut().zip(values) {
        *slot = cast(value);
    }
    Some(())
}

fn narrow_u32(values: &[u64], to: &mut [u32]) -> Option<()> {
    narrow(values, to, u32::MAX.into(), |value| value as u32)
}

fn narrow_u16(values: &[u64], to: &mut [u16]) -> Option<()> {
    narrow(values, to, u16::MAX.into(), |value| value as u16)
}

/// A decoded block of keys.
#[derive(Clone, Debug)]
pub(crate) struct KeyBlock {
    pub(crate) rows: usize,
    pub(crate) conversations: usize,
    /// Row of each flow's conversation.
    conversation_of: [u8; BLOCK_ROWS],
    greater_addresses: [u32; BLOCK_ROWS],
    greater_ports: [u16; BLOCK_ROWS],
    lesser_addresses: [u32; BLOCK_ROWS],
    lesser_ports: [u16; BLOCK_ROWS],
    codes: [u32; BLOCK_ROWS],
    /// A column before it is copied to where it belongs.
    values: Values,
}

impl Default for KeyBlock {
    fn default() -> Self {
        Self {
            rows: 0,
            conversations: 0,
            conversation_of: [0; BLOCK_ROWS],
            greater_addresses: [0; BLOCK_ROWS],
            greater_ports: [0; BLOCK_ROWS],
            lesser_addresses: [0; BLOCK_ROWS],
            lesser_ports: [0; BLOCK_ROWS],
            codes: [0; BLOCK_ROWS],
            values: [0; BLOCK_ROWS],
        }
    }
}

/// The first columns of a block, not yet decoded: they tell whether the others are worth it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AddressColumns<'a> {
    pub(crate) conversations: usize,
    flows: Column<'a>,
    greater_addresses: Column<'a>,
    lesser_addresses: Column<'a>,
}

impl<'a> AddressColumns<'a> {
    /// Takes them from the front of a block.
    #[inline]
    pub(crate) fn take(input: &mut &'a [u8]) -> Option<Self> {
        let conversations = usize::from(*take(input, 1)?.first()?);
        Some(Self {
            conversations,
            flows: Column::take(input, conversations)?,
            greater_addresses: Column::take(input, conversations)?,
            lesser_addresses: Column::take(input, conversations)?,
        })
    }
}

/// The columns of a block, not yet decoded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeyColumns<'a> {
    rows: usize,
    pub(crate) addresses: AddressColumns<'a>,
    greater_ports: Column<'a>,
    lesser_ports: Column<'a>,
    codes: Column<'a>,
}

impl<'a> KeyColumns<'a> {
    /// Finds the columns of a block of `rows` flows.
    pub(crate) fn take(mut block: &'a [u8], rows: usize) -> Option<Self> {
        let input = &mut block;
        let addresses = AddressColumns::take(input)?;
        let conversations = addresses.conversations;
        let columns = Self {
            rows,
            addresses,
            greater_ports: Column::take(input, conversations)?,
            lesser_ports: Column::take(input, conversations)?,
            codes: Column::take(input, rows)?,
        };
        (conversations <= rows && block.is_empty()).then_some(columns)
    }
}

impl KeyBlock {
    /// Decodes a block of `rows` flows whose first greater address is `first`.
    pub(crate) fn decode(
        &mut self,
        block: &[u8],
        rows: usize,
        first: u32,
        lesser_ports: &Ranking,
        codes: &Ranking,
    ) -> Option<()> {
        let columns = KeyColumns::take(block, rows)?;
        self.decode_all(&columns, first, lesser_ports, codes)
    }

    /// Decodes all columns.
    pub(crate) fn decode_all(
        &mut self,
        columns: &KeyColumns<'_>,
        first: u32,
        lesser_ports: &Ranking,
        codes: &Ranking,
    ) -> Option<()> {
        self.decode_addresses(&columns.addresses, first)?;
        self.decode_ports(columns, lesser_ports)?;
        self.rows = columns.rows;
        self.conversations = columns.addresses.conversations;
        columns.addresses.flows.decode(&mut self.values)?;
        self.spread()?;
        columns.codes.decode(&mut self.values)?;
        let rows = &mut self.values[..self.rows];
        rows.iter_mut().for_each(|code| *code = codes.value(*code));
        narrow_u32(rows, &mut self.codes)
    }

    /// Decodes the address ids of the conversations.
    pub(crate) fn decode_addresses(&mut self, columns: &AddressColumns<'_>, first: u32) -> Option<()> {
        columns.greater_addresses.decode(&mut self.values)?;
        let steps = &mut self.values[..columns.conversations];
        let mut address = u64::from(first);
        for step in steps.iter_mut() {
            address = address.saturating_add(*step);
            *step = address;
        }
        narrow_u32(steps, &mut self.greater_addresses)?;
        self.decode_lesser_addresses(columns)
    }

    /// Decodes the address ids of the lesser ends alone.
    pub(crate) fn decode_lesser_addresses(&mut self, columns: &AddressColumns<'_>) -> Option<()> {
        columns.lesser_addresses.decode(&mut self.values)?;
        narrow_u32(&self.values[..columns.conversations], &mut self.lesser_addresses)
    }

    /// The address ids of the lesser ends of `conversations`.
    pub(crate) fn lesser_addresses(&self, conversations: usize) -> &[u32] {
        &self.lesser_addresses[..conversations]
    }

    /// Decodes the ports of the conversations.
    pub(crate) fn decode_ports(&mut self, columns: &KeyColumns<'_>, lesser_ports: &Ranking) -> Option<()> {
        columns.greater_ports.decode(&mut self.values)?;
        let conversations = columns.addresses.conversations;
        narrow_u16(&self.values[..conversations], &mut self.greater_ports)?;
        columns.lesser_ports.decode(&mut self.values)?;
        let codes = &mut self.values[..conversations];
        codes.iter_mut().for_each(|code| *code = lesser_ports.value(*code));
        narrow_u16(codes, &mut self.lesser_ports)
    }

    /// The ports of the greater and of the lesser ends of `conversations`.
    pub(crate) fn ports(&self, conversations: usize) -> [&[u16]; 2] {
        [&self.greater_ports[..conversations], &self.lesser_ports[..conversations]]
    }

    /// Tells each flow its conversation; `values` holds one less than the flows of each.
    fn spread(&mut self) -> Option<()> {
        let mut row = 0usize;
        for (conversation, &more) in self.values[..self.conversations].iter().enumerate() {
            let end = row.checked_add(usize::try_from(more).ok()?)?.checked_add(1)?;
            let slots = self.conversation_of[..self.rows].get_mut(row..end)?;
            slots.fill(conversation as u8);
            row = end;
        }
        (row == self.rows).then_some(())
    }

    /// True where a flow is the first of its conversation in the block.
    pub(crate) fn begins_conversation(&self, row: usize) -> bool {
        row == 0 || self.conversation_of[row] != self.conversation_of[row - 1]
    }

    pub(crate) fn conversation(&self, row: usize) -> usize {
        usize::from(self.conversation_of[row])
    }

    pub(crate) fn code(&self, row: usize) -> u32 {
        self.codes[row]
    }

    pub(crate) fn row(&self, row: usize) -> KeyRow {
        let conversation = self.conversation(row);
        KeyRow {
            greater_address: self.greater_addresses[conversation],
            greater_port: self.greater_ports[conversation],
            lesser_address: self.lesser_addresses[conversation],
            lesser_port: self.lesser_ports[conversation],
            code: self.codes[row],
        }
    }
}
