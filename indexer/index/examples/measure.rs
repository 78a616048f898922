//! Measures the index of a segment: bytes a packet by section, and what building, opening and looking up cost.
//!
//!   cargo run --release -p netrewind-index --example measure -- SEGMENT.pcap [GRANULE_SHIFT]
//!
//! The segment is read into memory whole before anything is measured.

#![allow(missing_docs)]
#![expect(clippy::print_stdout, reason = "an example speaks to its user")]

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use netrewind_index::{Builder, Constraint, Index, IndexLimits, KeyConstraint, KeyField};
use netrewind_store::{Records, layout};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// Reads the CPU time of this thread: on a busy machine it says more than the clock.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}

/// Number of builds; the fastest counts.
const ROUNDS: usize = 3;
/// Number of lookups; the fastest counts.
const LOOKUP_ROUNDS: usize = 20;
/// Bytes that are pushed while they are in the cache.
const STRETCH_BYTES: usize = 1 << 20;

fn main() -> Outcome<()> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("usage: measure SEGMENT.pcap [GRANULE_SHIFT]")?;
    let mut limits = IndexLimits::default();
    if let Some(shift) = arguments.next() {
        limits.granule_shift = shift.parse()?;
    }
    let segment = std::fs::read(&path)?;
    let index = build(&segment, limits)?;
    sizes(&index)?;
    reading(&index)
}

/// Fastest times of building.
struct Cost {
    walk: Duration,
    push: Duration,
    push_cached: Duration,
    finish: Duration,
}

impl Cost {
    const UNKNOWN: Self =
        Self { walk: Duration::MAX, push: Duration::MAX, push_cached: Duration::MAX, finish: Duration::MAX };

    fn round(&mut self, builder: &mut Builder, segment: &[u8]) -> Outcome<(u64, Vec<u8>)> {
        let start = cpu_time();
        let records =
            Records::of_segment(segment).fold(0u64, |count, record| count + u64::from(record.header.len > 0));
        self.walk = self.walk.min(cpu_time() - start);
        let start = cpu_time();
        builder.push_all(Records::of_segment(segment));
        self.push = self.push.min(cpu_time() - start);
        builder.reset();
        self.push_cached = self.push_cached.min(push_in_cache(builder, segment));
        let start = cpu_time();
        let index = builder.finish_segment()?;
        self.finish = self.finish.min(cpu_time() - start);
        Ok((records, index))
    }
}

fn build(segment: &[u8], limits: IndexLimits) -> Outcome<Vec<u8>> {
    let header = segment.first_chunk().ok_or("too short for a segment")?;
    let link_type = layout::link_type_of(header).ok_or("not a segment")?;
    let mut builder = Builder::with_limits(link_type, 7, limits);
    let mut blind = Builder::with_limits(link_type, 7, limits).without_observations();
    let mut unchecked = Builder::with_limits(link_type, 7, limits).without_checksums();
    let (mut cost, mut blind_cost, mut unchecked_cost) = (Cost::UNKNOWN, Cost::UNKNOWN, Cost::UNKNOWN);
    let (mut index, mut records) = (Vec::new(), 0);
    for _ in 0..ROUNDS {
        (records, index) = cost.round(&mut builder, segment)?;
        blind_cost.round(&mut blind, segment)?;
        unchecked_cost.round(&mut unchecked, segment)?;
    }
    let nanoseconds = |time: Duration| time.as_nanos() as f64 / records.max(1) as f64;
    println!("{records} records, {} bytes", segment.len());
    println!(
        "ns a packet: push in cache {:.1} + finish {:.1} = {:.1} (from memory: walk {:.1}, walk and push {:.1})",
        nanoseconds(cost.push_cached),
        nanoseconds(cost.finish),
        nanoseconds(cost.push_cached + cost.finish),
        nanoseconds(cost.walk),
        nanoseconds(cost.push),
    );
    println!(
        "without observations: push in cache {:.1} + finish {:.1}; observing makes it {:.2} times as dear",
        nanoseconds(blind_cost.push_cached),
        nanoseconds(blind_cost.finish),
        (cost.push_cached + cost.finish).as_secs_f64()
            / (blind_cost.push_cached + blind_cost.finish).as_secs_f64(),
    );
    println!(
        "without checksums: push in cache {:.1} + finish {:.1}",
        nanoseconds(unchecked_cost.push_cached),
        nanoseconds(unchecked_cost.finish),
    );
    Ok(index)
}

