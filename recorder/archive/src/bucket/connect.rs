//! Connections to the clouds: which server, with which keys.

use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::local::LocalFileSystem;
use object_store::{BackoffConfig, Certificate, ClientOptions, ObjectStore, RetryConfig};

use super::environment::CloudEnvironment;
use super::fault::{BucketError, BucketFault};
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
) -> Result<Arc<dyn ObjectStore>, BucketError> {
    let built = match url.cloud {
        Cloud::Folder => return folder(url),
        Cloud::S3 => s3(url, environment),
        Cloud::Google => google(url, environment),
        Cloud::Azure => azure(url, environment),
    };
    built.map_err(|reason| BucketError::new(url, "", BucketFault::Local, reason))
}

fn folder(url: &ArchiveUrl) -> Result<Arc<dyn ObjectStore>, BucketError> {
    let path = url.folder().unwrap_or_default();
    let opened =
        LocalFileSystem::new_with_prefix(&path).map_err(|error| super::fault::of(url, "", &error))?;
    Ok(Arc::new(opened.with_fsync(true).with_automatic_cleanup(true)))
}

/// Settings of the connections. Deadlines are those of [`super::Bucket`].
fn client(environment: &CloudEnvironment, allows_http: bool) -> Result<ClientOptions, String> {
    // Whoever has installed another one before has the same needs.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut options = ClientOptions::new()
        .with_timeout_disabled()
        .with_connect_timeout(CONNECT_TIMEOUT)
        .with_allow_http(allows_http);
    if let Some(proxy) = environment.first(&["HTTPS_PROXY", "https_proxy"]) {
        options = options.with_proxy_url(proxy);
        if let Some(excluded) = environment.first(&["NO_PROXY", "no_proxy"]) {
            options = options.with_proxy_excludes(excluded);
        }
    }
    if let Some(file) = environment.get("AWS_CA_BUNDLE") {
        let failed = |error: String| format!("AWS_CA_BUNDLE: {file}: {error}");
        let text = std::fs::read(file).map_err(|error| failed(error.to_string()))?;
        for certificate in Certificate::from_pem_bundle(&text).map_err(|error| failed(error.to_string()))? {
            options = options.with_root_certificate(certificate);
        }
    }
    Ok(options)
}

fn s3(url: &ArchiveUrl, environment: &CloudEnvironment) -> Result<Arc<dyn ObjectStore>, String> {
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
    let built = builder
        .with_client_options(client(environment, allows_http)?)
        .with_retry(retries())
        .with_bucket_name(&url.bucket)
        .build();
    Ok(Arc::new(built.map_err(|error| error.to_string())?))
}

fn google(url: &ArchiveUrl, environment: &CloudEnvironment) -> Result<Arc<dyn ObjectStore>, String> {
    let mut builder = GoogleCloudStorageBuilder::new();
    for (name, value) in environment.beginning_with("GOOGLE_") {
        if let Ok(key) = name.parse::<GoogleConfigKey>() {
            builder = builder.with_config(key, value);
        }
    }
    let built = builder
        .with_client_options(client(environment, false)?)
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

fn azure(url: &ArchiveUrl, environment: &CloudEnvironment) -> Result<Arc<dyn ObjectStore>, String> {
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
    let built = builder
        .with_client_options(client(environment, allows_http)?)
        .with_retry(retries())
        .with_container_name(&url.bucket)
        .build();
    Ok(Arc::new(built.map_err(|error| error.to_string())?))
}
