//! Flows and summaries of real captures, held against capinfos and tshark.
//!
//! Of the captures, sorted by name, every fourth is compared with capinfos and every twelfth with tshark, which starts
//! slowly; with `NETREWIND_ALL_CAPTURES` in the environment, all are.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::support::service::Service;
use crate::support::{captures, done, netrewind};

const EVERY_CAPINFOS: usize = 4;
const EVERY_TSHARK: usize = 12;
/// Captures are compared on so many threads.
const THREADS: usize = 2;

/// Captures of which capinfos tells something else, by why.
const OTHERWISE_IN_CAPINFOS: &[(&str, &[&str])] = &[
    ("it leaves out ATM's pseudo header of 4 bytes", &["atm-heapoverflow.pcap", "atm-oam-heapoverflow.pcap"]),
    ("it tells the first and last in the file, not in time", &["bgp_vpn_rt-oobr.pcap", "olsr-oobr-2.pcap"]),
    (
        "times of a store end in 2106, with 32 bits of seconds",
        &["time_2106_overflow.pcapng", "time_2107.pcapng"],
    ),
];
/// Captures of which tshark tells other conversations, by why.
const OTHERWISE_IN_TSHARK: &[(&str, &[&str])] = &[
    (
        "it looks into link layers that we leave closed",
        &[
            "802_15_4-data.pcap",
            "LINKTYPE_PKTAP.pcap",
            "OSPFv3_NBMA_adjacencies.pcap",
            "arcnet-rfc1051-arp-icmp-http.pcap",
            "arista_ether.pcap",
            "icmp-frame-relay.pcap",
            "ieee802.11_htc.pcap",
            "macsec-integonly.pcap",
            "nflog.pcap",
            "someip_sd_sample.pcap",
            "vrrp-vrrp_print-oobr.pcap",
        ],
    ),
    (
        "it opens tunnels that we leave closed",
        &["PIM_register_register-stop.pcap", "capwap.pcap", "capwap_data.pcapng"],
    ),
    (
        "it stops at a header whose lengths are wrong, where we take the addresses and ports that are there",
        &[
            "bigtcp-ipv6.pcap",
            "fuzz-2006-09-29-28586.pcap",
            "heapoverflow-tcp_print.pcap",
            "ip_printroute_asan.pcap",
            "ipv4_invalid_total_length_2.pcap",
            "ipv6-next-header-oobr-1.pcap",
            "ipv6-next-header-oobr-2.pcap",
            "ipv6-rthdr-oobr.pcap",
            "kerberos_fuzz.pcapng",
            "mptcp-dss-oobr.pcap",
        ],
    ),
];

fn name_of(file: &Path) -> String {
    file.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// One of so many captures, all where that is wanted, without those that are known to differ.
fn chosen(every: usize, otherwise: &[(&str, &[&str])]) -> Vec<PathBuf> {
    let every = if std::env::var_os("NETREWIND_ALL_CAPTURES").is_some() { 1 } else { every };
    let is_known =
        |file: &PathBuf| otherwise.iter().any(|(_, names)| names.contains(&name_of(file).as_str()));
    captures().unwrap_or_default().into_iter().step_by(every).filter(|file| !is_known(file)).collect()
}

/// Compares each capture, and gives how many could be, and what differs.
fn compare(files: &[PathBuf], one: impl Fn(&Path) -> Result<bool, String> + Sync) -> (usize, Vec<String>) {
    let next = std::sync::atomic::AtomicUsize::new(0);
    let work = || {
        let (mut compared, mut wrong) = (0, Vec::new());
        while let Some(file) = files.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed)) {
            match one(file) {
                Ok(is_compared) => compared += usize::from(is_compared),
                Err(difference) => wrong.push(format!("{}: {difference}", name_of(file))),
            }
        }
        (compared, wrong)
    };
    let done: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(work)).collect();
        threads.into_iter().map(|thread| thread.join().expect("compared")).collect()
    });
    let mut all = (0, Vec::new());
    for (compared, wrong) in done {
        all.0 += compared;
        all.1.extend(wrong);
    }
    all.1.sort();
    all
}

/// The whole capture in a store; none where it cannot be read to its end.
fn store_of(file: &Path) -> Option<(tempfile::TempDir, String)> {
    let folder = tempfile::tempdir().expect("a folder");
    let store = folder.path().join("store");
    let output =
        netrewind().arg("import").arg("--store").arg(&store).arg(file).output().expect("netrewind runs");
    output.status.success().then(|| (folder, store.display().to_string()))
}

