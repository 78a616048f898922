//! Output of a list: a table, JSON lines or CSV, on standard output or in a file that is complete or not there at all.

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use jiff::tz::TimeZone;
use netrewind_extractor::flows::{Conversation, write_csv, write_eve, write_json_lines, write_zeek};
use serde::Serialize;

use super::fitted::{Column, FittedTable, fit};
use super::rows::Row;
use crate::commands::compressed::{CompressedWriter, OutputCompression, compression_of};
use crate::commands::destination::Destination;
use crate::outcome::Failure;
use crate::terminal::{self, Style};

/// Columns of a terminal that does not say.
const TERMINAL_COLUMNS: usize = 80;

/// Form of a list.
pub struct ListForm {
    /// The format that was asked for: table, json or csv.
    pub format: Option<String>,
    /// True if no remarks are made about it.
    pub is_quiet: bool,
    /// The zone of times in tables.
    pub zone: TimeZone,
}

/// Where a list is written to.
pub struct ListOutput {
    form: ListForm,
    /// `None` for standard output.
    file: Option<OpenedFile>,
}

struct OpenedFile {
    name: PathBuf,
    file: File,
    destination: Destination,
    compression: OutputCompression,
}

/// A list, and the recorder of each row where there are several.
struct List<'r, R> {
    rows: &'r [R],
    recorders: &'r [String],
}

impl<R> Clone for List<'_, R> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<R> Copy for List<'_, R> {}

impl<R: Row> List<'_, R> {
    fn columns(&self) -> Vec<Column> {
        let of_recorders = (!self.recorders.is_empty()).then(|| Column::text("RECORDER").rank(1).flexible());
        R::COLUMNS.iter().copied().chain(of_recorders).collect()
    }

    fn cells(&self, for_person: bool, zone: &TimeZone) -> Vec<Vec<String>> {
        let of = |(number, row): (usize, &R)| {
            let recorder = self.recorders.get(number).cloned();
            row.columns(for_person, zone).into_iter().chain(recorder).collect()
        };
        self.rows.iter().enumerate().map(of).collect()
    }
}

/// The format that the name of a file asks for.
fn format_of(name: &Path) -> Option<&'static str> {
    match compression_of(name).1.extension()?.to_str()? {
        "csv" => Some("csv"),
        "json" | "jsonl" | "ndjson" => Some("json"),
        _ => None,
    }
}

impl ListOutput {
    /// Opens it.
    pub fn open(name: Option<&Path>, form: ListForm) -> Result<Self, Failure> {
        let Some(name) = name.filter(|name| *name != Path::new("-")) else {
            return Ok(Self { form, file: None });
        };
        let (file, destination) = Destination::open(name, false)
            .map_err(|error| Failure::Failed(anyhow::anyhow!("{}: {error}", name.display())))?;
        let format = form.format.or_else(|| format_of(name).map(str::to_owned));
        let (compression, name) = (compression_of(name).0, name.to_owned());
        Ok(Self {
            form: ListForm { format, ..form },
            file: Some(OpenedFile { name, file, destination, compression }),
        })
    }

    /// The folder in which the file gets its name once it is complete.
    pub fn folder(&self) -> Option<PathBuf> {
        self.file.as_ref().and_then(|file| file.destination.folder())
    }

    /// Itself, with the answer to write; the file is discarded if there is none.
    pub fn unless_failed<T, E>(self, answer: Result<T, E>) -> Result<(Self, T), E> {
        match answer {
            Ok(answer) => Ok((self, answer)),
            Err(error) => {
                if let Some(file) = self.file {
                    // The reason that there is no answer is told.
                    let _ = file.destination.give_up();
                }
                Err(error)
            }
        }
    }

    /// Prints a list and returns its length.
    pub fn print<R: Row + Serialize>(self, rows: &[R], recorders: &[String]) -> Result<u64, Failure> {
        let list = List { rows, recorders };
        self.print_by(|form, is_terminal, output| write(list, form, is_terminal, output))?;
        Ok(rows.len() as u64)
    }

    /// Prints conversations, with the recorder of each where there are several, also as the log of another tool.
    pub fn print_conversations(self, rows: &[Conversation], recorders: &[String]) -> Result<(), Failure> {
        let write_log: fn(&[Conversation], &mut dyn Write) -> io::Result<u64> =
            match self.form.format.as_deref() {
                Some("eve") => |rows, output| write_eve(rows, output),
                Some("zeek") => |rows, output| write_zeek(rows, output),
                _ => return self.print(rows, recorders).map(|_| ()),
            };
        self.print_by(|_, _, output| {
            let left_out = write_log(rows, output)?;
            let told = format!("{left_out} conversations are left out: they have no IP addresses");
            Ok((left_out > 0).then_some(told).into_iter().collect())
        })
    }

