//! Indexes of packets in tunnels, made as those are by which the tunnels themselves are tested.

#![expect(clippy::unwrap_used, reason = "a test's helpers may fail the test")]

#[path = "../../../packet/tests/tunnels/chance.rs"]
mod chance;
#[path = "../../../packet/tests/tunnels/generate.rs"]
mod generate;
#[path = "../../../packet/tests/tunnels/headers.rs"]
mod headers;
mod index;
