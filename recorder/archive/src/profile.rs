//! Profiles of the AWS tools: `~/.aws/credentials` and `~/.aws/config`, read again when they change.
//!
//! Source: AWS SDKs and Tools Reference Guide, "Shared config and credentials files".

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use netrewind_store::locked;
use object_store::CredentialProvider;
use object_store::aws::{AwsCredential, AwsCredentialProvider};

use crate::bucket::CloudEnvironment;

/// Beginning of the error where a profile has no keys any more.
pub(crate) const NO_KEYS: &str = "no keys in the profile";
/// Bytes of the largest file that is read.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Settings that would need a program, or a sign-on in a browser.
const UNSUPPORTED: [&str; 5] =
    ["credential_process", "sso_session", "sso_start_url", "source_profile", "credential_source"];

const KEY_ID: &str = "aws_access_key_id";
const SECRET: &str = "aws_secret_access_key";
const SESSION_TOKEN: &str = "aws_session_token";
const REGION: &str = "region";
const ENDPOINT: &str = "endpoint_url";

/// The settings of a profile, of both files.
type Settings = BTreeMap<String, String>;

/// Length and time of a file, which change with it; `None` where there is none.
type Stamp = Option<(u64, Option<SystemTime>)>;

/// A profile.
#[derive(Debug)]
pub(crate) struct Profile {
    name: String,
    credentials: Option<PathBuf>,
    config: Option<PathBuf>,
    settings: Settings,
}

impl Profile {
    /// The profile that the environment names, or `default`. One that is named and is not there is an error.
    pub(crate) fn find(environment: &CloudEnvironment) -> Result<Self, String> {
        let named = environment.get("AWS_PROFILE").or(environment.get("AWS_DEFAULT_PROFILE"));
        let home = environment.get("HOME").map(|home| Path::new(home).join(".aws"));
        let file = |variable: &str, name: &str| {
            let file = environment.get(variable).map(PathBuf::from);
            file.or_else(|| Some(home.as_ref()?.join(name)))
        };
        let mut profile = Self {
            name: named.unwrap_or("default").to_owned(),
            credentials: file("AWS_SHARED_CREDENTIALS_FILE", "credentials"),
            config: file("AWS_CONFIG_FILE", "config"),
            settings: Settings::new(),
        };
        profile.settings = profile.read()?;
        let has_others = environment.get("AWS_ACCESS_KEY_ID").is_some()
            || environment.get("AWS_WEB_IDENTITY_TOKEN_FILE").is_some();
        if named.is_some() && profile.settings.is_empty() {
            return Err(format!("AWS_PROFILE: there is no profile {} in {}", profile.name, profile.files()));
        }
        let unsupported = UNSUPPORTED.iter().find(|name| profile.settings.contains_key(**name));
        if let Some(setting) = unsupported.filter(|_| !profile.has_keys() && !has_others) {
            return Err(format!(
                "profile {} in {} has {setting}, which is not supported: give it {KEY_ID} and {SECRET}, or set AWS_ACCESS_KEY_ID, as \
                 `aws configure export-credentials --format env` prints them for as long as they are valid, or use a role of the machine",
                profile.name,
                profile.files()
            ));
        }
        Ok(profile)
    }

    /// Its files, for messages.
    fn files(&self) -> String {
        let files = [&self.credentials, &self.config].into_iter().flatten();
        files.map(|file| file.display().to_string()).collect::<Vec<_>>().join(" and ")
    }

    /// Settings of both files as they are now: keys of the first one count.
    fn read(&self) -> Result<Settings, String> {
        let mut settings = Settings::new();
        let config_section = match self.name.as_str() {
            "default" => "default".to_owned(),
            name => format!("profile {name}"),
        };
        for (file, section) in [(&self.config, &config_section), (&self.credentials, &self.name)] {
            if let Some(file) = file {
                settings.extend(section_of(&read_file(file)?, section));
            }
        }
        Ok(settings)
    }

    /// True if it has keys of its own.
    pub(crate) fn has_keys(&self) -> bool {
        self.settings.contains_key(KEY_ID)
    }

    /// Its region.
    pub(crate) fn region(&self) -> Option<String> {
        self.settings.get(REGION).cloned()
    }

    /// The endpoint that it names.
    pub(crate) fn endpoint(&self) -> Option<String> {
        self.settings.get(ENDPOINT).cloned()
    }

    /// The files that it is read from, also those that are not there yet.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &Path> {
        [&self.credentials, &self.config].into_iter().flatten().map(PathBuf::as_path)
    }

    /// Gives its keys to every request, as they are then.
    pub(crate) fn provider(self) -> AwsCredentialProvider {
        Arc::new(ProfileKeys { profile: self, last: Mutex::new(None) })
    }

    fn stamps(&self) -> [Stamp; 2] {
        [&self.credentials, &self.config].map(|file| {
            let found = file.as_ref()?.metadata().ok()?;
            Some((found.len(), found.modified().ok()))
        })
    }
}

/// The text of a file; empty where there is none.
fn read_file(file: &Path) -> Result<String, String> {
    let failed = |reason: String| format!("{}: {reason}", file.display());
    match file.metadata() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(String::new()),
        Ok(found) if found.len() > FILE_BYTES_MAX => return Err(failed("it is too large".to_owned())),
        _ => {}
    }
    std::fs::read_to_string(file).map_err(|error| failed(error.to_string()))
}

