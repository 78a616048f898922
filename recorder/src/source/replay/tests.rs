//! Replays on a clock that moves only when somebody sleeps.

use std::io::Cursor;

use netrewind_store::clock::ManualClock;
use netrewind_store::{LinkType, PcapWriter, RecordHeader};

use super::*;

const PATIENCE: Duration = Duration::from_millis(100);
const WALL_SECONDS: u32 = 1_900_000_000;

/// A clock that moves only when somebody waits for it.
fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::moved_by_waits(Timestamp::new(WALL_SECONDS, 0)))
}

/// A capture with a packet at each of these milliseconds.
fn capture(milliseconds: &[u64]) -> CaptureFile {
    let mut writer = PcapWriter::new(Vec::new(), LinkType::ETHERNET).expect("written");
    for milliseconds in milliseconds {
        let header = RecordHeader {
            seconds: u32::try_from(milliseconds / 1000).expect("seconds"),
            nanoseconds: u32::try_from(milliseconds % 1000).expect("milliseconds") * 1_000_000,
            caplen: 4,
            len: 60,
        };
        writer.write(&header, b"abcd").expect("written");
    }
    CaptureFile::from_reader("capture", Cursor::new(writer.finish().expect("written")))
}

/// Each packet's moment of handing over and its timestamp, in milliseconds, until the end; damage counts in between.
fn play(files: Vec<CaptureFile>, options: ReplayOptions) -> Vec<(u64, u64)> {
    let clock = clock();
    let mut replay = Replay::new(files, options, clock.clone());
    let mut played = Vec::new();
    loop {
        let began = clock.now();
        let received = replay.receive(PATIENCE, &mut |packet| {
            let timestamp = packet.header.timestamp().ns() / 1_000_000;
            played.push((clock.now().monotonic_ns / 1_000_000, timestamp));
        });
        assert!(clock.now().since(began.monotonic_ns) <= PATIENCE, "longer than the caller's patience");
        match received {
            Ok(Received::End) => break,
            Ok(_) | Err(SourceError::Damaged { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(replay.counters().expect("counted").received, played.len() as u64);
    played
}

fn moments(played: &[(u64, u64)]) -> Vec<u64> {
    played.iter().map(|&(moment, _)| moment).collect()
}

#[test]
fn packets_come_at_their_own_speed() {
    let played = play(vec![capture(&[5_000, 5_010, 5_010, 5_700, 6_000])], ReplayOptions::default());
    assert_eq!(played, [(0, 5_000), (10, 5_010), (10, 5_010), (700, 5_700), (1_000, 6_000)]);
}

#[test]
fn packets_come_faster_slower_and_at_once() {
    let at = |speed| {
        let options = ReplayOptions { speed, ..ReplayOptions::default() };
        moments(&play(vec![capture(&[0, 100, 1_000])], options))
    };
    assert_eq!(at(Speed::Recorded(2.0)), [0, 50, 500]);
    assert_eq!(at(Speed::Recorded(0.5)), [0, 200, 2_000]);
    assert_eq!(at(Speed::Recorded(f64::NAN)), [0, 100, 1_000]);
    assert_eq!(at(Speed::Unlimited), [0, 0, 0]);
}

#[test]
fn reordered_packets_come_at_once_and_a_stepped_clock_begins_anew() {
    let played = play(vec![capture(&[10_000, 10_200, 10_150, 10_300])], ReplayOptions::default());
    assert_eq!(moments(&played), [0, 200, 200, 300]);
    let played = play(vec![capture(&[10_000, 10_200, 3_000, 3_100])], ReplayOptions::default());
    assert_eq!(moments(&played), [0, 200, 200, 300]);
}

#[test]
fn silence_is_waited_for_no_longer_than_asked() {
    let options = ReplayOptions { gap_max: Duration::from_millis(500), ..ReplayOptions::default() };
    let played = play(vec![capture(&[0, 100, 4_000_000_000_000, 4_000_000_000_100])], options);
    assert_eq!(moments(&played), [0, 100, 600, 700]);
}

#[test]
fn new_timestamps_are_the_wall_clocks() {
    let options = ReplayOptions { new_timestamps: true, ..ReplayOptions::default() };
    let played = play(vec![capture(&[7_000, 7_250])], options);
    let start = u64::from(WALL_SECONDS) * 1000;
    assert_eq!(played, [(0, start), (250, start + 250)]);
}

#[test]
fn files_follow_each_other_whatever_their_times_and_damage() {
    let damaged = CaptureFile::from_reader("damaged", Cursor::new(b"\xd4\xc3\xb2\xa1\x02\0".to_vec()));
    let files = vec![capture(&[9_000, 9_100]), damaged, capture(&[1_000, 1_050])];
    assert_eq!(moments(&play(files, ReplayOptions::default())), [0, 100, 100, 150]);
}

#[test]
fn damage_is_told_once_behind_the_packets_before_it() {
    let mut bytes = Vec::new();
    let mut writer = PcapWriter::new(&mut bytes, LinkType::ETHERNET).expect("written");
    let header = RecordHeader { seconds: 1, nanoseconds: 0, caplen: 4, len: 4 };
    writer.write(&header, b"abcd").expect("written");
    bytes.extend([0; 7]);
    let file = CaptureFile::from_reader("damaged", Cursor::new(bytes));
    let mut replay = Replay::new([file], ReplayOptions::default(), clock());
    assert!(matches!(replay.receive(PATIENCE, &mut |_| {}), Ok(Received::Packets(1))));
    assert!(matches!(replay.receive(PATIENCE, &mut |_| {}), Err(SourceError::Damaged { offset: 44, .. })));
    assert!(matches!(replay.receive(PATIENCE, &mut |_| {}), Ok(Received::End)));
}
