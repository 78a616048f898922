//! Reading what was observed of flows: see `FORMAT.md`, "Observations".

use std::ops::Range;

use crate::IndexError;
use crate::blocks::BlockReader;
use crate::layout::Section;
use crate::observations::{self, LabelKey, Observation};
use crate::strings::StringTable;

/// Observations of the flows of an index. Cheapest when the flows are asked for in ascending order.
#[derive(Debug)]
pub struct Observations<'a> {
    blocks: BlockReader<'a, 4>,
    strings: StringTable<'a>,
    block: Option<(usize, Vec<Observation>)>,
}

impl<'a> Observations<'a> {
    pub(super) fn new(blocks: BlockReader<'a, 4>, strings: BlockReader<'a, 0>) -> Self {
        Self { blocks, strings: StringTable::new(strings), block: None }
    }

    /// Observation of a flow, if it has one.
    pub fn of(&mut self, flow: u32) -> Result<Option<Observation>, IndexError> {
        let Some(block) = self.blocks.find(|first| u32::from_le_bytes(first) > flow) else { return Ok(None) };
        let rows = self.load(block)?;
        let place = rows.binary_search_by_key(&flow, |row| row.flow);
        Ok(place.ok().and_then(|place| rows.get(place)).cloned())
    }

    /// Visits the observations of all flows, in their order, up to a damaged one.
    pub fn visit(
        &mut self,
        mut visit: impl FnMut(&mut Self, &Observation) -> Result<(), IndexError>,
    ) -> Result<(), IndexError> {
        (0..self.blocks.count()).try_for_each(|block| self.visit_block(block, |_| true, &mut visit))
    }

    /// Visits the observations of these flows, in their order. Cheapest when one range follows the other.
    pub fn visit_range(
        &mut self,
        flows: Range<u32>,
        mut visit: impl FnMut(&mut Self, &Observation) -> Result<(), IndexError>,
    ) -> Result<(), IndexError> {
        let from = self.blocks.find(|first| u32::from_le_bytes(first) > flows.start).unwrap_or(0);
        let begins_before = |block: &usize| u32::from_le_bytes(self.blocks.key(*block)) < flows.end;
        let to = (from..self.blocks.count()).take_while(begins_before).last().map_or(from, |last| last + 1);
        (from..to).try_for_each(|block| self.visit_block(block, |row| flows.contains(&row.flow), &mut visit))
    }

    fn visit_block(
        &mut self,
        block: usize,
        is_meant: impl Fn(&Observation) -> bool,
        visit: &mut impl FnMut(&mut Self, &Observation) -> Result<(), IndexError>,
    ) -> Result<(), IndexError> {
        self.load(block)?;
        let rows = self.block.take().map(|(_, rows)| rows).unwrap_or_default();
        let visited = rows.iter().filter(|row| is_meant(row)).try_for_each(|row| visit(self, row));
        self.block = Some((block, rows));
        visited
    }

    /// Compares the checksums of everything, without decoding it.
    pub(super) fn check(&self) -> Result<(), IndexError> {
        self.blocks.check()?;
        self.strings.check()
    }

    /// Visits the texts of all labels with their numbers.
    pub fn visit_texts(&mut self, mut visit: impl FnMut(u32, &str)) -> Result<(), IndexError> {
        for number in 0..self.strings.len() {
            visit(number, self.strings.get(number)?);
        }
        Ok(())
    }

    /// Visits the labels of an observation.
    pub fn visit_labels(
        &mut self,
        observation: &Observation,
        mut visit: impl FnMut(LabelKey, &str),
    ) -> Result<(), IndexError> {
        for &(key, text) in &observation.labels {
            visit(key, self.strings.get(text)?);
        }
        Ok(())
    }

    /// Decodes everything once.
    pub(super) fn verify(&mut self, flows: u32) -> Result<(), IndexError> {
        self.visit(|all, row| match row.flow < flows {
            true => all.visit_labels(row, |_, _| {}),
            false => Err(Section::Observations.damaged()),
        })
    }

    fn load(&mut self, block: usize) -> Result<&[Observation], IndexError> {
        let loaded = match self.block.take().filter(|(loaded, _)| *loaded == block) {
            Some(loaded) => loaded,
            None => {
                let first = u32::from_le_bytes(self.blocks.key(block));
                let bytes = self.blocks.block(block)?;
                let rows = observations::decode(bytes, self.blocks.rows_of(block), first);
                (block, rows.ok_or(Section::Observations.damaged())?)
            }
        };
        Ok(&self.block.insert(loaded).1)
    }
}
