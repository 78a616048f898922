//! Users whom others sign in: a proxy by a header, and a real issuer of OpenID Connect over sockets, which signs with real keys.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::support::service::{Response, Service};
use crate::support::{done, run, served};

const CLIENT: &str = "netrewind";
const SECRET: &str = "s3cret & more";
const PACKETS: usize = 40;
/// Time in which a service asks its issuer for new keys at the latest.
const ROTATED_WITHIN: Duration = Duration::from_secs(60);

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs()
}

/// What openssl says to this input.
fn openssl(arguments: &[&str], input: &[u8]) -> Vec<u8> {
    let mut child = Command::new("openssl")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("openssl runs");
    child.stdin.take().expect("piped").write_all(input).expect("written");
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "openssl {arguments:?}");
    output.stdout
}

/// base64url without padding: RFC 4648, section 5.
fn encoded(bytes: &[u8]) -> String {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let word =
            chunk.iter().fold(0u32, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for digit in 0..=chunk.len() {
            text.push(DIGITS[(word >> (18 - 6 * digit) & 63) as usize] as char);
        }
    }
    text
}

/// A private key in a file.
pub struct Key {
    file: PathBuf,
    algorithm: &'static str,
    id: String,
}

impl Key {
    pub fn new(folder: &Path, algorithm: &'static str, id: &str) -> Self {
        let file = folder.join(format!("{id}.pem"));
        let path = file.display().to_string();
        let kind: &[&str] = match algorithm {
            "RS256" => &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"],
            "ES256" => &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"],
            _ => &["-algorithm", "ed25519"],
        };
        openssl(&[&["genpkey", "-out", &path], kind].concat(), b"");
        Self { file, algorithm, id: id.to_owned() }
    }

    fn public(&self) -> Value {
        let path = self.file.display().to_string();
        let der = || openssl(&["pkey", "-in", &path, "-pubout", "-outform", "DER"], b"");
        let mut key = match self.algorithm {
            "RS256" => {
                let modulus = text(&openssl(&["rsa", "-in", &path, "-noout", "-modulus"], b""));
                let digits = modulus.trim().strip_prefix("Modulus=").expect("a modulus").to_owned();
                let byte = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).expect("digits");
                let modulus: Vec<u8> = (0..digits.len()).step_by(2).map(byte).collect();
                json!({"kty": "RSA", "n": encoded(&modulus), "e": "AQAB"})
            }
            "ES256" => {
                let der = der();
                let point = &der[der.len() - 64..];
                json!({"kty": "EC", "crv": "P-256", "x": encoded(&point[..32]), "y": encoded(&point[32..])})
            }
            _ => {
                let der = der();
                json!({"kty": "OKP", "crv": "Ed25519", "x": encoded(&der[der.len() - 32..])})
            }
        };
        (key["kid"], key["use"]) = (json!(self.id), json!("sig"));
        key
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        let path = self.file.display().to_string();
        match self.algorithm {
            "EdDSA" => {
                let input = self.file.with_extension("message");
                std::fs::write(&input, message).expect("written");
                openssl(
                    &["pkeyutl", "-sign", "-rawin", "-inkey", &path, "-in", &input.display().to_string()],
                    b"",
                )
            }
            "RS256" => openssl(&["dgst", "-sha256", "-sign", &path], message),
            _ => {
                // A sequence of two integers: each with its length, perhaps with a zero before it or without some.
                let der = openssl(&["dgst", "-sha256", "-sign", &path], message);
                let mut numbers = Vec::new();
                let mut rest = &der[2..];
                for _ in 0..2 {
                    let (number, behind) = rest[2..].split_at(usize::from(rest[1]));
                    let digits = &number[number.len().saturating_sub(32)..];
                    numbers.extend([vec![0; 32 - digits.len()], digits.to_vec()].concat());
                    rest = behind;
                }
                numbers
            }
        }
    }

    pub fn token(&self, claims: &Value) -> String {
        let header = json!({"alg": self.algorithm, "kid": self.id});
        let message =
            format!("{}.{}", encoded(header.to_string().as_bytes()), encoded(claims.to_string().as_bytes()));
        format!("{message}.{}", encoded(&self.sign(message.as_bytes())))
    }
}

