//! Conversations and states of recorders over HTTP: as from a store, and of several together.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use crate::support::packets::{Packet, write_pcap};
use crate::support::service::Service;
use crate::support::{import, run, served};

/// More conversations than a recorder gives at a time.
const MANY: usize = 5_500;

/// A store, the service over it, and its folder.
struct Recorder {
    _folder: tempfile::TempDir,
    store: String,
    service: Service,
}

impl Recorder {
    fn of(packets: &[Packet]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let capture = folder.path().join("capture.pcap");
        std::fs::write(&capture, write_pcap(1, packets)).expect("written");
        let store = folder.path().join("store");
        import(&store, &[&capture]);
        let store = store.display().to_string();
        let service = Service::start(&["serve", "--no-audit", "--store", &store]);
        Self { _folder: folder, store, service }
    }

    fn url(&self) -> String {
        format!("http://{}", self.service.address)
    }
}

/// Packets of the workload that all tests know, of so many conversations, every `of`-th from `first` on.
fn campus(count: usize, first: usize, of: usize) -> Vec<Packet> {
    let mut frames =
        netrewind_workloads::Workload::named("campus").expect("a workload").with_alive(50).frames(5);
    let all = (0..count).map(|i| {
        let bytes = frames.next_frame().to_vec();
        let milliseconds = u32::try_from(i).expect("few");
        Packet {
            seconds: 1_700_000_000 + milliseconds / 1000,
            nanoseconds: milliseconds % 1000 * 1_000_000,
            len: u32::try_from(bytes.len()).expect("short"),
            bytes,
        }
    });
    all.enumerate().filter(|(i, _)| i % of == first).map(|(_, packet)| packet).collect()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn lines(bytes: &[u8]) -> Vec<Value> {
    text(bytes).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[test]
fn a_recorder_lists_as_its_store_does() {
    let recorder = Recorder::of(&campus(3000, 0, 1));
    let (store, url) = (["flows", "--store", &recorder.store], recorder.url());
    let remote = ["flows", "--url", &url];
    let id = lines(&run(store.iter().chain(&["--json"])).stdout)[3]["community_id"].clone();
    let id = id.as_str().expect("an id").to_owned();
    for options in [
        vec![],
        vec!["--json", "--limit", "100000"],
        vec!["--format", "csv", "--sort", "start"],
        vec!["--sort", "duration", "--reverse", "--limit", "5", "--tz", "Europe/Rome"],
        vec!["--filter", "tcp and greater 200", "--view", "outer", "--sort", "packets"],
        vec!["--filter", "host 10.0.0.1 and prot 80"],
        vec!["--query", "bytes:>1000 AND protocol:tcp"],
        vec!["--query", "bytes:>"],
        vec!["--community-id", &id],
        vec!["--from", "1700000001", "--to", "1700000002"],
        vec!["--from", "2001-01-01", "--to", "2002-01-01"],
        vec!["--top", "hosts"],
        vec!["--top", "ports", "--json"],
        vec!["--top", "apps", "--format", "csv", "--limit", "3"],
        vec!["--interface", "nothing0"],
    ] {
        let (local, distant) = (run(store.iter().chain(&options)), run(remote.iter().chain(&options)));
        assert_eq!(distant.status.code(), local.status.code(), "{options:?}: {}", text(&distant.stderr));
        assert_eq!(text(&distant.stdout), text(&local.stdout), "{options:?}");
        assert_eq!(text(&distant.stderr), text(&local.stderr), "{options:?}");
    }
    // The next page.
    let first = run(remote.iter().chain(&["--limit", "7", "--json"]));
    let said = text(&first.stderr);
    let cursor = said.split("--after ").nth(1).and_then(|rest| rest.split_whitespace().next());
    let next = run(remote.iter().chain(&["--limit", "7", "--json", "--after", cursor.expect("a cursor")]));
    let both = [first.stdout, next.stdout].concat();
    assert_eq!(text(&both), text(&run(store.iter().chain(&["--limit", "14", "--json"])).stdout));
}

#[test]
fn a_long_list_comes_page_by_page() {
    let packets: Vec<_> = (0..MANY).map(|number| served::packet(number, 10)).collect();
    let recorder = Recorder::of(&packets);
    let all = ["--limit", "100000", "--sort", "start", "--json"];
    let distant = run(["flows", "--url", &recorder.url()].iter().chain(&all));
    let local = run(["flows", "--store", &recorder.store].iter().chain(&all));
    assert_eq!(lines(&distant.stdout).len(), MANY, "{}", text(&distant.stderr));
    assert!(distant.stdout == local.stdout);
    let most = run(["flows", "--url", &recorder.url(), "--limit", "5400", "--json"]);
    assert_eq!(lines(&most.stdout).len(), 5400, "{}", text(&most.stderr));
    assert!(text(&most.stderr).contains("there are more: continue with --after"), "{}", text(&most.stderr));
}

#[test]
fn lists_of_several_recorders_are_one_list() {
    let recorders = [0, 1, 2].map(|first| Recorder::of(&campus(3000, first, 3)));
    let urls: Vec<String> = recorders.iter().map(Recorder::url).collect();
    let asked = urls.join(" ");
    let all = |options: &[&str]| run(["flows", "--url", &asked].iter().chain(options));
    let of_store = |recorder: &Recorder, options: &[&str]| {
        lines(&run(["flows", "--store", &recorder.store, "--json"].iter().chain(options)).stdout)
    };
    // Sorted by hand.
    let mut wanted: Vec<Value> = Vec::new();
    for recorder in &recorders {
        for mut flow in of_store(recorder, &["--limit", "100000"]) {
            flow["recorder"] = recorder.service.address.to_string().into();
            wanted.push(flow);
        }
    }
    let bytes = |flow: &Value| {
        ["client_bytes", "server_bytes"].iter().map(|name| flow[*name].as_u64().expect("bytes")).sum::<u64>()
    };
    wanted.sort_by_key(|flow| (u64::MAX - bytes(flow), flow["id"].as_str().expect("an id").to_owned()));
    let found = all(&["--json", "--limit", "30"]);
    assert!(found.status.success(), "{}", text(&found.stderr));
    assert_eq!(lines(&found.stdout), wanted[..30]);
    let said = text(&found.stderr);
    assert!(said.contains("complete: 3 of 3 recorders") && said.contains("there are more"), "{said}");
    assert!(said.contains(&format!("30 of {} conversations", wanted.len())), "{said}");
    let table = text(&all(&["--limit", "3"]).stdout);
    assert!(table.lines().next().expect("a head").trim_end().ends_with("RECORDER"), "{table}");
    let csv = text(&all(&["--limit", "3", "--format", "csv"]).stdout);
    assert!(csv.lines().next().expect("a head").ends_with(",recorder"), "{csv}");
    // Added up by hand.
    let mut hosts = BTreeMap::<String, u64>::new();
    for recorder in &recorders {
        for host in of_store(recorder, &["--top", "hosts", "--limit", "10000"]) {
            *hosts.entry(host["address"].as_str().expect("one").to_owned()).or_default() +=
                host["bytes"].as_u64().expect("bytes");
        }
    }
    let mut wanted: Vec<_> = hosts.values().copied().collect();
    wanted.sort_unstable_by(|one, other| other.cmp(one));
    let found = lines(&all(&["--top", "hosts", "--json", "--limit", "12"]).stdout);
    assert_eq!(found.len(), 12);
    for (host, bytes) in found.iter().zip(&wanted) {
        let address = host["address"].as_str().expect("an address");
        assert_eq!((host["bytes"].as_u64(), hosts[address]), (Some(*bytes), *bytes), "{address}");
    }
    // Each has its own pages.
    let refused = all(&["--after", "bytes-1-18eb1f3a2c5d6e700123456789abcdef-0-ffffffffffffffff"]);
    assert_eq!(refused.status.code(), Some(2), "{}", text(&refused.stderr));
    assert!(text(&refused.stderr).contains("--after continues the list of one recorder"));
}

#[test]
fn a_recorder_that_is_silent_is_named() {
    let recorder = Recorder::of(&campus(500, 0, 1));
    let (url, nobody) = (recorder.url(), "http://127.0.0.1:1");
    for command in ["flows", "status"] {
        let half = run([command, "--url", &url, "--url", nobody]);
        let said = text(&half.stderr);
        assert_eq!(half.status.code(), Some(1), "{said}");
        assert!(said.contains("127.0.0.1:1: ") && said.contains("refused"), "{command}: {said}");
        assert!(!half.stdout.is_empty());
        let none = run([command, "--url", nobody]);
        assert_eq!(none.status.code(), Some(3), "{}", text(&none.stderr));
        assert!(none.stdout.is_empty() && text(&none.stderr).contains("refused"));
        let wrong = run([command, "--url", "gopher://x"]);
        assert_eq!(wrong.status.code(), Some(2), "{}", text(&wrong.stderr));
        let from_variable =
            crate::support::netrewind().arg(command).env("NETREWIND_URL", &url).output().expect("it runs");
        assert!(from_variable.status.success(), "{}", text(&from_variable.stderr));
    }
    // Nothing is left of a list that there is not.
    let file = Path::new(&recorder.store).join("../none.csv");
    let none = run(["flows", "--url", nobody, "-o", &file.display().to_string()]);
    assert_eq!((none.status.code(), file.exists()), (Some(3), false));
}

#[test]
fn a_recorder_tells_the_state_of_its_store() {
    let recorders = [0, 1].map(|first| Recorder::of(&campus(500, first, 2)));
    let object = |arguments: &[&str]| {
        let output = run(arguments);
        assert!(output.status.success(), "{}", text(&output.stderr));
        lines(&output.stdout)
    };
    let local = object(&["status", "--store", &recorders[0].store, "--json"]);
    assert_eq!(object(&["status", "--url", &recorders[0].url(), "--json"]), local);
    let both = object(&["status", "--url", &recorders[0].url(), "--url", &recorders[1].url(), "--json"]);
    assert_eq!(both.len(), 2);
    for (found, recorder) in both.iter().zip(&recorders) {
        assert_eq!(found["recorder"], recorder.service.address.to_string());
        assert_eq!(found["store"], recorder.store);
    }
    let words = text(&run(["status", "--url", &recorders[0].url(), "--tz", "+02:00"]).stdout);
    assert!(words.starts_with(&format!("recorder    {}\n", recorders[0].service.address)), "{words}");
    let own = text(&run(["status", "--store", &recorders[0].store, "--tz", "+02:00"]).stdout);
    let newest =
        |text: &str| text.lines().find(|line| line.starts_with("newest")).expect("a time").to_owned();
    assert_eq!(newest(&words), newest(&own));
    assert!(newest(&own).ends_with("+02:00"), "{own}");
}
