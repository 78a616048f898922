//! Errors of an hour of the catalog.

use netrewind_store::StoreError;
use netrewind_store::catalog::Hour;

/// An hour cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// Tantivy failed.
    #[error(
        "hour {hour} of the catalog: {source}: run netrewind index --catalog to write it again if its segments are kept"
    )]
    Tantivy {
        /// Hour concerned.
        hour: Hour,
        /// Tantivy's error.
        source: tantivy::TantivyError,
    },
    /// The hour's contents are not as they should be.
    #[error(
        "hour {hour} of the catalog: {reason}: run netrewind index --catalog to write it again if its segments are kept"
    )]
    Damaged {
        /// Hour concerned.
        hour: Hour,
        /// Defect found.
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
