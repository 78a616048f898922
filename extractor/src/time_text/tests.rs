use jiff::tz::TimeZone;
use netrewind_store::Timestamp;

use super::*;

/// 2026-11-22T09:31:01.628448290Z.
const NOW: Timestamp = Timestamp::new(1_795_339_861, 628_448_290);

fn zone(name: &str) -> TimeZone {
    time_zone(name).unwrap_or_else(|error| panic!("{error}"))
}

fn ask(from: &str, to: &str, now: Timestamp, zone_name: &str) -> Result<AskedRange, WrongTime> {
    fn given(text: &str) -> Option<&str> {
        Some(text).filter(|text| !text.is_empty())
    }
    let written = WrittenRange { from: given(from), to: given(to), ..WrittenRange::default() };
    range(&written, now, &zone(zone_name))
}

/// Start of a range, in UTC.
fn from_of(text: &str, zone_name: &str) -> String {
    let asked = ask(text, "9999-12-31", NOW, zone_name).unwrap_or_else(|error| panic!("{text}: {error}"));
    asked.from.map_or_else(|| "open".to_owned(), |from| from.to_string())
}

fn refused(from: &str, to: &str, zone_name: &str) -> String {
    match ask(from, to, NOW, zone_name) {
        Err(error) => error.to_string(),
        Ok(asked) => panic!("{from:?} to {to:?} is {asked:?}"),
    }
}

#[test]
fn every_way_to_write_a_time() {
    for (text, zone_name, wanted) in [
        ("2026-11-22T09:31:01.628448290Z", "UTC", "2026-11-22T09:31:01.628448290Z"),
        ("2026-11-22t10:31:01.62844829+01:00", "UTC", "2026-11-22T09:31:01.628448290Z"),
        ("2026-11-22 10:31+01:00", "UTC", "2026-11-22T09:31:00.000000000Z"),
        ("2026-11-22T10:31[Europe/Rome]", "UTC", "2026-11-22T09:31:00.000000000Z"),
        ("1795339861.62844829", "Europe/Rome", "2026-11-22T09:31:01.628448290Z"),
        ("1795339861", "UTC", "2026-11-22T09:31:01.000000000Z"),
        ("1795339861628", "UTC", "2026-11-22T09:31:01.628000000Z"),
        ("1795339861628.44829", "UTC", "2026-11-22T09:31:01.628448290Z"),
        ("1795339861628448", "UTC", "2026-11-22T09:31:01.628448000Z"),
        ("1795339861628448290", "UTC", "2026-11-22T09:31:01.628448290Z"),
        ("5.5", "UTC", "1970-01-01T00:00:05.500000000Z"),
        ("0", "UTC", "1970-01-01T00:00:00.000000000Z"),
        ("4294967295.999999999", "UTC", "2106-02-07T06:28:15.999999999Z"),
        ("2026-11-22 09:31:01.628448290", "UTC", "2026-11-22T09:31:01.628448290Z"),
        ("2026-11-22 9:31", "UTC", "2026-11-22T09:31:00.000000000Z"),
        ("2026-11-22 10:31", "Europe/Rome", "2026-11-22T09:31:00.000000000Z"),
        ("2026-11-22 10:31 UTC", "Europe/Rome", "2026-11-22T10:31:00.000000000Z"),
        ("2026-11-22 10:31", "+01:00", "2026-11-22T09:31:00.000000000Z"),
        ("2026-11-22", "Europe/Rome", "2026-11-21T23:00:00.000000000Z"),
        ("now", "UTC", "2026-11-22T09:31:01.628448290Z"),
        (" Now ", "UTC", "2026-11-22T09:31:01.628448290Z"),
        ("2h ago", "UTC", "2026-11-22T07:31:01.628448290Z"),
        ("-2h", "UTC", "2026-11-22T07:31:01.628448290Z"),
        ("1d 30m ago", "Europe/Rome", "2026-11-21T09:01:01.628448290Z"),
        ("-1h30m", "UTC", "2026-11-22T08:01:01.628448290Z"),
        ("09:30", "UTC", "2026-11-22T09:30:00.000000000Z"),
        ("9:30:15.25", "UTC", "2026-11-22T09:30:15.250000000Z"),
        ("09:30", "Europe/Rome", "2026-11-22T08:30:00.000000000Z"),
        ("today", "Europe/Rome", "2026-11-21T23:00:00.000000000Z"),
        ("today 09:30", "-05:00", "2026-11-22T14:30:00.000000000Z"),
        ("yesterday", "UTC", "2026-11-21T00:00:00.000000000Z"),
        ("Yesterday 14:00", "Europe/Rome", "2026-11-21T13:00:00.000000000Z"),
        // It is the 23rd there already.
        ("yesterday 23:00", "+15:00", "2026-11-22T08:00:00.000000000Z"),
        ("tomorrow", "UTC", "2026-11-23T00:00:00.000000000Z"),
        ("1969-12-31", "UTC", "open"),
        ("1969-12-31T20:00:00-05:00", "UTC", "1970-01-01T01:00:00.000000000Z"),
        ("0001-01-01", "Europe/Rome", "open"),
        ("100y ago", "UTC", "open"),
    ] {
        assert_eq!(from_of(text, zone_name), wanted, "{text:?} in {zone_name}");
    }
}