/// What the issuer does.
#[derive(Default)]
struct Behaviour {
    keys: Vec<Value>,
    /// Makes an ID token of the claims that are right.
    issue: Option<Box<dyn Fn(Value) -> String + Send>>,
    /// Query of the last request to sign in.
    asked: HashMap<String, String>,
    /// Times at which the keys were asked for.
    fetches: usize,
}

/// An issuer at a port of this machine.
pub struct Issuer {
    address: SocketAddr,
    behaviour: Arc<Mutex<Behaviour>>,
}

fn parameters(query: &str) -> HashMap<String, String> {
    let unescaped = |text: &str| {
        let bytes = text.replace('+', " ").into_bytes();
        let (mut read, mut at) = (Vec::new(), 0);
        while at < bytes.len() {
            let byte = match bytes[at] {
                b'%' => {
                    at += 2;
                    u8::from_str_radix(&text[at - 1..=at], 16).expect("two digits")
                }
                byte => byte,
            };
            read.push(byte);
            at += 1;
        }
        text_of(read)
    };
    query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (unescaped(name), unescaped(value)))
        .collect()
}

fn text_of(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).expect("text")
}

impl Issuer {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound");
        let behaviour = Arc::new(Mutex::new(Behaviour::default()));
        let shared = Arc::clone(&behaviour);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                answer(stream, address, &shared);
            }
        });
        Self { address, behaviour }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn publish(&self, keys: &[&Key]) {
        self.behaviour.lock().expect("unpoisoned").keys = keys.iter().map(|key| key.public()).collect();
    }

    pub fn issue(&self, issue: impl Fn(Value) -> String + Send + 'static) {
        self.behaviour.lock().expect("unpoisoned").issue = Some(Box::new(issue));
    }

    fn claims(&self) -> Value {
        json!({
            "iss": self.url(), "aud": CLIENT, "sub": "4711", "exp": now() + 300, "iat": now(),
            "email": "alice@example.com", "groups": ["everybody", "soc"],
        })
    }
}

