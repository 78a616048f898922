//! Writes GeoIP databases: MaxMind DB, version 2.0 of its specification.

/// A value of a database.
#[derive(Clone)]
pub enum Value {
    Text(&'static str),
    Double(f64),
    U16(u16),
    U32(u32),
    U64(u64),
    Map(Vec<(&'static str, Value)>),
    List(Vec<Value>),
}

impl Value {
    /// As GeoLite2 City has it.
    pub fn city(city: &'static str, country: &'static str, code: &'static str, at: (f64, f64)) -> Self {
        let name = |name| Self::Map(vec![("names", Self::Map(vec![("en", Self::Text(name))]))]);
        let Self::Map(names) = name(country) else { unreachable!("a map") };
        let country = [vec![("iso_code", Self::Text(code))], names].concat();
        let location = vec![("latitude", Self::Double(at.0)), ("longitude", Self::Double(at.1))];
        Self::Map(vec![
            ("city", name(city)),
            ("country", Self::Map(country)),
            ("location", Self::Map(location)),
        ])
    }

    fn write(&self, to: &mut Vec<u8>) {
        let number = |to: &mut Vec<u8>, kind: u8, bytes: &[u8]| {
            head(to, kind, bytes.len());
            to.extend(bytes);
        };
        match self {
            Self::Text(text) => number(to, 2, text.as_bytes()),
            Self::Double(double) => number(to, 3, &double.to_be_bytes()),
            Self::U16(value) => number(to, 5, &value.to_be_bytes()),
            Self::U32(value) => number(to, 6, &value.to_be_bytes()),
            Self::U64(value) => number(to, 9, &value.to_be_bytes()),
            Self::Map(entries) => {
                head(to, 7, entries.len());
                for (name, value) in entries {
                    Self::Text(name).write(to);
                    value.write(to);
                }
            }
            Self::List(values) => {
                head(to, 11, values.len());
                values.iter().for_each(|value| value.write(to));
            }
        }
    }
}

/// Type and size of a value.
fn head(to: &mut Vec<u8>, kind: u8, size: usize) {
    let size = u8::try_from(size).expect("short");
    assert!(size < 29, "longer sizes are written otherwise");
    if kind < 8 { to.push(kind << 5 | size) } else { to.extend([size, kind - 7]) }
}

/// Where a branch of the tree leads.
#[derive(Clone, Copy)]
enum Branch {
    Nowhere,
    Node(usize),
    /// A place in the data.
    Data(usize),
}

/// A database of IPv4 networks, by address and prefix length.
pub fn database(kind: &'static str, networks: &[([u8; 4], u32, Value)]) -> Vec<u8> {
    let (mut nodes, mut data) = (vec![[Branch::Nowhere; 2]], Vec::new());
    for (address, prefix, value) in networks {
        let (bits, place, mut node) = (u32::from_be_bytes(*address), data.len(), 0);
        value.write(&mut data);
        let side = |depth: u32| (bits >> (31 - depth) & 1) as usize;
        for depth in 0..prefix - 1 {
            node = match nodes[node][side(depth)] {
                Branch::Node(next) => next,
                _ => {
                    nodes.push([Branch::Nowhere; 2]);
                    let next = nodes.len() - 1;
                    nodes[node][side(depth)] = Branch::Node(next);
                    next
                }
            };
        }
        nodes[node][side(prefix - 1)] = Branch::Data(place);
    }
    let count = nodes.len();
    let record = |branch: Branch| match branch {
        Branch::Nowhere => count,
        Branch::Node(node) => node,
        Branch::Data(place) => count + 16 + place,
    };
    let mut file: Vec<u8> =
        nodes.iter().flatten().flat_map(|&branch| (record(branch) as u32).to_be_bytes()).collect();
    file.extend([0; 16]);
    file.extend(data);
    file.extend(b"\xab\xcd\xefMaxMind.com");
    metadata(kind, count as u32).write(&mut file);
    file
}

fn metadata(kind: &'static str, node_count: u32) -> Value {
    Value::Map(vec![
        ("binary_format_major_version", Value::U16(2)),
        ("binary_format_minor_version", Value::U16(0)),
        ("build_epoch", Value::U64(1_795_339_000)),
        ("database_type", Value::Text(kind)),
        ("description", Value::Map(vec![("en", Value::Text("of a test"))])),
        ("ip_version", Value::U16(4)),
        ("languages", Value::List(vec![Value::Text("en")])),
        ("node_count", Value::U32(node_count)),
        ("record_size", Value::U16(32)),
    ])
}
