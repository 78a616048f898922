//! Leaves: the values of rows as Parquet stores them, with definition and repetition levels (the Dremel encoding of the Parquet
//! format).

use std::io::Write;
use std::sync::Arc;

use netrewind_flows::tunnel_record::TunnelRecord;
use parquet::basic::{LogicalType, Repetition, TimeUnit, Type as PhysicalType};
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DataType, Int32Type, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::types::{Type, TypePtr};

use crate::columns::{COLUMNS, Cell, Column, ColumnType, TableRow};

/// Name of the whole schema, which no engine shows.
const SCHEMA_NAME: &str = "flows";

/// Members of a tunnel: name, type, and whether it may be absent.
const TUNNEL_MEMBERS: [(&str, ColumnType, bool); 4] = [
    ("kind", ColumnType::Text, false),
    ("id", ColumnType::Long, true),
    ("source", ColumnType::Text, true),
    ("destination", ColumnType::Text, true),
];

/// The schema of a table. Fields have no ids: Iceberg registers only such files as they are.
pub(crate) fn schema() -> Result<TypePtr, ParquetError> {
    let fields = COLUMNS.iter().map(field).collect::<Result<_, _>>()?;
    Ok(Arc::new(Type::group_type_builder(SCHEMA_NAME).with_fields(fields).build()?))
}

fn field(column: &Column) -> Result<TypePtr, ParquetError> {
    match column.column_type {
        ColumnType::IntegerList => list(column.name, leaf("element", ColumnType::Integer, false)?),
        ColumnType::TextList => list(column.name, leaf("element", ColumnType::Text, false)?),
        ColumnType::TunnelList => {
            let members = TUNNEL_MEMBERS.iter();
            let members = members.map(|&(name, member, is_optional)| leaf(name, member, is_optional));
            let members = members.collect::<Result<_, _>>()?;
            let element = Type::group_type_builder("element").with_repetition(Repetition::REQUIRED);
            list(column.name, Arc::new(element.with_fields(members).build()?))
        }
        simple => leaf(column.name, simple, column.is_optional),
    }
}

/// A list of three levels, as the Parquet format wants it.
fn list(name: &str, element: TypePtr) -> Result<TypePtr, ParquetError> {
    let repeated = Type::group_type_builder("list").with_repetition(Repetition::REPEATED);
    let repeated = Arc::new(repeated.with_fields(vec![element]).build()?);
    let list = Type::group_type_builder(name)
        .with_repetition(Repetition::REQUIRED)
        .with_logical_type(Some(LogicalType::List));
    Ok(Arc::new(list.with_fields(vec![repeated]).build()?))
}

fn leaf(name: &str, column_type: ColumnType, is_optional: bool) -> Result<TypePtr, ParquetError> {
    let (physical, logical) = match column_type {
        ColumnType::Time => (PhysicalType::INT64, Some(LogicalType::timestamp(true, TimeUnit::MICROS))),
        ColumnType::Integer | ColumnType::IntegerList => (PhysicalType::INT32, None),
        ColumnType::Long => (PhysicalType::INT64, None),
        ColumnType::Flag => (PhysicalType::BOOLEAN, None),
        ColumnType::Text | ColumnType::TextList | ColumnType::TunnelList => {
            (PhysicalType::BYTE_ARRAY, Some(LogicalType::String))
        }
    };
    let repetition = if is_optional { Repetition::OPTIONAL } else { Repetition::REQUIRED };
    let built = Type::primitive_type_builder(name, physical).with_repetition(repetition);
    Ok(Arc::new(built.with_logical_type(logical).build()?))
}

/// Values of a leaf, without those that are absent, and the levels of all.
#[derive(Debug)]
struct Levelled<T> {
    values: Vec<T>,
    definition: Vec<i16>,
    repetition: Vec<i16>,
}

impl<T> Levelled<T> {
    fn new() -> Self {
        Self { values: Vec::new(), definition: Vec::new(), repetition: Vec::new() }
    }

    /// Adds a value, or none, that is defined as far as this level.
    fn push(&mut self, value: Option<T>, definition: i16, repetition: i16) {
        self.values.extend(value);
        self.definition.push(definition);
        self.repetition.push(repetition);
    }

    fn clear(&mut self) {
        self.values.clear();
        self.definition.clear();
        self.repetition.clear();
    }
}

/// Values of a leaf, by their physical type.
#[derive(Debug)]
enum Leaf {
    Integer(Levelled<i32>),
    Long(Levelled<i64>),
    Text(Levelled<ByteArray>),
    Flag(Levelled<bool>),
}

impl Leaf {
    fn of(column_type: ColumnType) -> Self {
        match column_type {
            ColumnType::Integer | ColumnType::IntegerList => Self::Integer(Levelled::new()),
            ColumnType::Time | ColumnType::Long => Self::Long(Levelled::new()),
            ColumnType::Flag => Self::Flag(Levelled::new()),
            ColumnType::Text | ColumnType::TextList | ColumnType::TunnelList => Self::Text(Levelled::new()),
        }
    }

    fn number(&mut self, number: Option<i64>, definition: i16, repetition: i16) {
        match self {
            Self::Integer(leaf) => {
                let fits = |number| i32::try_from(number).unwrap_or(i32::MAX);
                leaf.push(number.map(fits), definition, repetition);
            }
            Self::Long(leaf) => leaf.push(number, definition, repetition),
            Self::Text(_) | Self::Flag(_) => unreachable!("a column of another type"),
        }
    }

    fn text(&mut self, text: Option<Vec<u8>>, definition: i16, repetition: i16) {
        match self {
            Self::Text(leaf) => leaf.push(text.map(ByteArray::from), definition, repetition),
            Self::Integer(_) | Self::Long(_) | Self::Flag(_) => unreachable!("a column of another type"),
        }
    }

