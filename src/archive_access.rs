//! Access to archives: settings from the environment, and what a confined process needs for them.

use netrewind_archive::{ArchiveUrl, Bucket, CloudEnvironment};

use crate::confine::{Calls, Walls};

/// The variables of the environment.
pub fn environment() -> CloudEnvironment {
    // What is no text is none of the clouds'.
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

/// Walls of a process that reads an archive. Certificates are read when its [`Bucket`] is opened, before.
pub fn reading_walls(walls: Walls, url: &ArchiveUrl, environment: &CloudEnvironment) -> Walls {
    let walls = match url.folder() {
        Some(folder) => walls.reading(&folder),
        None => walls.connecting(Bucket::ports(url, environment)),
    };
    let keys = Bucket::files(url, environment);
    keys.iter().fold(walls, |walls, file| walls.reading_anew(file)).calling(Calls::with_local_sockets)
}

/// Walls of a process that writes it.
pub fn writing_walls(walls: Walls, url: &ArchiveUrl, environment: &CloudEnvironment) -> Walls {
    let walls = reading_walls(walls, url, environment);
    url.folder().iter().fold(walls, |walls, folder| walls.writing(folder))
}
