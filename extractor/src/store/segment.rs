//! Segment as a query sees it: its bytes up to the end that was readable when the query began, with bounds of their time and
//! order, from its index or from a walk.

use std::sync::{Arc, OnceLock};

use netrewind_index::{Index, IndexError};
use netrewind_store::layout::CAPLEN_MAX;
use netrewind_store::{LOST_PAGES, LinkType, Map, Medium, SegmentName, Timestamp};

use super::hour_cache::HourPlace;
use super::scan::{Scan, damage_at};
use crate::answer::completeness::{RejectedIndex, Unreadable};

/// Reason reported for frames of a cold segment that cannot be decompressed.
const COLD_DAMAGE: &str = "the compressed segment is damaged there: run netrewind verify";

/// Reason why an index is unusable because part of it could not be read: check it after use.
pub(crate) fn lost_part_of(index: &Index<Map>) -> Result<(), IndexError> {
    if index.bytes().has_lost() { Err(IndexError::Unreadable) } else { Ok(()) }
}

/// A segment opened for a query.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) name: SegmentName,
    /// Its place among all segments of the store, by name.
    pub(crate) ordinal: u32,
    pub(crate) link_type: LinkType,
    pub(crate) medium: Medium,
    /// The index, found to belong to these bytes.
    pub(crate) index: Option<Arc<Index<Map>>>,
    /// Offset of the first byte that the query has not read before: anything before it is left out.
    pub(crate) begin: u64,
    /// Bounds of its timestamps; absent until a walk gives them.
    pub(crate) bounds: Option<(Timestamp, Timestamp)>,
    /// Its place in the index of its hour, if that speaks of it.
    pub(crate) hour: Option<HourPlace>,
    /// True if the index of its hour tells that the answer has no packet of it.
    pub(crate) is_barren: bool,
    /// Number of its packets' interface among the query's interfaces.
    pub(crate) interface: u32,
    /// See [`Self::is_plain`].
    pub(super) plain: Arc<OnceLock<bool>>,
    /// True if its maps are kept until the query has read it.
    pub(crate) is_held: bool,
    /// True if it is sealed: its content does not change.
    pub(super) is_sealed: bool,
    /// True if its maps were released, so that it has to be opened again to be read.
    pub(super) is_released: bool,
    /// Size of the segment when its index, which no longer fits, was built; zero if unknown.
    pub(super) indexed_bytes: u64,
}

/// A sealed segment and its index, which belongs to it.
#[derive(Clone, Debug)]
pub(super) struct Opened {
    pub(super) medium: Medium,
    pub(super) index: Arc<Index<Map>>,
    /// See [`Segment::is_plain`].
    pub(super) plain: Arc<OnceLock<bool>>,
}

/// Result of opening a listed segment.
pub(crate) enum Opening {
    /// It can be read.
    Ready(Box<Segment>, Option<RejectedIndex>),
    /// It is gone, or holds nothing yet.
    Nothing,
    /// It is there, and no segment.
    Unreadable(Unreadable),
}

impl Segment {
    /// A segment as it was opened, with nothing known of its packets yet.
    pub(super) fn new(name: SegmentName, ordinal: u32, link_type: LinkType, medium: Medium) -> Self {
        Self {
            name,
            ordinal,
            link_type,
            medium,
            index: None,
            begin: 0,
            bounds: None,
            hour: None,
            is_barren: false,
            interface: 0,
            plain: Arc::default(),
            is_held: false,
            is_sealed: true,
            is_released: false,
            indexed_bytes: 0,
        }
    }

    /// A sealed segment of which the index of its hour tells all that is needed before it is read: it is released from the start.
    /// `None` if it has no packets.
    pub(super) fn of_hour(name: SegmentName, ordinal: u32, place: HourPlace) -> Option<Self> {
        let facts = *place.facts().filter(|facts| facts.records > 0)?;
        let segment = Self::new(name, ordinal, facts.link_type, Medium::default());
        let bounds = Some((facts.first, facts.last));
        Some(Self { bounds, hour: Some(place), is_released: true, ..segment })
    }

    /// A sealed segment with its index.
    pub(super) fn indexed(name: SegmentName, ordinal: u32, opened: Opened) -> Self {
        let Opened { medium, index, plain } = opened;
        let bounds = Some((index.first(), index.last()));
        let segment = Self::new(name, ordinal, index.link_type(), medium);
        Self { bounds, index: Some(index), plain, ..segment }
    }

