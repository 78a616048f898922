//! Synthetic traffic: the same work for every measurement and, in small, for tests.
//!
//! A workload is a set of conversations that are alive at the same time, each with a number of packets drawn from a heavy
//! tail; packets are drawn from them in bursts. Clients are in 10.0.0.0/8 (and 2001:db8::/32), servers anywhere. The same
//! workload and seed always make the same packets.

mod frame;
mod wrapping;

use std::num::TryFromIntError;

use fastrand::Rng;
use netrewind_store::RecordHeader;
use netrewind_store::time::SECOND_NS;

/// Header of the record of a whole frame that arrived at an instant, in nanoseconds since 1970.
pub fn record_header(at_ns: u64, frame: &[u8]) -> Result<RecordHeader, TryFromIntError> {
    let length = u32::try_from(frame.len())?;
    Ok(RecordHeader {
        seconds: u32::try_from(at_ns / SECOND_NS)?,
        nanoseconds: u32::try_from(at_ns % SECOND_NS)?,
        caplen: length,
        len: length,
    })
}

/// Characteristics of the traffic.
#[derive(Clone, Copy, Debug)]
pub struct Workload {
    /// Name of the workload.
    pub name: &'static str,
    /// Traffic that it models.
    pub about: &'static str,
    /// Conversations alive at the same time.
    alive: usize,
    /// Mean of the distribution that a conversation's packets are drawn from.
    mean_packets: f64,
    /// Packets of one conversation in a row, on average.
    burst: u32,
    /// Frame sizes in bytes, with weights that add up to 100.
    sizes: &'static [(u32, usize)],
    /// VXLAN networks that carry the packets; 0 sends the frames without a tunnel.
    networks: u32,
    /// Number of clients and of servers, some of them far busier than most; `None` for random addresses, no two alike.
    hosts: Option<(u32, u32)>,
}

const IMIX_SIZES: &[(u32, usize)] = &[(42, 60), (8, 120), (10, 576), (40, 1514)];
const CAMPUS_SIZES: &[(u32, usize)] = &[(30, 66), (10, 200), (6, 900), (54, 1460)];

/// All workloads.
pub const WORKLOADS: &[Workload] = &[
    Workload {
        name: "imix",
        about: "700 B mean, 10 packets a conversation, 5,000 alive: many short, fully interleaved flows",
        alive: 5_000,
        mean_packets: 10.0,
        burst: 1,
        sizes: IMIX_SIZES,
        networks: 0,
        hosts: None,
    },
    Workload {
        name: "vxlan",
        about: "the very frames of imix, each in VXLAN, in 8 virtual networks: 50 B more each",
        alive: 5_000,
        mean_packets: 10.0,
        burst: 1,
        sizes: IMIX_SIZES,
        networks: 8,
        hosts: None,
    },
    Workload {
        name: "campus",
        about: "880 B mean, 78 packets a conversation in the long run, 20,000 alive, bursty",
        alive: 20_000,
        mean_packets: 78.6,
        burst: 4,
        sizes: CAMPUS_SIZES,
        networks: 0,
        hosts: None,
    },
    Workload {
        name: "million",
        about: "as campus, 1,000,000 alive: the flow table falls out of the cache",
        alive: 1_000_000,
        mean_packets: 78.6,
        burst: 4,
        sizes: CAMPUS_SIZES,
        networks: 0,
        hosts: None,
    },
    Workload {
        name: "synflood",
        about: "60 B, one packet a flow: the worst case of an index",
        alive: 1,
        mean_packets: 1.0,
        burst: 1,
        sizes: &[(100, 60)],
        networks: 0,
        hosts: None,
    },
    Workload {
        name: "small",
        about: "60 B, 78 packets a conversation: the worst case of a capture path",
        alive: 20_000,
        mean_packets: 78.6,
        burst: 4,
        sizes: &[(100, 60)],
        networks: 0,
        hosts: None,
    },
    Workload {
        name: "full",
        about: "1514 B, 78 packets a conversation",
        alive: 20_000,
        mean_packets: 78.6,
        burst: 4,
        sizes: &[(100, 1514)],
        networks: 0,
        hosts: None,
    },
    Workload {
        name: "cloud",
        about: "110 B mean, 6 packets a conversation, 20,000 alive, between 2,000 instances and 20,000 servers: many flows",
        alive: 20_000,
        mean_packets: 6.0,
        burst: 1,
        sizes: &[(60, 66), (30, 120), (10, 350)],
        networks: 0,
        hosts: Some((2_000, 20_000)),
    },
];

/// The shape of the tail: most conversations are short, a few are very long.
const PARETO_ALPHA: f64 = 1.2;
const CONVERSATION_PACKETS_MAX: f64 = 1e6;
/// One conversation in this many is IPv6.
const IPV6_ONE_IN: u32 = 16;
/// One packet in this many carries an 802.1Q tag.
const TAGGED_ONE_IN: u64 = 64;
/// Percentage of packets that go from client to server.
const FORWARD_PERCENT: u32 = 45;
const SERVER_PORTS: [u16; 10] = [443, 443, 443, 443, 80, 53, 22, 8080, 3306, 123];

#[derive(Clone, Debug)]
struct Conversation {
    client: u32,
    server: u32,
    client_port: u16,
    server_port: u16,
    ipv6: bool,
    packets_left: u32,
    sequence: u32,
    begun: bool,
}

