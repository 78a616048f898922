//! What reads bytes from outside here, for those who try it with any: `fuzz/`, and the tests over its inputs.

use crate::pcapng_stream::{Block, Blocks};

/// Blocks of an answer that comes in pieces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadBlocks {
    blocks: Vec<Block>,
    /// True if it ends between two blocks.
    is_at_end: bool,
    error: Option<String>,
}

/// Reads the blocks of an answer, up to the first that is damaged.
pub fn blocks<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> ReadBlocks {
    let (mut reading, mut blocks) = (Blocks::default(), Vec::new());
    for piece in pieces {
        reading.feed(piece);
        loop {
            match reading.next() {
                Ok(Some(block)) => blocks.push(block),
                Ok(None) => break,
                Err(error) => return ReadBlocks { blocks, is_at_end: false, error: Some(error) },
            }
        }
    }
    ReadBlocks { blocks, is_at_end: reading.is_at_end(), error: None }
}
