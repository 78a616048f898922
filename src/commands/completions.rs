//! `netrewind completions`: what completes the command in a shell.

use std::io::Write;

use clap_complete::Shell;

use crate::outcome::{Failure, Outcome};
use crate::terminal::StandardOutput;

const EXAMPLES: &str = "\
Examples:
  netrewind completions bash > ~/.local/share/bash-completion/completions/netrewind
  netrewind completions fish > ~/.config/fish/completions/netrewind.fish
  netrewind completions zsh > ~/.zfunc/_netrewind      # a folder in $fpath

Packages install them for everybody.";

/// Arguments of `netrewind completions`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct CompletionsArguments {
    /// The shell
    shell: Shell,
}

/// Prints the completions.
pub fn run(arguments: &CompletionsArguments, mut command_line: clap::Command) -> Result<Outcome, Failure> {
    let name = command_line.get_name().to_owned();
    let mut text = Vec::new();
    clap_complete::generate(arguments.shell, &mut command_line, name, &mut text);
    StandardOutput.write_all(&text)?;
    Ok(Outcome::Done)
}
