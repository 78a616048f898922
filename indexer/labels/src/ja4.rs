//! JA4, the fingerprint of a TLS client (github.com/FoxIO-LLC/ja4, technical_details/JA4.md): what it offers, without what
//! changes from connection to connection.

use ring::digest;

use crate::client_hello::{ClientHello, HandshakeTransport, extension, is_grease};
use crate::cursor::u16s;
use crate::labels::Ja4;

/// The fingerprint of a whole hello.
pub(crate) fn ja4(hello: &ClientHello<'_>, carrier: HandshakeTransport) -> Ja4 {
    let mut ciphers: Vec<u16> = u16s(hello.ciphers).filter(|&cipher| !is_grease(cipher)).collect();
    let mut extensions: Vec<u16> =
        hello.extensions().map(|(number, _)| number).filter(|&number| !is_grease(number)).collect();
    let mut out = Vec::with_capacity(36);
    out.push(match carrier {
        HandshakeTransport::Tcp => b't',
        HandshakeTransport::Quic => b'q',
        HandshakeTransport::Dtls => b'd',
    });
    out.extend(version(hello.version_offered()));
    out.push(if extensions.contains(&extension::SERVER_NAME) { b'd' } else { b'i' });
    out.extend(two_digits(ciphers.len()));
    out.extend(two_digits(extensions.len()));
    out.extend(ends_of_alpn(hello.alpn().next().unwrap_or_default()));
    ciphers.sort_unstable();
    extensions.retain(|&number| number != extension::SERVER_NAME && number != extension::ALPN);
    extensions.sort_unstable();
    out.push(b'_');
    out.extend(hash(&list(ciphers)));
    let mut offers = list(extensions);
    let signatures = list(hello.signature_algorithms().filter(|&algorithm| !is_grease(algorithm)));
    if !offers.is_empty() && !signatures.is_empty() {
        offers.push(b'_');
        offers.extend(signatures);
    }
    out.push(b'_');
    out.extend(hash(&offers));
    let mut fingerprint = [b'0'; 36];
    fingerprint.iter_mut().zip(out).for_each(|(place, letter)| *place = letter);
    crate::text::Ascii(fingerprint)
}

fn version(version: u16) -> [u8; 2] {
    *match version {
        0x0304 => b"13",
        0x0303 => b"12",
        0x0302 => b"11",
        0x0301 => b"10",
        0x0300 => b"s3",
        0x0002 => b"s2",
        0xfeff => b"d1",
        0xfefd => b"d2",
        0xfefc => b"d3",
        _ => b"00",
    }
}

fn two_digits(count: usize) -> [u8; 2] {
    let count = count.min(99) as u8;
    [b'0' + count / 10, b'0' + count % 10]
}

/// The first and last character of the first protocol, or of its hexadecimal digits where one of them is neither letter
/// nor digit.
fn ends_of_alpn(protocol: &[u8]) -> [u8; 2] {
    match (protocol.first(), protocol.last()) {
        (Some(first), Some(last)) if first.is_ascii_alphanumeric() && last.is_ascii_alphanumeric() => {
            [*first, *last]
        }
        (Some(first), Some(last)) => [hex_digit(first >> 4), hex_digit(last & 0xf)],
        _ => *b"00",
    }
}

fn hex_digit(nibble: u8) -> u8 {
    if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 }
}

/// The values as hexadecimal digits with commas between.
fn list(values: impl IntoIterator<Item = u16>) -> Vec<u8> {
    let mut list = Vec::new();
    for value in values {
        if !list.is_empty() {
            list.push(b',');
        }
        list.extend([12, 8, 4, 0].map(|shift| hex_digit((value >> shift & 0xf) as u8)));
    }
    list
}

