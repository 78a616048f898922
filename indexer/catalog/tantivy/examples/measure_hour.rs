//! Measures the cost of an hour: writing, disk space, and searching. `cargo run --release -p netrewind-catalog-tantivy --example
//! measure_hour -- 1000000`

#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "it prints what it has measured, or ends")]

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use netrewind_catalog::condition::{CatalogRecord, Condition, NumberColumn, as_ipv6};
use netrewind_catalog::document::DocumentWriter;
use netrewind_catalog_tantivy::{HourReader, HourWriter, Range};
use netrewind_store::catalog::{CATALOG_VERSION, Hour, Manifest};
use netrewind_store::store::CatalogFolder;
use netrewind_store::{Store, Timestamp};

const START_NS: u64 = 1_795_338_000_000_000_000;
const SEARCHES: usize = 200;
/// Hosts and names that are met; few of them are met often.
const HOSTS: f64 = 50_000.0;
const NAMES: f64 = 5_000.0;
const SERVICES: u32 = 500;

/// A number below `count`, of which the lesser ones are met more often.
fn skewed(rng: &mut fastrand::Rng, count: f64) -> u32 {
    (count * rng.f64().powi(4)) as u32
}

fn flow(rng: &mut fastrand::Rng) -> CatalogRecord {
    let first_ns = START_NS + rng.u64(..3_600_000_000_000);
    let last_ns = first_ns + rng.u64(..20_000_000_000);
    let (client, server) = (skewed(rng, HOSTS), skewed(rng, HOSTS));
    let (client, server) = (Ipv4Addr::from(0x0a00_0000 + client), Ipv4Addr::from(0xc633_0000 + server));
    let (client_port, server_port) = (rng.u16(1024..), [443u16, 53, 80, 22, 8080][rng.usize(..5)]);
    let (packets, bytes) = (rng.u64(1..60), rng.u64(60..60_000));
    let is_named = rng.u32(..3) == 0;
    let mut words = vec!["protocol=tcp".to_owned(), "application=tls".to_owned()];
    let mut to = DocumentWriter(vec![if is_named { 0x43 } else { 3 }, 6]);
    to.0.extend(client.octets());
    to.0.extend(server.octets());
    to.0.extend(client_port.to_be_bytes());
    to.0.extend(server_port.to_be_bytes());
    // Zigzag, one segment, and how long it lasts.
    [(first_ns - START_NS) << 1, 4, last_ns - first_ns].into_iter().for_each(|number| to.number(number));
    let (sent, sent_bytes) = (packets.div_ceil(2), bytes.div_ceil(3));
    for (packets, bytes, first, last) in [
        (sent, sent_bytes, 0, rng.u64(..100_000_000)),
        (packets - sent, bytes - sent_bytes, rng.u64(..50_000_000), 0),
    ] {
        to.number(packets);
        if packets > 0 {
            [bytes, first, last].into_iter().for_each(|number| to.number(number));
            to.0.extend([0x1b, 0x10, 0, 0]);
        }
    }
    if is_named {
        let name = skewed(rng, NAMES);
        let service = format!("service-{}.example.com", name % SERVICES);
        let host = format!("host-{name}.{service}");
        to.0.extend([1, 1]);
        to.bytes(host.as_bytes());
        words.extend(
            [host, service, "example.com".to_owned(), "com".to_owned()]
                .map(|name| format!("server_name={name}")),
        );
    }
    let is_open = first_ns < START_NS + 210_000_000_000 || last_ns > START_NS + 3_390_000_000_000;
    CatalogRecord {
        first_ns,
        last_ns,
        is_open,
        addresses: [Some(client.into()), Some(server.into())],
        ports: [Some(client_port), Some(server_port)],
        packets,
        bytes,
        words,
        document: to.0,
        ..CatalogRecord::default()
    }
}

fn main() {
    let count: u64 = std::env::args().nth(1).map_or(1_000_000, |text| text.parse().unwrap());
    let folder = tempfile::tempdir_in(std::env::args().nth(2).unwrap_or_else(|| ".".to_owned())).unwrap();
    let store = Store::open_or_create(folder.path(), Timestamp(0), 1).unwrap();
    let hour = Hour::of(Timestamp(START_NS));
    let mut rng = fastrand::Rng::with_seed(7);
    let manifest = Manifest {
        version: CATALOG_VERSION,
        hour,
        records: count,
        packets: 0,
        bytes: 0,
        segments: Vec::new(),
        without_packets: Vec::new(),
        link_types: Vec::new(),
        lacks: Vec::new(),
        is_divided: false,
        files: std::collections::BTreeMap::new(),
    };
    let mut writer = HourWriter::new(&store, hour).unwrap();
    let (mut making, begun) = (Duration::ZERO, Instant::now());
    for _ in 0..count {
        let before = Instant::now();
        let flow = flow(&mut rng);
        making += before.elapsed();
        writer.add(&flow).unwrap();
    }
    writer.finish(&manifest).unwrap();
    let rate = count as f64 / (begun.elapsed() - making).as_secs_f64();
    let bytes = CatalogFolder::of(&store).listed_hours().unwrap()[0].disk_bytes as f64 / count as f64;
    println!("{count} records: {rate:.0} a second, {bytes:.1} bytes each");
    search(&store, &manifest, &mut rng);
}

fn search(store: &Store, manifest: &Manifest, rng: &mut fastrand::Rng) {
    type Make<'m> = (&'m str, &'m dyn Fn(&mut fastrand::Rng) -> Condition);
    let reader = HourReader::open(store, manifest).unwrap();
    let domain = |rng: &mut fastrand::Rng| {
        Condition::Word(format!("server_name=service-{}.example.com", rng.u32(..SERVICES)))
    };
    let subnet = |rng: &mut fastrand::Rng| {
        let from = 0xc633_0000 + (skewed(rng, HOSTS) & !0xff);
        let ends = [from, from + 0xff].map(|number| as_ipv6(Ipv4Addr::from(number).into()));
        Condition::Any((0..2).map(|end| Condition::Address(end, ends[0], ends[1])).collect())
    };
    let large = |_: &mut fastrand::Rng| Condition::Number(NumberColumn::Bytes, 59_900, u64::MAX);
    let nothing = |_: &mut fastrand::Rng| Condition::Nothing;
    let kinds: [Make<'_>; 4] =
        [("a domain", &domain), ("a /24", &subnet), ("bytes:>=59900", &large), ("nothing", &nothing)];
    for (what, make) in kinds {
        let (mut times, mut found) = (Vec::new(), 0);
        for _ in 0..SEARCHES {
            let condition = make(rng);
            let begun = Instant::now();
            let mut take = |_: &[u8]| {
                found += 1;
                true
            };
            reader.visit(&condition, Range::EVERYTHING, &mut take).unwrap();
            times.push(begun.elapsed());
        }
        times.sort_unstable();
        let at = |part: usize| times[(times.len() - 1) * part / 100].as_secs_f64() * 1e3;
        println!("{what}: p50 {:.2} ms, p99 {:.2} ms; {} records read", at(50), at(99), found / SEARCHES);
    }
}
