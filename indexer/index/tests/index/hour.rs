//! The index of an hour: what it says of its segments holds, whatever bytes of it change.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use netrewind_index::{
    Constraint, HourBuilder, HourIndex, HourKey, HourSegment, Index, IndexError, IndexLimits, SegmentSet,
    ValueSet,
};
use netrewind_packet::TransportKey;
use netrewind_packet::tunnel::{TunnelPorts, UdpTunnel};
use netrewind_store::catalog::Hour;
use netrewind_store::files::FileStamp;
use netrewind_store::store::SegmentStamps;
use netrewind_store::{LinkType, SegmentName, Timestamp};
use proptest::prelude::*;

use crate::{Packet, damage, index, segment};

const SEGMENTS: usize = 70;

fn hour() -> Hour {
    Hour::of(Timestamp::new(1_795_339_861, 0))
}

fn name(number: usize) -> SegmentName {
    SegmentName { opened: Timestamp(hour().start().ns() + number as u64 * 50_000_000_000), lane: 0 }
}

fn stamps(number: usize) -> SegmentStamps {
    let stamp = |inode| FileStamp { inode, bytes: 1000, modified_ns: 7, changed_ns: -9 };
    SegmentStamps { segment: stamp(number as u64), index: stamp(1000 + number as u64) }
}

/// Some packets of [`damage::packets`] in each segment, with another address and port; every third has IPv6 beside.
fn segment_of(number: usize) -> Vec<u8> {
    let mut packets = damage::packets();
    packets.rotate_left(number % 60);
    packets.truncate(5);
    let mut bytes = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];
    bytes.extend([
        0x45,
        0,
        0,
        40,
        0,
        0,
        0,
        0,
        64,
        17,
        0,
        0,
        10,
        9,
        number as u8 / 3,
        number as u8,
        10,
        9,
        9,
        9,
    ]);
    bytes.extend([(number / 4) as u8, 1, 0, 53, 0, 20, 0, 0, 1, 2, 3, 4]);
    packets.push(Packet { seconds: 2000, nanoseconds: number as u32, len: bytes.len() as u32, bytes });
    if number.is_multiple_of(3) {
        let mut bytes = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x86, 0xdd, 0x60, 0, 0, 0, 0, 8, 17, 64];
        bytes.extend([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, number as u8, 1]);
        bytes.extend([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 4, 0, 0, 53, 0, 8, 0, 0]);
        packets.push(Packet { seconds: 2001, nanoseconds: 0, len: bytes.len() as u32, bytes });
    }
    segment(LinkType::ETHERNET, &packets)
}

fn indexes() -> Vec<Vec<u8>> {
    (0..SEGMENTS)
        .map(|number| index(LinkType::ETHERNET, &segment_of(number), IndexLimits::default()))
        .collect()
}

fn built(indexes: &[Vec<u8>]) -> Vec<u8> {
    let mut builder = HourBuilder::new(hour(), &TunnelPorts::DEFAULT);
    for (number, bytes) in indexes.iter().enumerate() {
        builder.add(name(number), stamps(number), &Index::open(&bytes[..]).unwrap()).unwrap();
    }
    builder.finish()
}

/// Everything that the index of an hour can be asked.
#[derive(Debug, PartialEq)]
struct Answers {
    hour: Hour,
    segments: Vec<HourSegment>,
    templates: Vec<(netrewind_index::Template, SegmentSet)>,
    values: Vec<SegmentSet>,
}

