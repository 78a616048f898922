//! Whatever a manifest, its signature or a key is: it is refused, or read as it is written again; and no bytes fit a signature by chance.

use netrewind_cases::{EvidenceFiles, EvidenceManifest, PublicKey, SignerKey, check};

/// Reads any bytes as each of them.
pub fn read(bytes: &[u8]) {
    let _ = SignerKey::from_pem(bytes);
    let key = PublicKey::from_pem(bytes).ok();
    if let Ok(manifest) = EvidenceManifest::read(bytes) {
        assert_eq!(EvidenceManifest::read(manifest.text().as_bytes()), Ok(manifest));
    }
    let named = |name: &str| name.to_owned();
    let mut files = EvidenceFiles {
        file: &mut &bytes[..],
        name: named("file"),
        manifest: bytes,
        manifest_name: named("manifest"),
        signature: Some(bytes),
        signature_name: named("signature"),
    };
    let check = check(&mut files, key.as_ref()).expect("bytes can be read");
    assert!(!check.faults.is_empty(), "{check:?}");
}