/// The first twelve hexadecimal digits of the list's SHA-256; zeros for an empty list.
fn hash(list: &[u8]) -> [u8; 12] {
    if list.is_empty() {
        return [b'0'; 12];
    }
    let digest = digest::digest(&digest::SHA256, list);
    let mut digits = [0; 12];
    for (pair, byte) in digits.chunks_exact_mut(2).zip(digest.as_ref()) {
        pair.copy_from_slice(&[hex_digit(byte >> 4), hex_digit(byte & 0xf)]);
    }
    digits
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(text: &str) -> Vec<u8> {
        let number = |digits| u16::from_str_radix(digits, 16).expect("four digits");
        text.split(',').flat_map(|digits| number(digits).to_be_bytes()).collect()
    }

    /// Extensions of the numbers given, with the contents given for some of them.
    fn extensions(numbers: &[u8], contents: &[(u16, Vec<u8>)]) -> Vec<u8> {
        let mut out = Vec::new();
        for number in u16s(numbers) {
            let content =
                contents.iter().find(|(of, _)| *of == number).map_or(&[][..], |(_, content)| content);
            out.extend(number.to_be_bytes());
            out.extend((content.len() as u16).to_be_bytes());
            out.extend(content);
        }
        out
    }

    fn of(ciphers: &str, order: &str, signatures: &str, carrier: HandshakeTransport) -> String {
        let signatures = numbers(signatures);
        let signatures = [&(signatures.len() as u16).to_be_bytes()[..], &signatures].concat();
        let contents = [
            (0x000d, signatures),
            (0x0010, b"\0\x0c\x02h2\x08http/1.1".to_vec()),
            (0x002b, vec![6, 0x3a, 0x3a, 3, 4, 3, 3]),
        ];
        let (ciphers, block) = (numbers(ciphers), extensions(&numbers(order), &contents));
        let hello =
            ClientHello { version: 0x0303, ciphers: &ciphers, extension_block: &block, is_whole: true };
        ja4(&hello, carrier).to_string()
    }

    /// The example of the published description, with GREASE around it.
    #[test]
    fn the_published_example_has_the_published_fingerprint() {
        let ciphers = "0a0a,1301,1302,1303,c02b,c02f,c02c,c030,cca9,cca8,c013,c014,009c,009d,002f,0035";
        let order =
            "1a1a,001b,0000,0033,0010,4469,0017,002d,000d,0005,0023,0012,002b,ff01,000b,000a,0015,faFA";
        let signatures = "2a2a,0403,0804,0401,0503,0805,0501,0806,0601";
        assert_eq!(
            of(ciphers, order, signatures, HandshakeTransport::Tcp),
            "t13d1516h2_8daaf6152771_e5627efa2ab1"
        );
        assert_eq!(
            of(ciphers, order, signatures, HandshakeTransport::Quic),
            "q13d1516h2_8daaf6152771_e5627efa2ab1"
        );
    }

    #[test]
    fn without_signature_algorithms_there_is_no_underscore() {
        let order = "0005,000a,000b,000d,0012,0015,0017,001b,0023,002b,002d,0033,4469,ff01";
        let expected = format!("d13i011400_{}_6d807ffa2a79", hash_text("1301"));
        assert_eq!(of("1301", order, "0a0a", HandshakeTransport::Dtls), expected);
    }

    fn hash_text(list: &str) -> String {
        String::from_utf8(hash(list.as_bytes()).to_vec()).expect("digits")
    }

    #[test]
    fn an_empty_hello_is_all_zeros() {
        let hello = ClientHello { version: 0x0301, ciphers: &[], extension_block: &[], is_whole: true };
        assert_eq!(ja4(&hello, HandshakeTransport::Tcp).as_str(), "t10i000000_000000000000_000000000000");
    }

    #[test]
    fn protocols_that_are_no_text_show_their_digits() {
        for (protocol, ends) in [
            (&b"h2"[..], b"h2"),
            (b"http/1.1", b"h1"),
            (b"x", b"xx"),
            (b"\xab", b"ab"),
            (b"\xab\xcd", b"ad"),
            (b"\x30\xab", b"3b"),
            (b"\x30\x31\xab\xcd", b"3d"),
            (b"\x30\xab\xcd\x31", b"01"),
            (b"", b"00"),
        ] {
            assert_eq!(&ends_of_alpn(protocol), ends, "{protocol:?}");
        }
    }

    #[test]
    fn counts_stop_at_99() {
        assert_eq!((two_digits(7), two_digits(99), two_digits(1234)), (*b"07", *b"99", *b"99"));
    }
}