    /// Prints what is written by a function, which is told the form, and if it is for a terminal, and returns what to say.
    fn print_by(
        self,
        write: impl FnOnce(&ListForm, bool, &mut dyn Write) -> io::Result<Vec<String>>,
    ) -> Result<(), Failure> {
        let told = match self.file {
            Some(OpenedFile { name, file, destination, compression }) => {
                let mut output = CompressedWriter::new(BufWriter::new(file), compression)?;
                let written = write(&self.form, false, &mut output);
                let written = written.and_then(|told| output.finish().map(|()| told));
                let kept = match written {
                    Ok(told) => destination.keep().map(|()| told),
                    Err(error) => {
                        // What went wrong first is told.
                        let _ = destination.give_up();
                        Err(error)
                    }
                };
                kept.map_err(|error| Failure::Failed(anyhow::anyhow!("{}: {error}", name.display())))?
            }
            None => {
                let mut output = BufWriter::new(terminal::StandardOutput);
                let written = write(&self.form, io::stdout().is_terminal(), &mut output);
                terminal::if_read(written.and_then(|told| output.flush().map(|()| told)))?
            }
        };
        told.iter().filter(|_| !self.form.is_quiet).for_each(terminal::say);
        Ok(())
    }
}

/// Writes a list, and returns what to say about it.
fn write<R: Row + Serialize>(
    list: List<'_, R>,
    form: &ListForm,
    is_terminal: bool,
    output: &mut dyn Write,
) -> io::Result<Vec<String>> {
    match form.format.as_deref() {
        Some("json") => print_json(list, output)?,
        Some("csv") => print_csv(list, output)?,
        _ if is_terminal => return print_fitted(list, &form.zone, output),
        _ => print_table(list, &form.zone, output)?,
    }
    Ok(Vec::new())
}

/// A line of a list of several recorders.
#[derive(Serialize)]
struct RecorderRow<'r, R> {
    recorder: &'r str,
    #[serde(flatten)]
    row: &'r R,
}

fn print_json<R: Serialize>(list: List<'_, R>, output: impl Write) -> io::Result<()> {
    if list.recorders.is_empty() {
        return write_json_lines(list.rows, output);
    }
    let of_recorders =
        list.rows.iter().zip(list.recorders).map(|(row, recorder)| RecorderRow { recorder, row });
    write_json_lines(&of_recorders.collect::<Vec<_>>(), output)
}

fn print_csv<R: Row>(list: List<'_, R>, output: impl Write) -> io::Result<()> {
    if list.recorders.is_empty() {
        return write_csv(list.rows, output);
    }
    let mut writer = csv::Writer::from_writer(output);
    let failed = |error: csv::Error| match error.into_kind() {
        csv::ErrorKind::Io(error) => error,
        other => io::Error::other(format!("{other:?}")),
    };
    writer.write_record(R::FIELDS.iter().copied().chain(["recorder"])).map_err(failed)?;
    for (row, recorder) in list.rows.iter().zip(list.recorders) {
        writer.write_record(row.fields().iter().chain([recorder])).map_err(failed)?;
    }
    writer.flush()
}

/// Prints a table for a person, and returns what to say about it.
fn print_fitted<R: Row>(
    list: List<'_, R>,
    zone: &TimeZone,
    mut output: impl Write,
) -> io::Result<Vec<String>> {
    let (columns, mut cells) = (list.columns(), list.cells(true, zone));
    let mut notes = Vec::new();
    if let Some(start) = columns.iter().position(|column| column.name == "START") {
        notes.extend(shorten_times(&mut cells, start));
    }
    let width = Table::new().width().map_or(TERMINAL_COLUMNS, usize::from);
    let FittedTable { lines, left_out } = fit(&columns, &cells, width);
    for (number, line) in lines.iter().enumerate() {
        let line = terminal::printable(line);
        match number {
            0 => writeln!(output, "{}", terminal::styled(Style::Bold, &line, io::stdout().is_terminal()))?,
            _ => writeln!(output, "{line}")?,
        }
    }
    output.flush()?;
    if !left_out.is_empty() {
        let names = left_out.join(", ");
        notes.push(format!("no room for {names}: a wider terminal, a pipe, or --format csv shows them"));
    }
    Ok(notes)
}

/// Leaves of times what tells them apart: the time of day to the second and, unless all are of one day, the day. Returns what to say.
fn shorten_times(rows: &mut [Vec<String>], column: usize) -> Option<String> {
    // 2026-11-22T09:31:01.628448290Z
    let part = |row: &Vec<String>, range| row.get(column).and_then(|time| time.get(range)).map(str::to_owned);
    let first = rows.first().and_then(|row| part(row, 0..10))?;
    let is_one_day = rows.iter().all(|row| part(row, 0..10).as_ref() == Some(&first));
    for row in rows.iter_mut() {
        let (day, time) = (part(row, 5..10)?, part(row, 11..19)?);
        if let Some(cell) = row.get_mut(column) {
            *cell = if is_one_day { time } else { format!("{day} {time}") };
        }
    }
    is_one_day.then(|| format!("times are of {first}"))
}

/// Prints a table for a program: every column, times in full.
fn print_table<R: Row>(list: List<'_, R>, zone: &TimeZone, mut output: impl Write) -> io::Result<()> {
    let columns = list.columns();
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(columns.iter().map(|column| column.name));
    table.add_rows(list.cells(false, zone));
    for (cells, column) in table.column_iter_mut().zip(&columns) {
        if column.is_number {
            cells.set_cell_alignment(CellAlignment::Right);
        }
    }
    for line in table.lines() {
        writeln!(output, "{}", line.trim_end())?;
    }
    output.flush()
}
