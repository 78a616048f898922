//! Holds of a store: made, listed, released.

pub mod error;
pub mod list;
pub mod make;
pub mod packets;
pub mod release;
mod room;
