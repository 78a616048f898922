//! The one place of this crate with unsafe code: the binding to libpcap, memory maps, and hints. Each file states its obligations.

mod cache;
mod map;
#[cfg(test)]
pub(crate) mod oracle;
pub(crate) mod savefile;

pub(crate) use cache::prefetch;
pub(crate) use map::Map;
