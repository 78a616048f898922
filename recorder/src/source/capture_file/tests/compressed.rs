//! gzip and zstd, of several members and frames, whole and cut.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::{corpus, read, seeded};
use crate::source::SourceError;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("compressed");
    encoder.finish().expect("compressed")
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).expect("compressed")
}

fn in_parts(bytes: &[u8], random: &mut fastrand::Rng, compress: fn(&[u8]) -> Vec<u8>) -> Vec<u8> {
    let cut = random.usize(..bytes.len());
    [compress(&bytes[..cut]), compress(&[]), compress(&bytes[cut..])].concat()
}

/// A frame that holds nothing of the stream, as parallel and seekable writers add them.
const SKIPPABLE_FRAME: [u8; 11] = [0x53, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3];

#[test]
fn compressed_files_read_as_what_they_hold() {
    let mut random = seeded();
    for (path, bytes) in corpus().iter().step_by(3) {
        let (expected, _) = read(bytes.as_slice());
        let zstd = in_parts(bytes, &mut random, zstd);
        let seekable = [&SKIPPABLE_FRAME[..], &zstd, &SKIPPABLE_FRAME].concat();
        for compressed in [in_parts(bytes, &mut random, gzip), zstd, seekable] {
            let (found, error) = read(compressed);
            assert!(error.is_none(), "{}: {error:?}", path.display());
            assert!(found == expected, "{}", path.display());
        }
    }
}

#[test]
fn a_cut_compressed_file_gives_the_packets_before_the_cut() {
    let mut random = seeded();
    for (path, bytes) in corpus().iter().step_by(3) {
        let (expected, _) = read(bytes.as_slice());
        for compressed in [gzip(bytes), zstd(bytes)] {
            let cut = random.usize(4..compressed.len());
            let (found, error) = read(&compressed[..cut]);
            assert!(found == expected[..found.len()], "{} cut at {cut}", path.display());
            assert!(matches!(error, Some(SourceError::Damaged { .. })), "{} cut at {cut}", path.display());
        }
    }
}

#[test]
fn damage_within_the_compression_is_named_with_its_place() {
    let order = super::build::Order { big: false };
    let mut file = order.pcap(0xa1b2_c3d4, (2, 4), 0, 1);
    file.extend(order.record([1, 2, 4, 4], b"abcd"));
    let mut compressed = gzip(&file);
    let checksum = compressed.len() - 8;
    compressed[checksum] ^= 1;
    let (packets, error) = read(compressed);
    assert_eq!(packets.len(), 1);
    assert!(matches!(error, Some(SourceError::Damaged { offset: 44, .. })), "{error:?}");
    let (_, error) = read(gzip(&gzip(&file)));
    assert!(matches!(error, Some(SourceError::Unsupported { .. })), "{error:?}");
}
