//! What an answer says it lacks, for recordings of every kind.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "what fails here fails the test")]

mod support;

use netrewind_extractor::{Completeness, Query, Span};
use netrewind_store::{Account, Drops, Event, LaneLoad, LinkType, Logbook, SegmentName, Timestamp};
use support::{TestStore, extract, name, packet};

/// Seconds of the recordings below are counted from here.
const START: u32 = 1_795_339_862;

fn at(second: u32) -> Timestamp {
    Timestamp::new(START + second, 0)
}

struct Recording {
    test: TestStore,
    logbook: Logbook,
}

impl Recording {
    fn new() -> Self {
        let test = TestStore::default();
        let logbook = Logbook::new(&test.store);
        Self { test, logbook }
    }

    fn log(&mut self, second: u32, event: Event) {
        self.logbook.append(at(second), event).unwrap();
    }

    fn start(&mut self, second: u32, lane: u16) {
        let interface = format!("eth{lane}");
        let event =
            Event::Start { lane, interface, snaplen: None, capture_filter: None, version: "1".into() };
        self.log(second, event);
    }

    fn stop(&mut self, second: u32, lane: u16, kernel: u64) {
        let dropped = Drops { kernel, disk: 0 };
        let account = Account { received: kernel, dropped, ..Account::default() };
        self.log(second, Event::Stop { lane, account });
    }

    fn second(&mut self, second: u32, lane: u16, kernel: u64) {
        let dropped = Drops { kernel, disk: 0 };
        self.log(
            second,
            Event::Second {
                lane,
                received: kernel,
                written: 0,
                dropped,
                bytes: 0,
                pace: LaneLoad::default(),
            },
        );
    }

    /// A segment with a packet each second.
    fn segment(&mut self, seconds: std::ops::Range<u32>) -> SegmentName {
        let segment = name(seconds.start + 1, 0);
        let packets: Vec<_> = seconds.clone().map(|second| packet(second * 1000, 0, 100)).collect();
        self.log(seconds.start, Event::open(segment, "eth0", LinkType::ETHERNET));
        let bytes = self.test.seal(segment, packets).len() as u64;
        let (first, last) = (at(seconds.start), at(seconds.end - 1));
        self.log(seconds.end, Event::Seal { segment, records: seconds.len() as u64, bytes, first, last });
        segment
    }

    fn ask(&self, from: Option<u32>, to: Option<u32>) -> Completeness {
        let query = Query { from: from.map(at), to: to.map(at), ..Query::default() };
        let (_, answer) = extract(&self.test.extractor(), &query).unwrap();
        let completeness = answer.completeness;
        assert_eq!(completeness.is_complete(), completeness.lines()[0].starts_with("complete"));
        let json = serde_json::to_string(&completeness).unwrap();
        assert_eq!(serde_json::from_str::<Completeness>(&json).unwrap(), completeness);
        completeness
    }

    /// Gaps as seconds, and their reasons.
    fn gaps(&self, from: Option<u32>, to: Option<u32>) -> Vec<(u32, u32, String)> {
        let second = |at: Timestamp| (at.ns() / 1_000_000_000) as u32 - START;
        let gaps = self.ask(from, to).gaps.into_iter();
        gaps.map(|gap| (second(gap.from), second(gap.to), gap.reason)).collect()
    }
}

fn spans(gaps: &[(u32, u32, String)]) -> Vec<(u32, u32)> {
    gaps.iter().map(|(from, to, _)| (*from, *to)).collect()
}

#[test]
fn before_between_and_after_sessions_nothing_was_recorded() {
    let mut recording = Recording::new();
    recording.start(10, 0);
    recording.segment(11..20);
    recording.stop(30, 0, 0);
    recording.start(50, 0);
    recording.segment(51..60);
    recording.stop(70, 0, 0);
    let gaps = recording.gaps(Some(0), Some(100));
    assert_eq!(spans(&gaps), [(0, 10), (30, 50), (70, 100)]);
    for (gap, words) in gaps.iter().zip(["had not begun", "started again", "recording stopped at"]) {
        assert!(gap.2.contains(words), "{gap:?}");
    }
    assert_eq!(spans(&recording.gaps(Some(12), Some(29))), []);
    assert_eq!(spans(&recording.gaps(None, None)), [(30, 50)], "open ends are the packets'");
    assert_eq!(spans(&recording.gaps(None, Some(65))), [(30, 50)]);
    assert_eq!(spans(&recording.gaps(Some(55), None)), []);
    assert!(recording.ask(Some(12), Some(29)).is_complete());
}

