//! An alert as a person pastes it from another tool: a Community ID, a 5-tuple, lines of Suricata or Zeek.

use std::net::IpAddr;

use netrewind_flows::search::of_community_id;
use netrewind_store::Timestamp;
use serde_json::{Deserializer, Map, Value};

use super::tuple::{self, Tuple};
use super::{EventTimes, LogKind, LoggedEvent, around, event, fields_of, text};
use crate::lists::EventTuple;

/// Bytes of a pasted text at most: a record of EVE may have a packet in it.
pub const ALERT_BYTES_MAX: usize = 512 << 10;
/// Events in it at most: their filters are joined, and stand in an address.
pub const ALERT_EVENTS_MAX: usize = 20;

/// Columns of Zeek's `conn.log`, for a line without its head.
const ZEEK_COLUMNS: [&str; 9] =
    ["ts", "uid", "id.orig_h", "id.orig_p", "id.resp_h", "id.resp_p", "proto", "service", "duration"];
/// Columns that a line of it has to have.
const ZEEK_COLUMNS_MIN: usize = 7;
/// Keys under which tools write a Community ID.
const COMMUNITY_ID_KEYS: [&str; 3] = ["community_id", "network.community_id", "communityId"];

const NOTHING: &str = "nothing in it can be read: paste a Community ID (1:wCb3OG7yAFWelaUydu0D+125CLM=), a 5-tuple \
                       (tcp 10.0.0.5:50000 -> 192.0.2.1:443), or a line of Suricata's EVE log or of Zeek's conn.log";

/// Kind of alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AlertKind {
    /// A Community ID, without a time.
    CommunityId,
    /// Addresses, ports and protocol of a conversation, perhaps with a time.
    Tuple,
    /// Records of Suricata's EVE log.
    Eve,
    /// Lines of Zeek's `conn.log`.
    Zeek,
}

/// What an alert is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alert {
    /// Its kind; of several events that of the first.
    pub kind: AlertKind,
    /// Number of events in it.
    pub events: usize,
    /// A pcap-filter(7) expression for the packets; empty for a Community ID. Tools name no VLAN tags, so they do not count.
    pub filter: String,
    /// A search for the conversations, where no filter tells them.
    pub search: Option<String>,
    /// Earliest and latest time, with the window before and after; `None` if it has no time.
    pub range: Option<(Timestamp, Timestamp)>,
}

/// An event that has a time, or not.
struct AlertEvent {
    kind: AlertKind,
    filter: String,
    search: Option<String>,
    range: Option<(Timestamp, Timestamp)>,
}

/// Reads a pasted text; the error says what is wrong with it, or what it could be.
pub fn read_alert(text: &str, times: &EventTimes<'_>) -> Result<Alert, String> {
    let text = text.trim();
    if text.len() > ALERT_BYTES_MAX {
        return Err(format!("it has more than {ALERT_BYTES_MAX} bytes: paste one event"));
    }
    let events = if let Some(id) = community_id(text) {
        vec![of_id(&id)?]
    } else if is_json(text) {
        of_json(text, times)?
    } else {
        of_lines(text, times)?
    };
    match &events[..] {
        [] => Err(NOTHING.to_owned()),
        events if events.len() > ALERT_EVENTS_MAX => Err(format!(
            "it has more than {ALERT_EVENTS_MAX} events: paste fewer, or use netrewind extract --eve or --zeek"
        )),
        events => joined(events),
    }
}

/// A brace alone may stand around the protocol of a 5-tuple.
fn is_json(text: &str) -> bool {
    text.strip_prefix('{').is_some_and(|rest| rest.trim_start().starts_with(['"', '}']))
}

/// All events as one: any of their conversations, from the earliest to the latest.
fn joined(events: &[AlertEvent]) -> Result<Alert, String> {
    let kind = events.first().map_or(AlertKind::Tuple, |event| event.kind);
    let mut filters: Vec<&str> = events.iter().map(|event| &*event.filter).collect();
    filters.sort_unstable();
    filters.dedup();
    let searches: Vec<&str> = events.iter().filter_map(|event| event.search.as_deref()).collect();
    let is_mixed = !searches.is_empty() && searches.len() < events.len();
    if is_mixed {
        return Err(
            "some of its events have addresses, others a Community ID alone: paste one event".to_owned()
        );
    }
    let filter = match filters[..] {
        [only] => only.to_owned(),
        ref several => several.iter().map(|one| format!("({one})")).collect::<Vec<_>>().join(" or "),
    };
    let ranges = || events.iter().filter_map(|event| event.range);
    let first = ranges().map(|(from, _)| from).min();
    let last = ranges().map(|(_, to)| to).max();
    let search = (!searches.is_empty()).then(|| searches.join(" OR "));
    let filter = if search.is_some() { String::new() } else { filter };
    Ok(Alert { kind, events: events.len(), filter, search, range: first.zip(last) })
}

