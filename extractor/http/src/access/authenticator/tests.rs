use netrewind_store::time::SECOND_NS;

use super::*;
use crate::access::tokens::{CHANCE_BYTES, Grant, NAME_CHARACTERS_MAX, Scope};

fn moment(seconds: u64) -> Now {
    Now {
        wall: Timestamp::new(1_795_339_861 + u32::try_from(seconds).expect("small"), 0),
        monotonic_ns: seconds * SECOND_NS,
    }
}

fn grant(name: &str, scopes: &[Scope], filter: &str) -> Grant {
    Grant {
        name: name.to_owned(),
        scopes: scopes.to_vec(),
        filter: filter.to_owned(),
        view: netrewind_extractor::ViewMode::Inner,
        ignore_vlan: false,
        created: moment(0).wall,
        expires: None,
    }
}

struct Fixture {
    _folder: tempfile::TempDir,
    path: PathBuf,
}

impl Fixture {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("tokens.toml");
        Self { _folder: folder, path }
    }

    fn add(&self, grant: Grant, chance: u8) -> String {
        let add = |tokens: &mut Tokens| tokens.add(grant, &[chance; CHANCE_BYTES]);
        Tokens::change(&self.path, add).expect("a token").reveal()
    }

    fn access(&self) -> Authenticator {
        Authenticator::open(&self.path, &[7; KEY_BYTES], moment(0)).expect("access")
    }
}

fn peer() -> IpAddr {
    IpAddr::from([192, 0, 2, 1])
}

/// As the service does it; true beside it where a hash had to be computed.
fn ask(access: &Authenticator, token: &str, now: Now) -> (Result<Caller, Refusal>, bool) {
    match access.check_authorization(Some(&format!("Bearer {token}")), peer(), now) {
        Authentication::Known(caller) => (Ok(caller), false),
        Authentication::Refused(refusal) => (Err(refusal), false),
        Authentication::Unknown(claim) => (access.verify(&claim, now), true),
        Authentication::Foreign(claim) => (access.verify_foreign(&claim, now), true),
    }
}

#[test]
fn a_token_is_hashed_once_and_then_remembered() {
    let fixture = Fixture::new();
    let token = fixture.add(grant("soc", &[Scope::Extract], "net 10.1.0.0/16"), 1);
    let access = fixture.access();
    let (caller, was_hashed) = ask(&access, &token, moment(1));
    let caller = caller.expect("the token is right");
    assert!(
        was_hashed && caller.may(Scope::Extract) && !caller.may(Scope::Flows) && !caller.may(Scope::Admin)
    );
    assert_eq!(caller.joined.as_ref().map(|joined| joined.filter.as_str()), Some("net 10.1.0.0/16"));
    assert_eq!(ask(&access, &token, moment(2)), (Ok(caller.clone()), false));
    let later = 2 + REMEMBERED_FOR.as_secs();
    assert_eq!(ask(&access, &token, moment(later)), (Ok(caller), true), "not for ever");
}

#[test]
fn whoever_may_administer_may_do_everything() {
    let fixture = Fixture::new();
    let token = fixture.add(grant("root", &[Scope::Admin], ""), 1);
    let caller = ask(&fixture.access(), &token, moment(1)).0.expect("the token is right");
    assert!(Scope::ALL.into_iter().all(|scope| caller.may(scope)) && caller.joined.is_none());
}

#[test]
fn a_wrong_secret_is_never_right_even_where_the_id_is_remembered() {
    let fixture = Fixture::new();
    let token = fixture.add(grant("soc", &[Scope::Extract], ""), 0x11);
    let access = fixture.access();
    ask(&access, &token, moment(1)).0.expect("the token is right");
    let last = token.len() - 1;
    for wrong in
        [format!("{}0", &token[..last]), token.replacen("_11", "_12", 1), "nrw".into(), String::new()]
    {
        assert_eq!(ask(&access, &wrong, moment(2)).0, Err(Refusal::WrongToken), "{wrong}");
    }
    let basic = access.check_authorization(Some(&format!("Basic {token}")), peer(), moment(2));
    assert!(matches!(basic, Authentication::Refused(Refusal::WrongToken)));
    assert!(matches!(
        access.check_authorization(None, peer(), moment(2)),
        Authentication::Refused(Refusal::NoToken)
    ));
    let spaced = access.check_authorization(Some(&format!("bEARER   {token}")), peer(), moment(2));
    assert!(matches!(spaced, Authentication::Known(_)));
}

#[test]
fn who_guesses_too_often_has_to_wait_and_who_is_known_does_not() {
    let fixture = Fixture::new();
    let token = fixture.add(grant("soc", &[Scope::Extract], ""), 0x11);
    let access = fixture.access();
    ask(&access, &token, moment(1)).0.expect("the token is right");
    let guess = token.replace("11", "33");
    let answers: Vec<_> = (0..40).map(|_| ask(&access, &guess, moment(2)).0).collect();
    assert!(answers[..5].iter().all(|answer| *answer == Err(Refusal::WrongToken)));
    assert!(matches!(answers[39], Err(Refusal::TooMany(wait)) if wait > Duration::ZERO));
    assert!(ask(&access, &token, moment(2)).0.is_ok());
    assert_eq!(ask(&access, &guess, moment(100)).0, Err(Refusal::WrongToken), "after a while");
}

