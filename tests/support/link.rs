//! Two network namespaces with a veth pair between them: one to send in, one to record in.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

static COUNT: AtomicU32 = AtomicU32::new(0);

/// The pair; taken away when dropped.
pub struct Link {
    sender: String,
    recorder: String,
}

fn must(command: &mut Command) {
    let output = command.output().expect("installed: scripts/install test");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

impl Link {
    /// The interface that is recorded.
    pub const RECORDED: &str = "rx0";

    pub fn new() -> Self {
        let unique = format!("{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let link = Self { sender: format!("nrt-tx-{unique}"), recorder: format!("nrt-rx-{unique}") };
        for namespace in [&link.sender, &link.recorder] {
            // A test that was killed may have left one, and another process may have its number now.
            let _ = Command::new("ip").args(["netns", "del", namespace]).output();
            must(Command::new("ip").args(["netns", "add", namespace]));
        }
        let pair = ["link", "add", "tx0", "netns", &link.sender, "type", "veth", "peer", "name"];
        must(Command::new("ip").args(pair).args([Self::RECORDED, "netns", &link.recorder]));
        for (namespace, interface) in [(&link.sender, "tx0"), (&link.recorder, Self::RECORDED)] {
            // Nothing but what the test sends: no router solicitations.
            let quiet = ["netns", "exec", namespace, "sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1"];
            must(Command::new("ip").args(quiet));
            must(Command::new("ip").args(["-n", namespace, "link", "set", interface, "mtu", "9000", "up"]));
        }
        link
    }

    fn within(namespace: &str, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", namespace, program]);
        command
    }

    /// Sends a capture file, waiting until it is sent. `options` go to tcpreplay.
    pub fn send(&self, capture: &Path, options: &[&str]) {
        self.send_from("tx0", capture, options);
    }

    /// The same from one of several interfaces.
    pub fn send_from(&self, interface: &str, capture: &Path, options: &[&str]) {
        must(
            Self::within(&self.sender, "tcpreplay").args(["-q", "-i", interface]).args(options).arg(capture),
        );
    }

    /// Sends a capture file over and over until the child is killed.
    pub fn send_forever(&self, capture: &Path, options: &[&str]) -> Child {
        let mut sending = self.sending(capture, options);
        sending.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("tcpreplay runs")
    }

    /// A program that sends a capture file over and over.
    pub fn sending(&self, capture: &Path, options: &[&str]) -> Command {
        let mut sending = Self::within(&self.sender, "tcpreplay");
        sending.args(["-q", "-i", "tx0", "--loop=0"]).args(options).arg(capture);
        sending
    }

    /// Starts recording into `store`, and waits until it does.
    pub fn record(&self, store: &Path, options: &[&str]) -> Recording {
        let starts = || count_in_logbook(store, "\"event\":\"start\"");
        let before = starts();
        let child = Self::within(&self.recorder, env!("CARGO_BIN_EXE_netrewind"))
            .args(["record", "--json", "--interface", Self::RECORDED, "--store"])
            .arg(store)
            .args(options)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("netrewind runs");
        let mut recording = Recording { child: Some(child) };
        wait_until("the recorder has started", || {
            recording.still_runs();
            starts() > before
        });
        recording
    }

    /// Another veth pair between the namespaces, `tx1` to `rx1`.
    pub fn add_second_pair(&self) {
        let pair =
            ["link", "add", "tx1", "netns", &self.sender, "type", "veth", "peer", "name", "rx1", "netns"];
        must(Command::new("ip").args(pair).arg(&self.recorder));
        for (namespace, interface) in [(&self.sender, "tx1"), (&self.recorder, "rx1")] {
            must(Command::new("ip").args(["-n", namespace, "link", "set", interface, "mtu", "9000", "up"]));
        }
    }

    /// Where the sending namespace can be entered.
    pub fn sender_namespace(&self) -> std::path::PathBuf {
        Path::new("/run/netns").join(&self.sender)
    }

    /// Runs `ip` in the sending namespace.
    pub fn ip_of_sender(&self, arguments: &[&str]) {
        must(Command::new("ip").args(["-n", &self.sender]).args(arguments));
    }

    /// A program that runs in the recording namespace.
    pub fn inside(&self, program: &str) -> Command {
        Self::within(&self.recorder, program)
    }

    /// A program that runs in the sending namespace.
    pub fn outside(&self, program: &str) -> Command {
        Self::within(&self.sender, program)
    }

    /// Runs `ip` in the recording namespace.
    pub fn ip(&self, arguments: &[&str]) {
        must(Command::new("ip").args(["-n", &self.recorder]).args(arguments));
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        for namespace in [&self.sender, &self.recorder] {
            let _ = Command::new("ip").args(["netns", "del", namespace]).output();
        }
    }
}

/// A recorder at work; killed when dropped.
pub struct Recording {
    child: Option<Child>,
}

impl Recording {
    /// A recorder that was started in another way, with its standard output piped.
    pub fn of(child: Child) -> Self {
        Self { child: Some(child) }
    }

    fn still_runs(&mut self) {
        let child = self.child.as_mut().expect("not ended");
        if child.try_wait().expect("a child").is_some() {
            let output = self.child.take().expect("not ended").wait_with_output().expect("a child");
            panic!("the recorder ended with {}: {}", output.status, String::from_utf8_lossy(&output.stderr));
        }
    }

    /// `ip netns exec` replaces itself with the command, so this is the recorder's own process.
    pub fn id(&self) -> u32 {
        self.child.as_ref().expect("not ended").id()
    }

    /// Ends it as a person would, and returns its account.
    pub fn stop(mut self) -> serde_json::Value {
        self.still_runs();
        must(Command::new("kill").args(["-INT", &self.id().to_string()]));
        let output = self.child.take().expect("not ended").wait_with_output().expect("a child");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "the recorder ended with {}: {said}", output.status);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        serde_json::from_str(text.lines().last().expect("an account")).expect("JSON")
    }

    /// Ends it in the same way, however that goes: its status, its account, and what it said.
    pub fn end(mut self) -> (Option<i32>, serde_json::Value, String) {
        self.still_runs();
        must(Command::new("kill").args(["-INT", &self.id().to_string()]));
        self.wait_for_end()
    }

    /// Waits until it has ended by itself.
    pub fn wait_for_end(&mut self) -> (Option<i32>, serde_json::Value, String) {
        wait_until("the recorder ends", || {
            self.child.as_mut().expect("not ended").try_wait().expect("a child").is_some()
        });
        let output = self.child.take().expect("not ended").wait_with_output().expect("a child");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let account =
            text.lines().last().and_then(|line| serde_json::from_str(line).ok()).unwrap_or_default();
        (output.status.code(), account, String::from_utf8_lossy(&output.stderr).into_owned())
    }

    /// kill -9.
    pub fn kill(mut self) {
        self.still_runs();
        let mut child = self.child.take().expect("not ended");
        child.kill().expect("killed");
        child.wait().expect("a child");
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Lines of a store's logbook that contain `text`.
pub fn count_in_logbook(store: &Path, text: &str) -> usize {
    logbook(store).iter().filter(|line| line.contains(text)).count()
}

/// The lines of a store's logbook.
pub fn logbook(store: &Path) -> Vec<String> {
    super::logbook_days(store)
        .iter()
        .flat_map(|file| {
            std::fs::read_to_string(file).unwrap_or_default().lines().map(str::to_owned).collect::<Vec<_>>()
        })
        .collect()
}

/// Looks until it is so; a minute is too long for anything here.
pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(60), "still waiting until {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
