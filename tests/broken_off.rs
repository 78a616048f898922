//! Answers that do not come to their end: the client goes, all places are taken, the service ends or dies. Whoever waits for
//! one sees that it is none, and nobody goes on working for those who have left.

use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use netrewind_extractor::{Extractor, Options};
use netrewind_http::access::Admission;
use netrewind_http::tls::TlsFiles;
use netrewind_http::{Server, Service as HttpService, ServiceLimits, router};
use netrewind_store::clock::SystemClock;
use serde_json::Value;

use crate::access::certificate;
use crate::support::packets::read_pcap;
use crate::support::run;
use crate::support::served::{PACKETS, served, store};
use crate::support::service::Service;

/// Of curl: a partial file, what was received cannot be used, a stream of HTTP/2 was not closed cleanly.
const BROKEN_OFF: [i32; 4] = [18, 56, 92, 16];
/// Within this a search has begun, on a machine that does much else.
const BEGUN_WITHIN: Duration = Duration::from_secs(30);
/// Within this a client that has gone is noticed, and the work for it has ended.
const NOTICED_WITHIN: Duration = Duration::from_secs(1);

/// The lines of the audit that tell of this ending.
fn endings(store: &str, ending: &str) -> Vec<Value> {
    let audit = std::fs::read_to_string(Path::new(store).join("audit.jsonl")).unwrap_or_default();
    let lines = audit.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    lines.filter(|line| line["ending"] == ending).collect()
}

fn wait_until(what: &str, patience: Duration, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < patience, "{what}: not within {patience:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn metrics(service: &Service) -> String {
    String::from_utf8(service.get("/metrics").body).expect("text")
}

/// Processor time that a process has taken, in hundredths of a second: proc(5), the 14th and the 15th field.
fn ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("a process");
    let fields: Vec<&str> = stat.rsplit(')').next().expect("fields").split_whitespace().collect();
    [11, 12].iter().map(|&at| fields[at].parse::<u64>().expect("a number")).sum()
}

/// A filter that no packet passes, and that takes long to say so.
fn slow_filter() -> String {
    let sum: Vec<String> = (0..300).map(|n| format!("udp[{}:2]", n % 20)).collect();
    format!("{}=4294967295", sum.join("%2B"))
}

#[test]
fn a_search_ends_within_a_second_of_its_client() {
    let (_folder, store, service) = served(1_500_000, 30);
    let query = format!("?no_index=true&filter={}", slow_filter());
    let begun = Instant::now();
    assert_eq!(service.get(&format!("{PACKETS}{query}")).status, 200);
    let whole = begun.elapsed();
    assert!(whole > 2 * NOTICED_WITHIN, "a whole search takes {whole:?}: the test would see nothing");
    for (target, event, what) in
        [(PACKETS.to_owned(), "extraction", "packets"), (format!("{PACKETS}/count"), "query", "count")]
    {
        let searching = service.send("GET", &format!("{target}{query}"), &[], "");
        let running = |wanted: &str| {
            metrics(&service).lines().any(|line| line == format!("netrewind_extractions_running {wanted}"))
        };
        wait_until("it runs", BEGUN_WITHIN, || running("1"));
        std::thread::sleep(Duration::from_millis(300));
        drop(searching);
        let gone = Instant::now();
        let is_told = || {
            let lines = endings(&store, "client-gone");
            lines.iter().any(|line| line["event"] == event && line["what"] == what)
        };
        wait_until("the audit tells of it", NOTICED_WITHIN, is_told);
        wait_until("its place is free", NOTICED_WITHIN, || running("0"));
        assert!(gone.elapsed() < NOTICED_WITHIN, "{:?}", gone.elapsed());
        let before = ticks(service.pid());
        std::thread::sleep(Duration::from_millis(500));
        let taken = ticks(service.pid()) - before;
        assert!(taken < 20, "{taken} hundredths of a second of work in half a second for nobody");
    }
}

