//! A real object store on loopback.

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Keys of the object store.
pub const KEYS: [(&str, &str); 4] = [
    ("AWS_ACCESS_KEY_ID", "nrkey"),
    ("AWS_SECRET_ACCESS_KEY", "nrsecret"),
    ("AWS_REGION", "us-east-1"),
    ("AWS_PROFILE", ""),
];

/// Time in which it is up.
const PATIENCE: Duration = Duration::from_secs(60);

/// SeaweedFS in one process, whose S3 gateway listens on a port of its own. Ends when dropped.
pub struct ObjectStore {
    child: Child,
    pub port: u16,
    _folder: tempfile::TempDir,
}

/// The object store's program, where `scripts/objectstore` has installed it.
pub fn program() -> Option<PathBuf> {
    let target = Path::new(env!("CARGO_BIN_EXE_netrewind")).ancestors().nth(2)?.to_owned();
    let tools = std::fs::read_dir(target).ok()?.flatten().map(|entry| entry.path());
    let named = |path: &PathBuf| {
        path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with("objectstore-"))
    };
    tools.filter(named).map(|tool| tool.join("bin/weed")).find(|weed| weed.exists())
}

/// Writes the keys that the object store accepts.
pub fn keys_file(folder: &Path) -> PathBuf {
    let keys = serde_json::json!({ "identities": [{
        "name": "nr",
        "credentials": [{ "accessKey": "nrkey", "secretKey": "nrsecret" }],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }]});
    let file = folder.join("s3.json");
    std::fs::write(&file, keys.to_string()).expect("written");
    file
}

/// A port that nobody listens on.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|bound| bound.local_addr()).expect("a port").port()
}

impl ObjectStore {
    /// Starts one; `None` where it is not installed, which is said.
    pub fn start() -> Option<Self> {
        let Some(weed) = program() else {
            eprintln!("skipped: scripts/objectstore installs the object store");
            return None;
        };
        let folder = tempfile::tempdir().expect("a folder");
        let config = keys_file(folder.path());
        // Ports for HTTP, each of which has one for gRPC beside it.
        let [master, volume, filer, port] = [(); 4].map(|()| free_port());
        let grpc = [(); 4].map(|()| free_port());
        let child = Command::new(weed)
            .arg(format!("-logdir={}", folder.path().display()))
            .arg("server")
            .arg(format!("-dir={}", folder.path().display()))
            .args(["-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-master.telemetry=false", "-filer", "-s3"])
            .arg(format!("-s3.config={}", config.display()))
            .arg(format!("-master.port={master}"))
            .arg(format!("-volume.port={volume}"))
            .arg(format!("-filer.port={filer}"))
            .arg(format!("-s3.port={port}"))
            .arg(format!("-master.port.grpc={}", grpc[0]))
            .arg(format!("-volume.port.grpc={}", grpc[1]))
            .arg(format!("-filer.port.grpc={}", grpc[2]))
            .arg(format!("-s3.port.grpc={}", grpc[3]))
            .args(["-master.volumeSizeLimitMB=64", "-s3.port.lance=0", "-s3.port.iceberg=0"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("weed starts");
        let store = Self { child, port, _folder: folder };
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(begun.elapsed() < PATIENCE, "the object store does not start");
            std::thread::sleep(Duration::from_millis(100));
        }
        Some(store)
    }

    /// Makes a bucket.
    pub fn make_bucket(&self, name: &str) {
        let begun = Instant::now();
        loop {
            let made = self.aws(&format!("client.create_bucket(Bucket={name:?})"));
            if made.is_ok() || begun.elapsed() > PATIENCE {
                made.expect("a bucket");
                return;
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// Copies the objects of a bucket into a folder.
    pub fn fetch(&self, bucket: &str, folder: &Path) {
        let line = format!(
            "import os\nfor page in client.get_paginator('list_objects_v2').paginate(Bucket={bucket:?}):\n for o in page.get('Contents', []):\n  p = os.path.join({:?}, o['Key'])\n  os.makedirs(os.path.dirname(p), exist_ok=True)\n  client.download_file({bucket:?}, o['Key'], p)",
            folder.display().to_string()
        );
        self.aws(&line).expect("fetched");
    }

    /// Runs a line of Python with a client of S3.
    pub fn aws(&self, line: &str) -> Result<String, String> {
        let python = program().expect("installed").with_file_name("python");
        let text = format!(
            "import boto3\nclient = boto3.client('s3', endpoint_url='http://127.0.0.1:{}', region_name='us-east-1', aws_access_key_id='nrkey', aws_secret_access_key='nrsecret')\n{line}",
            self.port
        );
        let output = Command::new(python).arg("-c").arg(text).output().expect("python");
        match output.status.success() {
            true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
            false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        }
    }
}

impl Drop for ObjectStore {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
