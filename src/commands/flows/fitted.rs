//! A table that fits a terminal: what has no room is left out, and named. No address is broken.

/// Columns between two cells.
const GAP: usize = 2;
/// Least width of a text that may be cut.
const FLEXIBLE_MIN: usize = 8;

/// A column of a table.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// Its head.
    pub name: &'static str,
    /// True if it is aligned to the right.
    pub is_number: bool,
    /// The order in which columns are left out, the highest first; 0 stays.
    rank: u8,
    /// True if its texts may be cut.
    is_flexible: bool,
    /// The column that goes below it, where both beside each other have no room.
    above: Option<&'static str>,
}

impl Column {
    /// A column of texts.
    pub const fn text(name: &'static str) -> Self {
        Self { name, is_number: false, rank: 0, is_flexible: false, above: None }
    }

    /// A column of numbers.
    pub const fn number(name: &'static str) -> Self {
        Self { is_number: true, ..Self::text(name) }
    }

    /// Is left out before columns of lower rank.
    pub const fn rank(self, rank: u8) -> Self {
        Self { rank, ..self }
    }

    /// May be cut.
    pub const fn flexible(self) -> Self {
        Self { is_flexible: true, ..self }
    }

    /// May stand above another.
    pub const fn above(self, below: &'static str) -> Self {
        Self { above: Some(below), ..self }
    }
}

/// Lines of a table, and the columns that had no room.
#[derive(Debug, PartialEq, Eq)]
pub struct FittedTable {
    /// The head, and the rows.
    pub lines: Vec<String>,
    /// Heads of the columns that were left out.
    pub left_out: Vec<&'static str>,
}

/// A column with its cells, which may have a second line.
struct FilledColumn {
    column: Column,
    cells: Vec<String>,
    below: Option<Vec<String>>,
    width: usize,
}

fn width_of(text: &str) -> usize {
    text.chars().count()
}

impl FilledColumn {
    fn new(column: Column, cells: Vec<String>) -> Self {
        let width = cells.iter().map(|cell| width_of(cell)).chain([width_of(column.name)]).max().unwrap_or(0);
        Self { column, cells, below: None, width }
    }

    /// The text of a row's first or second line, as wide as the column.
    fn padded(&self, text: &str) -> String {
        let cut: String = match width_of(text) > self.width {
            true => text.chars().take(self.width.saturating_sub(1)).chain(['\u{2026}']).collect(),
            false => text.to_owned(),
        };
        let width = self.width;
        if self.column.is_number { format!("{cut:>width$}") } else { format!("{cut:<width$}") }
    }
}

/// Fits rows into `width` columns.
pub fn fit(columns: &[Column], rows: &[Vec<String>], width: usize) -> FittedTable {
    let filled =
        |number: usize| rows.iter().map(|row| row.get(number).cloned().unwrap_or_default()).collect();
    let all = || -> Vec<FilledColumn> {
        columns
            .iter()
            .enumerate()
            .map(|(number, column)| FilledColumn::new(*column, filled(number)))
            .collect()
    };
    let (mut shown, mut left_out) = narrowed(all(), width);
    if total(&shown) > width {
        (shown, left_out) = narrowed(stacked(all()), width);
    }
    let mut lines = vec![line(&shown, |column| column.column.name)];
    for row in 0..rows.len() {
        lines.push(line(&shown, |column| column.cells.get(row).map_or("", String::as_str)));
        if shown.iter().any(|column| column.below.is_some()) {
            let below =
                |column: &FilledColumn| column.below.as_ref().and_then(|below| below.get(row)).cloned();
            let texts: Vec<String> =
                shown.iter().map(|column| column.padded(&below(column).unwrap_or_default())).collect();
            lines.push(texts.join(&" ".repeat(GAP)).trim_end().to_owned());
        }
    }
    FittedTable { lines, left_out }
}

fn total(columns: &[FilledColumn]) -> usize {
    columns.iter().map(|column| column.width).sum::<usize>() + GAP * columns.len().saturating_sub(1)
}

fn line<'c>(columns: &'c [FilledColumn], text: impl Fn(&'c FilledColumn) -> &'c str) -> String {
    let texts: Vec<String> = columns.iter().map(|column| column.padded(text(column))).collect();
    texts.join(&" ".repeat(GAP)).trim_end().to_owned()
}

/// Cuts what may be cut, and leaves out columns, until the others fit or none is left that may go.
fn narrowed(mut columns: Vec<FilledColumn>, width: usize) -> (Vec<FilledColumn>, Vec<&'static str>) {
    let mut left_out = Vec::new();
    loop {
        let excess = total(&columns).saturating_sub(width);
        if excess == 0 {
            return (columns, left_out);
        }
        let next = columns.iter().map(|column| column.column.rank).max().unwrap_or(0);
        let cut = columns.iter_mut().find(|column| {
            column.column.is_flexible
                && column.column.rank == next
                && column.width >= FLEXIBLE_MIN.max(width_of(column.column.name)) + excess
        });
        if let Some(column) = cut {
            column.width -= excess;
            return (columns, left_out);
        }
        if next == 0 {
            return (columns, left_out);
        }
        left_out.extend(
            columns.iter().filter(|column| column.column.rank == next).map(|column| column.column.name),
        );
        columns.retain(|column| column.column.rank != next);
    }
}

/// Puts columns below those that they may stand under.
fn stacked(columns: Vec<FilledColumn>) -> Vec<FilledColumn> {
    let mut done: Vec<FilledColumn> = Vec::new();
    for column in columns {
        match done.last_mut() {
            Some(before) if before.column.above == Some(column.column.name) => {
                let below: Vec<String> = column.cells.iter().map(|cell| format!("  {cell}")).collect();
                let widest = below.iter().map(|cell| width_of(cell)).max().unwrap_or(0);
                before.width = before.width.max(widest);
                before.below = Some(below);
            }
            _ => done.push(column),
        }
    }
    done
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [Column; 5] = [
        Column::text("START").rank(1),
        Column::text("CLIENT").above("SERVER"),
        Column::text("SERVER"),
        Column::number("BYTES"),
        Column::text("APPLICATION").rank(2).flexible(),
    ];

    fn rows(client: &str, server: &str) -> Vec<Vec<String>> {
        let row = ["09:31:01", client, server, "1.5 KiB", "tls a.very.long.name.example.org"];
        vec![row.map(str::to_owned).to_vec()]
    }

    #[test]
    fn a_table_is_as_wide_as_the_terminal_and_says_what_it_lacks() {
        for width in 20..120 {
            for (client, server) in [
                ("10.0.0.1:1", "10.0.0.2:443"),
                ("[2001:db8::1:2:3:4:5]:51234", "[2001:db8:ffff::8:7:6:5]:443"),
            ] {
                let rows = rows(client, server);
                let table = fit(&COLUMNS, &rows, width);
                let text = table.lines.join("\n");
                assert!(text.contains(client) && text.contains(server), "{width}: {text}");
                let widest = table.lines.iter().map(|line| width_of(line)).max().unwrap();
                assert!(widest <= width || width < 42, "{width}: {text}");
                for column in
                    COLUMNS.iter().filter(|column| column.above.is_none() && column.name != "SERVER")
                {
                    assert!(
                        text.contains(column.name) != table.left_out.contains(&column.name),
                        "{width}: {text}"
                    );
                }
            }
        }
        assert_eq!(fit(&COLUMNS, &rows("a", "b"), 200).left_out, Vec::<&str>::new());
    }
}
