//! Totals of flows that cross the boundary of two catalog hours.
//!
//! If all records of a conversation's ends are of just one side of the boundary, their total is known, and added up. If one of them
//! reaches from one end of its hour to the other, further hours contribute to the total: these stay records.

use std::ops::Range;
use std::sync::Arc;

use netrewind_flows::encapsulation::Encapsulations;
use netrewind_flows::part::FlowPart;
use netrewind_store::catalog::Manifest;

use crate::boundary_join::BoundaryJoin;
use crate::document::DocumentWriter;
use crate::rollup::aggregate::Aggregate;
use crate::rollup::count_table::TableForm;
use crate::rollup::framing::{
    Magic, RollupRecords, after_head, checked, identity, is_checked, parts_of, records,
};
use crate::sums_file::SumsFile;

/// The versions that are read; the first is written.
const MAGICS: [Magic; 2] = [(b"NRSEAM\x00\x02", TableForm::Packed), (b"NRSEAM\x00\x01", TableForm::Plain)];
/// Bytes of the head: magic, checksum and two identities.
pub const HEAD_BYTES: usize = 32;

/// Totals and remaining records of the conversations that cross the boundary of two catalog hours.
#[derive(Debug)]
pub struct HourBoundary {
    /// Sums of the conversations that are over.
    pub settled: Aggregate,
    unsettled: [Range<usize>; 2],
}

impl HourBoundary {
    /// True if the checksum is right.
    pub fn is_whole(bytes: &[u8]) -> bool {
        is_checked(&MAGICS, bytes)
    }

    /// Reads the bytes of a boundary of these hours; their checksum is known to be right.
    pub fn of(file: Arc<SumsFile>, before: &Manifest, after: &Manifest) -> Option<Self> {
        let identities = [identity(before)?, identity(after)?];
        let (content, form) = after_head(&MAGICS, &file.map, &identities)?;
        let [settled, before, after] = parts_of(&file.map, content)?;
        Some(Self { settled: Aggregate { bytes: settled, file, form }, unsettled: [before, after] })
    }

    /// The unsettled records of the hour before, except those that span it.
    pub fn before(&self, encapsulations: &Encapsulations, to: &mut Vec<FlowPart>) -> Option<()> {
        self.records(0, encapsulations, to)
    }

    /// Likewise those of the hour after.
    pub fn after(&self, encapsulations: &Encapsulations, to: &mut Vec<FlowPart>) -> Option<()> {
        self.records(1, encapsulations, to)
    }

    fn records(&self, side: usize, encapsulations: &Encapsulations, to: &mut Vec<FlowPart>) -> Option<()> {
        let file = &self.settled.file;
        records(file.map.get(self.unsettled.get(side)?.clone())?, encapsulations, file.base().ns(), to)
    }

    /// True if the records that it holds, settled or not, come to these packets and bytes.
    pub fn adds_up(&self, open: (u64, u64)) -> bool {
        let encapsulations = Encapsulations::default();
        let read = || {
            let settled = self.settled.consistent()?;
            let mut sums = settled.totals;
            let mut unsettled = Vec::new();
            self.before(&encapsulations, &mut unsettled)?;
            self.after(&encapsulations, &mut unsettled)?;
            unsettled.iter().for_each(|part| sums.add(&part.body));
            Some((sums.packets, sums.bytes))
        };
        read() == Some(open) && self.settled.file.fault().is_none()
    }
}

/// Content of a boundary's file behind its identities, if these are of the hours; empty where there was too much to join.
pub fn content_of<'b>(bytes: &'b [u8], before: &Manifest, after: &Manifest) -> Option<&'b [u8]> {
    after_head(&MAGICS, bytes, &[identity(before)?, identity(after)?]).map(|(content, _)| content)
}

/// File of a boundary of these hours: its content behind the head.
pub fn seal(before: &Manifest, after: &Manifest, content: &[u8]) -> Vec<u8> {
    let identities = [before, after].map(|manifest| identity(manifest).unwrap_or_default().to_be_bytes());
    checked(&MAGICS, &[&identities.concat(), content].concat())
}

/// The bytes of a boundary. Without records, or if these are too many, it says that there is none.
pub fn write(joined: Option<BoundaryJoin<'_>>, before: &Manifest, after: &Manifest) -> Vec<u8> {
    let mut content = DocumentWriter::default();
    if let Some((settled, unsettled)) = joined.and_then(BoundaryJoin::finish) {
        content.bytes(&settled.0);
        unsettled.iter().map(RollupRecords::to_bytes).for_each(|records| content.bytes(&records));
    }
    seal(before, after, &content.0)
}
