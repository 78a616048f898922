//! People whom somebody else has signed in: a proxy before the service, or an issuer of OpenID Connect.

/// Characters of a user's name, as an issuer or a proxy tells it.
pub const USER_CHARACTERS_MAX: usize = 128;
/// Groups of a user.
pub const GROUPS_MAX: usize = 256;
/// Characters of a group's name.
pub const GROUP_CHARACTERS_MAX: usize = 256;
/// Before the names of such users in the audit: no token has such a name.
const PREFIX: &str = "user:";

/// A user, and their groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedIn {
    /// Their name.
    pub user: String,
    /// Their groups.
    pub groups: Vec<String>,
}

impl SignedIn {
    /// A user who was named so; the error is what is wrong with the names.
    pub fn new(user: &str, groups: Vec<String>) -> Result<Self, String> {
        if !is_user(user) {
            return Err(format!(
                "the user's name is not 1 to {USER_CHARACTERS_MAX} letters, digits and . _ @ - + \\ / : = |"
            ));
        }
        let is_group = |group: &String| {
            let length = group.chars().count();
            (1..=GROUP_CHARACTERS_MAX).contains(&length) && !group.chars().any(char::is_control)
        };
        if groups.len() > GROUPS_MAX || !groups.iter().all(is_group) {
            return Err(format!(
                "the user's groups are not at most {GROUPS_MAX} of 1 to {GROUP_CHARACTERS_MAX} characters each"
            ));
        }
        Ok(Self { user: user.to_owned(), groups })
    }

    /// Their name in the audit.
    pub fn name(&self) -> String {
        format!("{PREFIX}{}", self.user)
    }
}

/// True for what can be the name of a user.
pub(super) fn is_user(name: &str) -> bool {
    let is_plain = |c: char| c.is_alphanumeric() || "._@-+\\/:=|".contains(c);
    (1..=USER_CHARACTERS_MAX).contains(&name.chars().count()) && name.chars().all(is_plain)
}

/// True for what can be the name of a group.
pub(super) fn is_group(name: &str) -> bool {
    SignedIn::new("x", vec![name.to_owned()]).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_be_taken_for_something_else_are_refused() {
        for user in ["alice", "alice@example.com", "EXAMPLE\\alice", "jürgen", "auth0|5f7c"] {
            assert_eq!(SignedIn::new(user, Vec::new()).map(|it| it.name()), Ok(format!("user:{user}")));
        }
        let long = "x".repeat(USER_CHARACTERS_MAX + 1);
        for user in ["", "a b", "a,b", "a\nb", "a\u{202e}b", "a\"b", "a;b", &long] {
            assert!(SignedIn::new(user, Vec::new()).is_err(), "{user:?}");
        }
        for groups in [vec![String::new()], vec!["a\u{0}".into()], vec!["g".into(); GROUPS_MAX + 1]] {
            assert!(SignedIn::new("a", groups).is_err());
        }
    }
}
