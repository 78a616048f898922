//! A damaged index is noticed, or answers as if it were whole; it never panics, hangs or misleads.

use netrewind_index::{
    Constraint, Flow, Granule, Index, IndexError, IndexLimits, KeyConstraint, KeyField, Second, Template,
};
use netrewind_store::{LinkType, Timestamp};
use proptest::prelude::*;

use crate::{Packet, index, medium, segment};

/// Everything that an index can be asked.
#[derive(Debug, PartialEq)]
struct Answers {
    header: (LinkType, u64, u64, u64, Timestamp, Timestamp, u64),
    templates: Vec<Template>,
    flows: Vec<Flow>,
    positions: Vec<Vec<u32>>,
    granules: Vec<Granule>,
    seconds: Vec<Second>,
    found: Vec<u32>,
    in_time: Vec<u32>,
    earliest: Timestamp,
    contains: (bool, bool),
    checksums: Vec<Option<u32>>,
}

fn ask(bytes: &[u8], segment: &[u8]) -> Result<Answers, IndexError> {
    let index = Index::open(bytes)?;
    index.matches_segment(&medium(segment))?;
    let templates = index.templates()?.to_vec();
    let flows = index.flows().map(|item| item.map(|(_, flow)| flow)).collect::<Result<Vec<_>, _>>()?;
    let mut cursor = index.cursor();
    let mut positions = Vec::new();
    for id in 0..index.flow_count() {
        let mut granules = Vec::new();
        cursor.granules_of(id, &mut granules)?;
        positions.push(granules);
    }
    let granules =
        (0..index.granule_count()).map(|number| cursor.granule(number)).collect::<Result<_, _>>()?;
    let terms = KeyField::ALL
        .map(|field| KeyConstraint { field, constraint: Constraint::Masked { mask: 1, value: 1 } });
    let checksums = index.checksums()?;
    if checksums.contains(&None) {
        return Err(IndexError::Damaged { part: "checksums" });
    }
    Ok(Answers {
        checksums,
        header: (
            index.link_type(),
            index.records(),
            index.segment_bytes(),
            index.wire_bytes(),
            index.first(),
            index.last(),
            index.disorder_ns(),
        ),
        found: index.flows_with_any(&vec![true; templates.len()], &terms)?,
        templates,
        flows,
        positions,
        granules,
        seconds: index.seconds()?,
        in_time: index.granules_in(Timestamp::MIN..index.last())?,
        earliest: index.earliest_from(1)?,
        contains: (index.contains_address([10, 0, 0, 3].into())?, index.contains_ports(1..=9)?),
    })
}

/// A segment with a little of everything.
fn sample() -> Vec<u8> {
    segment(LinkType::ETHERNET, &packets())
}

pub fn packets() -> Vec<Packet> {
    let mut packets = Vec::new();
    for number in 0..60u8 {
        let mut bytes = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
        if number % 7 == 0 {
            bytes.extend([0x81, 0, number, 5]);
        }
        if number % 5 == 0 {
            bytes.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 20, 6, 64]);
            bytes.extend([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, number, 1]);
            bytes.extend([0x20, 1, 0xd, 0xb8, 0, 0, 0, number % 2, 0, 0, 0, 0, 0, 0, 0, 2]);
        } else {
            bytes.extend([8, 0, 0x45, 0, 0, 40, 0, 0, u8::from(number % 11 == 0) << 5, 0, 64, 6, 0, 0]);
            bytes.extend([10, 0, 0, number % 4, 10, 0, number, 9]);
        }
        bytes.extend([0, number % 3, 1, 187, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, number % 19, 0, 0, 0, 0, 0, 0]);
        bytes.extend(vec![number; usize::from(number) * usize::from(number) / 5]);
        let len = bytes.len() as u32 + u32::from(number % 13 == 0);
        packets.push(Packet {
            seconds: 1000 + u32::from(number ^ 3),
            nanoseconds: u32::from(number),
            len,
            bytes,
        });
    }
    packets
}

const LIMITS: IndexLimits = IndexLimits { granule_shift: 9, flows_max: 1000, templates_max: 100 };

