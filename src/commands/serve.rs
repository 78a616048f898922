//! `netrewind serve`: the extractor over HTTP.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::FromArgMatches;
use netrewind_cases::SignerKey;
use netrewind_extractor::{ANSWERS_BYTES_MAX, Extractor, Options};
use netrewind_http::access::Admission;
use netrewind_http::audit::{Audit, AuditFile, AuditPaths};
use netrewind_http::dissector::Dissector;
use netrewind_http::geoip::GeoDatabase;
use netrewind_http::metrics::ProcessMeter;
use netrewind_http::tls::TlsFiles;
use netrewind_http::{Server, Service, ServiceLimits, router};
use netrewind_store::Store;
use netrewind_store::clock::{Clock, SystemClock};
use netrewind_store::store::CaseFiles;

use super::access::AccessArguments;
use super::archived::{ArchivedRecorders, PreparedStore, ServedStores, StoredArguments};
use super::dissect_packet::own_dissector;
use super::keys;
use super::query::{options, own_workers};
use crate::arguments::{ListenAddress, listen_address};
use crate::broker::{Broker, BrokerRights};
use crate::config::reload::RunningSettings;
use crate::config::{ConfigArgument, Settings};
use crate::confine::{self, Calls, KeptCapabilities, Walls};
use crate::manager::Manager;
use crate::outcome::{Failure, Outcome};
use crate::process_meter::OwnProcess;
use crate::sharing::SharingArguments;
use crate::signals::Requests;
use crate::{arguments, logs, machine, terminal, version};

/// Interval between two checks for signals.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

const EXAMPLES: &str = "\
Examples:
  netrewind serve --store /data/nr
  curl -fOJ 'http://127.0.0.1:8640/api/v1/packets?from=5m+ago&filter=icmp'
  curl 'http://127.0.0.1:8640/api/v1/packets/count?from=2h+ago&filter=icmp'

  netrewind serve --archive s3://packets/office --no-audit       # several recorders: each below /recorders/ID/

  netrewind serve --store /data/nr --listen 0.0.0.0:8640 --tls-cert cert.pem --tls-key key.pem --tokens tokens.toml
  curl --cacert cert.pem -H 'Authorization: Bearer nrw_...' -fOJ 'https://nr.example:8640/api/v1/packets?from=5m+ago'

Without tokens it answers this machine only, on a loopback address. See: netrewind token --help.
The API is described by http://127.0.0.1:8640/openapi.json. Ctrl-C (or SIGTERM, or SIGHUP when the terminal goes) lets
running answers end. Without a terminal SIGHUP reads the file of settings again; tokens and certificates are read again when they change.";

/// Arguments of `netrewind serve`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct ServeArguments {
    #[command(flatten)]
    config: ConfigArgument,
    #[command(flatten)]
    stored: StoredArguments,
    #[command(flatten)]
    serving: ServingArguments,
}

/// Settings for serving a store.
#[derive(Debug, clap::Args)]
pub struct ServingArguments {
    /// Address and port to listen on; may be given several times
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8640", value_parser = listen_address)]
    listen: Vec<ListenAddress>,
    /// GeoIP database with locations, such as GeoLite2 City, for the world map of the page; reloaded when it changes
    #[arg(long, value_name = "FILE.mmdb")]
    geoip: Option<PathBuf>,
    /// Memory for the totals of all answers together; when it is used up, answers wait for each other
    /// [default: a quarter of the memory, at most 512MiB]
    #[arg(long, value_name = "SIZE", value_parser = arguments::bytes)]
    answer_memory: Option<u64>,
    /// Sign the manifests of downloads and of held packets with this private key (Ed25519, PKCS#8 PEM)
    #[arg(long = "sign", value_name = "KEY.pem")]
    sign_manifests: Option<PathBuf>,
    /// Take packets apart by Wireshark's sharkd, for the page's packet panel: a confined process for each
    #[arg(long, value_name = "PATH", num_args = 0..=1, default_missing_value = DEFAULT_SHARKD)]
    sharkd: Option<PathBuf>,
    /// Answer language models at /mcp as well (Model Context Protocol, read-only): they see what the token of their requests may see
    #[arg(long)]
    mcp: bool,
    /// Levels of what is logged: error, warn, info, debug or trace, and PART=LEVEL for a part
    #[arg(long, value_name = "LEVELS", env = "NETREWIND_LOG", hide_env_values = true, default_value = logs::DEFAULT_LEVELS,
        value_parser = logs::levels)]
    log: String,
    #[command(flatten)]
    access: AccessArguments,
}

/// Where Debian's package tshark has it, and others.
const DEFAULT_SHARKD: &str = "/usr/bin/sharkd";
/// Divisor of the memory that gives the default for answers: recording needs the rest.
const ANSWERS_MEMORY_DIVISOR: u64 = 4;

impl ServingArguments {
    /// Starts writing the log.
    pub fn start_logs(&self) {
        logs::start(&self.log);
    }

    /// Takes over the settings that change while it serves.
    pub fn follow(&self) -> Result<(), Failure> {
        logs::set_levels(&self.log)
    }

