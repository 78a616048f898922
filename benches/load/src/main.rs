//! Many clients at once, each of whom asks a service for one conversation after another and checks what it gets against
//! the capture file that was imported.

mod capture;
mod connection;
mod process;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use clap::Parser;

use capture::{Conversation, Truth};
use connection::{Answer, Connection};
use process::Usage;

/// Pause of a client that was told to come again later.
const BUSY_PAUSE: Duration = Duration::from_millis(100);
/// Status of a service that has reached its limit of simultaneous queries (RFC 6585).
const BUSY: u16 = 429;
/// Status of a service that keeps nothing of what the query asks for.
const NOT_KEPT: u16 = 404;
/// Time in which a recorder must have packets, and pause between two queries for them.
const FIRST_PACKET_WITHIN: Duration = Duration::from_secs(30);
const FIRST_PACKET_PAUSE: Duration = Duration::from_millis(100);
/// Limit on the mistakes that are printed in full.
const TOLD_MAX: usize = 5;

/// Asks a service for conversations, many at once, and checks every answer
#[derive(Parser)]
struct Arguments {
    /// Address and port of the service
    server: SocketAddr,
    /// A nanosecond pcap file of Ethernet: the conversations that are asked for
    capture: PathBuf,
    /// Clients that ask at once, each on a connection of its own
    #[arg(long, default_value_t = 200)]
    clients: usize,
    /// Duration
    #[arg(long, default_value_t = 30)]
    seconds: u64,
    /// Ask for one in this many conversations
    #[arg(long, default_value_t = 500)]
    one_of: u64,
    /// The process of the service: its memory, threads and files are shown
    #[arg(long)]
    pid: Option<u32>,
    /// The store holds the capture's packets at other times or more than once: answers are checked for what is in them
    #[arg(long)]
    live: bool,
    /// Seed of the order in which conversations are asked for
    #[arg(long, default_value_t = 7)]
    seed: u64,
}

/// Counts and latencies of a client.
#[derive(Default)]
struct Seen {
    latencies: Vec<Duration>,
    bytes: u64,
    packets: u64,
    busy: u64,
    wrong: Vec<String>,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let truth = Truth::of(&arguments.capture, arguments.one_of)?;
    ensure!(!truth.conversations.is_empty(), "no conversation was chosen: lower --one-of");
    let conversations: Vec<(String, Conversation)> =
        truth.conversations.iter().map(|(key, known)| (target(&key.filter()), *known)).collect();
    say(&format!("conversations={} of {} packets", conversations.len(), truth.packets));
    let usage = |when: &str| -> anyhow::Result<()> {
        arguments.pid.map_or(Ok(()), |pid| {
            say(&format!("server {when}: {}", Usage::of(pid)?));
            Ok(())
        })
    };
    if arguments.live {
        wait_for_packets(arguments.server)?;
    }
    usage("before")?;
    let begun = Instant::now();
    let until = begun + Duration::from_secs(arguments.seconds);
    let mut seen = Seen::default();
    std::thread::scope(|scope| -> anyhow::Result<()> {
        let client = |number: usize| Client {
            conversations: &conversations,
            arguments: &arguments,
            chance: fastrand::Rng::with_seed(arguments.seed + number as u64),
        };
        let clients: Vec<_> = (0..arguments.clients)
            .map(|number| scope.spawn(move || client(number).ask_until(until)))
            .collect();
        std::thread::sleep(until.saturating_duration_since(Instant::now()) / 2);
        usage("amid")?;
        for client in clients {
            seen.join(client.join().map_err(|_| anyhow::anyhow!("a client panicked"))??);
        }
        Ok(())
    })?;
    seen.tell(begun.elapsed());
    usage("after")?;
    if arguments.pid.is_some() {
        // Threads that are idle are kept for ten seconds.
        std::thread::sleep(Duration::from_secs(12));
        usage("later")?;
    }
    ensure!(seen.wrong.is_empty(), "{} answers were wrong", seen.wrong.len());
    Ok(())
}