#[test]
fn every_flipped_byte_is_noticed_or_harmless() {
    let segment = sample();
    let bytes = index(LinkType::ETHERNET, &segment, LIMITS);
    let whole = ask(&bytes, &segment).unwrap();
    for at in 0..bytes.len() {
        for flip in [1, 0x80, 0xff] {
            let mut damaged = bytes.clone();
            damaged[at] ^= flip;
            match ask(&damaged, &segment) {
                Ok(answers) => assert_eq!(answers, whole, "byte {at}"),
                Err(IndexError::Damaged { .. } | IndexError::Version { .. }) => {}
                Err(other) => panic!("byte {at}: {other}"),
            }
        }
    }
}

#[test]
fn every_cut_and_addition_is_noticed() {
    let segment = sample();
    let bytes = index(LinkType::ETHERNET, &segment, LIMITS);
    for end in 0..bytes.len() {
        assert!(matches!(Index::open(&bytes[..end]), Err(IndexError::Damaged { .. })));
    }
    let mut longer = bytes;
    longer.push(0);
    assert!(matches!(Index::open(longer), Err(IndexError::Damaged { .. })));
}

#[test]
fn an_index_of_another_segment_is_noticed() {
    let segment = sample();
    let bytes = index(LinkType::ETHERNET, &segment, LIMITS);
    let index = Index::open(&bytes[..]).unwrap();
    index.matches(segment.len() as u64, &segment[..index.head_bytes()]).unwrap();
    let is_foreign =
        |segment: &[u8]| matches!(index.matches_segment(&medium(segment)), Err(IndexError::Foreign { .. }));
    assert!(!is_foreign(&segment));
    assert!(is_foreign(&segment[..segment.len() - 1]));
    let mut longer = segment.clone();
    longer.push(0);
    assert!(is_foreign(&longer));
    let mut other = segment.clone();
    other[30] ^= 1;
    assert!(is_foreign(&other));
    let mut other = segment;
    let last = index.last_record().unwrap().0 as usize;
    other[last + 5] ^= 1;
    assert!(is_foreign(&other));
}

proptest! {
    #[test]
    fn any_bytes_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
        prop_assert!(Index::open(&bytes[..]).is_err());
    }
}

#[test]
fn every_changed_byte_of_a_segment_is_in_a_granule_that_is_named() {
    let segment = sample();
    let bytes = index(LinkType::ETHERNET, &segment, LIMITS);
    let index = Index::open(&bytes[..]).unwrap();
    assert_eq!(index.altered(0, &segment).unwrap(), []);
    for at in (0..segment.len()).step_by(97) {
        let mut damaged = segment.clone();
        damaged[at] ^= 1;
        let first = at / 512;
        let granule = first as u64 * 512..((first as u64 + 1) * 512).min(segment.len() as u64);
        assert_eq!(index.altered(0, &damaged).unwrap(), std::slice::from_ref(&granule));
        // Of a part that begins with it, and of one that begins behind it.
        assert_eq!(index.altered(first as u64, &damaged[first * 512..]).unwrap(), [granule]);
        let behind = (first + 1) * 512;
        if behind < segment.len() {
            assert_eq!(index.altered(first as u64 + 1, &damaged[behind..]).unwrap(), []);
        }
    }
    assert!(index.altered(u64::from(index.granule_count()), &[0]).is_err(), "there is no such granule");
}

#[test]
fn an_index_says_whether_its_checksums_were_taken_later() {
    let segment = sample();
    let bytes = index(LinkType::ETHERNET, &segment, LIMITS);
    let mut late = bytes.clone();
    netrewind_index::mark_late(&mut late);
    let (index, late_index) = (Index::open(&bytes[..]).unwrap(), Index::open(&late[..]).unwrap());
    assert_eq!((index.is_late(), late_index.is_late()), (false, true));
    assert_eq!(ask(&late, &segment).unwrap(), ask(&bytes, &segment).unwrap(), "it answers as the other");
    let marked = late.clone();
    netrewind_index::mark_late(&mut late);
    assert_eq!(late, marked, "once is enough");
}
