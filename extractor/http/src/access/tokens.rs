//! The file of tokens: rights, and a hash of each secret. TOML, readable for people; written whole or not at all.

use std::collections::HashSet;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use netrewind_extractor::{JoinedFilter, ViewMode};
use netrewind_filter::{CompileLimits, FilterError, compile};
use netrewind_store::{LinkType, Timestamp};
use serde::{Deserialize, Serialize};

use super::signed_in::{SignedIn, is_group, is_user};
use super::token::{ID_BYTES, SECRET_BYTES, Token};
use crate::files;

/// Tokens in a file.
pub const TOKENS_MAX: usize = 1024;
/// Users, and groups, to which a file gives rights.
pub const RULES_MAX: usize = 1024;
/// Bytes of a file that are read: filters can be long.
pub const FILE_BYTES_MAX: u64 = 4 << 20;
/// Characters of a token's name.
pub const NAME_CHARACTERS_MAX: usize = 64;
/// Random bytes that a new token takes: its id, its secret, and the salt of the hash.
pub const CHANCE_BYTES: usize = ID_BYTES + SECRET_BYTES + SALT_BYTES;

const SALT_BYTES: usize = 16;
const HEADER: &str =
    "# Access tokens of netrewind. Written by `netrewind token`; only hashes of the tokens are kept.\n\n";

/// Purpose of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// State of the recorder and the store: segments, metrics.
    Status,
    /// Flows and summaries: who spoke with whom, when, how much.
    Flows,
    /// Packets, and what was said in them.
    Extract,
    /// All of these, and whatever changes anything.
    Admin,
}

impl Scope {
    /// Every scope.
    pub const ALL: [Self; 4] = [Self::Status, Self::Flows, Self::Extract, Self::Admin];
    /// All their names, for a person.
    pub const NAMES: &str = "status, flows, extract or admin";

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::Flows => "flows",
            Self::Extract => "extract",
            Self::Admin => "admin",
        }
    }
}

impl std::str::FromStr for Scope {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let known = Self::ALL.into_iter().find(|scope| scope.name() == text);
        known.ok_or_else(|| format!("{text:?} is not a scope: use {}", Self::NAMES))
    }
}

/// Rights of a token's owner.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// Name of the owner, for the audit.
    pub name: String,
    /// Scopes granted.
    pub scopes: Vec<Scope>,
    /// A pcap-filter(7) expression that is joined to every query.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub filter: String,
    /// The view of a packet that this filter sees, whichever the query chooses for its own.
    #[serde(default)]
    pub view: ViewMode,
    /// This filter sees frames as if their VLAN tags were gone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ignore_vlan: bool,
    /// Time at which it was made.
    pub created: Timestamp,
    /// Time from which on it is invalid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
}

impl Grant {
    /// Filter joined to every query.
    pub fn joined(&self) -> Option<JoinedFilter> {
        let Self { filter, view, ignore_vlan, .. } = self.clone();
        (!filter.trim().is_empty()).then_some(JoinedFilter { filter, view, ignore_vlan })
    }

    /// True if it has expired.
    pub fn has_expired(&self, now: Timestamp) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }

    /// Checks that its filter compiles for Ethernet, or for IP alone.
    pub fn check_filter(&self, limits: &CompileLimits) -> Result<(), FilterError> {
        let mut refusal = None;
        for link_type in [LinkType::ETHERNET, LinkType::RAW] {
            match compile(&self.filter, link_type, limits) {
                Ok(_) => return Ok(()),
                Err(error) => _ = refusal.get_or_insert(error),
            }
        }
        refusal.map_or(Ok(()), Err)
    }

    /// Checks that it can be granted.
    pub fn check(&self) -> Result<(), TokensError> {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "._@-".contains(c);
        let length = self.name.chars().count();
        if length == 0 || length > NAME_CHARACTERS_MAX || !self.name.chars().all(is_plain) {
            return Err(TokensError::Name(self.name.clone()));
        }
        self.check_rights()
    }

    fn check_rights(&self) -> Result<(), TokensError> {
        if self.scopes.is_empty() {
            return Err(TokensError::NoScope(self.name.clone()));
        }
        let tells_of_all =
            [Scope::Status, Scope::Admin].into_iter().find(|scope| self.scopes.contains(scope));
        match tells_of_all {
            Some(scope) if self.joined().is_some() => {
                Err(TokensError::FilterBesideScope { name: self.name.clone(), scope: scope.name() })
            }
            _ => Ok(()),
        }
    }
}

