//! Events of other tools whose packets are wanted: Suricata's EVE log, Zeek's `conn.log`.
//!
//! ```text
//! a line -> LoggedEvent: addresses, ports, protocol, time -> a filter and a range, or an entry of a list
//! what a person pastes -> Alert: the same, also of a Community ID or a 5-tuple
//! ```

mod alert;
mod tuple;

pub use alert::{ALERT_BYTES_MAX, ALERT_EVENTS_MAX, Alert, AlertKind, read_alert};

use std::io::BufRead;
use std::net::IpAddr;
use std::time::Duration;

use jiff::tz::TimeZone;
use netrewind_store::Timestamp;
use serde_json::{Map, Value};

use crate::lists::{EventTuple, ListDemands, ListedEvent};
use crate::query::Query;
use crate::time_text::{self, WrittenRange};

/// Events of one log at most.
pub const EVENTS_MAX: usize = 1 << 18;
/// The longest line, in bytes.
const LINE_BYTES_MAX: u64 = 1 << 20;
/// Longest part of an event's name in a file's name.
const NAME_BYTES_MAX: usize = 64;

/// Kind of log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogKind {
    /// Suricata: JSON lines with `src_ip`, `dest_ip`, `timestamp`.
    Eve,
    /// Zeek's `conn.log`, as JSON lines or tab-separated with a head.
    Zeek,
}

/// A conversation that a tool has logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoggedEvent {
    /// Its name: the tool's own id, and its number in the log.
    pub name: String,
    /// Its two ends.
    pub tuple: EventTuple,
    /// Its range, with the window before and after.
    pub from: Timestamp,
    /// End of the range, exclusive.
    pub to: Timestamp,
}

impl LoggedEvent {
    /// The query for its packets. Tools name no VLAN tags, so they do not count.
    pub fn query(&self, asked: &Query) -> Query {
        Query { filter: joined(&asked.filter, &self.tuple.filter()), ..in_range(asked, self.from, self.to) }
    }
}

/// The query for the packets of all events: those of each conversation, in its own range.
pub fn query_for_all(events: &[LoggedEvent], asked: &Query) -> Query {
    let from = events.iter().map(|event| event.from).min().unwrap_or(Timestamp::MIN);
    let to = events.iter().map(|event| event.to).max().unwrap_or(Timestamp::MAX);
    let listed = |event: &LoggedEvent| ListedEvent { tuple: event.tuple, from: event.from, to: event.to };
    let list: Vec<ListedEvent> = events.iter().map(listed).collect();
    let lists = ListDemands { events: Some(list.into()), ..asked.lists.clone() };
    Query { lists, ..in_range(asked, from, to) }
}

fn in_range(asked: &Query, from: Timestamp, to: Timestamp) -> Query {
    Query { from: Some(from), to: Some(to), note: None, ignore_vlan: true, ..asked.clone() }
}

fn joined(asked: &str, filter: &str) -> String {
    if asked.trim().is_empty() { filter.to_owned() } else { format!("({asked}) and ({filter})") }
}

/// Way in which times of a log become ranges.
#[derive(Clone, Copy, Debug)]
pub struct EventTimes<'a> {
    /// Present time.
    pub now: Timestamp,
    /// Zone of times without one.
    pub zone: &'a TimeZone,
    /// Time before and after an event.
    pub window: &'a str,
}

/// Window of an event, unless it is given: [`time_text::AROUND_WINDOW`].
pub const EVENT_WINDOW: &str = "1m";

/// Reads a log. Lines of other kinds of events, such as Suricata's statistics, have no addresses and are passed over.
pub fn read(
    log: &mut dyn BufRead,
    kind: LogKind,
    times: &EventTimes<'_>,
) -> Result<Vec<LoggedEvent>, String> {
    let (mut events, mut columns, mut text) = (Vec::new(), Vec::new(), String::new());
    for number in 1.. {
        text.clear();
        let mut line = std::io::Read::take(&mut *log, LINE_BYTES_MAX);
        let bytes = line.read_line(&mut text).map_err(|error| at_line(number, &error))?;
        if bytes == 0 {
            break;
        }
        let line = text.trim_end();
        if let Some(names) = line.strip_prefix("#fields\t") {
            columns = names.split('\t').map(str::to_owned).collect();
        }
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        let fields = fields_of(line, &columns).map_err(|reason| at_line(number, &reason))?;
        if let Some(event) = event(&fields, kind, number, times).map_err(|reason| at_line(number, &reason))? {
            if events.len() >= EVENTS_MAX {
                return Err(format!("the log has more than {EVENTS_MAX} events: choose some of its lines"));
            }
            events.push(event);
        }
    }
    match events.is_empty() {
        true => Err("the log has no event with addresses and a time".to_owned()),
        false => Ok(events),
    }
}

