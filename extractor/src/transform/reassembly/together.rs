//! The bytes of a packet out of those of its fragments.

use netrewind_packet::bytes::u16_at;
use netrewind_packet::{Fragment, Peeler, ipv4_field, ipv6_field, protocol, udp_field};
use netrewind_store::RecordHeader;

use super::item::{OutputPacket, PacketBytes};
use super::queue::OutputQueue;
use super::series::{DATAGRAM_BYTES_MAX, FragmentKey, FragmentSet, LeadFragment};

/// "Don't fragment", and the reserved bit.
const IPV4_FLAGS_KEPT: u8 = 0xc0;

/// The most bytes of payload that the packet of a fragment can have.
pub(super) fn total_max(fragment: &Fragment) -> usize {
    DATAGRAM_BYTES_MAX.saturating_sub(counted_header_bytes(fragment))
}

/// Bytes before the payload that the IP header's length counts.
fn counted_header_bytes(fragment: &Fragment) -> usize {
    let header_bytes = fragment.header_end - fragment.header;
    if fragment.series.is_ipv6 { header_bytes - ipv6_field::HEADER_BYTES } else { header_bytes }
}

/// The packet whose payload has `total` bytes, from the view on that the first fragment's IP header stands in; cut where
/// the first byte is missing. At the time of the first fragment.
pub(super) fn put_together(
    series: &FragmentSet,
    queue: &OutputQueue,
    key: &FragmentKey,
    total: usize,
) -> Option<OutputPacket> {
    let LeadFragment { begin, link_type, fragment, .. } = series.first?;
    let item = queue.item(series.parts.get(&0)?.slot)?;
    let mut bytes = item.bytes().get(begin..fragment.header_end)?.to_vec();
    let header_bytes = bytes.len();
    let mut wire_bytes = 0;
    for (offset, part) in &series.parts {
        let from = queue.item(part.slot)?;
        wire_bytes += from.wire_bytes;
        if *offset == bytes.len() - header_bytes {
            bytes.extend_from_slice(from.bytes().get(part.payload..part.payload + part.captured)?);
        }
    }
    mend(&mut bytes, &fragment, begin, total)?;
    let header = RecordHeader {
        caplen: u32::try_from(bytes.len()).ok()?,
        len: u32::try_from(header_bytes + total).ok()?,
        ..item.header
    };
    Some(OutputPacket {
        header,
        link_type,
        interface: item.interface,
        segment: item.segment,
        bytes: PacketBytes::Own(bytes),
        wire_bytes,
        depth: item.depth + 1,
        views: key.name.view,
        tunnels: key.tunnels,
    })
}

/// Turns the first fragment's IP header into that of the whole packet. The checksum is not updated: nothing checks it again.
fn mend(bytes: &mut [u8], fragment: &Fragment, begin: usize, total: usize) -> Option<()> {
    let length = u16::try_from(counted_header_bytes(fragment) + total).ok()?.to_be_bytes();
    *bytes.get_mut(fragment.next_header_at - begin)? = fragment.next_header;
    let header = bytes.get_mut(fragment.header - begin..)?;
    let length_at = if fragment.series.is_ipv6 { ipv6_field::PAYLOAD_BYTES } else { ipv4_field::TOTAL_BYTES };
    header.get_mut(length_at..length_at + 2)?.copy_from_slice(&length);
    if !fragment.series.is_ipv6 {
        let place = header.get_mut(ipv4_field::FRAGMENT..ipv4_field::FRAGMENT + 2)?;
        place[0] &= IPV4_FLAGS_KEPT;
        place[1] = 0;
    }
    Some(())
}

/// Bytes of the payload of an incomplete packet: according to the last fragment, or else UDP, or else the IP packet inside; or
/// else one more than there are.
pub(super) fn total_told(
    series: &FragmentSet,
    first: &LeadFragment,
    queue: &OutputQueue,
    key: &FragmentKey,
    peeler: &mut Peeler,
) -> usize {
    if let Some(total) = series.total {
        return total;
    }
    let max = total_max(&first.fragment);
    let told = udp_bytes(series, first, queue).or_else(|| inner_bytes(series, first, queue, key, peeler));
    told.filter(|told| (series.end() + 1..=max).contains(told)).unwrap_or((series.end() + 1).min(max))
}

fn udp_bytes(series: &FragmentSet, first: &LeadFragment, queue: &OutputQueue) -> Option<usize> {
    let part = series.parts.get(&0).filter(|_| first.fragment.next_header == protocol::UDP)?;
    u16_at(queue.item(part.slot)?.bytes(), part.payload + udp_field::BYTES).map(usize::from)
}

fn inner_bytes(
    series: &FragmentSet,
    first: &LeadFragment,
    queue: &OutputQueue,
    key: &FragmentKey,
    peeler: &mut Peeler,
) -> Option<usize> {
    let longest = put_together(series, queue, key, total_max(&first.fragment))?;
    let peeled = peeler.take_apart(longest.view());
    let end = peeled.datagram_end().filter(|_| peeled.innermost_view() > 0)?;
    end.checked_sub(first.fragment.header_end - first.begin)
}
