//! The URL of an archive.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// Kind of the storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cloud {
    /// S3, and what speaks like it.
    S3,
    /// Google Cloud Storage.
    Google,
    /// Azure Blob Storage.
    Azure,
    /// A folder.
    Folder,
}

/// Schemes and what they name; the first of a kind is the one that is shown.
const SCHEMES: [(&str, Cloud); 7] = [
    ("s3://", Cloud::S3),
    ("s3a://", Cloud::S3),
    ("gs://", Cloud::Google),
    ("az://", Cloud::Azure),
    ("azure://", Cloud::Azure),
    ("abfs://", Cloud::Azure),
    ("file://", Cloud::Folder),
];

/// The URL of an archive: a bucket and a prefix, or a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArchiveUrl {
    pub(super) cloud: Cloud,
    scheme: &'static str,
    /// Name of the bucket or container; path of the folder.
    pub(super) bucket: String,
    prefix: String,
}

/// A text that is not the URL of an archive.
#[derive(Debug, thiserror::Error)]
#[error(
    "{text:?} is not the URL of an archive, such as s3://bucket/prefix, gs://bucket/prefix, az://container/prefix or file:///folder: {reason}"
)]
pub struct NotAnArchive {
    text: String,
    reason: &'static str,
}

impl FromStr for ArchiveUrl {
    type Err = NotAnArchive;
    fn from_str(text: &str) -> Result<Self, NotAnArchive> {
        let fault = |reason| NotAnArchive { text: text.to_owned(), reason };
        let known =
            SCHEMES.iter().find_map(|&(scheme, cloud)| Some((scheme, cloud, text.strip_prefix(scheme)?)));
        let (scheme, cloud, rest) = known.ok_or_else(|| fault("it does not begin with a known scheme"))?;
        if rest.contains(['?', '#']) {
            return Err(fault("it has a query; settings come from the environment"));
        }
        if cloud == Cloud::Folder {
            let path = rest.trim_end_matches('/');
            if !rest.starts_with('/') {
                return Err(fault("the folder's path is not absolute"));
            }
            return Ok(Self { cloud, scheme, bucket: format!("{path}/"), prefix: String::new() });
        }
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
        if bucket.is_empty() || !bucket.bytes().all(is_name) {
            return Err(fault("it names no bucket"));
        }
        let prefix = prefix.trim_matches('/');
        if object_store::path::Path::parse(prefix).is_err() {
            return Err(fault("its prefix cannot be the beginning of a key"));
        }
        Ok(Self { cloud, scheme, bucket: bucket.to_owned(), prefix: prefix.to_owned() })
    }
}

impl ArchiveUrl {
    /// The beginning of all keys, without slashes at its ends.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The folder, if it is one.
    pub fn folder(&self) -> Option<PathBuf> {
        (self.cloud == Cloud::Folder).then(|| PathBuf::from(&self.bucket))
    }

    /// The URL of an object.
    pub(super) fn of_key(&self, key: &str) -> String {
        let whole = self.to_string();
        match (key, whole.ends_with('/')) {
            ("", _) => whole,
            (key, true) => whole + key,
            (key, false) => format!("{whole}/{key}"),
        }
    }
}

impl fmt::Display for ArchiveUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scheme, bucket, prefix, .. } = self;
        match prefix.as_str() {
            "" => write!(f, "{scheme}{bucket}"),
            prefix => write!(f, "{scheme}{bucket}/{prefix}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_and_others_are_refused() {
        let read = |text: &str| text.parse::<ArchiveUrl>();
        let url = read("s3://packets/office/north/").unwrap();
        assert_eq!((url.bucket.as_str(), url.prefix(), url.cloud), ("packets", "office/north", Cloud::S3));
        assert_eq!(url.of_key("a/b"), "s3://packets/office/north/a/b");
        assert_eq!(read("gs://packets").unwrap().of_key(""), "gs://packets");
        let folder = read("file:///mnt/nas/packets/").unwrap();
        assert_eq!(folder.folder(), Some(PathBuf::from("/mnt/nas/packets")));
        assert_eq!(folder.of_key("a"), "file:///mnt/nas/packets/a");
        for odd in [
            "",
            "packets",
            "s3://",
            "s3:///x",
            "http://x/y",
            "file://x",
            "s3://a b/c",
            "s3://a/b?c=d",
            "s3://a/b//c",
        ] {
            assert!(read(odd).is_err(), "{odd}");
        }
    }
}
