//! An object store of several nodes in a network namespace, whose nodes can be killed.

use std::fmt::Write as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::link::Link;
use super::object_store::{KEYS, keys_file, program};

/// Masters, and as many volume servers, each in a rack of its own.
const NODES: u16 = 3;
/// Ports: each master, volume server, filer and gateway has two, and the namespace has no others.
const MASTER_PORT: u16 = 9333;
const VOLUME_PORT: u16 = 8080;
const FILER_PORT: u16 = 8888;
const GATEWAY_PORT: u16 = 8333;
/// Distance of a server's second port, for gRPC, from its first.
const GRPC: u16 = 10_000;
/// Time in which something becomes true of the cluster.
const PATIENCE: Duration = Duration::from_secs(120);

/// Three masters, three volume servers with two copies of everything, a filer and two gateways. Ends when dropped.
pub struct ObjectCluster<'link> {
    link: &'link Link,
    masters: Vec<Option<Child>>,
    volumes: Vec<Option<Child>>,
    others: Vec<Child>,
    folder: tempfile::TempDir,
}

impl<'link> ObjectCluster<'link> {
    /// Starts one in the namespace in which is recorded; `None` where it is not installed, which is said.
    pub fn inside(link: &'link Link) -> Option<Self> {
        if program().is_none() {
            eprintln!("skipped: scripts/objectstore installs the object store");
            return None;
        }
        link.ip(&["link", "set", "lo", "up"]);
        let folder = tempfile::tempdir().expect("a folder");
        keys_file(folder.path());
        let mut cluster = Self { link, masters: Vec::new(), volumes: Vec::new(), others: Vec::new(), folder };
        let mut peers = String::new();
        for master in 0..NODES {
            let port = MASTER_PORT + master;
            let _ = write!(peers, "{}127.0.0.1:{port}.{}", if master == 0 { "" } else { "," }, port + GRPC);
        }
        for master in 0..NODES {
            let child = cluster.weed("master", MASTER_PORT + master, |command, folder| {
                command.arg(format!("-mdir={folder}")).arg(format!("-peers={peers}"));
                command.args(["-defaultReplication=010", "-volumeSizeLimitMB=64", "-telemetry=false"]);
            });
            cluster.masters.push(Some(child));
        }
        for volume in 0..NODES {
            let child = cluster.weed("volume", VOLUME_PORT + volume, |command, folder| {
                command.arg(format!("-dir={folder}")).arg(format!("-mserver={peers}"));
                command.args(["-dataCenter=one", "-max=30"]).arg(format!("-rack={volume}"));
            });
            cluster.volumes.push(Some(child));
        }
        let filer = cluster.weed("filer", FILER_PORT, |command, folder| {
            command.arg(format!("-master={peers}")).arg(format!("-defaultStoreDir={folder}"));
        });
        cluster.others.push(filer);
        let config = cluster.folder.path().join("s3.json").display().to_string();
        for gateway in 0..2 {
            let child = cluster.weed("s3", GATEWAY_PORT + gateway, |command, _| {
                command.arg(format!("-filer=127.0.0.1:{FILER_PORT}")).arg(format!("-config={config}"));
                command.args(["-port.iceberg=0", "-port.lance=0"]);
            });
            cluster.others.push(child);
        }
        Some(cluster)
    }

    /// Starts a server of this kind with a folder of its own.
    fn weed(&self, kind: &str, port: u16, more: impl FnOnce(&mut Command, &str)) -> Child {
        let folder = self.folder.path().join(format!("{kind}{port}"));
        std::fs::create_dir(&folder).expect("made");
        let mut command = self.link.inside(&program().expect("installed").display().to_string());
        command.arg(format!("-logdir={}", folder.display())).arg(kind).arg("-ip.bind=127.0.0.1");
        command.arg(format!("-port={port}")).arg(format!("-port.grpc={}", port + GRPC));
        if kind != "s3" {
            command.arg("-ip=127.0.0.1");
        }
        more(&mut command, &folder.display().to_string());
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("weed starts")
    }

