//! Records packets into a store without losing one.

pub mod source;