fn flows(store: &str) -> Vec<Value> {
    let lines = done(["flows", "--store", store, "--limit", "1000000", "--format", "json", "--quiet"]);
    let lines = String::from_utf8(lines).expect("text");
    lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn number(flow: &Value, field: &str) -> u64 {
    flow[field].as_u64().unwrap_or_else(|| panic!("{field} of {flow}"))
}

/// Nanoseconds since the Unix epoch.
fn instant(time: &Value) -> i128 {
    let text = time.as_str().unwrap_or_else(|| panic!("{time} is no time"));
    text.parse::<jiff::Timestamp>().expect("a time").as_nanosecond()
}

/// What capinfos tells of a capture.
struct Capture {
    packets: u64,
    bytes: u64,
    /// The earliest and the latest packet's time, with as many digits as are told.
    times: [String; 2],
}

/// Of those captures that capinfos can read to their end and that have packets.
fn by_capinfos(files: &[PathBuf]) -> BTreeMap<PathBuf, Capture> {
    let output = Command::new("capinfos")
        .args(["-T", "-r", "-M", "-S", "-c", "-d", "-a", "-e"])
        .args(files)
        .output()
        .expect("capinfos runs: scripts/install test");
    let complaints = String::from_utf8_lossy(&output.stderr);
    let mut told = BTreeMap::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let [file, packets, bytes, first, last] = line.split('\t').collect::<Vec<_>>()[..] else {
            panic!("capinfos wrote {line:?}");
        };
        if !complaints.contains(&format!("\"{file}\"")) && packets != "0" && first != "n/a" {
            let number = |text: &str| text.parse().unwrap_or_else(|_| panic!("{text} in {line:?}"));
            let times = [first, last].map(str::to_owned);
            told.insert(file.into(), Capture { packets: number(packets), bytes: number(bytes), times });
        }
    }
    told
}

/// Whether the time has these digits.
fn is_at(ns: i128, told: &str) -> bool {
    let (_, fraction) = told.split_once('.').unwrap_or((told, ""));
    let text = format!("{}.{:09}", ns.div_euclid(1_000_000_000), ns.rem_euclid(1_000_000_000));
    text.starts_with(told) && fraction.len() >= 6
}

#[test]
fn totals_are_those_of_capinfos() {
    let files = chosen(EVERY_CAPINFOS, OTHERWISE_IN_CAPINFOS);
    let told = by_capinfos(&files);
    let (compared, wrong) = compare(&files, |file| {
        let (Some(capture), Some((_folder, store))) = (told.get(file), store_of(file)) else {
            return Ok(false);
        };
        let wanted = (capture.packets, capture.bytes);
        let all = flows(&store);
        let sum = |fields: [&str; 2]| -> u64 {
            all.iter().flat_map(|flow| fields.map(|field| number(flow, field))).sum()
        };
        let found = (sum(["client_packets", "server_packets"]), sum(["client_bytes", "server_bytes"]));
        if found != wanted {
            return Err(format!("flows add up to {found:?} and not {wanted:?}"));
        }
        let summary = Service::of(&store).get("/api/v1/summary?top=1").json();
        let totals = &summary["totals"];
        let found = (number(totals, "packets"), number(totals, "bytes"), number(totals, "conversations"));
        if found != (wanted.0, wanted.1, all.len() as u64) {
            return Err(format!("the summary adds up to {found:?} and not {wanted:?}"));
        }
        let series = summary["series"].as_array().expect("a series");
        let in_series: u64 = series.iter().map(|point| number(point, "packets")).sum();
        let first = all.iter().map(|flow| instant(&flow["first"])).min().expect("a flow");
        let last = all.iter().map(|flow| instant(&flow["last"])).max().expect("a flow");
        let [begin, end] = &capture.times;
        if !is_at(first, begin) || !is_at(last, end) || in_series != wanted.0 {
            return Err(format!(
                "from {first} to {last} with {in_series} packets in the series, and not from {begin} to {end}"
            ));
        }
        Ok(true)
    });
    eprintln!("{compared} of {} captures compared with capinfos", files.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(compared > 0 || files.is_empty(), "nothing was compared");
}

/// What went one way: packets, and bytes within these bounds. Tshark rounds down what has five digits and more.
#[derive(Clone, Copy, Debug, Default)]
struct Way {
    packets: u64,
    bytes_min: u64,
    bytes_max: u64,
}

impl Way {
    fn exactly(packets: u64, bytes: u64) -> Self {
        Self { packets, bytes_min: bytes, bytes_max: bytes }
    }

    /// As in `12 800 bytes` or `12 12 kB`.
    fn of_words<'a>(mut words: impl Iterator<Item = &'a str>) -> Option<Self> {
        let packets = words.next()?.parse().ok()?;
        let (bytes, unit): (u64, _) = (words.next()?.parse().ok()?, words.next()?);
        let unit = match unit {
            "bytes" => 1,
            "kB" => 1_000,
            "MB" => 1_000_000,
            _ => return None,
        };
        Some(Self { packets, bytes_min: bytes * unit, bytes_max: (bytes + 1) * unit - 1 })
    }

    fn add(&mut self, other: Self) {
        self.packets += other.packets;
        self.bytes_min += other.bytes_min;
        self.bytes_max += other.bytes_max;
    }

    fn holds(&self, exact: &Self) -> bool {
        self.packets == exact.packets && (self.bytes_min..=self.bytes_max).contains(&exact.bytes_min)
    }
}

