//! The command `netrewind`.
fn main() {}
