//! The one place of this package with unsafe code: settings of the allocator.

mod allocator;

pub(crate) use allocator::return_freed_memory;
