//! XXH3-64 of long inputs with 256-bit instructions, where the machine has them. The crate that hashes everything else is compiled for
//! machines that have none, and takes twice as many instructions.
//!
//! Source: the specification of XXH3, github.com/Cyan4973/xxHash, doc/xxhash_spec.md, "Long inputs".
//!
//! **Obligation:** a function for AVX2 runs only after the machine was asked for it.

/// Inputs of at most this many bytes are hashed in other ways, by the other crate.
const SHORT_BYTES: usize = 240;

/// XXH3-64 of `bytes`.
pub(crate) fn xxh3_64(bytes: &[u8]) -> u64 {
    #[cfg(target_arch = "x86_64")]
    if bytes.len() > SHORT_BYTES && std::is_x86_feature_detected!("avx2") {
        // SAFETY: AVX2 is all that it needs, and is there.
        return unsafe { avx2::hash_long(bytes) };
    }
    xxhash_rust::xxh3::xxh3_64(bytes)
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use std::arch::x86_64::{
        __m256i, _mm256_add_epi64, _mm256_loadu_si256, _mm256_mul_epu32, _mm256_set1_epi64x,
        _mm256_setr_epi64x, _mm256_shuffle_epi32, _mm256_slli_epi64, _mm256_srli_epi64, _mm256_storeu_si256,
        _mm256_xor_si256,
    };

    use xxhash_rust::const_xxh3::const_custom_default_secret;

    const PRIME32_1: u64 = 0x9E37_79B1;
    const PRIME32_2: u64 = 0x85EB_CA77;
    const PRIME32_3: u64 = 0xC2B2_AE3D;
    const PRIME64_1: u64 = 0x9E37_79B1_85EB_CA87;
    const PRIME64_2: u64 = 0xC2B2_AE3D_27D4_EB4F;
    const PRIME64_3: u64 = 0x1656_67B1_9E37_79F9;
    const PRIME64_4: u64 = 0x85EB_CA77_C2B2_AE63;
    const PRIME64_5: u64 = 0x27D4_EB2F_1656_67C5;
    const PRIME_MX1: u64 = 0x1656_6791_9E37_79F9;

    const SECRET_BYTES: usize = 192;
    const SECRET: [u8; SECRET_BYTES] = const_custom_default_secret(0);
    const VECTOR_BYTES: usize = 32;
    const STRIPE_BYTES: usize = 64;
    /// Each stripe of a block is mixed with the secret from 8 bytes further on.
    const SECRET_STEP: usize = 8;
    const STRIPES: usize = (SECRET_BYTES - STRIPE_BYTES) / SECRET_STEP;
    const BLOCK_BYTES: usize = STRIPES * STRIPE_BYTES;
    const LAST_STRIPE_SECRET: usize = SECRET_BYTES - STRIPE_BYTES - 7;
    const MERGE_SECRET: usize = 11;

    /// The part of the secret for each stripe of a block.
    const STRIPE_SECRETS: [[u8; STRIPE_BYTES]; STRIPES] = {
        let mut secrets = [[0; STRIPE_BYTES]; STRIPES];
        let mut stripe = 0;
        while stripe < STRIPES {
            secrets[stripe] = secret_at(stripe * SECRET_STEP);
            stripe += 1;
        }
        secrets
    };

    /// The secret from `at` on.
    const fn secret_at(at: usize) -> [u8; STRIPE_BYTES] {
        let mut secret = [0; STRIPE_BYTES];
        let mut byte = 0;
        while byte < STRIPE_BYTES {
            secret[byte] = SECRET[at + byte];
            byte += 1;
        }
        secret
    }

    /// The eight sums, in two vectors.
    type Sums = [__m256i; STRIPE_BYTES / VECTOR_BYTES];

    /// XXH3-64 of more bytes than are short.
    #[target_feature(enable = "avx2")]
    pub(super) fn hash_long(bytes: &[u8]) -> u64 {
        let mut sums = [
            _mm256_setr_epi64x(PRIME32_3 as i64, PRIME64_1 as i64, PRIME64_2 as i64, PRIME64_3 as i64),
            _mm256_setr_epi64x(PRIME64_4 as i64, PRIME32_2 as i64, PRIME64_5 as i64, PRIME32_1 as i64),
        ];
        // What fills the last block or stripe is not mixed as one: the bytes that end the input are, as a stripe.
        let (blocks, rest) = bytes.split_at((bytes.len() - 1) / BLOCK_BYTES * BLOCK_BYTES);
        for block in blocks.as_chunks::<STRIPE_BYTES>().0.as_chunks::<STRIPES>().0 {
            sums = with_block(sums, block);
        }
        for (stripe, secret) in rest[..rest.len() - 1].as_chunks().0.iter().zip(&STRIPE_SECRETS) {
            sums = with_stripe(sums, stripe, secret);
        }
        if let Some(last) = bytes.last_chunk() {
            sums = with_stripe(sums, last, &secret_at(LAST_STRIPE_SECRET));
        }
        merge(&sums, bytes.len())
    }

    /// Adds the stripes of a block, one written after the other: a loop takes a fifth more instructions.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn with_block(mut sums: Sums, block: &[[u8; STRIPE_BYTES]; STRIPES]) -> Sums {
        macro_rules! add {
            ($($stripe:literal)*) => {
                $(sums = with_stripe(sums, &block[$stripe], &STRIPE_SECRETS[$stripe]);)*
            };
        }
        const _: () = assert!(STRIPES == 16);
        add!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);
        scramble(&mut sums);
        sums
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn with_stripe([one, other]: Sums, stripe: &[u8; STRIPE_BYTES], secret: &[u8; STRIPE_BYTES]) -> Sums {
        let ([data, more_data], [secret, more_secret]) = (halves(stripe), halves(secret));
        [with_vector(one, data, secret), with_vector(other, more_data, more_secret)]
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn with_vector(sum: __m256i, data: &[u8; VECTOR_BYTES], secret: &[u8; VECTOR_BYTES]) -> __m256i {
        const SWAP_NEIGHBOURS: i32 = 0b01_00_11_10;
        let data = load(data);
        let key = _mm256_xor_si256(data, load(secret));
        let product = _mm256_mul_epu32(key, _mm256_srli_epi64::<32>(key));
        let swapped = _mm256_shuffle_epi32::<SWAP_NEIGHBOURS>(data);
        _mm256_add_epi64(sum, _mm256_add_epi64(product, swapped))
    }

    /// The two vectors of a stripe.
    #[inline]
    fn halves(stripe: &[u8; STRIPE_BYTES]) -> [&[u8; VECTOR_BYTES]; 2] {
        let (lower, upper) = stripe.split_at(VECTOR_BYTES);
        [lower.first_chunk().unwrap_or(&[0; VECTOR_BYTES]), upper.first_chunk().unwrap_or(&[0; VECTOR_BYTES])]
    }

    /// Mixes the sums at the end of a block, with the end of the secret.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn scramble(sums: &mut Sums) {
        let prime = _mm256_set1_epi64x(PRIME32_1 as i64);
        let secret = SECRET[SECRET_BYTES - STRIPE_BYTES..].as_chunks::<VECTOR_BYTES>().0;
        for (sum, secret) in sums.iter_mut().zip(secret) {
            let mixed = _mm256_xor_si256(*sum, _mm256_srli_epi64::<47>(*sum));
            let mixed = _mm256_xor_si256(mixed, load(secret));
            let low = _mm256_mul_epu32(mixed, prime);
            let high = _mm256_mul_epu32(_mm256_srli_epi64::<32>(mixed), prime);
            *sum = _mm256_add_epi64(low, _mm256_slli_epi64::<32>(high));
        }
    }

    /// The hash that the sums make.
    #[target_feature(enable = "avx2")]
    fn merge(sums: &Sums, len: usize) -> u64 {
        let mut hash = (len as u64).wrapping_mul(PRIME64_1);
        let secrets = SECRET[MERGE_SECRET..].as_chunks::<8>().0.as_chunks::<2>().0;
        let sums = [store(sums[0]), store(sums[1])];
        for (pair, secret) in sums.as_flattened().as_chunks::<2>().0.iter().zip(secrets) {
            let [one, other] = [0, 1].map(|i| pair[i] ^ u64::from_le_bytes(secret[i]));
            let product = u128::from(one) * u128::from(other);
            hash = hash.wrapping_add(product as u64 ^ (product >> 64) as u64);
        }
        hash = (hash ^ hash >> 37).wrapping_mul(PRIME_MX1);
        hash ^ hash >> 32
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn load(bytes: &[u8; VECTOR_BYTES]) -> __m256i {
        // SAFETY: it reads the 32 bytes that are lent, wherever they stand.
        unsafe { _mm256_loadu_si256(std::ptr::from_ref(bytes).cast()) }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn store(vector: __m256i) -> [u64; 4] {
        let mut numbers = [0; 4];
        // SAFETY: it writes the 32 bytes of this array.
        unsafe { _mm256_storeu_si256((&raw mut numbers).cast(), vector) };
        numbers
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_length_is_hashed_as_the_other_crate_does() {
        let bytes: Vec<u8> =
            (0..5000u32).map(|byte| (byte.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        for length in 0..bytes.len() {
            let bytes = &bytes[length % 37..length.max(length % 37)];
            assert_eq!(xxh3_64(bytes), xxhash_rust::xxh3::xxh3_64(bytes), "{length} bytes");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_hashed_as_the_other_crate_does(bytes in proptest::collection::vec(any::<u8>(), 0..9000)) {
            prop_assert_eq!(xxh3_64(&bytes), xxhash_rust::xxh3::xxh3_64(&bytes));
        }
    }
}
