//! Writes a workload as a capture file.

use std::fs::File;
use std::io::BufWriter;
use std::path::PathBuf;

use clap::Parser;
use netrewind_store::time::SECOND_NS;
use netrewind_store::{LinkType, PcapWriter};
use netrewind_workloads::{Workload, record_header};

/// Writes synthetic traffic as a nanosecond pcap file; the same arguments always write the same bytes
#[derive(Parser)]
struct Arguments {
    /// imix, vxlan, campus, million, synflood, small, full or cloud
    workload: String,
    /// Number of packets
    packets: u64,
    /// The file to write
    output: PathBuf,
    /// Seed: selects one of the workload's many forms
    #[arg(long, default_value_t = 7)]
    seed: u64,
    /// Unix seconds of the first packet
    #[arg(long, default_value_t = 1_700_000_000)]
    start: u32,
    /// Packets a second, which sets the time stamps
    #[arg(long, default_value_t = 500_000)]
    rate: u64,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let workload = Workload::chosen(&arguments.workload).map_err(anyhow::Error::msg)?;
    let mut frames = workload.frames(arguments.seed);
    let file = BufWriter::with_capacity(1 << 20, File::create(&arguments.output)?);
    let mut output = PcapWriter::new(file, LinkType::ETHERNET)?;
    let mut at = u64::from(arguments.start) * SECOND_NS;
    for _ in 0..arguments.packets {
        let frame = frames.next_frame();
        output.write(&record_header(at, frame)?, frame)?;
        at += SECOND_NS / arguments.rate.max(1);
    }
    output.finish()?;
    Ok(())
}
