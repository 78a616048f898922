//! Whatever a search's text is: it is refused, or its expression can be asked.

use netrewind_flows::search::Search;

/// Reads any bytes.
pub fn read(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(search) = text.parse::<Search>() {
        let _ = (search.expression(), search.sought());
    }
}
