//! Keys of an issuer: a JSON Web Key Set (RFC 7517), and signatures by them (RFC 7518, RFC 8037).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey,
};
use serde_json::Value;

/// Keys of a set that are read.
const KEYS_MAX: usize = 100;
/// First byte of a point whose coordinates follow: SEC 1, section 2.3.3.
const UNCOMPRESSED: u8 = 4;
/// Bytes of a coordinate of P-256.
const COORDINATE_BYTES: usize = 32;

/// Signature algorithms that are accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Algorithm {
    Rs256,
    Es256,
    EdDsa,
}

impl Algorithm {
    /// By its name. None of those without a public key is one: `none`, `HS256`.
    pub(super) fn named(name: &str) -> Option<Self> {
        match name {
            "RS256" => Some(Self::Rs256),
            "ES256" => Some(Self::Es256),
            "EdDSA" => Some(Self::EdDsa),
            _ => None,
        }
    }
}

/// A public key. Each has one algorithm: a token cannot choose another for it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum KeyMaterial {
    Rsa { modulus: Vec<u8>, exponent: Vec<u8> },
    P256(Vec<u8>),
    Ed25519(Vec<u8>),
}

/// A key of the set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct IssuerKey {
    id: Option<String>,
    key: KeyMaterial,
}

/// The keys of a set that sign. Others are left out.
pub(super) fn read(set: &Value) -> Option<Vec<IssuerKey>> {
    Some(set.get("keys")?.as_array()?.iter().take(KEYS_MAX).filter_map(IssuerKey::read).collect())
}

fn bytes(key: &Value, name: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(key.get(name)?.as_str()?).ok()
}

impl IssuerKey {
    fn read(key: &Value) -> Option<Self> {
        let text = |name: &str| key.get(name).and_then(Value::as_str);
        if text("use").is_some_and(|purpose| purpose != "sig") {
            return None;
        }
        let public = match (text("kty")?, text("crv")) {
            ("RSA", _) => KeyMaterial::Rsa { modulus: bytes(key, "n")?, exponent: bytes(key, "e")? },
            ("EC", Some("P-256")) => {
                let (x, y) = (bytes(key, "x")?, bytes(key, "y")?);
                let are_whole = x.len() == COORDINATE_BYTES && y.len() == COORDINATE_BYTES;
                are_whole.then(|| KeyMaterial::P256([&[UNCOMPRESSED][..], &x, &y].concat()))?
            }
            ("OKP", Some("Ed25519")) => KeyMaterial::Ed25519(bytes(key, "x")?),
            _ => return None,
        };
        let read = Self { id: text("kid").map(str::to_owned), key: public };
        // One that is for another algorithm is not used for its own.
        let is_for = |name: &str| Algorithm::named(name) == Some(read.algorithm());
        text("alg").is_none_or(is_for).then_some(read)
    }

    fn algorithm(&self) -> Algorithm {
        match self.key {
            KeyMaterial::Rsa { .. } => Algorithm::Rs256,
            KeyMaterial::P256(_) => Algorithm::Es256,
            KeyMaterial::Ed25519(_) => Algorithm::EdDsa,
        }
    }

    /// True if a token says that it was signed by this key; one that names none may be of any.
    pub(super) fn is_named(&self, id: Option<&str>, algorithm: Algorithm) -> bool {
        self.algorithm() == algorithm && id.is_none_or(|id| self.id.as_deref() == Some(id))
    }

    /// True if it is the key's signature of the message.
    pub(super) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        match &self.key {
            KeyMaterial::Rsa { modulus: n, exponent: e } => RsaPublicKeyComponents { n, e }
                .verify(&RSA_PKCS1_2048_8192_SHA256, message, signature)
                .is_ok(),
            KeyMaterial::P256(point) => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(message, signature).is_ok()
            }
            KeyMaterial::Ed25519(key) => {
                UnparsedPublicKey::new(&ED25519, key).verify(message, signature).is_ok()
            }
        }
    }
}
