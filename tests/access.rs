//! Who is let in, and what is kept of it: `netrewind serve` as curl finds it.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{done, import, netrewind, run};

/// How long changes of files may take to be seen.
const SEEN_WITHIN: Duration = Duration::from_secs(10);

/// A running service, ended when it goes out of scope.
struct Service {
    process: Child,
    url: String,
}

impl Service {
    fn start(store: &Path, arguments: &[&str]) -> Self {
        let mut process = netrewind()
            .args(["serve", "--listen", "127.0.0.1:0", "--store"])
            .arg(store)
            .args(arguments)
            .stderr(Stdio::piped())
            .spawn()
            .expect("netrewind runs");
        let mut lines = BufReader::new(process.stderr.take().expect("its standard error")).lines();
        let first = lines.next().expect("a line").expect("text");
        let url = first.split_whitespace().find(|word| word.contains("://")).expect("an address");
        let url = url.trim_end_matches('/').replace("127.0.0.1", "localhost");
        // Its standard error must not fill up.
        std::thread::spawn(move || lines.for_each(drop));
        Self { process, url }
    }

    /// The status, and the body, of `path`.
    fn get(&self, path: &str, options: &[&str]) -> (u16, String) {
        let output = Command::new("curl")
            .args(["--silent", "--show-error", "--max-time", "20", "--write-out", "\n%{http_code}"])
            .args(options)
            .arg(format!("{}{path}", self.url))
            .output()
            .expect("curl runs: scripts/install test");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let (body, status) = text.rsplit_once('\n').expect("a status");
        (status.parse().expect("a number"), body.to_owned())
    }

