//! Parameters as they arrive: names and values from a query string, a form or a JSON object, none twice, none unknown.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::Value;
use serde_json::error::Category;

use crate::problem::{Kind, Problem};

/// The largest number that every JSON library reads exactly.
pub const NUMBER_MAX: u64 = (1 << 53) - 1;
/// Characters of a wrong value that are shown again.
const SHOWN_CHARACTERS: usize = 80;
/// Parameters that may be given several times in a query string or a form, and as a list in a JSON object.
const REPEATABLE: [&str; 1] = ["interface"];
/// Largest number of values of such a parameter.
pub const REPEATED_MAX: usize = 64;

/// A value as it was given.
#[derive(Clone, Debug, PartialEq)]
enum Given {
    /// Text: all values of a query string or a form are.
    Text(String),
    /// Value in a JSON object, where numbers and truth values have types.
    Json(Value),
}

/// Parameters, each to be taken by its name. What has not been taken at the end is unknown.
#[derive(Debug, Default)]
pub struct Fields {
    given: BTreeMap<String, Given>,
    /// Values of parameters that may be given several times.
    lists: BTreeMap<String, Vec<String>>,
    known: Vec<&'static str>,
}

impl Fields {
    /// Parses a query string or a form.
    pub fn from_form(text: &[u8]) -> Result<Self, Problem> {
        let pairs = form_urlencoded::parse(text);
        Self::collect(pairs.map(|(name, value)| (name.into_owned(), Given::Text(value.into_owned()))))
    }

    /// Parses a JSON object.
    pub fn from_json(text: &[u8]) -> Result<Self, Problem> {
        let mut deserializer = serde_json::Deserializer::from_slice(text);
        let bad = |error: serde_json::Error| {
            let (line, column) = (error.line(), error.column());
            let detail = match error.classify() {
                Category::Eof => "the body ends before the JSON object in it does".to_owned(),
                _ => format!(
                    "the body is not a JSON object of parameters, such as {{\"filter\": \"port 53\"}}: line {line}, column {column}"
                ),
            };
            Problem::new(Kind::BadBody, detail)
        };
        let pairs = deserializer.deserialize_map(Pairs).map_err(bad)?;
        deserializer.end().map_err(bad)?;
        Self::collect(pairs.into_iter().map(|(name, value)| (name, Given::Json(value))))
    }

    fn collect(pairs: impl Iterator<Item = (String, Given)>) -> Result<Self, Problem> {
        let mut fields = Self::default();
        for (name, value) in pairs {
            let value = match value {
                Given::Text(text) if REPEATABLE.contains(&name.as_str()) => {
                    fields.lists.entry(name).or_default().push(text);
                    continue;
                }
                value => value,
            };
            if fields.given.contains_key(&name) {
                let detail = format!("the parameter {:?} was given twice", shown(&name));
                return Err(Problem::new(Kind::RepeatedParameter, detail).with("parameter", name));
            }
            fields.given.insert(name, value);
        }
        Ok(fields)
    }

    fn take_given(&mut self, name: &'static str) -> Option<Given> {
        self.known.push(name);
        self.given.remove(name)
    }

    /// A text.
    pub fn text(&mut self, name: &'static str) -> Result<Option<String>, Problem> {
        match self.take_given(name) {
            None => Ok(None),
            Some(Given::Text(text) | Given::Json(Value::String(text))) => Ok(Some(text)),
            Some(Given::Json(other)) => Err(bad_value(name, &other.to_string(), "a text")),
        }
    }

    /// Several texts; none where it was not given.
    pub fn texts(&mut self, name: &'static str) -> Result<Vec<String>, Problem> {
        let expected = || format!("a text, or a list of at most {REPEATED_MAX} texts");
        let list = self.lists.remove(name);
        let (texts, shown) = match self.take_given(name) {
            None => (Some(list.unwrap_or_default()), "a longer list".to_owned()),
            Some(Given::Text(text)) => (Some(vec![text]), String::new()),
            Some(Given::Json(value)) => {
                let shown = value.to_string();
                let texts = match value {
                    Value::String(text) => Some(vec![text]),
                    value => serde_json::from_value::<Vec<String>>(value).ok(),
                };
                (texts, shown)
            }
        };
        let texts = texts.filter(|texts| texts.len() <= REPEATED_MAX);
        texts.ok_or_else(|| bad_value(name, &shown, &expected()))
    }

    /// A whole number, in a query string also as `0x2a`.
    pub fn number(&mut self, name: &'static str, most: u64) -> Result<Option<u64>, Problem> {
        let (number, text) = match self.take_given(name) {
            None => return Ok(None),
            Some(Given::Text(text)) => (parse_number(&text), text),
            Some(Given::Json(value)) => (value.as_u64(), value.to_string()),
        };
        let number = number.filter(|&number| number <= most);
        number.map(Some).ok_or_else(|| bad_value(name, &text, &format!("a whole number from 0 to {most}")))
    }

    /// Flag; false if absent.
    pub fn flag(&mut self, name: &'static str) -> Result<bool, Problem> {
        match self.take_given(name) {
            None => Ok(false),
            Some(Given::Json(Value::Bool(flag))) => Ok(flag),
            Some(Given::Text(text)) if text == "true" => Ok(true),
            Some(Given::Text(text)) if text == "false" => Ok(false),
            Some(Given::Text(text)) => Err(bad_value(name, &text, "true or false")),
            Some(Given::Json(other)) => Err(bad_value(name, &other.to_string(), "true or false")),
        }
    }

    /// A text that `parse` accepts; `expected` describes it.
    pub fn parsed<T>(
        &mut self,
        name: &'static str,
        expected: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, Problem> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        parse(&text).map(Some).ok_or_else(|| bad_value(name, &text, expected))
    }

    /// All have been taken that there are: any other is unknown.
    pub fn end(self) -> Result<(), Problem> {
        let Some(name) = self.given.into_keys().chain(self.lists.into_keys()).next() else { return Ok(()) };
        let known = self.known.join(", ");
        let detail = match self.known.is_empty() {
            true => format!("there is no parameter {:?}: this path takes no parameters", shown(&name)),
            false => format!("there is no parameter {:?}; the parameters are {known}", shown(&name)),
        };
        Err(Problem::new(Kind::UnknownParameter, detail).with("parameter", name).with("known", self.known))
    }
}

/// A value that cannot be read.
pub fn bad_value(name: &str, value: &str, expected: &str) -> Problem {
    let detail = format!("{name}: {:?} is not {expected}", shown(value));
    Problem::new(Kind::BadParameter, detail).with("parameter", name)
}

fn shown(text: &str) -> String {
    text.chars().take(SHOWN_CHARACTERS).collect()
}

fn parse_number(text: &str) -> Option<u64> {
    let digits = |text: &str, radix| {
        let is_digits = !text.is_empty() && text.chars().all(|digit| digit.is_digit(radix));
        is_digits.then(|| u64::from_str_radix(text, radix).ok()).flatten()
    };
    match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(text) => digits(text, 16),
        None => digits(text, 10),
    }
}

/// Reads the members of an object, keeping repeated ones.
struct Pairs;

impl<'de> Visitor<'de> for Pairs {
    type Value = Vec<(String, Value)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object whose members are parameters")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut pairs = Vec::new();
        while let Some(pair) = map.next_entry()? {
            pairs.push(pair);
        }
        Ok(pairs)
    }
}
