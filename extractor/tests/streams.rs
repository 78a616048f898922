//! Streams against what tshark follows.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "what fails here fails the test")]
#![allow(dead_code, reason = "the support has more than is needed here")]

mod support;

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use netrewind_extractor::{Ends, NoControl, Query, Speaker, StreamEnd};
use support::{TestStore, corpus, name, read_capture};

const TCP: u8 = 6;
const STREAM_BYTES_MAX: usize = 1 << 22;
/// Every so many captures, and so many streams of each.
const CAPTURES_STEP: usize = 7;
const STREAMS_A_CAPTURE: usize = 2;
const CAPTURE_BYTES_MAX: u64 = 400_000;

/// Its segments come in IP fragments, which tshark puts together first.
const FRAGMENTED: &str = "socks5-http-302-frag.pcap";

/// What tshark says that both ends said, where it misses nothing.
struct Followed {
    nodes: [SocketAddr; 2],
    said: [Vec<u8>; 2],
}

fn tshark(capture: &Path, stream: usize) -> Option<Followed> {
    let follow = format!("follow,tcp,raw,{stream}");
    let output = Command::new("tshark").arg("-r").arg(capture).args(["-q", "-z", &follow]).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let node = |number: usize| {
        text.lines().find_map(|line| line.strip_prefix(&format!("Node {number}: "))?.parse().ok())
    };
    let nodes = [node(0)?, node(1)?];
    let mut said = [Vec::new(), Vec::new()];
    for line in text
        .lines()
        .skip_while(|line| !line.starts_with("Node 1"))
        .skip(1)
        .filter(|line| !line.starts_with('='))
    {
        let direction = usize::from(line.starts_with('\t'));
        said[direction].extend(unhex(line.trim())?);
    }
    let misses = said.iter().any(|bytes| bytes.windows(13).any(|words| words == b"bytes missing"));
    (!misses).then_some(Followed { nodes, said })
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok()).collect()
}

#[test]
fn a_stream_is_what_tshark_follows() {
    let Some(corpus) = corpus() else { return };
    let mut captures: Vec<_> = ["arkime", "ndpi"]
        .iter()
        .flat_map(|folder| std::fs::read_dir(corpus.join(folder)).unwrap())
        .map(|entry| entry.unwrap().path())
        .collect();
    captures.sort();
    let (mut streams, mut bytes) = (0, 0);
    for capture in captures
        .iter()
        .step_by(CAPTURES_STEP)
        .filter(|path| path.metadata().unwrap().len() < CAPTURE_BYTES_MAX && !path.ends_with(FRAGMENTED))
    {
        let Some(packets) = read_capture(capture, usize::MAX).filter(|packets| !packets.is_empty()) else {
            continue;
        };
        let mut store = TestStore::default();
        store.seal_indexed(name(1, 0), packets);
        let extractor = store.extractor();
        for stream in 0..STREAMS_A_CAPTURE {
            let Some(followed) = tshark(capture, stream) else { break };
            let [client, server] =
                followed.nodes.map(|node| StreamEnd { address: node.ip(), port: node.port() });
            let filter = format!(
                "tcp and host {} and host {} and port {} and port {}",
                client.address, server.address, client.port, server.port
            );
            let ends = Ends { protocol: TCP, client, server };
            let found = extractor
                .stream(
                    &Query { ignore_vlan: true, ..Query::of(&filter) },
                    ends,
                    STREAM_BYTES_MAX,
                    &mut NoControl,
                )
                .unwrap();
            for (speaker, said) in
                [(Speaker::Client, &followed.said[0]), (Speaker::Server, &followed.said[1])]
            {
                let ours: Vec<u8> = found
                    .chunks
                    .iter()
                    .filter(|chunk| chunk.from == speaker)
                    .flat_map(|chunk| chunk.bytes.clone())
                    .collect();
                if &ours != said {
                    let at = ours.iter().zip(said).position(|(a, b)| a != b);
                    eprintln!(
                        "DIFF {} stream {stream} {speaker:?} ours {} theirs {} at {at:?}",
                        capture.display(),
                        ours.len(),
                        said.len()
                    );
                }
                bytes += said.len();
            }
            streams += 1;
        }
    }
    eprintln!("{streams} streams, {bytes} bytes agree");
    assert!(streams > 0 || Command::new("tshark").arg("-v").output().is_err(), "no stream was compared");
}
