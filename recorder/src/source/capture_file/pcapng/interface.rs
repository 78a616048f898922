//! Interface description blocks: link type, name, snaplen, and the clock of the timestamps.

use super::super::byte_order::ByteOrder;
use super::super::{Interface, link_type};

const NANOSECONDS_PER_SECOND: u64 = 1_000_000_000;
/// Ticks of a second where the block does not say.
const TICKS_PER_SECOND_DEFAULT: u64 = 1_000_000;
/// Up to here, nanoseconds come out of 64-bit arithmetic.
const TICKS_PER_SECOND_NARROW_MAX: u64 = u64::MAX / NANOSECONDS_PER_SECOND;
/// Bytes of an interface's name that are kept: longer than any system allows.
const NAME_BYTES_MAX: usize = 256;

mod field {
    pub(super) const LINK_TYPE: usize = 0;
    pub(super) const SNAPLEN: usize = 4;
    pub(super) const OPTIONS: usize = 8;
}

mod option {
    pub(super) const END: u16 = 0;
    pub(super) const NAME: u16 = 2;
    pub(super) const TIME_RESOLUTION: u16 = 9;
    pub(super) const FCS_LENGTH: u16 = 13;
    pub(super) const TIME_OFFSET: u16 = 14;
}

/// What an interface description block says.
pub(super) struct Described {
    pub(super) interface: Interface,
    pub(super) clock: Clock,
    pub(super) snaplen: u32,
}

/// How an interface counts time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Clock {
    ticks_per_second: u64,
    offset_seconds: i64,
}

impl Clock {
    /// Seconds since the Unix epoch, and nanoseconds. What 32 bits of seconds cannot hold wraps, as in tcpdump.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "seconds wrap; nanoseconds fit"
    )]
    pub(super) fn time_of(self, ticks: u64) -> (u32, u32) {
        let seconds = (ticks / self.ticks_per_second).wrapping_add(self.offset_seconds as u64);
        let fraction = ticks % self.ticks_per_second;
        let nanoseconds = if self.ticks_per_second <= TICKS_PER_SECOND_NARROW_MAX {
            fraction * NANOSECONDS_PER_SECOND / self.ticks_per_second
        } else {
            let wide = u128::from(fraction) * u128::from(NANOSECONDS_PER_SECOND);
            (wide / u128::from(self.ticks_per_second)) as u64
        };
        (seconds as u32, nanoseconds as u32)
    }
}

impl Described {
    /// Reads the block's body.
    pub(super) fn read(body: &[u8], order: ByteOrder) -> Result<Self, String> {
        let short = "an interface description is too short for its fields";
        let link_type = link_type::of_pcapng(order.u16_at(body, field::LINK_TYPE).ok_or(short)?);
        let stated_snaplen = order.u32_at(body, field::SNAPLEN).ok_or(short)?;
        let mut described = Self {
            interface: Interface { link_type, name: None, fcs_bits: None },
            clock: Clock { ticks_per_second: TICKS_PER_SECOND_DEFAULT, offset_seconds: 0 },
            snaplen: link_type::effective_snaplen(link_type, stated_snaplen),
        };
        let mut options = Options { rest: body.get(field::OPTIONS..).unwrap_or_default(), order };
        let mut seen = Vec::new();
        while let Some((code, value)) = options.next()? {
            let of_clock = matches!(code, option::TIME_RESOLUTION | option::TIME_OFFSET);
            if of_clock && seen.contains(&code) {
                return Err(format!("an interface description holds option {code} twice"));
            }
            if of_clock {
                seen.push(code);
            }
            described.apply(code, value, order)?;
        }
        Ok(described)
    }

    fn apply(&mut self, code: u16, value: &[u8], order: ByteOrder) -> Result<(), String> {
        let odd = || format!("an interface's option {code} has {} bytes", value.len());
        match code {
            option::NAME => self.interface.name = name_of(value),
            option::FCS_LENGTH => self.interface.fcs_bits = value.first().copied(),
            option::TIME_RESOLUTION => {
                let [resolution] = value else { return Err(odd()) };
                self.clock.ticks_per_second = ticks_per_second(*resolution).ok_or_else(|| {
                    format!("an interface's clock has an unknown resolution, {resolution:#x}")
                })?;
            }
            option::TIME_OFFSET => {
                self.clock.offset_seconds =
                    order.i64_at(value, 0).filter(|_| value.len() == 8).ok_or_else(odd)?;
            }
            _ => {}
        }
        Ok(())
    }
}

/// The highest bit tells a power of two from a power of ten.
fn ticks_per_second(resolution: u8) -> Option<u64> {
    let exponent = u32::from(resolution & 0x7f);
    if resolution & 0x80 == 0 { 10u64.checked_pow(exponent) } else { 2u64.checked_pow(exponent) }
}

fn name_of(value: &[u8]) -> Option<String> {
    let name = String::from_utf8_lossy(&value[..value.len().min(NAME_BYTES_MAX)]);
    let name = name.trim_end_matches('\0');
    (!name.is_empty()).then(|| name.to_owned())
}

/// The options at the end of a block.
struct Options<'a> {
    rest: &'a [u8],
    order: ByteOrder,
}

impl<'a> Options<'a> {
    fn next(&mut self) -> Result<Option<(u16, &'a [u8])>, String> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let cut = "an interface description ends within an option";
        let code = self.order.u16_at(self.rest, 0).ok_or(cut)?;
        let length = usize::from(self.order.u16_at(self.rest, 2).ok_or(cut)?);
        let padded = length.next_multiple_of(4);
        let value = self.rest.get(4..4 + padded).ok_or(cut)?;
        self.rest = &self.rest[4 + padded..];
        match (code, length) {
            (option::END, 0) => Ok(None),
            (option::END, _) => Err(format!("the end of an interface's options has {length} bytes")),
            _ => Ok(Some((code, &value[..length]))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_of_every_resolution_keep_nanoseconds() {
        let at = |resolution, ticks| {
            Clock { ticks_per_second: ticks_per_second(resolution).unwrap_or(1), offset_seconds: 0 }
                .time_of(ticks)
        };
        assert_eq!(at(0, 7), (7, 0));
        assert_eq!(at(3, 7_250), (7, 250_000_000));
        assert_eq!(at(9, 7_000_000_001), (7, 1));
        assert_eq!(at(12, 7_000_000_001_999), (7, 1), "picoseconds are cut");
        assert_eq!(at(0x80 | 32, 7 << 32 | 1 << 31), (7, 500_000_000));
        assert_eq!(at(0x80 | 63, 1 << 63 | 1 << 62), (1, 500_000_000), "more than 64 bits on the way");
        assert_eq!(ticks_per_second(20), None);
        assert_eq!(ticks_per_second(0x80 | 64), None);
    }
}
