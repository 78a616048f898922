//! The labels of conversations: made up, taken from public captures, and of any bytes at all.

mod bytes;
mod captures;
mod ja4_model;
mod made;
mod quic;
mod support;
mod tshark;
