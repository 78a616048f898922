//! Types that are written as text in files, and the faults of text that cannot be read.

/// Serializes a type as what `Display` writes, and reads it back with `FromStr`.
#[macro_export]
macro_rules! serde_as_text {
    ($name:ty) => {
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}
pub(crate) use serde_as_text;

/// Description and line of a fault in a TOML file. Quotes nothing of the file but names of its settings: a line may hold a
/// secret.
pub fn toml_fault(text: &str, error: &toml::de::Error) -> String {
    let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    let named = |start: &str| error.message().strip_prefix(start)?.split('`').next();
    let fault = if let Some(name) = named("missing field `") {
        format!("`{name}` is missing")
    } else if let Some(name) = named("unknown field `") {
        format!("`{name}` is not a setting")
    } else if let Some(name) = named("unknown variant `") {
        format!("`{name}` is not one of its possible values")
    } else if error.message().starts_with("duplicate key") {
        "a setting is given twice".to_owned()
    } else {
        "it is not in the format that netrewind writes".to_owned()
    };
    format!("line {line}: {fault}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Settings {
        #[expect(dead_code, reason = "read into alone")]
        size: u32,
    }

    #[test]
    fn faults_of_files_are_told_in_words() {
        for (text, wanted) in [
            ("", "line 1: `size` is missing"),
            ("size = 1\nsice = 2\n", "line 2: `sice` is not a setting"),
            ("\nsize = 'secret'", "line 2: it is not in the format that netrewind writes"),
            ("size = 1\nsize = 2", "line 2: a setting is given twice"),
            ("size = 1\n]]secret[", "line 2: it is not in the format that netrewind writes"),
        ] {
            let error = toml::from_str::<Settings>(text).expect_err(text);
            assert_eq!(toml_fault(text, &error), wanted, "{text:?}: {error}");
        }
    }
}
