//! Connections to the clouds: which server, with which keys.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::local::LocalFileSystem;
use object_store::{BackoffConfig, Certificate, ClientConfigKey, ClientOptions, ObjectStore, RetryConfig};

use super::environment::CloudEnvironment;
use super::fault::{BucketError, BucketFault};
use super::transport::{CountedConnector, Traffic};
use super::url::{ArchiveUrl, Cloud};
use crate::profile::Profile;

/// Time in which a connection must be there.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Attempts after the first, of a request that a server failed.
pub const RETRIES_MAX: usize = 3;
/// Time after which no further attempt is made.
pub const RETRY_TIMEOUT: Duration = Duration::from_secs(30);
/// Pause before the second attempt, and the longest one.
const RETRY_PAUSE: Duration = Duration::from_millis(200);
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(5);

/// Name by which servers know us.
const USER_AGENT: &str = concat!("netrewind/", env!("CARGO_PKG_VERSION"));

/// Value of a setting that is on.
fn is_on(value: Option<&str>) -> bool {
    value.is_some_and(|value| ["1", "true", "yes", "on"].contains(&value.to_ascii_lowercase().as_str()))
}

/// True for an endpoint on this machine.
fn is_loopback(endpoint: &str) -> bool {
    let host = endpoint.strip_prefix("http://").unwrap_or(endpoint);
    ["127.", "localhost:", "localhost/", "[::1]"].iter().any(|own| host.starts_with(own))
}

fn retries() -> RetryConfig {
    let backoff = BackoffConfig { init_backoff: RETRY_PAUSE, max_backoff: RETRY_PAUSE_MAX, base: 2.0 };
    RetryConfig { backoff, max_retries: RETRIES_MAX, retry_timeout: RETRY_TIMEOUT }
}

/// The client of a bucket.
pub(super) fn store(
    url: &ArchiveUrl,
    environment: &CloudEnvironment,
    traffic: &Arc<Traffic>,
) -> Result<Arc<dyn ObjectStore>, BucketError> {
    let built = match url.cloud {
        Cloud::Folder => return folder(url),
        Cloud::S3 => s3(url, environment, traffic),
        Cloud::Google => google(url, environment, traffic),
        Cloud::Azure => azure(url, environment, traffic),
    };
    built.map_err(|reason| BucketError::new(url, "", BucketFault::Local, reason))
}

fn folder(url: &ArchiveUrl) -> Result<Arc<dyn ObjectStore>, BucketError> {
    let path = url.folder().unwrap_or_default();
    let opened =
        LocalFileSystem::new_with_prefix(&path).map_err(|error| super::fault::of(url, "", &error))?;
    Ok(Arc::new(opened.with_fsync(true).with_automatic_cleanup(true)))
}

/// Settings of the connections, and what makes them. Deadlines are those of [`super::Bucket`].
fn wire(
    environment: &CloudEnvironment,
    allows_http: bool,
    traffic: &Arc<Traffic>,
) -> Result<(ClientOptions, CountedConnector), String> {
    // Whoever has installed another one before has the same needs.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut options = ClientOptions::new()
        .with_timeout_disabled()
        .with_connect_timeout(CONNECT_TIMEOUT)
        .with_allow_http(allows_http);
    let proxy = environment.first(&["HTTPS_PROXY", "https_proxy"]).map(str::to_owned);
    let excluded = environment.first(&["NO_PROXY", "no_proxy"]).map(str::to_owned);
    if let Some(proxy) = &proxy {
        options = options.with_proxy_url(proxy);
    }
    if let Some(excluded) = &excluded {
        options = options.with_proxy_excludes(excluded);
    }
    let mut certificates = Vec::new();
    if let Some(file) = environment.get("AWS_CA_BUNDLE") {
        let failed = |error: String| format!("AWS_CA_BUNDLE: {file}: {error}");
        let text = std::fs::read(file).map_err(|error| failed(error.to_string()))?;
        certificates =
            reqwest::Certificate::from_pem_bundle(&text).map_err(|error| failed(error.to_string()))?;
        for certificate in Certificate::from_pem_bundle(&text).map_err(|error| failed(error.to_string()))? {
            options = options.with_root_certificate(certificate);
        }
    }
    let client = move |allows_http: bool| {
        let mut client = reqwest::Client::builder()
            .user_agent(USER_AGENT)
            .connect_timeout(CONNECT_TIMEOUT)
            .tls_certs_merge(certificates.clone())
            .https_only(!allows_http);
        if let Some(proxy) = &proxy {
            let excluded = excluded.as_deref().and_then(reqwest::NoProxy::from_string);
            client = client.proxy(reqwest::Proxy::all(proxy)?.no_proxy(excluded));
        }
        client.build()
    };
    let connect_timeout = options.get_config_value(&ClientConfigKey::ConnectTimeout).unwrap_or_default();
    let connector =
        CountedConnector { traffic: Arc::clone(traffic), client: Box::new(client), connect_timeout };
    Ok((options, connector))
}

