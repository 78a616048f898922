//! Whatever the parameters of a request are, in a query string or in JSON: they are refused, or make a query.

use netrewind_http::untrusted;

/// Reads any bytes.
pub fn read(bytes: &[u8]) {
    let asked = untrusted::parameters(bytes);
    if let Ok((query, _)) = asked {
        assert!(query.from.zip(query.to).is_none_or(|(from, to)| from <= to));
    }
}