#[test]
fn what_is_no_time_is_refused_with_what_to_write() {
    for (text, remedy) in [
        ("yesterdayish", "'2h ago'"),
        ("09h30", "'09:30' (today)"),
        ("25:00", "'2026-11-22 09:30'"),
        ("today 25:00", "09:30"),
        ("today at noon", "09:30"),
        ("22.11.2026 09:30", "'2026-11-22 09:30'"),
        ("11/22/2026", "'2026-11-22 09:30'"),
        ("2026-02-30", "'2026-11-22 09:30'"),
        ("1795339861.1234567891", "9 decimals"),
        ("99999999999999999999", "seconds since 1970"),
        ("20261122", "'2026-11-22'"),
        ("20261122093015", "'2026-11-22 09:30:15'"),
        ("2026", "'2026-01-01'"),
        ("0930", "'09:30' (today)"),
        ("5m", "'5m ago'"),
        ("-5", "+5m"),
        ("soon ago", "'2h ago'"),
        ("+5m", "only be the end"),
    ] {
        let said = refused(text, "", "UTC");
        assert!(said.starts_with("from: ") && said.contains(remedy), "{text:?}: {said}");
        let internals = ["parse", "expected", "digit found", "failed", "ISO"];
        assert!(!internals.iter().any(|word| said.replace(text, "").contains(word)), "{text:?}: {said}");
    }
}

#[test]
fn an_hour_that_comes_twice_or_never_is_told_with_how_to_write_it() {
    for (text, zone_name, words, first, second) in [
        (
            "2026-10-25 02:15",
            "Europe/Rome",
            "comes twice in Europe/Rome",
            "2026-10-25T00:15:00Z",
            "2026-10-25T01:15:00Z",
        ),
        ("2026-10-25T02:00:00", "Europe/Rome", "comes twice", "2026-10-25T00:00:00Z", "2026-10-25T01:00:00Z"),
        ("2026-03-29 02:30", "Europe/Rome", "does not exist", "2026-03-29T00:30:00Z", "2026-03-29T01:30:00Z"),
        (
            "2026-11-01 01:30",
            "America/New_York",
            "comes twice",
            "2026-11-01T05:30:00Z",
            "2026-11-01T06:30:00Z",
        ),
    ] {
        let said = refused(text, "9999-12-31", zone_name);
        assert!(said.contains(words) && said.contains("clocks"), "{said}");
        let written: Vec<&str> = said.split('\'').skip(1).step_by(2).collect();
        let meant: Vec<String> = written.iter().map(|text| from_of(text, zone_name)).collect();
        let wanted = [first, second].map(|text| text.replace('Z', ".000000000Z"));
        assert_eq!(meant, wanted, "what it says to write: {said}");
    }
    // The hours beside them, and days, have one meaning.
    for (text, wanted) in [
        ("2026-10-25 01:59", "2026-10-24T23:59:00.000000000Z"),
        ("2026-10-25 03:00", "2026-10-25T02:00:00.000000000Z"),
        ("2026-10-25", "2026-10-24T22:00:00.000000000Z"),
        ("2026-03-29 01:59", "2026-03-29T00:59:00.000000000Z"),
        ("2026-03-29 03:00", "2026-03-29T01:00:00.000000000Z"),
    ] {
        assert_eq!(from_of(text, "Europe/Rome"), wanted);
    }
    // On the day itself: yesterday has 25 hours, and its midnight is found.
    let after = "2026-10-26T08:00:00Z".parse().expect("an instant");
    let asked = ask("yesterday", "today", after, "Europe/Rome").expect("a range");
    let length = asked.to.expect("an end").ns_since(asked.from.expect("a beginning"));
    assert_eq!(length, 25 * 3600 * 1_000_000_000);
    assert!(
        ask("yesterday 02:30", "", after, "Europe/Rome").is_err_and(|error| error.message.contains("twice"))
    );
    // A midnight that clocks leave out: the day begins when it begins.
    let cairo = ask("2026-04-24", "2026-04-25", NOW, "Africa/Cairo").expect("a range");
    assert_eq!(cairo.from.map(|from| from.to_string()).as_deref(), Some("2026-04-23T22:00:00.000000000Z"));
}

