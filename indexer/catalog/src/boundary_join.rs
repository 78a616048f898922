//! Joining of the records that are open at the boundary of two hours.

use std::collections::HashSet;

use foldhash::fast::RandomState;
use netrewind_flows::encapsulation::Encapsulations;
use netrewind_flows::join::Joiner;
use netrewind_flows::key::FlowKey;
use netrewind_flows::part::FlowPart;
use netrewind_store::catalog::Hour;

use crate::document::DocumentWriter;
use crate::record;
use crate::rollup::aggregate::AggregateBuilder;
use crate::rollup::framing::RollupRecords;

/// Conversations that are joined at once, some 150 bytes each; if there are more, there is no seam.
const JOINED_MAX: usize = 1 << 21;

/// End of its hour at which a record is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HourSide {
    /// It may have begun before.
    Early,
    /// It may go on after.
    Late,
}

/// Joined records, except those of incomplete conversations.
pub struct BoundaryJoin<'q> {
    joiner: Joiner<'q>,
    settled: AggregateBuilder<'q>,
    unsettled: [RollupRecords; 2],
    /// Conversations of which a record reaches through its hour.
    left: HashSet<FlowKey, RandomState>,
    base: Hour,
    encapsulations: &'q Encapsulations,
}

impl<'q> BoundaryJoin<'q> {
    /// Joins nothing yet; times of records count from the start of `base`.
    pub fn new(encapsulations: &'q Encapsulations, base: Hour) -> Self {
        let mut joiner = Joiner::new(encapsulations).with_open_max(JOINED_MAX);
        // Nothing is over before all is there.
        joiner.begin(Some(0));
        Self {
            joiner,
            settled: AggregateBuilder::new(encapsulations),
            unsettled: Default::default(),
            left: HashSet::default(),
            base,
            encapsulations,
        }
    }

    /// Excludes conversations with a record that spans its hour.
    pub fn leave<'p>(&mut self, through: impl Iterator<Item = &'p FlowPart>) {
        self.left.extend(through.map(|part| part.key));
    }

    /// Takes a record: those of the hour before first, each hour's in their order.
    pub fn take(&mut self, part: FlowPart, side: HourSide) {
        let FlowPart { key, body } = &part;
        if self.left.contains(key) {
            let [before, after] = &mut self.unsettled;
            let of_side = if side == HourSide::Late { before } else { after };
            of_side.add(&record::write(key, body, true, self.encapsulations, self.base.start().ns()));
        } else {
            self.joiner.add(key, body, &mut |key, body| self.settled.take(key, body));
        }
    }

    /// Settled and unsettled conversations; `None` if they are not known for certain.
    pub fn finish(self) -> Option<(DocumentWriter, [RollupRecords; 2])> {
        let Self { mut joiner, mut settled, unsettled, base, .. } = self;
        joiner.finish(&mut |key, body| settled.take(key, body));
        if joiner.is_approximate() {
            return None;
        }
        Some((settled.finish(base)?, unsettled))
    }

    /// Likewise, where there is no hour before.
    pub fn finish_alone(self) -> Option<(DocumentWriter, RollupRecords)> {
        let (settled, [_, after]) = self.finish()?;
        Some((settled, after))
    }
}
