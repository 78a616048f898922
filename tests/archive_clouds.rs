//! Archives on servers that play S3 and Azure: other programs than the object store that the rest of the tests ask.

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::hours::Scene;
use crate::support::object_store::{KEYS, free_port, program};
use crate::support::{netrewind, run};

/// Account of Azurite, and its key, which is no secret: "well-known storage account and key" in Azurite's documentation.
const ACCOUNT: &str = "devstoreaccount1";
const ACCOUNT_KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";
const PATIENCE: Duration = Duration::from_secs(60);

/// A server with one bucket. Ends when dropped.
struct Cloud {
    child: Child,
    url: &'static str,
    environment: Vec<(String, String)>,
    _folder: tempfile::TempDir,
}

impl Drop for Cloud {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
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
        Some(Self { child, url: "s3://packets/moto", environment, _folder: folder })
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
        Some(Self { child, url: "az://packets/azurite", environment, _folder: folder })
    }

    fn run(&self, arguments: &[&str], more: &[&Path]) -> Output {
        let mut command = netrewind();
        command.args(arguments).args(["--archive", self.url]).args(more);
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
