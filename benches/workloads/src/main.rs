//! Writes a workload as a capture file.

use std::fs::File;
use std::io::BufWriter;
use std::path::PathBuf;

use clap::Parser;
use netrewind_store::time::SECOND_NS;
use netrewind_store::{LinkType, PcapWriter, RecordHeader};
use netrewind_workloads::{WORKLOADS, Workload};

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
    let names: Vec<_> = WORKLOADS.iter().map(|workload| workload.name).collect();
    let workload = Workload::named(&arguments.workload)
        .ok_or_else(|| anyhow::anyhow!("{:?} is none of {}", arguments.workload, names.join(", ")))?;
    let mut frames = workload.frames(arguments.seed);
    let file = BufWriter::with_capacity(1 << 20, File::create(&arguments.output)?);
    let mut output = PcapWriter::new(file, LinkType::ETHERNET)?;
    let mut at = u64::from(arguments.start) * SECOND_NS;
    for _ in 0..arguments.packets {
        let frame = frames.next_frame();
        let length = u32::try_from(frame.len())?;
        let header = RecordHeader {
            seconds: u32::try_from(at / SECOND_NS)?,
            nanoseconds: u32::try_from(at % SECOND_NS)?,
            caplen: length,
            len: length,
        };
        output.write(&header, frame)?;
        at += SECOND_NS / arguments.rate.max(1);
    }
    output.finish()?;
    Ok(())
}
