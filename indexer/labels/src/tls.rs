//! TLS hellos (RFC 8446, section 4.1): in records over TCP, in one datagram over DTLS (RFC 6347), in CRYPTO frames of QUIC.

use std::borrow::Cow;

use crate::client_hello::{ClientHello, HandshakeTransport, extension};
use crate::cursor::ByteCursor;
use crate::ja4::ja4;
use crate::labels::{ALPN_BYTES_MAX, ALPN_MAX, Labels, NAME_BYTES_MAX, Tls};
use crate::text::{name, text};
use crate::verdict::Recognition;

const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const SERVER_HELLO: u8 = 2;
/// A record's type, version and length.
const RECORD_HEADER_BYTES: usize = 5;
/// A handshake message's type and length.
const HANDSHAKE_HEADER_BYTES: usize = 4;
/// The same over DTLS, where a number and a fragment's place follow.
const DTLS_HANDSHAKE_HEADER_BYTES: usize = 12;
/// A longer hello is none: both length fields have room for more.
const HELLO_BYTES_MAX: usize = 0xffff;

/// Offers of a client hello.
fn labels(hello: &ClientHello<'_>, carrier: HandshakeTransport) -> Tls {
    Tls {
        server_name: hello.server_name().map(|bytes| name(bytes, NAME_BYTES_MAX)),
        alpn: hello.alpn().take(ALPN_MAX).map(|bytes| text(bytes, ALPN_BYTES_MAX)).collect(),
        ja4: hello.is_whole.then(|| ja4(hello, carrier)),
        version_offered: Some(hello.version_offered()),
        has_encrypted_hello: hello.extension(extension::ENCRYPTED_CLIENT_HELLO).is_some(),
        ..Tls::default()
    }
}

/// Choices of a server hello.
fn server_hello(body: &[u8]) -> Option<Tls> {
    let mut cursor = ByteCursor(body);
    let legacy_version = cursor.u16()?;
    let _random = cursor.take(32)?;
    let _session = cursor.vector8()?;
    let cipher = cursor.u16()?;
    let _compression = cursor.u8();
    let mut extensions = ByteCursor(cursor.vector16_cut().unwrap_or_default().0);
    let version = std::iter::from_fn(|| Some((extensions.u16()?, extensions.vector16()?)))
        .find(|(number, _)| *number == extension::SUPPORTED_VERSIONS)
        .and_then(|(_, content)| ByteCursor(content).u16());
    Some(Tls { version: Some(version.unwrap_or(legacy_version)), cipher: Some(cipher), ..Tls::default() })
}

/// The labels of a hello's body.
fn hello(hello_type: u8, body: &[u8], carrier: HandshakeTransport, is_whole: bool) -> Option<Tls> {
    match hello_type {
        CLIENT_HELLO => Some(labels(&ClientHello::read(body, carrier, is_whole)?, carrier)),
        _ => server_hello(body),
    }
}

/// The labels of a client hello at the front of QUIC's CRYPTO stream; `None` while it is not whole.
pub(crate) fn quic_hello(stream: &[u8]) -> Option<Result<Tls, ()>> {
    let mut cursor = ByteCursor(stream);
    let (hello_type, len) = (cursor.u8()?, cursor.u24()?);
    if hello_type != CLIENT_HELLO {
        return Some(Err(()));
    }
    let body = cursor.take(len)?;
    Some(hello(CLIENT_HELLO, body, HandshakeTransport::Quic, true).ok_or(()))
}

/// Judges the front of a TCP stream. Where `is_last`, what is missing of the hello will not come.
pub(crate) fn recognise(bytes: &[u8], is_last: bool) -> Recognition {
    let Some(fragment) = first_fragment(bytes) else { return Recognition::Nothing };
    let hello_type = match fragment {
        [] => return Recognition::more_unless(is_last),
        [hello_type @ (CLIENT_HELLO | SERVER_HELLO), rest @ ..]
            if rest.first().is_none_or(|&high| high == 0) =>
        {
            *hello_type
        }
        _ => return Recognition::Nothing,
    };
    let Some(message) = defragment(bytes, fragment) else { return Recognition::Nothing };
    let mut cursor = ByteCursor(&message);
    let (Some(_), Some(len)) = (cursor.u8(), cursor.u24()) else { return Recognition::more_unless(is_last) };
    let body = cursor.take(len.min(cursor.0.len())).unwrap_or_default();
    if body.len() < len && !is_last {
        return Recognition::More;
    }
    match hello(hello_type, body, HandshakeTransport::Tcp, body.len() == len) {
        Some(tls) => {
            Recognition::Part(Box::new(Labels { application: "tls", tls: Some(tls), ..Labels::default() }))
        }
        None => Recognition::Nothing,
    }
}

