//! Documents as the index of an hour keeps them: without what its columns hold.
//!
//! `FORMAT.md` beside this crate describes the bytes. Whoever shortens a document looks whether it comes back; one that
//! would not is kept as it is.

use std::net::{IpAddr, Ipv6Addr};

use netrewind_store::time::SECOND_NS;

use crate::condition::{CatalogRecord, as_ipv6};
use crate::document::{DocumentReader, DocumentWriter};
use crate::record::{HAS_DETAIL, IPV6, KIND_BITS, KIND_OTHER, KIND_PORTS, has_flags, is_tcp, zigzag};

/// First byte of a document that is kept as it is; no head of a document has these bits.
const AS_IT_IS: u8 = KIND_BITS;
/// The greater end is the client.
const CLIENT_IS_GREATER: u64 = 1;
/// All packets have the time of the first.
const IS_INSTANT: u64 = 2;
/// Bits of these two, in front of which stands the number of segments.
const FLAG_BITS: u32 = 2;

/// What the columns of an index hold of a record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Columns {
    /// Second of the first packet, since the epoch.
    pub first_seconds: u64,
    /// From there to the end of the second of the last packet.
    pub duration_seconds: u64,
    /// Addresses of client and server; IPv4 as RFC 4291 maps them.
    pub addresses: [Option<Ipv6Addr>; 2],
    /// Their ports.
    pub ports: [Option<u64>; 2],
    /// Packets both ways.
    pub packets: u64,
    /// Bytes both ways.
    pub bytes: u64,
}

impl Columns {
    /// Columns of a record.
    pub fn of(record: &CatalogRecord) -> Self {
        let first_seconds = record.first_ns / SECOND_NS;
        Self {
            first_seconds,
            duration_seconds: record.last_ns.div_ceil(SECOND_NS).saturating_sub(first_seconds),
            addresses: record.addresses.map(|address| address.map(as_ipv6)),
            ports: record.ports.map(|port| port.map(u64::from)),
            packets: record.packets,
            bytes: record.bytes,
        }
    }
}

/// The short form of a record's document, whose hour begins at `base_ns`.
pub fn shorten(record: &CatalogRecord, base_ns: u64) -> Vec<u8> {
    let columns = Columns::of(record);
    let mut again = Vec::new();
    for client in [0, CLIENT_IS_GREATER] {
        let short = short_of(&record.document, &columns, client, record.last_ns);
        if let Some(short) = short
            && restore(&short, &columns, base_ns, &mut again).is_some()
            && again == record.document
        {
            return short;
        }
    }
    [&[AS_IT_IS][..], &record.document].concat()
}

fn short_of(document: &[u8], columns: &Columns, client: u64, last_ns: u64) -> Option<Vec<u8>> {
    let mut from = DocumentReader(document);
    let [head, protocol] = from.array()?;
    let kind = head & KIND_BITS;
    let mut to = DocumentWriter(Vec::with_capacity(document.len()));
    to.0.extend_from_slice(&[head, protocol]);
    if kind != KIND_OTHER {
        from.bytes(if head & IPV6 != 0 { 32 } else { 8 })?;
    }
    if kind == KIND_PORTS {
        from.bytes(4)?;
    }
    if HAS_DETAIL.contains(&kind) {
        to.0.extend_from_slice(from.bytes(2)?);
    }
    let _ = from.number()?;
    let segments = from.number()?;
    let duration = from.number()?;
    let first_ns = last_ns.checked_sub(duration)?;
    let is_instant = if duration == 0 { IS_INSTANT } else { 0 };
    to.number(segments.checked_mul(1 << FLAG_BITS)? | is_instant | client);
    let of_second = u32::try_from(first_ns % SECOND_NS).ok()?;
    to.0.extend_from_slice(&of_second.to_be_bytes());
    if is_instant == 0 {
        let end_ns = (columns.first_seconds + columns.duration_seconds).checked_mul(SECOND_NS)?;
        to.0.extend_from_slice(&u32::try_from(end_ns.checked_sub(last_ns)?).ok()?.to_be_bytes());
    }
    let packets = from.number()?;
    to.number(packets);
    if packets > 0 {
        let bytes = from.number()?;
        if packets < columns.packets {
            to.number(bytes);
        }
        side(&mut from, &mut to, head, protocol)?;
    }
    if from.number()? > 0 {
        let _ = from.number()?;
        side(&mut from, &mut to, head, protocol)?;
    }
    to.0.extend_from_slice(from.0);
    Some(to.0)
}

