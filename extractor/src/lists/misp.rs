//! Indicators of MISP: the attributes of an event, of several, or of a search, and warning lists, as their JSON has them
//! (<https://github.com/MISP/misp-rfc>, "MISP core format" and "MISP warning lists").

use serde_json::Value;

use super::error::{LeftOut, ListError, ListKind};

/// Takes an entry and says where it stands.
type Add<'a> = dyn FnMut(&str, &dyn Fn() -> String) -> Result<(), ListError> + 'a;

/// Reads the entries.
pub(super) fn read(text: &str, kind: ListKind, add: &mut Add<'_>) -> Result<LeftOut, ListError> {
    let value: Value = serde_json::from_str(text).map_err(|error| ListError::Json(error.to_string()))?;
    if let Some(list) = value.get("list").and_then(Value::as_array) {
        for (number, entry) in (1u64..).zip(list) {
            let place = || format!("entry {number} of the warning list");
            let text = entry.as_str().ok_or_else(|| ListError::Json(format!("{} is no text", place())))?;
            add(text, &place)?;
        }
        return Ok(LeftOut::default());
    }
    let mut attributes = Attributes { kind, add, left_out: LeftOut::default(), seen: 0 };
    attributes.walk(&value)?;
    match attributes.seen {
        0 => Err(ListError::Json("has no attributes with a type and a value".to_owned())),
        _ => Ok(attributes.left_out),
    }
}

/// The attributes, wherever they stand: in an event, its objects, or the answer of a search.
struct Attributes<'a, 'b> {
    kind: ListKind,
    add: &'a mut Add<'b>,
    left_out: LeftOut,
    seen: u64,
}

impl Attributes<'_, '_> {
    /// The parser of JSON bounds the depth.
    fn walk(&mut self, value: &Value) -> Result<(), ListError> {
        match value {
            Value::Array(values) => values.iter().try_for_each(|value| self.walk(value)),
            Value::Object(members) => match (members.get("type"), members.get("value")) {
                (Some(Value::String(kind)), Some(Value::String(text))) => {
                    self.seen += 1;
                    let is_set = |name, expected| members.get(name) == Some(&Value::Bool(expected));
                    if is_set("deleted", true) || is_set("to_ids", false) {
                        self.left_out.not_for_detection += 1;
                        return Ok(());
                    }
                    self.attribute(kind, text)
                }
                _ => members.values().try_for_each(|value| self.walk(value)),
            },
            _ => Ok(()),
        }
    }

    fn attribute(&mut self, kind: &str, text: &str) -> Result<(), ListError> {
        // Of two values in one attribute the type names both: `ip-dst|port`, `domain|ip`.
        let wanted = |kind: &str| match self.kind {
            ListKind::Addresses => matches!(kind, "ip" | "ip-src" | "ip-dst"),
            ListKind::Ports => matches!(kind, "port" | "src-port" | "dst-port"),
        };
        let values: Vec<&str> = kind
            .split('|')
            .zip(text.split('|'))
            .filter(|(kind, _)| wanted(kind))
            .map(|(_, text)| text)
            .collect();
        if values.is_empty() {
            self.left_out.of_other_types += 1;
        }
        let number = self.seen;
        values
            .iter()
            .try_for_each(|text| (self.add)(text.trim(), &|| format!("attribute {number}, of type {kind}")))
    }
}
