//! A recogniser's verdict on bytes.

use crate::labels::Labels;

/// The judgement of a direction's first bytes. `Nothing`, `Part` and `Whole` stay true whatever bytes follow.
#[derive(Debug)]
pub(crate) enum Recognition {
    /// None of the protocols.
    Nothing,
    /// It may be one, once more bytes are there.
    More,
    /// Recognised; the other direction may know more.
    Part(Box<Labels>),
    /// Recognised, and the other direction has nothing to add.
    Whole(Box<Labels>),
}

impl Recognition {
    pub fn more_unless(is_last: bool) -> Self {
        if is_last { Self::Nothing } else { Self::More }
    }
}
