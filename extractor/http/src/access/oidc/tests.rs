//! Tokens of an issuer that signs with real keys: every way in which one can be wrong.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use netrewind_store::Timestamp;
use netrewind_store::clock::Now;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair};
use serde_json::{Value, json};

use super::provider::LoginError;
use super::{IssuerRequest, IssuerWeb, Oidc, OidcSettings, Verification};
use crate::access::signed_in::SignedIn;

const ISSUER: &str = "https://issuer.example";
const SECOND: u64 = 1_800_000_000;

fn now(seconds: u64) -> Now {
    Now {
        wall: Timestamp::new(u32::try_from(SECOND + seconds).unwrap(), 0),
        monotonic_ns: seconds * 1_000_000_000,
    }
}

fn encoded(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// A key that signs.
enum Signer {
    P256(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl Signer {
    fn p256() -> Self {
        let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(algorithm, &SystemRandom::new()).unwrap();
        Self::P256(EcdsaKeyPair::from_pkcs8(algorithm, pkcs8.as_ref(), &SystemRandom::new()).unwrap())
    }

    fn ed25519() -> Self {
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        Self::Ed25519(Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap())
    }

    fn public(&self, id: &str) -> Value {
        match self {
            Self::P256(key) => {
                let point = key.public_key().as_ref();
                let (x, y) = (encoded(&point[1..33]), encoded(&point[33..]));
                json!({"kty": "EC", "crv": "P-256", "use": "sig", "kid": id, "x": x, "y": y})
            }
            Self::Ed25519(key) => {
                json!({"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "kid": id, "x": encoded(key.public_key())})
            }
        }
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        match self {
            Self::P256(key) => key.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec(),
            Self::Ed25519(key) => key.sign(message).as_ref().to_vec(),
        }
    }

    fn token(&self, header: &Value, claims: &Value) -> String {
        let message = format!("{}.{}", encoded(header.to_string()), encoded(claims.to_string()));
        format!("{message}.{}", encoded(self.sign(message.as_bytes())))
    }
}

/// The issuer's documents, by their URLs, and how often each was asked for.
#[derive(Debug, Default)]
struct Documents {
    all: Mutex<HashMap<String, (u16, Value)>>,
    asked: Mutex<Vec<String>>,
}

impl IssuerWeb for Documents {
    fn fetch(&self, request: &IssuerRequest<'_>) -> Result<(u16, Vec<u8>), String> {
        self.asked.lock().unwrap().push(format!("{} {}", request.url, request.form.unwrap_or_default()));
        let all = self.all.lock().unwrap();
        let (status, document) = all.get(request.url).ok_or("it cannot be reached")?;
        Ok((*status, document.to_string().into_bytes()))
    }
}

impl Documents {
    fn set(&self, path: &str, document: Value) {
        self.all.lock().unwrap().insert(format!("{ISSUER}{path}"), (200, document));
    }

    fn publish(&self, keys: &[Value]) {
        self.set(
            "/.well-known/openid-configuration",
            json!({
                "issuer": ISSUER,
                "authorization_endpoint": format!("{ISSUER}/authorize"),
                "token_endpoint": format!("{ISSUER}/token"),
                "jwks_uri": format!("{ISSUER}/keys"),
            }),
        );
        self.set("/keys", json!({ "keys": keys }));
    }

    fn count(&self, path: &str) -> usize {
        self.asked.lock().unwrap().iter().filter(|url| url.starts_with(&format!("{ISSUER}{path} "))).count()
    }
}

fn scene() -> (Arc<Documents>, Oidc) {
    let documents = Arc::new(Documents::default());
    let settings = OidcSettings {
        issuer: ISSUER.to_owned(),
        client_id: "netrewind".to_owned(),
        client_secret: "s3cret&".to_owned(),
        public_url: None,
        scopes: "openid email".to_owned(),
        user_claim: "email".to_owned(),
        groups_claim: "groups".to_owned(),
        audiences: vec!["netrewind".to_owned()],
    };
    let oidc = Oidc::new(settings, Arc::clone(&documents) as Arc<dyn IssuerWeb>, &[7; 32]);
    (documents, oidc)
}

fn claims() -> Value {
    json!({
        "iss": ISSUER, "aud": "netrewind", "sub": "1", "exp": SECOND + 300, "iat": SECOND - 5,
        "email": "alice@example.com", "groups": ["soc", "net"],
    })
}

fn with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[name] = value;
    claims
}

#[test]
fn only_a_whole_and_timely_token_of_the_issuer_is_valid() {
    for (signer, algorithm) in [(Signer::p256(), "ES256"), (Signer::ed25519(), "EdDSA")] {
        let (documents, oidc) = scene();
        documents.publish(&[signer.public("one")]);
        let header = json!({"alg": algorithm, "kid": "one", "typ": "at+jwt"});
        let judge = |token: &str| match oidc.verify(token, now(0)) {
            Verification::UnknownKey => oidc.verify_anew(token, now(0)),
            found => found,
        };
        let alice = SignedIn { user: "alice@example.com".into(), groups: vec!["soc".into(), "net".into()] };
        let token = signer.token(&header, &claims());
        assert_eq!(judge(&token), Verification::Valid(alice.clone()), "{algorithm}");
        let unnamed = signer.token(&json!({"alg": algorithm}), &claims());
        assert_eq!(judge(&unnamed), Verification::Valid(alice.clone()));
        let several = signer.token(&header, &with("aud", json!(["other", "netrewind"])));
        assert_eq!(judge(&several), Verification::Valid(alice));
        let wrong = |token: &str, why: &str| match judge(token) {
            Verification::Wrong(reason) => assert!(reason.contains(why), "{algorithm} {why}: {reason}"),
            found => panic!("{algorithm} {why}: {found:?}"),
        };
        for (name, value, why) in [
            ("iss", json!("https://other.example"), "another issuer"),
            ("iss", json!(format!("{ISSUER}/")), "another issuer"),
            ("aud", json!("other"), "audience"),
            ("aud", json!(["a", "b"]), "audience"),
            ("aud", Value::Null, "audience"),
            ("exp", json!(SECOND - 61), "expired"),
            ("exp", json!("never"), "expired"),
            ("nbf", json!(SECOND + 61), "not valid yet"),
            ("iat", json!(SECOND + 61), "not valid yet"),
            ("email", json!(5), "name the user"),
            ("email", json!("a b"), "name"),
            ("email_verified", json!(false), "not verified"),
        ] {
            wrong(&signer.token(&header, &with(name, value)), why);
        }
        // Clocks may differ a little.
        for (name, value) in [("exp", SECOND - 59), ("nbf", SECOND + 59)] {
            let near = signer.token(&header, &with(name, json!(value)));
            assert!(matches!(judge(&near), Verification::Valid(_)), "{name}");
        }
        let mut endless = claims();
        endless.as_object_mut().unwrap().remove("exp");
        wrong(&signer.token(&header, &endless), "no end");

        // Algorithms without a public key, and those of other keys.
        let [head, body, signature] = token.split('.').collect::<Vec<_>>()[..] else { panic!("three parts") };
        for alg in ["none", "None", "HS256", "RS384", ""] {
            let header = encoded(json!({"alg": alg, "kid": "one"}).to_string());
            wrong(&format!("{header}.{body}."), "algorithm");
            wrong(&format!("{header}.{body}.{signature}"), "algorithm");
        }
        wrong(&signer.token(&json!({"alg": "RS256", "kid": "one"}), &claims()), "key is not one");
        wrong(&signer.token(&json!({"alg": algorithm, "kid": "one", "crit": ["x"]}), &claims()), "extension");
        // Other signatures, other claims, other keys.
        wrong(
            &format!("{head}.{}.{signature}", encoded(with("email", json!("eve@x")).to_string())),
            "signature",
        );
        wrong(&format!("{head}.{body}.{}", encoded([0; 64])), "signature");
        wrong(&format!("{head}.{body}."), "signature");
        let other = if algorithm == "ES256" { Signer::p256() } else { Signer::ed25519() };
        wrong(&other.token(&header, &claims()), "signature");
        wrong(&format!("{head}.{body}.{signature}.x"), "three parts");
        wrong(&format!("{head}.{body}.{signature}="), "read");
        wrong(&format!("{head}.{body}.{}", "A".repeat(17_000)), "too long");
        for at in 0..token.len() {
            let mut bytes = token.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(bytes).unwrap();
            assert!(!matches!(oidc.verify_anew(&changed, now(0)), Verification::Valid(_)), "byte {at}");
        }
    }
}

#[test]
fn keys_change_and_the_issuer_is_asked_now_and_then() {
    let (documents, oidc) = scene();
    let (one, two) = (Signer::ed25519(), Signer::p256());
    let of_one = one.token(&json!({"alg": "EdDSA", "kid": "one"}), &with("exp", json!(SECOND + 90_000)));
    let of_two = two.token(&json!({"alg": "ES256", "kid": "two"}), &with("exp", json!(SECOND + 90_000)));
    // Not reachable: said so, and not asked again at once.
    assert_eq!(oidc.verify(&of_one, now(0)), Verification::UnknownKey);
    for _ in 0..5 {
        let Verification::Unavailable(reason) = oidc.verify_anew(&of_one, now(0)) else {
            panic!("no issuer")
        };
        assert!(reason.contains(ISSUER) && reason.contains("cannot be reached"), "{reason}");
    }
    assert_eq!(documents.count("/.well-known/openid-configuration"), 1);
    documents.publish(&[one.public("one")]);
    assert!(matches!(oidc.verify_anew(&of_one, now(31)), Verification::Valid(_)));
    assert!(matches!(oidc.verify(&of_one, now(32)), Verification::Valid(_)));
    // A new key is found once the time for it has come.
    documents.publish(&[one.public("one"), two.public("two")]);
    assert!(matches!(oidc.verify_anew(&of_two, now(40)), Verification::Wrong(_)));
    assert!(matches!(oidc.verify_anew(&of_two, now(62)), Verification::Valid(_)));
    assert_eq!(documents.count("/keys"), 2);
    // One that is withdrawn is of no use after an hour, and with an issuer that is away it stays.
    documents.publish(&[two.public("two")]);
    assert!(matches!(oidc.verify(&of_one, now(3000)), Verification::Valid(_)));
    assert_eq!(oidc.verify(&of_one, now(4000)), Verification::UnknownKey);
    assert!(matches!(oidc.verify_anew(&of_one, now(4000)), Verification::Wrong(_)));
    documents.all.lock().unwrap().clear();
    assert!(matches!(oidc.verify_anew(&of_two, now(9000)), Verification::Valid(_)));
}

#[test]
fn a_sign_in_is_worth_what_the_issuer_says_to_its_nonce() {
    let signer = Signer::ed25519();
    let (documents, oidc) = scene();
    documents.publish(&[signer.public("one")]);
    let begin = || {
        let start = oidc.begin_login("https://nr.example:8640", now(0)).unwrap();
        let (at, query) = start.url.split_once('?').unwrap();
        assert_eq!(at, format!("{ISSUER}/authorize"));
        let query: HashMap<String, String> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        (query, start.set_cookie.split(';').next().unwrap().to_owned())
    };
    let end = |query: &HashMap<String, String>, cookie: &str, claims: Value, more: &[(&str, &str)]| {
        let token = signer.token(&json!({"alg": "EdDSA", "kid": "one"}), &claims);
        documents.set("/token", json!({ "id_token": token, "access_token": "x" }));
        let mut parameters =
            vec![("state".to_owned(), query["state"].clone()), ("code".to_owned(), "c0de".to_owned())];
        parameters.extend(more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        oidc.end_login(&parameters, Some(cookie), now(1))
    };
    let nonce = |query: &HashMap<String, String>| with("nonce", json!(query["nonce"]));
    let (query, cookie) = begin();
    assert_eq!(
        (&*query["redirect_uri"], &*query["code_challenge_method"]),
        ("https://nr.example:8640/oidc/callback", "S256")
    );
    assert_eq!(end(&query, &cookie, nonce(&query), &[]).unwrap().user, "alice@example.com");
    // The verifier fits the challenge.
    let asked = documents.asked.lock().unwrap().last().unwrap().clone();
    let form = asked.split_once(' ').unwrap().1;
    let form: HashMap<String, String> = form_urlencoded::parse(form.as_bytes()).into_owned().collect();
    let digest = ring::digest::digest(&ring::digest::SHA256, form["code_verifier"].as_bytes());
    assert_eq!((encoded(digest), &*form["code"]), (query["code_challenge"].clone(), "c0de"));
    let refused = |found: Result<SignedIn, LoginError>, why: &str| match found {
        Err(LoginError::Refused(reason)) => assert!(reason.contains(why), "{why}: {reason}"),
        found => panic!("{why}: {found:?}"),
    };
    refused(end(&query, &cookie, nonce(&query), &[]), "begin it again");
    let (query, cookie) = begin();
    refused(end(&query, &cookie, with("nonce", json!("other")), &[]), "nonce");
    let (query, cookie) = begin();
    refused(end(&query, &cookie, claims(), &[]), "nonce");
    let (query, _) = begin();
    let (_, other) = begin();
    refused(end(&query, &other, nonce(&query), &[]), "this browser");
    let (query, cookie) = begin();
    let mut several = nonce(&query);
    several["aud"] = json!(["netrewind", "other"]);
    refused(end(&query, &cookie, several, &[]), "azp");
    let (query, cookie) = begin();
    let mut of_other = nonce(&query);
    of_other["azp"] = json!("other");
    refused(end(&query, &cookie, of_other, &[]), "azp");
    let (query, cookie) = begin();
    refused(end(&query, &cookie, nonce(&query), &[("iss", "https://evil.example")]), "another issuer");
    let (query, cookie) = begin();
    refused(end(&query, &cookie, nonce(&query), &[("error", "access_denied\u{1b}[2J")]), "access_denied[2J");
    let (query, cookie) = begin();
    let mut expired = nonce(&query);
    expired["exp"] = json!(SECOND - 100);
    refused(end(&query, &cookie, expired, &[]), "expired");
}

#[test]
fn an_issuer_that_is_not_the_one_that_was_named_is_refused() {
    let signer = Signer::ed25519();
    for (name, value, why) in [
        ("issuer", "https://evil.example", "calls itself"),
        ("token_endpoint", "http://issuer.example/token", "token_endpoint is not an https URL"),
        ("jwks_uri", "file:///etc/passwd", "jwks_uri"),
    ] {
        let (documents, oidc) = scene();
        documents.publish(&[signer.public("one")]);
        let path = format!("{ISSUER}/.well-known/openid-configuration");
        documents.all.lock().unwrap().get_mut(&path).unwrap().1[name] = json!(value);
        let told = oidc.begin_login("https://x", now(0)).err().unwrap();
        assert!(told.contains(why), "{told}");
    }
    let (documents, oidc) = scene();
    documents.publish(&[
        json!({"kty": "oct", "k": "AAAA"}),
        json!({"kty": "RSA", "use": "enc", "n": "AQ", "e": "AQAB"}),
    ]);
    assert!(oidc.begin_login("https://x", now(0)).err().unwrap().contains("no key"));
    // Begun without a secret in the URL, or what is told of the settings.
    let shown = format!("{:?}", scene().1);
    assert!(!shown.contains("s3cret"), "{shown}");
}
