//! Text from the wire, made safe to print, store and compare.

use std::fmt::Write;

/// A short text of ASCII characters and known length: a fingerprint or an identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ascii<const N: usize>(pub(crate) [u8; N]);

impl<const N: usize> Ascii<N> {
    /// The text.
    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl<const N: usize> std::fmt::Display for Ascii<N> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// `bytes` as text of at most `bytes_max` bytes: bytes that are no UTF-8 and control characters are written as `\xNN`,
/// characters that are invisible or turn the direction of writing as `\u{NNNN}`. What is longer is cut between characters.
pub fn text(bytes: &[u8], bytes_max: usize) -> Box<str> {
    let mut out = BoundedText { out: String::with_capacity(bytes.len().min(bytes_max)), bytes_max };
    out.push(bytes);
    out.out.into()
}

/// The same for names, whose letters' case means nothing (DNS, TLS server names, hosts): in lower case.
pub(crate) fn name(bytes: &[u8], bytes_max: usize) -> Box<str> {
    let mut name = text(bytes, bytes_max);
    name.make_ascii_lowercase();
    name
}

struct BoundedText {
    out: String,
    bytes_max: usize,
}

impl BoundedText {
    fn push(&mut self, bytes: &[u8]) -> Option<()> {
        for chunk in bytes.utf8_chunks() {
            chunk.valid().chars().try_for_each(|letter| self.push_char(letter))?;
            chunk.invalid().iter().try_for_each(|&byte| self.push_byte(byte))?;
        }
        Some(())
    }

    fn room(&self, len: usize) -> Option<()> {
        (self.out.len() + len <= self.bytes_max).then_some(())
    }

    fn push_char(&mut self, letter: char) -> Option<()> {
        match letter {
            '\0'..='\x1f' | '\x7f' => self.push_byte(letter as u8),
            _ if letter.is_control() || is_deceptive(letter) => {
                let escape = letter.escape_unicode();
                self.room(escape.len())?;
                self.out.extend(escape);
                Some(())
            }
            _ => {
                self.room(letter.len_utf8())?;
                self.out.push(letter);
                Some(())
            }
        }
    }

    fn push_byte(&mut self, byte: u8) -> Option<()> {
        self.room(4)?;
        write!(self.out, "\\x{byte:02x}").ok()
    }
}

/// Characters that show nothing or change how their neighbours are shown.
fn is_deceptive(letter: char) -> bool {
    matches!(letter, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_print_is_escaped() {
        assert_eq!(&*text("a\u{1b}[2Jü\r\n".as_bytes(), 99), "a\\x1b[2Jü\\x0d\\x0a");
        assert_eq!(&*text(b"\xff\xc3(", 99), "\\xff\\xc3(");
        assert_eq!(&*text("moc\u{202e}x\u{85}".as_bytes(), 99), "moc\\u{202e}x\\u{85}");
        assert_eq!(&*name(b"WWW.Example.ORG", 99), "www.example.org");
    }

    #[test]
    fn what_is_longer_is_cut_between_characters() {
        assert_eq!(&*text("aü".as_bytes(), 2), "a");
        assert_eq!(&*text(b"ab\x01c", 5), "ab");
    }
}
