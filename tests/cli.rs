//! The command line's contract: exit codes, words, forms.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::roundtrip::segments;
use crate::support::packets::{Packet, assert_same, read_pcap, write_pcap};
use crate::support::{done, netrewind, run, tcpdump};

const START: u32 = 1_700_000_000;

/// A store of synthetic traffic, and the capture that it was imported from.
struct Imported {
    folder: tempfile::TempDir,
    store: String,
    capture: PathBuf,
    packets: Vec<Packet>,
}

fn imported(count: usize, options: &[&str]) -> Imported {
    let mut frames =
        netrewind_workloads::Workload::named("campus").expect("a workload").with_alive(100).frames(9);
    let packets: Vec<_> = (0..count)
        .map(|i| {
            let bytes = frames.next_frame().to_vec();
            let at = i as u64 * 1_000_003;
            Packet {
                seconds: START + (at / 1_000_000_000) as u32,
                nanoseconds: (at % 1_000_000_000) as u32,
                len: bytes.len() as u32,
                bytes,
            }
        })
        .collect();
    let folder = tempfile::tempdir().expect("a folder");
    let capture = folder.path().join("capture.pcap");
    std::fs::write(&capture, write_pcap(1, &packets)).expect("written");
    let store = folder.path().join("store").display().to_string();
    let file = capture.display().to_string();
    done(["import", "--store", &store].into_iter().chain(options.iter().copied()).chain([file.as_str()]));
    Imported { folder, store, capture, packets }
}

