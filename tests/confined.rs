//! What the running commands have given up: their privileges, and all files but their own.

use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::support::link::{Link, Recording, count_in_logbook, wait_until};
use crate::support::packets::write_pcap;
use crate::support::served::packet;
use crate::support::service::{Response, Service};
use crate::support::{done, files_below, import, may_make_namespaces, netrewind, run};

const PACKETS: usize = 50;

/// A field of the status of each thread of a process: proc_pid_status(5).
fn statuses(pid: u32, field: &str) -> Vec<String> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).expect("a process");
    let of_task = |task: std::fs::DirEntry| {
        let status = std::fs::read_to_string(task.path().join("status")).unwrap_or_default();
        status.lines().find_map(|line| line.strip_prefix(field)).map(|value| value.trim().to_owned())
    };
    tasks.flatten().filter_map(of_task).collect()
}

/// Asserts that no thread has a capability, may get one, or makes other system calls than those in a list.
fn is_confined(pid: u32) {
    let nothing = "0000000000000000";
    for (field, wanted) in [
        ("CapEff:", nothing),
        ("CapPrm:", nothing),
        ("CapInh:", nothing),
        ("CapAmb:", nothing),
        ("NoNewPrivs:", "1"),
        ("Seccomp:", "2"),
    ] {
        let found = statuses(pid, field);
        assert!(!found.is_empty() && found.iter().all(|value| value == wanted), "{field} {found:?}");
    }
}

/// A capture of this many packets in the folder.
fn capture(folder: &Path) -> PathBuf {
    let load = folder.join("load.pcap");
    let packets: Vec<_> = (0..PACKETS).map(|number| packet(number, 100)).collect();
    std::fs::write(&load, write_pcap(1, &packets)).expect("written");
    load
}

#[test]
fn a_recorder_has_no_privilege_and_still_opens_an_interface_that_comes() {
    if !may_make_namespaces() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let (load, store) = (capture(folder.path()), folder.path().join("store"));
    let link = Link::new();
    let recording = link.record(&store, &["--interface", "rx1", "--capture-filter", "ip and not vlan 7"]);
    is_confined(recording.id());
    link.add_second_pair();
    wait_until("it is there", || count_in_logbook(&store, "\"event\":\"up\"") > 0);
    link.send_from("tx1", &load, &["--pps=1000"]);
    std::thread::sleep(Duration::from_millis(900));
    is_confined(recording.id());
    let (status, account, said) = recording.end();
    assert_eq!(account["written"].as_u64(), Some(PACKETS as u64), "{said}");
    assert!(status == Some(0) && said.contains("Confined: "), "{said}");
}

/// Starts a broker for whoever connects to this socket, as the service manager does.
fn offer_broker(link: &Link, socket: &Path) {
    use rustix::net::{
        AddressFamily, SocketAddrUnix, SocketFlags, SocketType, accept, bind, listen, socket_with,
    };
    let listener = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None);
    let listener = listener.expect("a socket");
    bind(&listener, &SocketAddrUnix::new(socket).expect("a path")).expect("bound");
    listen(&listener, 1).expect("it listens");
    let mut broker = link.inside(env!("CARGO_BIN_EXE_netrewind"));
    broker.args(["broker", "--sockets"]).stdout(Stdio::null());
    std::thread::spawn(move || {
        let connection = accept(&listener).expect("a recorder");
        broker.stdin(connection).spawn().expect("a broker").wait().expect("it ends");
    });
}

#[test]
fn a_recorder_that_never_had_a_privilege_gets_its_sockets_from_a_broker() {
    if !may_make_namespaces() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let (load, store) = (capture(folder.path()), folder.path().join("store"));
    let (link, socket) = (Link::new(), folder.path().join("sockets"));
    offer_broker(&link, &socket);
    let recorder = link
        .inside("setpriv")
        .args(["--bounding-set=-all", "--inh-caps=-all", env!("CARGO_BIN_EXE_netrewind")])
        .args(["record", "--json", "--interface", Link::RECORDED, "--broker"])
        .arg(&socket)
        .arg("--store")
        .arg(&store)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("setpriv runs");
    let recording = Recording::of(recorder);
    wait_until("it records", || count_in_logbook(&store, "\"event\":\"start\"") > 0);
    is_confined(recording.id());
    link.send(&load, &["--pps=1000"]);
    std::thread::sleep(Duration::from_millis(900));
    let (status, account, said) = recording.end();
    assert_eq!((status, account["written"].as_u64()), (Some(0), Some(PACKETS as u64)), "{said}");
}

