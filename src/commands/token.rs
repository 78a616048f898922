//! `netrewind token`: manages the tokens for access to the service.

use std::io::Read;
use std::path::PathBuf;
use std::time::Duration;

use netrewind_extractor::ViewMode;
use netrewind_extractor::time_text::in_zone;
use netrewind_filter::CompileLimits;
use netrewind_http::access::{
    CHANCE_BYTES, Grant, RuleKind, Scope, SignInRule, TokenEntry, Tokens, TokensError,
};
use netrewind_store::Timestamp;

use super::query::own_workers;
use crate::outcome::{Failure, Outcome};
use crate::{arguments, clock, terminal};

const EXAMPLES: &str = "\
Examples:
  netrewind token add soc --tokens /etc/netrewind/tokens.toml --scope extract --scope flows --expires 90d
  netrewind token add site-a --tokens /etc/netrewind/tokens.toml --scope extract --filter 'net 10.1.0.0/16'
  netrewind token list --tokens /etc/netrewind/tokens.toml
  netrewind token remove soc --tokens /etc/netrewind/tokens.toml
  netrewind token grant --group soc --tokens /etc/netrewind/tokens.toml --scope extract --scope flows
  netrewind token revoke --group soc --tokens /etc/netrewind/tokens.toml

A token is printed once, on standard output; the file keeps only a hash. A running service sees changes within seconds.";

const ADD_NOTES: &str = "\
Scopes: status (state, segments, metrics), flows (flows and summaries), extract (packets), admin (everything).

--filter is joined to every query: the token's owner gets no packet, and no count of packets, that it does not accept. It is
judged by itself, whatever the query says, on the innermost packet unless --view says otherwise; a packet that it accepts is
handed out whole, with the tunnel it came in. Say what may be seen ('net 10.1.0.0/16'), not what may not: 'not host 10.0.0.5'
also accepts what it cannot see into, such as tagged frames (see --ignore-vlan) and later fragments.";

/// Arguments of `netrewind token`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct TokenArguments {
    #[command(subcommand)]
    command: TokenCommand,
}

#[derive(Debug, clap::Subcommand)]
enum TokenCommand {
    /// Make a token, and print it once
    Add(Box<Add>),
    /// List the tokens of a file, without any secret, and the rights of users and groups
    List(ListTokens),
    /// Remove a token: it becomes invalid within seconds
    Remove(Remove),
    /// Give rights to a user or a group whom a proxy or an issuer signs in, in place of those that they have
    Grant(Box<GrantRights>),
    /// Take all rights from a user or a group
    Revoke(Revoke),
}