    fn with_token(&self, path: &str, token: &str, options: &[&str]) -> (u16, String) {
        let header = format!("Authorization: Bearer {token}");
        self.get(path, &[&["--header", &header], options].concat())
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A capture file of Ethernet frames, every third of them of UDP, the others of TCP; a millisecond apart.
fn capture_of(count: u32) -> Vec<u8> {
    const FRAME_BYTES: u32 = 60;
    let mut file = Vec::new();
    [0xa1b2_3c4d, 0x0004_0002, 0, 0, 262_144, 1]
        .iter()
        .for_each(|word: &u32| file.extend(word.to_le_bytes()));
    for n in 0..count {
        let header = [1_795_339_861, n * 1_000_000, FRAME_BYTES, FRAME_BYTES];
        header.iter().for_each(|word: &u32| file.extend(word.to_le_bytes()));
        let protocol = if n.is_multiple_of(3) { 17 } else { 6 };
        let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];
        frame.extend([0x45, 0, 0, 46, 0, 0, 0, 0, 64, protocol, 0, 0, 10, 1, 0, 1, 10, 2, 0, 1]);
        frame.extend([0x13, 0x88, 0x13, 0x89, 0, 26, 0, 0, 0, 0, 0, 0, 0x50, 0x10]);
        frame.resize(FRAME_BYTES as usize, 0);
        file.extend(frame);
    }
    file
}

/// A store of 300 packets, a hundred of them of UDP.
fn store(folder: &Path) -> std::path::PathBuf {
    let capture = folder.join("capture.pcap");
    std::fs::write(&capture, capture_of(300)).expect("a capture");
    let store = folder.join("store");
    import(&store, &[&capture]);
    store
}

fn token(file: &Path, name: &str, arguments: &[&str]) -> String {
    let file = file.to_str().expect("a path");
    let output = done([&["token", "add", name, "--tokens", file][..], arguments].concat());
    String::from_utf8(output).expect("a token").trim().to_owned()
}

/// A certificate of `localhost` and its key, in files.
pub fn certificate(folder: &Path) -> (String, String) {
    certificate_for(folder, &["localhost"])
}

pub fn certificate_for(folder: &Path, names: &[&str]) -> (String, String) {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let pair = rcgen::generate_simple_self_signed(names).expect("a certificate");
    let (certificate, key) = (folder.join("cert.pem"), folder.join("key.pem"));
    std::fs::write(&key, pair.signing_key.serialize_pem()).expect("a file");
    std::fs::write(&certificate, pair.cert.pem()).expect("a file");
    (certificate.display().to_string(), key.display().to_string())
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn tokens_let_in_over_tls_by_scope_and_filter() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = store(folder.path());
    let (certificate, key) = certificate(folder.path());
    let tokens = folder.path().join("tokens.toml");
    let all = token(&tokens, "all", &["--scope", "extract"]);
    let some = token(&tokens, "some", &["--scope", "extract", "--filter", "udp"]);
    let watcher = token(&tokens, "watcher", &["--scope", "status"]);
    let file = tokens.to_str().expect("a path");
    let service = Service::start(&store, &["--tls-cert", &certificate, "--tls-key", &key, "--tokens", file]);
    assert!(service.url.starts_with("https://"), "{}", service.url);
    let trust = ["--cacert", certificate.as_str()];
    let count = |token: &str, query: &str| {
        let (status, body) = service.with_token(&format!("/api/v1/packets/count?{query}"), token, &trust);
        (status, if status == 200 { json(&body)["packets"].as_u64() } else { None })
    };

    assert_eq!(count(&all, ""), (200, Some(300)));
    for query in ["", "view=outer", "view=any", "filter=ip", "filter=tcp+or+udp", "ignore_vlan=true"] {
        assert_eq!(count(&some, query), (200, Some(100)), "{query}");
    }
    assert_eq!(count(&some, "filter=tcp"), (200, Some(0)));
    assert_eq!(count(&some, "filter=ip)+or+(ip").0, 400, "no trick opens the filter");
    assert_eq!(count(&watcher, "").0, 403);
    assert_eq!(count("nrw_0", "").0, 401);
    let (_, estimate) = service.with_token("/api/v1/packets/estimate", &some, &trust);
    assert_eq!(json(&estimate)["packets_max"], 100);
    let (_, list) = service.with_token("/api/v1/packets/list?limit=1000", &some, &trust);
    let protocols: Vec<_> =
        json(&list)["packets"].as_array().expect("rows").iter().map(|row| row["protocol"].clone()).collect();
    assert_eq!(protocols, vec![Value::from("UDP"); 100]);
    assert_eq!(service.get("/api/v1/status", &trust).0, 401);
    assert_eq!(service.with_token("/api/v1/status", &some, &trust).0, 403);
    assert_eq!(service.with_token("/api/v1/status", &watcher, &trust).0, 200);
    assert_eq!(service.with_token("/metrics", &all, &trust).0, 403);
    assert_eq!(service.with_token("/api/v1/flows", &all, &trust).0, 403);
    assert_eq!(service.get("/healthz", &trust).0, 200, "whoever watches over it needs no token");

    let answer = folder.path().join("answer.pcapng");
    let into = [&trust[..], &["--output", answer.to_str().expect("a path")]].concat();
    assert_eq!(service.with_token("/api/v1/packets?format=pcapng", &some, &into).0, 200);
    let fields = Command::new("tshark").args(["-T", "fields", "-e", "ip.proto", "-r"]).arg(&answer).output();
    let protocols = String::from_utf8(fields.expect("tshark runs").stdout).expect("text");
    assert_eq!(protocols.lines().count(), 100);
    assert!(protocols.lines().all(|protocol| protocol == "17"), "{protocols}");

    let audit = std::fs::read_to_string(store.join("audit.jsonl")).expect("an audit");
    let given = audit.lines().map(json).find(|line| line["event"] == "extraction").expect("an extraction");
    assert_eq!(
        (&given["who"], &given["packets"], &given["ending"]),
        (&"some".into(), &100.into(), &"complete".into())
    );
    assert_eq!(given["joined"][0]["filter"], "udp");
    assert!(audit.lines().map(json).any(|line| line["event"] == "refused" && line["status"] == 401));
    for token in [&all, &some, &watcher] {
        let secret = token.rsplit('_').next().expect("a secret");
        assert!(!audit.contains(secret));
    }
    removed_tokens_are_worth_nothing(&service, &all, file, &trust);
}

/// What is behind a joined filter cannot be seen by any way of asking.
#[test]
fn a_filter_of_a_token_holds_for_flows_streams_summaries_and_followers() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = store(folder.path());
    let tokens = folder.path().join("tokens.toml");
    let scopes = ["--scope", "flows", "--scope", "extract"];
    let all = token(&tokens, "all", &scopes);
    let some = token(&tokens, "some", &[&scopes[..], &["--filter", "udp"]].concat());
    let service = Service::start(&store, &["--tokens", tokens.to_str().expect("a path")]);
    let ask = |token: &str, path: &str| service.with_token(path, token, &[]);
    let conversations = |token: &str, query: &str| {
        let (status, body) = ask(token, &format!("/api/v1/flows{query}"));
        assert_eq!(status, 200, "{body}");
        json(&body)["flows"].as_array().expect("flows").clone()
    };
    let everything = conversations(&all, "");
    let id_of = |protocol: &str| {
        let found = everything.iter().find(|flow| flow["protocol"] == protocol).expect("both are there");
        found["id"].as_str().expect("an id").to_owned()
    };
    let (hidden, visible) = (id_of("tcp"), id_of("udp"));
    for query in ["", "?filter=ip", "?filter=tcp+or+udp", "?view=outer", "?view=any", "?ignore_vlan=true"] {
        let told = conversations(&some, query);
        assert_eq!(told.len(), 1, "{query}: {told:?}");
        assert_eq!((&told[0]["protocol"], &told[0]["id"]), (&"udp".into(), &visible.as_str().into()));
        let (_, body) = ask(&some, &format!("/api/v1/summary{query}"));
        let told = json(&body);
        assert_eq!((told["totals"]["packets"].as_u64(), body.contains("tcp")), (Some(100), false), "{body}");
        let series = told["series"].to_string();
        assert!(!series.contains("300") && !series.contains("200"), "{series}");
        assert_eq!(told["work"], json(&ask(&some, "/api/v1/flows").1)["work"], "what it took is not told");
        assert_eq!(told["rejected_indexes"], Value::Array(Vec::new()));
    }
    assert!(conversations(&some, "?filter=tcp").is_empty());
    assert_eq!(ask(&some, "/api/v1/flows?filter=ip)+or+(ip").0, 400);
    for path in [format!("/api/v1/flows/{hidden}"), format!("/api/v1/flows/{hidden}/stream")] {
        assert_eq!((ask(&all, &path).0, ask(&some, &path).0), (200, 404), "{path}");
        // As of one that never was.
        let unknown = path.replace(&hidden, &unknown_id(&hidden));
        let without_id = |path: &str, id: &str| ask(&some, path).1.replace(id, "");
        assert_eq!(without_id(&path, &hidden), without_id(&unknown, &unknown_id(&hidden)));
    }
    assert_eq!(ask(&some, &format!("/api/v1/flows/{visible}/stream")).0, 200);
    let followed = folder.path().join("followed.pcap");
    let into = ["--output", followed.to_str().expect("a path")];
    let path = "/api/v1/packets?follow=true&max_seconds=1&from=2026-01-01&view=outer";
    assert_eq!(service.with_token(path, &some, &into).0, 200);
    let fields =
        Command::new("tshark").args(["-T", "fields", "-e", "ip.proto", "-r"]).arg(&followed).output();
    let protocols = String::from_utf8(fields.expect("tshark runs").stdout).expect("text");
    assert!(protocols.lines().count() == 100 && protocols.lines().all(|one| one == "17"), "{protocols}");
    the_audit_tells_of_flows_and_streams(&store, &visible);
}

