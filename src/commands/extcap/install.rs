//! Installation of the command where Wireshark looks for interfaces.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;

use crate::outcome::{Failure, Outcome};
use crate::terminal;

/// Folders below the home folder: of Wireshark up to 4.0, and of later ones.
const PERSONAL_FOLDERS: [&str; 2] = [".config/wireshark/extcap", ".local/lib/wireshark/extcap"];
/// Folder for all users, if there is no Wireshark to ask.
const SYSTEM_FOLDER: &str = "/usr/lib/wireshark/extcap";

/// Arguments of `netrewind extcap install`.
#[derive(Debug, clap::Args)]
pub struct InstallArguments {
    /// For all users of this machine
    #[arg(long)]
    system: bool,
}

/// Links this program into the folder.
pub fn run(arguments: &InstallArguments) -> Result<Outcome, Failure> {
    let program = std::env::current_exe()?;
    for folder in folders(arguments.system)? {
        fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        let link = folder.join("netrewind");
        put(&program, &link)?;
        terminal::say(format_args!("{} -> {}", link.display(), program.display()));
    }
    terminal::say("Restart Wireshark to see it; tshark -D lists it as netrewind");
    Ok(Outcome::Done)
}

fn put(program: &Path, link: &Path) -> Result<(), Failure> {
    match fs::symlink_metadata(link) {
        Ok(found) if found.is_symlink() => fs::remove_file(link)?,
        Ok(_) => {
            let text = format!("{} already exists and is not a link: remove it first", link.display());
            return Err(Failure::Failed(anyhow::anyhow!(text)));
        }
        Err(_) => {}
    }
    symlink(program, link).with_context(|| link.display().to_string())?;
    Ok(())
}

fn folders(system: bool) -> Result<Vec<PathBuf>, Failure> {
    if system {
        let told = told_by_tshark(&["Extcap path", "Global Extcap path"]);
        return Ok(vec![told.unwrap_or_else(|| SYSTEM_FOLDER.into())]);
    }
    if let Some(folder) = told_by_tshark(&["Personal Extcap path"]) {
        return Ok(vec![folder]);
    }
    let home = std::env::home_dir().ok_or_else(|| Failure::usage("no home folder is known: use --system"))?;
    Ok(PERSONAL_FOLDERS.iter().map(|folder| home.join(folder)).collect())
}

/// A folder as `tshark -G folders` lists it: a name, a colon, a path.
fn told_by_tshark(names: &[&str]) -> Option<PathBuf> {
    let output = Command::new("tshark").args(["-G", "folders"]).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let told = |line: &str| {
        let (name, path) = line.split_once(':')?;
        // Some list several folders.
        let path = path.trim().split(':').next().unwrap_or_default();
        names.contains(&name.trim()).then(|| PathBuf::from(path))
    };
    text.lines().find_map(told)
}
