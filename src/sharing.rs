//! Read access to the store: for the user who records, and the group that `--group` names.

use std::fs;
use std::path::Path;

use anyhow::Context;
use netrewind_store::Store;
use netrewind_store::store::{Readers, share};
use rustix::fs::Mode;

use crate::outcome::Failure;
use crate::terminal;

/// The groups of this machine: group(5).
const GROUPS: &str = "/etc/group";

/// Readers of the store.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct SharingArguments {
    /// Let this group read the store, including new files (files 0640, folders 0750) [default: only this user (0600, 0700), or
    /// as the store already is]
    #[arg(long, value_name = "NAME")]
    group: Option<String>,
}

/// Readers of a store that is about to be written.
pub struct Sharing {
    readers: Readers,
    /// True if the group was given on the command line.
    is_asked_for: bool,
}

impl SharingArguments {
    /// Refuses a group that there is not.
    pub fn check(&self) -> Result<(), Failure> {
        self.group.as_deref().map_or(Ok(()), |name| group_number(name).map(drop))
    }

    /// Decides for the store in `folder`, and for every file and folder that this process creates from now on.
    pub fn begin(&self, folder: &Path) -> Result<Sharing, Failure> {
        let readers = match &self.group {
            Some(name) => Readers::Group(group_number(name)?),
            // One that is wider is not narrowed: somebody may rely on it.
            None => Readers::of(folder)?.unwrap_or(Readers::Owner),
        };
        // Folders on the way to the store are the user's own.
        if let Some(above) = folder.parent() {
            fs::create_dir_all(above).with_context(|| above.display().to_string())?;
        }
        rustix::process::umask(Mode::from_raw_mode(readers.umask()));
        Ok(Sharing { readers, is_asked_for: self.group.is_some() })
    }
}

impl Sharing {
    /// Lets the group read the present contents of the store.
    pub fn apply(&self, store: &Store) -> Result<(), Failure> {
        let root = store.root().display();
        match self.readers {
            Readers::Owner => Ok(()),
            Readers::Group(number) => match share(store, number) {
                Ok(()) => Ok(()),
                Err(error) if self.is_asked_for => Err(Failure::Failed(anyhow::Error::new(error).context(format!(
                    "--group: the store cannot be given to group {number}: its owner must be a member of it, or run this as root"
                )))),
                Err(error) => {
                    terminal::say(format_args!("not everything in the store can be read by its group: {error}"));
                    Ok(())
                }
            },
            Readers::Everybody => {
                terminal::say(format_args!(
                    "Every user of this machine can read the store and new packets in it: --group NAME restricts it to a group, chmod -R go= {root} to its owner"
                ));
                Ok(())
            }
        }
    }
}

/// The number of a group of this machine.
fn group_number(name: &str) -> Result<u32, Failure> {
    if let Ok(number) = name.parse() {
        return Ok(number);
    }
    let groups = fs::read_to_string(GROUPS).with_context(|| GROUPS.to_owned())?;
    groups.lines().find_map(|line| number_in(line, name)).ok_or_else(|| {
        Failure::usage(format!(
            "--group {name}: {GROUPS} has no such group: create it with groupadd {name}; for a group that is defined elsewhere give its number (getent group {name})"
        ))
    })
}

/// `name:password:number:members`.
fn number_in(line: &str, name: &str) -> Option<u32> {
    let mut fields = line.split(':');
    (fields.next()? == name).then(|| fields.nth(1)?.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_found_by_its_whole_name() {
        assert_eq!(number_in("netops:x:1001:ann,ben", "netops"), Some(1001));
        assert_eq!(number_in("netops2:x:1002:", "netops"), None);
        assert_eq!(number_in("netops:x:wrong:", "netops"), None);
        assert_eq!(number_in("", "netops"), None);
        assert!(matches!(group_number("root"), Ok(0)));
        assert!(matches!(group_number("4321"), Ok(4321)));
        assert!(matches!(group_number("no-such-group"), Err(Failure::Usage(_))));
    }
}