/// A hash of a secret, as a PHC string.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SecretHash(String);

/// Keeps the hash out of every log.
impl fmt::Debug for SecretHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hash)")
    }
}

impl SecretHash {
    pub(super) fn new(secret: &[u8], salt: &[u8]) -> Result<Self, TokensError> {
        let hash: PasswordHash = Argon2::default()
            .hash_password_with_salt(secret, salt)
            .map_err(|error| TokensError::Hash(error.to_string()))?;
        Ok(Self(hash.to_string()))
    }

    /// True if it is the hash of this token's secret. Takes some 20 ms of a core and 19 MiB, on purpose.
    pub(super) fn is_of(&self, token: &Token) -> bool {
        PasswordHash::new(&self.0)
            .is_ok_and(|hash| Argon2::default().verify_password(&token.secret, &hash).is_ok())
    }
}

/// A token as the file has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenEntry {
    /// The part of the token that is no secret.
    pub id: String,
    /// Hash of the secret part.
    pub hash: SecretHash,
    /// Rights of its owner.
    pub grant: Grant,
}

/// Rights of a user whom others sign in, or of a group of such users.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignInRule {
    /// The user or the group, as the proxy or the issuer names it.
    pub name: String,
    /// Scopes granted.
    pub scopes: Vec<Scope>,
    /// A pcap-filter(7) expression that is joined to every query.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub filter: String,
    /// The view of a packet that this filter sees.
    #[serde(default)]
    pub view: ViewMode,
    /// This filter sees frames as if their VLAN tags were gone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ignore_vlan: bool,
}

impl SignInRule {
    /// What it grants to a user, by their name in the audit.
    pub fn grant(&self, name: String) -> Grant {
        let Self { scopes, filter, view, ignore_vlan, .. } = self.clone();
        Grant { name, scopes, filter, view, ignore_vlan, created: Timestamp::MIN, expires: None }
    }

    fn check(&self) -> Result<(), TokensError> {
        let grant = self.grant(self.name.clone());
        grant.check_rights()?;
        let wrong =
            |error: FilterError| TokensError::Rule { name: self.name.clone(), reason: error.to_string() };
        grant.check_filter(&CompileLimits::default()).map_err(wrong)
    }
}

/// Whose rights a rule grants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuleKind {
    /// One user's.
    User,
    /// Those of a group's members.
    Group,
}

impl RuleKind {
    /// `user` or `group`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Group => "group",
        }
    }
}

/// The tokens of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tokens {
    #[serde(default, rename = "token", skip_serializing_if = "Vec::is_empty")]
    entries: Vec<TokenEntry>,
    #[serde(default, rename = "user", skip_serializing_if = "Vec::is_empty")]
    users: Vec<SignInRule>,
    #[serde(default, rename = "group", skip_serializing_if = "Vec::is_empty")]
    groups: Vec<SignInRule>,
}

