//! Lists of addresses and ports: the packets that tcpdump gives for the same list as an expression, and which addresses they have.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use fastrand::Rng;

use crate::support::packets::{Packet, assert_same, read_pcap, tcp, write_pcap};
use crate::support::{captures, done, import, run, seed, tcpdump};

const CAPTURES: usize = 40;
const ETHERNET: u32 = 1;

/// Source and destination of an Ethernet frame without tags.
fn ends(packet: &Packet) -> Option<[IpAddr; 2]> {
    let bytes = &packet.bytes;
    let v4 = |at: usize| Some(Ipv4Addr::from(<[u8; 4]>::try_from(bytes.get(at..at + 4)?).ok()?).into());
    let v6 = |at: usize| Some(Ipv6Addr::from(<[u8; 16]>::try_from(bytes.get(at..at + 16)?).ok()?).into());
    match bytes.get(12..14)? {
        [0x08, 0x00] => Some([v4(26)?, v4(30)?]),
        [0x86, 0xdd] => Some([v6(22)?, v6(38)?]),
        _ => None,
    }
}

/// A list, and what it is to tcpdump: some of the addresses, one network, an exception.
fn list_of(packets: &[Packet], rng: &mut Rng) -> Option<(String, String)> {
    let mut addresses: Vec<IpAddr> = packets.iter().filter_map(ends).flatten().collect();
    addresses.sort_unstable();
    addresses.dedup();
    rng.shuffle(&mut addresses);
    let exception = addresses.pop()?;
    addresses.truncate(1 + rng.usize(..8));
    let mut entries: Vec<(String, &str)> =
        addresses.iter().map(|address| (address.to_string(), "host")).collect();
    if let IpAddr::V4(address) = exception {
        let [a, b, ..] = address.octets();
        entries.push((format!("{a}.{b}.0.0/16"), "net"));
    }
    if entries.is_empty() {
        return None;
    }
    let side = |side: &str| {
        let any: Vec<_> = entries.iter().map(|(entry, kind)| format!("{side} {kind} {entry}")).collect();
        format!("(({}) and not {side} host {exception})", any.join(" or "))
    };
    let expression = format!("(ip or ip6) and ({} or {})", side("src"), side("dst"));
    let lines: Vec<_> = entries.into_iter().map(|(entry, _)| entry).collect();
    Some((format!("# some of them\n{}\n!{exception}\n", lines.join("\n")), expression))
}

#[test]
fn a_list_gives_the_packets_that_tcpdump_gives_for_its_expression() {
    let Some(captures) = captures() else { return };
    let (mut rng, mut compared) = (Rng::with_seed(seed()), 0);
    for _ in 0..CAPTURES {
        let folder = tempfile::tempdir().unwrap();
        let Ok(packets) = tcpdump(&captures[rng.usize(..captures.len())], "") else { continue };
        // Of the others the store has one link type a lane, and times that 32 bits do not hold are moved.
        let truth = folder.path().join("truth.pcap");
        std::fs::write(&truth, write_pcap(ETHERNET, &packets)).unwrap();
        let Some((list, expression)) = list_of(&packets, &mut rng) else { continue };
        let (store, hosts) = (folder.path().join("store"), folder.path().join("hosts.txt"));
        std::fs::write(&hosts, &list).unwrap();
        import(&store, &[&truth]);
        let Ok(wanted) = tcpdump(&truth, &expression) else { continue };
        let [store, hosts] = [&store, &hosts].map(|path| path.to_str().unwrap());
        // As tcpdump sees them: packets as received, and none behind tags.
        let common = ["extract", "--view", "outer", "--filter", "ip or ip6", "-o", "-"];
        let common = common.into_iter().chain(["--store", store, "--hosts-file", hosts]);
        for index in [&[][..], &["--no-index"][..]] {
            let output = run(common.clone().chain(index.iter().copied()));
            let found = read_pcap(&output.stdout);
            let mut wanted = wanted.clone();
            wanted.sort_by_key(Packet::at_ns);
            // A header that is cut behind an address that is in the list is one to tcpdump alone.
            wanted.retain(|packet| ends(packet).is_some());
            assert_same(&found, &wanted, &format!("{list:?} {index:?} of {} packets", packets.len()));
        }
        compared += wanted.len();
    }
    eprintln!("{compared} packets compared");
}

/// Packets between hosts of 10.0.0.0/16 and of 10.9.0.0/16, which two bytes of their numbers name.
fn many(count: u32) -> Vec<Packet> {
    let packet = |number: u32| {
        let [_, _, high, low] = number.to_be_bytes();
        let ends = [([10, 0, high, low], 40_000), ([10, 9, low, high], 443)];
        tcp((1_795_339_862 + number / 1000, number % 1000 * 1000), ends, (number, 0), 0x10, b"x")
    };
    (0..count).map(packet).collect()
}

