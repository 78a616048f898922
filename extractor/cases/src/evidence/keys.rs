//! Keys of signatures: Ed25519 (RFC 8032), as openssl-genpkey(1) and openssl-pkey(1) write them in PEM.

use std::fmt;

use ring::digest::{SHA256, digest};
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{PrivatePkcs8KeyDer, SubjectPublicKeyInfoDer};

use super::hash::hexadecimal;

/// Bytes of a public key.
const KEY_BYTES: usize = 32;
/// The bytes before a public key in its SubjectPublicKeyInfo: RFC 8410, section 4.
const KEY_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
/// Remedy for a file without a private key.
const MAKE_KEY: &str = "make one by openssl genpkey -algorithm ed25519 -out key.pem";
/// Remedy for a file without a public key.
const MAKE_PUBLIC: &str = "make it of the private one by openssl pkey -in key.pem -pubout -out public.pem";

/// A file that holds no key that can be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// No private key.
    #[error("it holds no private key (PKCS#8, PEM): {MAKE_KEY}")]
    NoPrivateKey,
    /// An encrypted one.
    #[error("its private key is encrypted: decrypt it by openssl pkey -in key.pem -out plain.pem")]
    Encrypted,
    /// A private key of another kind.
    #[error("its private key is not one of Ed25519: {MAKE_KEY}")]
    OtherPrivateKey,
    /// No public key.
    #[error("it holds no public key (PEM): {MAKE_PUBLIC}")]
    NoPublicKey,
    /// A public key of another kind.
    #[error("its public key is not one of Ed25519: {MAKE_PUBLIC}")]
    OtherPublicKey,
}

/// A private key that signs.
pub struct SignerKey(Ed25519KeyPair);

/// Without the key.
impl fmt::Debug for SignerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SignerKey({})", self.public().fingerprint())
    }
}

impl SignerKey {
    /// Reads the private key in a PEM file.
    pub fn from_pem(pem: &[u8]) -> Result<Self, KeyError> {
        let Ok(der) = PrivatePkcs8KeyDer::from_pem_slice(pem) else {
            let is_encrypted = String::from_utf8_lossy(pem).contains("ENCRYPTED PRIVATE KEY");
            return Err(if is_encrypted { KeyError::Encrypted } else { KeyError::NoPrivateKey });
        };
        // OpenSSL writes the private key alone, without the public one.
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der.secret_pkcs8_der());
        pair.map(Self).map_err(|_| KeyError::OtherPrivateKey)
    }

    /// Signature of these bytes, 64 bytes.
    pub fn sign(&self, bytes: &[u8]) -> Vec<u8> {
        self.0.sign(bytes).as_ref().to_vec()
    }

    /// The public key of the pair.
    pub fn public(&self) -> PublicKey {
        let mut key = [0; KEY_BYTES];
        key.copy_from_slice(self.0.public_key().as_ref());
        PublicKey(key)
    }
}

/// A public key that checks signatures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublicKey([u8; KEY_BYTES]);

impl PublicKey {
    /// Reads the public key in a PEM file.
    pub fn from_pem(pem: &[u8]) -> Result<Self, KeyError> {
        let der = SubjectPublicKeyInfoDer::from_pem_slice(pem).map_err(|_| KeyError::NoPublicKey)?;
        let key = der.as_ref().strip_prefix(&KEY_PREFIX).and_then(|key| key.try_into().ok());
        key.map(Self).ok_or(KeyError::OtherPublicKey)
    }

    /// Reads it in hexadecimal, as manifests have it.
    pub fn from_hexadecimal(text: &str) -> Option<Self> {
        let digits = text.as_bytes();
        let mut key = [0; KEY_BYTES];
        if digits.len() != 2 * KEY_BYTES {
            return None;
        }
        for (byte, pair) in key.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        Some(Self(key))
    }

    /// The key in hexadecimal.
    pub fn to_hexadecimal(&self) -> String {
        hexadecimal(&self.0)
    }

    /// SHA-256 of the key's SubjectPublicKeyInfo (DER), as `openssl pkey -pubin -outform DER | sha256sum` gives it.
    pub fn fingerprint(&self) -> String {
        hexadecimal(digest(&SHA256, &[&KEY_PREFIX[..], &self.0].concat()).as_ref())
    }

    /// True if this is the key's signature of the bytes.
    pub fn has_signed(&self, bytes: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, self.0).verify(bytes, signature).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // RFC 8410, section 10.
    const PRIVATE: &str = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n-----END PRIVATE KEY-----\n";
    const PUBLIC: &str = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----\n";

    #[test]
    fn keys_as_openssl_writes_them_are_read_and_others_are_named() {
        let (signer, public) =
            (SignerKey::from_pem(PRIVATE.as_bytes()).unwrap(), PublicKey::from_pem(PUBLIC.as_bytes()));
        assert_eq!(Ok(signer.public()), public);
        let public = signer.public();
        assert_eq!(PublicKey::from_hexadecimal(&public.to_hexadecimal()), Some(public));
        let signature = signer.sign(b"bytes");
        assert!(signature.len() == 64 && public.has_signed(b"bytes", &signature));
        assert!(!public.has_signed(b"bites", &signature) && !public.has_signed(b"bytes", &signature[1..]));
        assert_eq!(SignerKey::from_pem(PUBLIC.as_bytes()).unwrap_err(), KeyError::NoPrivateKey);
        assert_eq!(PublicKey::from_pem(PRIVATE.as_bytes()), Err(KeyError::NoPublicKey));
        let encrypted = PRIVATE.replace("PRIVATE", "ENCRYPTED PRIVATE");
        assert_eq!(SignerKey::from_pem(encrypted.as_bytes()).unwrap_err(), KeyError::Encrypted);
        assert!(!format!("{signer:?}").contains("d4ee"));
        assert_eq!(PublicKey::from_hexadecimal("é"), None);
    }
}
