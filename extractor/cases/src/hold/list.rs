//! The holds of a store, and what has become of what they keep.

use netrewind_store::hold::{CaseFormat, CaseName};
use netrewind_store::store::{CaseFiles, CasePart, ListedSegment};
use netrewind_store::{SegmentName, Store, StoreError, Timestamp};
use serde::Serialize;

/// Segments that are gone, or unreadable, that a hold lists; more are only counted.
pub const GONE_LISTED_MAX: usize = 1000;

/// A hold as it is now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct HoldView {
    /// The case.
    #[cfg_attr(feature = "schema", schema(value_type = String))]
    pub case: CaseName,
    /// `segments`, or `packets`: a file of its own.
    pub kind: &'static str,
    /// Time at which it was made; absent if its file is damaged.
    #[cfg_attr(feature = "schema", schema(value_type = Option<String>, format = "date-time"))]
    pub made: Option<Timestamp>,
    /// Start of the range; absent: the oldest packet that was kept.
    #[cfg_attr(feature = "schema", schema(value_type = Option<String>, format = "date-time"))]
    pub from: Option<Timestamp>,
    /// End of the range, exclusive; absent: the newest packet.
    #[cfg_attr(feature = "schema", schema(value_type = Option<String>, format = "date-time"))]
    pub to: Option<Timestamp>,
    /// Name of who made it.
    pub by: String,
    /// The reason, in words.
    pub note: String,
    /// Segments that it names and that are there.
    pub segments: u64,
    /// Disk space of these, or of its packets.
    pub bytes: u64,
    /// The file of its packets, with the manifest beside it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(nullable = false))]
    pub file: Option<String>,
    /// True if its packets are still being written, or were when the process that wrote them ended.
    pub is_unfinished: bool,
    /// Segments that it names and that are not there.
    #[cfg_attr(feature = "schema", schema(value_type = Vec<String>))]
    pub gone: Vec<SegmentName>,
    /// Parts that cannot be read, in words.
    pub unreadable: Vec<String>,
    /// Number of gone and unreadable parts beyond the listed ones.
    pub unlisted: u64,
}

impl HoldView {
    /// True if nothing of it is gone or unreadable.
    pub fn is_sound(&self) -> bool {
        self.gone.is_empty() && self.unreadable.is_empty() && !self.is_unfinished
    }

    fn unknown(case: CaseName) -> Self {
        Self {
            case,
            kind: "segments",
            made: None,
            from: None,
            to: None,
            by: String::new(),
            note: String::new(),
            segments: 0,
            bytes: 0,
            file: None,
            is_unfinished: false,
            gone: Vec::new(),
            unreadable: Vec::new(),
            unlisted: 0,
        }
    }

    fn add_unreadable(&mut self, text: String) {
        if self.unreadable.len() < GONE_LISTED_MAX {
            self.unreadable.push(text);
        } else {
            self.unlisted += 1;
        }
    }

    fn add_gone(&mut self, name: SegmentName) {
        if self.gone.len() < GONE_LISTED_MAX {
            self.gone.push(name);
        } else {
            self.unlisted += 1;
        }
    }

    /// A case; `None` if it is not there any more.
    fn of(store: &Store, case: &CaseName, listed: &[ListedSegment]) -> Option<Self> {
        let files = CaseFiles::of(store);
        let mut view = Self::unknown(case.clone());
        let part = store.part(&files.path_of_hold(case));
        let text = match files.read(case) {
            Ok(text) => text?,
            Err(error) => {
                view.add_unreadable(format!("{part}: {error}: every segment that it may name is kept"));
                return Some(view);
            }
        };
        for fault in &text.faults {
            view.add_unreadable(format!("{part}: {fault}: every segment that may have stood there is kept"));
        }
        if let Some(head) = text.head {
            (view.made, view.from, view.to) = (Some(head.made), head.from, head.to);
            (view.by, view.note) = (head.by, head.note);
            if let Some(packets) = head.packets {
                view.is_unfinished = packets.reserved_bytes > 0;
                view.look_at_packets(store, packets.format);
            }
        }
        for held in &text.segments {
            match listed.binary_search_by_key(&held.segment, |segment| segment.name) {
                Err(_) => view.add_gone(held.segment),
                Ok(at) => {
                    view.segments += 1;
                    view.bytes += listed.get(at).map_or(0, |segment| segment.disk_bytes);
                    if let Err(error) = store.open_segment(&held.segment) {
                        view.add_unreadable(format!("segment {}: {error}", held.segment));
                    }
                }
            }
        }
        Some(view)
    }

    fn look_at_packets(&mut self, store: &Store, format: CaseFormat) {
        let files = CaseFiles::of(store);
        self.kind = "packets";
        self.file = Some(store.part(&files.path(&self.case, CasePart::Packets(format))));
        match files.packets_disk_bytes(&self.case) {
            Ok(bytes) => self.bytes = bytes,
            Err(error) => self.add_unreadable(error.to_string()),
        }
        if self.is_unfinished {
            return;
        }
        for part in [CasePart::Packets(format), CasePart::Manifest(format)] {
            let path = store.part(&files.path(&self.case, part));
            match files.open(&self.case, part) {
                Ok(Some(_)) => {}
                Ok(None) => self.add_unreadable(format!("{path}: it is missing")),
                Err(error) => self.add_unreadable(format!("{path}: {error}")),
            }
        }
    }
}

/// All holds, by the names of their cases.
pub fn list_holds(store: &Store) -> Result<Vec<HoldView>, StoreError> {
    let listed = netrewind_store::store::StoreListing::of(store).segments;
    let cases = CaseFiles::of(store).cases()?;
    Ok(cases.iter().filter_map(|case| HoldView::of(store, case, &listed)).collect())
}
