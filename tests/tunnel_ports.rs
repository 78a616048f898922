//! Tunnels on ports of the store's own: the same answer with index and without, and no index believed that was built with
//! other ports.

use std::path::{Path, PathBuf};

use crate::roundtrip::segments;
use crate::support::packets::{Packet, read_pcap, write_pcap};
use crate::support::wrapping::in_vxlan;
use crate::support::{done, import, run};

const PACKETS: usize = 300;
/// Where the UDP destination port stands behind Ethernet and IPv4.
const PORT: usize = 36;
const FILTER: &str = "tcp";

/// Traffic in VXLAN, every third packet on another port than the usual.
fn packets() -> Vec<Packet> {
    let mut frames =
        netrewind_workloads::Workload::named("campus").expect("a workload").with_alive(40).frames(5);
    let wrap = |i: usize| {
        let mut bytes = in_vxlan(42, frames.next_frame());
        if i.is_multiple_of(3) {
            bytes[PORT..PORT + 2].copy_from_slice(&5555u16.to_be_bytes());
        }
        Packet { seconds: 1_700_000_000 + i as u32, nanoseconds: 0, len: bytes.len() as u32, bytes }
    };
    (0..PACKETS).map(wrap).collect()
}

struct Subject {
    folder: tempfile::TempDir,
    store: String,
    capture: PathBuf,
}

impl Subject {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let capture = folder.path().join("capture.pcap");
        std::fs::write(&capture, write_pcap(1, &packets())).expect("written");
        let store = folder.path().join("store").display().to_string();
        Self { folder, store, capture }
    }

    /// How many packets are TCP inside: as the index helps to tell, which must be as all packets tell.
    fn count(&self) -> usize {
        let count = |more: &[&str]| {
            let given =
                done(["extract", "--store", &self.store, "--filter", FILTER, "--count"].iter().chain(more));
            String::from_utf8_lossy(&given).trim().parse::<usize>().expect("a number")
        };
        let found = count(&[]);
        assert_eq!(found, count(&["--no-index"]));
        assert_eq!(found, self.decapsulated());
        found
    }

    fn decapsulated(&self) -> usize {
        let file = self.folder.path().join("out.pcap");
        let arguments =
            ["extract", "--store", &self.store, "--vni", "42", "--filter", FILTER, "--decapsulate", "-o"];
        done(arguments.iter().copied().chain([file.display().to_string().as_str()]));
        let found = read_pcap(&std::fs::read(&file).expect("an answer"));
        let is_tcp = |frame: &[u8]| match frame[12..14] {
            [0x08, 0x00] => frame[23] == 6,
            _ => frame[20] == 6,
        };
        assert!(found.iter().all(|packet| is_tcp(&packet.bytes)));
        found.len()
    }

    fn index(&self, more: &[&str]) {
        done(["index", "--store", &self.store].iter().chain(more));
        let verified = run(["verify", "--store", &self.store]);
        assert_eq!(verified.status.code(), Some(0), "{}", String::from_utf8_lossy(&verified.stdout));
    }

    fn index_files(&self) -> Vec<PathBuf> {
        segments(Path::new(&self.store)).iter().map(|segment| segment.with_extension("idx")).collect()
    }
}

#[test]
fn a_store_has_tunnel_ports_of_its_own() {
    let subject = Subject::new();
    import(Path::new(&subject.store), &[&subject.capture]);
    let usual = subject.count();
    let old: Vec<_> =
        subject.index_files().iter().map(|file| std::fs::read(file).expect("an index")).collect();

    subject.index(&["--tunnel-port", "vxlan=5555"]);
    let all = subject.count();
    assert!(usual > 0 && usual < all, "{usual} of {all}");
    subject.index(&["--rebuild"]);
    assert_eq!(subject.count(), all);
    subject.index(&["--tunnel-port", "vxlan=5555", "--tunnel-port", "none=4789"]);
    assert_eq!(subject.count(), all - usual);

    // An index of before, put back in its place, is noticed.
    for (file, old) in subject.index_files().iter().zip(&old) {
        std::fs::write(file, old).expect("written");
    }
    let output = run(["extract", "--store", &subject.store, "--filter", FILTER, "--count"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("other tunnel ports"), "{said}");
    assert_eq!(subject.count(), all - usual);
    let verified = run(["verify", "--store", &subject.store]);
    assert_eq!(verified.status.code(), Some(1));

    subject.index(&["--tunnel-port", "default"]);
    assert_eq!(subject.count(), usual);
    assert!(
        subject
            .index_files()
            .iter()
            .zip(&old)
            .all(|(file, old)| std::fs::read(file).expect("an index") == *old)
    );
}

#[test]
fn ports_are_given_to_what_writes() {
    let subject = Subject::new();
    let capture = subject.capture.display().to_string();
    let port = ["--tunnel-port", "vxlan=5555"];
    done(["import", "--store", &subject.store].iter().chain(&port).chain(&[capture.as_str()]));
    let all = subject.count();
    let recorded = Subject::new();
    done(
        ["record", "--store", &recorded.store, "--replay", &capture, "--replay-speed", "max"]
            .iter()
            .chain(&port),
    );
    assert_eq!(recorded.count(), all);
    for wrong in ["vxlan=0", "vxlan", "ipsec=4500"] {
        let output = run(["index", "--store", &subject.store, "--tunnel-port", wrong]);
        assert_eq!(output.status.code(), Some(2), "{wrong}");
    }
    let twice = ["index", "--store", &subject.store, "--tunnel-port", "vxlan=7", "--tunnel-port", "geneve=7"];
    assert_eq!(run(twice).status.code(), Some(2));
    assert_eq!(subject.count(), all);
}
