//! Recorded packets as an interface of Wireshark: driven by the real tshark.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use crate::support::link::{Link, wait_until};
use crate::support::packets::{Packet, write_pcap};
use crate::support::service::Service;
use crate::support::{import, may_make_namespaces, netrewind};

const START: u32 = 1_700_000_000;

fn packets(count: usize) -> Vec<Packet> {
    let mut frames =
        netrewind_workloads::Workload::named("campus").expect("a workload").with_alive(50).frames(7);
    (0..count)
        .map(|i| {
            let bytes = frames.next_frame().to_vec();
            Packet { seconds: START + i as u32, nanoseconds: 5, len: bytes.len() as u32, bytes }
        })
        .collect()
}

/// A home folder in which the command is installed.
struct Home(tempfile::TempDir);

impl Home {
    fn new() -> Self {
        let home = Self(tempfile::tempdir().expect("a folder"));
        let installed = netrewind()
            .args(["extcap", "install"])
            .env("HOME", home.0.path())
            .output()
            .expect("netrewind runs");
        assert!(installed.status.success(), "{}", String::from_utf8_lossy(&installed.stderr));
        home
    }

    fn tshark(&self) -> Command {
        let mut tshark = Command::new("tshark");
        tshark.env("HOME", self.0.path()).env_remove("XDG_CONFIG_HOME");
        tshark
    }

    /// Captures from the interface with these settings until it ends, and prints a line a packet.
    fn capture(&self, settings: &[String], options: &[&str]) -> Output {
        let mut tshark = self.tshark();
        tshark.args(["-i", "netrewind", "-T", "fields", "-e", "frame.time_epoch"]).args(options);
        for setting in settings {
            tshark.arg("-o").arg(format!("extcap.netrewind.{setting}"));
        }
        tshark.output().expect("tshark runs")
    }
}