    /// The segment and its index as the cache keeps them; `None` where there is no index.
    pub(super) fn opened(&self) -> Option<Opened> {
        let index = self.index.clone()?;
        Some(Opened { medium: self.medium.clone(), index, plain: Arc::clone(&self.plain) })
    }

    /// Releases its maps, of which a process can have only so many. Only if its content cannot change: a sealed segment whose
    /// bounds are known.
    pub(crate) fn release(&mut self) {
        if self.is_sealed && self.bounds.is_some() {
            self.index = None;
            self.medium = Medium::default();
            self.is_released = true;
        }
    }

    /// True if an index that belongs to it tells its flows.
    pub(crate) fn is_indexed(&self) -> bool {
        self.index.is_some() || self.hour.is_some()
    }

    /// Bits of the views in which it can have later fragments, as far as known without opening it.
    pub(crate) fn later_views(&self) -> Option<u8> {
        self.hour.as_ref().and_then(HourPlace::facts).map(|facts| facts.later_views)
    }

    pub(crate) fn is_released(&self) -> bool {
        self.is_released
    }

    /// An open segment as two: the front that an index knows, and the rest.
    pub(crate) fn divided(&self, index: Arc<Index<Map>>) -> [Self; 2] {
        let part = |medium| Self {
            interface: self.interface,
            is_held: self.is_held,
            is_sealed: false,
            ..Self::new(self.name, self.ordinal, self.link_type, medium)
        };
        let end = index.segment_bytes();
        let bounds = Some((index.first(), index.last()));
        let rest = Self { begin: end, bounds: self.bounds, ..part(self.medium.clone()) };
        [Self { begin: self.begin, index: Some(index), bounds, ..part(self.medium.front(end)) }, rest]
    }

    /// True if it is fetched as it stands, without checksums of its own that are compared when it is read, as cold ones have.
    pub(crate) fn is_unsummed(&self) -> bool {
        self.medium.is_archived() && !self.medium.is_cold()
    }

    /// True once nothing more will be added to it.
    pub(crate) fn is_sealed(&self) -> bool {
        self.is_sealed
    }

    /// True if the index knows that no packet has a view but itself, so that none has to be dissected.
    pub(crate) fn is_plain(&self) -> bool {
        *self.plain.get_or_init(|| {
            let templates = self.index.as_ref().and_then(|index| index.templates().ok());
            templates.is_some_and(|templates| {
                templates.iter().all(|template| template.views.len() == 1 && !template.is_opaque())
            })
        })
    }

    /// Place from which it cannot be read, after a scan that reached the end of `walk`.
    pub(crate) fn damage(&self, walk: &Scan) -> Option<Unreadable> {
        let bytes = self.medium.bytes();
        (walk.end < bytes.max(self.indexed_bytes)).then(|| self.unreadable_at(walk.end))
    }

    pub(crate) fn unreadable_at(&self, offset: u64) -> Unreadable {
        let reason = match self.medium.first_lost(offset..offset.saturating_add(CAPLEN_MAX.into())) {
            Some(_) if self.medium.is_archived() => {
                format!(
                    "it could not be read from the archive: {}",
                    self.medium.unfetched().unwrap_or_default()
                )
            }
            Some(_) if self.medium.is_cold() => COLD_DAMAGE.to_owned(),
            Some(_) => LOST_PAGES.to_owned(),
            None if offset >= self.medium.bytes() && self.medium.fault().is_some() => {
                format!(
                    "the compressed segment cannot be read further: {}",
                    self.medium.fault().unwrap_or_default()
                )
            }
            None if offset >= self.medium.bytes() && offset < self.indexed_bytes => {
                format!("the file was shortened: it ends here, but had {} bytes", self.indexed_bytes)
            }
            None => damage_at(&self.medium.read(offset..self.medium.bytes())),
        };
        Unreadable { segment: self.name, offset, reason }
    }

    /// Its front, up to the first lost page, without its index; `None` if no page was lost.
    pub(crate) fn before_lost_pages(&self) -> Option<Self> {
        let lost = self.medium.first_lost(0..self.medium.bytes())?;
        let medium = self.medium.front(lost);
        Some(Self { medium, index: None, hour: None, plain: Arc::default(), ..*self })
    }
}