fn at_line(number: u64, reason: &dyn std::fmt::Display) -> String {
    format!("line {number} of the log: {reason}")
}

/// The fields of a line: of a JSON object, or by the head of a table.
fn fields_of(line: &str, columns: &[String]) -> Result<Map<String, Value>, String> {
    if line.starts_with('{') {
        return serde_json::from_str(line).map_err(|error| error.to_string());
    }
    if columns.is_empty() {
        return Err("it is neither a JSON object nor a line of a table with a head (#fields)".to_owned());
    }
    // Zeek writes - where it knows nothing.
    let known = columns.iter().zip(line.split('\t')).filter(|(_, value)| *value != "-");
    Ok(known.map(|(name, value)| (name.clone(), Value::String(value.to_owned()))).collect())
}

/// `None` for an event that is about no conversation.
fn event(
    fields: &Map<String, Value>,
    kind: LogKind,
    number: u64,
    times: &EventTimes<'_>,
) -> Result<Option<LoggedEvent>, String> {
    let [source, source_port, destination, destination_port] = match kind {
        LogKind::Eve => ["src_ip", "src_port", "dest_ip", "dest_port"],
        LogKind::Zeek => ["id.orig_h", "id.orig_p", "id.resp_h", "id.resp_p"],
    };
    let (Some(source), Some(destination)) = (address(fields, source)?, address(fields, destination)?) else {
        return Ok(None);
    };
    let ports = [port(fields, source_port)?, port(fields, destination_port)?];
    let tuple = EventTuple::of([source, destination], ports, text(fields, "proto").as_deref());
    let (begin, end) = match kind {
        LogKind::Eve => (member(fields, "flow", "start"), text(fields, "timestamp")),
        LogKind::Zeek => (None, text(fields, "ts")),
    };
    let end = end.ok_or("it has no time")?;
    let (from, to) = around(begin.as_deref().unwrap_or(&end), &end, times)?;
    let id = match kind {
        LogKind::Eve => text(fields, "flow_id"),
        LogKind::Zeek => text(fields, "uid"),
    };
    let name = name(id.as_deref(), number);
    let to = to.plus_ns(duration_ns(fields)?);
    Ok(Some(LoggedEvent { name, tuple, from, to }))
}

/// The range of an event from its beginning to its end.
fn around(begin: &str, end: &str, times: &EventTimes<'_>) -> Result<(Timestamp, Timestamp), String> {
    let range = |text: &str| {
        let written =
            WrittenRange { around: Some(text), window: Some(times.window), ..WrittenRange::default() };
        time_text::range(&written, times.now, times.zone).map_err(|error| error.to_string())
    };
    let (first, last) = (range(begin)?, range(end)?);
    let from = first.from.min(last.from).unwrap_or(Timestamp::MIN);
    Ok((from, first.to.max(last.to).unwrap_or(Timestamp::MAX)))
}

/// Zeek's `duration`, in seconds.
fn duration_ns(fields: &Map<String, Value>) -> Result<u64, String> {
    let Some(written) = text(fields, "duration") else { return Ok(0) };
    let seconds = written.parse::<f64>().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    let duration = seconds.ok_or_else(|| format!("its duration {written:?} is not a number of seconds"))?;
    Ok(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX))
}