/// The settings of a section. What stands indented belongs to the setting before it, and is not needed.
fn section_of(text: &str, wanted: &str) -> Settings {
    let mut settings = Settings::new();
    let mut is_wanted = false;
    for line in text.lines() {
        let is_indented = line.starts_with([' ', '\t']);
        let line = line.trim();
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.split_once(']')) {
            let words: Vec<&str> = name.0.split_whitespace().collect();
            is_wanted = words.join(" ").trim_matches('"') == wanted;
        } else if let Some((name, value)) = line.split_once('=').filter(|_| is_wanted && !is_indented) {
            let value = value.split(" #").next().unwrap_or_default().trim();
            if !value.is_empty() {
                settings.insert(name.trim().to_ascii_lowercase(), value.to_owned());
            }
        }
    }
    settings
}

/// The keys of a profile.
#[derive(Debug)]
struct ProfileKeys {
    profile: Profile,
    /// The last that were read, and the stamps of the files before.
    last: Mutex<Option<([Stamp; 2], Arc<AwsCredential>)>>,
}

impl ProfileKeys {
    fn keys(&self) -> Result<Arc<AwsCredential>, String> {
        let stamps = self.profile.stamps();
        let mut last = locked(&self.last);
        if let Some((_, keys)) = last.as_ref().filter(|(then, _)| *then == stamps) {
            return Ok(Arc::clone(keys));
        }
        let settings = self.profile.read()?;
        let setting = |name: &str| settings.get(name).cloned();
        let (Some(key_id), Some(secret_key)) = (setting(KEY_ID), setting(SECRET)) else {
            return Err(format!("{NO_KEYS} {} of {}", self.profile.name, self.profile.files()));
        };
        let keys = Arc::new(AwsCredential { key_id, secret_key, token: setting(SESSION_TOKEN) });
        *last = Some((stamps, Arc::clone(&keys)));
        Ok(keys)
    }
}

impl CredentialProvider for ProfileKeys {
    type Credential = AwsCredential;

    fn get_credential<'s, 'f>(
        &'s self,
    ) -> Pin<Box<dyn Future<Output = object_store::Result<Arc<AwsCredential>>> + Send + 'f>>
    where
        's: 'f,
        Self: 'f,
    {
        let failed = |reason: String| object_store::Error::Generic { store: "S3", source: reason.into() };
        Box::pin(std::future::ready(self.keys().map_err(failed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(folder: &Path, more: &[(&str, &str)]) -> CloudEnvironment {
        let home = ("HOME".to_owned(), folder.display().to_string());
        let more = more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        more.chain([home]).collect()
    }

    #[test]
    fn a_profile_is_read_from_both_files_and_again_when_they_change() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join(".aws");
        std::fs::create_dir(&folder).unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).unwrap();
        write(
            "config",
            "[default]\nregion=eu-west-1\n[profile night]\nregion = eu-north-1 # cold\ns3 =\n  max_queue_size = 1\n",
        );
        write(
            "credentials",
            "; ours\n[default]\naws_access_key_id = A\naws_secret_access_key = B\n\n[night]\naws_access_key_id=N\naws_secret_access_key=S=/+\naws_session_token=T\n",
        );
        let default = Profile::find(&environment(home.path(), &[])).unwrap();
        assert_eq!((default.region().as_deref(), default.has_keys()), (Some("eu-west-1"), true));
        let night = Profile::find(&environment(home.path(), &[("AWS_PROFILE", "night")])).unwrap();
        assert_eq!(night.region().as_deref(), Some("eu-north-1"));
        let keys = ProfileKeys { profile: night, last: Mutex::default() };
        let found = keys.keys().unwrap();
        let token = found.token.as_deref();
        assert_eq!((found.key_id.as_str(), found.secret_key.as_str(), token), ("N", "S=/+", Some("T")));
        assert!(Arc::ptr_eq(&found, &keys.keys().unwrap()), "unchanged");
        write("credentials", "[night]\naws_access_key_id=N2\naws_secret_access_key=S2\n");
        let found = keys.keys().unwrap();
        assert_eq!((found.key_id.as_str(), found.token.as_deref()), ("N2", None));
        write("credentials", "");
        assert!(keys.keys().unwrap_err().starts_with(NO_KEYS));
    }

    #[test]
    fn a_profile_that_cannot_be_used_is_named() {
        let home = tempfile::tempdir().unwrap();
        let error = Profile::find(&environment(home.path(), &[("AWS_PROFILE", "x")])).unwrap_err();
        assert!(error.contains("no profile x"), "{error}");
        assert!(!Profile::find(&environment(home.path(), &[])).unwrap().has_keys());
        let config = home.path().join("config");
        std::fs::write(&config, "[profile x]\nsso_session = y\n").unwrap();
        let settings = [("AWS_PROFILE", "x"), ("AWS_CONFIG_FILE", config.to_str().unwrap())];
        let error = Profile::find(&environment(home.path(), &settings)).unwrap_err();
        assert!(error.contains("sso_session, which is not supported"), "{error}");
    }
}
