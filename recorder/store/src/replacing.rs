//! Files of a store that are replaced whole or not at all.

use std::path::Path;

use crate::StoreError;
use crate::error::at;
use crate::files::Files;

/// Writes a file under the name `new`, makes it survive a power cut, and renames it to `path`. The folder is the caller's to sync.
pub(crate) fn replace(files: &dyn Files, new: &Path, path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let written = at(new, files.write_durably(new, bytes));
    written.and_then(|()| at(path, files.rename(new, path))).inspect_err(|_| {
        // On a full disk, a partial file would only take space.
        let _ = files.remove_file(new);
    })
}