/// Another id of the same form.
fn unknown_id(id: &str) -> String {
    let last = id.chars().last().expect("an id");
    format!("{}{}", &id[..id.len() - 1], if last == '0' { '1' } else { '0' })
}

fn the_audit_tells_of_flows_and_streams(store: &Path, visible: &str) {
    let audit = std::fs::read_to_string(store.join("audit.jsonl")).expect("an audit");
    let lines: Vec<_> = audit.lines().map(json).filter(|line| line["who"] == "some").collect();
    let is_told = |event: &str, what: &str| {
        lines.iter().any(|line| {
            line["event"] == event && line["what"] == what && line["joined"][0]["filter"] == "udp"
        })
    };
    for (event, what) in
        [("query", "flows"), ("query", "flow"), ("query", "summary"), ("extraction", "stream")]
    {
        assert!(is_told(event, what), "{event} {what}: {audit}");
    }
    let stream = lines.iter().find(|line| line["what"] == "stream" && line["flow"] == visible);
    assert_eq!(stream.map(|line| &line["ending"]), Some(&"complete".into()), "{audit}");
    assert!(lines.iter().any(|line| line["event"] == "query" && line["ending"] == "error"), "{audit}");
}

#[test]
fn a_page_trades_its_token_for_a_session() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = store(folder.path());
    let (certificate, key) = certificate(folder.path());
    let tokens = folder.path().join("tokens.toml");
    let some = token(&tokens, "some", &["--scope", "extract", "--filter", "udp"]);
    let file = tokens.to_str().expect("a path");
    let service = Service::start(&store, &["--tls-cert", &certificate, "--tls-key", &key, "--tokens", file]);
    let trust = ["--cacert", certificate.as_str()];
    let session = |options: &[&str]| service.get("/api/v1/session", &[&trust[..], options].concat());
    let begin = || {
        let bearer = format!("Authorization: Bearer {some}");
        let (status, head) = session(&["--request", "POST", "--header", &bearer, "--include"]);
        assert_eq!(status, 204, "{head}");
        let cookie = head.lines().find_map(|line| line.strip_prefix("set-cookie: ")).expect("a cookie");
        for attribute in ["HttpOnly", "Secure", "SameSite=Strict", "Path=/", "Max-Age=43200"] {
            assert!(cookie.split("; ").any(|found| found == attribute), "{cookie}");
        }
        assert!(!cookie.contains(some.rsplit('_').next().expect("a secret")));
        format!("Cookie: {}", cookie.split(';').next().expect("a pair"))
    };
    let count = |cookie: &str, options: &[&str]| {
        let options = [&trust[..], &["--header", cookie], options].concat();
        let (status, body) = service.get("/api/v1/packets/count", &options);
        (status, if status == 200 { json(&body)["packets"].as_u64() } else { None })
    };
    let cookie = begin();
    assert_eq!(count(&cookie, &[]), (200, Some(100)), "with the token's filter");
    assert_eq!(count(&cookie.replace(".1.", ".2."), &[]).0, 401);
    assert_eq!(count(&cookie, &["--header", "Authorization: Bearer nrw_0"]).0, 401, "a token comes first");
    let with_cookie = [&trust[..], &["--header", &cookie]].concat();
    assert_eq!(service.get("/api/v1/status", &with_cookie).0, 403, "with the token's scopes");
    let post = |(path, fields): (&str, &str), header: &str| {
        let options = ["--header", header, "--data", fields, "--output", "/dev/null"];
        service.get(path, &[&with_cookie[..], &options].concat()).0
    };
    let own = format!("Origin: {}", service.url);
    for (asked, status) in [
        (("/api/v1/packets", "filter=ip"), 200),
        (("/api/v1/packets/count", "filter=ip"), 200),
        (("/api/v1/packets/estimate", "filter=ip"), 200),
        (("/api/v1/packets/hits", "hosts=10.0.0.0/8"), 200),
        (("/api/v1/events/selection", ""), 403), // the token lacks the scope
    ] {
        for header in [&*own, "Sec-Fetch-Site: same-origin", "Sec-Fetch-Site: none"] {
            assert_eq!(post(asked, header), status, "{asked:?} {header}");
        }
        for header in [
            "Origin: https://elsewhere.example",
            "Origin: null",
            "Sec-Fetch-Site: cross-site",
            "Sec-Fetch-Site: same-site",
        ] {
            assert_eq!(post(asked, header), 403, "{asked:?} {header}");
        }
    }
    assert_eq!(post(("/api/v1/packets/list", "filter=ip"), &own), 401, "a POST that there is not");
    assert_eq!(session(&["--request", "POST"]).0, 401);
    assert_eq!(session(&["--request", "POST", "--header", &cookie]).0, 401, "no session begins another");
    assert_eq!(session(&["--request", "DELETE", "--header", &cookie]).0, 204);
    assert_eq!(count(&cookie, &[]).0, 401, "it has ended");
    let another = begin();
    assert_eq!(count(&another, &[]).0, 200);
    done(["token", "remove", "some", "--tokens", file]);
    let since = Instant::now();
    while count(&another, &[]).0 != 401 {
        assert!(since.elapsed() < SEEN_WITHIN, "the session outlives its token");
        std::thread::sleep(Duration::from_millis(100));
    }
    // Whoever makes up sessions has to wait at last.
    let forged = cookie.replace(".1.", ".9.");
    assert!((0..20).any(|_| count(&forged, &[]).0 == 429));
}

