//! Reading what was observed of flows: see `FORMAT.md`, "Observations".

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
        for block in 0..self.blocks.count() {
            self.load(block)?;
            let rows = self.block.take().map(|(_, rows)| rows).unwrap_or_default();
            rows.iter().try_for_each(|row| visit(self, row))?;
        }
        Ok(())
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
