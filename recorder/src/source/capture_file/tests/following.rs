//! Captures one after the other in one stream, and what is none.

use super::build::Order;
use super::{CaptureFile, drain, read};
use crate::source::{Source, SourceError};

const LITTLE: Order = Order { big: false };
const BIG: Order = Order { big: true };
const MICROSECONDS: u32 = 0xa1b2_c3d4;
const NANOSECONDS: u32 = 0xa1b2_3c4d;

fn pcap(order: Order, magic: u32, link_type: u32, seconds: u32) -> Vec<u8> {
    let record = order.record([seconds, 7, 4, 60], b"pcap");
    [order.pcap(magic, (2, 4), 262_144, link_type), record].concat()
}

fn pcapng(order: Order, seconds: u64) -> Vec<u8> {
    let packet = order.enhanced_packet(0, seconds * 1_000_000 + 7, [4, 60], b"png!");
    [order.section(), order.interface(101, 0, 0, &[]), packet].concat()
}

fn times(file: &[u8]) -> (Vec<(u32, u32, u16)>, Option<SourceError>) {
    let (packets, error) = read(file);
    let told = |packet: &super::Owned| (packet.header.seconds, packet.header.nanoseconds, packet.link_type.0);
    (packets.iter().map(told).collect(), error)
}

#[test]
fn a_capture_behind_another_is_read_as_what_it_is() {
    let captures: [(Vec<u8>, (u32, u32, u16)); 6] = [
        (pcap(LITTLE, MICROSECONDS, 1, 100), (100, 7000, 1)),
        (pcap(BIG, MICROSECONDS, 113, 101), (101, 7000, 113)),
        (pcap(LITTLE, NANOSECONDS, 1, 102), (102, 7, 1)),
        (pcap(BIG, NANOSECONDS, 1, 103), (103, 7, 1)),
        (pcapng(LITTLE, 104), (104, 7000, 101)),
        (pcapng(BIG, 105), (105, 7000, 101)),
    ];
    for (first, packet) in &captures {
        for (second, other) in &captures {
            let (found, error) = times(&[first.as_slice(), second, first].concat());
            assert!(error.is_none(), "{error:?}");
            assert_eq!(found, [*packet, *other, *packet]);
        }
    }
    let all: Vec<u8> = captures.iter().flat_map(|(bytes, _)| bytes.clone()).collect();
    for compressed in [zstd::encode_all(&all[..], 1).unwrap(), all] {
        assert_eq!(times(&compressed).0, captures.iter().map(|(_, packet)| *packet).collect::<Vec<_>>());
    }
}

#[test]
fn a_record_whose_time_is_a_magic_number_is_a_record() {
    for (order, seconds) in [(LITTLE, MICROSECONDS), (BIG, NANOSECONDS), (LITTLE, MICROSECONDS.swap_bytes())]
    {
        // A fraction that reads as version 2.4, and as long a packet as there are.
        let odd = order.record([seconds, 0x0004_0002, 60, 60], &[7; 60]);
        let empty = order.record([seconds, 5, 0, 60], &[]);
        let file = [pcap(order, MICROSECONDS, 1, 5), odd, empty, order.record([6, 0, 2, 2], b"ab")].concat();
        let (packets, error) = read(file);
        assert!(error.is_none(), "{error:?}");
        assert_eq!(packets.iter().map(|packet| packet.header.caplen).collect::<Vec<_>>(), [4, 60, 0, 2]);
    }
}

#[test]
fn a_header_that_is_cut_is_damage_where_it_stands() {
    let first = pcap(LITTLE, MICROSECONDS, 1, 5);
    for (second, shortest) in [(pcap(LITTLE, MICROSECONDS, 1, 6), 4), (pcapng(LITTLE, 6), 4)] {
        for cut in shortest..24 {
            let (packets, error) = read([&first[..], &second[..cut]].concat());
            assert_eq!(packets.len(), 1, "{cut}");
            let at = first.len() as u64;
            assert!(
                matches!(error, Some(SourceError::Damaged { offset, .. }) if offset == at),
                "{cut}: {error:?}"
            );
        }
    }
}