fn removed_tokens_are_worth_nothing(service: &Service, token: &str, file: &str, trust: &[&str]) {
    done(["token", "remove", "all", "--tokens", file]);
    let since = Instant::now();
    while service.with_token("/api/v1/packets/count", token, trust).0 != 401 {
        assert!(since.elapsed() < SEEN_WITHIN, "the token still works");
        std::thread::sleep(Duration::from_millis(100));
    }
    // Whoever goes on has to wait at last.
    let (status, _) = (0..20)
        .map(|_| service.with_token("/api/v1/packets/count", "nrw_0", trust))
        .find(|(status, _)| *status == 429)
        .expect("too many are too many");
    assert_eq!(status, 429);
}

#[test]
fn other_machines_are_not_answered_without_tls_and_tokens() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = store(folder.path());
    let store = store.to_str().expect("a path");
    let (certificate, key) = certificate(folder.path());
    let tls = ["--tls-cert", certificate.as_str(), "--tls-key", key.as_str()];
    for (more, missing) in [(&[][..], "--tokens"), (&tls[..], "--tokens")] {
        let output = run([&["serve", "--store", store, "--listen", "0.0.0.0:0"][..], more].concat());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(missing) && said.contains("netrewind token add"), "{said}");
    }
}

#[test]
fn without_tokens_only_this_machine_is_answered() {
    let folder = tempfile::tempdir().expect("a folder");
    let service = Service::start(&store(folder.path()), &["--allow-origin", "https://tools.example"]);
    let status = |header: &str| service.get("/api/v1/status", &["--header", header]).0;
    assert_eq!(status("Accept: */*"), 200);
    assert_eq!(status("Host: rebound.example"), 421);
    assert_eq!(status("Host: localhost.rebound.example"), 421);
    assert_eq!(status("Origin: https://elsewhere.example"), 403);
    assert_eq!(status("Origin: null"), 403);
    assert_eq!(status("Origin: https://tools.example"), 200);
    assert_eq!(status(&format!("Origin: {}", service.url)), 200);
    let (_, head) = service.get("/healthz", &["--head"]);
    for header in [
        "content-security-policy: default-src 'self'",
        "x-content-type-options: nosniff",
        "referrer-policy: no-referrer",
    ] {
        assert!(head.contains(header), "{head}");
    }
    assert!(!head.contains("strict-transport-security"), "not without TLS");
    let (_, head) = service.get("/api/v1/status", &["--head", "--header", "Origin: https://tools.example"]);
    assert!(head.contains("access-control-allow-origin: https://tools.example"), "{head}");
}

