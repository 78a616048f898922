//! Writes a workload as the sealed segments of a store, spread over hours, without indexes: `netrewind index` builds these.

use std::fs::File;
use std::io::BufWriter;
use std::path::PathBuf;

use clap::Parser;
use netrewind_store::catalog::Hour;
use netrewind_store::time::SECOND_NS;
use netrewind_store::{LinkType, PcapWriter, SegmentName, Store, Timestamp};
use netrewind_workloads::{Workload, record_header};

/// Writes synthetic traffic as the segments of a new store; the same arguments always write the same bytes
#[derive(Parser)]
struct Arguments {
    /// imix, vxlan, campus, million, synflood, small, full or cloud
    workload: String,
    /// Number of segments
    segments: u64,
    /// Packets of each
    packets: u64,
    /// Folder of the store
    store: PathBuf,
    /// Hours that they are spread over
    #[arg(long, default_value_t = 66)]
    hours: u64,
    /// Seed: selects one of the workload's many forms
    #[arg(long, default_value_t = 7)]
    seed: u64,
    /// Unix seconds of the first packet
    #[arg(long, default_value_t = 1_790_000_000)]
    start: u64,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let workload = Workload::chosen(&arguments.workload).map_err(anyhow::Error::msg)?;
    let start = Timestamp(arguments.start * SECOND_NS);
    let store = Store::open_or_create(&arguments.store, start, arguments.seed)?;
    let mut frames = workload.frames(arguments.seed);
    let hour_ns = Hour::of(start).end().ns() - Hour::of(start).start().ns();
    let segment_ns = arguments.hours * hour_ns / arguments.segments.max(1);
    for number in 0..arguments.segments {
        let name = SegmentName { opened: Timestamp(start.ns() + number * segment_ns), lane: 0 };
        store.prepare_folder(&name)?;
        let file = BufWriter::with_capacity(1 << 20, File::create(store.sealed_path(&name))?);
        let mut output = PcapWriter::new(file, LinkType::ETHERNET)?;
        for packet in 0..arguments.packets {
            let at = name.opened.ns() + packet * (segment_ns / arguments.packets);
            let frame = frames.next_frame();
            output.write(&record_header(at, frame)?, frame)?;
        }
        output.finish()?;
    }
    Ok(())
}
