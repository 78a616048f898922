//! Tests of the command as its users run it, against tcpdump, tshark and capinfos.
//!
//! They need those tools (`scripts/test` installs them); tests over real captures find them through `NETREWIND_CORPUS`,
//! tests with interfaces make network namespaces and need root. What is missing is said, and skipped.

#![expect(clippy::print_stderr, reason = "a test says what it skips, and its seed")]

mod access;
mod archive;
mod archive_clouds;
mod archive_cluster;
mod archive_faults;
mod archive_reading;
mod breakdown;
mod broken_off;
mod catalog;
mod cli;
mod cold;
mod config;
mod confined;
mod conversations;
mod crash;
mod dashboards;
mod dedup;
mod documents;
mod edges_space;
mod edges_store;
mod evidence;
mod filters;
mod flow_details;
mod flow_totals;
mod flows;
mod follow;
mod fuzzed;
mod golden_store;
mod hold;
mod holds_http;
mod hostile;
mod hours;
mod http;
mod instructions;
mod interfaces;
mod ipfix;
mod keylog;
mod licenses;
mod limits;
mod lists;
mod live;
mod lost_pages;
mod mcp;
mod metrics;
mod oracle;
mod origins;
mod outputs;
mod packaged;
mod packet_list;
mod places;
mod power_cut;
mod private;
mod python_client;
mod remote;
mod rotation;
mod roundtrip;
mod rows;
mod shares;
mod soak;
mod soundness;
mod sources;
mod story;
mod support;
mod tables;
mod tidy;
mod tunnel_ports;
mod tunnels;
mod unreadable;
mod view;
mod wireshark;
mod words;
