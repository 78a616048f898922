//! Whatever a line of the logbook is: it is read, or told to be unreadable; a quiet second that is read in the quick way is the same
//! as parsed.

use netrewind_store::logbook::{LogbookLine, RawLine};

/// Reads any bytes.
pub fn read(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    for text in text.lines() {
        let line = RawLine::new(text);
        let parsed = line.parse();
        let _ = (line.is_second(), line.is_uneventful(), line.at());
        if let (Some(second), LogbookLine::Entry(entry)) = (line.quiet_second(), &parsed) {
            assert_eq!(second.at, entry.at, "{text}");
        }
        if let LogbookLine::Entry(entry) = parsed {
            let _ = entry.began();
            let again = serde_json::to_string(&entry).expect("it was just read");
            assert_eq!(RawLine::new(&again).parse(), LogbookLine::Entry(entry), "{again}");
        }
    }
}
