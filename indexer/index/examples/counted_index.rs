//! Indexes packets, for its instructions to be counted: see `tests/instructions.rs`.
//!
//!   valgrind --tool=callgrind --toggle-collect='*::counted' counted_index imix|campus|vxlan
//!
//! Only what a function `counted` does is counted. The last word of the output is how many units that were.

#![allow(missing_docs)]
#![expect(clippy::print_stdout, reason = "an example speaks to its user")]

use netrewind_index::Builder;
use netrewind_store::time::SECOND_NS;
use netrewind_store::{LinkType, PcapWriter, Records};
use netrewind_workloads::{Workload, record_header};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// Packets of the segment.
const PACKETS: u32 = 200_000;
/// Packets a second.
const RATE: u64 = 500_000;
/// Time of the first packet.
const START_NS: u64 = 1_700_000_000 * SECOND_NS;
/// The seed of traffic and tables.
const SEED: u64 = 7;

fn main() -> Outcome<()> {
    let name = std::env::args().nth(1).ok_or("usage: counted_index WORKLOAD")?;
    let workload = Workload::chosen(&name)?;
    let segment = segment(workload)?;
    let index = packet_to_index::counted(&segment)?;
    println!("{} bytes of index, units: {PACKETS}", index.len());
    Ok(())
}

/// From the packets of a segment to its index.
mod packet_to_index {
    use super::{Builder, LinkType, Outcome, Records, SEED};

    #[inline(never)]
    pub fn counted(segment: &[u8]) -> Outcome<Vec<u8>> {
        let mut builder = Builder::new(LinkType::ETHERNET, SEED);
        builder.push_all(Records::of_segment(segment));
        Ok(builder.finish()?)
    }
}

fn segment(workload: Workload) -> Outcome<Vec<u8>> {
    let mut frames = workload.frames(SEED);
    let mut writer = PcapWriter::new(Vec::new(), LinkType::ETHERNET)?;
    for number in 0..PACKETS {
        let frame = frames.next_frame();
        let at_ns = START_NS + u64::from(number) * (SECOND_NS / RATE);
        writer.write(&record_header(at_ns, frame)?, frame)?;
    }
    Ok(writer.finish()?)
}
