//! Access control: the arguments of `serve` and `run` for it.

mod sign_in;

use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use netrewind_http::access::{Admission, Authenticator, KEY_BYTES};
use netrewind_http::audit::AuditFile;
use netrewind_http::tls::TlsFiles;
use netrewind_store::Store;
use netrewind_store::clock::Now;

use self::sign_in::SignInArguments;
use crate::confine::folder_of;
use crate::outcome::Failure;

/// Access to the service, and the audit of it.
#[derive(Debug, clap::Args)]
pub struct AccessArguments {
    /// Certificate, with its chain, as PEM; reloaded when it changes
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// Its private key, as PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// File of tokens, as `netrewind token` makes it; reloaded when it changes
    #[arg(long, value_name = "FILE")]
    tokens: Option<PathBuf>,
    /// Let pages of this origin (scheme, host and port) read answers; may be given several times
    #[arg(long, value_name = "ORIGIN", value_parser = origin)]
    allow_origin: Vec<String>,
    /// File that records who got which packets [default: audit.jsonl in the store]
    #[arg(long, value_name = "FILE", conflicts_with = "no_audit")]
    audit: Option<PathBuf>,
    /// Keep no record of who got which packets
    #[arg(long)]
    no_audit: bool,
    #[command(flatten)]
    sign_in: SignInArguments,
}

/// Scheme, host and port, and nothing behind them: RFC 6454.
fn origin(text: &str) -> Result<String, String> {
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let is_plain = |c: char| c.is_ascii_alphanumeric() || ".-:[]".contains(c);
    match host {
        Some(host) if !host.is_empty() && host.chars().all(is_plain) => Ok(text.to_ascii_lowercase()),
        _ => Err("write an origin as https://tools.example or http://127.0.0.1:3000".into()),
    }
}

impl AccessArguments {
    /// Refuses to listen on this address unless access to it is protected.
    pub fn check(&self, address: SocketAddr) -> Result<(), Failure> {
        let missing = match (&self.tls_cert, &self.tokens) {
            _ if address.ip().to_canonical().is_loopback() => return Ok(()),
            (Some(_), Some(_)) => return Ok(()),
            (None, None) => "--tls-cert, --tls-key and --tokens",
            (None, Some(_)) => "--tls-cert and --tls-key",
            (Some(_), None) => "--tokens",
        };
        Err(Failure::usage(format!(
            "--listen {address}: other machines can reach this address, so it needs {missing} (netrewind token add NAME \
             --tokens FILE --scope extract makes a token); without them, listen on a loopback address, such as 127.0.0.1:{}",
            address.port()
        )))
    }

    /// Rules of admission, read now.
    pub fn admission(&self, now: Now) -> Result<Admission, Failure> {
        let chance = || -> Result<[u8; KEY_BYTES], Failure> {
            let mut key = [0; KEY_BYTES];
            std::fs::File::open("/dev/urandom")?.read_exact(&mut key)?;
            Ok(key)
        };
        let open = |path: &PathBuf| -> Result<Authenticator, Failure> {
            let authenticator = Authenticator::open(path, &chance()?, now).map_err(Failure::usage)?;
            Ok(authenticator.with_oidc(self.sign_in.oidc(&chance()?)?))
        };
        let origins = self.allow_origin.iter().filter_map(|origin| origin.parse().ok());
        Ok(Admission {
            authenticator: self.tokens.as_ref().map(open).transpose()?,
            proxies: self.sign_in.proxies()?,
            is_encrypted: self.tls_cert.is_some(),
            origins: origins.collect(),
        })
    }

    /// TLS for connections, if configured.
    pub fn tls(&self) -> Result<Option<TlsFiles>, Failure> {
        let (Some(certificate), Some(key)) = (&self.tls_cert, &self.tls_key) else { return Ok(None) };
        TlsFiles::open(certificate, key).map(Some).map_err(Failure::usage)
    }

    /// TCP ports to which the service connects.
    pub fn ports(&self) -> Vec<u16> {
        self.sign_in.ports()
    }

    /// Files that are read again when they change.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        [&self.tls_cert, &self.tls_key, &self.tokens].into_iter().flatten().map(PathBuf::as_path)
    }

    /// Folder of the audit, if that is not in the store.
    pub fn audit_folder(&self) -> Option<PathBuf> {
        self.audit.as_deref().map(folder_of)
    }

    /// True if extractions are audited in the store.
    pub fn is_audited_in_store(&self) -> bool {
        self.audit.is_none() && !self.no_audit
    }

    /// The audit's file, if one was named.
    pub fn audit_beside(&self) -> Result<Option<AuditFile>, Failure> {
        let file = self.audit.as_deref().map(AuditFile::at).transpose();
        file.map_err(|error| Failure::Failed(error.into()))
    }

    /// The audit's file in the store, if it is to be there.
    pub fn audit_in(&self, store: &Store) -> Result<Option<AuditFile>, Failure> {
        let file = self.is_audited_in_store().then(|| AuditFile::in_store(store)).transpose();
        file.map_err(|error| Failure::Failed(error.into()))
    }
}
