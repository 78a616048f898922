//! The whole corpus: whole, cut, damaged, and in the other byte order.

use super::{Owned, agree, corpus, read, seeded};
use crate::source::SourceError;

#[test]
fn the_corpus_reads_as_in_tcpdump() {
    let packets: usize = corpus().iter().map(|(path, bytes)| agree(&path.display().to_string(), bytes)).sum();
    eprintln!("{packets} packets agree");
}

/// Most cuts are compared with the whole file alone, which costs no process.
#[test]
fn a_cut_file_gives_the_packets_before_the_cut() {
    const CUTS: usize = 6;
    let mut random = seeded();
    for (path, bytes) in corpus() {
        let whole = read(bytes.as_slice()).0;
        for cut in (0..CUTS).map(|_| random.usize(..bytes.len())) {
            let (found, error) = read(&bytes[..cut]);
            assert_eq!(found, whole[..found.len()], "{} cut at {cut}", path.display());
            if let Some(SourceError::Damaged { offset, .. }) = error {
                assert!(offset <= cut as u64, "{} cut at {cut}: {offset}", path.display());
            }
        }
    }
}

#[test]
fn a_cut_file_reads_as_in_tcpdump() {
    let mut random = seeded();
    for (path, bytes) in corpus().iter().step_by(4) {
        let cut = random.usize(..bytes.len());
        agree(&format!("{} cut at {cut}", path.display()), &bytes[..cut]);
    }
}

#[test]
fn a_damaged_file_reads_as_in_tcpdump_as_far_as_tcpdump_reads() {
    let mut random = seeded();
    for (path, mut bytes) in corpus() {
        let reach = if random.bool() { bytes.len() } else { bytes.len().min(300) };
        let flips: Vec<_> = (0..random.usize(1..6)).map(|_| (random.usize(..reach), random.u8(..))).collect();
        flips.iter().for_each(|&(at, byte)| bytes[at] = byte);
        if has_a_clock_too_fine_for_tcpdump(&bytes) {
            continue;
        }
        agree(&format!("{} with {flips:?}", path.display()), &bytes);
    }
}

/// True if a clock (`if_tsresol`) has so many ticks per second that nanoseconds overflow the 64-bit arithmetic of libpcap 1.10
/// and Wireshark; ours is wide enough, and has its own test.
fn has_a_clock_too_fine_for_tcpdump(bytes: &[u8]) -> bool {
    const DECIMAL_DIGITS_MAX: u8 = 10;
    const BINARY_DIGITS_MAX: u8 = 0x80 | 34;
    let too_fine = |resolution| match resolution {
        0..0x80 => resolution > DECIMAL_DIGITS_MAX,
        _ => resolution > BINARY_DIGITS_MAX,
    };
    bytes.windows(5).any(|option| matches!(*option, [9, 0, 1, 0, it] | [0, 9, 0, 1, it] if too_fine(it)))
}

#[test]
fn a_pcap_file_reads_the_same_in_the_other_byte_order() {
    for (path, mut bytes) in corpus() {
        if !bytes.starts_with(&[0xd4, 0xc3, 0xb2, 0xa1]) {
            continue;
        }
        let (whole, error) = read(bytes.as_slice());
        assert!(error.is_none());
        swap_pcap(&mut bytes, &whole);
        agree(&format!("{} swapped", path.display()), &bytes);
        let swapped = read(bytes).0;
        let headers = |packets: &[Owned]| packets.iter().map(|packet| packet.header).collect::<Vec<_>>();
        assert_eq!(headers(&swapped), headers(&whole), "{}", path.display());
    }
}

/// Swaps every header field.
fn swap_pcap(bytes: &mut [u8], packets: &[Owned]) {
    for field in [0..4, 4..6, 6..8, 8..12, 12..16, 16..20, 20..24] {
        bytes[field].reverse();
    }
    let mut at = 24;
    for _ in packets {
        let stored = u32::from_le_bytes(*bytes[at + 8..].first_chunk().expect("a record"));
        for field in (at..at + 16).step_by(4) {
            bytes[field..field + 4].reverse();
        }
        at += 16 + stored as usize;
    }
}
