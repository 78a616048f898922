//! Whatever the words of a page's cursor, the id of a conversation or a time are: they are refused, or mean what they say.

use netrewind_extractor::flows::PageCursor;
use netrewind_extractor::time_text::{WrittenRange, range};
use netrewind_flows::conversation::FlowId;
use netrewind_store::Timestamp;
use netrewind_store::catalog::Hour;

/// The time of the questions.
const NOW: Timestamp = Timestamp(1_795_339_861_000_000_000);

/// Reads any bytes.
pub fn read(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(cursor) = text.parse::<PageCursor>() {
        assert_eq!(
            cursor.to_string().parse::<PageCursor>().ok().map(|it| it.to_string()),
            Some(cursor.to_string())
        );
    }
    if let Ok(id) = text.parse::<FlowId>() {
        assert_eq!(id.to_string(), text.to_lowercase());
    }
    if let Ok(hour) = text.parse::<Hour>() {
        assert!(hour.start() < hour.end());
    }
    let (from, to) = text.split_once('\n').map_or((text, None), |(from, to)| (from, Some(to)));
    for follows in [false, true] {
        let written = WrittenRange { from: Some(from), to, follows, ..WrittenRange::default() };
        let _ = range(&written, NOW, &jiff::tz::TimeZone::UTC);
    }
}