#[test]
fn hits_are_counted_by_address() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let packets = many(3000);
    std::fs::write(at("many.pcap"), write_pcap(ETHERNET, &packets)).unwrap();
    import(&at("store"), &[&at("many.pcap")]);
    // Every hundredth of them, a network that has the others' peers 10.9.7.0 to 10.9.7.11, and 100,000 that are nowhere.
    let listed: Vec<String> = (0..3000u32)
        .step_by(100)
        .map(|number| Ipv4Addr::from_bits(0x0a00_0000 | number).to_string())
        .chain((0..100_000u32).map(|number| Ipv4Addr::from_bits(0xc633_0000 + 2 * number).to_string()))
        .chain(["10.9.7.0/24".to_owned(), "!10.9.7.3".to_owned()])
        .collect();
    std::fs::write(at("hosts.txt"), listed.join("\n")).unwrap();
    let wanted: Vec<Packet> = packets
        .iter()
        .enumerate()
        .filter(|(number, packet)| {
            let [_, peer] = ends(packet).unwrap();
            let IpAddr::V4(peer) = peer else { unreachable!() };
            number % 100 == 0 || (peer.octets()[2] == 7 && peer.octets()[3] != 3)
        })
        .map(|(_, packet)| packet.clone())
        .collect();
    let store = at("store");
    let extract = |more: &[&str]| {
        let arguments = ["extract", "--store", store.to_str().unwrap(), "--hosts-file"];
        let hosts = at("hosts.txt");
        let arguments: Vec<String> = arguments
            .into_iter()
            .chain([hosts.to_str().unwrap()])
            .chain(more.iter().copied())
            .map(str::to_owned)
            .collect();
        done(arguments)
    };
    let hits = at("hits.csv");
    assert_same(&read_pcap(&extract(&["-o", "-", "--hits", hits.to_str().unwrap()])), &wanted, "the list");
    let mut expected: BTreeMap<String, u64> = BTreeMap::new();
    for packet in &wanted {
        let [source, peer] = ends(packet).unwrap().map(|address| address.to_string());
        if listed.contains(&source) {
            *expected.entry(source).or_default() += 1;
        }
        if peer.starts_with("10.9.7.") && peer != "10.9.7.3" {
            *expected.entry(peer).or_default() += 1;
        }
    }
    let table = std::fs::read_to_string(&hits).unwrap();
    let mut rows = csv::Reader::from_reader(table.as_bytes());
    assert_eq!(
        rows.headers().unwrap().iter().collect::<Vec<_>>(),
        ["address", "entry", "packets", "bytes", "first", "last"]
    );
    let mut found = BTreeMap::new();
    let mut last = u64::MAX;
    for row in rows.records().map(Result::unwrap) {
        let count: u64 = row[2].parse().unwrap();
        assert!(count <= last, "those with most packets come first");
        last = count;
        let entry = if row[0].starts_with("10.9.") { "10.9.7.0/24" } else { &row[0] };
        assert_eq!(&row[1], entry);
        assert_eq!(row[3].parse::<u64>().unwrap(), count * 55, "bytes on the wire");
        found.insert(row[0].to_owned(), count);
    }
    assert_eq!(found, expected);
    let count = String::from_utf8(extract(&["--count", "-q"])).unwrap();
    assert_eq!(count.trim(), wanted.len().to_string());
    let table_again = String::from_utf8(extract(&["--count", "-q", "--hits", "-"])).unwrap();
    assert!(table_again.starts_with(&table), "the table, then the number: {table_again}");
    // The conversations are those of the same packets.
    let flows = done([
        "flows",
        "--store",
        store.to_str().unwrap(),
        "--hosts-file",
        at("hosts.txt").to_str().unwrap(),
        "--limit",
        "1000",
        "--format",
        "json",
    ]);
    let flows = String::from_utf8(flows).unwrap();
    let packets = |line: &str| {
        let flow: serde_json::Value = serde_json::from_str(line).unwrap();
        ["client_packets", "server_packets"].iter().map(|side| flow[side].as_u64().unwrap()).sum::<u64>()
    };
    let totals: u64 = flows.lines().map(packets).sum();
    assert_eq!(totals, wanted.len() as u64);
}

#[test]
fn filters_and_ports_come_from_files_too() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(at("many.pcap"), write_pcap(ETHERNET, &many(2000))).unwrap();
    import(Path::new(&at("store")), &[Path::new(&at("many.pcap"))]);
    std::fs::write(at("ports.txt"), "# web\n443, 8000-8100\n").unwrap();
    std::fs::write(at("none.txt"), "!443\n!40000").unwrap();
    std::fs::write(at("filter.txt"), "# the first\nsrc net 10.0.0.0/24 # these\n  and tcp\n").unwrap();
    let count = |more: &[&str]| {
        let store = at("store");
        let arguments =
            ["extract", "--count", "-q", "--store", &store].into_iter().chain(more.iter().copied());
        String::from_utf8(done(arguments)).unwrap().trim().parse::<u64>().unwrap()
    };
    assert_eq!(count(&["--ports-file", &at("ports.txt")]), 2000);
    assert_eq!(count(&["--ports-file", &at("none.txt")]), 0);
    assert_eq!(count(&["--filter-file", &at("filter.txt")]), 256);
    assert_eq!(count(&["--filter-file", &at("filter.txt"), "--filter", "host 10.0.0.7 or host 10.0.1.7"]), 1);
    assert_eq!(
        count(&["--filter-file", &at("filter.txt"), "--ports-file", &at("ports.txt"), "--no-index"]),
        256
    );
    std::fs::write(at("empty.txt"), "# nothing yet\n").unwrap();
    std::fs::write(at("names.txt"), "10.0.0.1\nexample.com\n").unwrap();
    for (arguments, told) in [
        (["--hosts-file", &*at("names.txt")], "line 2: \"example.com\" is not an IPv4 or IPv6 address"),
        (["--hosts-file", &at("empty.txt")], "it has no entry: nothing would be found"),
        (["--filter-file", &at("empty.txt")], "it has no expression"),
        (["--ports-file", &at("absent.txt")], "No such file"),
    ] {
        let store = at("store");
        let output = run(["extract", "--count", "--store", &store].into_iter().chain(arguments));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(said.contains(told) && said.contains(arguments[0]), "{arguments:?}: {said}");
    }
}