impl Conversation {
    fn draw(rng: &mut Rng, workload: &Workload) -> Self {
        let mean_packets = workload.mean_packets;
        let packets = if mean_packets <= 1.0 {
            1.0
        } else {
            let least = mean_packets * (PARETO_ALPHA - 1.0) / PARETO_ALPHA;
            (least / (1.0 - rng.f64()).powf(1.0 / PARETO_ALPHA)).clamp(1.0, CONVERSATION_PACKETS_MAX)
        };
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped above")]
        let packets_left = packets as u32;
        let (client, server) = match workload.hosts {
            None => (rng.u32(..1 << 24), rng.u32(..)),
            Some((clients, servers)) => (busy(rng, clients), spread(busy(rng, servers))),
        };
        Self {
            client: 0x0a00_0000 | client,
            server,
            client_port: rng.u16(1024..65_024),
            server_port: SERVER_PORTS[rng.usize(..SERVER_PORTS.len())],
            ipv6: rng.u32(..IPV6_ONE_IN) == 0,
            packets_left,
            sequence: rng.u32(..),
            begun: false,
        }
    }

    fn is_udp(&self) -> bool {
        matches!(self.server_port, 53 | 123)
    }
}

/// A number below `count`, low ones by far the most often.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "below the count")]
fn busy(rng: &mut Rng, count: u32) -> u32 {
    (f64::from(count) * rng.f64().powi(3)) as u32
}

/// The address of a server: consecutive numbers are far apart.
fn spread(number: u32) -> u32 {
    0x2000_0000 | number.wrapping_mul(0x9e37_79b1) >> 3
}

/// An endless stream of Ethernet frames.
#[derive(Debug)]
pub struct Frames {
    workload: Workload,
    rng: Rng,
    conversations: Vec<Conversation>,
    current: usize,
    run_left: u32,
    count: u64,
    frame: Vec<u8>,
    packet: Vec<u8>,
    payload: Vec<u8>,
}

impl Workload {
    /// The workload of a name that somebody chose; the error lists the names.
    pub fn chosen(name: &str) -> Result<Self, String> {
        let names: Vec<_> = WORKLOADS.iter().map(|workload| workload.name).collect();
        Self::named(name).ok_or_else(|| format!("{name:?} is none of {}", names.join(", ")))
    }

    /// The workload of this name.
    pub fn named(name: &str) -> Option<Self> {
        WORKLOADS.iter().copied().find(|workload| workload.name == name)
    }

    /// The same kind of traffic with another number of simultaneous conversations.
    pub fn with_alive(self, alive: usize) -> Self {
        Self { alive, ..self }
    }

    /// Its frames; the same seed makes the same ones.
    pub fn frames(self, seed: u64) -> Frames {
        let mut rng = Rng::with_seed(seed);
        let conversations = (0..self.alive).map(|_| Conversation::draw(&mut rng, &self)).collect();
        let payload = (0..frame::PAYLOAD_BYTES).map(|_| rng.u8(..)).collect();
        Frames {
            workload: self,
            rng,
            conversations,
            current: 0,
            run_left: 0,
            count: 0,
            frame: Vec::new(),
            packet: Vec::new(),
            payload,
        }
    }
}

impl Frames {
    /// The next frame; valid until the next call.
    pub fn next_frame(&mut self) -> &[u8] {
        if self.run_left == 0 {
            self.current = self.rng.usize(..self.conversations.len());
            self.run_left = self.rng.u32(1..2 * self.workload.burst);
        }
        self.run_left -= 1;
        self.count += 1;
        let size = self.draw_size();
        let conversation = &mut self.conversations[self.current];
        let forward = !conversation.begun || self.rng.u32(..100) < FORWARD_PERCENT;
        let shape = frame::Shape {
            forward,
            tagged: self.count.is_multiple_of(TAGGED_ONE_IN),
            size,
            identification: self.count,
        };
        frame::write(&mut self.frame, conversation, &shape, &self.payload);
        let (client, flow) = (conversation.client, conversation.client_port);
        conversation.begun = true;
        conversation.packets_left -= 1;
        if conversation.packets_left == 0 {
            *conversation = Conversation::draw(&mut self.rng, &self.workload);
            self.run_left = 0;
        }
        match client.checked_rem(self.workload.networks) {
            None => &self.frame,
            Some(network) => {
                wrapping::wrap(&mut self.packet, network, flow, &self.frame);
                &self.packet
            }
        }
    }

    fn draw_size(&mut self) -> usize {
        let mut pick = self.rng.u32(..100);
        for &(weight, size) in self.workload.sizes {
            if pick < weight {
                return size;
            }
            pick -= weight;
        }
        self.workload.sizes[0].1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vxlan_carries_what_imix_sends() {
        let named = |name| Workload::named(name).unwrap();
        let (mut plain, mut wrapped) = (named("imix").frames(7), named("vxlan").frames(7));
        let mut networks = std::collections::BTreeSet::new();
        for _ in 0..1000 {
            let packet = wrapped.next_frame();
            networks.insert(packet[46..49].to_vec());
            assert_eq!(&packet[50..], plain.next_frame());
        }
        assert_eq!(networks.len(), 8);
    }

    #[test]
    fn the_same_seed_makes_the_same_frames() {
        for workload in WORKLOADS.iter().filter(|workload| workload.name != "million") {
            let (mut one, mut two, mut other) = (workload.frames(7), workload.frames(7), workload.frames(8));
            let mut differ = false;
            for _ in 0..1000 {
                let frame = one.next_frame();
                assert_eq!(frame, two.next_frame());
                differ |= frame != other.next_frame();
            }
            assert!(differ);
        }
    }
}
