//! TLS secrets of `--keylog`: a file as browsers and OpenSSL write it.
//!
//! Source: draft-ietf-tls-keylogfile ("SSLKEYLOGFILE").

use std::fs::File;
use std::io::Read;
use std::path::Path;

use netrewind_extractor::SECRETS_BYTES_MAX;

use crate::outcome::Failure;
use crate::terminal;

/// Reads a file of secrets, and checks that it is one.
pub fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let wrong =
        |error: &dyn std::fmt::Display| Failure::usage(format!("--keylog {}: {error}", path.display()));
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| wrong(&error))?;
    file.take(u64::from(SECRETS_BYTES_MAX) + 1).read_to_end(&mut bytes).map_err(|error| wrong(&error))?;
    if bytes.len() as u64 > SECRETS_BYTES_MAX.into() {
        let most = terminal::bytes(SECRETS_BYTES_MAX.into());
        return Err(wrong(&format!("it has more than {most}: keep the lines of the time in question")));
    }
    check(&bytes).map_err(|error| wrong(&error))?;
    Ok(bytes)
}

/// Finds out whether these are lines of secrets: a label, the client's random number, the secret.
fn check(bytes: &[u8]) -> Result<(), String> {
    let mut secrets = 0;
    for (number, line) in (1u64..).zip(bytes.split(|byte| *byte == b'\n')) {
        let line = line.trim_ascii();
        if line.is_empty() || line.starts_with(b"#") {
            continue;
        }
        let words: Vec<&[u8]> = line.split(u8::is_ascii_whitespace).collect();
        let is_label =
            |word: &[u8]| word.iter().all(|byte| byte.is_ascii_uppercase() || b"_0123456789".contains(byte));
        let is_hex = |word: &[u8]| !word.is_empty() && word.iter().all(u8::is_ascii_hexdigit);
        // The last line of a file that is still written to may be cut.
        match &words[..] {
            [label, random, secret] if is_label(label) && is_hex(random) && is_hex(secret) => secrets += 1,
            _ if number > 1 && !bytes.ends_with(b"\n") && bytes.ends_with(line) => {}
            _ => {
                return Err(format!(
                    "line {number} is not one of a file of TLS secrets, such as CLIENT_RANDOM and two numbers in hexadecimal; browsers write one where SSLKEYLOGFILE says"
                ));
            }
        }
    }
    if secrets == 0 { Err("it has no secrets".to_owned()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_have_a_label_and_two_numbers() {
        let line = format!("CLIENT_RANDOM {} {}\r\n", "0a".repeat(32), "Ff".repeat(48));
        assert_eq!(check(format!("# from a browser\n\n{line}{line}").as_bytes()), Ok(()));
        assert_eq!(check(format!("{line}SERVER_HANDSHAKE_TRAFFIC_SECRET 0a0b").as_bytes()), Ok(()));
        for (text, told) in [
            ("", "no secrets"),
            ("# nothing\n", "no secrets"),
            ("-----BEGIN PRIVATE KEY-----\n", "line 1"),
            ("CLIENT_RANDOM 0a\n", "line 1"),
            ("\n{\"a\": 1}\n\n", "line 2"),
        ] {
            assert!(check(text.as_bytes()).unwrap_err().contains(told), "{text:?}");
        }
    }
}
