//! Cases: what a store keeps although it is old, and evidence of what an answer was.
//!
//! ```text
//! hold_segments -> a hold that names segments: retention leaves them alone
//! hold_packets  -> the packets of a query in a file of the case, with its manifest
//! EvidenceManifest: SHA-256 of a file, query, completeness, time; a signature of these bytes -> check
//! ```
//!
//! **Invariant:** of a store, only its folder of cases is written.

pub mod evidence;
pub mod hold;

pub use evidence::check::{EvidenceCheck, EvidenceFiles, check};
pub use evidence::hash::{FileHash, HashTally, HashingWriter};
pub use evidence::keys::{KeyError, PublicKey, SignerKey};
pub use evidence::manifest::{CaseFacts, EvidenceManifest, EvidenceSource, MANIFEST_VERSION};
pub use hold::error::HoldError;
pub use hold::list::{HoldView, list_holds};
pub use hold::make::{HoldRequest, MadeHold, hold_segments};
pub use hold::packets::{PacketsRequest, hold_packets};
pub use hold::release::release_hold;
