//! TLS hellos (RFC 8446, section 4.1): in records over TCP, in one datagram over DTLS (RFC 6347), in CRYPTO frames of QUIC.

use std::borrow::Cow;

use crate::cursor::{ByteCursor, u16s};
use crate::ja4::{HandshakeTransport, is_grease, ja4};
use crate::labels::{ALPN_BYTES_MAX, ALPN_MAX, Labels, NAME_BYTES_MAX, Tls};
use crate::text::{name, text};
use crate::verdict::Recognition;

/// The extensions that are read (IANA, TLS ExtensionType Values).
pub(crate) mod extension {
    pub const SERVER_NAME: u16 = 0;
    pub const SIGNATURE_ALGORITHMS: u16 = 13;
    pub const ALPN: u16 = 16;
    pub const SUPPORTED_VERSIONS: u16 = 43;
    pub const ENCRYPTED_CLIENT_HELLO: u16 = 0xfe0d;
}

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

/// Offers of a client hello. Slices end early if the bytes do.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ClientHello<'a> {
    pub version: u16,
    pub ciphers: &'a [u8],
    pub extension_block: &'a [u8],
    pub is_whole: bool,
}

impl<'a> ClientHello<'a> {
    /// Reads the body of a hello; `None` where not even the ciphers are there.
    fn read(body: &'a [u8], carrier: HandshakeTransport, is_whole: bool) -> Option<Self> {
        let mut cursor = ByteCursor(body);
        let version = cursor.u16()?;
        let _random = cursor.take(32)?;
        let _session = cursor.vector8()?;
        if carrier == HandshakeTransport::Dtls {
            let _cookie = cursor.vector8()?;
        }
        let ciphers = cursor.vector16()?;
        let _compressions = cursor.vector8();
        let (extension_block, is_block_whole) = cursor.vector16_cut().unwrap_or((&[], true));
        Some(Self { version, ciphers, extension_block, is_whole: is_whole && is_block_whole })
    }

    /// Numbers and contents of the extensions, as far as they are whole.
    pub fn extensions(&self) -> impl Iterator<Item = (u16, &'a [u8])> + use<'a> {
        let mut cursor = ByteCursor(self.extension_block);
        std::iter::from_fn(move || Some((cursor.u16()?, cursor.vector16()?)))
    }

    fn extension(&self, number: u16) -> Option<ByteCursor<'a>> {
        self.extensions().find(|(of, _)| *of == number).map(|(_, content)| ByteCursor(content))
    }

    pub fn alpn(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let mut names = ByteCursor(
            self.extension(extension::ALPN).and_then(|mut alpn| alpn.vector16()).unwrap_or_default(),
        );
        std::iter::from_fn(move || names.vector8())
    }

    pub fn signature_algorithms(&self) -> impl Iterator<Item = u16> + use<'a> {
        let list = self.extension(extension::SIGNATURE_ALGORITHMS).and_then(|mut list| list.vector16());
        u16s(list.unwrap_or_default())
    }

    /// The highest version on offer: the extension's where there is one (RFC 8446, section 4.2.1).
    pub fn version_offered(&self) -> u16 {
        let versions = self.extension(extension::SUPPORTED_VERSIONS).and_then(|mut list| list.vector8());
        let offered = u16s(versions.unwrap_or_default()).filter(|&version| !is_grease(version));
        // DTLS counts its versions downwards.
        let newest = offered.max_by_key(|&version| if version >= 0xfe00 { !version } else { version });
        newest.unwrap_or(self.version)
    }

    fn server_name(&self) -> Option<&'a [u8]> {
        let mut names = ByteCursor(self.extension(extension::SERVER_NAME)?.vector16()?);
        let _host_name = names.u8()?;
        names.vector16()
    }

    fn labels(&self, carrier: HandshakeTransport) -> Tls {
        Tls {
            server_name: self.server_name().map(|bytes| name(bytes, NAME_BYTES_MAX)),
            alpn: self.alpn().take(ALPN_MAX).map(|bytes| text(bytes, ALPN_BYTES_MAX)).collect(),
            ja4: self.is_whole.then(|| ja4(self, carrier)),
            version_offered: Some(self.version_offered()),
            has_encrypted_hello: self.extension(extension::ENCRYPTED_CLIENT_HELLO).is_some(),
            ..Tls::default()
        }
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
        CLIENT_HELLO => Some(ClientHello::read(body, carrier, is_whole)?.labels(carrier)),
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
