//! `netrewind broker`: the process that does for a confined one what that may not do itself; started by netrewind.

use std::os::fd::AsFd;
use std::sync::Arc;

use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};

use crate::broker::{BrokerRights, serve};
use crate::confine::{KeptCapabilities, Privilege, Walls, folder_of};
use crate::outcome::{Failure, Outcome};

/// Arguments of `netrewind broker`.
#[derive(Debug, clap::Args)]
pub struct BrokerArguments {
    #[command(flatten)]
    rights: BrokerRights,
}

/// Answers the requests on standard input until the process that sends them has ended.
pub fn run(arguments: &BrokerArguments) -> Result<Outcome, Failure> {
    // A terminal sends these to all its processes; this one ends after the one that it serves. Programs that it starts hear them.
    for signal in [SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2] {
        signal_hook::flag::register(signal, Arc::default())?;
    }
    let BrokerRights { sockets, timestamps, audit, .. } = &arguments.rights;
    let privileges = [(*sockets, Privilege::PacketSockets), (*timestamps, Privilege::Interfaces)];
    let privileges = privileges.into_iter().filter(|(is_needed, _)| *is_needed).map(|(_, it)| it).collect();
    let walls = audit.first().iter().fold(Walls::new(), |walls, file| walls.logging_in(&folder_of(file)));
    // The process that it serves says what is missing.
    walls
        .starting_programs()
        .calling_everything()
        .keeping(KeptCapabilities { privileges, passes_on: true, files: true })
        .raise();
    serve(std::io::stdin().as_fd(), &arguments.rights)?;
    Ok(Outcome::Done)
}
