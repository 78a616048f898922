//! The client hello of TLS (RFC 8446, section 4.1.2): what a client offers.

use crate::cursor::{ByteCursor, u16s};

/// The extensions that are read (IANA, TLS ExtensionType Values).
pub(crate) mod extension {
    pub const SERVER_NAME: u16 = 0;
    pub const SIGNATURE_ALGORITHMS: u16 = 13;
    pub const ALPN: u16 = 16;
    pub const SUPPORTED_VERSIONS: u16 = 43;
    pub const ENCRYPTED_CLIENT_HELLO: u16 = 0xfe0d;
}

/// Transport of the handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HandshakeTransport {
    Tcp,
    Quic,
    Dtls,
}

/// Values that clients invent to keep servers tolerant (RFC 8701): never part of a fingerprint.
pub(crate) fn is_grease(value: u16) -> bool {
    value & 0x0f0f == 0x0a0a && value >> 8 == value & 0xff
}

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
    pub fn read(body: &'a [u8], carrier: HandshakeTransport, is_whole: bool) -> Option<Self> {
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

    /// Contents of the extension with this number.
    pub fn extension(&self, number: u16) -> Option<ByteCursor<'a>> {
        self.extensions().find(|(of, _)| *of == number).map(|(_, content)| ByteCursor(content))
    }

    /// Names of the protocols that the client speaks.
    pub fn alpn(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let mut names = ByteCursor(
            self.extension(extension::ALPN).and_then(|mut alpn| alpn.vector16()).unwrap_or_default(),
        );
        std::iter::from_fn(move || names.vector8())
    }

    /// Signature algorithms that the client accepts.
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

    /// Name of the server that is wanted.
    pub fn server_name(&self) -> Option<&'a [u8]> {
        let mut names = ByteCursor(self.extension(extension::SERVER_NAME)?.vector16()?);
        let _host_name = names.u8()?;
        names.vector16()
    }
}