    /// What would be found wrong once serving began, in words; no port is opened.
    pub fn faults(&self) -> Vec<String> {
        let access = &self.access;
        let addresses = self.listen.iter().flat_map(|listening| listening.addresses());
        let exposed = addresses.filter_map(|address| access.check(address).err());
        let admission = access.admission(SystemClock::new().now()).err();
        let database = self.geoip.as_deref().map(GeoDatabase::open).transpose().map_err(Failure::usage).err();
        let signer = self.signer().err().or_else(|| self.sharkd().err());
        let failures = exposed.chain(admission).chain(access.tls().err()).chain(database).chain(signer);
        failures.map(|failure| failure.text()).collect()
    }

    /// The program that takes packets apart, by its whole path.
    fn sharkd(&self) -> Result<Option<PathBuf>, Failure> {
        let Some(path) = &self.sharkd else { return Ok(None) };
        let found = path.canonicalize().and_then(|found| {
            rustix::fs::access(&found, rustix::fs::Access::EXEC_OK)?;
            Ok(found)
        });
        found.map(Some).map_err(|error| {
            let path = path.display();
            Failure::usage(format!(
                "--sharkd {path}: {error} (Debian's package tshark has it; --sharkd PATH names another place)"
            ))
        })
    }

    /// The key that signs manifests.
    fn signer(&self) -> Result<Option<SignerKey>, Failure> {
        let key = self.sign_manifests.as_deref().map(keys::signer).transpose();
        key.map_err(|failure| Failure::usage(format!("--sign {}", failure.text())))
    }

    /// Sockets for requests. For `localhost` one protocol is enough: not every machine has IPv6.
    fn listeners(&self) -> Result<Vec<TcpListener>, Failure> {
        let mut listeners = Vec::new();
        for listening in &self.listen {
            let addresses = listening.addresses();
            let bound = listen(addresses[0])?;
            listeners.push(bound);
            listeners.extend(addresses[1..].iter().filter_map(|&address| listen(address).ok()));
        }
        Ok(listeners)
    }

    /// Opens everything that the service needs besides the store. No thread is started. Of a store that is only read, the broker
    /// opens the audit.
    pub fn prepare(&self, store: Option<&Store>) -> Result<PreparedService<'_>, Failure> {
        let access = &self.access;
        let mut addresses = self.listen.iter().flat_map(|listening| listening.addresses());
        addresses.try_for_each(|address| access.check(address))?;
        let clock = Arc::new(SystemClock::new());
        let (admission, tls) = (access.admission(clock.now())?, access.tls()?);
        let database = self.geoip.as_deref().map(GeoDatabase::open).transpose().map_err(Failure::usage)?;
        let (signer, sharkd) = (self.signer()?, self.sharkd()?);
        let dissector;
        let listeners = self.listeners()?;
        let mut audit = access.audit_beside()?;
        let answers_bytes_max = self.answer_memory.unwrap_or_else(|| {
            let share = machine::memory_bytes().map(|bytes| bytes / ANSWERS_MEMORY_DIVISOR);
            share.unwrap_or(ANSWERS_BYTES_MAX).min(ANSWERS_BYTES_MAX)
        });
        let workers = if confine::is_on() {
            let paths = store.filter(|_| access.is_audited_in_store()).map(AuditPaths::in_store);
            let rights = BrokerRights {
                audit: paths.iter().flat_map(AuditPaths::paths).cloned().collect(),
                sharkd: sharkd.clone(),
                ..BrokerRights::default()
            };
            let broker = Broker::start(rights)?;
            if let Some(paths) = paths {
                let opened = AuditFile::open(broker.audit(paths));
                audit = Some(opened.map_err(|error| Failure::Failed(error.into()))?);
            }
            dissector = sharkd.map(|_| broker.dissector());
            Some(broker.workers())
        } else {
            dissector = sharkd.and_then(own_dissector);
            own_workers()
        };
        let options = Options { answers_bytes_max, ..options(workers) };
        let process = OwnProcess::meter(clock.now().wall);
        Ok(PreparedService {
            arguments: self,
            clock,
            admission,
            tls,
            database,
            signer,
            dissector,
            listeners,
            audit,
            options,
            process,
            holds_refused: None,
        })
    }
}

/// A service that is ready but for its store.
pub struct PreparedService<'a> {
    arguments: &'a ServingArguments,
    clock: Arc<SystemClock>,
    admission: Admission,
    tls: Option<TlsFiles>,
    database: Option<GeoDatabase>,
    signer: Option<SignerKey>,
    dissector: Option<Dissector>,
    listeners: Vec<TcpListener>,
    audit: Option<AuditFile>,
    options: Options,
    process: Option<Arc<dyn ProcessMeter>>,
    holds_refused: Option<&'static str>,
}