#[test]
fn a_follower_that_goes_is_told_apart_with_what_it_was_given() {
    let (_folder, store, service) = served(1000, 60);
    let target = format!("{PACKETS}?follow=true&filter=port+1007");
    let mut follower = service.send("GET", &target, &[], "");
    // The ten packets of that port: each 102 bytes and a header.
    let mut taken = Vec::new();
    let mut part = [0; 4096];
    while taken.len() < 10 * (16 + 102) {
        let bytes = follower.read(&mut part).expect("it goes on");
        assert!(bytes > 0, "it ended by itself");
        taken.extend_from_slice(&part[..bytes]);
    }
    assert!(endings(&store, "client-gone").is_empty() && endings(&store, "complete").is_empty());
    drop(follower);
    wait_until("the audit tells of it", NOTICED_WITHIN, || !endings(&store, "client-gone").is_empty());
    let line = endings(&store, "client-gone").remove(0);
    assert_eq!((&line["packets"], &line["bytes"]), (&10.into(), &(10 * 102).into()), "{line}");
    assert_eq!((&line["event"], &line["what"]), (&"extraction".into(), &"packets".into()));
    // The metrics follow the audit, which comes first.
    let counted = "netrewind_extractions_total{ending=\"client-gone\"} 1\n";
    wait_until("it is counted", NOTICED_WITHIN, || metrics(&service).contains(counted));
    assert!(service.wait_for_line("\"ending\":\"client-gone\"", NOTICED_WITHIN).is_some());
    // One that comes to an end of its own has that ending.
    assert!(service.get(&format!("{target}&max_packets=3")).is_whole);
    assert_eq!((endings(&store, "limit").len(), endings(&store, "client-gone").len()), (1, 1));
}

#[test]
fn when_slow_clients_have_taken_all_places_and_the_queue_is_full_others_come_back_later() {
    const PLACES: usize = 64;
    const QUEUE: usize = 448;
    let (_folder, _store, service) = served(20_000, 1400);
    let slow: Vec<_> = (0..PLACES + QUEUE).map(|_| service.send("GET", PACKETS, &[], "")).collect();
    let line = |name: &str, value: usize| {
        metrics(&service).lines().any(|line| line == format!("netrewind_extractions_{name} {value}"))
    };
    let patience = Duration::from_secs(30);
    wait_until("all wait", patience, || line("running", PLACES) && line("waiting", QUEUE));
    for target in [PACKETS.to_owned(), format!("{PACKETS}/count"), "/api/v1/flows".to_owned()] {
        let refused = service.get(&target);
        assert_eq!((refused.status, &refused.json()["type"]), (429, &"/problems/busy".into()), "{target}");
        let wait: u32 = refused.header("retry-after").expect("a time").parse().expect("seconds");
        assert!((1..=60).contains(&wait));
    }
    assert_eq!(service.get("/api/v1/status").status, 200, "lookups have places of their own");
    drop(slow);
    wait_until("the places are free", patience, || line("running", 0) && line("waiting", 0));
    assert!(service.get(&format!("{PACKETS}?filter=port+1007")).is_whole);
}

/// A client that takes little at a time, as curl over TLS.
struct Slow {
    curl: Child,
    file: std::path::PathBuf,
    heads: std::path::PathBuf,
}

impl Slow {
    fn start(service: &Service, certificate: &str, version: &str, folder: &Path) -> Self {
        let (file, heads) = (folder.join(format!("{version}.pcap")), folder.join(format!("{version}.heads")));
        let curl = Command::new("curl")
            .args(["--silent", "--limit-rate", "1M", "--max-time", "60", version, "--cacert", certificate])
            .args(["--header", "TE: trailers", "--dump-header"])
            .arg(&heads)
            .arg("--output")
            .arg(&file)
            .arg(format!("https://localhost:{}{PACKETS}", service.address.port()))
            .stderr(Stdio::null())
            .spawn()
            .expect("curl runs: scripts/install test");
        wait_until("it begins", Duration::from_secs(20), || {
            std::fs::metadata(&file).is_ok_and(|metadata| metadata.len() > 1000)
        });
        Self { curl, file, heads }
    }

    /// It knows that what it has is not the answer.
    fn has_failed(mut self) {
        let status = self.curl.wait().expect("a child").code();
        assert!(status.is_some_and(|status| BROKEN_OFF.contains(&status)), "{status:?}");
        let heads = std::fs::read_to_string(&self.heads).expect("a head");
        assert!(heads.contains(" 200") && !heads.contains("netrewind-answer:"), "{heads}");
        let size = std::fs::metadata(&self.file).expect("a file").len();
        assert!(size > 1000 && size < 28_000_000, "{size} bytes");
    }
}

fn served_with_tls() -> (tempfile::TempDir, String, Service) {
    let folder = tempfile::tempdir().expect("a folder");
    let store = store(folder.path(), 20_000, 1400);
    let (certificate, key) = certificate(folder.path());
    let service =
        Service::start(&["serve", "--store", &store, "--tls-cert", &certificate, "--tls-key", &key]);
    (folder, certificate, service)
}

