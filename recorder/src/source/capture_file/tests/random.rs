//! Bytes of no meaning: never a panic, never endless.

use proptest::prelude::*;

use super::read;

/// First bytes that lead into each parser.
const BEGINNINGS: [&[u8]; 8] = [
    b"",
    b"\xd4\xc3\xb2\xa1\x02\0\x04\0\0\0\0\0\0\0\0\0\0\0\x04\0\x01\0\0\0",
    b"\xa1\xb2\x3c\x4d\0\x02\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\xdc",
    b"\xa1\xb2\xcd\x34\0\x02\0\x03\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\xef",
    b"\x0a\x0d\x0d\x0a\x1c\0\0\0\x4d\x3c\x2b\x1a\x01\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff\x1c\0\0\0",
    b"\x0a\x0d\x0d\x0a\0\0\0\x1c\x1a\x2b\x3c\x4d\0\x01\0\0\xff\xff\xff\xff\xff\xff\xff\xff\0\0\0\x1c",
    b"\x1f\x8b\x08\0\0\0\0\0\0\x03",
    b"\x28\xb5\x2f\xfd",
];

proptest! {
    #[test]
    fn random_bytes_end(
        beginning in 0..BEGINNINGS.len(),
        // Mostly small numbers, so that lengths are often plausible.
        rest in proptest::collection::vec(prop_oneof![Just(0u8), 0..40u8, any::<u8>()], 0..600),
    ) {
        let mut bytes = BEGINNINGS[beginning].to_vec();
        bytes.extend(rest);
        read(bytes);
    }
}
