//! Variables of the environment that say how to reach a cloud, with which keys.

use std::collections::BTreeMap;

/// Variables of the environment, as the tools of the clouds have them: `AWS_ACCESS_KEY_ID`, `AWS_PROFILE`, `GOOGLE_APPLICATION_CREDENTIALS`,
/// `AZURE_STORAGE_ACCOUNT` and others. The command reads them; a library does not.
#[derive(Clone, Default)]
pub struct CloudEnvironment(BTreeMap<String, String>);

/// Names only: the values are secrets.
impl std::fmt::Debug for CloudEnvironment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl FromIterator<(String, String)> for CloudEnvironment {
    fn from_iter<T: IntoIterator<Item = (String, String)>>(variables: T) -> Self {
        // An empty one counts as absent, as for the tools of the clouds.
        Self(variables.into_iter().filter(|(_, value)| !value.is_empty()).collect())
    }
}

impl CloudEnvironment {
    /// The value of a variable.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// The first of these variables that is there.
    pub(super) fn first(&self, names: &[&str]) -> Option<&str> {
        names.iter().find_map(|name| self.get(name))
    }

    /// Variables with this beginning, with their names in lower case.
    pub(super) fn beginning_with<'e>(&'e self, begin: &'e str) -> impl Iterator<Item = (String, &'e str)> {
        let all = self.0.iter().filter(move |(name, _)| name.starts_with(begin));
        all.map(|(name, value)| (name.to_ascii_lowercase(), value.as_str()))
    }
}