#[test]
fn zeros_at_the_end_are_damage_and_no_packets() {
    for zeros in [256, 300, 511, 512, 4096, 1 << 20] {
        for file in [pcap(LITTLE, MICROSECONDS, 1, 5), pcap(BIG, NANOSECONDS, 1, 5), pcapng(LITTLE, 5)] {
            let at = file.len() as u64;
            let (packets, error) = read([file, vec![0; zeros]].concat());
            assert_eq!(packets.len(), 1);
            let Some(SourceError::Damaged { offset, reason, .. }) = error else {
                panic!("{zeros}: {error:?}")
            };
            assert!(offset == at && reason.contains("zeros"), "{offset}: {reason}");
        }
    }
    // A few records of nothing are what tcpdump takes them for, with others behind them and without.
    for records in [1, 15] {
        let file = [pcap(LITTLE, MICROSECONDS, 1, 5), vec![0; 16 * records]].concat();
        assert_eq!(super::agree("records of nothing", &file), 1 + records);
    }
    let more = LITTLE.record([6, 0, 2, 2], b"ab");
    let file = [pcap(LITTLE, MICROSECONDS, 1, 5), vec![0; 16], more].concat();
    assert_eq!(super::agree("a record of nothing", &file), 3);
    let followed =
        [pcap(LITTLE, MICROSECONDS, 1, 5), vec![0; 16], LITTLE.record([6, 0, 2, 2], b"ab")].concat();
    assert_eq!(read(followed).0.len(), 3);
}

#[test]
fn what_a_file_holds_beside_packets_is_counted() {
    let order = LITTLE;
    let statistics = |dropped: u64, seconds: u64| {
        let ticks = seconds * 1_000_000;
        let mut body = [order.u32(0), order.u32((ticks >> 32) as u32), order.u32(ticks as u32)].concat();
        body.extend(order.option(5, &order.u64(dropped)));
        body.extend(order.option(7, &order.u64(1)));
        order.block(5, &body)
    };
    let options =
        [order.option(1, b"look"), order.option(2, &order.u32(1)), order.option(4, &order.u64(3))].concat();
    let name = [order.option(2, b"lan\x1b0"), order.option(3, b"uplink")].concat();
    let mut body = [order.u32(0), order.u32(0), order.u32(5_000_000), order.u32(4), order.u32(4)].concat();
    body.extend([b"data".to_vec(), options].concat());
    let file = [
        order.section(),
        order.interface(1, 0, 0, &name),
        order.interface(1, 0, 0, &[]),
        order.block(10, b"secrets"),
        order.block(4, &[0; 4]),
        order.block(0x0bad, &[0; 4]),
        order.enhanced_packet(0, 4_000_000, [4, 4], b"data"),
        order.block(6, &body),
        order.enhanced_packet(1, u64::from(u32::MAX) * 2_000_000, [4, 4], b"data"),
        statistics(8, 9),
        statistics(8, 10),
        statistics(10, 11),
    ]
    .concat();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("f.pcapng");
    std::fs::write(&path, file).unwrap();
    let mut file = CaptureFile::open(&path).unwrap();
    let (packets, error) = drain(&mut file);
    assert!(error.is_none() && packets.len() == 3, "{error:?}");
    let told = "1 block of decryption secrets, 1 block of names, 1 comment, 1 packet's direction, 1 other block, \
                1 time before 1970 or after 2106";
    assert_eq!(file.left_out().to_string(), told);
    let names: Vec<_> = file.interfaces().iter().filter_map(|it| it.known_as.clone()).collect();
    assert_eq!((names[0].name.as_str(), names[0].description.as_deref()), ("lan\u{fffd}0", Some("uplink")));
    assert_eq!(names[1].name, format!("{}#1", path.display()));
    let drops = file.take_reported_drops();
    assert_eq!(drops.iter().map(|drops| drops.dropped).sum::<u64>(), 11, "8 + 1, then 10 + 1: each once");
    assert_eq!((drops[0].from.ns() / 1_000_000_000, drops[0].to.ns() / 1_000_000_000), (4, 11));
    assert!(file.take_reported_drops().is_empty());
}
