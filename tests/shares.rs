//! What one client of the service does, however much it asks for, leaves others their part.

use std::io::Read;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::support::import;
use crate::support::packets::{Packet, tcp, write_pcap};
use crate::support::served::{PACKETS, served};
use crate::support::service::Service;

/// Takes libpcap seconds, and is no list.
fn expensive_filter(seed: u32) -> String {
    let station = |n: u32| format!("ether+host+2:0:0:{seed:x}:{:x}:{:x}", n >> 8, n & 0xff);
    (0..1200).map(station).collect::<Vec<_>>().join("+or+")
}

/// Children of a process.
fn children(pid: &str) -> Vec<String> {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten();
    let of_thread = |thread: std::fs::DirEntry| {
        std::fs::read_to_string(thread.path().join("children")).unwrap_or_default()
    };
    let lists = threads.filter_map(Result::ok).map(of_thread);
    lists.flat_map(|list| list.split_ascii_whitespace().map(str::to_owned).collect::<Vec<_>>()).collect()
}

/// The processes that compile filters for this service: its broker starts them.
fn compilers(service: &Service) -> usize {
    let brokers = children(&service.pid().to_string());
    assert_eq!(brokers.len(), 1, "the kernel tells of children");
    brokers.iter().map(|broker| children(broker).len()).sum()
}

fn wait_until(what: &str, patience: Duration, is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < patience, "{what}: not within {patience:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn filters_that_are_being_compiled_hold_nobody_up_and_end_with_their_clients() {
    let (_folder, _store, service) = served(100, 60);
    let targets = [PACKETS.to_owned(), format!("{PACKETS}/count"), "/api/v1/filter".to_owned()];
    let asking: Vec<TcpStream> = (0..24)
        .map(|n| {
            let target = &targets[n as usize % targets.len()];
            let body = format!("filter={}", expensive_filter(n));
            match target.as_str() {
                PACKETS => service.send(
                    "POST",
                    target,
                    &[("Content-Type", "application/x-www-form-urlencoded")],
                    &body,
                ),
                target => service.send("GET", &format!("{target}?{body}"), &[], ""),
            }
        })
        .collect();
    wait_until("one is compiled", Duration::from_secs(10), || compilers(&service) > 0);
    for target in ["/api/v1/status", "/api/v1/segments", "/api/v1/packets/count?filter=port+80", PACKETS] {
        let begun = Instant::now();
        assert_eq!(service.get(target).status, 200, "{target}");
        assert!(begun.elapsed() < Duration::from_secs(2), "{target}: {:?}", begun.elapsed());
    }
    assert_eq!(compilers(&service), 1, "one peer's are compiled one after the other");
    drop(asking);
    wait_until("the compilers have ended", Duration::from_secs(3), || compilers(&service) == 0);
}

#[test]
fn idle_connections_make_room_and_silent_ones_are_closed() {
    let (_folder, _store, service) = served(100, 60);
    let mut silent = TcpStream::connect(service.address).expect("connected");
    let begun = Instant::now();
    silent.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
    assert!(matches!(silent.read(&mut [0; 1]), Ok(0) | Err(_)));
    assert!((3..10).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());

    // Half of the files that the service may open: as many as this process, which keeps the rest to itself.
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(u64::MAX);
    if !(64..=8192).contains(&limit) {
        return eprintln!("{limit} open files are allowed: too many to fill them: skipped");
    }
    let following = service.send("GET", &format!("{PACKETS}?follow=true"), &[], "");
    let idle: Vec<_> = (0..limit * 3 / 4).map_while(|_| TcpStream::connect(service.address).ok()).collect();
    let begun = Instant::now();
    assert_eq!(service.get("/healthz").status, 200, "beside {} idle connections", idle.len());
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    let mut following = following;
    following.read_exact(&mut [0; 15]).expect("an answer that goes on is no idle connection");
}

/// Conversations of one segment: as many hosts, and pairs of them.
const CONVERSATIONS: u32 = 200_000;

