//! The one place of this crate with unsafe code: the binding to libpcap. Each file states its obligations.

pub(crate) mod savefile;