impl PreparedService<'_> {
    /// Refuses to make and release holds, for this reason.
    fn refusing_holds(self, reason: Option<&'static str>) -> Self {
        Self { holds_refused: reason, ..self }
    }

    /// What the service needs once it runs, besides the store.
    pub fn walls(&self, walls: Walls) -> Walls {
        let ServingArguments { geoip, access, .. } = self.arguments;
        let read = geoip.iter().map(PathBuf::as_path).chain(access.files());
        let walls = read.fold(walls, Walls::reading_anew).calling(Calls::with_local_sockets);
        let walls = walls.connecting(access.ports());
        access.audit_folder().iter().fold(walls, |walls, folder| walls.logging_in(folder))
    }

    /// Starts serving the store.
    pub fn start(self, store: Store) -> Result<Server, Failure> {
        self.start_with(ServedStores::One(store))
    }

    /// Starts serving one store, or the recorders of an archive.
    fn start_with(self, stores: ServedStores) -> Result<Server, Failure> {
        let Self {
            arguments,
            clock,
            admission,
            tls,
            database,
            signer,
            dissector,
            listeners,
            audit,
            options,
            process,
            holds_refused,
        } = self;
        let audit = match (audit, &stores) {
            (None, ServedStores::One(store)) => arguments.access.audit_in(store)?,
            (audit, _) => audit,
        };
        let audit = audit.map(Audit::start).transpose()?;
        let limits = ServiceLimits::default();
        let service = match stores {
            ServedStores::One(store) => {
                Service::new(Arc::new(Extractor::new(store, options)), clock, limits, audit)
            }
            ServedStores::Several(archive) => {
                let recorders = Box::new(ArchivedRecorders::new(archive, options));
                Service::of_several(recorders, clock, limits, audit)
            }
        };
        let service = Arc::new(
            service
                .with_geo_database(database)
                .with_signer(signer)
                .with_dissector(dissector)
                .with_program(&version::facts(), process)
                .refusing_holds(holds_refused),
        );
        let scheme = if tls.is_some() { "https" } else { "http" };
        service.find_recorders();
        let routes = router(Arc::clone(&service), admission, arguments.mcp);
        let server = Server::start(service, routes, listeners, tls)?;
        for address in server.addresses() {
            terminal::say(format_args!("Answering on {scheme}://{address}/ (API: /openapi.json)"));
        }
        Ok(server)
    }
}

fn listen(address: SocketAddr) -> Result<TcpListener, Failure> {
    TcpListener::bind(address)
        .map_err(|error| Failure::Failed(anyhow::anyhow!("--listen {address}: {error}")))
}

/// Reason not to write holds into a store: the recorder must be able to read them.
fn holds_refused(store: &Store) -> Option<&'static str> {
    use std::os::unix::fs::MetadataExt;
    let own = rustix::process::geteuid().as_raw();
    let owner = std::fs::metadata(store.root()).map(|found| found.uid());
    (owner.ok() != Some(own)).then_some("the store belongs to another user")
}

/// Serves until told to stop.
pub fn run(arguments: &ServeArguments, settings: &Settings) -> Result<Outcome, Failure> {
    arguments.serving.start_logs();
    let requests = Requests::of_reader()?;
    let stored = arguments.stored.prepare()?;
    let refusal = match &stored {
        PreparedStore::Local(store) => holds_refused(store),
        PreparedStore::Archived(_) => Some("it also answers from an archive: make them where it records"),
    };
    let folder = stored.folder();
    if folder.is_none() && arguments.serving.access.is_audited_in_store() {
        return Err(Failure::usage(
            "an archive is only read, so the record of who got which packets needs a file: name one with --audit FILE, or keep none with --no-audit",
        ));
    }
    if let (None, Some(store)) = (refusal, folder) {
        SharingArguments::default().begin(store.root())?;
        // Where the store cannot be written, holds are refused when they are asked for.
        let _ = CaseFiles::of(store).prepare();
    }
    let service = arguments.serving.prepare(folder)?.refusing_holds(refusal);
    let walls = service.walls(stored.walls());
    let walls = match (refusal, folder) {
        (None, Some(store)) => walls.writing(&CaseFiles::of(store).folder()),
        _ => walls,
    };
    let walls = settings.file.iter().fold(walls, |walls, file| walls.reading_anew(file));
    let raised = walls.keeping(KeptCapabilities::files_if_needed()).raise();
    let mut running = RunningSettings::new(settings);
    let server = service.start_with(stored.open_to_serve()?)?;
    terminal::say(raised);
    let mut manager = Manager::new();
    manager.ready("answering");
    while !requests.is_to_stop() {
        if requests.take_reload() {
            terminal::say(
                "SIGHUP without a terminal: tokens, certificates and databases are reloaded when they change",
            );
            let told = running.reload(&mut |flags| ServingArguments::from_arg_matches(flags)?.follow());
            told.iter().for_each(terminal::say);
        }
        if server.is_finished() {
            return Err(Failure::Failed(anyhow::anyhow!("the service stopped unexpectedly")));
        }
        if manager.is_due() && server.is_answering() {
            manager.progress();
        }
        std::thread::sleep(LOOK_INTERVAL);
    }
    manager.stopping();
    server.stop();
    Ok(Outcome::Done)
}
