//! Files and TCP ports: landlock(7).

use std::path::PathBuf;

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, LandlockStatus, NetPort,
    PathBeneath, PathFd, RestrictionStatus, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError,
    RulesetStatus, Scope,
};

/// The version of Landlock that everything is taken from: Linux 6.12.
const NEWEST: ABI = ABI::V6;

/// Uses of a file, or of those in a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FileRights {
    Read,
    /// Also make, rename and remove files and folders.
    Write,
    /// Only make, rename and remove files.
    Rename,
    /// Also write them, but not read.
    Log,
    Run,
}

impl FileRights {
    fn access(self) -> BitFlags<AccessFs> {
        let read = AccessFs::ReadFile | AccessFs::ReadDir;
        let rename = AccessFs::MakeReg | AccessFs::RemoveFile;
        match self {
            Self::Read => read,
            Self::Write => {
                let folders = AccessFs::MakeDir | AccessFs::RemoveDir | AccessFs::Refer;
                read | rename | folders | AccessFs::WriteFile | AccessFs::Truncate
            }
            Self::Rename => rename,
            Self::Log => rename | AccessFs::WriteFile,
            Self::Run => read | AccessFs::Execute,
        }
    }

    fn moves_between_folders(self) -> bool {
        self.access().contains(AccessFs::Refer)
    }
}

/// Leaves this process these files, and connections to these ports. The error says what stays open, and why.
pub(super) fn confine(paths: &[(PathBuf, FileRights)], ports: &[u16]) -> Result<(), String> {
    let status = restrict(paths, ports).map_err(|error| match error {
        RulesetError::HandleAccesses(_) => {
            "any file can be reached: this kernel has no Landlock that lets files move between folders (Linux 5.19)"
                .to_owned()
        }
        error => format!("any file can be reached: Landlock: {error}"),
    })?;
    let RestrictionStatus { ruleset, landlock, .. } = status;
    match (ruleset, landlock) {
        (RulesetStatus::FullyEnforced, _) => Ok(()),
        (RulesetStatus::PartiallyEnforced, LandlockStatus::Available { effective_abi, .. }) => Err(format!(
            "Landlock of this kernel has version {} and leaves open what came later, at the latest in version {}",
            effective_abi as u32, NEWEST as u32
        )),
        (_, LandlockStatus::NotEnabled) => {
            Err("any file can be reached: Landlock is not enabled in this kernel (lsm=landlock,...)"
                .to_owned())
        }
        _ => Err("any file can be reached: this kernel has no Landlock (Linux 5.13)".to_owned()),
    }
}

fn restrict(paths: &[(PathBuf, FileRights)], ports: &[u16]) -> Result<RestrictionStatus, RulesetError> {
    let mut rules = Ruleset::default();
    if paths.iter().any(|(_, rights)| rights.moves_between_folders()) {
        // Without this right none would move between folders at all.
        rules = rules.set_compatibility(CompatLevel::HardRequirement).handle_access(AccessFs::Refer)?;
    }
    let mut rules = rules
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(NEWEST))?
        .handle_access(AccessNet::from_all(NEWEST))?
        .scope(scope())?
        .create()?;
    for (path, rights) in paths {
        // What is not there cannot be used either.
        let (Ok(metadata), Ok(descriptor)) = (path.metadata(), PathFd::new(path)) else { continue };
        let possible = match metadata.is_dir() {
            true => rights.access(),
            false => rights.access() & AccessFs::from_file(NEWEST),
        };
        if possible.is_empty() {
            continue;
        }
        // A pipe that was named by its descriptor needs no rule, and can have none.
        let with_rule =
            rules.try_clone().ok().map(|rules| rules.add_rule(PathBeneath::new(descriptor, possible)));
        if let Some(Ok(with_rule)) = with_rule {
            rules = with_rule;
        }
    }
    for &port in ports {
        rules = rules.add_rule(NetPort::new(port, AccessNet::ConnectTcp))?;
    }
    rules.restrict_self()
}

/// No signals to processes outside, and no sockets of theirs without a name in a folder, unless the service manager has such
/// a one: sd_notify(3).
fn scope() -> BitFlags<Scope> {
    let notifies_abstractly =
        std::env::var_os("NOTIFY_SOCKET").is_some_and(|socket| socket.as_encoded_bytes().starts_with(b"@"));
    match notifies_abstractly {
        true => Scope::Signal.into(),
        false => Scope::from_all(NEWEST),
    }
}
