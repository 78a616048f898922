//! Numbers of which some bits are known: the arithmetic of the three-valued runs.
//!
//! Known bits follow the tristate numbers of Vishwanathan et al., "Sound, Precise, and Fast Abstract Interpretation with
//! Tristate Numbers" (CGO 2022); beside them an interval is kept, for lengths and port ranges. Every operation is sound:
//! the result admits what the operation gives on any two admitted numbers.

use super::instruction::{Arithmetic, BranchTest};

/// A set of 32-bit numbers: those with the known bits, between `min` and `max`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NumberSet {
    /// The known bits; unknown ones are zero here.
    value: u32,
    /// The bits that are not known.
    unknown: u32,
    min: u32,
    max: u32,
}

impl NumberSet {
    /// Any number.
    pub const ANY: Self = Self { value: 0, unknown: u32::MAX, min: 0, max: u32::MAX };

    /// Exactly one number.
    #[inline]
    pub fn constant(value: u32) -> Self {
        Self { value, unknown: 0, min: value, max: value }
    }

    /// The numbers that agree with `value` outside the bits of `unknown`.
    #[inline]
    pub fn of_bits(value: u32, unknown: u32) -> Self {
        let value = value & !unknown;
        Self { value, unknown, min: value, max: value | unknown }
    }

    /// The numbers from `min` to `max`; any number where that is none.
    pub fn between(min: u32, max: u32) -> Self {
        if min > max {
            return Self::ANY;
        }
        // Above the highest bit in which the ends differ all numbers between them agree.
        let differing = min ^ max;
        let unknown = u32::MAX.checked_shr(differing.leading_zeros()).unwrap_or(0);
        Self { value: min & !unknown, unknown, min, max }
    }

    /// The number, where there is only one.
    #[inline]
    pub fn known(self) -> Option<u32> {
        (self.unknown == 0).then_some(self.value)
    }

    /// The smallest number of the set.
    pub fn min(self) -> u32 {
        self.min
    }

    /// The largest number of the set.
    pub fn max(self) -> u32 {
        self.max
    }

    /// True if the number is in the set.
    pub fn admits(self, number: u32) -> bool {
        number & !self.unknown == self.value && (self.min..=self.max).contains(&number)
    }

    /// The result of an operation; `may_reject` is set where some of the numbers make the machine reject the packet, and
    /// none comes back where all of them do.
    #[inline]
    pub fn compute(self, operation: Arithmetic, other: Self, may_reject: &mut bool) -> Option<Self> {
        if let (Some(a), Some(b)) = (self.known(), other.known()) {
            return operation.apply(a, b).map(Self::constant);
        }
        if matches!(operation, Arithmetic::Divide | Arithmetic::Modulo) && other.admits(0) {
            *may_reject = true;
            if other.max == 0 {
                return None;
            }
        }
        Some(match operation {
            Arithmetic::Add => self.add(other),
            Arithmetic::Subtract => self.subtract(other),
            Arithmetic::Multiply => self.multiply(other),
            Arithmetic::Divide => Self::between(self.min / other.max.max(1), self.max / other.min.max(1)),
            Arithmetic::Modulo => self.modulo(other),
            Arithmetic::And => self.and(other),
            Arithmetic::Or => {
                let value = self.value | other.value;
                Self::of_bits(value, (self.unknown | other.unknown) & !value)
            }
            Arithmetic::Xor => Self::of_bits(self.value ^ other.value, self.unknown | other.unknown),
            Arithmetic::ShiftLeft => self.shift_left(other),
            Arithmetic::ShiftRight => self.shift_right(other),
        })
    }

    /// Zero minus the number.
    pub fn negate(self) -> Self {
        Self::constant(0).subtract(self)
    }

    /// The result of a test, if it is the same for all numbers.
    #[inline]
    pub fn test(self, test: BranchTest, other: Self) -> Option<bool> {
        match test {
            BranchTest::Equal => self.equals(other),
            BranchTest::Greater => decide(self.min > other.max, self.max <= other.min),
            BranchTest::GreaterOrEqual => decide(self.min >= other.max, self.max < other.min),
            BranchTest::AnyBit => {
                let possible = (self.value | self.unknown) & (other.value | other.unknown);
                decide(self.value & other.value != 0, possible == 0)
            }
        }
    }

    /// The numbers of the set for which the test against a constant gives `holds`; `None` if there are none.
    pub fn refine(self, test: BranchTest, constant: u32, holds: bool) -> Option<Self> {
        match (test, holds) {
            (BranchTest::Equal, true) => self.admits(constant).then_some(Self::constant(constant)),
            (BranchTest::Equal, false) if self.min == self.max && self.min == constant => None,
            (BranchTest::Equal, false) if self.min == constant => self.clamp(constant + 1, self.max),
            (BranchTest::Equal, false) if self.max == constant => self.clamp(self.min, constant - 1),
            (BranchTest::Equal, false) => Some(self),
            (BranchTest::Greater, true) => self.clamp(constant.checked_add(1)?, u32::MAX),
            (BranchTest::Greater, false) => self.clamp(0, constant),
            (BranchTest::GreaterOrEqual, true) => self.clamp(constant, u32::MAX),
            (BranchTest::GreaterOrEqual, false) => self.clamp(0, constant.checked_sub(1)?),
            (BranchTest::AnyBit, false) if self.value & constant != 0 => None,
            (BranchTest::AnyBit, false) => self.narrow(self.value, self.unknown & !constant),
            (BranchTest::AnyBit, true) => {
                let candidates = (self.value | self.unknown) & constant;
                match candidates {
                    0 => None,
                    bit if bit.is_power_of_two() => self.narrow(self.value | bit, self.unknown & !bit),
                    _ => Some(self),
                }
            }
        }
    }