const VERSIONS: [&str; 2] = ["--http1.1", "--http2"];

#[test]
fn over_tls_an_answer_that_is_cut_at_the_end_is_an_error() {
    let (folder, certificate, mut service) = served_with_tls();
    let clients = VERSIONS.map(|version| Slow::start(&service, &certificate, version, folder.path()));
    assert_eq!(service.terminate(), Some(0));
    clients.into_iter().for_each(Slow::has_failed);
}

#[test]
fn over_tls_an_answer_of_a_service_that_dies_is_an_error() {
    let (folder, certificate, mut service) = served_with_tls();
    let clients = VERSIONS.map(|version| Slow::start(&service, &certificate, version, folder.path()));
    // Our own client writes into a pipe that is not emptied before the service is gone.
    let url = format!("https://localhost:{}", service.address.port());
    let mut asking = crate::support::netrewind()
        .args(["extract", "--url", &url, "--ca-file", &certificate, "-o", "-"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("netrewind runs");
    let mut output = asking.stdout.take().expect("a pipe");
    let mut begin = [0; 100];
    output.read_exact(&mut begin).expect("it begins");
    std::thread::sleep(Duration::from_millis(300));
    service.kill();
    clients.into_iter().for_each(Slow::has_failed);
    let mut bytes = begin.to_vec();
    output.read_to_end(&mut bytes).expect("read");
    let ended = asking.wait_with_output().expect("a child");
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert_eq!(ended.status.code(), Some(1), "{said}");
    assert!(said.contains("incomplete: the answer broke off"), "{said}");
    assert!(read_pcap(&bytes).len() < 20_000);
    let again = run(["extract", "--url", &url, "--ca-file", &certificate, "--count"]);
    assert_eq!(again.status.code(), Some(3), "nobody is there any more");
}

/// A service in this process, whose clients may take nothing for half a second.
fn impatient(store: &str, tls: Option<TlsFiles>) -> (Arc<HttpService>, Server) {
    let store = netrewind_store::Store::open(Path::new(store)).expect("a store");
    let limits = ServiceLimits { stall_time_max: Duration::from_millis(500), ..ServiceLimits::default() };
    let extractor = Arc::new(Extractor::new(store, Options::default()));
    let service = Arc::new(HttpService::new(extractor, Arc::new(SystemClock::new()), limits, None));
    let admission =
        Admission { authenticator: None, proxies: None, is_encrypted: tls.is_some(), origins: Vec::new() };
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let routes = router(Arc::clone(&service), admission, false);
    let server = Server::start(Arc::clone(&service), routes, vec![listener], tls).expect("it starts");
    (service, server)
}

#[test]
fn a_client_that_takes_nothing_is_cut_in_plain_and_over_tls() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = store(folder.path(), 20_000, 1400);
    let (certificate, key) = certificate(folder.path());
    for (scheme, version) in [("http", "--http1.1"), ("https", "--http1.1"), ("https", "--http2")] {
        let tls = TlsFiles::open(Path::new(&certificate), Path::new(&key)).expect("a certificate");
        let (service, server) = impatient(&store, Some(tls).filter(|_| scheme == "https"));
        let url = format!("{scheme}://localhost:{}{PACKETS}", server.addresses()[0].port());
        // What it writes into a pipe that nobody empties it does not take.
        let mut curl = Command::new("curl")
            .args(["--silent", "--max-time", "60", version, "--cacert", &certificate, &url])
            .stdout(Stdio::piped())
            .spawn()
            .expect("curl runs: scripts/install test");
        wait_until("it begins", Duration::from_secs(20), || service.packets.running() == 1);
        let begun = Instant::now();
        wait_until("it is cut", Duration::from_secs(10), || service.packets.running() == 0);
        assert!(begun.elapsed() >= Duration::from_millis(300), "{url}: it was given no time");
        let mut taken = Vec::new();
        curl.stdout.take().expect("a pipe").read_to_end(&mut taken).expect("read");
        let status = curl.wait().expect("a child").code();
        assert!(status.is_some_and(|status| BROKEN_OFF.contains(&status)), "{url} {version}: {status:?}");
        assert!(taken.len() > 1000 && taken.len() < 28_000_000, "{url}: {} bytes", taken.len());
        server.stop();
    }
}
