//! The time before the query: sessions, losses and origins from the logbook, and the overview of a store.

pub(crate) mod archive_overview;
pub(crate) mod coverage;
pub(crate) mod logbook_cache;
pub(crate) mod logbook_damage;
pub(crate) mod origin;
pub(crate) mod overview;
pub(crate) mod overview_cache;
pub(crate) mod reach;
pub(crate) mod segment_origins;
pub(crate) mod timeline;