#[test]
fn a_recorder_writes_nothing_outside_of_its_store() {
    let folder = tempfile::tempdir().expect("a folder");
    let (load, store) = (capture(folder.path()), folder.path().join("store"));
    let elsewhere = folder.path().join("elsewhere");
    std::fs::create_dir(&elsewhere).expect("a folder");
    let mut recorder = netrewind()
        .args(["record", "--stdin", "--store"])
        .arg(&store)
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("netrewind runs");
    wait_until("the logbook is there", || !files_below(&store.join("logbook")).is_empty());
    is_confined(recorder.id());
    // Its segments would go there, if it could be led there.
    let segments = store.join("segments");
    if segments.exists() {
        std::fs::rename(&segments, folder.path().join("moved")).expect("renamed");
    }
    symlink(&elsewhere, &segments).expect("linked");
    let mut input = recorder.stdin.take().expect("piped");
    input.write_all(&std::fs::read(load).expect("a file")).expect("sent");
    std::thread::sleep(Duration::from_millis(1500));
    drop(input);
    let output = recorder.wait_with_output().expect("a child");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(files_below(&elsewhere).is_empty(), "{said}");
    assert!(said.contains("Permission denied"), "{said}");
}

#[test]
fn a_service_reads_its_store_and_no_other_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let (load, store) = (capture(folder.path()), folder.path().join("store"));
    import(&store, &[&load]);
    let keys = folder.path().join("keys");
    std::fs::create_dir(&keys).expect("a folder");
    let (tokens, outside) = (keys.join("tokens.toml"), folder.path().join("outside.toml"));
    let name = tokens.display().to_string();
    let token = done(["token", "add", "first", "--tokens", &name, "--scope", "status"]);
    let bearer = format!("Bearer {}", String::from_utf8_lossy(&token).trim());
    let service = Service::start(&["serve", "--tokens", &name, "--store", &store.display().to_string()]);
    is_confined(service.pid());
    assert!(service.wait_for_line("Confined: ", Duration::from_secs(5)).is_some());
    let status = || {
        let stream = service.send("GET", "/api/v1/status", &[("Authorization", &bearer)], "");
        Response::read(stream, false).status
    };
    assert_eq!(status(), 200);
    // The same tokens in another folder: nothing but the walls is in the way.
    std::fs::rename(&tokens, &outside).expect("renamed");
    symlink(&outside, &tokens).expect("linked");
    wait_until("the file elsewhere is denied", || status() == 503);
    std::fs::remove_file(&tokens).expect("removed");
    std::fs::copy(&outside, &tokens).expect("copied");
    wait_until("the file in its folder is read", || status() == 200);
}

#[test]
fn an_answer_is_the_same_with_and_without() {
    let folder = tempfile::tempdir().expect("a folder");
    let (load, store) = (capture(folder.path()), folder.path().join("store"));
    import(&store, &[&load]);
    let store = store.display().to_string();
    // Compiled by a process of its own.
    let filter = format!("{}udp", "less 100 and greater 50 or ".repeat(30));
    let answer = |more: &[&str], name: &str| {
        let output = folder.path().join(name).display().to_string();
        let words = ["extract", "--store", &store, "--filter", &filter, "-o", &output];
        done(words.iter().chain(more));
        std::fs::read(output).expect("a file")
    };
    let confined = answer(&[], "confined.pcap");
    assert!(confined.len() > PACKETS * 100);
    assert_eq!(confined, answer(&["--no-confine"], "free.pcap"));
    let said = run(["flows", "--no-confine", "--store", &store]);
    assert_eq!(said.stdout, run(["flows", "--store", &store]).stdout);
}

/// The exposure that systemd gives each unit, at most.
const EXPOSURE_MAX: f64 = 1.2;

#[test]
fn the_units_of_the_service_manager_expose_little() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/systemd");
    let units = files_below(&folder).into_iter();
    for unit in units.filter(|unit| unit.extension().is_some_and(|extension| extension == "service")) {
        let output = Command::new("systemd-analyze").args(["security", "--offline=true"]).arg(&unit).output();
        let Ok(output) = output else { return eprintln!("skipped: systemd-analyze is not installed") };
        let said = String::from_utf8_lossy(&output.stdout);
        let level = said.lines().find(|line| line.contains("Overall exposure level"));
        let level = level.and_then(|line| line.rsplit(": ").next()?.split(' ').next()?.parse::<f64>().ok());
        let Some(level) = level else {
            return eprintln!("skipped: systemd-analyze has no security --offline");
        };
        assert!(level <= EXPOSURE_MAX, "{}: {level}\n{said}", unit.display());
    }
}
