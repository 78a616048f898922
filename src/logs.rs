//! Logs of the service: lines for a person on a terminal, JSON objects for a machine otherwise.

use std::io::IsTerminal;
use std::sync::OnceLock;

use tracing_subscriber::EnvFilter;

use crate::outcome::Failure;

/// Log levels unless others are set.
pub const DEFAULT_LEVELS: &str = "warn,netrewind=info";

/// Gives the log other levels; set once it is written.
static LEVELS: OnceLock<Box<dyn Fn(EnvFilter) -> bool + Send + Sync>> = OnceLock::new();

/// Reads log levels: `info`, or `warn,netrewind_http=debug`.
pub fn levels(text: &str) -> Result<String, String> {
    let read = EnvFilter::builder().parse(text);
    read.map(|_| text.to_owned()).map_err(|_| {
        format!("{text:?} are no log levels: write error, warn, info, debug or trace, and others for a part, as warn,netrewind_http=debug")
    })
}

/// Starts writing logs of these levels to standard error.
pub fn start(levels: &str) {
    let builder = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::builder().parse_lossy(levels))
        .with_writer(std::io::stderr)
        .with_target(false);
    // Refused only where there are logs already.
    if std::io::stderr().is_terminal() {
        let builder = builder.with_filter_reloading();
        let handle = builder.reload_handle();
        let _ = LEVELS.set(Box::new(move |levels| handle.reload(levels).is_ok()));
        let _ = builder.try_init();
    } else {
        let builder = builder.json().flatten_event(true).with_filter_reloading();
        let handle = builder.reload_handle();
        let _ = LEVELS.set(Box::new(move |levels| handle.reload(levels).is_ok()));
        let _ = builder.try_init();
    }
}

/// Writes logs of other levels from now on.
pub fn set_levels(text: &str) -> Result<(), Failure> {
    let levels = EnvFilter::builder().parse_lossy(text);
    match LEVELS.get() {
        Some(set) if !set(levels) => Err(Failure::usage(format!("--log {text}: the log cannot be changed"))),
        _ => Ok(()),
    }
}
