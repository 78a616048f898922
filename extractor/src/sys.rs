//! The one place of this crate with unsafe code: hints to the processor.

mod cache;

pub(crate) use cache::prefetch;
