//! Settings of a command that runs: those that a changed file gives it at once, and those that need a restart.

use clap::ArgMatches;

use super::Settings;
use crate::outcome::Failure;

/// Settings that change while a command runs.
pub const LIVE: [&str; 6] = ["budget", "hold-budget", "max-age", "catalog-budget", "catalog-max-age", "log"];

/// The settings that a command runs with.
pub struct RunningSettings(Settings);

impl RunningSettings {
    /// Those that it was started with.
    pub fn new(settings: &Settings) -> Self {
        Self(settings.clone())
    }

    /// Reads the file again. `apply` is given the flags as they are now, if any changed that can be changed at once; what it refuses
    /// changes nothing. Returns what to say; nothing if there is no file.
    pub fn reload(&mut self, apply: &mut dyn FnMut(&ArgMatches) -> Result<(), Failure>) -> Vec<String> {
        let Self(running) = self;
        let Some(file) = running.file.clone() else { return Vec::new() };
        let stays = |failure: &Failure| {
            vec![format!("All settings stay as they are, because the file is refused: {}", failure.text())]
        };
        let (matches, mut settings) = match running.reread() {
            Ok(read) => read,
            Err(failure) => return stays(&failure),
        };
        let (mut at_once, mut later) = (Vec::new(), Vec::new());
        for (before, now) in running.all.iter().zip(&mut settings.all) {
            if before.values == now.values {
                continue;
            }
            let text = |text: Option<String>| text.unwrap_or_else(|| "unset".to_owned());
            let (value, old) = (text(now.text()), text(before.text()));
            let change = format!("{} is {value} ({}), before {old}", now.key, now.origin);
            if LIVE.contains(&now.key.as_str()) {
                at_once.push(format!("From now on: {change}"));
            } else {
                later.push(format!("Only after a restart: {change}"));
                // It is told of again the next time.
                now.clone_from(before);
            }
        }
        if !at_once.is_empty()
            && let Err(failure) = apply(&matches)
        {
            return stays(&failure);
        }
        *running = settings;
        let nothing = at_once.is_empty() && later.is_empty();
        let unchanged = nothing.then(|| format!("{} was read again: no setting has changed", file.display()));
        at_once.into_iter().chain(later).chain(unchanged).collect()
    }
}
