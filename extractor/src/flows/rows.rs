//! Lists as rows for other programs: CSV with a head, JSON lines, and the logs of Suricata and Zeek.
//!
//! The command line and the service write them here, so that both write the same bytes.

mod conversation;
mod eve;
mod series;
mod totals;
mod zeek;

pub use eve::write_eve;
pub use series::{SplitRow, ValueRow, split_rows, value_rows};
pub use zeek::write_zeek;

use std::io::{self, Write};

use serde::Serialize;

/// An entry of a list as a row of CSV.
pub trait CsvRow {
    /// Names of the columns.
    const FIELDS: &'static [&'static str];

    /// Values of the columns; empty for what is not known.
    fn fields(&self) -> Vec<String>;
}

/// Writes rows as CSV (RFC 4180, but with LF at the ends of lines), with a head. Fails as the output does.
pub fn write_csv<R: CsvRow>(rows: &[R], output: impl Write) -> io::Result<()> {
    let mut writer = csv::Writer::from_writer(output);
    let failed = |error: csv::Error| match error.into_kind() {
        csv::ErrorKind::Io(error) => error,
        other => io::Error::other(format!("{other:?}")),
    };
    writer.write_record(R::FIELDS).map_err(failed)?;
    for row in rows {
        writer.write_record(row.fields()).map_err(failed)?;
    }
    writer.flush()
}

/// Writes rows as JSON, one a line. Fails as the output does.
pub fn write_json_lines<R: Serialize>(rows: &[R], mut output: impl Write) -> io::Result<()> {
    for row in rows {
        serde_json::to_writer(&mut output, row)?;
        output.write_all(b"\n")?;
    }
    output.flush()
}

fn or_empty(value: Option<impl ToString>) -> String {
    value.map_or_else(String::new, |value| value.to_string())
}
