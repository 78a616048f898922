//! Terms: conditions on single key fields that an index can look up.

use super::abstract_packet::TermField;

/// Demands of a filter on the key fields of a template's packets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Terms {
    /// Packets may be accepted whatever their key is, or there are too many ways to be accepted to name them.
    Unconstrained,
    /// Every accepted packet satisfies all terms of at least one of these. Sorted, without duplicates; where there is
    /// none, no packet of the template is accepted.
    AnyOf(Vec<Conjunction>),
}

/// Terms that hold together: at most two for each field, sorted by field; never empty.
pub type Conjunction = Vec<Term>;

/// A condition on one key field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Term {
    /// The field.
    pub field: TermField,
    /// Demand on its value.
    pub demand: Demand,
}

/// Demand on a key field. Fields are numbers in network byte order: an IPv4 address has the low 32 bits of a `u128`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Demand {
    /// The field of so many bytes is equal to `value` in the bits of `mask`.
    Bits {
        /// Length of the field in bytes.
        bytes: u8,
        /// The bits that are compared; not zero.
        mask: u128,
        /// Value of those bits; zero outside `mask`.
        value: u128,
    },
    /// The two-byte field is a number from `low` to `high`; equality is a range of one.
    Range {
        /// The lowest number.
        low: u16,
        /// The highest number.
        high: u16,
    },
}

impl Demand {
    /// True if a field with these bytes, in the packet's order, meets the demand.
    pub fn admits(&self, field: &[u8]) -> bool {
        let number = field.iter().fold(0_u128, |number, byte| number << 8 | u128::from(*byte));
        match *self {
            Self::Bits { bytes, mask, value } => field.len() == usize::from(bytes) && number & mask == value,
            Self::Range { low, high } => {
                field.len() == 2 && (u128::from(low)..=u128::from(high)).contains(&number)
            }
        }
    }

    /// The number of leading bits that are compared, where those are all that is: 32 for one IPv4 address, 24 for a /24.
    pub fn prefix_bits(&self) -> Option<u8> {
        let Self::Bits { bytes, mask, .. } = *self else { return None };
        let field_bits = u32::from(bytes) * 8;
        let aligned = mask.checked_shl(128 - field_bits)?;
        (aligned.leading_ones() == mask.count_ones()).then(|| u8::try_from(mask.count_ones()).ok()).flatten()
    }
}
