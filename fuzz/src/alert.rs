//! An alert, or a log of events: any bytes are refused or mean packets, and a list of events says the same when it is written and read again.

use jiff::tz::TimeZone;
use netrewind_extractor::Query;
use netrewind_extractor::events::{self, EventTimes, LogKind};
use netrewind_extractor::lists::EVE_WINDOW;
use netrewind_store::Timestamp;

/// The time of the request.
const NOW: Timestamp = Timestamp(1_795_339_861_000_000_000);

/// Reads any bytes.
pub fn read(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let zone = TimeZone::UTC;
    let times = |window| EventTimes { now: NOW, zone: &zone, window };
    if let Ok(alert) = events::read_alert(text, &times("1m")) {
        assert!(alert.filter.is_empty() == alert.search.is_some(), "{alert:?}");
        assert!(alert.range.is_none_or(|(from, to)| from < to), "{alert:?}");
        assert!((1..=events::ALERT_EVENTS_MAX).contains(&alert.events), "{alert:?}");
    }
    for kind in [LogKind::Eve, LogKind::Zeek] {
        let Ok(found) = events::read(&mut &*bytes, kind, &times("1m")) else { continue };
        let query = events::query_for_all(&found, &Query::default());
        let list = query.lists.events.clone().expect("events");
        assert_eq!(list.entries().len(), found.len());
        let text = serde_json::to_string(&query).expect("JSON");
        assert!(serde_json::from_str::<Query>(&text).expect("it was just written") == query, "{text}");
        // As another recorder is sent them.
        let eve = list.as_eve();
        let again =
            events::read(&mut eve.as_bytes(), LogKind::Eve, &times(EVE_WINDOW)).expect("it was just written");
        let again = events::query_for_all(&again, &Query::default());
        assert_eq!(again.lists.events.as_ref().map(|list| list.entries()), Some(list.entries()), "{eve}");
    }
}
