//! The one place of this crate with unsafe code: memory maps, and pages of them that cannot be read. Each file states its
//! obligations.

mod lost_pages;
mod map;

pub use lost_pages::pages_lost_elsewhere;
pub use map::{LOST_PAGES, Map};