/// Pushes stretch after stretch of a segment, each read just before as it is when a recorder has just received it.
fn push_in_cache(builder: &mut Builder, segment: &[u8]) -> Duration {
    let mut total = Duration::ZERO;
    let mut offset = layout::FILE_HEADER_BYTES;
    while offset < segment.len() {
        let bytes = &segment[offset..segment.len().min(offset + STRETCH_BYTES)];
        std::hint::black_box(bytes.iter().step_by(64).fold(0u8, |sum, byte| sum ^ byte));
        let start = cpu_time();
        let end = builder.push_all(Records::new(bytes, offset as u64)) as usize;
        total += cpu_time() - start;
        if end == offset {
            break;
        }
        offset = end;
    }
    total
}

fn sizes(bytes: &[u8]) -> Outcome<()> {
    let index = Index::open(bytes)?;
    let a_packet = |bytes: u64| bytes as f64 / index.records().max(1) as f64;
    println!(
        "{} flows ({:.1} packets each), {} templates, {} granules; index {} bytes, {:.3} a packet",
        index.flow_count(),
        index.records() as f64 / f64::from(index.flow_count().max(1)),
        index.templates()?.len(),
        index.granule_count(),
        bytes.len(),
        a_packet(bytes.len() as u64),
    );
    for (name, bytes) in index.section_bytes().filter(|(_, bytes)| *bytes > 0) {
        println!("  {name:20} {bytes:>10}  {:.3}", a_packet(bytes));
    }
    Ok(())
}

/// Prints what the first and the fastest of several rounds took.
fn timed<T>(what: &str, action: impl Fn() -> Outcome<T>) -> Outcome<T> {
    let round = || {
        let start = cpu_time();
        let outcome = action();
        (cpu_time() - start, outcome)
    };
    let (first, outcome) = round();
    let fastest = (1..LOOKUP_ROUNDS).map(|_| round().0).fold(first, Duration::min);
    let microseconds = |time: Duration| time.as_nanos() as f64 / 1e3;
    println!("{what:40} {:>12.1} us, first {:>12.1} us", microseconds(fastest), microseconds(first));
    outcome
}

fn reading(bytes: &[u8]) -> Outcome<()> {
    let index = timed("open", || Ok(Index::open(bytes)?))?;
    timed("templates", || Ok(index.templates()?.len()))?;
    let flow = timed("one flow", || Ok(index.flow(index.flow_count() / 2)?))?;
    let wanted = vec![true; index.templates()?.len()];
    if let Some(source) = flow.source {
        timed("contains_address", || Ok(index.contains_address(source)?))?;
        timed("contains_address again", || Ok(index.contains_address(source)?))?;
        let value = match source {
            std::net::IpAddr::V4(address) => u128::from(address.to_bits()),
            std::net::IpAddr::V6(address) => address.to_bits(),
        };
        let host: Vec<KeyConstraint> = [KeyField::SourceAddress, KeyField::DestinationAddress]
            .map(|field| KeyConstraint { field, constraint: Constraint::Range(value..=value) })
            .into();
        let found = timed("flows_with_any(host)", || Ok(index.flows_with_any(&wanted, &host)?))?;
        let granules = timed("their granules", || {
            let (mut cursor, mut granules) = (index.cursor(), Vec::new());
            for &flow in &found {
                cursor.granules_of(flow, &mut granules)?;
            }
            Ok(granules)
        })?;
        println!("  {} flows, {} positions", found.len(), granules.len());
    }
    for range in [443..=443, 1000..=1001u128] {
        let port: Vec<KeyConstraint> = [KeyField::SourcePort, KeyField::DestinationPort]
            .map(|field| KeyConstraint { field, constraint: Constraint::Range(range.clone()) })
            .into();
        let found = timed("flows_with_any(port)", || Ok(index.flows_with_any(&wanted, &port)?))?;
        let granules = timed("their granules", || {
            let (mut cursor, mut granules) = (index.cursor(), Vec::new());
            for &flow in &found {
                cursor.granules_of(flow, &mut granules)?;
            }
            Ok(granules)
        })?;
        println!("  {range:?}: {} flows, {} positions", found.len(), granules.len());
    }
    timed("all flows", || Ok(index.flows().filter_map(Result::ok).map(|(_, flow)| flow.bytes).sum::<u64>()))?;
    timed("granules in the middle second", || {
        let middle = netrewind_store::Timestamp(index.first().ns().midpoint(index.last().ns()));
        Ok(index.granules_in(middle..middle.plus_ns(1_000_000_000))?.len())
    })?;
    timed("verify", || Ok(index.verify()?))
}