/// Appends the document with this short form to nothing; `None` if the bytes are no short form.
pub fn restore(short: &[u8], columns: &Columns, base_ns: u64, document: &mut Vec<u8>) -> Option<()> {
    document.clear();
    if let Some((&AS_IT_IS, whole)) = short.split_first() {
        document.extend_from_slice(whole);
        return Some(());
    }
    let mut from = DocumentReader(short);
    let [head, protocol] = from.array()?;
    let kind = head & KIND_BITS;
    let detail = if HAS_DETAIL.contains(&kind) { from.bytes(2)? } else { &[] };
    let segments = from.number()?;
    let lesser = usize::from(segments & CLIENT_IS_GREATER != 0);
    let mut to = DocumentWriter(std::mem::take(document));
    to.0.extend_from_slice(&[head, protocol]);
    if kind != KIND_OTHER {
        for end in [lesser, 1 - lesser] {
            write_address(&mut to, columns.addresses[end]?, head & IPV6 != 0)?;
        }
    }
    if kind == KIND_PORTS {
        for end in [lesser, 1 - lesser] {
            to.0.extend_from_slice(&u16::try_from(columns.ports[end]?).ok()?.to_be_bytes());
        }
    }
    to.0.extend_from_slice(detail);
    let first = columns.first_seconds.checked_mul(SECOND_NS)?;
    let first_ns = first.checked_add(u32::from_be_bytes(from.array()?).into())?;
    let last_ns = if segments & IS_INSTANT != 0 {
        first_ns
    } else {
        let end_ns = first.checked_add(columns.duration_seconds.checked_mul(SECOND_NS)?)?;
        end_ns.checked_sub(u32::from_be_bytes(from.array()?).into())?
    };
    to.number(zigzag(first_ns.wrapping_sub(base_ns).cast_signed()));
    to.number(segments >> FLAG_BITS);
    to.number(last_ns.checked_sub(first_ns)?);
    let packets = from.number()?;
    let rest = columns.packets.checked_sub(packets)?;
    let bytes = match (packets, rest) {
        (0, _) => 0,
        (_, 0) => columns.bytes,
        _ => from.number()?,
    };
    for (packets, bytes) in [(packets, bytes), (rest, columns.bytes.checked_sub(bytes)?)] {
        to.number(packets);
        if packets > 0 {
            to.number(bytes);
            side(&mut from, &mut to, head, protocol)?;
        }
    }
    to.0.extend_from_slice(from.0);
    *document = to.0;
    Some(())
}

fn write_address(to: &mut DocumentWriter, address: Ipv6Addr, is_ipv6: bool) -> Option<()> {
    match (IpAddr::V6(address).to_canonical(), is_ipv6) {
        (IpAddr::V4(address), false) => to.0.extend_from_slice(&address.octets()),
        (_, true) => to.0.extend_from_slice(&address.octets()),
        _ => return None,
    }
    Some(())
}

/// Copies the rest of a side behind its packets and bytes.
fn side(from: &mut DocumentReader<'_>, to: &mut DocumentWriter, head: u8, protocol: u8) -> Option<()> {
    let kind = head & KIND_BITS;
    to.number(from.number()?);
    to.number(from.number()?);
    if has_flags(kind, protocol) {
        to.0.extend_from_slice(from.bytes(2)?);
    }
    if is_tcp(kind, protocol) {
        to.number(from.number()?);
        to.number(from.number()?);
    }
    Some(())
}

#[cfg(test)]
mod tests;
