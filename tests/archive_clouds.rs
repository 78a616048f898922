//! Archives on servers that play S3 and Azure: other programs than the object store that the rest of the tests ask.

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::access::certificate;
use crate::hours::Scene;
use crate::support::object_store::{KEYS, free_port, program};
use crate::support::{netrewind, run};

/// Account of Azurite, and its key, which is no secret: "well-known storage account and key" in Azurite's documentation.
const ACCOUNT: &str = "devstoreaccount1";
const ACCOUNT_KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";
const PATIENCE: Duration = Duration::from_secs(60);

/// Stands before moto: gives requests on to it, over TLS those for tokens, and writes down with which keys they came.
const FRONT: &str = r#"
import http.server, re, ssl, sys, threading, urllib.error, urllib.request
port, tokens, moto, certificate, key, asked = sys.argv[1:]
log = open(asked, "a", buffering=1)


class Front(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self):
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        while self.headers.get("transfer-encoding") == "chunked" and (size := int(self.rfile.readline(), 16)) + 1:
            body += self.rfile.read(size)
            self.rfile.readline()
            if size == 0:
                break
        path, _, query = self.path.partition("?")
        if self.server.is_of_tokens:
            log.write(f"tokens {query}\n")
            path, query, body = path, "", query.encode()
        else:
            keys = re.search("Credential=([^/]*)", self.headers.get("authorization") or "")
            log.write(f"keys {keys and keys[1]} {'x-amz-security-token' in self.headers}\n")
        headers = {name: value for name, value in self.headers.items() if name.lower() not in ("host", "content-length", "transfer-encoding")}
        if self.server.is_of_tokens:
            headers = {}
        elif self.headers.get("content-type") is None:
            headers["Content-type"] = "application/octet-stream"
        request = urllib.request.Request(moto + path + ("?" + query if query else ""), body or None, headers, method=self.command)
        try:
            answer = urllib.request.urlopen(request)
        except urllib.error.HTTPError as error:
            answer = error
        text = answer.read()
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            if name.lower() not in ("content-length", "connection", "transfer-encoding", "server", "date"):
                self.send_header(name, value)
        self.send_header("Content-Length", answer.headers["content-length"] if self.command == "HEAD" else str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = answer

    def log_message(self, *_):
        pass


def serve(port, is_of_tokens):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", int(port)), Front)
    server.is_of_tokens = is_of_tokens
    if is_of_tokens:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    server.serve_forever()


threading.Thread(target=serve, args=(port, False), daemon=True).start()
serve(tokens, True)
"#;

/// A server with one bucket. Ends when dropped.
struct Cloud {
    child: Child,
    others: Vec<Child>,
    url: &'static str,
    environment: Vec<(String, String)>,
    _folder: tempfile::TempDir,
}

impl Drop for Cloud {
    fn drop(&mut self) {
        for child in self.others.iter_mut().chain([&mut self.child]) {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A program that `scripts/objectstore others` has installed.
fn installed(name: &str) -> Option<PathBuf> {
    let found = program().and_then(|weed| Some(weed.parent()?.parent()?.join(name)));
    let found = found.filter(|path| path.exists());
    if found.is_none() {
        eprintln!("skipped: scripts/objectstore others installs {name}");
    }
    found
}

fn start(mut command: Command, port: u16) -> Child {
    let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts");
    let begun = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(begun.elapsed() < PATIENCE, "{command:?} does not start");
        std::thread::sleep(Duration::from_millis(100));
    }
    child
}

fn python(lines: &str) {
    let python = program().expect("installed").with_file_name("python");
    let output = Command::new(python).arg("-c").arg(lines).output().expect("python");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

impl Cloud {
    fn moto() -> Option<Self> {
        let (port, folder) = (free_port(), tempfile::tempdir().expect("a folder"));
        let mut command = Command::new(installed("bin/moto_server")?);
        command.args(["-H", "127.0.0.1", "-p", &port.to_string()]);
        let child = start(command, port);
        let endpoint = format!("http://127.0.0.1:{port}");
        python(&format!(
            "import boto3\nboto3.client('s3', endpoint_url={endpoint:?}, region_name='us-east-1', aws_access_key_id='nrkey', aws_secret_access_key='nrsecret').create_bucket(Bucket='packets')"
        ));
        let keys = KEYS.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let environment = keys.into_iter().chain([("AWS_ENDPOINT_URL".to_owned(), endpoint)]).collect();
        Some(Self { child, others: Vec::new(), url: "s3://packets/moto", environment, _folder: folder })
    }

    /// The same, asked with the keys of a role, which the service for tokens gives for a web identity. It is asked over TLS, and stands
    /// before moto's, which does not read the parameters of such a request from where AWS lets them be.
    fn moto_with_a_role() -> Option<Self> {
        let mut cloud = Self::moto()?;
        let (port, tokens) = (free_port(), free_port());
        let folder = cloud._folder.path();
        let (certificate, key) = certificate(folder);
        let endpoint = cloud.environment.pop().expect("an endpoint").1;
        let (token, script) = (folder.join("token"), folder.join("front.py"));
        std::fs::write(&token, "a-token").expect("written");
        std::fs::write(&script, FRONT).expect("written");
        let mut command = Command::new(program().expect("installed").with_file_name("python"));
        command.arg(script).args([&port.to_string(), &tokens.to_string(), &endpoint, &certificate, &key]);
        command.arg(folder.join("asked"));
        cloud.others.push(start(command, tokens));
        let pairs = [
            ("AWS_REGION", "us-east-1".to_owned()),
            ("AWS_ENDPOINT_URL", format!("http://127.0.0.1:{port}")),
            ("AWS_ENDPOINT_URL_STS", format!("https://localhost:{tokens}")),
            ("AWS_CA_BUNDLE", certificate),
            ("AWS_WEB_IDENTITY_TOKEN_FILE", token.display().to_string()),
            ("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/recorder".to_owned()),
        ];
        cloud.environment = pairs.map(|(name, value)| (name.to_owned(), value)).to_vec();
        Some(cloud)
    }

    /// Lines about what was asked of the front.
    fn asked(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self._folder.path().join("asked")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    fn azurite() -> Option<Self> {
        let (port, folder) = (free_port(), tempfile::tempdir().expect("a folder"));
        let mut command = Command::new(installed("azurite/node_modules/.bin/azurite-blob")?);
        command.args([
            "--blobPort",
            &port.to_string(),
            "--silent",
            "--disableTelemetry",
            "--skipApiVersionCheck",
        ]);
        command.arg("--location").arg(folder.path());
        let child = start(command, port);
        let endpoint = format!("http://127.0.0.1:{port}/{ACCOUNT}");
        python(&format!(
            "from azure.storage.blob import BlobServiceClient\nBlobServiceClient({endpoint:?}, credential={{'account_name': {ACCOUNT:?}, 'account_key': {ACCOUNT_KEY:?}}}).create_container('packets')"
        ));
        let pairs = [
            ("AZURE_STORAGE_ACCOUNT", ACCOUNT),
            ("AZURE_STORAGE_KEY", ACCOUNT_KEY),
            ("AZURE_STORAGE_ENDPOINT", &endpoint),
        ];
        let environment = pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        Some(Self { child, others: Vec::new(), url: "az://packets/azurite", environment, _folder: folder })
    }

    fn run(&self, arguments: &[&str], more: &[&Path]) -> Output {
        let mut command = netrewind();
        command.args(arguments).args(["--archive", self.url]).args(more);
        // Nothing of whoever runs the tests counts.
        for name in KEYS.iter().map(|(name, _)| *name).chain(["AWS_SESSION_TOKEN", "AWS_ROLE_ARN", "HOME"]) {
            command.env_remove(name);
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.output().expect("netrewind runs")
    }

    /// Uploads a store there, and asserts that it answers as the store does.
    fn assert_takes_and_gives(&self) {
        let scene = Scene::new();
        let store = scene.store();
        for said in ["segments archived", "0 segments archived"] {
            let output = self.run(&["archive", "--now", "--store", &store], &[]);
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success() && text.contains(said), "{}: {text}", self.url);
        }
        let cache = tempfile::tempdir().expect("a cache");
        let cached = [Path::new("--archive-cache"), cache.path()];
        for filter in &scene.filters {
            for question in [
                ["extract", "-o", "-", "--filter", filter],
                ["flows", "--format", "json", "--filter", filter],
            ] {
                let local = run(question.iter().copied().chain(["--store", &store]));
                let output = self.run(&question, &cached);
                let text = String::from_utf8_lossy(&output.stderr).into_owned();
                assert_eq!(output.status.code(), local.status.code(), "{question:?}: {text}");
                assert!(output.stdout == local.stdout, "{question:?}: {text}");
            }
        }
        let verified = self.run(&["verify"], &cached);
        assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stderr));
        let expired = self.run(&["archive", "--now", "--archive-max-age", "1d", "--store", &store], &[]);
        assert!(expired.status.success(), "{}", String::from_utf8_lossy(&expired.stderr));
    }
}

#[test]
fn moto_takes_an_archive_and_gives_it_back() {
    let Some(cloud) = Cloud::moto() else { return };
    cloud.assert_takes_and_gives();
}

#[test]
fn azurite_takes_an_archive_and_gives_it_back() {
    let Some(cloud) = Cloud::azurite() else { return };
    cloud.assert_takes_and_gives();
}

#[test]
fn the_keys_of_a_role_are_got_for_a_web_identity() {
    let Some(cloud) = Cloud::moto_with_a_role() else { return };
    cloud.assert_takes_and_gives();
    let asked = cloud.asked();
    let for_tokens: Vec<_> = asked.iter().filter(|line| line.starts_with("tokens ")).collect();
    assert!(
        !for_tokens.is_empty()
            && for_tokens.iter().all(|line| {
                line.contains("Action=AssumeRoleWithWebIdentity") && line.contains("WebIdentityToken=a-token")
            })
    );
    // The keys that moto gives for a role begin so, and come with a token.
    let with_keys: Vec<_> = asked.iter().filter(|line| line.starts_with("keys ")).collect();
    assert!(with_keys.len() > 20, "{asked:?}");
    assert!(
        with_keys.iter().all(|line| line.starts_with("keys ASIA") && line.ends_with("True")),
        "{asked:?}"
    );
    // What stands in the way is named.
    let token = cloud._folder.path().join("token");
    std::fs::remove_file(&token).expect("removed");
    let failed = cloud.run(&["status"], &[]);
    let said = String::from_utf8_lossy(&failed.stderr).into_owned();
    assert!(failed.status.code() == Some(3) && said.contains(&token.display().to_string()), "{said}");
}

#[test]
fn profiles_that_start_a_program_or_a_browser_are_refused_with_the_remedy() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("config");
    let settings = [
        ("credential_process", "/bin/keys"),
        ("sso_session", "office"),
        ("sso_start_url", "https://office.awsapps.com/start"),
        ("source_profile", "base"),
    ];
    for (setting, value) in settings {
        std::fs::write(&config, format!("[profile night]\n{setting} = {value}\n")).expect("written");
        let mut command = netrewind();
        for name in KEYS.iter().map(|(name, _)| *name) {
            command.env_remove(name);
        }
        command.args(["status", "--archive", "s3://packets/night"]).env("AWS_PROFILE", "night");
        let output = command.env("AWS_CONFIG_FILE", &config).output().expect("netrewind runs");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(3), "{said}");
        assert!(said.contains(&format!("{setting}, which is not supported")), "{said}");
        assert!(said.contains("aws configure export-credentials"), "{said}");
    }
}
