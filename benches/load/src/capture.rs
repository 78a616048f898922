//! Contents of a capture file, read in the simplest way: the truth that answers are compared with.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use anyhow::{Context, ensure};
use xxhash_rust::xxh3::Xxh3;

/// The first bytes of a nanosecond pcap file, and of all of its records.
const MAGIC: [u8; 4] = 0xA1B2_3C4D_u32.to_le_bytes();
const FILE_HEADER_BYTES: usize = 24;
const RECORD_HEADER_BYTES: usize = 16;
const CAPLEN_MAX: usize = 1 << 18;

/// Two hosts and two ports, whichever belongs to which.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    hosts: [IpAddr; 2],
    ports: [u16; 2],
}

impl Key {
    /// Key of a frame of TCP or UDP in IPv4 without options or IPv6 without extension headers, in Ethernet.
    fn of(frame: &[u8]) -> Option<Self> {
        let host4 =
            |at: usize| Some(IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(frame.get(at..at + 4)?).ok()?)));
        let host6 =
            |at: usize| Some(IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(frame.get(at..at + 16)?).ok()?)));
        let (protocol, mut hosts, at) = match frame.get(12..15)? {
            [8, 0, 0x45] => (*frame.get(23)?, [host4(26)?, host4(30)?], 34),
            [0x86, 0xDD, _] => (*frame.get(20)?, [host6(22)?, host6(38)?], 54),
            _ => return None,
        };
        let port = |at: usize| Some(u16::from_be_bytes([*frame.get(at)?, *frame.get(at + 1)?]));
        let mut ports = [port(at)?, port(at + 2)?];
        hosts.sort_unstable();
        ports.sort_unstable();
        let is_told_apart = hosts[0] != hosts[1] && ports[0] != ports[1];
        (matches!(protocol, 6 | 17) && is_told_apart).then_some(Self { hosts, ports })
    }

    /// A number that identifies the key.
    fn number(&self) -> u64 {
        let mut hash = Xxh3::with_seed(1);
        for host in self.hosts {
            match host {
                IpAddr::V4(host) => hash.update(&host.octets()),
                IpAddr::V6(host) => hash.update(&host.octets()),
            }
        }
        self.ports.iter().for_each(|port| hash.update(&port.to_be_bytes()));
        hash.digest()
    }

    /// Filter for the packets of this key.
    pub fn filter(&self) -> String {
        let ([one, other], [port, and_port]) = (self.hosts, self.ports);
        format!("host {one} and host {other} and port {port} and port {and_port}")
    }
}

/// The packets of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conversation {
    /// Number of the key.
    pub number: u64,
    /// Number of packets.
    pub packets: u64,
    /// A hash of their records, in order.
    pub hash: u64,
}

/// The conversations that are queried.
pub struct Truth {
    /// All their packets.
    pub conversations: HashMap<Key, Conversation>,
    /// Packets of the file.
    pub packets: u64,
}

impl Truth {
    /// Reads a file, and keeps one of this many of its conversations.
    pub fn of(path: &Path, one_of: u64) -> anyhow::Result<Self> {
        let file = File::open(path).with_context(|| path.display().to_string())?;
        let mut records = Records::of(BufReader::with_capacity(1 << 20, file))?;
        let mut conversations: HashMap<Key, (u64, u64, Xxh3)> = HashMap::new();
        let mut packets = 0;
        while let Some(record) = records.next()? {
            packets += 1;
            let Some(key) = Key::of(&record[RECORD_HEADER_BYTES..]) else { continue };
            let number = key.number();
            if number.is_multiple_of(one_of) {
                let (_, count, hash) = conversations.entry(key).or_insert_with(|| (number, 0, Xxh3::new()));
                *count += 1;
                hash.update(record);
            }
        }
        let conversations = conversations.into_iter().map(|(key, (number, packets, hash))| {
            (key, Conversation { number, packets, hash: hash.digest() })
        });
        Ok(Self { conversations: conversations.collect(), packets })
    }
}

/// The packets of an answer, all of which must be of the conversation with this number.
pub fn conversation_of(answer: &[u8], number: u64) -> anyhow::Result<Conversation> {
    let mut records = Records::of(answer)?;
    let (mut packets, mut hash) = (0, Xxh3::new());
    while let Some(record) = records.next()? {
        let key = Key::of(&record[RECORD_HEADER_BYTES..]);
        ensure!(key.is_some_and(|key| key.number() == number), "a packet of {key:?}");
        packets += 1;
        hash.update(record);
    }
    Ok(Conversation { number, packets, hash: hash.digest() })
}

/// The records of a file, with their headers.
struct Records<R> {
    input: R,
    record: Vec<u8>,
}

impl<R: Read> Records<R> {
    fn of(mut input: R) -> anyhow::Result<Self> {
        let mut header = [0; FILE_HEADER_BYTES];
        input.read_exact(&mut header).context("a file's header")?;
        ensure!(header.starts_with(&MAGIC), "it is not a nanosecond pcap file of this machine's byte order");
        Ok(Self { input, record: Vec::new() })
    }

    fn next(&mut self) -> anyhow::Result<Option<&[u8]>> {
        self.record.resize(RECORD_HEADER_BYTES, 0);
        match self.input.read(&mut self.record[..1])? {
            0 => return Ok(None),
            _ => self.input.read_exact(&mut self.record[1..])?,
        }
        let mut caplen = [0; 4];
        caplen.copy_from_slice(&self.record[8..12]);
        let caplen = u32::from_le_bytes(caplen) as usize;
        ensure!(caplen <= CAPLEN_MAX, "a record of {caplen} bytes");
        self.record.resize(RECORD_HEADER_BYTES + caplen, 0);
        self.input.read_exact(&mut self.record[RECORD_HEADER_BYTES..])?;
        Ok(Some(&self.record))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_one_conversation_is_that_conversation() {
        let mut frame = vec![0; 12];
        frame.extend([8, 0, 0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, 0, 7, 0, 9]);
        let mut file = MAGIC.to_vec();
        file.resize(FILE_HEADER_BYTES, 0);
        for _ in 0..3 {
            file.extend([1, 0, 0, 0, 2, 0, 0, 0]);
            file.extend([frame.len() as u8, 0, 0, 0, frame.len() as u8, 0, 0, 0]);
            file.extend(&frame);
        }
        let key = Key::of(&frame).expect("a key");
        assert_eq!(key.filter(), "host 10.0.0.1 and host 10.0.0.2 and port 7 and port 9");
        let folder = std::env::temp_dir().join(format!("netrewind-load-{}", std::process::id()));
        std::fs::write(&folder, &file).expect("written");
        let truth = Truth::of(&folder, 1);
        std::fs::remove_file(&folder).expect("removed");
        let truth = truth.expect("a capture");
        let known = truth.conversations[&key];
        assert_eq!((truth.packets, known.packets), (3, 3));
        assert_eq!(conversation_of(&file, known.number).expect("an answer"), known);
        let short = &file[..file.len() - RECORD_HEADER_BYTES - frame.len()];
        assert_ne!(conversation_of(short, known.number).expect("an answer"), known);
        assert!(
            conversation_of(&file, known.number + 1).is_err()
                && conversation_of(&file[..90], known.number).is_err()
        );
    }
}
