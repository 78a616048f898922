//! The one place of this crate with unsafe code: the binding to libpcap, and memory maps. Each file states its obligations.

mod map;
#[cfg(test)]
pub(crate) mod oracle;
pub(crate) mod savefile;

pub(crate) use map::Map;