    /// The URL of one of the two gateways.
    pub fn gateway(&self, number: u16) -> String {
        format!("http://127.0.0.1:{}", GATEWAY_PORT + number)
    }

    /// The command in the namespace, which knows the keys and a gateway.
    pub fn netrewind(&self, gateway: u16) -> Command {
        let mut command = self.link.inside(env!("CARGO_BIN_EXE_netrewind"));
        command.envs(KEYS).env("AWS_ENDPOINT_URL", self.gateway(gateway));
        for other in ["AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL_S3", "AWS_ALLOW_HTTP"] {
            command.env_remove(other);
        }
        command
    }

    /// Runs lines of Python with a client of S3.
    pub fn aws(&self, lines: &str) -> Result<String, String> {
        let python = program().expect("installed").with_file_name("python");
        let text = format!(
            "import boto3\nclient = boto3.client('s3', endpoint_url={:?}, region_name='us-east-1', aws_access_key_id='nrkey', aws_secret_access_key='nrsecret')\n{lines}",
            self.gateway(0)
        );
        let output = self.link.inside(&python.display().to_string()).arg("-c").arg(text).output();
        let output = output.expect("python");
        match output.status.success() {
            true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
            false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        }
    }

    /// Makes a bucket, and puts an object there: then everything is up.
    pub fn make_bucket(&self, name: &str) {
        let lines = format!(
            "try:\n client.create_bucket(Bucket={name:?})\nexcept client.exceptions.BucketAlreadyExists:\n pass\nclient.put_object(Bucket={name:?}, Key='up', Body=b'up')"
        );
        let begun = Instant::now();
        while let Err(error) = self.aws(&lines) {
            assert!(begun.elapsed() < PATIENCE, "the object store does not start: {error}");
            std::thread::sleep(Duration::from_millis(500));
        }
    }

    /// Objects below a prefix whose names end so.
    pub fn count(&self, bucket: &str, prefix: &str, end: &str) -> Result<usize, String> {
        let lines = format!(
            "print(sum(o['Key'].endswith({end:?}) for p in client.get_paginator('list_objects_v2').paginate(Bucket={bucket:?}, Prefix={prefix:?}) for o in p.get('Contents', [])))"
        );
        self.aws(&lines)?.trim().parse().map_err(|_| "no number".to_owned())
    }

    /// Kills a volume server with all that it has.
    pub fn kill_volume_server(&mut self, number: usize) {
        kill(self.volumes[number].take());
    }

    /// Kills the master that leads, and returns its number.
    pub fn kill_leading_master(&mut self) -> usize {
        let begun = Instant::now();
        loop {
            let living = (0..self.masters.len()).filter(|number| self.masters[*number].is_some());
            if let Some(leader) = living.into_iter().find(|number| self.leads(*number)) {
                kill(self.masters[leader].take());
                return leader;
            }
            assert!(begun.elapsed() < PATIENCE, "no master leads");
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    fn leads(&self, master: usize) -> bool {
        let url = format!("http://127.0.0.1:{}/cluster/status", MASTER_PORT + master as u16);
        let output = self.link.inside("curl").args(["-s", "--max-time", "2", &url]).output();
        let text = output.map(|output| output.stdout).unwrap_or_default();
        let status: serde_json::Value = serde_json::from_slice(&text).unwrap_or_default();
        status["IsLeader"] == true
    }
}

fn kill(child: Option<Child>) {
    let mut child = child.expect("it runs");
    child.kill().expect("killed");
    child.wait().expect("a child");
}

impl Drop for ObjectCluster<'_> {
    fn drop(&mut self) {
        let nodes = self.masters.iter_mut().chain(&mut self.volumes).filter_map(Option::as_mut);
        for child in nodes.chain(&mut self.others) {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