#[test]
fn a_crash_leaves_a_gap_from_the_last_sign_of_life() {
    let mut recording = Recording::new();
    recording.start(0, 0);
    recording.segment(1..10);
    (1..20).for_each(|second| recording.second(second, 0, 0));
    let gaps = recording.gaps(Some(5), Some(25));
    // A lane tells within 0.3 s what it has received: the last line may lack that.
    assert_eq!(spans(&gaps), [(18, 25)], "nothing is known of what comes after");
    assert!(gaps[0].2.contains("without stopping"), "{gaps:?}");
    // The next session finds the segment that was left open.
    let segment = recording.segment(20..22);
    let recover = Event::Recover {
        segment,
        committed_bytes: 100,
        kept_bytes: 100,
        cut_bytes: 7,
        records: 2,
        first: at(20),
        last: at(21),
    };
    recording.log(40, recover);
    recording.start(41, 0);
    recording.second(50, 0, 0);
    let gaps = recording.gaps(Some(5), Some(45));
    assert_eq!(spans(&gaps), [(18, 41)], "{gaps:?}");
    assert!(gaps[0].2.contains("crash"), "{gaps:?}");
    assert!(recording.ask(Some(5), Some(45)).notes.iter().any(|note| note.contains("last 7 bytes")));
}

#[test]
fn what_a_lane_had_not_written_when_its_recorder_died_is_missing_whatever_other_lanes_wrote() {
    let mut recording = Recording::new();
    (0..2).for_each(|lane| recording.start(0, lane));
    recording.segment(1..12);
    let second = |recording: &mut Recording, lane: u16, behind_ms: u32| {
        let pace = LaneLoad { behind_ms, ..LaneLoad::default() };
        let dropped = Drops::default();
        recording.log(10, Event::Second { lane, received: 9, written: 7, dropped, bytes: 0, pace });
    };
    second(&mut recording, 0, 0);
    second(&mut recording, 1, 2500);
    assert_eq!(spans(&recording.gaps(Some(5), Some(11))), [(7, 11)]);
    assert!(recording.ask(Some(5), Some(7)).is_complete());
    // It stopped as it should: then everything is written.
    (0..2).for_each(|lane| recording.stop(12, lane, 0));
    assert!(recording.ask(Some(5), Some(11)).is_complete());
}

#[test]
fn a_lane_whose_start_is_in_no_logbook_is_asked_how_far_it_had_written_too() {
    let mut recording = Recording::new();
    recording.segment(1..12);
    for (lane, behind_ms) in [(0, 2500), (1, 0)] {
        let pace = LaneLoad { behind_ms, ..LaneLoad::default() };
        let dropped = Drops::default();
        recording.log(10, Event::Second { lane, received: 9, written: 7, dropped, bytes: 0, pace });
    }
    let gaps = recording.gaps(Some(5), Some(11));
    for lane in ["lane 0", "lane 1"] {
        assert!(gaps.iter().any(|gap| gap.2.contains(lane)), "{lane}: {gaps:?}");
    }
}

#[test]
fn drops_count_by_the_second_and_in_the_rest_before_a_stop() {
    let mut recording = Recording::new();
    recording.start(0, 0);
    recording.segment(1..30);
    recording.second(10, 0, 5);
    recording.second(11, 0, 0);
    recording.second(12, 0, 2);
    recording.stop(30, 0, 10);
    let dropped = |from, to| recording.ask(from, to).dropped.kernel;
    assert_eq!(dropped(Some(1), Some(9)), 0);
    assert_eq!(dropped(Some(1), Some(10)), 5);
    assert_eq!(dropped(Some(10), Some(11)), 0);
    assert_eq!(dropped(Some(1), Some(12)), 7);
    assert_eq!(dropped(None, None), 10);
    assert!(
        recording.ask(Some(1), Some(12)).lines().iter().any(|line| line.contains("7 packets by the kernel"))
    );
}