/// Arguments of `netrewind token list`.
#[derive(Debug, clap::Args)]
struct ListTokens {
    #[command(flatten)]
    file: TokensFile,
    /// Time zone of printed times: UTC, local, or a zone such as Europe/Rome or +02:00
    #[arg(long, value_name = "ZONE", default_value = "UTC", allow_hyphen_values = true)]
    tz: String,
    /// Print one JSON object; its times are in UTC
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct TokensFile {
    /// The file of tokens, as `serve --tokens` has it
    #[arg(long, value_name = "FILE")]
    tokens: PathBuf,
}

#[derive(Debug, clap::Args)]
#[command(after_help = ADD_NOTES)]
struct Add {
    /// Name of its holder, as the audit shows it
    name: String,
    #[command(flatten)]
    file: TokensFile,
    #[command(flatten)]
    rights: Rights,
    /// Time that it stays valid [default: until it is removed]
    #[arg(long, value_name = "DURATION", value_parser = crate::arguments::duration)]
    expires: Option<Duration>,
}

/// Rights of a token, a user or a group.
#[derive(Debug, clap::Args)]
struct Rights {
    /// Scope: status, flows, extract or admin; may be given several times
    #[arg(long, value_name = "SCOPE", required = true, value_delimiter = ',')]
    scope: Vec<Scope>,
    /// A pcap-filter(7) expression that is joined to every query by AND
    #[arg(long, value_name = "EXPR", default_value = "")]
    filter: String,
    /// Part of a tunnelled packet that the filter is applied to: the innermost packet, the packet as received, or either
    #[arg(long, value_name = "inner|outer|any", default_value = "inner", requires = "filter")]
    view: ViewMode,
    /// Apply the filter as if packets had no VLAN tags
    #[arg(long, requires = "filter")]
    ignore_vlan: bool,
}

impl Rights {
    fn scopes(&self) -> Vec<Scope> {
        let mut scopes = self.scope.clone();
        scopes.sort_unstable();
        scopes.dedup();
        scopes
    }
}

/// Arguments of `netrewind token grant`.
#[derive(Debug, clap::Args)]
#[command(after_help = ADD_NOTES)]
struct GrantRights {
    #[command(flatten)]
    whose: Whose,
    #[command(flatten)]
    file: TokensFile,
    #[command(flatten)]
    rights: Rights,
}

/// Arguments of `netrewind token revoke`.
#[derive(Debug, clap::Args)]
struct Revoke {
    #[command(flatten)]
    whose: Whose,
    #[command(flatten)]
    file: TokensFile,
}

/// A user or a group.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct Whose {
    /// The user, as the proxy or the issuer names them
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// The group, likewise; of several that a user is in, the first in the file counts
    #[arg(long, value_name = "NAME")]
    group: Option<String>,
}

impl Whose {
    fn rule(&self) -> (RuleKind, String) {
        match (&self.user, &self.group) {
            (Some(user), _) => (RuleKind::User, user.clone()),
            (None, group) => (RuleKind::Group, group.clone().unwrap_or_default()),
        }
    }
}

#[derive(Debug, clap::Args)]
struct Remove {
    /// Name of the holder
    name: String,
    #[command(flatten)]
    file: TokensFile,
}

/// Runs the command.
pub fn run(arguments: &TokenArguments) -> Result<Outcome, Failure> {
    match &arguments.command {
        TokenCommand::Add(arguments) => add(arguments),
        TokenCommand::List(arguments) => list(arguments),
        TokenCommand::Remove(arguments) => {
            Tokens::change(&arguments.file.tokens, |tokens| tokens.remove(&arguments.name))
                .map_err(failure)?;
            terminal::say(format_args!("The token {} is removed.", arguments.name));
            Ok(Outcome::Done)
        }
        TokenCommand::Grant(arguments) => grant(arguments),
        TokenCommand::Revoke(arguments) => {
            let (kind, name) = arguments.whose.rule();
            Tokens::change(&arguments.file.tokens, |tokens| tokens.revoke(kind, &name)).map_err(failure)?;
            terminal::say(format_args!("The {} {name} has no rights any more.", kind.name()));
            Ok(Outcome::Done)
        }
    }
}

fn add(arguments: &Add) -> Result<Outcome, Failure> {
    let created = clock::now();
    let after = |duration: Duration| {
        let ns = u64::try_from(duration.as_nanos()).ok().and_then(|ns| created.ns().checked_add(ns));
        ns.map(Timestamp).ok_or_else(|| Failure::usage("--expires: that is too long"))
    };
    let Rights { filter, view, ignore_vlan, .. } = &arguments.rights;
    let grant = Grant {
        name: arguments.name.clone(),
        scopes: arguments.rights.scopes(),
        filter: filter.trim().to_owned(),
        view: *view,
        ignore_vlan: *ignore_vlan,
        created,
        expires: arguments.expires.map(after).transpose()?,
    };
    check_filter(&grant)?;
    let chance = chance()?;
    let token =
        Tokens::change(&arguments.file.tokens, |tokens| tokens.add(grant, &chance)).map_err(failure)?;
    terminal::say("This is the token. It is not shown again:");
    if let Err(error) = terminal::print(token.reveal()) {
        // Nobody has it, and nobody should find it in the file.
        Tokens::change(&arguments.file.tokens, |tokens| tokens.remove(&arguments.name)).map_err(failure)?;
        return Err(Failure::Failed(anyhow::anyhow!(
            "{error}: nobody was shown the token, and none was added"
        )));
    }
    Ok(Outcome::Done)
}