fn s3(
    url: &ArchiveUrl,
    environment: &CloudEnvironment,
    traffic: &Arc<Traffic>,
) -> Result<Arc<dyn ObjectStore>, String> {
    let profile = Profile::find(environment)?;
    let mut builder = AmazonS3Builder::new();
    for (name, value) in environment.beginning_with("AWS_") {
        if let Ok(key) = name.parse::<AmazonS3ConfigKey>() {
            builder = builder.with_config(key, value);
        }
    }
    let region = environment.first(&["AWS_REGION", "AWS_DEFAULT_REGION"]).map(str::to_owned);
    if let Some(region) = region.or_else(|| profile.region()) {
        builder = builder.with_region(region);
    }
    let endpoint =
        environment.first(&["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"]).map(str::to_owned);
    let endpoint = endpoint.or_else(|| profile.endpoint());
    if let Some(endpoint) = &endpoint {
        builder = builder.with_config(AmazonS3ConfigKey::S3Endpoint, endpoint);
    }
    let is_plain = endpoint.as_deref().is_some_and(|endpoint| endpoint.starts_with("http://"));
    let allows_http =
        is_on(environment.get("AWS_ALLOW_HTTP")) || endpoint.as_deref().is_some_and(is_loopback);
    if is_plain && !allows_http {
        return Err("its endpoint begins with http://, so packets would cross the network unencrypted: use https://, or set AWS_ALLOW_HTTP=true".to_owned());
    }
    let has_own_keys = environment.get("AWS_ACCESS_KEY_ID").is_some();
    let has_role =
        environment.get("AWS_WEB_IDENTITY_TOKEN_FILE").is_some() && environment.get("AWS_ROLE_ARN").is_some();
    if !has_own_keys && !has_role && profile.has_keys() {
        builder = builder.with_credentials(profile.provider());
    }
    let (options, connector) = wire(environment, allows_http, traffic)?;
    let built = builder
        .with_client_options(options)
        .with_http_connector(connector)
        .with_retry(retries())
        .with_bucket_name(&url.bucket)
        .build();
    Ok(Arc::new(built.map_err(|error| error.to_string())?))
}

fn google(
    url: &ArchiveUrl,
    environment: &CloudEnvironment,
    traffic: &Arc<Traffic>,
) -> Result<Arc<dyn ObjectStore>, String> {
    let mut builder = GoogleCloudStorageBuilder::new();
    for (name, value) in environment.beginning_with("GOOGLE_") {
        if let Ok(key) = name.parse::<GoogleConfigKey>() {
            builder = builder.with_config(key, value);
        }
    }
    let (options, connector) = wire(environment, false, traffic)?;
    let built = builder
        .with_client_options(options)
        .with_http_connector(connector)
        .with_retry(retries())
        .with_bucket_name(&url.bucket)
        .build();
    Ok(Arc::new(built.map_err(|error| error.to_string())?))
}

/// Names that the tools of Azure have for what the client calls otherwise.
const AZURE_NAMES: [(&str, AzureConfigKey); 3] = [
    ("AZURE_STORAGE_ACCOUNT", AzureConfigKey::AccountName),
    ("AZURE_STORAGE_KEY", AzureConfigKey::AccessKey),
    ("AZURE_STORAGE_SAS_TOKEN", AzureConfigKey::SasKey),
];

