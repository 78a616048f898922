//! The one place of this crate with unsafe code: the binding to libpcap. Each file states its obligations.

#[cfg(test)]
pub(crate) mod oracle;
pub(crate) mod savefile;
pub(crate) mod version;
