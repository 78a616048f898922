//! Interface description blocks: link type, name, snaplen, and the clock of the timestamps.

use netrewind_store::Timestamp;
use netrewind_store::time::SECOND_NS;

use super::super::byte_order::ByteOrder;
use super::super::link_type;
use super::super::located::InterfaceDescription;
use super::options::BlockOptions;

/// Ticks per second if the block does not say.
const TICKS_PER_SECOND_DEFAULT: u64 = 1_000_000;
/// Largest resolution at which nanoseconds fit 64-bit arithmetic.
const TICKS_PER_SECOND_NARROW_MAX: u64 = u64::MAX / SECOND_NS;
/// Bytes of an interface's name that are kept: longer than any system allows.
const NAME_BYTES_MAX: usize = 256;

mod field {
    pub(super) const LINK_TYPE: usize = 0;
    pub(super) const SNAPLEN: usize = 4;
    pub(super) const OPTIONS: usize = 8;
}

mod option {
    pub(super) const COMMENT: u16 = 1;
    pub(super) const NAME: u16 = 2;
    pub(super) const DESCRIPTION: u16 = 3;
    pub(super) const TIME_RESOLUTION: u16 = 9;
    pub(super) const FCS_LENGTH: u16 = 13;
    pub(super) const TIME_OFFSET: u16 = 14;
}

/// Contents of an interface description block.
pub(super) struct Described {
    pub(super) interface: InterfaceDescription,
    pub(super) clock: InterfaceClock,
    pub(super) snaplen: u32,
    /// Number of comments.
    pub(super) comments: u64,
}

/// A time as a segment holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Time {
    /// Since the Unix epoch.
    pub(super) seconds: u32,
    pub(super) nanoseconds: u32,
    /// True if it was before 1970 or after 2106; it is then the nearest that a segment can hold.
    pub(super) is_moved: bool,
}

/// Clock of an interface: its resolution and offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct InterfaceClock {
    ticks_per_second: u64,
    offset_seconds: i64,
}

impl InterfaceClock {
    /// Converts ticks to a timestamp.
    pub(super) fn timestamp(self, ticks: u64) -> Timestamp {
        let Time { seconds, nanoseconds, .. } = self.time_of(ticks);
        Timestamp::new(seconds, nanoseconds)
    }

    /// Seconds since the Unix epoch, and nanoseconds. (In tcpdump, seconds beyond 32 bits wrap into another century.)
    #[expect(clippy::cast_possible_truncation, reason = "nanoseconds fit")]
    pub(super) fn time_of(self, ticks: u64) -> Time {
        let seconds = i128::from(ticks / self.ticks_per_second) + i128::from(self.offset_seconds);
        let seconds = match u32::try_from(seconds) {
            Ok(seconds) => seconds,
            Err(_) if seconds < 0 => return Time { seconds: 0, nanoseconds: 0, is_moved: true },
            Err(_) => {
                let nanoseconds = (SECOND_NS - 1) as u32;
                return Time { seconds: u32::MAX, nanoseconds, is_moved: true };
            }
        };
        let fraction = ticks % self.ticks_per_second;
        let nanoseconds = if self.ticks_per_second <= TICKS_PER_SECOND_NARROW_MAX {
            fraction * SECOND_NS / self.ticks_per_second
        } else {
            let wide = u128::from(fraction) * u128::from(SECOND_NS);
            (wide / u128::from(self.ticks_per_second)) as u64
        };
        Time { seconds, nanoseconds: nanoseconds as u32, is_moved: false }
    }
}

impl Described {
    /// Reads the block's body.
    pub(super) fn read(body: &[u8], order: ByteOrder) -> Result<Self, String> {
        let short = "an interface description is too short for its fields";
        let link_type = link_type::of_pcapng(order.u16_at(body, field::LINK_TYPE).ok_or(short)?);
        let stated_snaplen = order.u32_at(body, field::SNAPLEN).ok_or(short)?;
        let mut described = Self {
            interface: InterfaceDescription {
                link_type,
                name: None,
                description: None,
                known_as: None,
                fcs_bits: None,
            },
            clock: InterfaceClock { ticks_per_second: TICKS_PER_SECOND_DEFAULT, offset_seconds: 0 },
            snaplen: link_type::effective_snaplen(link_type, stated_snaplen),
            comments: 0,
        };
        let mut options = BlockOptions::behind(body, field::OPTIONS, order);
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
            option::COMMENT => self.comments += 1,
            option::NAME => self.interface.name = name_of(value),
            option::DESCRIPTION => self.interface.description = name_of(value),
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

/// Decodes `if_tsresol`: the highest bit selects a power of two instead of ten.
fn ticks_per_second(resolution: u8) -> Option<u64> {
    let exponent = u32::from(resolution & 0x7f);
    if resolution & 0x80 == 0 { 10u64.checked_pow(exponent) } else { 2u64.checked_pow(exponent) }
}

fn name_of(value: &[u8]) -> Option<String> {
    let name = String::from_utf8_lossy(&value[..value.len().min(NAME_BYTES_MAX)]);
    let name = name.trim_end_matches('\0');
    // It will stand on terminals.
    let name: String =
        name.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect();
    (!name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_of_every_resolution_keep_nanoseconds() {
        let at = |resolution, ticks| {
            let time = InterfaceClock {
                ticks_per_second: ticks_per_second(resolution).unwrap_or(1),
                offset_seconds: 0,
            }
            .time_of(ticks);
            assert!(!time.is_moved);
            (time.seconds, time.nanoseconds)
        };
        assert_eq!(at(0, 7), (7, 0));
        assert_eq!(at(3, 7_250), (7, 250_000_000));
        assert_eq!(at(9, 7_000_000_001), (7, 1));
        assert_eq!(at(12, 7_000_000_001_999), (7, 1), "picoseconds are cut");
        assert_eq!(at(0x80 | 32, 7 << 32 | 1 << 31), (7, 500_000_000));
        assert_eq!(at(0x80 | 63, 1 << 63 | 1 << 62), (1, 500_000_000), "more than 64 bits on the way");
        let far = |offset_seconds, seconds: u64| {
            let clock = InterfaceClock { ticks_per_second: 1, offset_seconds };
            let Time { seconds, nanoseconds, is_moved } = clock.time_of(seconds);
            (seconds, nanoseconds, is_moved)
        };
        assert_eq!(far(0, u64::from(u32::MAX)), (u32::MAX, 0, false));
        assert_eq!(far(1, u64::from(u32::MAX)), (u32::MAX, 999_999_999, true));
        assert_eq!(far(-5, 5), (0, 0, false));
        assert_eq!(far(i64::MIN, 5), (0, 0, true));
        assert_eq!(far(i64::MAX, u64::MAX), (u32::MAX, 999_999_999, true));
        assert_eq!(ticks_per_second(20), None);
        assert_eq!(ticks_per_second(0x80 | 64), None);
    }
}
