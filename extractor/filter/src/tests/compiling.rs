//! From text to program: errors with their place, limits, the cache, and equality with `tcpdump -d`.

use std::process::Command;
use std::sync::Arc;

use netrewind_store::LinkType;
use proptest::prelude::*;

use super::corpus;
use super::expressions;
use super::random::Random;
use crate::target::CompileTarget;
use crate::target::Optimize;
use crate::{CompileControl, CompileLimits, Compiler, FilterError, NoCompileControl, compile, serve_worker};

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
        std::fs::write(&file, netrewind_store::layout::file_header(link_type)).unwrap();
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
            let ours =
                CompileTarget::File(link_type).compile(&expression, Optimize::Yes).ok().map(|program| {
                    let lines = program.iter().map(|i| format!("{} {} {} {}\n", i.code, i.jt, i.jf, i.k));
                    format!("{}\n{}", program.len(), lines.collect::<String>())
                });
            assert_eq!(ours.unwrap_or_default(), printed, "`{expression}` on {link_type}");
        }
    }
}

#[test]
fn a_large_filter_needs_a_worker() {
    let large = large_filter();
    assert!(matches!(error(&large), FilterError::NoWorker { .. }));
    let limits = CompileLimits { worker: Some("/nonexistent/netrewind".into()), ..CompileLimits::default() };
    let refused = compile(&large, LinkType::ETHERNET, &limits);
    assert!(matches!(refused, Err(FilterError::Worker { .. })));
    let limits = CompileLimits { worker: Some("/bin/true".into()), ..CompileLimits::default() };
    let refused = compile(&large, LinkType::ETHERNET, &limits);
    assert!(matches!(refused, Err(FilterError::Worker { .. })));
}

#[test]
fn a_worker_that_hangs_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("worker");
    std::fs::write(&script, "#!/bin/sh\nexec sleep 60\n").unwrap();
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let limits = CompileLimits {
        worker: Some(script.into()),
        wall_time_max: std::time::Duration::from_millis(200),
        ..CompileLimits::default()
    };
    let started = std::time::Instant::now();
    let refused = compile(&large_filter(), LinkType::ETHERNET, &limits);
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
        let raw = CompileTarget::File(LinkType::ETHERNET).compile(&expression, Optimize::No).unwrap();
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
    let first = compiler.program("tcp", LinkType::ETHERNET, &NoCompileControl).unwrap();
    assert!(Arc::ptr_eq(&first, &compiler.program("tcp", LinkType::ETHERNET, &NoCompileControl).unwrap()));
    assert!(!Arc::ptr_eq(&first, &compiler.program("tcp", LinkType::RAW, &NoCompileControl).unwrap()));
    for port in 0..2 * crate::CACHED_PROGRAMS_MAX {
        compiler.program(&format!("dst port {port}"), LinkType::IPV4, &NoCompileControl).unwrap();
    }
}

/// A worker that is a script, in a folder of its own; each of its runs leaves a line in `runs` there.
fn worker(folder: &std::path::Path, does: &str) -> CompileLimits {
    let script = folder.join("worker");
    let runs = folder.join("runs");
    std::fs::write(&script, format!("#!/bin/sh\necho run >> {}\n{does}\n", runs.display())).unwrap();
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    CompileLimits { worker: Some(script.into()), ..CompileLimits::default() }
}

/// More tokens than are compiled in this process, and no list of addresses.
fn large_filter() -> String {
    "less 100 and greater 50 or ".repeat(30) + "tcp"
}

#[test]
fn a_program_that_several_want_at_once_is_compiled_once() {
    let folder = tempfile::tempdir().unwrap();
    let does = "cat > /dev/null; sleep 0.3; printf 'program 1\\n6 0 0 262144\\n'";
    let compiler = Compiler::new(worker(folder.path(), does));
    let programs: Vec<_> = std::thread::scope(|scope| {
        let ask = || compiler.program(&large_filter(), LinkType::ETHERNET, &NoCompileControl).unwrap();
        let asking: Vec<_> = (0..4).map(|_| scope.spawn(ask)).collect();
        asking.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(programs.iter().all(|program| Arc::ptr_eq(program, &programs[0])));
    assert_eq!(std::fs::read_to_string(folder.path().join("runs")).unwrap(), "run\n");
}

#[test]
fn a_program_that_is_too_expensive_is_so_for_all_who_wait_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let limits = worker(folder.path(), "exec sleep 60");
    let wall_time_max = std::time::Duration::from_millis(400);
    let compiler = Compiler::new(CompileLimits { wall_time_max, ..limits });
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let refused = compiler.program(&large_filter(), LinkType::ETHERNET, &NoCompileControl);
                assert!(matches!(refused, Err(FilterError::TooExpensive { .. })), "{refused:?}");
            });
        }
    });
    // Who comes when the others have gone may try again; the optimizer's second run is one of each.
    let runs = std::fs::read_to_string(folder.path().join("runs")).unwrap().lines().count();
    assert!(runs < 8, "{runs}");
}

/// Waits until it leaves.
#[derive(Default)]
struct Leaving(std::sync::atomic::AtomicBool);

impl CompileControl for Leaving {
    fn has_given_up(&self) -> bool {
        self.0.load(std::sync::atomic::Ordering::Relaxed)
    }
}

#[test]
fn a_program_that_nobody_waits_for_any_more_is_given_up_and_another_who_does_gets_it() {
    let folder = tempfile::tempdir().unwrap();
    let first = folder.path().join("first");
    let does = format!(
        "cat > /dev/null; mkdir {} && exec sleep 60; printf 'program 1\\n6 0 0 262144\\n'",
        first.display()
    );
    let compiler = Compiler::new(worker(folder.path(), &does));
    let is_gone = Leaving::default();
    let begun = std::time::Instant::now();
    std::thread::scope(|scope| {
        let impatient = scope.spawn(|| compiler.program(&large_filter(), LinkType::ETHERNET, &is_gone).err());
        while !first.exists() {
            std::thread::yield_now();
        }
        let patient =
            scope.spawn(|| compiler.program(&large_filter(), LinkType::ETHERNET, &NoCompileControl).is_ok());
        std::thread::sleep(std::time::Duration::from_millis(100));
        assert!(!patient.is_finished(), "it waits for the other's");
        is_gone.0.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(matches!(impatient.join().unwrap(), Some(FilterError::GivenUp)));
        assert!(patient.join().unwrap());
    });
    assert!(begun.elapsed() < std::time::Duration::from_secs(20));
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