/// The file of tokens cannot be used as it is.
#[derive(Debug, thiserror::Error)]
pub enum TokensError {
    /// It cannot be read or written.
    #[error("tokens file {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Reason given by the system.
        source: io::Error,
    },
    /// There is none.
    #[error(
        "there is no tokens file {path}: make one with netrewind token add NAME --tokens {path} --scope extract",
        path = .0.display()
    )]
    Missing(PathBuf),
    /// Others could add tokens of their own.
    #[error(
        "tokens file {path}: users other than its owner can write it: run chmod go-w {path}",
        path = .0.display()
    )]
    Writable(PathBuf),
    /// Its contents are malformed.
    #[error("tokens file {}: {reason}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Defect found in it.
        reason: String,
    },
    /// The name is no name.
    #[error(
        "{0:?} is not a name for a token: use 1 to {NAME_CHARACTERS_MAX} letters, digits and . _ @ - (the audit shows it)"
    )]
    Name(String),
    /// It would be of no use.
    #[error("{0} has no scope: use {names}", names = Scope::NAMES)]
    NoScope(String),
    /// Both cannot be had.
    #[error(
        "{name} cannot have a filter and the scope {scope}, which shows everything that is recorded: make two tokens"
    )]
    FilterBesideScope {
        /// The token's name.
        name: String,
        /// The scope.
        scope: &'static str,
    },
    /// The rights of a user or a group cannot be granted.
    #[error("the rights of {name:?} in the tokens file: {reason}")]
    Rule {
        /// The user or the group.
        name: String,
        /// Reason.
        reason: String,
    },
    /// The name is taken.
    #[error("the token {0} already exists: remove it first, or use another name")]
    Taken(String),
    /// There is none of this name.
    #[error("there is no token {0}")]
    Unknown(String),
    /// Nothing is granted to this user or group.
    #[error("the file grants nothing to the {kind} {name:?}")]
    NoRule {
        /// `user` or `group`.
        kind: &'static str,
        /// The name.
        name: String,
    },
    /// Too many.
    #[error("a file holds at most {TOKENS_MAX} tokens")]
    Full,
    /// No hash could be computed.
    #[error("hashing the secret: {0}")]
    Hash(String),
}

/// Checks the rights of users or groups.
fn check_rules(rules: &[SignInRule], kind: &str, is_name: fn(&str) -> bool) -> Result<(), TokensError> {
    let mut names = HashSet::new();
    for rule in rules {
        let wrong = |reason: String| Err(TokensError::Rule { name: rule.name.clone(), reason });
        if !is_name(&rule.name) {
            return wrong(format!("this is not the name of a {kind}"));
        }
        if !names.insert(&rule.name) {
            return wrong(format!("this {kind} is there twice"));
        }
        rule.check()?;
    }
    if rules.len() > RULES_MAX { Err(TokensError::Full) } else { Ok(()) }
}