fn constraints() -> Vec<(HourKey, Constraint)> {
    let range = |low: u128, high: u128| Constraint::Range(low..=high);
    let in_v6 = 0x2001_0db8_u128 << 96;
    vec![
        (HourKey::AddressV4, range(0x0a09_0000, 0x0a09_00ff)),
        (HourKey::AddressV4, range(0x0a09_0102, 0x0a09_0105)),
        (HourKey::AddressV4, Constraint::Masked { mask: 0xffff_ffff, value: 0x0a09_0909 }),
        (HourKey::AddressV4, Constraint::Masked { mask: 0xff00_0000, value: 0x0b00_0000 }),
        (HourKey::AddressV4, Constraint::Masked { mask: 0xffff_0000, value: 0x0a09_0000 }),
        (HourKey::AddressV4, range(0, u128::MAX)),
        (HourKey::AddressV6, range(in_v6, in_v6 + 0x0900)),
        (HourKey::AddressV6, range(u128::MAX, u128::MAX)),
        (HourKey::Port, range(53, 53)),
        (HourKey::Port, range(256, 800)),
        (HourKey::Port, range(65_535, 65_535)),
        (HourKey::Port, range(0, 0xffff)),
    ]
}

fn ask(bytes: &[u8]) -> Result<Answers, IndexError> {
    let index = HourIndex::open(bytes)?;
    let templates = index.templates()?.to_vec();
    let with = |(number, template)| Ok((template, index.with_template(number)?));
    let values = constraints();
    Ok(Answers {
        hour: index.hour(),
        segments: index.segments().to_vec(),
        templates: templates.into_iter().enumerate().map(with).collect::<Result<_, IndexError>>()?,
        values: values
            .iter()
            .map(|(key, constraint)| index.with_value(*key, constraint))
            .collect::<Result<_, _>>()?,
    })
}

#[test]
fn an_hour_says_of_its_segments_what_their_indexes_say() {
    let indexes = indexes();
    let bytes = built(&indexes);
    let hour = HourIndex::open(&bytes[..]).unwrap();
    hour.verify().unwrap();
    assert!(hour.matches_ports(&TunnelPorts::DEFAULT));
    assert!(!hour.matches_ports(&TunnelPorts::DEFAULT.with(5555, UdpTunnel::Vxlan)));
    let (mut distinct, mut excluded) = (BTreeSet::new(), 0);
    for (number, bytes) in indexes.iter().enumerate() {
        let index = Index::open(&bytes[..]).unwrap();
        let at = hour.number_of(&name(number)).unwrap();
        assert_eq!(at as usize, number);
        let told = hour.segments()[number];
        assert_eq!((told.first, told.last, told.records), (index.first(), index.last(), index.records()));
        assert_eq!((told.stamps, told.link_type), (stamps(number), index.link_type()));
        assert_eq!(told.later_views, index.later_views().unwrap());
        for (template_number, template) in hour.templates().unwrap().iter().enumerate() {
            let has = index.templates().unwrap().contains(template);
            assert_eq!(hour.with_template(template_number).unwrap().contains(at), has);
            distinct.insert(template_number);
        }
        for flow in index.flows() {
            let flow = flow.unwrap().1;
            let template = &index.templates().unwrap()[flow.template as usize];
            for address in [flow.source, flow.destination].into_iter().flatten() {
                let (key, value) = match address {
                    IpAddr::V4(address) => (HourKey::AddressV4, u128::from(address.to_bits())),
                    IpAddr::V6(address) => (HourKey::AddressV6, address.to_bits()),
                };
                assert!(hour.with_value(key, &Constraint::Range(value..=value)).unwrap().contains(at));
            }
            if template.transport_key() == TransportKey::Ports {
                for port in [flow.source_port, flow.destination_port].map(u128::from) {
                    let with_port = hour.with_value(HourKey::Port, &Constraint::Range(port..=port));
                    assert!(with_port.unwrap().contains(at));
                }
            }
        }
        for (key, constraint) in constraints() {
            let Constraint::Range(range) = &constraint else { continue };
            let (low, high) = (*range.start(), *range.end());
            let has = match key {
                HourKey::Port => index.contains_ports(low as u16..=high as u16),
                HourKey::AddressV4 => index.contains_addresses(
                    IpAddr::V4((low as u32).into())
                        ..=IpAddr::V4(u32::try_from(high).unwrap_or(u32::MAX).into()),
                ),
                HourKey::AddressV6 => {
                    index.contains_addresses(IpAddr::V6(low.into())..=IpAddr::V6(high.into()))
                }
            };
            let told = hour.with_value(key, &constraint).unwrap().contains(at);
            assert_eq!(told, has.unwrap(), "{key:?} {constraint:?} of {number}");
            excluded += usize::from(!told);
        }
    }
    assert!(distinct.len() > 3 && excluded > SEGMENTS, "the sample is worth it");
    assert_eq!(hour.number_of(&name(SEGMENTS)), None);
    let mut listed = 0;
    for key in [HourKey::AddressV4, HourKey::AddressV6, HourKey::Port] {
        let is_narrow = |range: &RangeInclusive<u128>| range.end() - range.start() < 0x1000;
        let ranges =
            constraints().into_iter().filter(|(of, _)| *of == key).filter_map(|(_, one)| match one {
                Constraint::Range(range) => Some(range).filter(is_narrow),
                _ => None,
            });
        let (mut together, mut list) = (hour.none(), Vec::new());
        for range in ranges {
            together.add(&hour.with_value(key, &Constraint::Range(range.clone())).unwrap());
            list.push(range);
            let any_of = Constraint::AnyOf(ValueSet::of(list.iter().cloned()));
            assert_eq!(hour.with_value(key, &any_of).unwrap(), together, "{key:?} in {list:?}");
        }
        listed += usize::from(list.len() > 1 && !together.is_none() && !together.is_all());
    }
    assert!(listed > 0, "the sample is worth it");
    let scattered = Constraint::Masked { mask: 1, value: 1 };
    assert!(hour.with_value(HourKey::AddressV4, &scattered).unwrap().is_all());
    let nothing = Constraint::Masked { mask: 1, value: 2 };
    assert!(hour.with_value(HourKey::AddressV4, &nothing).unwrap().is_none());
}

