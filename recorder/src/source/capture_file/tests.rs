//! Capture files compared with the output of tcpdump, mergecap and `pcap-file`.

mod build;
mod compressed;
mod corpus;
mod following;
mod odd_pcap;
mod odd_pcapng;
mod random;
mod sections;
mod streams;

use std::io::{Cursor, Read, Seek, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use netrewind_store::{LinkType, RecordHeader};

use super::super::{Received, Source, SourceError};
use super::CaptureFile;

/// A packet with its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Owned {
    pub(super) header: RecordHeader,
    pub(super) link_type: LinkType,
    pub(super) bytes: Vec<u8>,
}

/// Everything that a source hands over, and the error that ended it.
pub(super) fn drain(file: &mut CaptureFile) -> (Vec<Owned>, Option<SourceError>) {
    let mut packets = Vec::new();
    let mut quiet = 0;
    loop {
        let received = file.receive(Duration::ZERO, &mut |packet| {
            assert_eq!(packet.header.caplen as usize, packet.head.len());
            let (header, link_type) = (packet.header, packet.link_type);
            packets.push(Owned { header, link_type, bytes: packet.head.to_vec() });
        });
        match received {
            Ok(Received::Packets(count)) => assert!(count > 0),
            Ok(Received::Quiet) => quiet += 1,
            Ok(Received::End) => return (packets, None),
            Err(error) => {
                assert!(matches!(file.receive(Duration::ZERO, &mut |_| {}), Ok(Received::End)));
                return (packets, Some(error));
            }
        }
        assert!(quiet < 1_000_000, "no progress");
    }
}

/// The same for bytes.
pub(super) fn read(bytes: impl Into<Vec<u8>>) -> (Vec<Owned>, Option<SourceError>) {
    drain(&mut CaptureFile::from_reader("test", Cursor::new(bytes.into())))
}

/// Packets of the bytes according to `tcpdump -r`, and true if it reached their end; `None` if there is no tcpdump.
pub(super) fn tcpdump(bytes: &[u8]) -> Option<(Vec<Owned>, bool)> {
    let mut file = tempfile::tempfile().expect("a file for tcpdump");
    file.write_all(bytes).expect("written for tcpdump");
    file.rewind().expect("rewound for tcpdump");
    let output = Command::new("tcpdump")
        .args(["-r", "-", "--nano", "-w", "-"])
        .stdin(Stdio::from(file))
        .output()
        .inspect_err(|error| eprintln!("skipped: tcpdump does not run: {error}"))
        .ok()?;
    Some((plain_nanosecond_packets(&output.stdout), output.status.success()))
}

/// Parses tcpdump's output, which has its host's byte order, as segments do.
fn plain_nanosecond_packets(mut file: &[u8]) -> Vec<Owned> {
    let mut header = [0; 24];
    if file.read_exact(&mut header).is_err() {
        return Vec::new();
    }
    let field = u32::from_le_bytes([header[20], header[21], header[22], header[23]]);
    let link_type = LinkType(u16::try_from(field & 0x03ff_ffff).expect("a link type that tcpdump writes"));
    let mut packets = Vec::new();
    while let Some(header) = RecordHeader::read(file) {
        let bytes = file[16..16 + header.caplen as usize].to_vec();
        file = &file[header.record_bytes()..];
        packets.push(Owned { header, link_type, bytes });
    }
    packets
}

/// Requires the same packets as tcpdump's, and no fewer where it sees damage. Where it sees none, no more.
pub(super) fn agree(what: &str, bytes: &[u8]) -> usize {
    let Some((expected, complete)) = tcpdump(bytes) else { return 0 };
    let (found, error) = read(bytes);
    for (number, (found, expected)) in found.iter().zip(&expected).enumerate() {
        // What 32 bits of seconds cannot hold wraps in tcpdump, and goes to their end with us.
        let is_moved =
            matches!((found.header.seconds, found.header.nanoseconds), (0, 0) | (u32::MAX, 999_999_999));
        let mut found = found.clone();
        if is_moved {
            found.header =
                RecordHeader { caplen: found.header.caplen, len: found.header.len, ..expected.header };
        }
        assert_eq!(found, *expected, "{what}: packet {number}");
    }
    assert!(found.len() >= expected.len(), "{what}: {} of {}: {error:?}", found.len(), expected.len());
    if complete {
        assert!(error.is_none(), "{what}: {error:?}");
        assert_eq!(found.len(), expected.len(), "{what}");
    }
    expected.len()
}

/// The captures of the corpus; none where there is no corpus.
pub(super) fn corpus() -> Vec<(PathBuf, Vec<u8>)> {
    let root = std::env::var_os("NETREWIND_CORPUS")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus"), PathBuf::from);
    let mut files = Vec::new();
    for folder in std::fs::read_dir(&root).into_iter().flatten().flatten() {
        for entry in std::fs::read_dir(folder.path()).into_iter().flatten().flatten() {
            files.push((entry.path(), std::fs::read(entry.path()).expect("a file of the corpus")));
        }
    }
    if files.is_empty() {
        eprintln!("skipped: no captures in {} (set NETREWIND_CORPUS)", root.display());
    }
    files.sort();
    files
}

/// Random numbers whose seed a failing test has printed.
pub(super) fn seeded() -> fastrand::Rng {
    let seed = std::env::var("NETREWIND_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    eprintln!("NETREWIND_TEST_SEED={seed}");
    fastrand::Rng::with_seed(seed)
}
