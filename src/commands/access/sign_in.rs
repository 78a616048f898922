//! Users whom others sign in: the arguments of `serve` and `run` for a proxy, and for OpenID Connect.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use netrewind_client::WebClient;
use netrewind_http::access::{
    IssuerRequest, IssuerWeb, Network, Oidc, OidcSettings, TRUSTED_PROXIES_MAX, TrustedProxies,
};

use crate::outcome::Failure;

/// Port of https, where an issuer's endpoints usually are.
const HTTPS_PORT: u16 = 443;
/// Bytes of the file with the secret.
const SECRET_BYTES_MAX: usize = 4096;

/// Users whom others sign in.
#[derive(Debug, clap::Args)]
pub struct SignInArguments {
    /// Address or network of a proxy that signs users in, and names them in --user-header; may be given several times. Their rights are in
    /// the file of tokens
    #[arg(long, value_name = "ADDRESS[/PREFIX]", requires = "tokens")]
    trusted_proxy: Vec<Network>,
    /// Header in which a trusted proxy names the user
    #[arg(long, value_name = "HEADER", default_value = "X-Forwarded-User", value_parser = header)]
    user_header: String,
    /// Header in which it names the user's groups, with commas between
    #[arg(long, value_name = "HEADER", default_value = "X-Forwarded-Groups", value_parser = header)]
    groups_header: String,
    /// Issuer of OpenID Connect that signs users in, as its tokens name it
    #[arg(long, value_name = "URL", requires_all = ["oidc_client_id", "oidc_client_secret_file", "tokens"], value_parser = issuer)]
    oidc_issuer: Option<String>,
    /// Id of this service at the issuer
    #[arg(long, value_name = "ID", requires = "oidc_issuer")]
    oidc_client_id: Option<String>,
    /// File with its secret at the issuer
    #[arg(long, value_name = "FILE", requires = "oidc_issuer")]
    oidc_client_secret_file: Option<PathBuf>,
    /// URL at which browsers reach this service, for the issuer to send them back [default: as they ask]
    #[arg(long, value_name = "URL", requires = "oidc_issuer", value_parser = public_url)]
    oidc_public_url: Option<String>,
    /// Scopes that are asked for, with spaces between
    #[arg(long, value_name = "SCOPES", default_value = "openid email profile", value_parser = scopes)]
    oidc_scopes: String,
    /// Claim that names the user
    #[arg(long, value_name = "CLAIM", default_value = "email")]
    oidc_user_claim: String,
    /// Claim with the user's groups
    #[arg(long, value_name = "CLAIM", default_value = "groups")]
    oidc_groups_claim: String,
    /// Audience that tokens for the API may have; may be given several times [default: the client id]
    #[arg(long, value_name = "AUDIENCE", requires = "oidc_issuer")]
    oidc_audience: Vec<String>,
    /// Certificate authorities (PEM) that signed the issuer's certificate [default: those that the system trusts]
    #[arg(long, value_name = "FILE", requires = "oidc_issuer")]
    oidc_ca_file: Option<PathBuf>,
}

fn header(text: &str) -> Result<String, String> {
    let wrong = || format!("{text:?} is not the name of a header: write one as X-Forwarded-User");
    http_name(text).then(|| text.to_owned()).ok_or_else(wrong)
}

/// A token of RFC 9110, section 5.6.2.
fn http_name(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

fn issuer(text: &str) -> Result<String, String> {
    match netrewind_http::access::is_safe_url(text) && !text.contains(['?', '#']) {
        true => Ok(text.to_owned()),
        false => Err("write an issuer as https://login.example/realms/main".to_owned()),
    }
}

fn public_url(text: &str) -> Result<String, String> {
    match netrewind_http::access::is_safe_url(text) && !text.contains(['?', '#']) {
        true => Ok(text.trim_end_matches('/').to_owned()),
        false => Err("write the address of this service as https://nr.example:8640".to_owned()),
    }
}

fn scopes(text: &str) -> Result<String, String> {
    match text.split(' ').any(|scope| scope == "openid") {
        true => Ok(text.to_owned()),
        false => Err("one of the scopes has to be openid".to_owned()),
    }
}

/// Asks an issuer as recorders are asked.
#[derive(Debug)]
struct Web(WebClient);

impl IssuerWeb for Web {
    fn fetch(&self, request: &IssuerRequest<'_>) -> Result<(u16, Vec<u8>), String> {
        self.0.fetch(request.url, request.authorization, request.form)
    }
}

impl SignInArguments {
    /// Proxies that are trusted, if there are any.
    pub fn proxies(&self) -> Result<Option<TrustedProxies>, Failure> {
        if self.trusted_proxy.len() > TRUSTED_PROXIES_MAX {
            return Err(Failure::usage(format!(
                "--trusted-proxy: at most {TRUSTED_PROXIES_MAX} can be named: name their network"
            )));
        }
        if self.trusted_proxy.is_empty() {
            return Ok(None);
        }
        let networks = self.trusted_proxy.clone();
        TrustedProxies::new(networks, &self.user_header, &self.groups_header)
            .map(Some)
            .map_err(Failure::usage)
    }

    /// The issuer, if one is named. Its secret is read now, and nothing is asked of it.
    pub fn oidc(&self, key: &[u8]) -> Result<Option<Oidc>, Failure> {
        let (Some(issuer), Some(client_id), Some(secret_file)) =
            (&self.oidc_issuer, &self.oidc_client_id, &self.oidc_client_secret_file)
        else {
            return Ok(None);
        };
        let read = |path: &Path| fs::read(path).with_context(|| path.display().to_string());
        let secret = read(secret_file)?;
        let secret = String::from_utf8(secret).ok().map(|secret| secret.trim().to_owned());
        let secret = secret.filter(|secret| (1..=SECRET_BYTES_MAX).contains(&secret.len()));
        let no_secret = || {
            Failure::usage(format!(
                "--oidc-client-secret-file {}: it has no secret of 1 to {SECRET_BYTES_MAX} bytes",
                secret_file.display()
            ))
        };
        let client_secret = secret.ok_or_else(no_secret)?;
        let authorities = self.oidc_ca_file.as_deref().map(read).transpose()?;
        let web = WebClient::new(authorities)
            .map_err(|error| Failure::usage(format!("--oidc-ca-file: {error}")))?;
        let audiences = match &self.oidc_audience[..] {
            [] => vec![client_id.clone()],
            audiences => audiences.to_vec(),
        };
        let settings = OidcSettings {
            issuer: issuer.clone(),
            client_id: client_id.clone(),
            client_secret,
            public_url: self.oidc_public_url.clone(),
            scopes: self.oidc_scopes.clone(),
            user_claim: self.oidc_user_claim.clone(),
            groups_claim: self.oidc_groups_claim.clone(),
            audiences,
        };
        Ok(Some(Oidc::new(settings, Arc::new(Web(web)), key)))
    }

    /// TCP ports to which the service connects.
    pub fn ports(&self) -> Vec<u16> {
        let port = |url: &String| {
            let authority = url.split("://").nth(1)?.split('/').next()?;
            authority.rsplit_once(':')?.1.parse().ok()
        };
        self.oidc_issuer.iter().flat_map(|url| [Some(HTTPS_PORT), port(url)]).flatten().collect()
    }
}
