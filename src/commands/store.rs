//! Arguments that name a store, and say how it is written.

use std::path::PathBuf;
use std::time::Duration;

use netrewind_recorder::Config;

use super::tunnels::PortArguments;
use crate::arguments::{bytes, duration};
use crate::sharing::SharingArguments;

/// Environment variable that names the store, unless a flag does.
pub const STORE_VARIABLE: &str = "NETREWIND_STORE";

/// Location of the store.
#[derive(Debug, clap::Args)]
pub struct StoreArgument {
    /// The store's folder
    #[arg(long, value_name = "DIR", env = STORE_VARIABLE, hide_env_values = true)]
    pub store: PathBuf,
}

/// Settings for writing a store.
#[derive(Debug, clap::Args)]
pub struct WritingArguments {
    /// Bytes of a segment at which the next one begins
    #[arg(long, value_name = "SIZE", default_value = "1GiB", value_parser = bytes)]
    pub segment_bytes: u64,
    /// Disk space for everything in the store; the oldest segments are removed first [default: no limit]
    #[arg(long, value_name = "SIZE", value_parser = bytes)]
    pub budget: Option<u64>,
    /// Disk space, of the budget, that holds may take (see netrewind hold) [default: half of the budget]
    #[arg(long, value_name = "SIZE", value_parser = bytes)]
    pub hold_budget: Option<u64>,
    /// Age at which segments expire, from when they were written [default: no limit]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub max_age: Option<Duration>,
    #[command(flatten)]
    pub sharing: SharingArguments,
    #[command(flatten)]
    pub ports: PortArguments,
}

impl WritingArguments {
    /// The recorder's configuration, as far as they say it.
    pub fn config(&self) -> Config {
        Config {
            segment_bytes: self.segment_bytes,
            budget_bytes: self.budget,
            hold_budget_bytes: self.hold_budget,
            age_max: self.max_age,
            ..Config::default()
        }
    }
}
