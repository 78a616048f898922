//! Rings for the interfaces named on the command line, and the capture filter's program for each.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use netrewind_filter::{CompileLimits, FilterError, Program, RawInstruction, Workers};
use netrewind_recorder::source::SourceError;
use netrewind_recorder::source::packet_ring::{
    ANY, CaptureFilter, Claims, CompiledFilter, KernelMetadata, PacketRing, RingConfig, SockFilter,
    interface_names, number_of,
};
use netrewind_store::clock::Clock;
use netrewind_store::{LinkType, locked};

use super::super::query::own_workers;
use crate::broker::Broker;
use crate::outcome::Failure;
use crate::terminal;

/// Time before a capture filter without a program is compiled again.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);
/// Link types for which a capture filter is checked if the interface is not there yet: Ethernet, IP, 802.11.
const USUAL_LINK_TYPES: [LinkType; 3] = [LinkType::ETHERNET, LinkType::RAW, LinkType(127)];

/// Interfaces to record, and how.
pub(super) struct RingOptions<'a> {
    /// Their names, as given.
    pub(super) interfaces: &'a [String],
    pub(super) capture_filter: Option<&'a str>,
    /// Rings of each.
    pub(super) lanes: usize,
    pub(super) snaplen: u32,
    pub(super) is_promiscuous: bool,
    pub(super) use_hardware_timestamps: bool,
    /// Memory of each ring.
    pub(super) ring_bytes: u64,
}

impl RingOptions<'_> {
    /// Opens the rings of all interfaces; one that is not there is waited for.
    /// The broker opens them, if there is one.
    pub(super) fn open(
        &self,
        clock: &Arc<dyn Clock>,
        broker: Option<&Arc<Broker>>,
    ) -> Result<Vec<PacketRing>, Failure> {
        let filter =
            self.capture_filter.map(|expression| Arc::new(LazyCaptureFilter::new(expression, broker)));
        let claims = Claims::default();
        let mut rings = Vec::new();
        for interface in one_each(self.interfaces, |text| terminal::say(text)) {
            if let Some(filter) = &filter {
                filter.check(interface)?;
            }
            let mut config = self.ring(interface, filter.clone(), &claims);
            if let Some(broker) = broker {
                config.sockets = broker.clone();
            }
            let opened =
                PacketRing::open(&config, self.lanes, clock).map_err(|error| unopened(interface, error))?;
            if let Some(reason) = opened.first().and_then(PacketRing::waits_because) {
                terminal::say(format_args!("{reason}. Recording starts when it appears."));
            } else if self.use_hardware_timestamps
                && opened.iter().any(|ring| !ring.has_hardware_timestamps())
            {
                terminal::say(format_args!("{interface} has no hardware timestamps: the kernel's are used"));
            }
            rings.extend(opened);
        }
        // From now on a lane would wait with it.
        if let Some(filter) = filter {
            filter.may_wait.store(false, Ordering::Relaxed);
        }
        Ok(rings)
    }

    fn ring(&self, interface: &str, filter: Option<Arc<LazyCaptureFilter>>, claims: &Claims) -> RingConfig {
        let mut ring = RingConfig::new(interface);
        ring.snaplen = self.snaplen;
        ring.is_promiscuous = self.is_promiscuous;
        ring.use_hardware_timestamps = self.use_hardware_timestamps;
        ring.blocks = u32::try_from(self.ring_bytes / u64::from(ring.block_bytes)).unwrap_or(u32::MAX).max(2);
        ring.capture_filter = filter.map(|filter| filter as Arc<dyn CaptureFilter>);
        ring.claims = claims.clone();
        ring
    }
}

