//! The service over HTTP: the same bytes as the command line, and never a body that only looks whole.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::support::packets::{Packet, write_pcap};
use crate::support::served::{PACKETS, packet, served, store, wait_for_lines};
use crate::support::service::{Response, Service};
use crate::support::{done, run};

fn account(response: &Response) -> serde_json::Value {
    let text = response.header("netrewind-answer").or(response.trailer("netrewind-answer"));
    serde_json::from_str(text.unwrap_or_else(|| panic!("no account: {:?}", response.headers))).expect("JSON")
}

#[test]
fn an_answer_has_the_bytes_of_the_command_line() {
    let (_folder, store, service) = served(3000, 100);
    for (query, json, arguments) in [
        ("", "{}", &[][..]),
        ("?filter=port+1007", r#"{"filter":"port 1007"}"#, &["--filter", "port 1007"]),
        (
            "?from=2023-11-14T22:13:25Z&to=1700000010.5&filter=net%2010.0.2.0/24&format=pcapng",
            r#"{"from":"2023-11-14T22:13:25Z","to":"1700000010.5","filter":"net 10.0.2.0/24","format":"pcapng"}"#,
            &[
                "--from",
                "2023-11-14T22:13:25Z",
                "--to",
                "1700000010.5",
                "--filter",
                "net 10.0.2.0/24",
                "--format",
                "pcapng",
            ],
        ),
        (
            "?no_index=true&filter=port+1007",
            r#"{"no_index":true,"filter":"port 1007"}"#,
            &["--no-index", "--filter", "port 1007"],
        ),
        (
            "?max_packets=7&view=outer",
            r#"{"max_packets":7,"view":"outer"}"#,
            &["--max-packets", "7", "--view", "outer"],
        ),
        ("?filter=port+9999", r#"{"filter":"port 9999"}"#, &["--filter", "port 9999"]),
    ] {
        let expected = run(["extract", "--store", &store, "-q", "-o", "-"].iter().chain(arguments)).stdout;
        assert!(expected.len() >= 24, "{arguments:?}");
        let media_type =
            if query.contains("pcapng") { "application/x-pcapng" } else { "application/vnd.tcpdump.pcap" };
        let target = format!("{PACKETS}{query}");
        let answers = [
            service.get(&target),
            service.post(PACKETS, "application/json", json),
            service.post(PACKETS, "application/x-www-form-urlencoded", query.trim_start_matches('?')),
        ];
        for answer in answers {
            assert_eq!((answer.status, answer.is_whole), (200, true), "{query}");
            assert_eq!(answer.header("content-type"), Some(media_type));
            assert!(
                answer
                    .header("content-disposition")
                    .expect("a name")
                    .starts_with("attachment; filename=\"netrewind-")
            );
            assert!(answer.body == expected, "{query}: {} bytes, not {}", answer.body.len(), expected.len());
            assert_eq!(account(&answer)["complete"], !query.contains("max_packets"), "{query}");
        }
        let head = service.head(&target);
        assert_eq!((head.status, head.header("content-type")), (200, Some(media_type)), "{query}");
        assert!(head.header("netrewind-completeness").is_some() && head.header("content-length").is_none());
    }
}

#[test]
fn counts_estimates_status_and_segments_are_those_of_the_command_line() {
    let (_folder, store, service) = served(500, 60);
    let count = service.get(&format!("{PACKETS}/count?filter=port+1007")).json();
    let printed = done(["extract", "--store", &store, "--filter", "port 1007", "--count", "--json"]);
    let printed: serde_json::Value = serde_json::from_slice(&printed).expect("JSON");
    assert_eq!((&count, &count["packets"]), (&printed, &5.into()));
    let read = |query: &str| {
        let count = service.get(&format!("{PACKETS}/count?filter=port+1007{query}")).json();
        let flows = service.get(&format!("/api/v1/flows?filter=port+1007{query}")).json();
        let summary = service.get(&format!("/api/v1/summary?filter=port+1007{query}")).json();
        let packets = [&count["packets"], &flows["totals"]["packets"], &summary["totals"]["packets"]];
        assert_eq!(packets, [&count["packets"]; 3]);
        [count, flows, summary].map(|answer| answer["work"]["packets_judged"].as_u64().expect("a number"))
    };
    let (with_index, without) = (read(""), read("&no_index=true"));
    assert!(with_index.iter().all(|&judged| judged < 500), "{with_index:?}");
    assert_eq!(without, [500; 3], "every packet is read where no index may tell");
    let estimate = service.get(&format!("{PACKETS}/estimate?filter=port+1007")).json();
    let printed = done(["extract", "--store", &store, "--filter", "port 1007", "--estimate", "--json"]);
    let printed: serde_json::Value = serde_json::from_slice(&printed).expect("JSON");
    assert_eq!(estimate["packets_max"], printed["packets_max"]);
    assert!(estimate["completeness"]["gaps"].is_array());
    let status = service.get("/api/v1/status").json();
    let printed = done(["status", "--store", &store, "--json"]);
    assert_eq!(status, serde_json::from_slice::<serde_json::Value>(&printed).expect("JSON"));
    let segments = service.get("/api/v1/segments").json();
    assert_eq!(segments[0]["first"], "2023-11-14T22:13:20.000000000Z");
    assert_eq!(service.get("/healthz").json()["status"], "ok");
}

#[test]
fn what_is_wrong_is_told_by_a_problem_document() {
    let (_folder, _store, service) = served(10, 60);
    for (target, status, kind, member, value) in [
        ("/api/v1/packets?filter=tcp+prot+80", 400, "bad-filter", "position", "4"),
        ("/api/v1/packets?filter=host+www.example.com", 400, "bad-filter", "length", "15"),
        ("/api/v1/packets?from=yesterdayish", 400, "bad-time", "parameter", "\"from\""),
        ("/api/v1/packets?from=now&to=2h+ago", 400, "bad-time", "parameter", "\"to\""),
        ("/api/v1/packets?fliter=tcp", 400, "unknown-parameter", "parameter", "\"fliter\""),
        ("/api/v1/packets?filter=tcp&filter=udp", 400, "repeated-parameter", "parameter", "\"filter\""),
        ("/api/v1/packets?max_packets=-1", 400, "bad-parameter", "parameter", "\"max_packets\""),
        ("/api/v1/packets?decapsulate=maybe", 400, "bad-parameter", "parameter", "\"decapsulate\""),
        ("/api/v1/packets?tz=Mars/Olympus", 400, "bad-parameter", "parameter", "\"tz\""),
        ("/api/v1/packets?to=2001-01-01", 404, "not-kept", "status", "404"),
        ("/api/v1/packets?from=2033-01-01", 404, "not-kept", "status", "404"),
        ("/api/v1/packets/count?format=pcap", 400, "unknown-parameter", "parameter", "\"format\""),
        ("/api/v1/status?verbose=1", 400, "unknown-parameter", "parameter", "\"verbose\""),
        ("/api/v1/nothing", 404, "not-found", "status", "404"),
    ] {
        let answer = service.get(target);
        let problem = answer.json();
        assert_eq!(answer.status, status, "{target}: {problem}");
        assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{target}");
        assert_eq!(problem["type"], format!("/problems/{kind}"), "{target}");
        assert_eq!(problem[member].to_string(), value, "{target}: {problem}");
    }
    let post = |media_type: &str, body: &str| service.post(PACKETS, media_type, body);
    for (answer, status, kind) in [
        (post("application/json", "[]"), 400, "bad-body"),
        (post("application/json", r#"{"vni":1,"vni":2}"#), 400, "repeated-parameter"),
        (post("application/json", r#"{"filter":7}"#), 400, "bad-parameter"),
        (post("text/plain", "filter=tcp"), 415, "unsupported-body"),
        (post("application/json", &" ".repeat((32 << 20) + 1)), 413, "body-too-large"),
        (service.post("/api/v1/packets?filter=tcp", "application/json", "{}"), 400, "bad-parameter"),
        (service.post("/healthz", "application/json", "{}"), 405, "method-not-allowed"),
    ] {
        assert_eq!((answer.status, &answer.json()["type"]), (status, &format!("/problems/{kind}").into()));
        if status == 405 {
            assert_eq!(answer.header("allow"), Some("GET,HEAD"));
        }
    }
}

#[test]
fn a_refusal_arrives_although_the_body_comes_after_it() {
    let (_folder, _store, service) = served(10, 60);
    let body = "filter=tcp&".repeat(5_000);
    let head = format!(
        "POST {PACKETS} HTTP/1.1\r\nHost: {}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n",
        service.address,
        body.len()
    );
    let mut stream = TcpStream::connect(service.address).expect("connected");
    for piece in [head.as_str(), &body[..100], &body[100..]] {
        stream.write_all(piece.as_bytes()).expect("taken");
        std::thread::sleep(Duration::from_millis(100));
    }
    let answer = Response::read(stream, false);
    assert_eq!((answer.status, &answer.json()["type"]), (415, &"/problems/unsupported-body".into()));
}

#[test]
fn several_link_types_are_refused_before_a_byte_is_sent() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = store(folder.path(), 10, 60);
    let raw: Vec<_> = (0..10)
        .map(|number| packet(number, 60))
        .map(|packet| Packet { bytes: packet.bytes[14..].to_vec(), len: packet.len - 14, ..packet })
        .collect();
    let capture = folder.path().join("raw.pcap");
    std::fs::write(&capture, write_pcap(101, &raw)).expect("written");
    done(["import", "--store", &store, &capture.display().to_string()]);
    let service = Service::of(&store);
    let answer = service.get(PACKETS);
    assert_eq!((answer.status, &answer.json()["type"]), (422, &"/problems/several-link-types".into()));
    assert!(answer.json()["detail"].to_string().contains("format=pcapng"));
    assert_eq!(service.head(PACKETS).status, 422);
    assert_eq!(service.get(&format!("{PACKETS}?format=pcapng")).status, 200);
}

#[test]
fn large_answers_are_streamed_and_accounted_for_in_trailers() {
    let (_folder, store, service) = served(20_000, 1400);
    let answer = service.get(PACKETS);
    let expected = done(["extract", "--store", &store, "-q", "-o", "-"]);
    assert!(answer.body == expected && answer.is_whole);
    assert_eq!((answer.header("content-length"), answer.header("trailer")), (None, Some("netrewind-answer")));
    let account = account(&answer);
    assert_eq!((&account["packets"], &account["complete"]), (&20_000.into(), &true.into()), "{account}");
    let limited = service.get(&format!("{PACKETS}?max_bytes=10000000"));
    assert!(limited.body.len() < 11_000_000 && limited.is_whole);
    assert_eq!(self::account(&limited)["limit_reached"], "bytes");
}

/// Anonymous memory of a process, in bytes.
fn memory_of(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a process");
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).expect("a line");
    line.split_whitespace().nth(1).and_then(|kilobytes| kilobytes.parse::<u64>().ok()).expect("a number")
        << 10
}

#[test]
fn slow_clients_cost_little_and_gone_ones_nothing() {
    const CLIENTS: usize = 20;
    let (_folder, _store, service) = served(20_000, 1400);
    assert_eq!(service.get(&format!("{PACKETS}/count")).status, 200);
    let before = memory_of(service.pid());
    let waiting: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let mut stream = service.send("GET", PACKETS, &[], "");
            stream.read_exact(&mut [0; 1000]).expect("it begins");
            stream
        })
        .collect();
    std::thread::sleep(Duration::from_millis(500));
    let grown = memory_of(service.pid()).saturating_sub(before);
    assert!(grown < CLIENTS as u64 * (5 << 20), "{CLIENTS} waiting clients take {grown} bytes");
    // They hold no right to read.
    let begun = Instant::now();
    assert_eq!(service.get(&format!("{PACKETS}?filter=port+1007")).status, 200);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    let gone = || service.said().iter().filter(|line| line.contains("not answered to its end")).count();
    assert_eq!(gone(), 0);
    drop(waiting);
    let dropped = Instant::now();
    while gone() < CLIENTS {
        assert!(dropped.elapsed() < Duration::from_secs(1), "{} of {CLIENTS} were noticed", gone());
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn fifty_extractions_at_once_are_all_answered() {
    let (_folder, store, service) = served(5000, 600);
    let expected = done(["extract", "--store", &store, "-q", "--filter", "portrange 1000-1050", "-o", "-"]);
    std::thread::scope(|scope| {
        for _ in 0..50 {
            scope.spawn(|| {
                let answer = service.get(&format!("{PACKETS}?filter=portrange+1000-1050"));
                assert_eq!((answer.status, answer.is_whole), (200, true));
                assert!(answer.body == expected);
            });
        }
    });
}

#[test]
fn idle_connections_keep_nobody_waiting() {
    let (_folder, _store, service) = served(10, 60);
    let threads = || std::fs::read_dir(format!("/proc/{}/task", service.pid())).expect("a process").count();
    assert_eq!(service.get(PACKETS).status, 200);
    let before = threads();
    let idle: Vec<_> =
        (0..800).map(|_| std::net::TcpStream::connect(service.address).expect("connected")).collect();
    assert_eq!(service.get("/healthz").status, 200);
    assert!(threads() <= before + 1, "{} threads for {} idle connections", threads(), idle.len());
}

#[test]
fn a_service_that_is_told_to_end_does() {
    let (_folder, _store, mut service) = served(10, 60);
    assert_eq!(service.get(PACKETS).status, 200);
    assert_eq!(service.terminate(), Some(0));
    let line = service.said().into_iter().find(|line| line.contains("answered")).expect("a line");
    let line: serde_json::Value = serde_json::from_str(&line).expect("JSON, where there is no terminal");
    assert_eq!((&line["packets"], &line["level"]), (&10.into(), &"INFO".into()));
}

#[test]
fn other_machines_are_not_served_without_tokens() {
    let (_folder, store, _service) = served(10, 60);
    let output = run(["serve", "--store", &store, "--listen", "0.0.0.0:0"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(["--tls-cert", "--tls-key", "--tokens"].iter().all(|flag| said.contains(flag)), "{said}");
}

#[test]
fn one_process_records_and_serves() {
    let folder = tempfile::tempdir().expect("a folder");
    let packets: Vec<_> = (0..100).map(|number| packet(number, 60)).collect();
    let capture = folder.path().join("capture.pcap");
    std::fs::write(&capture, write_pcap(1, &packets)).expect("written");
    let store = folder.path().join("store").display().to_string();
    let replay = capture.display().to_string();
    let mut service =
        Service::start(&["run", "--store", &store, "--replay", &replay, "--replay-speed", "max", "--json"]);
    let until = Instant::now() + Duration::from_secs(10);
    while service.get(&format!("{PACKETS}/count")).json()["packets"] != 100 {
        assert!(Instant::now() < until, "{:?}", service.said());
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(service.get("/api/v1/status").json()["writer"].to_string().contains("netrewind"));
    let writes = || {
        let text = String::from_utf8(service.get("/metrics").body).expect("text");
        let line =
            text.lines().find(|line| line.starts_with("netrewind_recorder_write_duration_seconds_count "));
        line.expect("a count").ends_with(" 0")
    };
    while writes() {
        assert!(Instant::now() < until, "the first second tells of the first write");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(service.terminate(), Some(0));
    let account = service.wait_for_line("100 packets received = 100 written", Duration::from_secs(10));
    assert!(account.is_some(), "{:?}", service.said());
}

#[test]
fn the_description_of_the_service_is_the_one_kept() {
    let (_folder, _store, service) = served(1, 60);
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("extractor/http/openapi.json");
    let kept: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&kept).expect("extractor/http/openapi.json")).expect("JSON");
    let served = service.get("/openapi.json").json();
    assert!(
        kept == served,
        "the service is described otherwise now: curl -s http://{}/openapi.json",
        service.address
    );
    let names = |path: &str, method: &str| -> Vec<String> {
        let parameters = served["paths"][path][method]["parameters"].as_array().cloned().unwrap_or_default();
        parameters.iter().map(|parameter| parameter["name"].as_str().expect("a name").to_owned()).collect()
    };
    let refused = service.get(&format!("{PACKETS}?frobnicate=1")).json();
    let known: Vec<String> = serde_json::from_value(refused["known"].clone()).expect("names");
    let (mut described, mut taken) = (names(PACKETS, "get"), known);
    described.sort_unstable();
    taken.sort_unstable();
    assert_eq!(described, taken);
    let document = include_str!("../docs/http.md");
    for name in taken {
        assert!(document.contains(&format!("`{name}`")), "docs/http.md does not list the parameter {name}");
    }
}

#[test]
fn answers_that_run_at_the_end_say_that_they_are_cut_or_break_off() {
    let (_folder, _store, mut service) = served(20_000, 1400);
    let mut follower =
        service.send("GET", &format!("{PACKETS}?follow=true&format=pcapng&filter=port+9999"), &[], "");
    follower.read_exact(&mut [0; 15]).expect("it begins");
    let mut slow = service.send("GET", PACKETS, &[], "");
    slow.read_exact(&mut [0; 15]).expect("it begins");
    let begun = Instant::now();
    let read = std::thread::spawn(move || {
        let mut rest = Vec::new();
        // An end is an end, however it comes.
        let _ = follower.read_to_end(&mut rest);
        (rest, begun.elapsed())
    });
    assert_eq!(service.terminate(), Some(0));
    assert!(begun.elapsed() < Duration::from_secs(14), "{:?}", begun.elapsed());
    let (rest, followed_for) = read.join().expect("no panic");
    let rest = String::from_utf8_lossy(&rest).into_owned();
    assert!(rest.contains("cut by shutdown"), "{rest}");
    assert!(rest.contains("\"limit_reached\":\"shutdown\"") && rest.ends_with("\r\n\r\n"), "{rest}");
    assert!(followed_for < Duration::from_secs(5), "what goes on is not waited for: {followed_for:?}");
    let mut rest = Vec::new();
    let _ = slow.read_to_end(&mut rest);
    assert!(!rest.is_empty() && rest.len() < 28_000_000, "{} bytes", rest.len());
    assert!(!rest.ends_with(b"\r\n\r\n") && !rest.ends_with(b"0\r\n"), "a body that breaks off has no end");
    assert!(service.said().iter().any(|line| line.contains("not answered to its end")));
}

#[test]
fn an_answer_ends_with_its_time_and_says_so() {
    let (_folder, _store, service) = served(20_000, 1400);
    let stream = service.send("GET", &format!("{PACKETS}?max_seconds=1"), &[], "");
    std::thread::sleep(Duration::from_millis(1500));
    let answer = Response::read(stream, false);
    assert!(answer.is_whole && answer.body.len() > 24, "{} bytes", answer.body.len());
    let told = account(&answer);
    assert_eq!((&told["limit_reached"], &told["complete"]), (&"time".into(), &false.into()), "{told}");
    assert!(told["packets"].as_u64().expect("a number") < 20_000, "{told}");
    let begun = Instant::now();
    let answer = service.get(&format!("{PACKETS}?max_seconds=1&follow=true&filter=port+1007"));
    assert!(answer.is_whole && begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert_eq!(account(&answer)["limit_reached"], "time");
}

#[test]
fn when_all_places_are_taken_a_client_is_told_when_to_come_back() {
    const PLACES: usize = 32;
    let (_folder, _store, service) = served(10, 60);
    let target = format!("{PACKETS}?follow=true");
    let taken: Vec<_> = (0..PLACES)
        .map(|_| {
            let mut stream = service.send("GET", &target, &[], "");
            stream.read_exact(&mut [0; 15]).expect("it begins");
            stream
        })
        .collect();
    let refused = service.get(&target);
    assert_eq!((refused.status, &refused.json()["type"]), (429, &"/problems/busy".into()));
    let wait: u32 = refused.header("retry-after").expect("a time").parse().expect("seconds");
    assert!((1..=60).contains(&wait));
    assert_eq!(service.get(PACKETS).status, 200, "others have places of their own");
    drop(taken);
    wait_for_lines(&service, "\"answered\"", PLACES, Duration::from_secs(2));
    assert_eq!(service.get(&format!("{target}&max_seconds=1")).status, 200);
}

#[test]
fn a_search_without_a_match_ends_when_its_client_goes() {
    let (_folder, _store, service) = served(2000, 60);
    let mut searching = service.send("GET", &format!("{PACKETS}?follow=true&filter=port+9999"), &[], "");
    searching.read_exact(&mut [0; 15]).expect("it begins");
    std::thread::sleep(Duration::from_millis(300));
    assert!(service.said().iter().all(|line| !line.contains("answered")), "it goes on");
    drop(searching);
    wait_for_lines(&service, "answered", 1, Duration::from_secs(1));
}

/// What open pages and monitoring ask for again and again is logged only if it is refused; all else is.
#[test]
fn requests_that_are_repeated_fill_no_log() {
    let (_folder, _store, service) = served(10, 60);
    let polled = ["/healthz", "/metrics", "/api/v1/status", "/api/v1/summary", "/api/v1/flows"];
    for target in polled {
        assert_eq!(service.get(target).status, 200, "{target}");
    }
    assert_eq!(service.get("/api/v1/summary?top=none").status, 400);
    assert_eq!(service.get("/api/v1/segments").status, 200);
    assert!(
        service.wait_for_line("/api/v1/segments", Duration::from_secs(10)).is_some(),
        "{:?}",
        service.said()
    );
    let logged: Vec<String> =
        service.said().into_iter().filter(|line| polled.iter().any(|path| line.contains(path))).collect();
    assert!(logged.len() == 1 && logged[0].contains("\"status\":400"), "{logged:?}");
}
