//! What an issuer of OpenID Connect sends: a token in the first line, a set of keys behind it, or claims alone. No bytes sign anybody in
//! whose name could be taken for something else.

use netrewind_http::untrusted;

/// Reads any bytes.
pub fn read(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let (token, key_set) = text.split_once('\n').unwrap_or((text, ""));
    for user in
        [untrusted::user_of_token(token, key_set), untrusted::user_of_claims(text)].into_iter().flatten()
    {
        assert!(!user.user.is_empty() && !user.user.contains(char::is_whitespace), "{user:?}");
        assert!(!user.user.contains(char::is_control) && user.name().starts_with("user:"), "{user:?}");
        assert!(
            user.groups.iter().all(|group| !group.is_empty() && !group.contains(char::is_control)),
            "{user:?}"
        );
    }
}