/// Answers a request as an issuer does.
fn answer(stream: TcpStream, address: SocketAddr, behaviour: &Mutex<Behaviour>) {
    let mut reader = BufReader::new(stream.try_clone().expect("a stream"));
    let (mut line, mut length, mut authorization) = (String::new(), 0, String::new());
    reader.read_line(&mut line).expect("a request");
    let target = line.split(' ').nth(1).unwrap_or_default().to_owned();
    loop {
        let mut header = String::new();
        if reader.read_line(&mut header).unwrap_or(0) == 0 || header == "\r\n" {
            break;
        }
        let (name, value) = header.split_once(':').expect("a header");
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse().expect("a number"),
            "authorization" => authorization = value.trim().to_owned(),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).expect("a body");
    let mut behaviour = behaviour.lock().expect("unpoisoned");
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let url = format!("http://{address}");
    let (status, location, document) = match path {
        "/.well-known/openid-configuration" => {
            let at = |path: &str| format!("{url}/{path}");
            let (authorize, token, keys) = (at("authorize"), at("token"), at("keys"));
            let document = json!({"issuer": url, "authorization_endpoint": authorize, "token_endpoint": token, "jwks_uri": keys});
            (200, None, document)
        }
        "/keys" => {
            behaviour.fetches += 1;
            (200, None, json!({ "keys": behaviour.keys }))
        }
        "/authorize" => {
            behaviour.asked = parameters(query);
            let asked = &behaviour.asked;
            assert_eq!((&*asked["client_id"], &*asked["response_type"]), (CLIENT, "code"));
            assert!(asked["scope"].split(' ').any(|scope| scope == "openid"));
            (303, Some(format!("{}?code=c0de&state={}", asked["redirect_uri"], asked["state"])), Value::Null)
        }
        "/token" => {
            let form = parameters(&text(&body));
            let basic = openssl(&["base64", "-A"], b"netrewind:s3cret+%26+more");
            let digest = openssl(&["dgst", "-sha256", "-binary"], form["code_verifier"].as_bytes());
            let is_right = authorization == format!("Basic {}", text(&basic))
                && form["code"] == "c0de"
                && form["redirect_uri"] == behaviour.asked["redirect_uri"]
                && encoded(&digest) == behaviour.asked["code_challenge"];
            let mut claims = json!({
                "iss": url, "aud": CLIENT, "sub": "4711", "exp": now() + 300, "iat": now(),
                "email": "alice@example.com", "groups": ["everybody", "soc"],
            });
            claims["nonce"] = json!(behaviour.asked["nonce"]);
            match (&behaviour.issue, is_right) {
                (Some(issue), true) => {
                    (200, None, json!({"id_token": issue(claims), "token_type": "Bearer"}))
                }
                _ => (400, None, json!({"error": "invalid_grant"})),
            }
        }
        _ => (404, None, Value::Null),
    };
    let body = document.to_string();
    let location = location.map_or_else(String::new, |location| format!("Location: {location}\r\n"));
    let head = format!(
        "HTTP/1.1 {status} x\r\n{location}Content-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    let _ = (&stream).write_all(format!("{head}{body}").as_bytes());
}

struct Scene {
    folder: tempfile::TempDir,
    store: String,
    tokens: String,
    token: String,
}

/// Rights as an operator writes them.
const RIGHTS: &str = "
[[user]]
name = \"bob@example.com\"
scopes = [\"extract\"]
filter = \"udp src port 1001\"

[[group]]
name = \"soc\"
scopes = [\"flows\", \"extract\"]

[[group]]
name = \"ops\"
scopes = [\"status\"]
";

impl Scene {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let store = served::store(folder.path(), PACKETS, 20);
        let at = |name: &str| folder.path().join(name).display().to_string();
        let tokens = at("tokens.toml");
        std::fs::write(&tokens, RIGHTS).expect("written");
        // What an operator wrote stays when tokens are made.
        let made = done(["token", "add", "script", "--scope", "extract", "--tokens", &tokens]);
        let token =
            text(&made).split_whitespace().find(|word| word.starts_with("nrw_")).expect("a token").to_owned();
        assert!(std::fs::read_to_string(&tokens).expect("a file").contains("[[group]]"));
        std::fs::write(at("secret"), format!("{SECRET}\n")).expect("written");
        Self { store, tokens, token, folder }
    }

    fn serve(&self, more: &[&str]) -> Service {
        let fixed = ["serve", "--store", &self.store, "--tokens", &self.tokens];
        Service::start(&[&fixed[..], more].concat())
    }

    fn serve_with(&self, issuer: &str) -> Service {
        let secret = self.folder.path().join("secret").display().to_string();
        self.serve(&[
            "--oidc-issuer",
            issuer,
            "--oidc-client-id",
            CLIENT,
            "--oidc-client-secret-file",
            &secret,
        ])
    }

    fn key(&self, algorithm: &'static str, id: &str) -> Key {
        Key::new(self.folder.path(), algorithm, id)
    }

    /// The audit, once it has these words: a thread of its own writes it.
    fn audit_with(&self, words: &str) -> String {
        let until = Instant::now() + Duration::from_secs(20);
        loop {
            let audit =
                std::fs::read_to_string(Path::new(&self.store).join("audit.jsonl")).unwrap_or_default();
            if audit.contains(words) {
                return audit;
            }
            assert!(Instant::now() < until, "{words} is not in the audit: {audit}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

fn get(service: &Service, target: &str, headers: &[(&str, &str)]) -> Response {
    Response::read(service.send("GET", target, headers, ""), false)
}

fn detail(response: &Response) -> String {
    response.json()["detail"].as_str().unwrap_or_default().to_owned()
}

fn cookie_of(response: &Response, name: &str) -> Option<String> {
    let cookies = response.headers.iter().filter(|(header, _)| header == "set-cookie");
    let pairs = cookies.filter_map(|(_, value)| value.split(';').next().map(str::to_owned));
    pairs.filter(|pair| !pair.ends_with('=')).find(|pair| pair.starts_with(&format!("{name}=")))
}

/// Signs in as a browser does: the answer to the callback.
fn sign_in(service: &Service) -> Response {
    let begun = get(service, "/oidc/login", &[]);
    assert_eq!(begun.status, 303, "{}", text(&begun.body));
    let cookie = cookie_of(&begun, "__Host-netrewind-login").expect("a cookie");
    let target = back_from_issuer(&begun);
    get(service, &target, &[("Cookie", &cookie)])
}

/// Follows a browser to the issuer; where that sends it back.
fn back_from_issuer(begun: &Response) -> String {
    let location = begun.header("location").expect("an issuer").to_owned();
    let output =
        Command::new("curl").args(["-sS", "-o", "/dev/null", "-w", "%{redirect_url}", &location]).output();
    let back = text(&output.expect("curl runs").stdout);
    let at = back.find("/oidc/callback").unwrap_or_else(|| panic!("{back}"));
    back[at..].to_owned()
}

const COUNT: &str = "/api/v1/packets/count";

#[test]
fn a_browser_signs_in_at_an_issuer() {
    let (scene, issuer) = (Scene::new(), Issuer::start());
    let key = scene.key("RS256", "one");
    issuer.publish(&[&key]);
    issuer.issue(move |claims| key.token(&claims));
    let service = scene.serve_with(&issuer.url());
    let back = sign_in(&service);
    assert_eq!((back.status, back.header("location")), (303, Some("/")), "{}", text(&back.body));
    let cookie = cookie_of(&back, "__Host-netrewind").expect("a session");
    let whole = back.headers.iter().find(|(_, value)| value.starts_with(&cookie)).expect("it").1.clone();
    for word in ["HttpOnly", "Secure", "SameSite=Strict", "Path=/"] {
        assert!(whole.contains(word), "{whole}");
    }
    let session = [("Cookie", &*cookie)];
    let count = get(&service, COUNT, &session);
    assert_eq!((count.status, count.json()["packets"].as_u64()), (200, Some(PACKETS as u64)));
    assert_eq!(get(&service, "/api/v1/status", &session).status, 403, "the group has no such scope");
    assert_eq!(get(&service, COUNT, &[]).status, 401);
    // The audit names the user, and no secret.
    let audit = scene.audit_with("\"user:alice@example.com\"");
    let said = service.said().join("\n");
    for secret in ["c0de", "s3cret", cookie.split('=').nth(1).expect("a value")] {
        assert!(!audit.contains(secret) && !said.contains(secret), "{secret}");
    }
    // Rights are those of the file, at every moment.
    let rights = std::fs::read_to_string(&scene.tokens).expect("a file");
    std::fs::write(&scene.tokens, rights.replace("\"soc\"", "\"other\"")).expect("written");
    let until = Instant::now() + Duration::from_secs(20);
    while get(&service, COUNT, &session).status == 200 {
        assert!(Instant::now() < until, "a removed group still has rights");
        std::thread::sleep(Duration::from_millis(100));
    }
    let refused = sign_in(&service);
    assert!(
        refused.status == 403 && detail(&refused).contains("has no rights here"),
        "{}",
        text(&refused.body)
    );
    std::fs::write(&scene.tokens, rights).expect("written");
    std::thread::sleep(Duration::from_millis(1500));
    let cookie = cookie_of(&sign_in(&service), "__Host-netrewind").expect("a session");
    let session = [("Cookie", &*cookie)];
    assert_eq!(get(&service, COUNT, &session).status, 200);
    let ended = Response::read(service.send("DELETE", "/api/v1/session", &session, ""), true);
    assert_eq!(ended.status, 204);
    assert_eq!(get(&service, COUNT, &session).status, 401, "it has signed out");
}

#[test]
fn nobody_signs_in_with_what_is_not_the_issuers() {
    let (scene, issuer) = (Scene::new(), Issuer::start());
    let (key, other) = (scene.key("ES256", "one"), scene.key("ES256", "other"));
    issuer.publish(&[&key]);
    let other = Key { id: "one".to_owned(), ..other };
    let (key, other) = (Arc::new(key), Arc::new(other));
    let service = scene.serve_with(&issuer.url());
    let refused = |why: &str| {
        let back = sign_in(&service);
        assert_eq!(
            (back.status, cookie_of(&back, "__Host-netrewind")),
            (403, None),
            "{why}: {}",
            text(&back.body)
        );
        assert!(detail(&back).contains(why), "{why}: {}", detail(&back));
    };
    let with = |name: &'static str, value: Value| {
        let key = Arc::clone(&key);
        move |mut claims: Value| {
            claims[name] = value.clone();
            key.token(&claims)
        }
    };
    issuer.issue(with("nonce", json!("x")));
    refused("nonce");
    issuer.issue(with("aud", json!("another")));
    refused("audience");
    issuer.issue(with("exp", json!(now() - 100)));
    refused("expired");
    issuer.issue(with("iss", json!("https://evil.example")));
    refused("another issuer");
    issuer.issue(with("email", json!("eve\r\nX: y")));
    refused("name");
    issuer.issue(with("groups", json!(["nobody"])));
    refused("no rights");
    issuer.issue(move |claims| other.token(&claims));
    refused("signature is wrong");
    issuer.issue(|claims| {
        format!("{}.{}.", encoded(b"{\"alg\":\"none\"}"), encoded(claims.to_string().as_bytes()))
    });
    refused("algorithm");
    issuer.issue(|_| "no token".to_owned());
    refused("three parts");
    // Another state, or another browser.
    let right = Arc::clone(&key);
    issuer.issue(move |claims| right.token(&claims));
    let begun = get(&service, "/oidc/login", &[]);
    let cookie = cookie_of(&begun, "__Host-netrewind-login").expect("a cookie");
    let target = back_from_issuer(&begun);
    for (target, cookies) in [
        (target.replace("state=", "state=x"), vec![("Cookie", &*cookie)]),
        (target.clone(), vec![]),
        (target.clone(), vec![("Cookie", &*cookie)]),
        ("/oidc/callback?error=access_denied".to_owned(), vec![]),
        ("/oidc/callback".to_owned(), vec![]),
    ] {
        assert_eq!(get(&service, &target, &cookies).status, 403, "{target}");
    }
    assert_eq!(sign_in(&service).status, 303, "what is right works on");
    scene.audit_with("/oidc/callback");
    // Without an issuer there is no such place.
    assert_eq!(get(&scene.serve(&["--no-audit"]), "/oidc/login", &[]).status, 404);
}

#[test]
fn the_api_takes_tokens_of_the_issuer() {
    let (scene, issuer) = (Scene::new(), Issuer::start());
    let keys =
        [("RS256", "r"), ("ES256", "e"), ("EdDSA", "d")].map(|(algorithm, id)| scene.key(algorithm, id));
    issuer.publish(&keys.each_ref());
    let service = scene.serve_with(&issuer.url());
    let count = |token: &str| {
        let response = get(&service, COUNT, &[("Authorization", &format!("Bearer {token}"))]);
        (response.status, response.json()["packets"].as_u64())
    };
    for key in &keys {
        assert_eq!(count(&key.token(&issuer.claims())), (200, Some(PACKETS as u64)), "{}", key.algorithm);
    }
    assert_eq!(issuer.behaviour.lock().expect("unpoisoned").fetches, 1, "keys are remembered");
    // Their own rights go before those of groups: here with a filter.
    let mut bob = issuer.claims();
    (bob["email"], bob["groups"]) = (json!("bob@example.com"), json!(["soc"]));
    let of_bob = count(&keys[1].token(&bob));
    assert!(of_bob.0 == 200 && of_bob.1 < Some(PACKETS as u64) && of_bob.1 > Some(0), "{of_bob:?}");
    scene.audit_with("user:bob@example.com");
    let mut nobody = issuer.claims();
    nobody["groups"] = json!([]);
    assert_eq!(count(&keys[2].token(&nobody)).0, 403);
    let mut late = issuer.claims();
    late["exp"] = json!(now() - 100);
    assert_eq!(count(&keys[2].token(&late)).0, 401);
    // Tokens of this service work beside them.
    assert_eq!(count(&scene.token), (200, Some(PACKETS as u64)));

    // The issuer changes its keys: the new one is found before long, although others are asked for all the time.
    let new = scene.key("ES256", "new");
    issuer.publish(&[&new]);
    let token = new.token(&issuer.claims());
    let until = Instant::now() + ROTATED_WITHIN;
    while count(&token).0 != 200 {
        assert!(Instant::now() < until, "the new key is not found");
        std::thread::sleep(Duration::from_secs(7));
    }
    assert!(issuer.behaviour.lock().expect("unpoisoned").fetches <= 3, "the issuer is asked now and then");
    assert_eq!(count(&keys[0].token(&issuer.claims())).0, 401, "a key that was withdrawn");
}

#[test]
fn an_issuer_that_is_away_is_named_and_tokens_work_on() {
    let scene = Scene::new();
    let service = scene.serve_with("http://127.0.0.1:1");
    let begun = get(&service, "/oidc/login", &[]);
    assert!(begun.status == 503 && detail(&begun).contains("http://127.0.0.1:1"), "{}", text(&begun.body));
    assert!(detail(&begun).contains("refused"), "{}", detail(&begun));
    let key = scene.key("EdDSA", "one");
    let foreign = key.token(&json!({"iss": "http://127.0.0.1:1", "aud": CLIENT, "exp": now() + 100}));
    let refused = get(&service, COUNT, &[("Authorization", &format!("Bearer {foreign}"))]);
    assert_eq!(refused.status, 503, "{}", text(&refused.body));
    let own = format!("Bearer {}", scene.token);
    assert_eq!(get(&service, COUNT, &[("Authorization", &own)]).status, 200);
}

#[test]
fn a_trusted_proxy_names_users_and_nobody_else_does() {
    let scene = Scene::new();
    let service = scene.serve(&[
        "--trusted-proxy",
        "127.0.0.2",
        "--trusted-proxy",
        "fd00::/8",
        "--groups-header",
        "X-Groups",
    ]);
    let ask = |from: &str, method: &str, path: &str, headers: &[&str]| {
        let mut curl = Command::new("curl");
        curl.args(["-sS", "--interface", from, "-o", "/dev/null", "-w", "%{http_code}", "-X", method]);
        headers.iter().for_each(|header| _ = curl.args(["-H", header]));
        let output = curl.arg(format!("http://{}{path}", service.address)).output().expect("curl runs");
        text(&output.stdout)
    };
    let (proxy, other) = ("127.0.0.2", "127.0.0.3");
    let alice = ["X-Forwarded-User: alice", "X-Groups: everybody, soc"];
    assert_eq!(ask(proxy, "GET", COUNT, &alice), "200");
    assert_eq!(ask(other, "GET", COUNT, &alice), "401", "anybody can send a header");
    assert_eq!(ask(proxy, "GET", COUNT, &[]), "401");
    let token = format!("Authorization: Bearer {}", scene.token);
    assert_eq!(
        ask(other, "GET", COUNT, &[&token, alice[0], alice[1]]),
        "200",
        "as the token, not as the user"
    );
    assert_eq!(ask(proxy, "GET", COUNT, &[&token]), "200");
    assert_eq!(ask(proxy, "GET", "/api/v1/status", &alice), "403");
    assert_eq!(ask(proxy, "GET", "/api/v1/status", &["X-Forwarded-User: carl", "X-Groups: ops"]), "200");
    assert_eq!(ask(proxy, "GET", COUNT, &["X-Forwarded-User: dora"]), "403");
    for hostile in [
        "X-Forwarded-User: a,b",
        "X-Forwarded-User: a b",
        "X-Forwarded-User: \u{202e}evil",
        "X-Forwarded-User;",
    ] {
        assert_eq!(ask(proxy, "GET", COUNT, &[hostile, "X-Groups: soc"]), "403", "{hostile}");
    }
    assert_eq!(
        ask(proxy, "GET", COUNT, &["X-Forwarded-User: alice", "X-Forwarded-User: root", "X-Groups: soc"]),
        "403"
    );
    // A page elsewhere makes the browser send what the proxy takes for its user's.
    let forged = [alice[0], alice[1], "Origin: https://evil.example", "Content-Type: application/json"];
    assert_eq!(ask(proxy, "POST", COUNT, &forged), "403");
    for who in ["\"user:alice\"", "\"script\"", "\"user:dora\""] {
        assert!(!scene.audit_with(who).contains('\u{202e}'), "{who}");
    }

    // What cannot be is refused before anything starts.
    let serve = ["serve", "--store", &scene.store, "--listen", "127.0.0.1:0"];
    for (more, told) in [
        (vec!["--trusted-proxy", "127.0.0.1"], "--tokens"),
        (vec!["--tokens", &scene.tokens, "--trusted-proxy", "0.0.0.0/0"], "is not an address or a network"),
        (vec!["--tokens", &scene.tokens, "--trusted-proxy", "proxy"], "is not an address or a network"),
        (
            vec!["--tokens", &scene.tokens, "--trusted-proxy", "::1", "--user-header", "X User"],
            "name of a header",
        ),
        (
            vec!["--tokens", &scene.tokens, "--oidc-issuer", "http://login.example"],
            "write an issuer as https://",
        ),
        (vec!["--tokens", &scene.tokens, "--oidc-issuer", "https://login.example"], "--oidc-client-id"),
    ] {
        let refused = run(serve.iter().copied().chain(more.iter().copied()));
        let said = text(&refused.stderr);
        assert!(refused.status.code() == Some(2) && said.contains(told), "{more:?}: {said}");
    }
    for (rights, told) in [
        ("[[user]]\nname = \"a b\"\nscopes = [\"flows\"]\n", "not the name of a user"),
        ("[[user]]\nname = \"a\"\nscopes = []\n", "has no scope"),
        ("[[group]]\nname = \"a\"\nscopes = [\"status\"]\nfilter = \"tcp\"\n", "cannot have a filter"),
        ("[[group]]\nname = \"a\"\nscopes = [\"flows\"]\nfilter = \"prot 1\"\n", "rights of \"a\""),
        (
            "[[group]]\nname = \"a\"\nscopes = [\"flows\"]\n[[group]]\nname = \"a\"\nscopes = [\"flows\"]\n",
            "twice",
        ),
    ] {
        let file = scene.folder.path().join("wrong.toml").display().to_string();
        std::fs::write(&file, rights).expect("written");
        let refused = run(serve.iter().copied().chain(["--tokens", &file]));
        let said = text(&refused.stderr);
        assert!(refused.status.code() == Some(2) && said.contains(told), "{rights}: {said}");
    }
}

#[test]
fn rights_of_users_and_groups_are_granted_and_revoked() {
    let scene = Scene::new();
    let service = scene.serve(&["--trusted-proxy", "127.0.0.1"]);
    let token = |arguments: &[&str]| {
        let output = run([&["token"], arguments, &["--tokens", &scene.tokens]].concat());
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let count = || {
        let response = get(&service, COUNT, &[("X-Forwarded-User", "carol")]);
        (response.status, response.json()["packets"].as_u64())
    };
    let wait_for = |wanted| {
        let until = Instant::now() + Duration::from_secs(20);
        while count() != wanted {
            assert!(Instant::now() < until, "{:?}", count());
            std::thread::sleep(Duration::from_millis(50));
        }
    };
    assert_eq!(count().0, 403);
    let own = ["--user", "carol", "--scope", "extract,flows"];
    assert_eq!(token(&[&["grant"], &own[..], &["--filter", "udp src port 1001"]].concat()).0, Some(0));
    wait_for((200, Some(1)));
    // What is granted again takes the place of what was.
    assert_eq!(token(&[&["grant"], &own[..]].concat()).0, Some(0));
    wait_for((200, Some(PACKETS as u64)));
    let (_, listed, _) = token(&["list"]);
    assert!(listed.contains("user:carol  flows,extract\n"), "{listed}");
    assert!(listed.contains("user:bob@example.com  extract  only udp src port 1001\n"), "{listed}");
    assert!(listed.contains("group:ops  status\n") && listed.contains("script  extract"), "{listed}");
    let (_, listed, _) = token(&["list", "--json"]);
    let listed: Value = serde_json::from_str(&listed).expect("JSON");
    assert_eq!((&listed["users"][1]["name"], &listed["groups"][0]["name"]), (&json!("carol"), &json!("soc")));
    assert_eq!(token(&["revoke", "--user", "carol"]).0, Some(0));
    wait_for((403, None));
    for (wrong, told) in [
        (&["revoke", "--user", "carol"][..], "the file grants nothing to the user \"carol\""),
        (&["revoke"], "--user <NAME>|--group <NAME>"),
        (&["grant", "--user", "a", "--group", "b", "--scope", "flows"], "cannot be used with"),
        (&["grant", "--group", "b"], "--scope"),
        (&["grant", "--group", "b", "--scope", "flows", "--filter", "prot 1"], "--filter: "),
        (&["grant", "--group", "b", "--scope", "status", "--filter", "tcp"], "cannot have a filter"),
        (&["grant", "--user", "a b", "--scope", "flows"], "not the name of a user"),
    ] {
        let (status, _, said) = token(wrong);
        assert!(status == Some(2) && said.contains(told), "{wrong:?}: {said}");
    }
    assert!(std::fs::read_to_string(&scene.tokens).expect("a file").contains("[[token]]"));
}