fn said(output: &std::process::Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_wrong_filter_is_named_with_its_place() {
    let Imported { store, folder: _folder, .. } = imported(10, &[]);
    for (filter, place) in
        [("host 10.0.0.1 and prot 80", "prot"), ("tcp port 99999", "99999"), ("host www", "www")]
    {
        let output = run(["extract", "--store", &store, "--filter", filter, "-o", "/dev/null"]);
        let said = said(&output);
        assert_eq!(output.status.code(), Some(2), "{said}");
        let lines: Vec<_> = said.lines().collect();
        let text = lines.iter().position(|line| line.contains(filter)).unwrap_or_else(|| panic!("{said}"));
        let carets = lines[text + 1];
        let (at, column) = (carets.find('^').expect("a caret"), lines[text].find(place).expect("the token"));
        assert_eq!(at, column, "the caret stands under {place:?}:\n{said}");
    }
}

#[test]
fn wrong_usage_has_status_2_and_failures_have_3() {
    let Imported { store, folder, .. } = imported(10, &[]);
    let missing = folder.path().join("missing").display().to_string();
    for (arguments, status, words) in [
        (vec!["extract", "--store", &store, "--from", "yesterdayish", "-o", "-"], 2, "2h ago"),
        (vec!["extract", "--store", &store, "--manifest"], 2, "-o FILE"),
        (vec!["extract", "--store", &store, "--no-such-flag"], 2, "--no-such-flag"),
        (vec!["extract", "--store", &missing, "--count"], 3, "no store here"),
        (vec!["extract", "--store", &store, "-o", "/nonexistent/x.pcap"], 3, "/nonexistent/x.pcap"),
        (vec!["import", "--store", &store, "/nonexistent/x.pcap"], 2, "/nonexistent/x.pcap"),
        (vec!["status", "--store", &missing], 3, "no store here"),
        (vec!["frobnicate"], 2, "frobnicate"),
    ] {
        let output = run(&arguments);
        let said = said(&output);
        assert_eq!(output.status.code(), Some(status), "{arguments:?}: {said}");
        assert!(said.contains(words), "{arguments:?}: {said}");
    }
}

#[test]
fn every_subcommand_shows_examples() {
    for command in ["record", "import", "index", "extract", "flows", "status", "verify"] {
        let help = String::from_utf8(done([command, "--help"])).expect("text");
        assert!(help.contains("Example") && help.contains(&format!("netrewind {command} --store")), "{help}");
    }
}

#[test]
fn time_ranges_are_half_open_and_exact_to_the_nanosecond() {
    let Imported { store, packets, folder: _folder, .. } = imported(3000, &[]);
    let (first, last) = (&packets[100], &packets[200]);
    let text = |packet: &Packet| format!("{}.{:09}", packet.seconds, packet.nanoseconds);
    let extract = |from: &str, to: &str| {
        read_pcap(&done(["extract", "--store", &store, "--from", from, "--to", to, "-o", "-"]))
    };
    assert_same(&extract(&text(first), &text(last)), &packets[100..200], "by Unix seconds");
    let later = format!("{}.{:09}", first.seconds, first.nanoseconds + 1);
    assert_same(&extract(&later, &text(last)), &packets[101..200], "a nanosecond later");
    let at = |packet: &Packet| {
        let civil = packet.at_ns() / 1_000_000_000 - u64::from(START);
        format!("2023-11-14T22:13:{:02}.{:09}Z", 20 + civil, packet.nanoseconds)
    };
    assert_same(&extract(&at(first), &at(last)), &packets[100..200], "by RFC 3339");
    let nothing = format!("{}.{:09}", packets[100].seconds, packets[100].nanoseconds + 2);
    assert_same(&extract(&later, &nothing), &[], "a range without packets");
}

#[test]
fn counts_estimates_and_limits_agree_with_the_packets() {
    let Imported { store, capture, folder: _folder, .. } = imported(5000, &[]);
    let filter = "tcp and greater 500";
    let wanted = tcpdump(&capture, filter).expect("tcpdump");
    let number =
        |bytes: Vec<u8>| String::from_utf8(bytes).expect("text").trim().parse::<usize>().expect("a number");
    assert_eq!(number(done(["extract", "--store", &store, "--filter", filter, "--count"])), wanted.len());

    let estimate = done(["extract", "--store", &store, "--filter", filter, "--estimate", "--json"]);
    let estimate: serde_json::Value = serde_json::from_slice(&estimate).expect("JSON");
    assert!(estimate["packets_max"].as_u64() >= Some(wanted.len() as u64), "{estimate}");
    assert!(estimate["packets_min"].as_u64() <= Some(wanted.len() as u64), "{estimate}");

    let limited = run(["extract", "--store", &store, "--filter", filter, "--max-packets", "7", "-o", "-"]);
    assert_eq!(limited.status.code(), Some(1));
    assert!(said(&limited).contains("limit"), "{}", said(&limited));
    assert_same(&read_pcap(&limited.stdout), &wanted[..7], "seven packets");
    let limited = run(["extract", "--store", &store, "--filter", filter, "--max-bytes", "5000", "-o", "-"]);
    let found = read_pcap(&limited.stdout);
    assert!(found.iter().map(|packet| packet.bytes.len()).sum::<usize>() <= 5000 && !found.is_empty());
}

#[test]
fn a_reader_that_goes_ends_it_quietly() {
    let Imported { store, folder: _folder, .. } = imported(20_000, &[]);
    let mut child = netrewind()
        .args(["extract", "--store", &store, "--quiet", "-o", "-"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("netrewind runs");
    let mut head = [0; 1000];
    child.stdout.take().expect("a pipe").read_exact(&mut head).expect("a beginning");
    let output = child.wait_with_output().expect("a child");
    assert_eq!((output.status.code(), said(&output).as_str()), (Some(0), ""));
}

#[test]
fn pcapng_names_interface_drops_and_completeness() {
    let Imported { store, folder, packets, .. } = imported(500, &[]);
    let file = folder.path().join("answer.pcapng");
    done(["extract", "--store", &store, "-o", &file.display().to_string()]);
    let tool = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).arg(&file).output().expect("installed");
        assert!(output.status.success(), "{program}: {}", said(&output));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let about = tool("capinfos", &[]);
    assert!(about.contains("pcapng") && about.contains("nanoseconds"), "{about}");
    assert!(about.contains("capture.pcap") && about.contains("complete"), "{about}");
    let times = tool("tshark", &["-T", "fields", "-e", "frame.time_epoch", "-e", "frame.len", "-r"]);
    let wanted: Vec<_> =
        packets.iter().map(|p| format!("{}.{:09}\t{}", p.seconds, p.nanoseconds, p.len)).collect();
    assert_eq!(times.lines().collect::<Vec<_>>(), wanted);
}

#[test]
fn indexes_built_again_are_the_same_and_damage_is_found_and_mended() {
    let Imported { store, packets, folder: _folder, .. } = imported(20_000, &["--segment-bytes", "4MiB"]);
    let indexes = || -> Vec<Vec<u8>> {
        segments(Path::new(&store))
            .iter()
            .map(|s| std::fs::read(s.with_extension("idx")).expect("an index"))
            .collect()
    };
    let live = indexes();
    assert!(live.len() > 2);
    done(["index", "--store", &store, "--rebuild"]);
    assert_eq!(indexes(), live, "an index is a pure function of its segment");

    let first = segments(Path::new(&store)).remove(0);
    let index = first.with_extension("idx");
    let damage = |at: usize| {
        let mut bytes = live[0].clone();
        bytes[at] ^= 0x55;
        std::fs::write(&index, bytes).expect("written");
    };
    for at in [0, 9, live[0].len() / 2, live[0].len() - 1] {
        damage(at);
        let found = run(["verify", "--store", &store]);
        let told = String::from_utf8_lossy(&found.stdout).into_owned();
        assert_eq!(found.status.code(), Some(1), "byte {at}: {told}");
        assert!(told.contains(first.file_stem().and_then(|s| s.to_str()).expect("a name")), "{told}");
        let answer = run(["extract", "--store", &store, "--filter", "host 10.0.0.1 or udp", "-o", "-"]);
        let without =
            done(["extract", "--store", &store, "--filter", "host 10.0.0.1 or udp", "--no-index", "-o", "-"]);
        assert!(answer.stdout == without, "byte {at}: a damaged index is never believed");
    }
    done(["index", "--store", &store]);
    assert_eq!(indexes(), live);
    // An index of another segment, and none at all.
    std::fs::write(&index, &live[1]).expect("written");
    assert_eq!(run(["verify", "--store", &store]).status.code(), Some(1));
    std::fs::remove_file(&index).expect("removed");
    assert_same(&read_pcap(&done(["extract", "--store", &store, "-o", "-"])), &packets, "without an index");
    done(["index", "--store", &store]);
    done(["verify", "--store", &store]);

    // A segment cut in the middle of a record: what is whole is answered, the rest is told.
    let bytes = std::fs::read(&first).expect("a segment");
    std::fs::write(&first, &bytes[..bytes.len() - 5]).expect("written");
    let found = run(["verify", "--store", &store]);
    let told = String::from_utf8_lossy(&found.stdout).into_owned();
    assert!(found.status.code() == Some(1) && told.contains("cut short"), "{told}");
    let answer = run(["extract", "--store", &store, "-o", "-"]);
    assert_eq!(answer.status.code(), Some(1));
    assert!(said(&answer).contains("unreadable"), "{}", said(&answer));
    assert_eq!(read_pcap(&answer.stdout).len(), packets.len() - 1);
}

#[test]
fn status_tells_what_there_is() {
    let Imported { store, folder: _folder, .. } = imported(100, &[]);
    let status: serde_json::Value =
        serde_json::from_slice(&done(["status", "--store", &store, "--json"])).expect("JSON");
    assert_eq!(status["segments"], 1);
    assert_eq!(status["rewind_to"], "2023-11-14T22:13:20.000000000Z");
    assert_eq!(status["writer"], serde_json::Value::Null);
    let text = String::from_utf8(done(["status", "--store", &store])).expect("text");
    assert!(text.contains("rewind to"), "{text}");
}

#[test]
fn a_second_writer_is_told_of_the_first() {
    let Imported { store, folder, .. } = imported(10, &[]);
    let fifo = folder.path().join("fifo");
    let made = Command::new("mkfifo").arg(&fifo).status().expect("mkfifo runs");
    assert!(made.success());
    let mut first = netrewind()
        .args(["import", "--store", &store])
        .arg(&fifo)
        .stderr(Stdio::null())
        .spawn()
        .expect("netrewind runs");
    // Opening for writing waits for the reader, which has opened the store by then or will in a moment.
    let writer = std::fs::OpenOptions::new().write(true).open(&fifo).expect("a fifo");
    crate::support::link::wait_until("the first writer has the lock", || {
        let status = done(["status", "--store", &store]);
        String::from_utf8_lossy(&status).contains("netrewind import, process")
    });
    let second = run(["index", "--store", &store]);
    assert_eq!(second.status.code(), Some(3));
    assert!(said(&second).contains("netrewind import, process"), "{}", said(&second));
    drop(writer);
    first.wait().expect("a child");
}

#[test]
fn compressed_captures_and_pipes_are_imported() {
    let Imported { folder, capture, packets, .. } = imported(300, &[]);
    for (program, arguments) in [("gzip", vec!["-k"]), ("zstd", vec!["-q", "-k"])] {
        let packed = Command::new(program).args(arguments).arg(&capture).status().expect("installed");
        assert!(packed.success());
    }
    for (name, from_pipe) in [("capture.pcap.gz", false), ("capture.pcap.zst", false), ("capture.pcap", true)]
    {
        let store = folder.path().join(format!("store of {name} {from_pipe}")).display().to_string();
        let file = folder.path().join(name);
        let mut import = netrewind();
        import.args(["import", "--store", &store]);
        if from_pipe {
            import.arg("-").stdin(std::fs::File::open(&file).expect("a capture"));
        } else {
            import.arg(&file);
        }
        assert!(import.output().expect("netrewind runs").status.success());
        assert_same(&read_pcap(&done(["extract", "--store", &store, "-o", "-"])), &packets, name);
    }
}

#[test]
fn a_capture_is_replayed_through_the_recorder() {
    let Imported { folder, capture, packets, .. } = imported(2000, &[]);
    let (store, file) = (folder.path().join("replayed").display().to_string(), capture.display().to_string());
    let account = done(["record", "--store", &store, "--replay", &file, "--replay-speed", "max", "--json"]);
    let account: serde_json::Value =
        serde_json::from_slice(account.split(|&byte| byte == b'\n').rev().nth(1).expect("a line"))
            .expect("JSON");
    assert_eq!(account["written"].as_u64(), Some(packets.len() as u64), "{account}");
    assert_same(&read_pcap(&done(["extract", "--store", &store, "-o", "-"])), &packets, "replayed");
    done(["verify", "--store", &store]);

    // Two seconds of traffic at ten times its speed, as if it arrived now.
    let store = folder.path().join("now").display().to_string();
    let before = std::time::SystemTime::now();
    done(["record", "--store", &store, "--replay", &file, "--replay-speed", "10", "--replay-now"]);
    let took = before.elapsed().expect("a clock");
    assert!(took >= std::time::Duration::from_millis(190), "{took:?}");
    let found = read_pcap(&done(["extract", "--store", &store, "-o", "-"]));
    assert_eq!(found.len(), packets.len());
    let since = before.duration_since(std::time::UNIX_EPOCH).expect("a clock").as_nanos() as u64;
    assert!(found.iter().all(|packet| packet.at_ns() >= since));
}
