//! Soundness of a store: every byte of it compared with what vouches for it, and what is derived built again.

mod audit;
mod cases;
mod derived;
mod logbook;
mod repair;
mod report;
mod secrets;
mod segments;

pub use audit::check_audit;
pub use cases::check_cases;
pub use derived::{check_catalog, check_hours};
pub use logbook::{Logged, LoggedCounts};
pub use repair::repair;
pub use report::{FaultReport, ReportForm};
pub use secrets::check_secrets;
pub use segments::{Vouching, marked_late, vouching};
