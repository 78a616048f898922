//! State of the archive that a recorder uploads into, as the logbook tells.

use netrewind_store::{Event, Timestamp};
use serde::{Deserialize, Serialize};

/// The archive of a store at a glance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct ArchiveOverview {
    /// Its URL.
    pub url: String,
    /// Time of the recorder's last word about it.
    #[cfg_attr(feature = "schema", schema(value_type = String, format = "date-time"))]
    pub told: Timestamp,
    /// Segments that are not there yet.
    pub waiting_segments: u64,
    /// Bytes of their files.
    pub waiting_bytes: u64,
    /// Time at which the oldest of them was opened.
    #[cfg_attr(feature = "schema", schema(value_type = Option<String>, format = "date-time"))]
    pub oldest: Option<Timestamp>,
    /// Segments that expired in the last 24 hours before they were archived.
    pub unarchived_last_day: u64,
    /// Reason why nothing, or not everything, can be archived at the moment.
    pub trouble: Option<String>,
}

impl ArchiveOverview {
    /// Of a line of the logbook; `None` if it is of something else.
    pub(super) fn of(event: Event, told: Timestamp) -> Option<Self> {
        let Event::Archive { archive, waiting_segments, waiting_bytes, oldest, trouble, .. } = event else {
            return None;
        };
        Some(Self {
            url: archive,
            told,
            waiting_segments,
            waiting_bytes,
            oldest,
            unarchived_last_day: 0,
            trouble,
        })
    }
}
