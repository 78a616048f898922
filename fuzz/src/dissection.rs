//! Replies of the program that takes packets apart: any bytes are refused, or a tree within its limits and its bytes.

use netrewind_http::dissector::{Dissection, FIELDS_MAX, Field};
use netrewind_http::untrusted;

/// Bytes of a field's texts: what was cut at 2,000 has a longer mark for each control character.
const TEXT_BYTES_MAX: usize = 2 * 2000;

/// Reads any bytes.
pub fn read(bytes: &[u8]) {
    let Ok(Dissection { tree, sources, .. }) = untrusted::dissection(bytes) else { return };
    let lengths: Vec<u64> = sources.iter().map(|source| source.bytes.len() as u64 / 2).collect();
    let mut waiting: Vec<&Field> = tree.iter().collect();
    let mut seen = 0;
    while let Some(field) = waiting.pop() {
        seen += 1;
        let texts = [Some(&field.label), field.filter.as_ref(), field.severity.as_ref()];
        assert!(
            texts
                .into_iter()
                .flatten()
                .all(|text| text.len() <= TEXT_BYTES_MAX && !text.contains(char::is_control))
        );
        if let Some(offset) = field.offset {
            assert!(offset + field.length <= lengths[field.source], "{field:?} of {lengths:?}");
        }
        waiting.extend(&field.fields);
    }
    assert!(seen <= FIELDS_MAX);
}