/// A store with one segment of that many conversations.
fn store_of_many(folder: &std::path::Path) -> String {
    let packets: Vec<Packet> = (0..CONVERSATIONS)
        .map(|n| {
            let [_, a, b, c] = n.to_be_bytes();
            tcp((1_795_339_861 + n / 4000, n), [([10, a, b, c], 1000), ([11, b, c, a], 80)], (n, 0), 2, b"")
        })
        .collect();
    let (file, store) = (folder.join("many.pcap"), folder.join("store"));
    std::fs::write(&file, write_pcap(1, &packets)).expect("written");
    import(&store, &[&file]);
    store.to_str().expect("UTF-8").to_owned()
}

fn serving(store: &str, memory: &str) -> Service {
    Service::start(&["serve", "--store", store, "--no-audit", "--answer-memory", memory])
}

/// A line of what the kernel tells of the service's memory, in MiB.
fn memory_of(service: &Service, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", service.pid())).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(":")).expect("a line");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") >> 10
}

#[test]
fn summaries_together_stay_within_their_memory() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = store_of_many(folder.path());
    let peak = |memory: &str| {
        let service = serving(&store, memory);
        let totals = std::thread::scope(|scope| {
            let asking: Vec<_> = (0..6)
                .map(|n| {
                    let target = format!("/api/v1/summary?buckets={}", 100 + n);
                    let service = &service;
                    scope.spawn(move || service.get(&target).json()["totals"]["conversations"].as_u64())
                })
                .collect();
            asking.into_iter().map(|asked| asked.join().expect("asked")).collect::<Vec<_>>()
        });
        assert_eq!(totals, [Some(u64::from(CONVERSATIONS)); 6], "with {memory}");
        memory_of(&service, "VmHWM")
    };
    let (free, bounded) = (peak("16GiB"), peak("48MiB"));
    assert!(bounded < 192 && bounded < free, "{bounded} MiB, and {free} MiB where there is no bound");
}

#[test]
fn many_mixed_questions_stay_within_what_they_share() {
    /// What answers share, what eight that read take beside it (2 MiB, and pieces of conversations in two threads), and the program.
    const ANONYMOUS_MIB_MAX: u64 = 48 + 8 * (2 + 16) + 96;
    let folder = tempfile::tempdir().expect("a folder");
    let store = store_of_many(folder.path());
    let service = serving(&store, "48MiB");
    // With the answer's conversations, where it has any.
    let questions = [
        ("flows?limit=100", Some(CONVERSATIONS)),
        ("flows?limit=10000&sort=duration", Some(CONVERSATIONS)),
        ("flows?limit=1000&filter=tcp+port+80&sort=packets", Some(CONVERSATIONS)),
        ("flows?query=server_port:80&limit=10", Some(CONVERSATIONS)),
        ("flows?query=app:tls", Some(0)),
        ("summary?buckets=300&edges=80", Some(CONVERSATIONS)),
        ("summary?filter=host+10.0.0.7", Some(1)),
        ("summary?from=1795339871&to=1795339881", Some(40_000)),
        ("packets?filter=net+10.0.1.0/24", None),
        ("packets/count?query=bytes:%3E1", None),
        ("status", None),
        ("segments", None),
    ];
    let is_done = std::sync::atomic::AtomicBool::new(false);
    let peak = std::thread::scope(|scope| {
        let watching = scope.spawn(|| {
            let mut peak = 0;
            while !is_done.load(std::sync::atomic::Ordering::Relaxed) {
                peak = memory_of(&service, "RssAnon").max(peak);
                std::thread::sleep(Duration::from_millis(5));
            }
            peak
        });
        let asking: Vec<_> = (0..24)
            .map(|n: usize| {
                let (target, conversations) = questions[n % questions.len()];
                let service = &service;
                scope.spawn(move || {
                    let answer = service.get(&format!("/api/v1/{target}"));
                    assert_eq!(answer.status, 200, "{target}");
                    if let Some(conversations) = conversations {
                        let totals = &answer.json()["totals"]["conversations"];
                        assert_eq!(totals.as_u64(), Some(conversations.into()), "{target}");
                    }
                })
            })
            .collect();
        let asked: Vec<_> = asking.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        is_done.store(true, std::sync::atomic::Ordering::Relaxed);
        let peak = watching.join().expect("watched");
        asked.into_iter().for_each(|asked| asked.expect("asked"));
        peak
    });
    assert!(peak < ANONYMOUS_MIB_MAX, "{peak} MiB, at most {ANONYMOUS_MIB_MAX}");
}
