//! Whatever a manifest of an hour of the catalog says: it is refused, or read as it is written again.

use netrewind_store::catalog::Manifest;

/// Reads any bytes.
pub fn read(bytes: &[u8]) {
    let Ok(manifest) = serde_json::from_slice::<Manifest>(bytes) else { return };
    let again = serde_json::to_vec(&manifest).expect("it was just read");
    assert_eq!(serde_json::from_slice::<Manifest>(&again).ok().as_ref(), Some(&manifest));
    let _ = manifest.bounds();
    for segment in &manifest.segments {
        assert!(manifest.knows(&segment.name));
    }
}
