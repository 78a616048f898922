use std::sync::Arc;

use super::*;
use crate::files::{Files, OpenMode, SystemFiles};
use crate::medium::Medium;

/// Bytes of so many frames and a bit, that compress well.
fn segment(frames: u64, rest: u64) -> Vec<u8> {
    (0..frames * FRAME_BYTES + rest).map(|at| (at / 7 % 251) as u8 ^ (at / 100_000) as u8).collect()
}

fn files() -> (Box<dyn Files>, tempfile::TempDir) {
    (Box::new(SystemFiles), tempfile::tempdir().unwrap())
}

/// The cold file of a segment.
fn cold(bytes: &[u8]) -> Vec<u8> {
    let (files, folder) = files();
    files.write(&folder.path().join("plain"), bytes).unwrap();
    let plain = files.open(&folder.path().join("plain"), OpenMode::Read).unwrap();
    let file = files.open(&folder.path().join("cold"), OpenMode::Create).unwrap();
    let done = compress(&*plain, bytes.len() as u64, &*file, &mut || true).unwrap();
    let written = file.status().unwrap().bytes;
    assert_eq!(done, Compression::Written(written));
    files.read(&folder.path().join("cold")).unwrap()
}

fn opened(file: Vec<u8>) -> ColdSegment {
    ColdSegment::new(Map::from_bytes(file))
}

#[test]
fn every_range_reads_as_the_segment() {
    let bytes = segment(5, 4711);
    let medium = Medium::cold(Arc::new(opened(cold(&bytes))));
    assert_eq!((medium.bytes(), medium.fault(), medium.is_cold()), (bytes.len() as u64, None, true));
    let end = bytes.len() as u64;
    let ends =
        [0, 1, 24, FRAME_BYTES - 1, FRAME_BYTES, FRAME_BYTES + 1, 3 * FRAME_BYTES, end - 1, end, end + 9];
    for from in ends {
        for to in ends.into_iter().filter(|to| *to >= from) {
            let block = medium.read(from..to);
            let expected = &bytes[from.min(end) as usize..to.min(end) as usize];
            assert!(*block == *expected, "{from}..{to}");
            assert_eq!((block.begin(), block.end()), (from.min(end), to.min(end)), "{from}..{to}");
        }
    }
    let ranges = [10..200, 200..FRAME_BYTES + 5, FRAME_BYTES + 5..FRAME_BYTES + 6, 3 * FRAME_BYTES..end];
    let blocks = medium.read_ranges(&ranges);
    for (block, range) in blocks.iter().zip(&ranges) {
        assert!(**block == bytes[span(range)], "{range:?}");
    }
    let joined = blocks[0].joined(&blocks[1]).and_then(|both| both.joined(&blocks[2])).unwrap();
    assert!(*joined == bytes[10..FRAME_BYTES as usize + 6]);
    assert!(blocks[2].joined(&blocks[3]).is_none());
}

#[test]
fn other_programs_read_it() {
    let bytes = segment(3, 1);
    assert!(zstd::decode_all(&cold(&bytes)[..]).unwrap() == bytes);
}

#[test]
fn a_changed_byte_anywhere_is_noticed() {
    let bytes = segment(2, 100);
    let file = cold(&bytes);
    let sizes = opened(file.clone()).frames;
    for at in 0..file.len() {
        let mut changed = file.clone();
        changed[at] ^= 0x10;
        let segment = opened(changed);
        let (found, _) = segment.read(0..segment.bytes());
        let is_in_table = at < sizes[0].at as usize;
        let is_noticed = segment.fault().is_some() || segment.first_lost(0..bytes.len() as u64).is_some();
        // One bit of a frame's header says nothing.
        assert!(is_noticed || found.get(..) == Some(&bytes[..]), "byte {at}");
        // What is given as good is.
        for (frame, next) in segment.frames.iter().zip(&segment.frames[1..]) {
            let held = frame.begin..next.begin;
            if segment.first_lost(held.clone()).is_none() {
                assert!(
                    found.get(span(&held)) == bytes.get(span(&held)),
                    "byte {at}, frame at {}",
                    frame.begin
                );
            }
        }
        if is_in_table && at >= 8 {
            assert_eq!(
                segment.bytes(),
                bytes.len() as u64,
                "byte {at}: the frames are found without the table"
            );
        }
    }
}

#[test]
fn a_file_that_was_shortened_ends_with_its_last_whole_frame() {
    let bytes = segment(3, 100);
    let file = cold(&bytes);
    for length in (0..file.len()).step_by(7) {
        let segment = opened(file[..length].to_vec());
        assert!(segment.fault().is_some() || length == 0, "{length}");
        let (found, _) = segment.read(0..segment.bytes());
        assert!(bytes.starts_with(&found), "{length}");
    }
}

#[test]
fn what_does_not_shrink_stays() {
    let mut chance = 1_u64;
    let mut bytes = Vec::new();
    while bytes.len() < 300_000 {
        chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        bytes.extend(chance.to_be_bytes());
    }
    let (files, folder) = files();
    files.write(&folder.path().join("plain"), &bytes).unwrap();
    let plain = files.open(&folder.path().join("plain"), OpenMode::Read).unwrap();
    for (length, goes_on, expected) in [
        (bytes.len() as u64, true, Compression::NotWorthIt),
        (0, true, Compression::NotWorthIt),
        (9, false, Compression::Stopped),
    ] {
        let file = files.open(&folder.path().join("cold"), OpenMode::Create).unwrap();
        assert_eq!(compress(&*plain, length, &*file, &mut || goes_on).unwrap(), expected);
    }
}
