//! What flow records know of the packets is held against tshark's analysis, over real captures.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use fastrand::Rng;
use serde_json::Value;

use crate::support::{captures, done, import, seed};

/// Captures of one run.
const CAPTURES: usize = 12;
const BYTES_MAX: u64 = 2 << 20;
/// Of the ends of which either sees something sent again or out of order, how many at least agree, in percent: tshark
/// remembers every segment that is not acknowledged yet, looks at acknowledgements, and takes what was captured before and
/// behind a router for sent again.
const AGREEING_MIN: usize = 40;
/// Fewer ends say nothing about how many agree.
const ENDS_MIN: usize = 20;

/// What is known of a TCP conversation: by end, segments sent again and out of order; the round trip; the Community ID.
#[derive(Debug, Default)]
struct Known {
    ends: BTreeMap<String, (u64, u64)>,
    round_trip_ns: Option<u64>,
    community_id: String,
}

type Conversations = BTreeMap<[String; 2], Known>;

fn ends(one: &str, other: &str) -> [String; 2] {
    let mut ends = [one.to_owned(), other.to_owned()];
    ends.sort();
    ends
}

const FIELDS: [&str; 12] = [
    "ip.src",
    "ip.dst",
    "ipv6.src",
    "ipv6.dst",
    "tcp.srcport",
    "tcp.dstport",
    "tcp.analysis.retransmission",
    "tcp.analysis.fast_retransmission",
    "tcp.analysis.spurious_retransmission",
    "tcp.analysis.out_of_order",
    "tcp.analysis.initial_rtt",
    "communityid",
];

/// `None` where a packet has several headers of a kind: tunnels have tests of their own.
fn by_tshark(file: &Path) -> Option<Conversations> {
    let mut command = Command::new("tshark");
    command.arg("-r").arg(file).args(["-n", "--enable-protocol", "communityid", "-Y", "tcp", "-T", "fields"]);
    command.args(["-E", "separator=;", "-E", "occurrence=a"]);
    FIELDS.iter().for_each(|field| _ = command.args(["-e", field]));
    let output = command.output().expect("tshark runs: scripts/install test");
    let mut found = Conversations::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let fields: [&str; 12] = line.split(';').collect::<Vec<_>>().try_into().ok()?;
        if fields[..6].iter().any(|field| field.contains(',')) || fields[0].is_empty() == fields[2].is_empty()
        {
            return None;
        }
        let end = |at: usize| format!("{}{} {}", fields[at], fields[at + 2], fields[at + 4]);
        let known = found.entry(ends(&end(0), &end(1))).or_default();
        let counts = known.ends.entry(end(0)).or_default();
        counts.0 += u64::from(fields[6..9].iter().any(|field| !field.is_empty()));
        counts.1 += u64::from(!fields[9].is_empty());
        if let Ok(seconds) = fields[10].parse::<f64>() {
            known.round_trip_ns.get_or_insert((seconds * 1e9).round() as u64);
        }
        known.community_id = fields[11].to_owned();
    }
    Some(found)
}

/// `None` where there are fragments or tunnels.
fn by_records(store: &Path) -> Option<Conversations> {
    let store = store.display().to_string();
    let lines =
        done(["flows", "--store", &store, "--sort", "start", "--limit", "100000", "--format", "json", "-q"]);
    let mut found = Conversations::new();
    for line in String::from_utf8(lines).expect("text").lines() {
        let flow: Value = serde_json::from_str(line).expect("JSON");
        if flow["fragments"] == true || flow["tunnels"] != Value::Array(Vec::new()) {
            return None;
        }
        if flow["protocol"] != "tcp" || flow["client"]["port"].is_null() {
            continue;
        }
        let end = |side: &str| {
            format!("{} {}", flow[side]["address"].as_str().expect("an address"), flow[side]["port"])
        };
        let known = found.entry(ends(&end("client"), &end("server"))).or_default();
        for side in ["client", "server"] {
            let count = |what: &str| flow["tcp"][format!("{side}_{what}")].as_u64().expect("a number");
            let counts = known.ends.entry(end(side)).or_default();
            counts.0 += count("retransmissions");
            counts.1 += count("out_of_order");
        }
        known.round_trip_ns = known.round_trip_ns.or(flow["tcp"]["rtt_ns"].as_u64());
        known.community_id = flow["community_id"].as_str().expect("an ID").to_owned();
    }
    Some(found)
}

#[derive(Debug, Default)]
struct Agreement {
    conversations: usize,
    ends: usize,
    agreeing: usize,
    round_trips: usize,
    other_round_trips: usize,
    disagreeing: Vec<String>,
}

impl Agreement {
    fn compare(&mut self, file: &Path, wanted: &Conversations, found: &Conversations) {
        for (ends, wanted) in wanted {
            // Tshark also knows link layers that the index leaves closed.
            let Some(found) = found.get(ends) else { continue };
            self.conversations += 1;
            assert_eq!(found.community_id, wanted.community_id, "{} {ends:?}", file.display());
            for end in ends {
                let [counted, analysed] = [found, wanted].map(|known| known.ends.get(end).copied());
                let (counted, analysed) = (counted.unwrap_or_default(), analysed.unwrap_or_default());
                if counted != (0, 0) || analysed != (0, 0) {
                    self.ends += 1;
                    self.agreeing += usize::from(counted == analysed);
                }
                if counted != analysed {
                    let file = file.display();
                    self.disagreeing.push(format!("{file} {end}: {counted:?}, tshark {analysed:?}"));
                }
            }
            if let (Some(counted), Some(analysed)) = (found.round_trip_ns, wanted.round_trip_ns) {
                self.round_trips += 1;
                self.other_round_trips += usize::from(counted.abs_diff(analysed) > analysed / 100 + 1);
            }
        }
    }
}

#[test]
fn what_records_know_of_tcp_is_what_tshark_analyses() {
    let mut rng = Rng::with_seed(seed());
    let Some(captures) = captures() else { return };
    let small = |file: &&PathBuf| std::fs::metadata(file).is_ok_and(|file| file.len() < BYTES_MAX);
    let captures: Vec<&PathBuf> = captures.iter().filter(small).collect();
    let mut agreement = Agreement::default();
    for _ in 0..CAPTURES {
        let file = captures[rng.usize(..captures.len())];
        let folder = tempfile::tempdir().expect("a folder");
        let store = folder.path().join("store");
        import(&store, &[file]);
        if let (Some(wanted), Some(found)) = (by_tshark(file), by_records(&store)) {
            agreement.compare(file, &wanted, &found);
        }
    }
    eprintln!("{agreement:#?}");
    let Agreement { ends, agreeing, round_trips, other_round_trips, .. } = agreement;
    assert!(other_round_trips * 20 <= round_trips, "round trips are others than tshark's");
    assert!(ends < ENDS_MIN || agreeing * 100 >= ends * AGREEING_MIN, "{agreeing} of {ends} ends agree");
}
