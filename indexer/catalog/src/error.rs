//! What goes wrong with an hour of the catalog.

use netrewind_segment::StoreError;
use netrewind_segment::catalog::Hour;

/// An hour cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// tantivy's word for it.
    #[error(
        "hour {hour} of the catalog: {source}: netrewind index --catalog writes it again, if its segments are kept"
    )]
    Tantivy {
        /// Which hour.
        hour: Hour,
        /// What it found.
        source: tantivy::TantivyError,
    },
    /// What it holds is not what it should be.
    #[error(
        "hour {hour} of the catalog: {reason}: netrewind index --catalog writes it again, if its segments are kept"
    )]
    Damaged {
        /// Which hour.
        hour: Hour,
        /// What is wrong.
        reason: String,
    },
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl CatalogError {
    pub(crate) fn tantivy(hour: Hour) -> impl Fn(tantivy::TantivyError) -> Self {
        move |source| Self::Tantivy { hour, source }
    }

    pub(crate) fn damaged(hour: Hour, reason: impl Into<String>) -> Self {
        Self::Damaged { hour, reason: reason.into() }
    }
}