/// A field as text; `None` if there is none.
fn text(fields: &Map<String, Value>, name: &str) -> Option<String> {
    match fields.get(name)? {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

fn member(fields: &Map<String, Value>, object: &str, name: &str) -> Option<String> {
    text(fields.get(object)?.as_object()?, name)
}

fn address(fields: &Map<String, Value>, name: &str) -> Result<Option<IpAddr>, String> {
    let Some(written) = text(fields, name) else { return Ok(None) };
    written.parse().map(Some).map_err(|_| format!("{name} {written:?} is not an address"))
}

fn port(fields: &Map<String, Value>, name: &str) -> Result<Option<u16>, String> {
    let Some(written) = text(fields, name) else { return Ok(None) };
    written.parse().map(Some).map_err(|_| format!("{name} {written:?} is not a port"))
}

/// A name that is safe as part of a file's name.
fn name(id: Option<&str>, number: u64) -> String {
    let is_plain = |letter: &char| letter.is_ascii_alphanumeric() || "-_".contains(*letter);
    let id: String = id.unwrap_or_default().chars().filter(is_plain).take(NAME_BYTES_MAX).collect();
    if id.is_empty() { number.to_string() } else { format!("{number}-{id}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-22T09:31:01.628448290Z.
    const NOW: Timestamp = Timestamp::new(1_795_339_861, 628_448_290);

    fn read_all(text: &str, kind: LogKind) -> Result<Vec<LoggedEvent>, String> {
        let times = EventTimes { now: NOW, zone: &TimeZone::UTC, window: "30s" };
        read(&mut text.as_bytes(), kind, &times)
    }

    const EVE: &str = r#"{"timestamp":"2026-11-22T09:30:00.250000+0000","flow_id":1234,"event_type":"alert","src_ip":"10.0.0.5","src_port":50000,"dest_ip":"192.0.2.1","dest_port":443,"proto":"TCP","flow":{"start":"2026-11-22T09:20:00.000000+0000"}}
{"timestamp":"2026-11-22T09:30:01.000000+0000","event_type":"stats","stats":{"uptime":1}}
{"timestamp":"2026-11-22T09:30:02.000000+0000","flow_id":7,"src_ip":"fe80::1","dest_ip":"ff02::1","icmp_type":134,"proto":"IPv6-ICMP"}
"#;
    const ZEEK: &str = "#separator \\x09\n#fields\tts\tuid\tid.orig_h\tid.orig_p\tid.resp_h\tid.resp_p\tproto\tduration\n\
        1795339800.5\tCHhAvVGS1DHFjwGM9\t10.0.0.5\t1000\t10.0.0.9\t53\tudp\t2.5\n1795339801\tC2\t10.0.0.5\t8\t10.0.0.9\t0\ticmp\t-\n#close\t2026\n";

    #[test]
    fn events_become_filters_and_ranges() {
        let events = read_all(EVE, LogKind::Eve).unwrap_or_else(|error| panic!("{error}"));
        let names: Vec<&str> = events.iter().map(|event| &*event.name).collect();
        assert_eq!(names, ["1-1234", "3-7"], "statistics are passed over");
        assert_eq!(events[0].from.to_string(), "2026-11-22T09:19:30.000000000Z", "from the flow's start");
        assert_eq!(events[0].to.to_string(), "2026-11-22T09:30:30.250000000Z");
        let filter = events[0].tuple.filter();
        assert!(filter.contains("src port 50000 and dst port 443"), "{filter}");
        assert_eq!(events[1].tuple.filter(), "host fe80::1 and host ff02::1 and icmp6");
        let events = read_all(ZEEK, LogKind::Zeek).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(events[0].to, Timestamp::new(1_795_339_833, 0), "its duration is added");
        assert_eq!(
            (&*events[1].name, &*events[1].tuple.filter()),
            ("4-C2", "host 10.0.0.5 and host 10.0.0.9 and icmp")
        );
        let json = r#"{"ts":1795339800.5,"uid":"C","id.orig_h":"10.0.0.5","id.orig_p":1000,"id.resp_h":"10.0.0.9","id.resp_p":53,"proto":"udp","duration":2.5}"#;
        let of_json = read_all(json, LogKind::Zeek).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!((of_json[0].tuple, of_json[0].to), (events[0].tuple, events[0].to));
        let asked = Query::of("greater 100");
        let all = query_for_all(&events, &asked);
        assert!(all.filter == "greater 100" && all.ignore_vlan);
        let listed = all.lists.events.as_ref().map_or(&[][..], |events| events.entries());
        assert_eq!((listed.len(), listed[0].tuple, listed[1].from), (2, events[0].tuple, events[1].from));
        assert_eq!((all.from, all.to), (Some(events[0].from), Some(events[0].to)));
        let text = serde_json::to_string(&all).unwrap();
        assert_eq!(serde_json::from_str::<Query>(&text).unwrap(), all);
    }

    #[test]
    fn damaged_lines_are_named() {
        for (text, kind, words) in [
            ("{\"src_ip\":", LogKind::Eve, "line 1"),
            (
                "\n{\"src_ip\":\"x\",\"dest_ip\":\"10.0.0.1\",\"timestamp\":\"now\"}",
                LogKind::Eve,
                "line 2 of the log: src_ip \"x\"",
            ),
            ("{\"src_ip\":\"10.0.0.2\",\"dest_ip\":\"10.0.0.1\"}", LogKind::Eve, "no time"),
            ("a\tb", LogKind::Zeek, "#fields"),
            ("{}", LogKind::Zeek, "no event"),
            (
                "{\"ts\":1,\"id.orig_h\":\"::1\",\"id.resp_h\":\"::2\",\"duration\":-1}",
                LogKind::Zeek,
                "duration",
            ),
        ] {
            let error = read_all(text, kind).err().unwrap_or_default();
            assert!(error.contains(words), "{text}: {error}");
        }
    }

    #[test]
    fn a_name_leads_nowhere_else() {
        assert_eq!(name(Some("../../etc/passwd"), 3), "3-etcpasswd");
        assert_eq!(name(Some("/"), 3), "3");
        assert!(name(Some(&"x".repeat(1000)), 3).len() <= NAME_BYTES_MAX + 2);
    }
}