#[test]
fn what_has_expired_is_no_longer_kept() {
    let mut recording = Recording::new();
    recording.start(0, 0);
    let first = recording.segment(1..10);
    let second = recording.segment(10..20);
    recording.segment(20..30);
    recording.stop(30, 0, 0);
    recording.test.store.remove(&first).unwrap();
    let (freed_bytes, reason) = (100, "budget".to_owned());
    let event = Event::Expire {
        segment: first,
        freed_bytes,
        reason,
        held_bytes: None,
        first: Some(at(1)),
        last: Some(at(9)),
    };
    recording.log(40, event);
    let kept = |from, to| recording.ask(from, to).no_longer_kept;
    let span = |from, to: Timestamp| Some(Span { from: at(from), to });
    assert_eq!(kept(Some(5), Some(15)), span(5, at(9).plus_ns(1)));
    assert_eq!(kept(Some(12), Some(15)), None);
    assert_eq!(kept(None, Some(25)), None, "an open start is the oldest packet kept");
    // One that is gone without a word.
    recording.test.store.remove(&second).unwrap();
    assert_eq!(recording.ask(Some(12), Some(25)).no_longer_kept, span(12, at(19).plus_ns(1)));
}

#[test]
fn an_interface_that_was_away_leaves_a_gap_of_its_lane() {
    let mut recording = Recording::new();
    recording.start(0, 0);
    recording.start(0, 1);
    recording.segment(1..30);
    recording.second(3, 1, 0);
    recording.log(5, Event::Down { lane: 1, reason: "eth1 is gone".into(), worked_until: None });
    recording.log(8, Event::Up { lane: 1 });
    let worked_until = Some(at(24));
    recording.log(25, Event::Down { lane: 1, reason: "eth1 is gone".into(), worked_until });
    recording.stop(30, 0, 0);
    recording.stop(30, 1, 0);
    let gaps = recording.gaps(Some(1), Some(29));
    assert_eq!(spans(&gaps), [(5, 8), (24, 29)], "from when it was last found well");
    assert!(gaps[0].2.contains("lane 1") && gaps[0].2.contains("eth1 is gone"));
}

#[test]
fn an_interface_that_was_never_there_is_missing_from_the_start() {
    let mut recording = Recording::new();
    recording.start(10, 0);
    let reason = "eth0: no such interface".to_owned();
    recording.log(11, Event::Down { lane: 0, reason, worked_until: None });
    let open_range = recording.ask(None, None);
    assert!(!open_range.is_complete(), "{open_range:?}");
    // No packets are still on their way that the last moments should be left out for.
    assert_eq!(spans(&recording.gaps(Some(9), Some(13))), [(9, 10), (10, 11), (10, 13)]);
}

#[test]
fn imports_have_no_gaps_also_beside_a_recorder() {
    let mut recording = Recording::new();
    let import = |recording: &mut Recording, seconds: std::ops::Range<u32>| {
        let segment = name(seconds.start + 1000, 0);
        let packets: Vec<_> = seconds.clone().map(|second| packet(second * 1000, 0, 100)).collect();
        recording.log(1000, Event::open(segment, "old.pcap", LinkType::ETHERNET));
        recording.test.seal(segment, packets);
        recording.log(
            1001,
            Event::Import {
                file: "old.pcap".into(),
                records: 1,
                damage: None,
                first: None,
                last: None,
                left_out: None,
            },
        );
    };
    import(&mut recording, 1..5);
    import(&mut recording, 20..25);
    assert!(recording.ask(Some(0), Some(100)).is_complete());
    // A recorder that begins later knows nothing of the time before, but for what was imported.
    recording.start(50, 0);
    recording.segment(51..60);
    recording.stop(60, 0, 0);
    let gaps = recording.gaps(Some(1), Some(60));
    assert!(spans(&gaps).iter().all(|(from, to)| *from >= 4 && *to <= 50), "{gaps:?}");
    assert!(recording.ask(Some(1), Some(4)).is_complete());
}

