//! Bearer tokens: `nrw_ID_SECRET`, both in hexadecimal. The id selects the hash that the secret is checked against, so that one
//! hash is computed for a request, and not one for every token.

use std::fmt;

/// Prefix of every token: scanners for leaked secrets look for such words.
const WORD: &str = "nrw";
/// Bytes of the id.
pub const ID_BYTES: usize = 8;
/// Bytes of the secret: nobody guesses 256 bits.
pub const SECRET_BYTES: usize = 32;

/// A token as its owner holds it.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    /// Id in lower-case hexadecimal; no secret.
    pub(super) id: String,
    pub(super) secret: [u8; SECRET_BYTES],
}

/// Without the secret.
impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{WORD}_{}_(secret)", self.id)
    }
}

impl Token {
    /// Makes a token of these bytes, which must be random.
    pub(super) fn new(id: [u8; ID_BYTES], secret: [u8; SECRET_BYTES]) -> Self {
        Self { id: hexadecimal(&id), secret }
    }

    /// The token in a text.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('_');
        let (word, id, secret) = (parts.next()?, parts.next()?, parts.next()?);
        if parts.next().is_some() || word != WORD {
            return None;
        }
        let id: [u8; ID_BYTES] = bytes(id)?;
        Some(Self::new(id, bytes(secret)?))
    }

    /// The whole of it, for its owner's eyes.
    pub fn reveal(&self) -> String {
        format!("{WORD}_{}_{}", self.id, hexadecimal(&self.secret))
    }
}

/// Two lower-case digits for each byte.
pub(super) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Lower case only: a token has one spelling.
fn bytes<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digit = |character: u8| match character {
        b'0'..=b'9' => Some(character - b'0'),
        b'a'..=b'f' => Some(character - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; N];
    let digits = text.as_bytes();
    if digits.len() != 2 * N {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_has_one_spelling() {
        let token = Token::new([0xab; ID_BYTES], [0x1f; SECRET_BYTES]);
        let text = token.reveal();
        assert_eq!((text.len(), Token::parse(&text)), (3 + 1 + 16 + 1 + 64, Some(token)));
        let wrong = [
            text.to_uppercase(),
            text.replace("nrw", "nrx"),
            format!("{text}_"),
            format!(" {text}"),
            text[..text.len() - 1].to_owned(),
            format!("{text}0"),
            text.replace('_', "-"),
            text.replace("1f", "é"),
            String::new(),
        ];
        for text in wrong {
            assert_eq!(Token::parse(&text), None, "{text}");
        }
    }

    #[test]
    fn a_token_that_is_printed_keeps_its_secret() {
        let token = Token::new([1; ID_BYTES], [0x5c; SECRET_BYTES]);
        let shown = format!("{token:?} {token:#?}");
        assert!(!shown.contains("5c5c") && !shown.contains("92"), "{shown}");
    }
}