/// The interfaces, each once: one may be named twice, also by an alternative name, and `any` includes all. Every redundant name
/// is reported to `say`.
pub(super) fn one_each(named: &[String], say: impl Fn(std::fmt::Arguments<'_>)) -> Vec<&str> {
    let mut kept: Vec<(&str, Option<u32>)> = Vec::new();
    for name in named {
        let number = number_of(name);
        let same = kept.iter().find(|(other, known)| other == name || (number.is_some() && *known == number));
        match same {
            Some((other, _)) if other == name => {
                say(format_args!("--interface {name} is given twice: it is recorded once"));
            }
            Some((other, _)) => say(format_args!(
                "--interface {name} is the same as {other}: it is recorded once, as {other}"
            )),
            None if name != ANY && named.iter().any(|other| other == ANY) => {
                say(format_args!("--interface {name} is included in {ANY}: it is recorded once, as {ANY}"));
            }
            None => kept.push((name, number)),
        }
    }
    kept.into_iter().map(|(name, _)| name).collect()
}

/// Adds the remedy, with this program's own path, if the privilege to capture is missing.
fn unopened(interface: &str, error: SourceError) -> Failure {
    match &error {
        SourceError::System { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied => {
            let program = std::env::current_exe().unwrap_or_else(|_| "netrewind".into());
            Failure::Failed(anyhow::anyhow!(
                "{interface}: capturing needs the capability CAP_NET_RAW: run it with sudo, or run once: sudo setcap cap_net_raw+ep {}",
                program.display()
            ))
        }
        _ => error.into(),
    }
}

/// A capture filter, compiled for each link type when first needed; while recording on a separate thread: a lane does not wait for it.
struct LazyCaptureFilter {
    expression: String,
    limits: CompileLimits,
    programs: Arc<Programs>,
    /// True before recording begins, when waiting delays no packets.
    may_wait: AtomicBool,
}

/// Results of compiling, by link type; `None` while it is under way.
#[derive(Default)]
struct Programs {
    made: Mutex<HashMap<LinkType, Option<Compilation>>>,
    is_new: Condvar,
}

#[derive(Clone)]
enum Compilation {
    Program(Arc<CaptureProgram>),
    Refused { error: Arc<FilterError>, at: Instant },
}

/// A program in the forms that the kernel and the recorder run.
struct CaptureProgram {
    instructions: Vec<SockFilter>,
    program: Program,
}

impl LazyCaptureFilter {
    /// Whoever has a broker may not open interfaces any more when it compiles: the broker's compilers do.
    fn new(expression: &str, broker: Option<&Arc<Broker>>) -> Self {
        let limits = match broker {
            Some(broker) => CompileLimits {
                worker: Some(broker.live_workers()),
                in_process_tokens_max: 0,
                ..CompileLimits::default()
            },
            None => CompileLimits { worker: own_workers(), ..CompileLimits::default() },
        };
        let programs = Arc::default();
        Self { expression: expression.to_owned(), limits, programs, may_wait: AtomicBool::new(true) }
    }

    /// Refuses a filter that can never have a program. For an interface that is not there, the usual link types are tried.
    fn check(&self, interface: &str) -> Result<(), Failure> {
        let usual = &USUAL_LINK_TYPES[..];
        let Some(link_type) = PacketRing::link_type_at(interface) else { return self.check_for(usual) };
        self.begin(interface, link_type);
        match self.wait(link_type) {
            Some(Compilation::Refused { error, .. }) if !is_passing(&error) => Err(Failure::usage(error)),
            Some(Compilation::Refused { .. }) => self.check_for(&[link_type]),
            _ => Ok(()),
        }
    }

    fn check_for(&self, link_types: &[LinkType]) -> Result<(), Failure> {
        let check = |link_type: &LinkType| {
            netrewind_filter::check_for_socket(&self.expression, *link_type, &self.limits)
        };
        let mut first = None;
        for link_type in link_types {
            match check(link_type) {
                Ok(()) => return Ok(()),
                Err(error) => first = first.or(Some(error)),
            }
        }
        first.map_or(Ok(()), |error| Err(Failure::usage(error)))
    }

    /// Starts compiling, unless that is done or under way; returns the result so far.
    fn begin(&self, interface: &str, link_type: LinkType) -> Option<Compilation> {
        let mut made = locked(&self.programs.made);
        match made.get(&link_type) {
            Some(Some(Compilation::Refused { at, .. })) if at.elapsed() >= RETRY_INTERVAL => {}
            Some(known) => return known.clone(),
            None => {}
        }
        made.insert(link_type, None);
        drop(made);
        let (expression, limits) = (self.expression.clone(), self.limits.clone());
        let (interface, programs) = (interface.to_owned(), Arc::clone(&self.programs));
        let compile = move || {
            let program = compile(&expression, link_type, &interface, &limits);
            programs.note(link_type, program);
        };
        if self.may_wait.load(Ordering::Relaxed) {
            compile();
            return None;
        }
        if let Err(source) = std::thread::Builder::new().name("capture-filter".into()).spawn(compile) {
            let worker = self.limits.worker.as_ref().map(Workers::program).unwrap_or_default();
            self.programs.note(link_type, Err(FilterError::Worker { worker, source }));
        }
        None
    }

    /// Waits for the result, however long that takes.
    fn wait(&self, link_type: LinkType) -> Option<Compilation> {
        let made = locked(&self.programs.made);
        let is_under_way = |made: &mut HashMap<_, _>| matches!(made.get(&link_type), Some(None));
        let made =
            self.programs.is_new.wait_while(made, is_under_way).unwrap_or_else(PoisonError::into_inner);
        made.get(&link_type).cloned().flatten()
    }
}

impl Programs {
    fn note(&self, link_type: LinkType, program: Result<CaptureProgram, FilterError>) {
        let made = match program {
            Ok(program) => Compilation::Program(Arc::new(program)),
            Err(error) => Compilation::Refused { error: Arc::new(error), at: Instant::now() },
        };
        locked(&self.made).insert(link_type, Some(made));
        self.is_new.notify_all();
    }
}

/// True if another attempt may succeed.
fn is_passing(error: &FilterError) -> bool {
    matches!(error, FilterError::NoHandle { .. } | FilterError::Worker { .. })
}

/// Compiles the filter as libpcap does on a live handle: of this interface, or of another of its kind.
fn compile(
    expression: &str,
    link_type: LinkType,
    interface: &str,
    limits: &CompileLimits,
) -> Result<CaptureProgram, FilterError> {
    let others = interface_names().into_iter().filter(|name| name != interface);
    let interfaces: Vec<String> = std::iter::once(interface.to_owned()).chain(others).collect();
    let raw = netrewind_filter::compile_for_socket(expression, link_type, &interfaces, limits)?;
    let plain = |&RawInstruction { code, jt, jf, k }: &RawInstruction| (code, jt, jf, k);
    Ok(CaptureProgram {
        instructions: raw.iter().map(plain).collect(),
        program: Program::decode(link_type, &raw)?,
    })
}

impl CaptureFilter for LazyCaptureFilter {
    fn compiled(
        &self,
        interface: &str,
        link_type: LinkType,
    ) -> Result<Option<Arc<dyn CompiledFilter>>, String> {
        let mut made = self.begin(interface, link_type);
        if made.is_none() && self.may_wait.load(Ordering::Relaxed) {
            made = self.wait(link_type);
        }
        match made {
            Some(Compilation::Program(program)) => Ok(Some(program)),
            Some(Compilation::Refused { error, .. }) => Err(error.to_string()),
            None => Ok(None),
        }
    }
}

impl CompiledFilter for CaptureProgram {
    fn program(&self) -> &[SockFilter] {
        &self.instructions
    }

    fn accepts(&self, packet: &[u8], wire_len: u32, metadata: &KernelMetadata) -> bool {
        let KernelMetadata { protocol, packet_type, interface, hardware_type, tag } = *metadata;
        let ancillary =
            netrewind_filter::AncillaryData { protocol, packet_type, interface, hardware_type, tag };
        self.program.accepts_live(packet, wire_len, &ancillary)
    }
}
