//! Names of manifests, which askers choose.

use crate::fields::Fields;
use crate::problem::Problem;

/// Characters of a name.
const NAME_CHARACTERS_MAX: usize = 64;

/// Name that an asker gives to a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestName(String);

impl ManifestName {
    /// Takes it from the fields of a request.
    pub fn from_fields(fields: &mut Fields) -> Result<Option<Self>, Problem> {
        let expected = format!("a name of at most {NAME_CHARACTERS_MAX} letters, digits, - and _");
        fields.parsed("manifest", &expected, Self::read)
    }

    /// Reads one.
    pub fn read(text: &str) -> Option<Self> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        let is_name = (1..=NAME_CHARACTERS_MAX).contains(&text.len()) && text.bytes().all(is_plain);
        is_name.then(|| Self(text.to_owned()))
    }
}
