//! Faults of requests, with the object and the remedy.

use std::fmt;

use super::url::{ArchiveUrl, Cloud};

/// Kind of a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BucketFault {
    /// There is no such object.
    NoObject,
    /// There is no such bucket, container or folder.
    NoBucket,
    /// There is an object with this key already.
    AlreadyThere,
    /// The keys are refused, or do not suffice.
    Refused,
    /// There are no keys.
    NoCredentials,
    /// The server cannot be reached.
    Unreachable,
    /// No answer in time.
    TimedOut,
    /// The server failed, or asks to be left alone for a while: this status.
    Server(u16),
    /// The server refused the request: this status.
    Rejected(u16),
    /// Less came than was asked for.
    Cut,
    /// More bytes than one request takes.
    TooLarge,
    /// All requests were stopped.
    Stopped,
    /// A fault of this machine: a file, a thread, a setting.
    Local,
}

impl BucketFault {
    /// True where the next object would fail as this one did.
    pub fn is_of_bucket(self) -> bool {
        !matches!(self, Self::NoObject | Self::AlreadyThere | Self::TooLarge | Self::Cut)
    }

    /// True where somebody has to do something first: keys, policy, bucket.
    pub fn needs_somebody(self) -> bool {
        matches!(self, Self::NoBucket | Self::Refused | Self::NoCredentials | Self::Rejected(_))
    }
}

/// A request that failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{object}: {reason}{}", Remedy(.remedy))]
pub struct BucketError {
    /// Kind of the fault.
    pub fault: BucketFault,
    /// URL of the object.
    object: String,
    reason: String,
    remedy: &'static str,
}

struct Remedy<'a>(&'a str);

impl fmt::Display for Remedy<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(f, ": {}", self.0) }
    }
}

impl BucketError {
    pub(super) fn new(url: &ArchiveUrl, key: &str, fault: BucketFault, reason: String) -> Self {
        Self { fault, object: url.of_key(key), reason, remedy: remedy(url.cloud, fault) }
    }

    /// The reason and the remedy, for who names the object himself.
    pub fn without_object(&self) -> String {
        format!("{}{}", self.reason, Remedy(self.remedy))
    }
}

fn remedy(cloud: Cloud, fault: BucketFault) -> &'static str {
    match (fault, cloud) {
        (BucketFault::NoBucket, Cloud::Folder) => "create the folder, or mount what it is on",
        (BucketFault::NoBucket, _) => "create it, or correct the URL or the region",
        (BucketFault::Refused, Cloud::S3) => {
            "check the keys (AWS_ACCESS_KEY_ID, AWS_PROFILE or the role), and that the policy allows s3:ListBucket, s3:GetObject, s3:PutObject and s3:DeleteObject here"
        }
        (BucketFault::Refused, Cloud::Google) => {
            "check GOOGLE_APPLICATION_CREDENTIALS or the service account, and that it has the role Storage Object User here"
        }
        (BucketFault::Refused, Cloud::Azure) => {
            "check AZURE_STORAGE_ACCOUNT and its key, token or identity, and that it has the role Storage Blob Data Contributor here"
        }
        (BucketFault::Refused, Cloud::Folder) => "check who owns the folder",
        (BucketFault::NoCredentials, Cloud::S3) => {
            "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or give the machine a role"
        }
        (BucketFault::Unreachable, Cloud::S3) => "check the network, the name servers and AWS_ENDPOINT_URL",
        (BucketFault::Unreachable, _) => "check the network and the name servers",
        (BucketFault::Rejected(301 | 307 | 400), Cloud::S3) => "check AWS_REGION and AWS_ENDPOINT_URL",
        _ => "",
    }
}

/// Text of the client before the status of an answer.
const STATUS_PREFIX: &str = "status code: ";
/// Bytes of a server's answer that are shown.
const BODY_BYTES_MAX: usize = 300;

/// The status in the text of an error. The type that has it is not public.
fn status_in(text: &str) -> Option<u16> {
    let (_, rest) = text.split_once(STATUS_PREFIX)?;
    rest.get(..3)?.parse().ok()
}

/// The content of an element of an answer in XML.
fn element<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    let (_, rest) = text.split_once(&format!("<{name}>"))?;
    Some(rest.split_once(&format!("</{name}>"))?.0)
}

