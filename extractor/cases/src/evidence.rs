//! Evidence of an answer: a manifest beside its file, and a signature of the manifest.

pub mod check;
pub mod hash;
pub mod keys;
pub mod manifest;
