//! Damage with valid checksums: the only promise about the answers is that they end.

use std::sync::LazyLock;

use netrewind_packet::tunnel::TunnelPorts;
use netrewind_store::catalog::Hour;
use netrewind_store::files::FileStamp;
use netrewind_store::layout::RecordHeader;
use netrewind_store::store::SegmentStamps;
use netrewind_store::{LinkType, Record, SegmentName, Timestamp};
use proptest::prelude::*;

use super::layout::{HEADER_BYTES, HourHeader, HourPart, SECTION_TABLE, part_checksum};
use super::{HourBuilder, HourIndex, HourKey, HourSegment, restamped};
use crate::layout::{SECTION_ENTRY_BYTES, reseal_blocks, seal_header};
use crate::{Builder, Constraint, Index, IndexError};

static SAMPLE: LazyLock<Vec<u8>> = LazyLock::new(sample);

/// An hour of 200 segments: an address that all have, some that few have, and one of each.
fn sample() -> Vec<u8> {
    let start = Timestamp::new(1_795_339_861, 0);
    let mut hour = HourBuilder::new(Hour::of(start), &TunnelPorts::DEFAULT);
    for number in 0..200u32 {
        let mut builder = Builder::new(LinkType::ETHERNET, 7);
        let mut packet = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];
        packet.extend([0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 0, number as u8 % 9, 10, 0, 1]);
        packet.extend([number as u8, 0, 7, 1, 187]);
        packet.resize(60, 0);
        let caplen = packet.len() as u32;
        let header = RecordHeader { seconds: 1000 + number, nanoseconds: number, caplen, len: caplen };
        builder.push(&Record { offset: 24, header, packet: &packet });
        let index = Index::open(builder.finish().unwrap()).unwrap();
        let name = SegmentName { opened: start.plus_ns(u64::from(number)), lane: 0 };
        hour.add(name, SegmentStamps::default(), &index).unwrap();
    }
    hour.finish()
}

/// Makes the checksums of an hour right whose sections stand where those of `original` stand.
fn reseal(bytes: &mut [u8], original: &[u8]) {
    let (_, table) = HourHeader::read(original).unwrap();
    let mut starts = [HEADER_BYTES; HourPart::ALL.len() + 1];
    for (number, entry) in table.iter().enumerate() {
        starts[number + 1] = starts[number] + entry.bytes as usize;
    }
    let range = |part: HourPart| starts[part as usize]..starts[part as usize + 1];
    for (directory, part, entry_bytes) in [
        (HourPart::TemplateDirectory, HourPart::TemplateMembers, 4),
        (HourPart::AddressV4Directory, HourPart::AddressesV4, 8),
        (HourPart::AddressV6Directory, HourPart::AddressesV6, 20),
        (HourPart::PortDirectory, HourPart::Ports, 8),
    ] {
        reseal_blocks(bytes, range(directory), range(part), entry_bytes, part.blocks().unwrap());
    }
    for part in HourPart::ALL.into_iter().filter(|part| part.blocks().is_none()) {
        let checksum = part_checksum(part, &bytes[range(part)]).to_le_bytes();
        let at = SECTION_TABLE + part as usize * SECTION_ENTRY_BYTES + 8;
        bytes[at..at + 8].copy_from_slice(&checksum);
    }
    seal_header(&mut bytes[..HEADER_BYTES]);
}

fn ask(bytes: &[u8]) -> Result<(), IndexError> {
    let index = HourIndex::open(bytes)?;
    let _ = index.verify();
    for number in 0..index.templates().map_or(0, <[_]>::len) {
        let _ = index.with_template(number);
    }
    for key in [HourKey::AddressV4, HourKey::AddressV6, HourKey::Port] {
        for range in [0..=u128::MAX, 443..=443, 0x0a00_0000..=0x0a00_00ff, 0x0a00_0105..=0x0a00_0105] {
            let _ = index.with_value(key, &Constraint::Range(range));
        }
    }
    Ok(())
}

#[test]
fn other_stamps_are_all_that_changes() {
    let stamp = |bytes| FileStamp { bytes, ..FileStamp::default() };
    let stamps = SegmentStamps { segment: stamp(5), index: stamp(7) };
    let other = restamped(&SAMPLE, &|_| Some(stamps)).unwrap();
    let (before, after) = (HourIndex::open(&SAMPLE[..]).unwrap(), HourIndex::open(&other[..]).unwrap());
    after.verify().unwrap();
    assert_eq!(other.len(), SAMPLE.len());
    for (before, after) in before.segments().iter().zip(after.segments()) {
        assert_eq!(*after, HourSegment { stamps, ..*before });
    }
    let again = restamped(&other, &|_| Some(SegmentStamps::default())).unwrap();
    assert!(again == *SAMPLE);
    let mut damaged = SAMPLE.clone();
    damaged[HEADER_BYTES + 20] ^= 1;
    assert!(restamped(&damaged, &|_| None).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn forged_hours_end(edits in proptest::collection::vec((any::<proptest::sample::Index>(), 1u8..), 1..4)) {
        let original = &*SAMPLE;
        let mut bytes = original.clone();
        for (at, change) in edits {
            bytes[at.index(original.len())] ^= change;
        }
        reseal(&mut bytes, original);
        let _ = ask(&bytes);
    }
}