#[test]
fn changes_of_the_file_are_seen() {
    let fixture = Fixture::new();
    let token = fixture.add(grant("soc", &[Scope::Extract], ""), 1);
    let access = fixture.access();
    assert!(ask(&access, &token, moment(1)).0.is_ok());
    Tokens::change(&fixture.path, |tokens| tokens.remove("soc")).expect("it is there");
    let other = fixture.add(grant("noc", &[Scope::Status], ""), 2);
    assert_eq!(ask(&access, &token, moment(3)).0, Err(Refusal::WrongToken));
    assert!(ask(&access, &other, moment(3)).0.is_ok());
    std::fs::write(&fixture.path, "token = ").expect("a broken file");
    assert_eq!(ask(&access, &other, moment(5)).0, Err(Refusal::Unavailable));
    std::fs::remove_file(&fixture.path).expect("it is there");
    assert_eq!(ask(&access, &other, moment(7)).0, Err(Refusal::Unavailable));
    let again = fixture.add(grant("noc", &[Scope::Status], ""), 3);
    assert!(ask(&access, &again, moment(9)).0.is_ok());
    assert_eq!(ask(&access, &other, moment(9)).0, Err(Refusal::WrongToken), "of the same name, but another");
}

#[test]
fn a_token_expires_even_while_it_is_remembered() {
    let fixture = Fixture::new();
    let expires = Some(moment(10).wall);
    let token = fixture.add(Grant { expires, ..grant("guest", &[Scope::Flows], "") }, 1);
    let access = fixture.access();
    assert!(ask(&access, &token, moment(9)).0.is_ok());
    assert_eq!(ask(&access, &token, moment(10)).0, Err(Refusal::WrongToken));
}

#[test]
fn the_file_is_for_its_owner_and_has_no_secret() {
    use std::os::unix::fs::PermissionsExt;
    let fixture = Fixture::new();
    let token = fixture.add(grant("soc", &[Scope::Extract, Scope::Flows], "host 192.0.2.1"), 0x5c);
    let text = std::fs::read_to_string(&fixture.path).expect("the file");
    let secret = token.rsplit('_').next().expect("a secret");
    assert!(!text.contains(secret) && text.contains("$argon2id$"), "{text}");
    let mode = |path: &Path| std::fs::metadata(path).expect("the file").permissions().mode() & 0o777;
    assert_eq!(mode(&fixture.path), 0o600);
    let tokens = Tokens::load(&fixture.path).expect("the file");
    let shown = format!("{tokens:?} {:?}", fixture.access());
    assert!(!shown.contains(secret) && !shown.contains("argon2"), "{shown}");
    std::fs::set_permissions(&fixture.path, PermissionsExt::from_mode(0o620)).expect("a mode");
    assert!(matches!(Tokens::load(&fixture.path), Err(TokensError::Writable(_))));
}

#[test]
fn an_error_in_the_file_shows_no_hash() {
    let fixture = Fixture::new();
    fixture.add(grant("soc", &[Scope::Extract], ""), 1);
    let text = std::fs::read_to_string(&fixture.path).expect("the file");
    for broken in [
        text.replace("hash = \"", "hash = \"\" \""),
        text.replace("hash =", "hush ="),
        text.replace("created", "filtre = 'x'\ncreated"),
    ] {
        std::fs::write(&fixture.path, broken).expect("a broken file");
        let error = Tokens::load(&fixture.path).expect_err("it is broken").to_string();
        assert!(!error.contains("argon2") && error.contains("tokens.toml"), "{error}");
    }
}

#[test]
fn what_makes_no_sense_is_not_granted() {
    let wrong = [
        grant("", &[Scope::Extract], ""),
        grant("two words", &[Scope::Extract], ""),
        grant("new\nline", &[Scope::Extract], ""),
        grant(&"x".repeat(NAME_CHARACTERS_MAX + 1), &[Scope::Extract], ""),
        grant("soc", &[], ""),
        grant("soc", &[Scope::Status], "host 192.0.2.1"),
        grant("soc", &[Scope::Extract, Scope::Admin], "host 192.0.2.1"),
    ];
    for grant in wrong {
        assert!(Tokens::default().add(grant.clone(), &[1; CHANCE_BYTES]).is_err(), "{grant:?}");
    }
    let mut tokens = Tokens::default();
    tokens.add(grant("soc", &[Scope::Extract], ""), &[1; CHANCE_BYTES]).expect("the first");
    assert!(matches!(
        tokens.add(grant("soc", &[Scope::Flows], ""), &[2; CHANCE_BYTES]),
        Err(TokensError::Taken(_))
    ));
    assert!(matches!(tokens.remove("noc"), Err(TokensError::Unknown(_))));
}
