//! Whatever a file of tokens says: it is refused, or is written and read as the same.

use netrewind_http::untrusted;

/// Reads any bytes.
pub fn read(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Some(again) = untrusted::tokens(text) {
        assert_eq!(untrusted::tokens(&again).as_deref(), Some(&*again));
    }
}
