//! Tshark's view of the packets of public captures, all merged into one file, so that it starts once.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Captures of a kind that mergecap cannot write into a merged file. Those with labels in them are read one by one.
const NOT_MERGED: &[(&str, bool)] = &[
    ("tcpdump/dsa-high-vid.pcap", false),
    ("tcpdump/edsa-high-vid.pcap", false),
    ("tcpdump/edsa.pcap", false),
    ("tcpdump/hoobr_juniper3.pcap", false),
    ("tcpdump/juniper_monitor_invalid_cookie_length.pcap", false),
    ("tcpdump/kday6.pcap", false),
    ("tcpdump/vtp_asan-3.pcap", false),
    ("tcpdump/vtp_asan.pcap", false),
    ("ndpi/quic-v2.pcapng", true),
];

const FIELDS: &[&str] = &[
    "tcp.stream",
    "udp.stream",
    "ip.src",
    "ip.dst",
    "ipv6.src",
    "ipv6.dst",
    "tcp.srcport",
    "tcp.dstport",
    "udp.srcport",
    "udp.dstport",
    "tcp.seq_raw",
    "tcp.flags.syn",
    "tcp.payload",
    "udp.payload",
    "http.request.method",
    "http.host",
    "http.user_agent",
    "dns.qry.name",
    "ssh.protocol",
    "quic.version",
    "ip.proto",
    "ipv6.nxt",
    "icmp.type",
    "icmp.code",
    "icmpv6.type",
    "icmpv6.code",
    "sctp.srcport",
    "sctp.dstport",
    "communityid",
];
/// Fields that DTLS has too, under its own name.
const HANDSHAKE_FIELDS: &[&str] = &[
    "type",
    "version",
    "ciphersuite",
    "extension.type",
    "sig_hash_alg",
    "sig_hash_alg_len",
    "extensions.supported_version",
    "extensions_alpn_str",
    "extensions_server_name",
];
const SEPARATOR: char = '\u{1}';

/// One packet: of each field all values, from the outermost header inwards.
pub struct Row {
    /// The capture's name.
    pub file: String,
    fields: HashMap<String, Vec<String>>,
}

impl Row {
    /// All values of a field.
    pub fn all(&self, field: &str) -> &[String] {
        self.fields.get(field).map_or(&[], Vec::as_slice)
    }

    /// The value of a field that has exactly one.
    pub fn only(&self, field: &str) -> Option<&str> {
        match self.all(field) {
            [value] => Some(value),
            _ => None,
        }
    }

    /// The same as a number, in decimal or, after `0x`, hexadecimal digits.
    pub fn number(&self, field: &str) -> Option<u32> {
        self.only(field).and_then(number)
    }

    /// The same as bytes.
    pub fn bytes(&self, field: &str) -> Option<Vec<u8>> {
        let digits = self.only(field)?;
        let pair = |at: usize| u8::from_str_radix(digits.get(2 * at..2 * at + 2)?, 16).ok();
        (0..digits.len() / 2).map(pair).collect()
    }
}

/// A number as tshark writes it.
pub fn number(text: &str) -> Option<u32> {
    match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

fn corpus() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus");
    let corpus = std::env::var_os("NETREWIND_CORPUS").map_or(beside, PathBuf::from);
    corpus.is_dir().then_some(corpus)
}

/// Every packet of the corpus; none, after saying so, where there is no corpus or no tshark.
#[expect(clippy::print_stdout, reason = "a test that is skipped says so")]
pub fn rows() -> Vec<Row> {
    let has_tshark = Command::new("tshark").arg("-v").output().is_ok();
    let Some(corpus) = corpus().filter(|_| has_tshark) else {
        println!("skipped: no captures (set NETREWIND_CORPUS) or no tshark");
        return Vec::new();
    };
    let mut files: Vec<String> = Vec::new();
    for folder in std::fs::read_dir(&corpus).into_iter().flatten().flatten() {
        for file in std::fs::read_dir(folder.path()).into_iter().flatten().flatten() {
            files.push(format!("{}/{}", folder.file_name().display(), file.file_name().display()));
        }
    }
    files.retain(|name| NOT_MERGED.iter().all(|(other, _)| name != other));
    files.sort();
    let merged = std::env::temp_dir().join(format!("netrewind-labels-{}.pcapng", std::process::id()));
    let status = Command::new("mergecap")
        .args(["-a", "-F", "pcapng", "-w"])
        .arg(&merged)
        .args(files.iter().map(|name| corpus.join(name)))
        .status();
    assert!(status.expect("mergecap").success(), "a capture that mergecap cannot merge");
    let owners = packets(&corpus, &files);
    let mut rows = read(&merged, |packet| owners.get(packet).map_or("", |&file| files[file].as_str()));
    std::fs::remove_file(&merged).expect("removed");
    for (name, _) in NOT_MERGED.iter().filter(|(_, has_labels)| *has_labels) {
        rows.extend(read(&corpus.join(name), |_| name));
    }
    rows
}

/// For each packet of the merged file, the place of its capture among `files`.
fn packets(corpus: &Path, files: &[String]) -> Vec<usize> {
    let paths = files.iter().map(|name| corpus.join(name));
    let output =
        Command::new("capinfos").args(["-T", "-M", "-r", "-c"]).args(paths).output().expect("capinfos");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let counts: Vec<usize> = text.lines().filter_map(|line| line.rsplit('\t').next()?.parse().ok()).collect();
    assert_eq!(counts.len(), files.len(), "a capture that capinfos does not count");
    counts.iter().enumerate().flat_map(|(file, &count)| std::iter::repeat_n(file, count)).collect()
}

/// The packets of a file; `capture` names the capture that a packet comes from.
fn read<'a>(file: &Path, capture: impl Fn(usize) -> &'a str) -> Vec<Row> {
    let handshake = |protocol: &str| {
        HANDSHAKE_FIELDS.iter().map(move |field| format!("{protocol}.handshake.{field}")).collect::<Vec<_>>()
    };
    let plain = FIELDS.iter().map(|&field| field.to_owned());
    let fields: Vec<String> = plain.chain(handshake("tls")).chain(handshake("dtls")).collect();
    let output = Command::new("tshark")
        .args(["-n", "--enable-protocol", "communityid", "-T", "fields", "-E"])
        .arg(format!("aggregator={SEPARATOR}"))
        .args(["-E", "occurrence=a", "-r"])
        .arg(file)
        .args(fields.iter().flat_map(|field| ["-e", field]))
        .output()
        .expect("tshark");
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines()
        .enumerate()
        .map(|(packet, line)| {
            let values =
                line.split('\t').map(|values| values.split(SEPARATOR).filter(|value| !value.is_empty()));
            let values = values.map(|values| values.map(str::to_owned).collect::<Vec<_>>());
            Row { file: capture(packet).to_owned(), fields: fields.iter().cloned().zip(values).collect() }
        })
        .collect()
}
