//! The machine on which the commands of a document run: a folder for its paths, two namespaces for its network, stand-ins for
//! programs that must not do what they are asked here.

use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use super::traffic;
use crate::access::certificate_for;
use crate::support::done;
use crate::support::link::{Link, wait_until};
use crate::support::packets::write_pcap;
use crate::tidy::root;

/// Folders that the documents name, which the stage has instead.
const FOLDERS: [&str; 7] = [
    "/data",
    "/backup",
    "/etc/netrewind",
    "/var/lib/netrewind",
    "/var/log/netrewind",
    "/usr/local/bin",
    "/etc/systemd/system",
];
/// Machines that the documents name, and where they are.
const HOSTS: &str = "127.0.0.1 localhost probe\n127.0.0.2 nr.example probe1\n127.0.0.3 probe2\n";
const INTERFACES: [&str; 3] = ["eth0", "eth1", "eth2"];

/// Programs with other deeds here. What only administers a machine does nothing, but has to name files and units that exist.
const STAND_INS: [(&str, &str); 8] = [
    ("sudo", "[[ $1 == -u ]] && shift 2\nexec \"$@\"\n"),
    ("ssh", "shift\nexec timeout --foreground --preserve-status -s INT 3 \"$@\"\n"),
    ("wireshark", "[[ $1 == -k ]] && shift 2\nexec tshark -r \"$1\" >/dev/null\n"),
    ("install", "for word; do [[ $word != */* || $word == /* || -e $word ]] || exit 1; done\n"),
    (
        "systemctl",
        "for word; do [[ $word != netrewind* || -e scripts/systemd/$word.service ]] || exit 1; done\n",
    ),
    ("useradd", ""),
    ("setcap", ""),
    ("ethtool", "[[ $# -ge 4 ]]\n"),
];

/// Longest time for a command, and for a service to begin.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a command runs that ends by Ctrl-C alone.
const UNTIL_CTRL_C: Duration = Duration::from_secs(3);

