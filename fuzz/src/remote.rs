//! Whatever a recorder answers: its blocks are read to the end or to an error, the same however they are cut, in bounded memory.
//!
//! The input: bytes of a piece, and the answer.

use netrewind_client::untrusted;
use netrewind_extractor::Completeness;

/// Reads any bytes.
pub fn read(bytes: &[u8]) {
    let Some((&piece, answer)) = bytes.split_first() else { return };
    let whole = untrusted::blocks(std::iter::once(answer));
    let pieces = untrusted::blocks(answer.chunks(usize::from(piece) + 1));
    assert_eq!(whole, pieces);
    let _ = serde_json::from_slice::<Completeness>(answer);
}
