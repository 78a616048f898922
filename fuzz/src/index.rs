//! Whatever bytes of an index are not as they were written: every way to read it ends, with an answer or an error.
//!
//! Checksums are all right here (`cfg(fuzzing)`): a hash cannot be guessed, and what stands behind is to be reached.

use arbitrary::{Arbitrary, Unstructured};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netrewind_index::{Builder, Constraint, Index, IndexError, KeyConstraint, KeyField};
use netrewind_store::{LinkType, PcapWriter, RecordHeader, Records, Timestamp};

/// Flows and granules that are looked at: a forged count may claim billions of them.
const LOOKED_AT_MAX: u32 = 4096;

/// The index of packets that follow each other by some milliseconds.
fn index_of(link_type: LinkType, packets: &[(u8, &[u8])]) -> Vec<u8> {
    let mut writer = PcapWriter::new(Vec::new(), link_type).expect("memory takes everything");
    for (number, (later, packet)) in (0..).zip(packets) {
        let nanoseconds = u32::from(*later) * 3_000_000;
        let caplen = packet.len() as u32;
        let header = RecordHeader { seconds: 1_000 + number, nanoseconds, caplen, len: caplen };
        writer.write(&header, packet).expect("memory takes everything");
    }
    let segment = writer.finish().expect("memory takes everything");
    let mut builder = Builder::new(link_type, 0);
    Records::of_segment(&segment).for_each(|record| builder.push(&record));
    builder.finish().expect("a few packets fit")
}

fn read_all(index: &Index<&[u8]>) -> Result<(), IndexError> {
    let _ = index.verify();
    let templates = index.templates().map_or(0, <[_]>::len);
    let _ = (index.seconds(), index.last_record(), index.earliest_from(0));
    let _ = index.granules_in(Timestamp(0)..Timestamp(u64::MAX));
    let (v4, v6) = (IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST));
    for address in [v4, v6] {
        let _ = (index.contains_address(address), index.contains_addresses(address..=address));
    }
    let _ = index.contains_ports(0..=u16::MAX);
    let wanted = vec![true; templates];
    for field in KeyField::ALL {
        let constraints = [Constraint::Range(1..=80), Constraint::Masked { mask: 0xff00, value: 0x0a00 }];
        let terms = constraints.map(|constraint| KeyConstraint { field, constraint });
        let _ = (index.flows_with_any(&wanted, &terms), index.may_have_any(&wanted, &terms));
    }
    let _ = index.flows().take(LOOKED_AT_MAX as usize).filter(Result::is_ok).count();
    let (mut cursor, mut granules) = (index.cursor(), Vec::new());
    for number in 0..index.flow_count().min(LOOKED_AT_MAX) {
        granules.clear();
        let _ = (cursor.flow(number), cursor.conversation_of(number));
        let _ = cursor.granules_of(number, &mut granules);
    }
    for number in 0..index.granule_count().min(LOOKED_AT_MAX) {
        let _ = (cursor.granule(number), cursor.granule_end(number));
    }
    let mut observations = index.observations()?;
    let _ = (0..index.flow_count().min(LOOKED_AT_MAX)).filter(|&flow| observations.of(flow).is_ok()).count();
    observations.visit(|all, row| all.visit_labels(row, |_, _| {}))
}

/// Reads any bytes.
pub fn read(bytes: &[u8]) {
    let Ok(input) = <(bool, Vec<(u16, u8)>, Vec<(u8, &[u8])>)>::arbitrary_take_rest(Unstructured::new(bytes))
    else {
        return;
    };
    let (is_ethernet, edits, packets) = input;
    let link_type = if is_ethernet { LinkType::ETHERNET } else { LinkType::RAW };
    let mut bytes = index_of(link_type, &packets);
    Index::open(&bytes[..]).and_then(|index| index.verify()).expect("it was just built");
    for (at, value) in edits {
        let at = usize::from(at) % bytes.len();
        bytes[at] ^= value;
    }
    if let Ok(index) = Index::open(&bytes[..]) {
        let _ = read_all(&index);
    }
}
