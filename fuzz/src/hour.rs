//! Whatever bytes of the index of an hour are not as they were written: every way to read it ends, with an answer or an error.
//!
//! Checksums are all right here (`cfg(fuzzing)`): a hash cannot be guessed, and what stands behind is to be reached.

use arbitrary::{Arbitrary, Unstructured};
use netrewind_index::{Builder, Constraint, HourBuilder, HourIndex, HourKey, Index};
use netrewind_packet::tunnel::TunnelPorts;
use netrewind_store::catalog::Hour;
use netrewind_store::layout::RecordHeader;
use netrewind_store::store::SegmentStamps;
use netrewind_store::{LinkType, Record, SegmentName, Timestamp};

/// The index of an hour of segments that have a packet each.
fn hour_of(packets: &[&[u8]]) -> Vec<u8> {
    let start = Timestamp(1_795_339_861_000_000_000);
    let mut hour = HourBuilder::new(Hour::of(start), &TunnelPorts::DEFAULT);
    for (number, packet) in (0..).zip(packets) {
        let mut builder = Builder::new(LinkType::ETHERNET, 0);
        let caplen = packet.len() as u32;
        let header = RecordHeader { seconds: 1_000, nanoseconds: number, caplen, len: caplen };
        builder.push(&Record { offset: 24, header, packet });
        let index = Index::open(builder.finish().expect("a packet fits")).expect("it was just built");
        let name = SegmentName { opened: start.plus_ns(number.into()), lane: 0 };
        hour.add(name, SegmentStamps::default(), &index).expect("it was just built");
    }
    hour.finish()
}

/// Reads any bytes.
pub fn read(bytes: &[u8]) {
    let Ok(input) = <(Vec<(u16, u8)>, Vec<&[u8]>)>::arbitrary_take_rest(Unstructured::new(bytes)) else {
        return;
    };
    let (edits, packets) = input;
    let mut bytes = hour_of(&packets);
    HourIndex::open(&bytes[..]).and_then(|index| index.verify()).expect("it was just built");
    for (at, value) in edits {
        let at = usize::from(at) % bytes.len();
        bytes[at] ^= value;
    }
    let Ok(index) = HourIndex::open(&bytes[..]) else { return };
    let _ = index.verify();
    for number in 0..index.templates().map_or(0, <[_]>::len) {
        let _ = index.with_template(number);
    }
    for key in [HourKey::AddressV4, HourKey::AddressV6, HourKey::Port] {
        for range in [0..=u128::MAX, 80..=443, 0x0a00_0000..=0x0aff_ffff] {
            let _ = index.with_value(key, &Constraint::Range(range));
        }
    }
}
