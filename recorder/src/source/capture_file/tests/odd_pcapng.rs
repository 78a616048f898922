//! pcapng blocks that are legal, tolerated, or neither.

use super::build::Order;
use super::{agree, read, seeded};
use crate::source::SourceError;

fn options(random: &mut fastrand::Rng, order: Order) -> Vec<u8> {
    // Powers of two above 34 overflow in libpcap; ours are right, and tested beside the clock.
    const RESOLUTIONS: [u8; 12] = [0, 3, 6, 9, 12, 19, 20, 0x80, 0x80 | 10, 0x80 | 32, 0x80 | 34, 0x80 | 64];
    const OFFSETS: [i64; 5] = [0, 3600, -5, i64::MIN, 1 << 33];
    let mut options = Vec::new();
    if random.bool() {
        options.extend(order.option(2, b"\xff\xfe not UTF-8"));
    }
    if random.u8(..4) > 0 {
        let last = if random.bool() { 5 } else { RESOLUTIONS.len() };
        options.extend(order.option(9, &[RESOLUTIONS[random.usize(..last)]]));
    }
    if random.u8(..3) == 0 {
        let offset = OFFSETS[random.usize(..OFFSETS.len())];
        options.extend(order.option(14, &order.u64(offset.cast_unsigned())));
    }
    match random.u8(..16) {
        0 => options.extend(order.option(9, &[6, 6])),
        1 => options.extend(order.option(9, &[6])),
        2 => options.extend([0, 0]),
        3 => options.extend(order.option(0, &[1])),
        4..9 => options.extend([order.option(13, &[32]), order.option(0, &[]), vec![1, 2, 3, 4]].concat()),
        _ => {}
    }
    options
}

fn odd_file(random: &mut fastrand::Rng) -> Vec<u8> {
    const SNAPLENS: [u32; 5] = [0, 20, 65535, 262_144, 0xffff_ffff];
    const LINK_TYPES: [u16; 8] = [1, 1, 1, 113, 189, 220, 239, 117];
    let order = Order { big: random.bool() };
    let (link_type, snaplen) = (LINK_TYPES[random.usize(..8)], SNAPLENS[random.usize(..5)]);
    let interface = |random: &mut fastrand::Rng| {
        order.interface(link_type, random.u16(..2) * 7, snaplen, &options(random, order))
    };
    let mut file = order.section();
    if random.u8(..10) > 0 {
        file.extend(interface(random));
    }
    for _ in 0..random.usize(..14) {
        file.extend(match random.u8(..24) {
            0 => [order.section(), interface(random)].concat(),
            1 => interface(random),
            2 => order.block(0x0bad, &[1; 30]),
            3 => order.block(5, &[]),
            4 => order.block(6, &[0; 12]),
            _ => odd_packet(random, order),
        });
    }
    if random.u8(..6) == 0 {
        let at = random.usize(..file.len());
        file[at] = file[at].wrapping_add(1);
    }
    file
}

fn odd_packet(random: &mut fastrand::Rng, order: Order) -> Vec<u8> {
    let packet: Vec<u8> = (0..random.usize(..100)).map(|_| random.u8(..) & random.u8(..)).collect();
    let caplen = u32::try_from(packet.len()).expect("short");
    let caplen = if random.u8(..40) == 0 { caplen + 9 } else { caplen };
    let len = if random.u8(..8) == 0 { random.u32(..) } else { caplen };
    let interface = random.u8(..20) / 18;
    let ticks = if random.u8(..3) == 0 { random.u64(..) } else { 1_700_000_000_123_456 };
    match random.u8(..6) {
        0 => order.obsolete_packet(u16::from(interface), ticks, [caplen, len], &packet),
        1 => order.simple_packet(if random.u8(..9) == 0 { len } else { caplen }, &packet),
        _ => order.enhanced_packet(u32::from(interface), ticks, [caplen, len], &packet),
    }
}

#[test]
fn odd_files_read_as_in_tcpdump() {
    let mut random = seeded();
    for number in 0..500 {
        let file = odd_file(&mut random);
        agree(&format!("file {number}: {file:02x?}"), &file);
    }
}

#[test]
fn a_packet_longer_than_its_interface_says_is_kept_whole() {
    let order = Order { big: false };
    let packet = order.enhanced_packet(0, 5, [50, 60], &[7; 50]);
    let file = [order.section(), order.interface(1, 0, 20, &[]), packet].concat();
    let (packets, error) = read(file);
    assert!(error.is_none());
    assert_eq!((packets[0].bytes.len(), packets[0].header.len), (50, 60));
}

#[test]
fn a_block_that_lies_about_its_length_costs_no_memory() {
    let order = Order { big: false };
    for length in [0, 4, 8, 11, 13, 16 << 20, (16 << 20) + 4, 0xffff_fffc] {
        let block = [order.u32(0x0bad).to_vec(), order.u32(length).to_vec(), vec![0; 64]].concat();
        let file = [order.section(), order.interface(1, 0, 0, &[]), block].concat();
        let (packets, error) = read(file);
        assert!(packets.is_empty());
        assert!(matches!(error, Some(SourceError::Damaged { offset: 48, .. })), "{length}: {error:?}");
    }
}

#[test]
fn damaged_options_of_an_interface_are_damage_as_in_tcpdump() {
    let order = Order { big: true };
    let damaged: [&[u8]; 6] = [
        &order.option(0, &[1]),
        &order.option(9, &[6, 6]),
        &order.option(9, &[20]),
        &[order.option(9, &[6]), order.option(9, &[9])].concat(),
        &order.option(14, &[0; 4]),
        &[0, 2, 0, 9, b'e', b't', b'h', b'0'],
    ];
    for options in damaged {
        let packet = order.enhanced_packet(0, 5, [4, 4], b"abcd");
        let file = [order.section(), order.interface(1, 0, 0, options), packet].concat();
        assert_eq!(agree("damaged options", &file), 0);
        let (packets, error) = read(file);
        assert!(packets.is_empty());
        assert!(matches!(error, Some(SourceError::Damaged { offset: 28, .. })), "{options:?}: {error:?}");
    }
}
