//! `netrewind man`: the manual pages, a file for each command.

use std::io;
use std::path::{Path, PathBuf};

use clap_mangen::Man;

use crate::outcome::{Failure, Outcome};

const EXAMPLES: &str = "\
Examples:
  netrewind man ~/.local/share/man/man1 && man netrewind-extract

Packages install them for everybody.";

/// Arguments of `netrewind man`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct ManArguments {
    /// Folder for the pages, created if it is missing
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

/// Writes the pages.
pub fn run(arguments: &ManArguments, command_line: clap::Command) -> Result<Outcome, Failure> {
    let folder = &arguments.folder;
    let failed = |error: io::Error| Failure::Failed(anyhow::anyhow!("{}: {error}", folder.display()));
    std::fs::create_dir_all(folder).map_err(failed)?;
    // `help` would have a page for each command again.
    let mut all = command_line.disable_help_subcommand(true);
    all.build();
    write(&all, folder).map_err(failed)?;
    Ok(Outcome::Done)
}

/// Writes the page of a command and those of its subcommands. A page has no date: the same program writes the same pages.
fn write(command: &clap::Command, folder: &Path) -> io::Result<()> {
    for subcommand in command.get_subcommands().filter(|subcommand| !subcommand.is_hide_set()) {
        write(subcommand, folder)?;
    }
    // The manual has one version, and not a part of each page with what `--version` tells.
    let plain = command.clone().long_version(None);
    Man::new(plain).generate_to(folder)?;
    Ok(())
}