#[test]
fn ranges_in_which_nothing_can_be_are_a_mistake() {
    for (from, to, words) in [
        (
            "2026-09-22",
            "2026-09-21",
            "to: the range would end at 2026-09-21T00:00:00.000000000Z, which is earlier",
        ),
        ("2026-09-22", "2026-09-22", "to: the range would begin and end at 2026-09-22"),
        ("now", "", "from: the range begins now"),
        ("23:00", "", "'yesterday 23:00'"),
        ("tomorrow", "", "in the future"),
        ("23:00", "01:00", "earlier than its beginning"),
        ("2107-01-01", "", "\"2107-01-01\" is too late"),
        ("9999-12-31T23:59:59-05:00", "", "times end at 2106-02-07T06:28:15.999999999Z"),
        ("4294967296", "", "times end at"),
        ("", "1969-12-31", "times begin with 1970"),
        ("", "0", "times begin there"),
        ("", "+5m", "give a from"),
        ("2026-09-22", "+-5m", "earlier"),
    ] {
        let said = refused(from, to, "UTC");
        assert!(said.contains(words), "{from:?} to {to:?}: {said}");
    }
    let said = refused("2026-09-22", "2026-09-21", "Europe/Rome");
    assert!(said.contains("2026-09-21T00:00:00.000000000+02:00"), "in the zone that was asked in: {said}");
}

#[test]
fn ends_that_are_not_said() {
    let to = |from: &str, to: &str| ask(from, to, NOW, "UTC").expect("a range").to;
    for relative in ["5m ago", "-5m", "today 09:30", "09:30", "yesterday", "1mo ago", "100y ago"] {
        assert_eq!(to(relative, ""), Some(NOW), "{relative}");
    }
    for fixed in ["", "2026-11-01", "1795339861", "2026-11-22T09:00Z"] {
        assert_eq!(to(fixed, ""), None, "{fixed}");
    }
    for far in
        ["9999-12-31", "2107-01-01", "9999999999", "9999-12-31T23:59:59Z", "9999-12-31 23:59:59", "+1000y"]
    {
        assert_eq!(to("2026-11-01", far), None, "{far}");
    }
    assert_eq!(to("2026-11-01", "+5m"), Some(Timestamp::new(1_793_491_500, 0)));
    assert_eq!(to("2h ago", "+90m"), Some(Timestamp(NOW.ns() - 1_800_000_000_000)));
    let following = WrittenRange { from: Some("5m ago"), follows: true, ..WrittenRange::default() };
    assert_eq!(range(&following, NOW, &TimeZone::UTC).expect("a range").to, None);
    let from_now = WrittenRange { from: Some("now"), ..following };
    assert_eq!(range(&from_now, NOW, &TimeZone::UTC).expect("a range").from, Some(NOW));
}

