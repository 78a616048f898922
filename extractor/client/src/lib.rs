//! The other end of the service: asking recorders over HTTP, one or several at once.
//!
//! ```text
//! request -> recorder 1 -> blocks of pcapng -\
//! request -> recorder 2 -> blocks of pcapng --> merge by time -> Sink, and an Answer with what each recorder says
//! ```
//!
//! **Invariant:** what a recorder sends is as untrusted as any file: lengths are bounded, and an answer counts as complete only
//! if it ends with its account.

mod connection;
mod error;
mod flows;
mod merge;
mod pcapng_stream;
mod question;
mod recorder;
mod remote;
mod stored;
mod trust;
#[doc(hidden)]
pub mod untrusted;
mod web;

pub use connection::Access;
pub use error::RemoteError;
pub use flows::RecorderFlows;
pub use remote::{RecorderEstimate, RecorderStatus, Remote};
pub use web::WebClient;
