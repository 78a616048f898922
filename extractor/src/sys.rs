//! The one place of this crate with unsafe code: memory maps and hints. Each file states its obligations.

mod cache;
mod map;

pub(crate) use cache::prefetch;
pub(crate) use map::Map;