fn azure(
    url: &ArchiveUrl,
    environment: &CloudEnvironment,
    traffic: &Arc<Traffic>,
) -> Result<Arc<dyn ObjectStore>, String> {
    let mut builder = MicrosoftAzureBuilder::new();
    for (name, value) in environment.beginning_with("AZURE_") {
        if let Ok(key) = name.parse::<AzureConfigKey>() {
            builder = builder.with_config(key, value);
        }
    }
    for (name, key) in AZURE_NAMES {
        if let Some(value) = environment.get(name) {
            builder = builder.with_config(key, value);
        }
    }
    let endpoint = environment.first(&["AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT"]);
    let is_emulator = is_on(environment.get("AZURE_STORAGE_USE_EMULATOR"));
    let allows_http = is_emulator || endpoint.is_some_and(is_loopback);
    let (options, connector) = wire(environment, allows_http, traffic)?;
    let built = builder
        .with_client_options(options)
        .with_http_connector(connector)
        .with_retry(retries())
        .with_container_name(&url.bucket)
        .build();
    Ok(Arc::new(built.map_err(|error| error.to_string())?))
}

/// Ports of the servers that the settings name, besides those of the clouds themselves.
pub(super) fn ports(url: &ArchiveUrl, environment: &CloudEnvironment) -> Vec<u16> {
    if url.cloud == Cloud::Folder {
        return Vec::new();
    }
    let profile = Profile::find(environment).ok().and_then(|profile| profile.endpoint());
    let named = ENDPOINTS.iter().filter_map(|name| environment.get(name).map(str::to_owned)).chain(profile);
    named.filter_map(|endpoint| port_of(&endpoint)).chain(CLOUD_PORTS).collect()
}

/// Variables that may name a server.
const ENDPOINTS: [&str; 13] = [
    "AWS_ENDPOINT_URL_S3",
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT",
    "AWS_ENDPOINT_URL_STS",
    "AWS_METADATA_ENDPOINT",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AZURE_STORAGE_ENDPOINT",
    "AZURE_ENDPOINT",
    "AZURITE_BLOB_STORAGE_URL",
    "GOOGLE_BASE_URL",
    "IDENTITY_ENDPOINT",
    "HTTPS_PROXY",
    "https_proxy",
];
/// Ports of the clouds: storage, and the services that give keys to a machine or a container, which speak plain HTTP.
const CLOUD_PORTS: [u16; 2] = [443, 80];

/// The port of a server's URL.
fn port_of(endpoint: &str) -> Option<u16> {
    let (scheme, rest) = endpoint.split_once("://").unwrap_or(("http", endpoint));
    let host = rest.split(['/', '?']).next().unwrap_or_default();
    let host = host.rsplit('@').next().unwrap_or_default();
    let port = host.rsplit_once(':').map(|(_, port)| port).filter(|port| !port.ends_with(']'));
    match port {
        Some(port) => port.parse().ok(),
        None => Some(if scheme == "https" { 443 } else { 80 }),
    }
}

/// Files that are read while the bucket is used.
pub(super) fn files(url: &ArchiveUrl, environment: &CloudEnvironment) -> Vec<PathBuf> {
    let named = [
        "AWS_WEB_IDENTITY_TOKEN_FILE",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
        "AZURE_FEDERATED_TOKEN_FILE",
        "GOOGLE_APPLICATION_CREDENTIALS",
    ];
    let named = named.iter().filter_map(|name| environment.get(name).map(PathBuf::from));
    let profile = Profile::find(environment).ok().filter(|_| url.cloud == Cloud::S3);
    let profile = profile.iter().flat_map(Profile::paths).map(Path::to_owned).collect::<Vec<_>>();
    named.chain(profile).filter(|_| url.cloud != Cloud::Folder).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_of_servers_are_known_before_they_are_asked() {
        let cases = [
            ("https://s3.example", Some(443)),
            ("http://127.0.0.1:8333/x", Some(8333)),
            ("http://[::1]:9000", Some(9000)),
            ("http://[::1]/", Some(80)),
            ("http://user:word@proxy:3128", Some(3128)),
            ("proxy:no", None),
        ];
        for (endpoint, port) in cases {
            assert_eq!(port_of(endpoint), port, "{endpoint}");
        }
        let variable = ("AWS_ENDPOINT_URL".to_owned(), "http://127.0.0.1:8333".to_owned());
        let environment: CloudEnvironment = [variable].into_iter().collect();
        assert_eq!(ports(&"s3://a".parse().unwrap(), &environment), [8333, 443, 80]);
        assert!(ports(&"file:///a".parse().unwrap(), &environment).is_empty());
    }
}
