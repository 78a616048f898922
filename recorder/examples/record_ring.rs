//! Records an interface into a store without an index until no packet has come for a while, and prints the cost: for measuring
//! the recorder's own part of the work.
//!
//! ```text
//! record_ring INTERFACE STORE [LANES] [SEGMENT_BYTES] [BUFFER_BYTES] [BUFFERS] [RING_BLOCK_BYTES]
//! ```
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command, not a library")]

use std::path::Path;
use std::time::{Duration, Instant};

use netrewind_recorder::source::Source;
use netrewind_recorder::source::packet_ring::{PacketRing, RingConfig};
use netrewind_recorder::{Config, Platform, Recorder, RecordingDescription};
use netrewind_store::Store;
use netrewind_store::store::StoreLock;

/// Time without packets that ends the recording.
const QUIET: Duration = Duration::from_millis(1500);

/// Waits until packets have come, and then none for a while.
fn wait_for_quiet(recorder: &Recorder) {
    let mut before = 0;
    loop {
        std::thread::sleep(QUIET);
        let received = recorder.status().account.received;
        if received > 0 && received == before {
            return;
        }
        before = received;
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (Some(interface), Some(folder)) = (arguments.first(), arguments.get(1)) else {
        eprintln!(
            "usage: record_ring INTERFACE STORE [LANES] [SEGMENT_BYTES] [BUFFER_BYTES] [BUFFERS] [RING_BLOCK_BYTES]"
        );
        return Ok(());
    };
    let number = |at: usize, default: u64| arguments.get(at).map_or(Ok(default), |text| text.parse());
    let usual = Config::default();
    let config = Config {
        segment_bytes: number(3, usual.segment_bytes)?,
        buffer_bytes: usize::try_from(number(4, usual.buffer_bytes as u64)?)?,
        buffers: u16::try_from(number(5, usual.buffers.into())?)?,
        ..usual
    };
    let mut ring = RingConfig::new(interface);
    let ring_bytes = u64::from(ring.block_bytes) * u64::from(ring.blocks);
    ring.block_bytes = u32::try_from(number(6, ring.block_bytes.into())?)?;
    ring.blocks = u32::try_from(ring_bytes / u64::from(ring.block_bytes))?;

    let platform = Platform::system();
    let store = Store::open_or_create(Path::new(folder), platform.clock.now().wall, 0)?;
    let lock = StoreLock::take(&store, "record_ring")?;
    netrewind_recorder::recover(&store, &mut |event| eprintln!("{event:?}"))?;
    let rings = PacketRing::open(&ring, usize::try_from(number(2, 1)?)?, &platform.clock)?;
    let sources = rings.into_iter().map(|ring| Box::new(ring) as Box<dyn Source>).collect();
    let description = RecordingDescription { capture_filter: None, version: "record_ring".into() };
    let recorder =
        Recorder::start(config, &description, &store, &lock, sources, &mut |_, _| None, &platform)?;
    wait_for_quiet(&recorder);
    let stopping = Instant::now();
    let summary = recorder.stop();
    let stopped: Duration = stopping.elapsed();
    println!("{:?}", summary.account);
    println!(
        "discrepancies {:?} notices {:?} stopping took {stopped:?}",
        summary.discrepancies, summary.notices
    );
    Ok(())
}