/// The innermost causes of an error, in words.
fn reason_of(error: &object_store::Error) -> String {
    let whole = error.to_string();
    if let Some(status) = status_in(&whole) {
        let (code, message) = (element(&whole, "Code"), element(&whole, "Message"));
        let told = [code, message].into_iter().flatten().collect::<Vec<_>>().join(": ");
        let (_, body) = whole.split_once(STATUS_PREFIX).unwrap_or_default();
        let told = if told.is_empty() { body.chars().take(BODY_BYTES_MAX).collect() } else { told };
        return if told.starts_with(&status.to_string()) {
            format!("the server answered {}", told.trim_end_matches([':', ' ']))
        } else {
            format!("the server answered {status} {}", told.trim_end_matches('.'))
        };
    }
    let mut innermost: &dyn std::error::Error = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

/// True if some cause of an error contains one of these words.
fn says(error: &object_store::Error, words: &[&str]) -> bool {
    let mut cause: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = cause {
        let text = error.to_string();
        if words.iter().any(|word| text.contains(word)) {
            return true;
        }
        cause = error.source();
    }
    false
}

/// The fault of a request.
pub(super) fn of(url: &ArchiveUrl, key: &str, error: &object_store::Error) -> BucketError {
    use object_store::Error;
    let is_no_bucket = || says(error, &["NoSuchBucket", "ContainerNotFound", "bucket does not exist"]);
    let fault = match error {
        _ if says(error, &[crate::profile::NO_KEYS]) => BucketFault::NoCredentials,
        Error::NotFound { .. } if is_no_bucket() => BucketFault::NoBucket,
        Error::NotFound { .. } => BucketFault::NoObject,
        Error::AlreadyExists { .. } => BucketFault::AlreadyThere,
        Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => BucketFault::Refused,
        _ => of_text(url, error),
    };
    BucketError::new(url, key, fault, reason_of(error))
}

fn of_text(url: &ArchiveUrl, error: &object_store::Error) -> BucketFault {
    match status_in(&error.to_string()) {
        Some(401 | 403) => return BucketFault::Refused,
        Some(status @ (408 | 429 | 500..)) => return BucketFault::Server(status),
        Some(status) => return BucketFault::Rejected(status),
        None => {}
    }
    if url.cloud == Cloud::Folder {
        return match () {
            () if says(error, &["Permission denied", "Read-only file system"]) => BucketFault::Refused,
            () if says(error, &["No such file or directory"]) => BucketFault::NoBucket,
            () => BucketFault::Local,
        };
    }
    if says(error, &["169.254.169.254", "metadata", "instance credential"]) {
        return BucketFault::NoCredentials;
    }
    if says(error, &["operation timed out"]) { BucketFault::TimedOut } else { BucketFault::Unreachable }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(error: &object_store::Error) -> BucketError {
        of(&"s3://packets/a".parse().unwrap(), "b", error)
    }

    #[test]
    fn errors_name_the_object_the_status_and_the_remedy() {
        let answer = "Error performing PUT https://x in 1ms - Server returned non-2xx status code: 403 Forbidden: <?xml?><Error><Code>AccessDenied</Code><Message>Access Denied.</Message></Error>";
        let error = object_store::Error::PermissionDenied { path: "a/b".into(), source: answer.into() };
        let text = fault(&error).to_string();
        assert!(
            text.starts_with(
                "s3://packets/a/b: the server answered 403 AccessDenied: Access Denied: check the keys"
            ),
            "{text}"
        );
        let generic =
            |text: &str| object_store::Error::Generic { store: "S3", source: text.to_owned().into() };
        let busy = "Server returned non-2xx status code: 503 Service Unavailable: ";
        let found = fault(&generic(busy));
        assert_eq!(found.fault, BucketFault::Server(503));
        assert_eq!(found.to_string(), "s3://packets/a/b: the server answered 503 Service Unavailable");
        assert_eq!(fault(&generic("dns error")).fault, BucketFault::Unreachable);
        let missing = |code: &str| object_store::Error::NotFound {
            path: String::new(),
            source: format!("Server returned non-2xx status code: 404 Not Found: <Code>{code}</Code>").into(),
        };
        assert_eq!(fault(&missing("NoSuchKey")).fault, BucketFault::NoObject);
        assert_eq!(fault(&missing("NoSuchBucket")).fault, BucketFault::NoBucket);
    }
}