/// Waits until a recorder that has just been started has committed its first packets.
fn wait_for_packets(server: SocketAddr) -> anyhow::Result<()> {
    let until = Instant::now() + FIRST_PACKET_WITHIN;
    loop {
        // It may not listen yet either.
        let status = Connection::open(server)
            .and_then(|mut connection| connection.get("/api/v1/packets?max_packets=1"));
        match status {
            Ok(answer) if answer.status == 200 && packets_of(&answer)? > 0 => return Ok(()),
            Ok(answer) if ![200, NOT_KEPT, BUSY].contains(&answer.status) => {
                bail!("status {}: {}", answer.status, String::from_utf8_lossy(&answer.body));
            }
            Err(error) if Instant::now() > until => return Err(error),
            _ => ensure!(Instant::now() < until, "nothing was recorded within {FIRST_PACKET_WITHIN:?}"),
        }
        std::thread::sleep(FIRST_PACKET_PAUSE);
    }
}

fn account_of(answer: &Answer) -> anyhow::Result<serde_json::Value> {
    let account = answer.account.as_deref().context("it has no account: it broke off")?;
    Ok(serde_json::from_str(account)?)
}

fn packets_of(answer: &Answer) -> anyhow::Result<u64> {
    account_of(answer)?["packets"].as_u64().context("an account without packets")
}

fn target(filter: &str) -> String {
    let query = form_urlencoded::Serializer::new(String::new()).append_pair("filter", filter).finish();
    format!("/api/v1/packets?{query}")
}

struct Client<'a> {
    conversations: &'a [(String, Conversation)],
    arguments: &'a Arguments,
    chance: fastrand::Rng,
}

impl Client<'_> {
    fn ask_until(mut self, until: Instant) -> anyhow::Result<Seen> {
        let mut seen = Seen::default();
        let mut connection = Connection::open(self.arguments.server)?;
        while Instant::now() < until {
            let number = self.chance.usize(..self.conversations.len());
            let (target, known) = &self.conversations[number];
            let asked = Instant::now();
            let answer = match connection.get(target) {
                Ok(answer) => answer,
                Err(error) => {
                    seen.wrong.push(format!("{target}: {error:#}"));
                    connection = Connection::open(self.arguments.server)?;
                    continue;
                }
            };
            if answer.status == BUSY {
                seen.busy += 1;
                std::thread::sleep(BUSY_PAUSE);
                continue;
            }
            seen.latencies.push(asked.elapsed());
            seen.bytes += answer.body.len() as u64;
            match self.check(&answer, known) {
                Ok(packets) => seen.packets += packets,
                Err(error) => seen.wrong.push(format!("{target}: {error:#}")),
            }
        }
        Ok(seen)
    }

    /// Checks an answer; returns its packets.
    fn check(&self, answer: &Answer, known: &Conversation) -> anyhow::Result<u64> {
        ensure!(answer.status == 200, "status {}: {}", answer.status, String::from_utf8_lossy(&answer.body));
        let (account, packets) = (account_of(answer)?, packets_of(answer)?);
        ensure!(self.arguments.live || account["complete"] == true, "it is not complete: {account}");
        let found = capture::conversation_of(&answer.body, known.number)?;
        ensure!(found.packets == packets, "{} packets, of {packets} in its account", found.packets);
        if !self.arguments.live && found != *known {
            bail!("{found:?} is not {known:?}");
        }
        Ok(packets)
    }
}

impl Seen {
    fn join(&mut self, other: Self) {
        self.latencies.extend(other.latencies);
        self.bytes += other.bytes;
        self.packets += other.packets;
        self.busy += other.busy;
        self.wrong.extend(other.wrong);
    }

    fn tell(&mut self, took: Duration) {
        self.latencies.sort_unstable();
        let count = self.latencies.len();
        let at = |share: f64| {
            let place = ((count as f64 * share).ceil() as usize).clamp(1, count.max(1)) - 1;
            self.latencies.get(place).map_or(0.0, |latency| latency.as_secs_f64() * 1e3)
        };
        let (p50, p99, worst) = (at(0.5), at(0.99), at(1.0));
        say(&format!(
            "requests={count} per_s={:.0} p50_ms={p50:.1} p99_ms={p99:.1} worst_ms={worst:.1} bytes={} packets={} busy={} wrong={}",
            count as f64 / took.as_secs_f64(),
            self.bytes,
            self.packets,
            self.busy,
            self.wrong.len()
        ));
        let kinds: BTreeMap<&String, ()> = self.wrong.iter().map(|text| (text, ())).collect();
        kinds.keys().take(TOLD_MAX).for_each(|text| say(&format!("wrong: {text}")));
    }
}

#[expect(clippy::print_stdout, reason = "what was measured is what this program is for")]
fn say(line: &str) {
    println!("{line}");
}