#[test]
fn those_who_watch_are_told_how_it_does() {
    let folder = tempfile::tempdir().expect("a folder");
    let service = Service::start(&store(folder.path()), &[]);
    let (status, health) = service.get("/healthz", &[]);
    assert_eq!((status, &json(&health)["recording"]), (200, &"no".into()));
    assert_eq!(service.get("/healthz?recording=required", &[]).0, 503);
    assert_eq!(service.get("/api/v1/packets?filter=udp", &["--output", "/dev/null"]).0, 200);
    let (_, text) = service.get("/metrics", &[]);
    for line in [
        "netrewind_extractions_total{ending=\"complete\"} 1",
        "netrewind_extracted_packets_total 100",
        "netrewind_requests_total{route=\"/api/v1/packets\",status=\"200\"} 1",
        "netrewind_recording 0",
        "netrewind_store_segments 1",
        "# EOF",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} in {text}");
    }
}

#[test]
fn what_cannot_be_audited_is_not_given() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = store(folder.path());
    let store = store.to_str().expect("a path");
    let output =
        run(["serve", "--store", store, "--listen", "127.0.0.1:0", "--audit", "/proc/none/audit.jsonl"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains("/proc/none/audit.jsonl") && said.contains("--no-audit"), "{said}");
}

#[test]
fn an_audit_has_one_writer() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = store(folder.path());
    let _first = Service::start(&store, &[]);
    let store = store.to_str().expect("a path");
    let output = run(["serve", "--store", store, "--listen", "127.0.0.1:0"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains("another process is writing it") && said.contains("--audit FILE"), "{said}");
}