#[test]
fn a_range_that_has_not_come_yet_is_told() {
    let note = |from: &str, to: &str| ask(from, to, NOW, "Europe/Rome").expect("a range").note;
    let said = note("2040-01-01", "2040-01-02").expect("a note");
    assert!(said.contains("future") && said.contains("2040-01-01T00:00:00.000000000+01:00"), "{said}");
    assert!(note("2027-01-01", "").is_some());
    assert_eq!(note("2026-11-22", "2040-01-01"), None);
    let following = WrittenRange { from: Some("2040-01-01"), follows: true, ..WrittenRange::default() };
    assert_eq!(range(&following, NOW, &TimeZone::UTC).expect("a range").note, None);
}

#[test]
fn zones_are_names_and_offsets() {
    for (text, seconds) in [
        ("+02:00", 7200),
        ("-0530", -19_800),
        ("+2", 7200),
        ("UTC+01:00", 3600),
        ("utc", 0),
        ("Z", 0),
        ("+00:00", 0),
    ] {
        let offset = zone(text).to_offset(jiff::Timestamp::UNIX_EPOCH);
        assert_eq!(offset.seconds(), seconds, "{text}");
    }
    assert_eq!(zone("europe/rome").iana_name(), Some("Europe/Rome"));
    for text in ["Mars", "+25:00", "+1:2", "+02:60", "", "++2", "CEST", "/etc/passwd", "../UTC"] {
        let said = time_zone(text).expect_err(text);
        assert!(said.contains("Europe/Rome, UTC, or +02:00"), "{said}");
    }
}

#[test]
fn lines_are_told_in_the_zone_that_was_asked_in() {
    let line = "complete: 2026-11-22T09:31:01.000000001Z to 2026-07-01T00:00:00.000000000Z (2026-11-22/093101.000000001Z-0) T";
    assert_eq!(in_zone(line, &TimeZone::UTC), line);
    assert_eq!(
        in_zone(line, &zone("Europe/Rome")),
        "complete: 2026-11-22T10:31:01.000000001+01:00 to 2026-07-01T02:00:00.000000000+02:00 (2026-11-22/093101.000000001Z-0) T"
    );
    assert_eq!(
        in_zone("è T 2026-11-22T09:31:01.000000001", &zone("+02:00")),
        "è T 2026-11-22T09:31:01.000000001"
    );
}

#[test]
fn durations() {
    assert_eq!(duration("1h 30m"), Ok(Duration::from_secs(5_400)));
    for text in ["-5s", "soon", "", "5"] {
        let said = duration(text).expect_err(text);
        assert!(said.contains("60s, 1h 30m, or 7d"), "{said}");
    }
}

#[test]
fn around_a_time() {
    let ask = |around: &str, window: Option<&str>| {
        let written = WrittenRange { around: Some(around), window, ..WrittenRange::default() };
        range(&written, NOW, &TimeZone::UTC)
    };
    let shown =
        |asked: AskedRange| [asked.from, asked.to].map(|at| at.map_or_else(String::new, |at| at.to_string()));
    // As Suricata writes it.
    let asked = ask("2026-11-22T09:30:00.250000+0000", Some("30s")).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(shown(asked), ["2026-11-22T09:29:30.250000000Z", "2026-11-22T09:30:30.250000000Z"]);
    let asked = ask("1h ago", None).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(shown(asked), ["2026-11-22T08:30:01.628448290Z", "2026-11-22T08:32:01.628448290Z"]);
    let asked = ask("1970-01-01T00:00:01Z", Some("1h")).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(asked.from, Some(Timestamp::MIN));
    assert!(
        ask("2030-01-01", None).is_ok_and(|asked| asked.note.is_some_and(|note| note.contains("future")))
    );
    for (around, window, parameter) in [
        ("soon", None, "around"),
        ("now", Some("0s"), "window"),
        ("now", Some("x"), "window"),
        ("9999-01-01", None, "around"),
    ] {
        assert!(ask(around, window).is_err_and(|error| error.parameter == parameter), "{around} {window:?}");
    }
    let both = WrittenRange { around: Some("now"), from: Some("1h ago"), ..WrittenRange::default() };
    assert!(range(&both, NOW, &TimeZone::UTC).is_err_and(|error| error.parameter == "around"));
    let window = WrittenRange { window: Some("5s"), ..WrittenRange::default() };
    assert!(range(&window, NOW, &TimeZone::UTC).is_err_and(|error| error.parameter == "window"));
}