/// Bytes present of the first record's content; `None` if the bytes are no handshake record.
fn first_fragment(bytes: &[u8]) -> Option<&[u8]> {
    let expected = [HANDSHAKE..=HANDSHAKE, 3..=3, 0..=4];
    let fits = bytes.iter().zip(expected).all(|(byte, range)| range.contains(byte));
    let len = bytes.get(3..RECORD_HEADER_BYTES).map(|len| usize::from(u16::from_be_bytes([len[0], len[1]])));
    if !fits || len == Some(0) {
        return None;
    }
    let content = bytes.get(RECORD_HEADER_BYTES..).unwrap_or_default();
    Some(&content[..content.len().min(len.unwrap_or(0))])
}

/// The first handshake message, as far as it is there, put together if it spans records; `None` where what follows its
/// first part is no handshake record.
fn defragment<'a>(bytes: &'a [u8], fragment: &'a [u8]) -> Option<Cow<'a, [u8]>> {
    let wanted = |message: &[u8]| {
        ByteCursor(message.get(1..).unwrap_or_default())
            .u24()
            .map_or(HANDSHAKE_HEADER_BYTES, |len| len.min(HELLO_BYTES_MAX) + HANDSHAKE_HEADER_BYTES)
    };
    if fragment.len() >= HANDSHAKE_HEADER_BYTES && fragment.len() >= wanted(fragment) {
        return Some(Cow::Borrowed(fragment));
    }
    let mut rest = bytes.get(RECORD_HEADER_BYTES + fragment.len()..).unwrap_or_default();
    if rest.is_empty() {
        return Some(Cow::Borrowed(fragment));
    }
    let mut message = fragment.to_vec();
    while message.len() < HANDSHAKE_HEADER_BYTES || message.len() < wanted(&message) {
        if rest.is_empty() {
            break;
        }
        let fragment = first_fragment(rest)?;
        message.extend_from_slice(fragment);
        rest = rest.get(RECORD_HEADER_BYTES + fragment.len()..).unwrap_or_default();
    }
    Some(Cow::Owned(message))
}

/// The versions in DTLS's record headers; the last is that of Cisco's first clients.
const DTLS_VERSIONS: [u16; 3] = [0xfeff, 0xfefd, 0x0100];

/// True if a datagram may begin with a DTLS handshake record.
pub(crate) fn is_likely_dtls(datagram: &[u8]) -> bool {
    matches!(datagram, [HANDSHAKE, high, low, ..] if DTLS_VERSIONS.contains(&u16::from_be_bytes([*high, *low])))
}

/// Judges a datagram: is it a DTLS record with a hello whose first fragment is at its front?
pub(crate) fn recognise_dtls(datagram: &[u8]) -> Recognition {
    match dtls_hello(datagram) {
        Some(tls) => {
            Recognition::Part(Box::new(Labels { application: "dtls", tls: Some(tls), ..Labels::default() }))
        }
        None => Recognition::Nothing,
    }
}

fn dtls_hello(datagram: &[u8]) -> Option<Tls> {
    let mut cursor = ByteCursor(datagram);
    let _type_and_version = cursor.take(3)?;
    if !is_likely_dtls(datagram) {
        return None;
    }
    let epoch_and_sequence = cursor.take(8)?;
    let mut record = ByteCursor(cursor.vector16()?);
    let mut header = ByteCursor(record.take(DTLS_HANDSHAKE_HEADER_BYTES)?);
    let (hello_type, len, _sequence) = (header.u8()?, header.u24()?, header.u16()?);
    let (fragment_offset, fragment_len) = (header.u24()?, header.u24()?);
    let is_hello = matches!(hello_type, CLIENT_HELLO | SERVER_HELLO);
    if !is_hello || !epoch_and_sequence.starts_with(&[0, 0]) || fragment_offset != 0 {
        return None;
    }
    let body = record.take(fragment_len.min(record.0.len()))?;
    hello(hello_type, body, HandshakeTransport::Dtls, body.len() == len)
}