/// The Community ID that the text is, perhaps behind the name of its field.
fn community_id(text: &str) -> Option<String> {
    let start = text.find("1:")?;
    let (before, id) = text.split_at(start);
    let id = id.trim_end_matches([',', '"', '\'']);
    let is_name = before.chars().all(|letter| letter.is_ascii_alphabetic() || "_-. :=\"'".contains(letter));
    (is_name && of_community_id(id, None).is_ok()).then(|| id.to_owned())
}

fn of_id(id: &str) -> Result<AlertEvent, String> {
    let search = of_community_id(id, None).map_err(|error| error.to_string())?;
    Ok(AlertEvent { kind: AlertKind::CommunityId, filter: String::new(), search: Some(search), range: None })
}

/// Events of JSON objects, in lines or spread over several.
fn of_json(text: &str, times: &EventTimes<'_>) -> Result<Vec<AlertEvent>, String> {
    let mut events = Vec::new();
    for (at, object) in Deserializer::from_str(text).into_iter::<Map<String, Value>>().enumerate() {
        let number = at as u64 + 1;
        let place = |reason: String| if number == 1 { reason } else { format!("event {number}: {reason}") };
        let object = object.map_err(|error| {
            let (line, column) = (error.line(), error.column());
            let cut = if error.is_eof() { "; it ends too early: copy the whole event" } else { "" };
            format!("it begins like JSON, and is none: line {line}, column {column}{cut}")
        })?;
        if events.len() > ALERT_EVENTS_MAX {
            break;
        }
        // As Elasticsearch shows a record.
        let object = match object.get("_source") {
            Some(Value::Object(source)) => source.clone(),
            _ => object,
        };
        events.push(of_object(&object, number, times).map_err(place)?);
    }
    Ok(events)
}

fn of_object(fields: &Map<String, Value>, number: u64, times: &EventTimes<'_>) -> Result<AlertEvent, String> {
    let kinds = [("src_ip", LogKind::Eve, AlertKind::Eve), ("id.orig_h", LogKind::Zeek, AlertKind::Zeek)];
    for (key, kind, of) in kinds {
        if !fields.contains_key(key) {
            continue;
        }
        if let Some(event) = event(fields, kind, number, times)? {
            return Ok(AlertEvent::of(event, of));
        }
    }
    let id = COMMUNITY_ID_KEYS.into_iter().find_map(|key| text(fields, key));
    id.map_or_else(
        || {
            Err("it has neither src_ip and dest_ip, as Suricata writes them, nor Zeek's id.orig_h and id.resp_h, nor a community_id"
                .to_owned())
        },
        |id| of_id(&id),
    )
}

/// Events of lines: of Zeek, with or without the head, or with a 5-tuple each.
fn of_lines(text: &str, times: &EventTimes<'_>) -> Result<Vec<AlertEvent>, String> {
    let mut columns: Vec<String> = Vec::new();
    let mut events = Vec::new();
    let is_alone = text.lines().nth(1).is_none();
    for (at, line) in text.lines().enumerate() {
        let number = at as u64 + 1;
        let place = |reason: String| if is_alone { reason } else { format!("line {number}: {reason}") };
        if let Some(names) = line.strip_prefix("#fields\t") {
            columns = names.split('\t').map(str::to_owned).collect();
        }
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        if events.len() > ALERT_EVENTS_MAX {
            break;
        }
        let fields = match columns.is_empty() {
            true => of_conn_log(line),
            false => Some(fields_of(line, &columns).map_err(place)?),
        };
        let event = match fields {
            Some(fields) => event(&fields, LogKind::Zeek, number, times)
                .and_then(|event| event.ok_or_else(|| "it has no addresses".to_owned()))
                .map(|event| AlertEvent::of(event, AlertKind::Zeek)),
            None => tuple::read(line, NOTHING).and_then(|tuple| of_tuple(&tuple, times)),
        };
        events.push(event.map_err(place)?);
    }
    Ok(events)
}