/// By kind and ends, the lesser end first, what went from each of them.
type Conversations = BTreeMap<(String, [String; 2]), [Way; 2]>;

fn add(to: &mut Conversations, kind: &str, mut ends: [String; 2], mut ways: [Way; 2]) {
    if ends[0] > ends[1] {
        ends.reverse();
        ways.reverse();
    }
    if ends[0] == ends[1] {
        // A host with itself: there is but one way.
        let [one, other] = ways;
        ways = [one, Way::default()];
        ways[0].add(other);
    }
    let sums = to.entry((kind.to_owned(), ends)).or_default();
    sums.iter_mut().zip(ways).for_each(|(sum, way)| sum.add(way));
}

/// What `-z conv` prints, with nothing put together before.
fn by_tshark(file: &Path) -> Option<Conversations> {
    let mut command = Command::new("tshark");
    command.args(["-n", "-q", "-o", "ip.defragment:FALSE", "-o", "ipv6.defragment:FALSE"]);
    for kind in ["tcp", "udp", "ip", "ipv6"] {
        command.args(["-z", &format!("conv,{kind}")]);
    }
    let output = command.arg("-r").arg(file).output().expect("tshark runs: scripts/install test");
    let (mut kind, mut found) = (String::new(), Conversations::new());
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        if let Some(name) = line.strip_suffix(" Conversations") {
            kind = name.to_lowercase();
        }
        let Some((one, rest)) = line.split_once(" <-> ") else { continue };
        let mut words = rest.split_whitespace();
        let other = words.next()?.to_owned();
        // First those to the one, then those from it.
        let (back, there) = (Way::of_words(&mut words)?, Way::of_words(&mut words)?);
        add(&mut found, &kind, [one.trim().to_owned(), other], [there, back]);
    }
    output.status.success().then_some(found)
}

/// The same of our flows.
fn by_flows(all: &[Value]) -> Conversations {
    let mut found = Conversations::new();
    for flow in all {
        let way = |side: &str| {
            Way::exactly(number(flow, &format!("{side}_packets")), number(flow, &format!("{side}_bytes")))
        };
        let ways = ["client", "server"].map(way);
        let [Some(client), Some(server)] = ["client", "server"].map(|side| flow[side]["address"].as_str())
        else {
            continue;
        };
        let version = if client.contains(':') { "ipv6" } else { "ipv4" };
        add(&mut found, version, [client.to_owned(), server.to_owned()], ways);
        let protocol = flow["protocol"].as_str().unwrap_or_default();
        if let (Some(one), Some(other)) = (flow["client"]["port"].as_u64(), flow["server"]["port"].as_u64()) {
            add(&mut found, protocol, [format!("{client}:{one}"), format!("{server}:{other}")], ways);
        }
    }
    found.retain(|(kind, _), _| ["tcp", "udp", "ipv4", "ipv6"].contains(&kind.as_str()));
    found
}

#[test]
fn conversations_are_those_of_tshark_each_way() {
    let files = chosen(EVERY_TSHARK, OTHERWISE_IN_TSHARK);
    let conversations = std::sync::atomic::AtomicUsize::new(0);
    let (compared, wrong) = compare(&files, |file| {
        let Some((_folder, store)) = store_of(file) else { return Ok(false) };
        let all = flows(&store);
        // What is in a tunnel is told by tshark as well as the tunnel, by us alone.
        if all.iter().any(|flow| flow["tunnels"] != Value::Array(Vec::new())) {
            return Ok(false);
        }
        let Some(wanted) = by_tshark(file) else { return Ok(false) };
        let found = by_flows(&all);
        let differs = |one: &Conversations, other: &Conversations, is_same: &dyn Fn(&Way, &Way) -> bool| {
            one.iter()
                .filter(|(ends, ways)| {
                    other
                        .get(*ends)
                        .is_none_or(|others| !ways.iter().zip(others).all(|(way, o)| is_same(way, o)))
                })
                .map(|(ends, ways)| format!("{ends:?} {ways:?}"))
                .collect::<Vec<_>>()
        };
        let only_tshark = differs(&wanted, &found, &|shown, exact| shown.holds(exact));
        let only_flows = differs(&found, &wanted, &|exact, shown| shown.holds(exact));
        if !only_tshark.is_empty() || !only_flows.is_empty() {
            let first = |list: &[String]| list.first().cloned().unwrap_or_default();
            return Err(format!(
                "{} as tshark has it ({}), {} as we have it ({})",
                only_tshark.len(),
                first(&only_tshark),
                only_flows.len(),
                first(&only_flows),
            ));
        }
        conversations.fetch_add(wanted.len(), std::sync::atomic::Ordering::Relaxed);
        Ok(true)
    });
    let conversations = conversations.into_inner();
    eprintln!("{compared} of {} captures compared with tshark: {conversations} conversations", files.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(conversations > 0 || files.is_empty(), "nothing was compared");
}