impl Tokens {
    /// Reads a file.
    pub fn load(path: &Path) -> Result<Self, TokensError> {
        let failed = |source| TokensError::Io { path: path.to_owned(), source };
        let malformed = |reason| TokensError::Malformed { path: path.to_owned(), reason };
        let contents = match files::read_at_most(path, FILE_BYTES_MAX) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(TokensError::Missing(path.to_owned()));
            }
            read => read.map_err(failed)?,
        };
        let too_long = || malformed(format!("it has more than {FILE_BYTES_MAX} bytes"));
        let contents = contents.ok_or_else(too_long)?;
        if contents.is_writable_by_others {
            return Err(TokensError::Writable(path.to_owned()));
        }
        let text = String::from_utf8(contents.bytes).map_err(|_| malformed("it is not text".to_owned()))?;
        Self::parse(&text).map_err(malformed)
    }

    /// Parses the text of a file; the error is what is wrong with it.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        // A parser's error quotes the line, and a line may be a hash: only the parser's own message is passed on.
        let tokens: Self = toml::from_str(text).map_err(|error| netrewind_store::toml_fault(text, &error))?;
        tokens.check().map_err(|error| error.to_string())?;
        Ok(tokens)
    }

    /// The text that a file has of them.
    pub(crate) fn text(&self) -> Result<String, toml::ser::Error> {
        Ok(format!("{HEADER}{}", toml::to_string(self)?))
    }

    fn check(&self) -> Result<(), TokensError> {
        let (mut ids, mut names) = (HashSet::new(), HashSet::new());
        for TokenEntry { id, grant, .. } in &self.entries {
            grant.check()?;
            if !ids.insert(id) || !names.insert(&grant.name) {
                return Err(TokensError::Taken(grant.name.clone()));
            }
        }
        check_rules(&self.users, "user", is_user)?;
        check_rules(&self.groups, "group", is_group)?;
        if self.entries.len() > TOKENS_MAX { Err(TokensError::Full) } else { Ok(()) }
    }

    /// Changes a file, which is created if there is none; nobody else changes it meanwhile.
    pub fn change<T>(
        path: &Path,
        change: impl FnOnce(&mut Self) -> Result<T, TokensError>,
    ) -> Result<T, TokensError> {
        let failed = |source| TokensError::Io { path: path.to_owned(), source };
        // The file is replaced: the lock is on its folder.
        files::alone_in_folder(path, failed, || {
            let mut tokens = match Self::load(path) {
                Err(TokensError::Missing(_)) => Self::default(),
                loaded => loaded?,
            };
            let changed = change(&mut tokens)?;
            tokens.save(path).map_err(failed)?;
            Ok(changed)
        })
    }

    fn save(&self, path: &Path) -> io::Result<()> {
        files::replace(path, self.text().map_err(io::Error::other)?.as_bytes())
    }

    /// Adds a token, made of random bytes. It is shown once: the file has only a hash.
    pub fn add(&mut self, grant: Grant, chance: &[u8; CHANCE_BYTES]) -> Result<Token, TokensError> {
        grant.check()?;
        if self.entries.len() >= TOKENS_MAX {
            return Err(TokensError::Full);
        }
        let (mut id, mut secret) = ([0; ID_BYTES], [0; SECRET_BYTES]);
        let (of_id, rest) = chance.split_at(ID_BYTES);
        let (of_secret, salt) = rest.split_at(SECRET_BYTES);
        id.copy_from_slice(of_id);
        secret.copy_from_slice(of_secret);
        let token = Token::new(id, secret);
        let is_taken = |entry: &TokenEntry| entry.id == token.id || entry.grant.name == grant.name;
        if self.entries.iter().any(is_taken) {
            return Err(TokensError::Taken(grant.name));
        }
        self.entries.push(TokenEntry { id: token.id.clone(), hash: SecretHash::new(&secret, salt)?, grant });
        Ok(token)
    }

    /// Removes the token of this name.
    pub fn remove(&mut self, name: &str) -> Result<(), TokensError> {
        let before = self.entries.len();
        self.entries.retain(|entry| entry.grant.name != name);
        if self.entries.len() == before { Err(TokensError::Unknown(name.to_owned())) } else { Ok(()) }
    }

    /// All of them, in the order in which they were added.
    pub fn entries(&self) -> &[TokenEntry] {
        &self.entries
    }

    /// The rights of users, or of groups, in the order in which they are looked up.
    pub fn rules(&self, of: RuleKind) -> &[SignInRule] {
        match of {
            RuleKind::User => &self.users,
            RuleKind::Group => &self.groups,
        }
    }

    fn rules_mut(&mut self, of: RuleKind) -> &mut Vec<SignInRule> {
        match of {
            RuleKind::User => &mut self.users,
            RuleKind::Group => &mut self.groups,
        }
    }

    /// Grants rights to a user or a group, in place of those that it has.
    pub fn grant(&mut self, of: RuleKind, rule: SignInRule) -> Result<(), TokensError> {
        let rules = self.rules_mut(of);
        match rules.iter_mut().find(|known| known.name == rule.name) {
            Some(known) => *known = rule,
            None => rules.push(rule),
        }
        self.check()
    }

    /// Takes all rights from a user or a group.
    pub fn revoke(&mut self, of: RuleKind, name: &str) -> Result<(), TokensError> {
        let rules = self.rules_mut(of);
        let before = rules.len();
        rules.retain(|rule| rule.name != name);
        let is_gone = rules.len() < before;
        if is_gone { Ok(()) } else { Err(TokensError::NoRule { kind: of.name(), name: name.to_owned() }) }
    }

    /// The rights of a user: their own, or else those of the first group in the file that they are in.
    pub(super) fn rule_for(&self, user: &SignedIn) -> Option<&SignInRule> {
        let own = self.users.iter().find(|rule| rule.name == user.user);
        own.or_else(|| self.groups.iter().find(|rule| user.groups.contains(&rule.name)))
    }

    /// The token with this id.
    pub(super) fn find(&self, id: &str) -> Option<&TokenEntry> {
        self.entries.iter().find(|entry| entry.id == id)
    }
}