#[test]
fn an_hour_without_segments_has_nothing() {
    let bytes = HourBuilder::new(hour(), &TunnelPorts::DEFAULT).finish();
    let answers = ask(&bytes).unwrap();
    assert!(answers.segments.is_empty() && answers.templates.is_empty());
    HourIndex::open(&bytes[..]).unwrap().verify().unwrap();
}

#[test]
fn a_changed_byte_is_noticed_or_changes_nothing() {
    let bytes = built(&indexes()[..12]);
    let whole = ask(&bytes).unwrap();
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x20;
        assert!(
            ask(&damaged).is_err_and(|error| error != IndexError::Unreadable)
                || ask(&damaged) == Ok(whole_of(&bytes)),
            "byte {at}"
        );
        let is_sound = HourIndex::open(&damaged[..]).and_then(|index| index.verify()).is_ok();
        assert!(!is_sound, "byte {at} is covered by a checksum");
    }
    for end in 0..bytes.len() {
        assert!(ask(&bytes[..end]).is_err());
    }
    assert_eq!(ask(&bytes).unwrap(), whole);
}

fn whole_of(bytes: &[u8]) -> Answers {
    ask(bytes).unwrap()
}

proptest! {
    #[test]
    fn any_bytes_end(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let _ = ask(&bytes);
    }
}

fn golden(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(file)
}

/// To add a new version, run with `NETREWIND_WRITE_GOLDEN=1`, which writes its file.
#[test]
fn version_1_is_read_and_built_again() {
    let of_segment = std::fs::read(golden("version-3.idx")).unwrap();
    let indexes = [of_segment, indexes().swap_remove(9)];
    if std::env::var_os("NETREWIND_WRITE_GOLDEN").is_some() {
        std::fs::write(golden("version-1.hour"), built(&indexes)).unwrap();
    }
    let kept = std::fs::read(golden("version-1.hour")).unwrap();
    HourIndex::open(&kept[..]).unwrap().verify().unwrap();
    assert!(built(&indexes) == kept);
    let mut later = kept;
    later[8] = 9;
    assert_eq!(HourIndex::open(later).unwrap_err(), IndexError::Version { found: 9, known: 1 });
}