#[test]
fn a_clock_step_and_a_failing_disk_are_noted() {
    let mut recording = Recording::new();
    recording.start(0, 0);
    recording.segment(1..30);
    recording.log(5, Event::ClockStep { by_ns: -2_500_000_000 });
    recording.log(6, Event::DiskError { lane: 0, reason: "no space left".into(), lost: None });
    recording.stop(30, 0, 0);
    let found = recording.ask(Some(1), Some(29));
    assert!(found.is_complete() && found.notes.len() == 2, "{:?}", found.notes);
    assert!(found.notes[0].contains("-2.5") && found.notes[1].contains("no space left"));
    assert!(recording.ask(Some(10), Some(29)).notes.is_empty());
}

#[test]
fn a_large_logbook_is_read_only_where_it_matters() {
    let mut recording = Recording::new();
    const DAY: u32 = 86_400;
    recording.start(0, 0);
    for day in 0..4 {
        // Some 2 MB of signs of life a day.
        (0..DAY).step_by(6).for_each(|second| recording.second(day * DAY + second + 1, 0, 0));
        recording.segment(day * DAY + 100..day * DAY + 110);
    }
    assert!(recording.ask(Some(DAY + 50), Some(2 * DAY)).is_complete());
    assert!(recording.ask(Some(50), Some(4 * DAY - 50)).is_complete());
    assert_eq!(spans(&recording.gaps(Some(3 * DAY), Some(5 * DAY))), [(4 * DAY - 6, 5 * DAY)]);
}

#[test]
fn the_time_that_a_clock_passes_over_is_a_gap() {
    let mut recording = Recording::new();
    recording.start(0, 0);
    recording.segment(1..10);
    // The power fails; the machine comes back with a clock that has stood still, and is set right.
    recording.start(20, 0);
    let across = name(21, 0);
    recording.log(21, Event::open(across, "eth0", LinkType::ETHERNET));
    recording.log(4000, Event::ClockStep { by_ns: 3_970_000_000_000 });
    let packets = vec![packet(22_000, 0, 100), packet(29_000, 0, 100), packet(4_010_000, 0, 100)];
    let bytes = recording.test.seal(across, packets).len() as u64;
    recording.log(4020, Event::Seal { segment: across, records: 3, bytes, first: at(22), last: at(4010) });
    recording.stop(4030, 0, 0);
    let gaps = recording.gaps(Some(21), Some(4030));
    assert_eq!(spans(&gaps), [(30, 3998)]);
    assert!(gaps[0].2.contains("set forward"), "{gaps:?}");
    assert!(recording.ask(Some(21), Some(30)).is_complete());
    assert!(recording.ask(Some(4000), Some(4030)).is_complete());
}

#[test]
fn a_packet_of_a_wrong_time_hides_no_gap() {
    let mut recording = Recording::new();
    recording.start(10, 0);
    recording.segment(11..20);
    recording.stop(30, 0, 0);
    recording.start(20_000, 0);
    let odd = name(20_001, 0);
    recording.log(20_001, Event::open(odd, "eth0", LinkType::ETHERNET));
    let packets = vec![packet(20_002_000, 0, 100), packet(1000, 0, 100), packet(20_003_000, 0, 100)];
    let bytes = recording.test.seal(odd, packets).len() as u64;
    recording.log(20_010, Event::Seal { segment: odd, records: 3, bytes, first: at(1), last: at(20_003) });
    recording.stop(20_020, 0, 0);
    assert_eq!(spans(&recording.gaps(Some(0), Some(20_020))), [(0, 10), (30, 20_000)]);
    std::fs::remove_file(recording.test.store.sealed_path(&odd)).unwrap();
    let gaps = recording.gaps(Some(11), Some(20_015));
    assert_eq!(spans(&gaps), [(30, 20_000)], "nor once it is gone");
}