/// The service manager is told of the beginning and the end, and all along that there is progress.
#[test]
fn the_service_manager_is_kept_informed() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = store(folder.path());
    let address = folder.path().join("notify");
    let socket = std::os::unix::net::UnixDatagram::bind(&address).expect("a socket");
    socket.set_read_timeout(Some(SEEN_WITHIN)).expect("a timeout");
    let mut process = netrewind()
        .args(["serve", "--listen", "127.0.0.1:0", "--store"])
        .arg(&store)
        .env("NOTIFY_SOCKET", &address)
        .env("WATCHDOG_USEC", "600000")
        .stderr(Stdio::null())
        .spawn()
        .expect("netrewind runs");
    let told = |wanted: &str| {
        let mut buffer = [0; 4096];
        loop {
            let bytes = socket.recv(&mut buffer).unwrap_or_else(|error| panic!("{wanted}: {error}"));
            if String::from_utf8_lossy(&buffer[..bytes]).lines().any(|line| line == wanted) {
                return;
            }
        }
    };
    told("READY=1");
    told("WATCHDOG=1");
    told("WATCHDOG=1");
    let id = rustix::process::Pid::from_child(&process);
    rustix::process::kill_process(id, rustix::process::Signal::TERM).expect("a signal");
    told("STOPPING=1");
    assert!(process.wait().expect("an end").success());
}

#[test]
fn a_recorder_is_asked_over_tls_with_a_token_from_a_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = store(folder.path());
    let (ca, key) = certificate(folder.path());
    let other = tempfile::tempdir().expect("a folder");
    let (other_ca, _) = certificate(other.path());
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (tokens, right, wrong) = (path("tokens.toml"), path("right"), path("wrong"));
    let secret = token(Path::new(&tokens), "analyst", &["--scope", "extract", "--filter", "udp"]);
    std::fs::write(&right, format!("{secret}\n")).expect("a file");
    std::fs::write(&wrong, format!("{}x\n", &secret[..secret.len() - 1])).expect("a file");
    let arguments = ["--tls-cert", &ca, "--tls-key", &key, "--tokens", &tokens];
    let service = Service::start(&store, &arguments);
    let ask = |ca: &str, token: &str, more: &[&str]| {
        let output =
            run([&["extract", "--url", &service.url, "--ca-file", ca, "--token-file", token], more].concat());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), output.stdout, said)
    };

    let local =
        done(["extract", "--store", &store.display().to_string(), "--filter", "udp", "-q", "-o", "-"]);
    let (status, packets, said) = ask(&ca, &right, &["-o", "-"]);
    assert_eq!((status, packets == local), (Some(0), true), "{said}");
    assert_eq!(ask(&ca, &right, &["--count"]).1, b"100\n");

    for (ca, token, word) in [(&other_ca, &right, "certificate"), (&ca, &wrong, "token")] {
        for more in [&["-o", "-"][..], &["--count"]] {
            let (status, packets, said) = ask(ca, token, more);
            assert_eq!((status, packets.len()), (Some(3), 0), "{said}");
            assert!(said.to_lowercase().contains(word) && !said.contains(&secret), "{said}");
        }
    }
    let (status, _, said) = ask(&path("nothing.pem"), &right, &["--count"]);
    assert!(status == Some(3) && said.contains("nothing.pem"), "{status:?}: {said}");
}
