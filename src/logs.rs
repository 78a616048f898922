//! What the service says while it works: lines for a person on a terminal, JSON objects for a machine otherwise.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// What is said unless the environment asks for more or less.
const DEFAULT_LEVELS: &str = "warn,netrewind=info,netrewind_extractor=info";
/// Where it asks.
const LEVELS_VARIABLE: &str = "NETREWIND_LOG";

/// Begins to write logs on standard error.
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
