//! What is wrong with a list, and what of its text is no entry.

/// Bytes of a list's text at most.
pub const LIST_BYTES_MAX: u64 = 16 << 20;
/// Entries of a list at most.
pub const LIST_ENTRIES_MAX: usize = 1 << 20;
/// Reason why a list was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ListError {
    /// An entry means nothing.
    #[error(
        "{place}: {entry:?} is not {expected}; a list has one entry a line or between commas, and comments begin with # or ;"
    )]
    Entry {
        /// Line or attribute.
        place: String,
        /// The entry, as far as it is shown.
        entry: String,
        /// What it could be.
        expected: &'static str,
    },
    /// There is no entry: no packet could be in the list.
    #[error("it has no entry{0}: nothing would be found")]
    Empty(LeftOut),
    /// There are too many.
    #[error(
        "it has more than {LIST_ENTRIES_MAX} entries: divide it, and join adjacent addresses to networks"
    )]
    TooLong,
    /// It begins like JSON, and is not a list.
    #[error(
        "it begins like JSON, and {0}: a list is a line for each entry, a MISP event or search as JSON, or a MISP warning list"
    )]
    Json(String),
}

/// What the text has besides the entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// Attributes of MISP of other types: names, hashes.
    pub of_other_types: u64,
    /// Attributes that are deleted, or not meant for detection (`to_ids`).
    pub not_for_detection: u64,
}

/// ` (12 attributes of other types and 3 that are not for detection are left out)`; nothing where nothing is.
impl std::fmt::Display for LeftOut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.of_other_types, self.not_for_detection) {
            (0, 0) => Ok(()),
            (others, 0) => write!(f, " ({others} attributes of other types are left out)"),
            (0, inert) => write!(f, " ({inert} attributes that are not for detection are left out)"),
            (others, inert) => write!(
                f,
                " ({others} attributes of other types and {inert} that are not for detection are left out)"
            ),
        }
    }
}

/// Kind of a list's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ListKind {
    Addresses,
    Ports,
}

impl ListKind {
    pub(super) const fn expected(self) -> &'static str {
        match self {
            Self::Addresses => {
                "an IPv4 or IPv6 address, a network (10.0.0.0/8) or a range (10.0.0.1-10.0.0.9); names are not looked up"
            }
            Self::Ports => "a port or a range of ports (8000-8100)",
        }
    }
}
