//! Flow records: conversations, and their counts.
//!
//! ```text
//! flow of an index -> part (a conversation within one segment) -> conversation (parts joined over segments and lanes)
//!                  -> a sorted list, a tally by host, port and application, a series over time, a search
//! ```
//!
//! What a record is:
//! - A *conversation* is all packets between two ends, both ways, that share the innermost addresses, protocol and ports and
//!   came through the same tunnels ([`encapsulation`] says what "the same" is). Seen in two tunnels (a
//!   network mirrored at both ends), it is two records: each is what one place has seen. Lists of hosts and ports add
//!   them up. VLAN tags, interfaces and lanes are no part of it: the two ways of a conversation often differ in them.
//! - It is cut into several records by silence longer than the idle time of its protocol, and by a new SYN after its end.
//!   Both are looked for *between segments*, never within one: what a segment holds of a conversation is one *part*.
//! - Later IP fragments have no ports: those between two hosts, of one protocol, are a record of their own. Packets without
//!   an IP header are records by their EtherType, without addresses.
//! - Labels, the round trip, retransmissions and segments out of order are what the indexes have learnt from the packets.
//!
//! **Invariant:** no files, no threads, no clock, no queries: functions of indexes and of what they are given.

pub mod conversation;
pub mod encapsulation;
pub mod heavy_hitters;
pub mod join;
pub mod key;
pub mod label_lookup;
pub mod label_texts;
pub mod labels;
pub mod memory;
pub mod observed;
pub mod part;
pub mod search;
pub mod series;
pub mod services;
pub mod tally;
pub mod template_facts;
pub mod top_flows;
pub mod totals;
pub mod tunnel_record;
pub mod value_tally;