/// When a command has done what it should.
pub enum End {
    ByItself,
    /// By Ctrl-C, when it has said this.
    OnceItSays(&'static str),
    /// By Ctrl-C, after a while.
    AfterAWhile,
}

pub struct Stage {
    link: Link,
    folder: tempfile::TempDir,
    services: Vec<Child>,
    traffic: Option<Child>,
}

impl Stage {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut stage = Self { link: Link::new(), folder, services: Vec::new(), traffic: None };
        stage.lay_out();
        stage.connect();
        stage.serve();
        stage
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name.trim_start_matches('/'))
    }

    /// Makes folders, programs, captures and stores.
    fn lay_out(&self) {
        for folder in FOLDERS.iter().chain(&["bin", "home", "work/target/release", "served"]) {
            fs::create_dir_all(self.path(folder)).expect("a folder");
        }
        for (name, script) in STAND_INS {
            let program = self.path("bin").join(name);
            fs::write(&program, format!("#!/bin/bash\n{script}")).expect("a program");
            fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("a mode");
        }
        for program in ["bin/netrewind", "work/target/release/netrewind"] {
            symlink(env!("CARGO_BIN_EXE_netrewind"), self.path(program)).expect("a link");
        }
        symlink(root().join("scripts"), self.path("work/scripts")).expect("a link");
        fs::write(self.path("hosts"), HOSTS).expect("written");
        fs::write(self.path("variables"), "").expect("written");
        let text = |name: &str| self.path(name).display().to_string();
        let all = self.path("all.pcap");
        fs::write(&all, write_pcap(1, &traffic::packets())).expect("written");
        fs::write(self.path("work/more.pcap"), write_pcap(1, &traffic::few_packets())).expect("written");
        for store in ["data/nr", "var/lib/netrewind", "work/store", "served/plain", "served/secure"] {
            done(["import", "--store", &text(store), &all.display().to_string()]);
        }
        done([
            "extract",
            "-q",
            "--store",
            &text("work/store"),
            "--to=2026-11-22T08:21:00Z",
            "-o",
            &text("work/capture.pcapng"),
        ]);
        let packed = Command::new("gzip").arg(self.path("work/capture.pcapng")).status();
        assert!(packed.is_ok_and(|status| status.success()), "gzip");
    }

    /// Makes interfaces, with something to record on each.
    fn connect(&mut self) {
        self.link.ip(&["link", "set", "lo", "up"]);
        self.link.ip_of_sender(&["link", "set", "lo", "up"]);
        let mut sends = String::new();
        for (number, interface) in INTERFACES.iter().enumerate() {
            let peer = format!("peer{number}");
            self.link.ip(&["link", "add", interface, "type", "veth", "peer", "name", &peer]);
            self.link.ip(&["address", "add", &format!("198.51.{number}.1/24"), "dev", &peer]);
            self.link.ip(&["link", "set", interface, "up"]);
            self.link.ip(&["link", "set", &peer, "up"]);
            sends += &format!("echo . > /dev/udp/198.51.{number}.2/9; ");
        }
        let mut sender = self.link.inside("bash");
        sender
            .args(["-c", &format!("while sleep 0.1; do {sends}done")])
            .stderr(Stdio::null())
            .stdout(Stdio::null());
        self.traffic = Some(sender.process_group(0).spawn().expect("bash runs"));
    }

    /// Starts what the documents ask over HTTP: a recorder that also answers, and a service with TLS and tokens.
    fn serve(&mut self) {
        let (certificate, key) = certificate_for(self.folder.path(), &["nr.example", "probe1", "probe2"]);
        let work = self.path("work");
        for name in ["cert.pem", "ca.pem"] {
            fs::copy(&certificate, work.join(name)).expect("copied");
        }
        fs::copy(&key, work.join("key.pem")).expect("copied");
        let tokens = self.path("served/tokens.toml").display().to_string();
        let made = done([
            "token",
            "add",
            "all",
            "--tokens",
            &tokens,
            "--scope=extract",
            "--scope=flows",
            "--scope=status",
        ]);
        fs::write(work.join("token"), made).expect("written");
        let (plain, secure) = (self.path("served/plain"), self.path("served/secure"));
        let (plain, secure) = (plain.display().to_string(), secure.display().to_string());
        self.start(&["run", "--store", &plain, "--interface=tx0"]);
        let addresses = ["--listen=127.0.0.2:8640", "--listen=127.0.0.3:8640"];
        let access = ["--tls-cert", &certificate, "--tls-key", &key, "--tokens", &tokens];
        self.start(&[&["serve", "--store", &secure], &addresses[..], &access].concat());
    }

    fn start(&mut self, arguments: &[&str]) {
        let log = self.path(&format!("service-{}", self.services.len()));
        let mut service = self.link.outside(env!("CARGO_BIN_EXE_netrewind"));
        service.args(arguments).stdin(Stdio::null()).stdout(Stdio::null());
        service.stderr(File::create(&log).expect("a file"));
        self.services.push(service.spawn().expect("netrewind runs"));
        wait_until("a service answers", || read(&log).contains("Answering on"));
    }

    /// Runs a command until it has ended: its exit status and what it wrote.
    pub fn run(&self, command: &str, is_inside: bool, end: &End) -> (Option<ExitStatus>, String) {
        let log = self.path("log");
        let output = File::create(&log).expect("a file");
        let mut bash = if is_inside { self.link.inside("bash") } else { self.link.outside("bash") };
        bash.args(["-c", &self.script(command)]).current_dir(self.path("work")).process_group(0);
        bash.env("HOME", self.path("home"))
            .env_remove("XDG_CONFIG_HOME")
            .env("TOKEN", read(&self.path("work/token")).trim());
        let path = std::env::var("PATH").unwrap_or_default();
        bash.env("PATH", format!("{}:{path}", self.path("bin").display()));
        bash.stdin(Stdio::null()).stdout(output.try_clone().expect("a file")).stderr(output);
        let mut child = bash.spawn().expect("bash runs");
        match end {
            End::ByItself => {}
            End::OnceItSays(words) => _ = wait(&mut child, PATIENCE, || read(&log).contains(words)),
            End::AfterAWhile => _ = wait(&mut child, UNTIL_CTRL_C, || false),
        }
        if !matches!(end, End::ByItself) {
            signal(&child, "INT");
        }
        let status = wait(&mut child, PATIENCE, || false);
        if status.is_none() {
            signal(&child, "KILL");
            _ = child.wait();
        }
        (status, read(&log))
    }

    /// The command with the stage's paths and hosts, and with the variables that earlier ones have set.
    fn script(&self, command: &str) -> String {
        let (hosts, variables) = (self.path("hosts"), self.path("variables"));
        let (hosts, variables) = (hosts.display(), variables.display());
        let command = FOLDERS.iter().fold(command.to_owned(), |text, folder| {
            text.replace(folder, &self.path(folder).display().to_string())
        });
        let name = command.split_once('=').map(|(name, _)| name).unwrap_or_default();
        let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase());
        let keep = if is_name {
            format!("\necho \"{name}=${{{name}@Q}}\" >> {variables}\n[[ -n ${name} ]]")
        } else {
            String::new()
        };
        format!("set -e -o pipefail\nmount --bind {hosts} /etc/hosts\n. {variables}\n{command}{keep}\n")
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        for child in self.services.iter_mut().chain(&mut self.traffic) {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn read(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
}

/// Waits until the child has ended, or it is so, or the time is over: how it ended, if it did.
fn wait(child: &mut Child, longest: Duration, is_so: impl Fn() -> bool) -> Option<ExitStatus> {
    let begun = Instant::now();
    loop {
        if let Some(status) = child.try_wait().expect("a child") {
            return Some(status);
        }
        if is_so() || begun.elapsed() > longest {
            return None;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Sends a signal to the child and to all that it has started, as a terminal does.
fn signal(child: &Child, name: &str) {
    let group = format!("-{}", child.id());
    let _ = Command::new("kill").args(["-s", name, "--", &group]).stderr(Stdio::null()).status();
}