fn grant(arguments: &GrantRights) -> Result<Outcome, Failure> {
    let (kind, name) = arguments.whose.rule();
    let Rights { filter, view, ignore_vlan, .. } = &arguments.rights;
    let rule = SignInRule {
        name: name.clone(),
        scopes: arguments.rights.scopes(),
        filter: filter.trim().to_owned(),
        view: *view,
        ignore_vlan: *ignore_vlan,
    };
    check_filter(&rule.grant(name.clone()))?;
    Tokens::change(&arguments.file.tokens, |tokens| tokens.grant(kind, rule)).map_err(failure)?;
    terminal::say(format_args!("The {} {name} has these rights from now on.", kind.name()));
    Ok(Outcome::Done)
}

/// Checks the filter of rights, which whoever asks by them would otherwise find wrong.
fn check_filter(grant: &Grant) -> Result<(), Failure> {
    let limits = CompileLimits { worker: own_workers(), ..CompileLimits::default() };
    grant.check_filter(&limits).map_err(|error| Failure::usage(format!("--filter: {error}")))
}

fn list(arguments: &ListTokens) -> Result<Outcome, Failure> {
    let (now, zone) = (clock::now(), arguments::zone(&arguments.tz)?);
    let tokens = Tokens::load(&arguments.file.tokens).map_err(failure)?;
    if arguments.json {
        let grants: Vec<&Grant> = tokens.entries().iter().map(|entry| &entry.grant).collect();
        let (users, groups) = (tokens.rules(RuleKind::User), tokens.rules(RuleKind::Group));
        let all = serde_json::json!({ "tokens": grants, "users": users, "groups": groups });
        terminal::print(terminal::object(&all)?)?;
        return Ok(Outcome::Done);
    }
    for TokenEntry { grant, .. } in tokens.entries() {
        let expires = match grant.expires {
            None => "does not expire".to_owned(),
            Some(at) if at <= now => format!("expired {at}"),
            Some(at) => format!("expires {at}"),
        };
        let line = format!(
            "{}  {}  created {}  {expires}{}",
            grant.name,
            scope_names(grant),
            grant.created,
            filter_text(grant)
        );
        terminal::print(in_zone(&line, &zone))?;
    }
    for kind in [RuleKind::User, RuleKind::Group] {
        for rule in tokens.rules(kind) {
            let grant = rule.grant(rule.name.clone());
            let (kind, scopes) = (kind.name(), scope_names(&grant));
            terminal::print(format_args!("{kind}:{}  {scopes}{}", grant.name, filter_text(&grant)))?;
        }
    }
    Ok(Outcome::Done)
}

fn scope_names(grant: &Grant) -> String {
    let names: Vec<&str> = grant.scopes.iter().map(|scope| scope.name()).collect();
    names.join(",")
}

/// What the filter leaves, with two blanks before it; nothing where there is none.
fn filter_text(grant: &Grant) -> String {
    let view = match grant.view {
        ViewMode::Inner => "",
        ViewMode::Outer => " (of the packet as received)",
        ViewMode::Any => " (of any packet in it)",
    };
    grant.joined().map_or_else(String::new, |joined| format!("  only {}{view}", joined.filter))
}

/// Random bytes: random(4).
fn chance() -> Result<[u8; CHANCE_BYTES], Failure> {
    let mut bytes = [0; CHANCE_BYTES];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// Classifies errors: those that the command line can correct are wrong usage.
fn failure(error: TokensError) -> Failure {
    match error {
        TokensError::Io { .. } | TokensError::Hash(_) => Failure::Failed(error.into()),
        _ => Failure::Usage(error.into()),
    }
}
