//! Where tables are exported to: a folder, or object storage.

use std::fmt;
use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use netrewind_archive::{ArchiveUrl, Bucket, BucketError};
use netrewind_tables::{TableObjects, TablesPlace};

use crate::archive_access;
use crate::confine::Walls;
use crate::outcome::Failure;

/// A folder, or the URL of a place in object storage.
#[derive(Clone, Debug)]
pub enum TableTarget {
    /// A folder.
    Folder(PathBuf),
    /// Object storage.
    Url(ArchiveUrl),
}

impl FromStr for TableTarget {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.contains("://") {
            let url: ArchiveUrl = text.parse().map_err(|error| format!("{error}"))?;
            // A folder is written to as one, with names that change at once.
            return Ok(url.folder().map_or(Self::Url(url), Self::Folder));
        }
        Ok(Self::Folder(PathBuf::from(text)))
    }
}

impl fmt::Display for TableTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(folder) => write!(f, "{}", folder.display()),
            Self::Url(url) => write!(f, "{url}"),
        }
    }
}

/// A place for tables that is ready to be written to.
pub struct OpenedTarget {
    /// The place.
    pub place: TablesPlace,
    /// The bucket that it is in, if so.
    pub bucket: Option<Arc<Bucket>>,
}

impl TableTarget {
    /// Makes the folder, or reads the keys for the bucket: neither could be done later. Nothing is sent. `flag` is the one that named it.
    pub fn open(&self, flag: &str) -> Result<OpenedTarget, Failure> {
        let failed = |reason: String| Failure::Failed(anyhow::anyhow!("{flag} {self}: {reason}"));
        match self {
            Self::Folder(folder) => {
                std::fs::create_dir_all(folder).map_err(|error| failed(error.to_string()))?;
                Ok(OpenedTarget { place: TablesPlace::Folder(folder.clone()), bucket: None })
            }
            Self::Url(url) => {
                let bucket = Bucket::open(url, &archive_access::environment());
                let bucket = Arc::new(bucket.map_err(|error| failed(error.without_object()))?);
                let objects = Arc::new(TablesBucket(Arc::clone(&bucket)));
                Ok(OpenedTarget { place: TablesPlace::Objects(objects), bucket: Some(bucket) })
            }
        }
    }

    /// Walls of a process that writes there.
    pub fn walls(&self, walls: Walls) -> Walls {
        match self {
            Self::Folder(folder) => walls.writing(folder),
            Self::Url(url) => archive_access::writing_walls(walls, url, &archive_access::environment()),
        }
    }
}

/// Tables in a bucket.
#[derive(Debug)]
struct TablesBucket(Arc<Bucket>);

fn failed(error: BucketError) -> io::Error {
    io::Error::other(error.without_object())
}

impl TableObjects for TablesBucket {
    fn url(&self, key: &str) -> String {
        self.0.describe(key)
    }

    fn size(&self, key: &str) -> io::Result<Option<u64>> {
        self.0.size(key).map_err(failed)
    }

    fn read(&self, key: &str, range: Range<u64>) -> io::Result<Vec<u8>> {
        self.0.get_range(key, range).map(Vec::from).map_err(failed)
    }

    fn replace(&self, key: &str, bytes: Vec<u8>) -> io::Result<()> {
        self.0.replace(key, vec![bytes.into()]).map_err(failed)
    }

    fn remove(&self, key: &str) -> io::Result<()> {
        self.0.remove(&[key.to_owned()]).map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_a_scheme_is_a_url() {
        let read = |text: &str| text.parse::<TableTarget>();
        assert!(matches!(read("/data/tables"), Ok(TableTarget::Folder(_))));
        assert!(matches!(read("file:///data/tables"), Ok(TableTarget::Folder(_))));
        assert!(matches!(read("s3://bucket/tables"), Ok(TableTarget::Url(_))));
        assert!(read("ftp://host/tables").is_err());
    }
}
