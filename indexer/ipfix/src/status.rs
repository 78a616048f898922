//! State of the export, for those who watch it.

/// State of the export to a collector.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IpfixStatus {
    /// Data records that have been sent.
    pub records: u64,
    /// Messages that they were in.
    pub messages: u64,
    /// Segments whose flows were left out.
    pub dropped_segments: u64,
    /// Segments that wait.
    pub waiting_segments: u64,
    /// Reason why nothing is sent at the moment, in words.
    pub trouble: Option<String>,
}