    fn flag(&mut self, flag: Option<bool>, definition: i16) {
        match self {
            Self::Flag(leaf) => leaf.push(flag, definition, 0),
            Self::Integer(_) | Self::Long(_) | Self::Text(_) => unreachable!("a column of another type"),
        }
    }

    fn clear(&mut self) {
        match self {
            Self::Integer(leaf) => leaf.clear(),
            Self::Long(leaf) => leaf.clear(),
            Self::Text(leaf) => leaf.clear(),
            Self::Flag(leaf) => leaf.clear(),
        }
    }

    fn write<W: Write + Send>(
        &self,
        group: &mut SerializedRowGroupWriter<'_, W>,
    ) -> Result<(), ParquetError> {
        match self {
            Self::Integer(leaf) => write_leaf::<Int32Type, W>(leaf, group),
            Self::Long(leaf) => write_leaf::<Int64Type, W>(leaf, group),
            Self::Text(leaf) => write_leaf::<ByteArrayType, W>(leaf, group),
            Self::Flag(leaf) => write_leaf::<BoolType, W>(leaf, group),
        }
    }
}

fn write_leaf<D: DataType, W: Write + Send>(
    leaf: &Levelled<D::T>,
    group: &mut SerializedRowGroupWriter<'_, W>,
) -> Result<(), ParquetError> {
    let mut column = group.next_column()?.ok_or_else(|| ParquetError::General("a column too many".into()))?;
    let written = column.typed::<D>();
    let (definition, repetition) =
        (written.get_descriptor().max_def_level(), written.get_descriptor().max_rep_level());
    let definition = (definition > 0).then_some(leaf.definition.as_slice());
    let repetition = (repetition > 0).then_some(leaf.repetition.as_slice());
    written.write_batch(&leaf.values, definition, repetition)?;
    column.close()
}

/// Rows of a row group.
#[derive(Debug)]
pub(crate) struct RowGroup {
    /// By column: tunnels have a leaf for each member.
    leaves: Vec<Vec<Leaf>>,
    rows: usize,
}

impl RowGroup {
    pub(crate) fn new() -> Self {
        let of_column = |column: &Column| match column.column_type {
            ColumnType::TunnelList => TUNNEL_MEMBERS.iter().map(|(_, member, _)| Leaf::of(*member)).collect(),
            simple => vec![Leaf::of(simple)],
        };
        Self { leaves: COLUMNS.iter().map(of_column).collect(), rows: 0 }
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    pub(crate) fn push(&mut self, row: &TableRow) {
        for (column, leaves) in COLUMNS.iter().zip(&mut self.leaves) {
            add_cell(leaves, (column.cell)(row));
        }
        self.rows += 1;
    }

    /// Writes the rows as a row group of the file, and forgets them.
    pub(crate) fn write_to<W: Write + Send>(
        &mut self,
        file: &mut SerializedFileWriter<W>,
    ) -> Result<(), ParquetError> {
        let mut group = file.next_row_group()?;
        for leaf in self.leaves.iter().flatten() {
            leaf.write(&mut group)?;
        }
        group.close()?;
        self.leaves.iter_mut().flatten().for_each(Leaf::clear);
        self.rows = 0;
        Ok(())
    }
}

/// Definition level of a value that may be absent.
fn level<T>(value: Option<&T>) -> i16 {
    i16::from(value.is_some())
}

fn add_cell(leaves: &mut [Leaf], cell: Cell<'_>) {
    let [leaf, others @ ..] = leaves else { return };
    match cell {
        Cell::Number(number) => leaf.number(number, level(number.as_ref()), 0),
        Cell::Text(text) => leaf.text(text.map(|text| text.as_bytes().to_vec()), level(text.as_ref()), 0),
        Cell::OwnText(text) => {
            let is_there = level(text.as_ref());
            leaf.text(text.map(String::into_bytes), is_there, 0);
        }
        Cell::Flag(flag) => leaf.flag(flag, level(flag.as_ref())),
        Cell::NumberList([]) => leaf.number(None, 0, 0),
        Cell::NumberList(numbers) => {
            for (place, &number) in numbers.iter().enumerate() {
                leaf.number(Some(number.into()), 1, further(place));
            }
        }
        Cell::TextList(None) => leaf.text(None, 0, 0),
        Cell::TextList(Some(texts)) => {
            for (place, text) in texts.texts().enumerate() {
                leaf.text(Some(text.as_bytes().to_vec()), 1, further(place));
            }
        }
        Cell::TunnelList(tunnels) => add_tunnels(leaf, others, tunnels),
    }
}

/// Repetition level of an element at this place of its list.
fn further(place: usize) -> i16 {
    i16::from(place > 0)
}

fn add_tunnels(kind: &mut Leaf, others: &mut [Leaf], tunnels: &[TunnelRecord]) {
    let [id, source, destination] = others else { return };
    if tunnels.is_empty() {
        kind.text(None, 0, 0);
        id.number(None, 0, 0);
        source.text(None, 0, 0);
        destination.text(None, 0, 0);
    }
    for (place, tunnel) in tunnels.iter().enumerate() {
        let at = further(place);
        kind.text(Some(tunnel.kind.as_bytes().to_vec()), 1, at);
        id.number(tunnel.id.map(i64::from), 1 + level(tunnel.id.as_ref()), at);
        let ends = [(&mut *source, tunnel.source), (&mut *destination, tunnel.destination)];
        for (leaf, address) in ends {
            let defined = 1 + level(address.as_ref());
            leaf.text(address.map(|address| address.to_string().into_bytes()), defined, at);
        }
    }
}