/// The fields of a line of `conn.log` without its head, whose tabs may have become spaces.
fn of_conn_log(line: &str) -> Option<Map<String, Value>> {
    let values: Vec<&str> = match line.contains('\t') {
        true => line.split('\t').collect(),
        false => line.split_whitespace().collect(),
    };
    let is_address = |at: usize| values.get(at).is_some_and(|value| value.parse::<IpAddr>().is_ok());
    let is_time = values.first().is_some_and(|value| value.parse::<f64>().is_ok());
    if values.len() < ZEEK_COLUMNS_MIN || !is_time || !is_address(2) || !is_address(4) {
        return None;
    }
    let known = ZEEK_COLUMNS.iter().zip(&values).filter(|(_, value)| **value != "-");
    Some(known.map(|(name, value)| ((*name).to_owned(), Value::String((*value).to_owned()))).collect())
}

fn of_tuple(tuple: &Tuple, times: &EventTimes<'_>) -> Result<AlertEvent, String> {
    let filter = EventTuple::of(tuple.ends, tuple.ports, tuple.protocol).filter();
    let range = tuple.time.as_deref().map(|time| around(time, time, times)).transpose()?;
    Ok(AlertEvent { kind: AlertKind::Tuple, filter, search: None, range })
}

impl AlertEvent {
    fn of(event: LoggedEvent, kind: AlertKind) -> Self {
        Self { kind, filter: event.tuple.filter(), search: None, range: Some((event.from, event.to)) }
    }
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;

    use super::*;

    /// 2026-11-22T09:31:01.628448290Z.
    const NOW: Timestamp = Timestamp::new(1_795_339_861, 628_448_290);
    const BOTH_WAYS: &str = "host 10.0.0.5 and host 192.0.2.1 and tcp and ((src host 10.0.0.5 and src port 50000 and dst port 443) \
                             or (dst host 10.0.0.5 and dst port 50000 and src port 443))";

    fn alert(text: &str) -> Result<Alert, String> {
        read_alert(text, &EventTimes { now: NOW, zone: &TimeZone::UTC, window: "1m" })
    }

