//! Documents of an hour that wait to be sorted: as bytes, one behind the other, because rows would take several times as much memory.

use std::ops::Range;

/// Records of one file, at most. Sorting takes some 80 bytes of memory for each.
pub(crate) const PART_RECORDS_MAX: usize = 1 << 20;
/// Bytes of the documents of one file, at most: long names make them large.
pub(crate) const PART_DOCUMENTS_BYTES_MAX: usize = 64 << 20;

/// Documents of one file.
#[derive(Debug, Default)]
pub(crate) struct Documents {
    bytes: Vec<u8>,
    /// Of each, its first packet and its place.
    places: Vec<(u64, Range<u32>)>,
}

impl Documents {
    /// True if there is room for one more of this length.
    pub(crate) fn has_room(&self, length: usize) -> bool {
        self.places.len() < PART_RECORDS_MAX
            && (self.bytes.is_empty() || self.bytes.len() + length <= PART_DOCUMENTS_BYTES_MAX)
    }

    /// Adds one whose first packet came then.
    pub(crate) fn push(&mut self, first_ns: u64, document: &[u8]) {
        let place = |bytes: &Vec<u8>| u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let from = place(&self.bytes);
        self.bytes.extend_from_slice(document);
        self.places.push((first_ns, from..place(&self.bytes)));
    }

    /// The documents by their first packets; those of the same instant in the order in which they came.
    pub(crate) fn sorted(&mut self) -> impl Iterator<Item = &[u8]> {
        self.places.sort_by_key(|(first_ns, place)| (*first_ns, place.start));
        let bytes = &self.bytes;
        self.places.iter().filter_map(|(_, place)| bytes.get(place.start as usize..place.end as usize))
    }

    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.places.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_come_back_by_time_and_then_as_they_came() {
        let mut documents = Documents::default();
        let all: [(u64, &[u8]); 5] = [(7, b"late"), (3, b"first"), (7, b""), (3, b"second"), (5, b"middle")];
        all.iter().for_each(|(at, document)| documents.push(*at, document));
        let sorted: Vec<_> = documents.sorted().collect();
        assert_eq!(sorted, [&b"first"[..], b"second", b"middle", b"late", b""]);
        documents.clear();
        assert_eq!(documents.sorted().count(), 0);
    }

    #[test]
    fn a_part_ends_before_it_has_too_many_bytes_but_takes_any_first_document() {
        let mut documents = Documents::default();
        assert!(documents.has_room(PART_DOCUMENTS_BYTES_MAX + 1));
        documents.push(0, &vec![0; PART_DOCUMENTS_BYTES_MAX - 10]);
        assert!(documents.has_room(10) && !documents.has_room(11));
    }
}
