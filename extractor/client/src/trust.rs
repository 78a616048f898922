//! Trust in recorders' certificates: those of the authorities in `--ca-file`, and the certificates themselves that stand in it.
//!
//! A self-signed certificate, as `openssl req -x509` makes it, says of itself that it is an authority's. TLS libraries differ over
//! servers that show such a one: OpenSSL takes it where the file has it, rustls refuses it. Here it is taken if the file has exactly
//! this certificate, to the byte: whoever shows it has its key, and the user has chosen it.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

/// Name, in the TLS library, of the fault of an authority's certificate that a server shows as its own. It is found after the dates
/// of the certificate have been looked at.
const SHOWN_BY_SERVER: &str = "CaUsedAsEndEntity";

/// Verifies recorders' certificates.
#[derive(Debug)]
pub(super) struct Trust {
    authorities: Arc<WebPkiServerVerifier>,
    /// Certificates of the file.
    pinned: Vec<CertificateDer<'static>>,
}

impl Trust {
    /// Trusts these authorities, and servers that show one of the pinned certificates.
    pub(super) fn new(
        authorities: RootCertStore,
        pinned: Vec<CertificateDer<'static>>,
        provider: Arc<CryptoProvider>,
    ) -> Result<Self, String> {
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(authorities), provider).build();
        Ok(Self { authorities: verifier.map_err(|error| error.to_string())?, pinned })
    }
}

/// True for what has to be said of any self-signed certificate with a server's key.
fn is_shown_by_server(error: &Error) -> bool {
    matches!(error, Error::InvalidCertificate(CertificateError::Other(other)) if format!("{other:?}").contains(SHOWN_BY_SERVER))
}

/// True if the certificate has no names to be compared with: an old one, which only has a common name.
fn is_nameless(error: &Error) -> bool {
    matches!(
        error,
        Error::InvalidCertificate(CertificateError::NotValidForNameContext { presented, .. }) if presented.is_empty()
    )
}

impl ServerCertVerifier for Trust {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified =
            self.authorities.verify_server_cert(certificate, intermediates, server_name, ocsp_response, now);
        if !self.pinned.iter().any(|pinned| pinned == certificate) {
            return verified;
        }
        let named = match verified {
            Err(error) if is_shown_by_server(&error) => {
                verify_server_name(&ParsedCertificate::try_from(certificate)?, server_name)
            }
            verified => verified.map(|_| ()),
        };
        match named {
            // It cannot be another recorder's where the file has no other.
            Err(error) if is_nameless(&error) && self.pinned.len() == 1 => {
                Ok(ServerCertVerified::assertion())
            }
            named => named.map(|()| ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.authorities.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.authorities.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.authorities.supported_verify_schemes()
    }
}
