//! Information elements of a flow record, in the order of the template.

use netrewind_store::Timestamp;
use netrewind_store::time::SECOND_NS;

use crate::flow_record::{FlowRecord, RecordAddresses};

/// Number by which RFC 5103 names the elements of the reverse direction, in place of an enterprise's.
pub const REVERSE_ENTERPRISE: u32 = 29305;
/// Length of an element that says itself how long it is: RFC 7011, section 7.
pub const VARIABLE_LENGTH: u16 = 65535;
/// Longest text in an element: longer ones would need three bytes for their length.
const TEXT_BYTES_MAX: usize = 254;
/// Nanoseconds of a millisecond.
const MILLISECOND_NS: u64 = 1_000_000;
/// Seconds from 1900, from which nanoseconds are counted (RFC 5905), to 1970.
const NTP_EPOCH_SECONDS: u64 = 2_208_988_800;
/// biflowDirection of IANA's registry: the source is the one that began.
const INITIATOR: u8 = 1;
/// Numbers of ICMP and ICMPv6.
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;

/// Addresses that a field is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldFamily {
    /// Both.
    Any,
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// An information element in a record.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Its name in IANA's registry; with `reverse` where it is of what the server has sent.
    pub name: &'static str,
    /// Its number.
    pub id: u16,
    /// True if it is of the reverse direction.
    pub is_reverse: bool,
    /// Its length in bytes, or [`VARIABLE_LENGTH`].
    pub length: u16,
    /// Records that have it.
    pub family: FieldFamily,
    pub(crate) put: fn(&FlowRecord, &mut Vec<u8>),
}

const fn field(name: &'static str, id: u16, length: u16, put: fn(&FlowRecord, &mut Vec<u8>)) -> Field {
    Field { name, id, is_reverse: false, length, family: FieldFamily::Any, put }
}

const fn reverse(name: &'static str, id: u16, length: u16, put: fn(&FlowRecord, &mut Vec<u8>)) -> Field {
    Field { is_reverse: true, ..field(name, id, length, put) }
}

const fn only(family: FieldFamily, field: Field) -> Field {
    Field { family, ..field }
}

/// The fields of records, in their order.
pub const FIELDS: &[Field] = &[
    field("flowStartMilliseconds", 152, 8, |record, to| number(to, record.first.ns() / MILLISECOND_NS)),
    field("flowEndMilliseconds", 153, 8, |record, to| number(to, record.last.ns() / MILLISECOND_NS)),
    field("flowStartNanoseconds", 156, 8, |record, to| number(to, ntp(record.first))),
    field("flowEndNanoseconds", 157, 8, |record, to| number(to, ntp(record.last))),
    only(FieldFamily::V4, field("sourceIPv4Address", 8, 4, |record, to| address(to, record, 0))),
    only(FieldFamily::V4, field("destinationIPv4Address", 12, 4, |record, to| address(to, record, 1))),
    only(FieldFamily::V6, field("sourceIPv6Address", 27, 16, |record, to| address(to, record, 0))),
    only(FieldFamily::V6, field("destinationIPv6Address", 28, 16, |record, to| address(to, record, 1))),
    field("sourceTransportPort", 7, 2, |record, to| to.extend(record.ports[0].to_be_bytes())),
    field("destinationTransportPort", 11, 2, |record, to| to.extend(record.ports[1].to_be_bytes())),
    field("protocolIdentifier", 4, 1, |record, to| to.push(record.protocol)),
    field("octetDeltaCount", 1, 8, |record, to| number(to, record.bytes[0])),
    field("packetDeltaCount", 2, 8, |record, to| number(to, record.packets[0])),
    reverse("reverseOctetDeltaCount", 1, 8, |record, to| number(to, record.bytes[1])),
    reverse("reversePacketDeltaCount", 2, 8, |record, to| number(to, record.packets[1])),
    // In this order: nfdump takes the last one for the whole record.
    reverse("reverseTcpControlBits", 6, 2, |record, to| to.extend([0, record.tcp_flags[1]])),
    field("tcpControlBits", 6, 2, |record, to| to.extend([0, record.tcp_flags[0]])),
    only(FieldFamily::V4, field("icmpTypeCodeIPv4", 32, 2, |record, to| to.extend(icmp(record, ICMP)))),
    only(FieldFamily::V6, field("icmpTypeCodeIPv6", 139, 2, |record, to| to.extend(icmp(record, ICMPV6)))),
    field("vlanId", 58, 2, |record, to| to.extend(record.vlan.to_be_bytes())),
    field("layer2SegmentId", 351, 8, |record, to| number(to, record.layer2_segment)),
    field("flowEndReason", 136, 1, |record, to| to.push(record.end_reason as u8)),
    field("biflowDirection", 239, 1, |_, to| to.push(INITIATOR)),
    field("applicationName", 96, VARIABLE_LENGTH, |record, to| text(to, &record.application)),
];

/// The fields of records with such addresses.
pub fn fields_of(is_ipv6: bool) -> impl Iterator<Item = &'static Field> {
    let other = if is_ipv6 { FieldFamily::V4 } else { FieldFamily::V6 };
    FIELDS.iter().filter(move |field| field.family != other)
}

fn number(to: &mut Vec<u8>, number: u64) {
    to.extend(number.to_be_bytes());
}

/// Seconds since 1900 in the upper half, which wrap in 2036, and their fraction in the lower: RFC 7011, section 6.1.10.
fn ntp(at: Timestamp) -> u64 {
    let (seconds, nanoseconds) = (at.ns() / SECOND_NS, at.ns() % SECOND_NS);
    let fraction = (nanoseconds << 32) / SECOND_NS;
    seconds.wrapping_add(NTP_EPOCH_SECONDS) << 32 | fraction
}

fn address(to: &mut Vec<u8>, record: &FlowRecord, end: usize) {
    match (record.addresses, end) {
        (RecordAddresses::V4(client, _), 0) => to.extend(client.octets()),
        (RecordAddresses::V4(_, server), _) => to.extend(server.octets()),
        (RecordAddresses::V6(client, _), 0) => to.extend(client.octets()),
        (RecordAddresses::V6(_, server), _) => to.extend(server.octets()),
    }
}

fn icmp(record: &FlowRecord, protocol: u8) -> [u8; 2] {
    let icmp = record.icmp.filter(|_| record.protocol == protocol);
    icmp.map_or([0, 0], |icmp| [icmp.kind, icmp.code])
}

/// A text behind its length; a long one is cut between two characters.
fn text(to: &mut Vec<u8>, text: &str) {
    let length = text.floor_char_boundary(TEXT_BYTES_MAX);
    let text = text.get(..length).unwrap_or_default();
    to.push(u8::try_from(text.len()).unwrap_or(0));
    to.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nanoseconds_are_counted_from_1900_in_binary_fractions() {
        assert_eq!(ntp(Timestamp(0)), 2_208_988_800 << 32);
        assert_eq!(ntp(Timestamp(500_000_000)), (2_208_988_800 << 32) + (1 << 31));
        // RFC 5905: the era ends on 7 February 2036, 06:28:16.
        assert_eq!(ntp(Timestamp(2_085_978_496 * SECOND_NS)), 0);
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        let mut bytes = Vec::new();
        text(&mut bytes, &"é".repeat(200));
        assert_eq!((bytes[0], bytes.len()), (254, 255));
        assert!(std::str::from_utf8(&bytes[1..]).is_ok());
        bytes.clear();
        text(&mut bytes, "");
        assert_eq!(bytes, [0]);
    }
}
