//! Damage with valid checksums: the only promise about the answers is that they end.

use netrewind_store::layout::RecordHeader;
use netrewind_store::{LinkType, Record, Timestamp};
use proptest::prelude::*;

use crate::layout::{
    HEADER_BYTES, IndexHeader, SECTION_ENTRY_BYTES, SECTION_TABLE, Section, reseal_blocks, seal_header,
    section_checksum,
};
use crate::{Builder, Constraint, Index, IndexError, IndexLimits, KeyConstraint, KeyField};

/// Flows of 1 to 90 packets in up to 90 granules, of IPv4 with ports and of something else.
fn sample() -> Vec<u8> {
    let limits = IndexLimits { granule_shift: 9, ..IndexLimits::default() };
    let mut builder = Builder::with_limits(LinkType::ETHERNET, 7, limits);
    let mut offset = 24;
    for number in 0..400u32 {
        let mut packet = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, number as u8 / 64 % 2];
        packet.extend([0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 0, 3, 10, 0, 1]);
        packet.extend([if number % 4 == 0 { 9 } else { number as u8 }, 0, 7, 1, 187]);
        packet.resize(60 + number as usize % 300, 0);
        let caplen = packet.len() as u32;
        let header = RecordHeader { seconds: 1000 + number / 9, nanoseconds: number, caplen, len: caplen };
        builder.push(&Record { offset, header, packet: &packet });
        offset += header.record_bytes() as u64;
    }
    builder.finish().unwrap()
}

/// Makes the checksums of an index right whose sections stand where those of `original` stand.
fn reseal(bytes: &mut [u8], original: &[u8]) {
    let (_, table) = IndexHeader::read(original).unwrap();
    let mut starts = [HEADER_BYTES; Section::ALL.len() + 1];
    for (number, entry) in table.iter().enumerate() {
        starts[number + 1] = starts[number] + entry.bytes as usize;
    }
    let range = |section: Section| starts[section as usize]..starts[section as usize + 1];
    for (directory, section, entry_bytes) in [
        (Section::GranuleDirectory, Section::Granules, 20),
        (Section::AddressV4Directory, Section::AddressesV4, 8),
        (Section::AddressV6Directory, Section::AddressesV6, 20),
        (Section::PortDirectory, Section::Ports, 8),
        (Section::KeyDirectory, Section::Keys, 8),
        (Section::DetailDirectory, Section::Details, 4),
        (Section::PositionDirectory, Section::Positions, 4),
        (Section::ObservationDirectory, Section::Observations, 8),
        (Section::StringDirectory, Section::Strings, 4),
    ] {
        reseal_blocks(bytes, range(directory), range(section), entry_bytes, section);
    }
    for section in Section::ALL.into_iter().filter(|section| !section.is_blocked()) {
        let checksum = section_checksum(section, &bytes[range(section)]).to_le_bytes();
        let at = SECTION_TABLE + section as usize * SECTION_ENTRY_BYTES + 8;
        bytes[at..at + 8].copy_from_slice(&checksum);
    }
    seal_header(&mut bytes[..HEADER_BYTES]);
}

/// Runs every query on its own, so that an error does not hide later ones.
fn ask(index: &Index<&[u8]>) -> Result<(), IndexError> {
    let outcomes = [
        index.verify(),
        index.flow(u32::MAX).map(drop),
        index.earliest_from(u32::MAX).map(drop),
        index.earliest_from(0).map(drop),
        index.cursor().granule(u32::MAX).map(drop),
        index.cursor().granules_of(3, &mut Vec::new()),
        index.granules_in(Timestamp::MIN..Timestamp::MAX).map(drop),
        index.seconds().map(drop),
        index.contains_address([10, 0, 0, 3].into()).map(drop),
        index.contains_ports(0..=u16::MAX).map(drop),
        index.flows_of(&[true, false]).last().transpose().map(drop),
        index.cursor().conversation_of(3).map(drop),
        index.cursor().conversation_of(u32::MAX).map(drop),
        index.observations().and_then(|mut rows| rows.of(3)).map(drop),
    ];
    for number in 0..index.flow_count().min(1000) {
        let _ = index.cursor().granules_of(number, &mut Vec::new());
        let _ = index.flow(number);
    }
    let terms = KeyField::ALL
        .map(|field| KeyConstraint { field, constraint: Constraint::Masked { mask: 5, value: 1 } });
    index.flows_with_any(&vec![true; index.templates()?.len()], &terms)?;
    outcomes.into_iter().collect()
}

#[test]
fn resealing_changes_nothing() {
    let original = sample();
    let mut bytes = original.clone();
    reseal(&mut bytes, &original);
    assert!(bytes == original);
    ask(&Index::open(&bytes[..]).unwrap()).unwrap_err();
    Index::open(&bytes[..]).unwrap().verify().unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn resealed_damage_ends(flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8)) {
        let original = sample();
        let mut bytes = original.clone();
        for (at, value) in flips {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        reseal(&mut bytes, &original);
        if let Ok(index) = Index::open(&bytes[..]) {
            let _ = ask(&index);
        }
    }
}