    #[test]
    fn one_conversation_in_every_spelling_is_one_filter() {
        for text in [
            "tcp 10.0.0.5:50000 -> 192.0.2.1:443",
            "10.0.0.5:50000 → 192.0.2.1:443 TCP",
            "10.0.0.5:50000 <-> 192.0.2.1:443/tcp",
            "10.0.0.5 50000 192.0.2.1 443 6",
            "10.0.0.5,50000,192.0.2.1,443,tcp",
            "10.0.0.5 192.0.2.1 50000 443 TCP",
            "TCP;10.0.0.5;50000;192.0.2.1;443",
            "src=10.0.0.5 spt=50000 dst=192.0.2.1 dpt=443 proto=TCP",
            "src=10.0.0.5 dst=192.0.2.1 spt=50000 dpt=443 proto=6",
            "from 10.0.0.5 port 50000 to 192.0.2.1 port 443 proto tcp",
            "tcp 10.0.0.5/50000 192.0.2.1/443",
            "{TCP} 10.0.0.5:50000 -> 192.0.2.1:443",
            "IP 10.0.0.5.50000 > 192.0.2.1.443: tcp, seq 17",
            "(10.0.0.5, 50000, 192.0.2.1, 443, 'tcp')",
            "tcp://10.0.0.5:50000 tcp://192.0.2.1:443",
        ] {
            let read = alert(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!((read.kind, &*read.filter, read.range), (AlertKind::Tuple, BOTH_WAYS, None), "{text}");
        }
        let v6 = alert("udp [2001:db8::1]:53 [2001:db8::2]:40000").unwrap().filter;
        assert!(v6.starts_with("host 2001:db8::1 and host 2001:db8::2 and udp and"), "{v6}");
        assert_eq!(alert("2001:db8::1.53 > 2001:db8::2.40000: UDP").unwrap().filter, v6);
        assert_eq!(alert("10.0.0.5 10.0.0.6").unwrap().filter, "host 10.0.0.5 and host 10.0.0.6");
        let unnamed = alert("10.0.0.5:1 10.0.0.6:2").unwrap().filter;
        assert!(unnamed.ends_with("(dst host 10.0.0.5 and dst port 1 and src port 2))"), "{unnamed}");
    }

    #[test]
    fn times_become_a_range() {
        let range = |text: &str| {
            let alert = alert(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            let (from, to) = alert.range.unwrap_or_else(|| panic!("{text}: no range"));
            (alert.kind, from.to_string(), to.to_string())
        };
        let told = |kind| {
            (kind, "2026-11-22T09:29:00.250000000Z".to_owned(), "2026-11-22T09:31:00.250000000Z".to_owned())
        };
        for text in [
            "11/22/2026-09:30:00.250000  [**] [1:2019401:3] ET POLICY Vulnerable [**] [Classification: x] [Priority: 1] {TCP} 10.0.0.5:50000 -> 192.0.2.1:443",
            "2026-11-22T09:30:00.25Z tcp 10.0.0.5:50000 192.0.2.1:443",
            "2026-11-22 09:30:00.25 IP 10.0.0.5.50000 > 192.0.2.1.443: Flags [S], seq 6",
            "1795339800.25 10.0.0.5 192.0.2.1 50000 443 tcp",
            "1795339800250 10.0.0.5 192.0.2.1 50000 443 tcp",
        ] {
            assert_eq!(range(text), told(AlertKind::Tuple), "{text}");
        }
        let zeek = "1795339800.25\tCab\t10.0.0.5\t50000\t192.0.2.1\t443\ttcp\tssl\t-\t517\t3\tSF";
        for text in [zeek.to_owned(), zeek.replace('\t', "  ")] {
            assert_eq!(range(&text), told(AlertKind::Zeek), "{text}");
            assert_eq!(alert(&text).unwrap().filter, BOTH_WAYS);
        }
        let eve = r#"{"timestamp":"2026-11-22T09:30:00.250000+0000","src_ip":"10.0.0.5","src_port":50000,"dest_ip":"192.0.2.1","dest_port":443,"proto":"TCP"}"#;
        for text in [eve.to_owned(), eve.replace(',', ",\n "), format!("{{\"_source\": {eve}}}")] {
            assert_eq!(range(&text), told(AlertKind::Eve), "{text}");
            assert_eq!(alert(&text).unwrap().filter, BOTH_WAYS);
        }
        let two = alert(&format!("{eve}\n{}", eve.replace("09:30", "09:35").replace(":50000,", ":50001,")))
            .unwrap();
        assert_eq!(
            (two.events, two.range.unwrap().1.to_string()),
            (2, "2026-11-22T09:36:00.250000000Z".into())
        );
        assert!(two.filter.starts_with(&format!("({BOTH_WAYS}) or (")), "{}", two.filter);
    }

    #[test]
    fn a_community_id_is_a_search() {
        const ID: &str = "1:wCb3OG7yAFWelaUydu0D+125CLM=";
        for text in [
            ID.to_owned(),
            format!(" {ID}\n"),
            format!("\"community_id\":\"{ID}\","),
            format!("{{\"community_id\": \"{ID}\"}}"),
        ] {
            let read = alert(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(read.search.as_deref(), Some(&*format!("community_id:\"{ID}\"")), "{text}");
            assert_eq!((read.kind, &*read.filter), (AlertKind::CommunityId, ""));
        }
    }

    #[test]
    fn what_cannot_be_read_is_said() {
        for (text, words) in [
            ("", "paste a Community ID"),
            ("hello", "paste a Community ID"),
            ("1:short=", "paste a Community ID"),
            ("10.0.0.5", "has one address"),
            ("10.0.0.5 10.0.0.6 10.0.0.7", "more than two addresses"),
            ("10.0.0.5:1 [::1]:2", "IPv4 and the other IPv6"),
            ("10.0.0.0/8 192.0.2.0/24", "networks"),
            ("10.0.0.5:1 10.0.0.6:2\nnothing", "line 2: "),
            ("{\"src_ip\":", "ends too early"),
            ("{\"a\": 1}", "neither src_ip"),
            ("{\"src_ip\":\"10.0.0.1\",\"dest_ip\":\"10.0.0.2\"}", "no time"),
            (&*"10.0.0.5:1 10.0.0.6:2\n".repeat(21), "more than 20 events"),
        ] {
            let error = alert(text).err().unwrap_or_else(|| panic!("{text} was read"));
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
