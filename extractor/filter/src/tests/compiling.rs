//! From text to program: errors with their place, limits, the cache, and equality with `tcpdump -d`.

use std::process::Command;
use std::sync::Arc;

use netrewind_segment::LinkType;
use proptest::prelude::*;

use super::corpus;
use super::expressions;
use super::random::Random;
use crate::compile::{Optimize, in_process};
use crate::{CompileLimits, Compiler, FilterError, compile, serve_worker};

fn error(expression: &str) -> FilterError {
    compile(expression, LinkType::ETHERNET, &CompileLimits::default()).expect_err(expression)
}

#[test]
fn an_error_points_at_its_place() {
    for (expression, blamed) in [
        ("tcp prot 80", "prot"),
        ("host 10.0.0.1 and and port 80", "and"),
        ("host 10.0.0.1 port 80", "port"),
        ("(tcp or udp", ""),
        ("tcp or udp)", ")"),
        ("tcp port", ""),
        ("port 99999", "99999"),
        ("tcp and (port 22 or port 70000) and udp", "70000"),
        ("port nosuchservice", "nosuchservice"),
        ("ip proto nosuchprotocol", "nosuchprotocol"),
        ("tcp[0 = 1", "="),
        ("tcp[0:3] = 1", "3"),
        ("host 10.0.0.1 # comment", "#"),
        ("tcp and port 80 or §", "§"),
        ("tcp \0", "\0"),
        ("host 1.2.3.4.5", "1.2.3.4.5"),
        ("host 300.1.1.1", "300.1.1.1"),
        ("tcp and inbound", "inbound"),
        ("net 10.0.0.1/8", "8"),
        ("net 10.0.0.0/33 or tcp", "33"),
        ("port 10.0.0.1", "10.0.0.1"),
    ] {
        let error = error(expression);
        match &error {
            FilterError::Syntax { span, .. } | FilterError::Name { span, .. } => {
                assert_eq!(&expression[span.clone()], blamed, "{error}");
            }
            other => panic!("`{expression}`: {other}"),
        }
    }
}

#[test]
fn an_error_shows_the_expression_with_carets_under_the_place() {
    let text = error("tcp and port 99999 or udp").to_string();
    let expected = "illegal port number 99999 > 65535\n  tcp and port 99999 or udp\n               ^^^^^";
    assert_eq!(text, expected);
    let text = error(&format!("{} host example.org", "tcp or ".repeat(20))).to_string();
    assert!(text.lines().all(|line| line.len() < 140) && text.ends_with("^^^^^^^^^^^"), "{text}");
}

#[test]
fn a_filter_that_accepts_nothing_is_told_apart() {
    assert!(matches!(error("ip and arp"), FilterError::RejectsAll { .. }));
    let all = compile("", LinkType::ETHERNET, &CompileLimits::default()).unwrap();
    assert!(all.accepts(&[], 0));
}

#[test]
fn programs_are_those_of_tcpdump_reading_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let mut random = Random::new("tcpdump");
    for link_type in [1, 0, 101, 105, 108, 113, 127, 228, 229, 276, 9, 192] {
        let link_type = LinkType(link_type);
        let file = folder.path().join("empty.pcap");
        std::fs::write(&file, netrewind_segment::layout::file_header(link_type)).unwrap();
        let listed = [
            "ip broadcast",
            "inbound",
            "ifindex 1",
            "host 10.0.0.1",
            "ether host 1:2:3:4:5:6",
            "vlan 5 and tcp",
            "ip and arp",
        ];
        let made = (0..6).map(|_| expressions::random(&mut random, &corpus::ipv4(6, [1; 4], [2; 4], 3, 4)));
        for expression in listed.into_iter().map(str::to_owned).chain(made) {
            let output = Command::new("tcpdump").arg("-ddd").arg("-r").arg(&file).arg(&expression).output();
            let Ok(output) = output else { return println!("no tcpdump: skipped") };
            let printed = String::from_utf8(output.stdout).unwrap();
            let ours = in_process(&expression, link_type, Optimize::Yes).ok().map(|program| {
                let lines = program.iter().map(|i| format!("{} {} {} {}\n", i.code, i.jt, i.jf, i.k));
                format!("{}\n{}", program.len(), lines.collect::<String>())
            });
            assert_eq!(ours.unwrap_or_default(), printed, "`{expression}` on {link_type}");
        }
    }
}