fn lines(output: &Output) -> usize {
    String::from_utf8_lossy(&output.stdout).lines().count()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn extcap(words: &[&str]) -> Output {
    netrewind().args(words).output().expect("netrewind runs")
}

#[test]
fn tshark_lists_the_interface_and_captures_a_past_range() {
    let folder = tempfile::tempdir().expect("a folder");
    let (store, capture) = (folder.path().join("store"), folder.path().join("capture.pcap"));
    let packets = packets(300);
    std::fs::write(&capture, write_pcap(1, &packets)).expect("written");
    import(&store, &[&capture]);
    let home = Home::new();
    let listed = home.tshark().arg("-D").output().expect("tshark runs");
    let text = String::from_utf8_lossy(&listed.stdout).into_owned();
    assert!(text.contains(". netrewind (Netrewind: recorded packets)"), "{text}{}", said(&listed));

    let store = format!("store:{}", store.display());
    let all = home.capture(std::slice::from_ref(&store), &[]);
    assert_eq!(lines(&all), 300, "{}", said(&all));
    let range = [store.clone(), format!("from:{}", START + 100), format!("to:{}", START + 150)];
    let some = home.capture(&range, &[]);
    assert_eq!(lines(&some), 50, "{}", said(&some));
    let tcp = crate::support::tcpdump(&capture, "tcp").expect("tcpdump");
    let filtered = home.capture(&[store.clone(), "view:outer".into()], &["-f", "tcp"]);
    assert_eq!(lines(&filtered), tcp.len(), "{}", said(&filtered));
    let service = Service::of(&folder.path().join("store").display().to_string());
    let url = [format!("url:http://{}", service.address), format!("from:{}", START + 100)];
    let remote = home.capture(&url, &[]);
    assert_eq!(lines(&remote), 200, "{}", said(&remote));
}

#[test]
fn tshark_captures_what_is_being_recorded() {
    if !may_make_namespaces() {
        return;
    }
    let (folder, link, home) = (tempfile::tempdir().expect("a folder"), Link::new(), Home::new());
    let (store, capture) = (folder.path().join("store"), folder.path().join("capture.pcap"));
    std::fs::write(&capture, write_pcap(1, &packets(5))).expect("written");
    let recording = link.record(&store, &[]);
    let output = folder.path().join("lines.txt");
    let mut tshark = home
        .tshark()
        .args([
            "-i",
            "netrewind",
            "-l",
            "-T",
            "fields",
            "-e",
            "frame.time_epoch",
            "-o",
            "extcap.netrewind.mode:live",
        ])
        .args(["-o", &format!("extcap.netrewind.store:{}", store.display())])
        .stdout(std::fs::File::create(&output).expect("a file"))
        .stderr(Stdio::null())
        .spawn()
        .expect("tshark runs");
    let count = || std::fs::read_to_string(&output).unwrap_or_default().lines().count();
    wait_until("tshark shows packets as they are recorded", || {
        link.send(&capture, &[]);
        std::thread::sleep(std::time::Duration::from_millis(500));
        count() >= 10
    });
    let id = tshark.id().to_string();
    assert!(Command::new("kill").args(["-INT", &id]).status().expect("kill runs").success());
    tshark.wait().expect("a child");
    recording.stop();
    let left = || {
        let is_ours = |entry: std::io::Result<std::fs::DirEntry>| {
            let words = std::fs::read(entry.ok()?.path().join("cmdline")).ok()?;
            let words = String::from_utf8_lossy(&words).into_owned();
            (words.contains("--fifo") && words.contains(&store.display().to_string())).then_some(())
        };
        std::fs::read_dir("/proc").expect("procfs").filter_map(is_ours).count()
    };
    wait_until("no capture is left behind", || left() == 0);
}

/// Bytes that a pipe takes before a writer has to wait: pipe(7).
const PIPE_BYTES: usize = 65_536;
/// Time in which a process that wanted to end would have.
const PATIENCE: Duration = Duration::from_millis(500);

#[test]
fn the_pipe_stays_open_until_a_failure_has_been_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let (store, capture) = (folder.path().join("store"), folder.path().join("capture.pcap"));
    std::fs::write(&capture, write_pcap(1, &packets(9))).expect("written");
    import(&store, &[&capture]);
    let fifo = folder.path().join("fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().expect("mkfifo runs").success());
    // Nothing more can be said before what is in the pipe has been read.
    let (mut told, mut full) = std::io::pipe().expect("a pipe");
    full.write_all(&[b'.'; PIPE_BYTES]).expect("it takes as much");
    let mut command = netrewind();
    command.args(["extcap", "--extcap-interface", "netrewind", "--capture", "--fifo"]).arg(&fifo);
    command.arg("--store").arg(&store).args(["--extcap-capture-filter", "host nobody.example"]);
    let mut child = command.stderr(full).spawn().expect("netrewind runs");
    drop(command); // with its end of the pipe
    let (ended, end) = mpsc::channel();
    let reader = std::thread::spawn(move || {
        let captured = std::fs::read(fifo).expect("a pipe");
        ended.send(()).expect("somebody waits");
        captured
    });
    assert!(end.recv_timeout(PATIENCE).is_err(), "the pipe was closed before the failure was told");
    let mut text = String::new();
    told.read_to_string(&mut text).expect("text");
    assert!(text.contains("nobody.example"), "{}", text.trim_start_matches('.'));
    assert_eq!(reader.join().expect("it ends"), b"");
    assert_eq!(child.wait().expect("a child").code(), Some(2));
}

#[test]
fn the_protocol_is_kept_to() {
    let text = |output: &Output| String::from_utf8_lossy(&output.stdout).into_owned();
    let interfaces = extcap(&["--extcap-interfaces", "--extcap-version=4.0"]);
    assert!(
        text(&interfaces).contains("extcap {version=") && text(&interfaces).contains("{value=netrewind}")
    );
    let of = |words: &[&'static str]| extcap(&[&["--extcap-interface", "netrewind"], words].concat());
    assert!(text(&of(&["--extcap-dlts"])).starts_with("dlt {number=1}"));
    let config = text(&of(&["--extcap-config"]));
    for call in [
        "store",
        "url",
        "token",
        "token-file",
        "ca-file",
        "from",
        "to",
        "filter",
        "view",
        "decapsulate",
        "mode",
    ] {
        assert!(config.contains(&format!("{{call=--{call}}}")), "{call}: {config}");
    }
    assert!(config.contains("{type=password}"));
    let again = text(&of(&["--extcap-reload-option", "view"]));
    assert_eq!(again.lines().count(), 3, "{again}");
    let valid = of(&["--extcap-capture-filter", "tcp port 80"]);
    assert!(valid.status.success() && valid.stdout.is_empty());
    let wrong = of(&["--extcap-capture-filter", "tcp prot 80"]);
    assert!(text(&wrong).contains("prot"), "{}", text(&wrong));
    let nowhere = of(&["--capture", "--fifo", "/dev/null"]);
    assert_eq!(nowhere.status.code(), Some(2));
    assert!(said(&nowhere).contains("no store and no recorder"), "{}", said(&nowhere));
    assert!(!extcap(&["--extcap-interface", "other", "--extcap-dlts"]).status.success());
    assert!(Path::new(env!("CARGO_BIN_EXE_netrewind")).is_file());
}
