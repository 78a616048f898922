//! Logs of the service: lines for a person on a terminal, JSON objects for a machine otherwise.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// Log levels unless the environment sets others.
const DEFAULT_LEVELS: &str = "warn,netrewind=info,netrewind_extractor=info";
/// Environment variable for the log levels.
const LEVELS_VARIABLE: &str = "NETREWIND_LOG";

/// Starts writing logs to standard error.
pub fn start() {
    let levels = std::env::var(LEVELS_VARIABLE).unwrap_or_else(|_| DEFAULT_LEVELS.to_owned());
    let builder = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::builder().parse_lossy(levels))
        .with_writer(std::io::stderr);
    // Refused only where there are logs already.
    let _ = if std::io::stderr().is_terminal() {
        builder.with_target(false).try_init()
    } else {
        builder.json().flatten_event(true).with_target(false).try_init()
    };
}