#[test]
fn a_large_filter_needs_a_worker() {
    let hosts: Vec<_> = (0..100).map(|i| format!("host 10.0.0.{i}")).collect();
    assert!(matches!(error(&hosts.join(" or ")), FilterError::NoWorker { .. }));
    let limits = CompileLimits { worker: Some("/nonexistent/netrewind".into()), ..CompileLimits::default() };
    let refused = compile(&hosts.join(" or "), LinkType::ETHERNET, &limits);
    assert!(matches!(refused, Err(FilterError::Worker { .. })));
    let limits = CompileLimits { worker: Some("/bin/true".into()), ..CompileLimits::default() };
    let refused = compile(&hosts.join(" or "), LinkType::ETHERNET, &limits);
    assert!(matches!(refused, Err(FilterError::Worker { .. })));
}

#[test]
fn a_worker_that_hangs_is_killed() {
    let hosts = "host 10.0.0.1 or ".repeat(100) + "tcp";
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("worker");
    std::fs::write(&script, "#!/bin/sh\nexec sleep 60\n").unwrap();
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let limits = CompileLimits {
        worker: Some(script),
        wall_time_max: std::time::Duration::from_millis(200),
        ..CompileLimits::default()
    };
    let started = std::time::Instant::now();
    let refused = compile(&hosts, LinkType::ETHERNET, &limits);
    assert!(matches!(&refused, Err(FilterError::TooExpensive { .. })), "{refused:?}");
    assert!(started.elapsed() < std::time::Duration::from_secs(5));
}

#[test]
fn a_worker_is_not_told_what_to_do_by_nonsense() {
    for request in ["", "1 1 1\n", "1 1 5 x\ntcp", "99999999 1 5 1000000000\ntcp"] {
        assert!(serve_worker(request.as_bytes(), Vec::new()).is_err(), "{request}");
    }
}

#[test]
fn the_optimizer_changes_no_verdict_on_whole_packets() {
    let mut random = Random::new("optimizer");
    // Where it leaves out a load, packets that end before are no longer rejected.
    let mut packets = corpus::ethernet();
    packets.truncate(400);
    packets.iter_mut().for_each(|packet| packet.bytes.resize(2000, 0));
    for _ in 0..150 {
        let about = random.pick(&packets);
        let expression = expressions::random(&mut random, &about.bytes);
        let Some(optimized) = expressions::filter(&expression, LinkType::ETHERNET) else { continue };
        let raw = in_process(&expression, LinkType::ETHERNET, Optimize::No).unwrap();
        let plain = crate::Program::decode(LinkType::ETHERNET, &raw).unwrap();
        for packet in &packets {
            let verdicts = [&optimized.program, &plain].map(|p| p.accepts(&packet.bytes, packet.wire_len));
            assert_eq!(verdicts[0], verdicts[1], "`{expression}` on {packet:02x?}");
        }
    }
}

#[test]
fn a_program_is_compiled_once() {
    let compiler = Compiler::new(CompileLimits::default());
    let first = compiler.program("tcp", LinkType::ETHERNET).unwrap();
    assert!(Arc::ptr_eq(&first, &compiler.program("tcp", LinkType::ETHERNET).unwrap()));
    assert!(!Arc::ptr_eq(&first, &compiler.program("tcp", LinkType::RAW).unwrap()));
    for port in 0..2 * crate::CACHED_PROGRAMS_MAX {
        compiler.program(&format!("dst port {port}"), LinkType::IPV4).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn any_text_compiles_or_is_an_error_that_can_be_shown(
        words in prop::collection::vec(
            prop_oneof![
                4 => prop::sample::select(&["tcp", "port", "host", "and", "or", "not", "(", ")", "[", "]", "80", "10.0.0.1", "=",
                    "::1", "net", "/", "src", "dst", "vlan", "0:2", "<<", "gateway", "proto", "\\tcp", "name", "1:2", "-"][..]).prop_map(str::to_owned),
                1 => any::<String>().prop_map(|text| text.chars().take(6).collect()),
            ],
            0..12,
        ),
    ) {
        let expression = words.join(" ");
        if let Err(error) = compile(&expression, LinkType::ETHERNET, &CompileLimits::default()) {
            prop_assert!(!error.to_string().is_empty());
        }
    }
}