    /// The set without what lies outside `min..=max`.
    pub fn clamp(self, min: u32, max: u32) -> Option<Self> {
        let (min, max) = (min.max(self.min), max.min(self.max));
        if min > max {
            return None;
        }
        let interval = Self::between(min, max);
        // Known bits of the interval and of the set must agree where both are known.
        if (interval.value ^ self.value) & !interval.unknown & !self.unknown != 0 {
            return None;
        }
        let unknown = self.unknown & interval.unknown;
        let value = (self.value | interval.value) & !unknown;
        Self { value, unknown, min, max }.tightened()
    }

    /// The set with the bits of `mask` as in `value`; `None` if that contradicts what is known.
    pub fn with_known_bits(self, mask: u32, value: u32) -> Option<Self> {
        if (self.value ^ value) & mask & !self.unknown != 0 {
            return None;
        }
        self.narrow((self.value & !mask) | (value & mask), self.unknown & !mask)
    }

    /// The set with more bits known.
    fn narrow(self, value: u32, unknown: u32) -> Option<Self> {
        Self { value: value & !unknown, unknown, ..self }.tightened()
    }

    fn tightened(self) -> Option<Self> {
        let min = self.min.max(self.value);
        let max = self.max.min(self.value | self.unknown);
        (min <= max).then_some(Self { min, max, ..self })
    }

    fn equals(self, other: Self) -> Option<bool> {
        let differ = (self.value ^ other.value) & !self.unknown & !other.unknown != 0;
        let apart = self.max < other.min || other.max < self.min;
        decide(self.unknown | other.unknown == 0 && self.value == other.value, differ || apart)
    }

    fn add(self, other: Self) -> Self {
        let known = self.value.wrapping_add(other.value);
        let carried = self.unknown.wrapping_add(other.unknown).wrapping_add(known);
        let unknown = (carried ^ known) | self.unknown | other.unknown;
        let bits = Self::of_bits(known, unknown);
        match (self.min.checked_add(other.min), self.max.checked_add(other.max)) {
            (Some(min), Some(max)) => bits.clamp(min, max).unwrap_or(bits),
            _ => bits,
        }
    }

    fn subtract(self, other: Self) -> Self {
        let known = self.value.wrapping_sub(other.value);
        let highest = known.wrapping_add(self.unknown);
        let lowest = known.wrapping_sub(other.unknown);
        let bits = Self::of_bits(known, (highest ^ lowest) | self.unknown | other.unknown);
        match (self.min.checked_sub(other.max), self.max.checked_sub(other.min)) {
            (Some(min), Some(max)) => bits.clamp(min, max).unwrap_or(bits),
            _ => bits,
        }
    }

    fn multiply(self, other: Self) -> Self {
        // Known low zero bits add up; nothing else is kept of the bits, because filters multiply lengths by small powers
        // of two and nothing else.
        let zeros =
            (self.value | self.unknown).trailing_zeros() + (other.value | other.unknown).trailing_zeros();
        let bits = Self::of_bits(0, u32::MAX.checked_shl(zeros).unwrap_or(0));
        match (self.min.checked_mul(other.min), self.max.checked_mul(other.max)) {
            (Some(min), Some(max)) => bits.clamp(min, max).unwrap_or(bits),
            _ => bits,
        }
    }

    fn modulo(self, other: Self) -> Self {
        match other.known() {
            Some(power) if power.is_power_of_two() => self.and(Self::constant(power - 1)),
            _ if self.max < other.min => self,
            _ => Self::between(0, self.max.min(other.max.saturating_sub(1))),
        }
    }

    fn and(self, other: Self) -> Self {
        let value = self.value & other.value;
        let unknown = (self.value | self.unknown) & (other.value | other.unknown) & !value;
        let bits = Self::of_bits(value, unknown);
        bits.clamp(0, self.max.min(other.max)).unwrap_or(bits)
    }

    fn shift_left(self, by: Self) -> Self {
        let Some(by) = by.known() else { return Self::ANY };
        let shift = |bits: u32| bits.checked_shl(by).unwrap_or(0);
        let bits = Self::of_bits(shift(self.value), shift(self.unknown));
        if by < 32 && self.max <= u32::MAX >> by {
            return bits.clamp(shift(self.min), shift(self.max)).unwrap_or(bits);
        }
        bits
    }

    fn shift_right(self, by: Self) -> Self {
        let Some(by) = by.known() else { return Self::between(0, self.max) };
        let shift = |bits: u32| bits.checked_shr(by).unwrap_or(0);
        let bits = Self::of_bits(shift(self.value), shift(self.unknown));
        bits.clamp(shift(self.min), shift(self.max)).unwrap_or(bits)
    }
}

#[inline]
fn decide(always: bool, never: bool) -> Option<bool> {
    if always {
        Some(true)
    } else if never {
        Some(false)
    } else {
        None
    }
}
