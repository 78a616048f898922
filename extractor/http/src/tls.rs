//! TLS: a certificate and its key from files, which may change while the service runs.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum_server::tls_rustls::RustlsConfig;
use rustls::ServerConfig;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::files::{self, Stamp};

/// Interval between two checks for changed files.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);
/// Limit on the bytes of each file: a chain of certificates has some kilobytes.
const FILE_BYTES_MAX: u64 = 4 << 20;
/// Protocols offered to clients, best first: RFC 7301.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// A certificate or its key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file does not exist, or cannot be read.
    #[error("{}: {reason}: give a PEM file", path.display())]
    File {
        /// File concerned.
        path: PathBuf,
        /// Defect found, without any of the file's contents.
        reason: String,
    },
    /// Certificate and key do not fit together, or are of an unknown kind.
    #[error("the certificate {} and the key {} cannot be used together: {reason}", certificate.display(), key.display())]
    Pair {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// Reason.
        reason: &'static str,
    },
}

/// A certificate that is read again when it changes.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    certificate: PathBuf,
    key: PathBuf,
    config: RustlsConfig,
}

impl TlsFiles {
    /// Reads PEM files: the certificate with the chain behind it, and its key.
    pub fn open(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        let config = RustlsConfig::from_config(Arc::new(load(certificate, key)?));
        Ok(Self { certificate: certificate.to_owned(), key: key.to_owned(), config })
    }

    pub(crate) fn config(&self) -> RustlsConfig {
        self.config.clone()
    }

    /// Reloads the files whenever they change, for ever. Errors are logged, and the old ones stay in use.
    pub(crate) async fn watch(self) {
        let mut known = self.stamps();
        loop {
            tokio::time::sleep(LOOK_INTERVAL).await;
            let stamps = self.stamps();
            if stamps == known {
                continue;
            }
            match load(&self.certificate, &self.key) {
                Ok(config) => {
                    self.config.reload_from_config(Arc::new(config));
                    tracing::info!(certificate = %self.certificate.display(), "the certificate was reloaded");
                    known = stamps;
                }
                // The key may come a moment after its certificate: it is tried again.
                Err(error) => {
                    tracing::warn!(%error, "the changed certificate cannot be used; the old one stays in use")
                }
            }
        }
    }

    fn stamps(&self) -> [Option<Stamp>; 2] {
        [&self.certificate, &self.key].map(|path| Stamp::read(path))
    }
}

fn load(certificate: &Path, key: &Path) -> Result<ServerConfig, TlsError> {
    let wrong = |path: &Path, reason: String| TlsError::File { path: path.to_owned(), reason };
    let read = |path: &Path| {
        let contents =
            files::read_at_most(path, FILE_BYTES_MAX).map_err(|error| wrong(path, error.to_string()))?;
        let too_long = || wrong(path, format!("it has more than {FILE_BYTES_MAX} bytes"));
        Ok(contents.ok_or_else(too_long)?.bytes)
    };
    let chain = CertificateDer::pem_slice_iter(&read(certificate)?).collect::<Result<Vec<_>, _>>();
    let chain = chain.map_err(|_| wrong(certificate, "a certificate in it is damaged".to_owned()))?;
    if chain.is_empty() {
        return Err(wrong(certificate, "there is no certificate in it".to_owned()));
    }
    let secret = PrivateKeyDer::from_pem_slice(&read(key)?)
        .map_err(|_| wrong(key, "there is no private key in it".to_owned()))?;
    let pair = |error: rustls::Error| TlsError::Pair {
        certificate: certificate.to_owned(),
        key: key.to_owned(),
        reason: match error {
            rustls::Error::InconsistentKeys(_) => "the key belongs to another certificate",
            rustls::Error::InvalidCertificate(_) => "the certificate is damaged",
            _ => "the certificate or the key is of an unsupported kind",
        },
    };
    let mut config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(pair)?
        .with_no_client_auth()
        .with_single_cert(chain, secret)
        .map_err(pair)?;
    config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_with_a_file_names_it_and_not_what_it_holds() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        let pair = || rcgen::generate_simple_self_signed(vec!["localhost".into()]).expect("a certificate");
        let (one, other) = (pair(), pair());
        std::fs::write(path("cert.pem"), one.cert.pem()).expect("a file");
        std::fs::write(path("key.pem"), one.signing_key.serialize_pem()).expect("a file");
        std::fs::write(path("other.pem"), other.signing_key.serialize_pem()).expect("a file");
        std::fs::write(path("empty.pem"), "").expect("a file");
        TlsFiles::open(&path("cert.pem"), &path("key.pem")).expect("they belong together");
        for (certificate, key, named) in [
            ("cert.pem", "other.pem", "cannot be used together"),
            ("empty.pem", "key.pem", "empty.pem"),
            ("key.pem", "key.pem", "key.pem"),
            ("cert.pem", "cert.pem", "no private key"),
            ("cert.pem", "none.pem", "none.pem"),
        ] {
            let error = TlsFiles::open(&path(certificate), &path(key)).expect_err(named).to_string();
            assert!(error.contains(named) && !error.contains("BEGIN"), "{error}");
        }
    }
}
