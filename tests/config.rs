//! Settings: a key for each flag, checked whole, merged in one order, and read again by what runs.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::support::link::wait_until;
use crate::support::packets::{Packet, write_pcap};
use crate::support::service::Service;
use crate::support::{done, may_make_namespaces, netrewind, run};

const PATIENCE: Duration = Duration::from_secs(30);

/// A folder with a file of settings in it.
struct Scene {
    folder: tempfile::TempDir,
}

impl Scene {
    fn new(text: &str) -> Self {
        let scene = Self { folder: tempfile::tempdir().expect("a folder") };
        scene.write(text);
        scene
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    fn file(&self) -> String {
        self.text("netrewind.toml")
    }

    fn write(&self, text: &str) {
        std::fs::write(self.path("netrewind.toml"), text).expect("written");
    }

    /// The settings of `config show`, with these flags.
    fn shown(&self, flags: &[&str]) -> Vec<Value> {
        let file = self.file();
        let line = ["config", "show", &file, "--json", "--"].into_iter().chain(flags.iter().copied());
        let shown: Value = serde_json::from_slice(&done(line)).expect("JSON");
        shown["settings"].as_array().expect("a list").clone()
    }

    /// What `config check` says of a file with faults.
    fn faults(&self) -> String {
        let output = run(["config", "check", &self.file()]);
        assert_eq!(output.status.code(), Some(2), "{}", said(&output));
        said(&output).replace(&self.file(), "F")
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn setting<'s>(settings: &'s [Value], key: &str) -> &'s Value {
    settings.iter().find(|setting| setting["key"] == key).unwrap_or_else(|| panic!("no {key}"))
}

/// The long flags that a command's help lists.
fn flags(command: &str) -> BTreeSet<String> {
    let help = String::from_utf8(done([command, "--help"])).expect("text");
    let options = help.split("\nExamples:").next().unwrap_or_default().to_owned();
    let lines = options.lines().map(str::trim_start).filter(|line| line.starts_with('-'));
    let long = lines.filter_map(|line| line.split("--").nth(1)?.split([' ', ',']).next().map(str::to_owned));
    long.filter(|flag| !["config", "help"].contains(&&**flag)).collect()
}

#[test]
fn every_flag_has_a_key_and_every_key_a_flag() {
    let scene = Scene::new("");
    let keys: BTreeSet<String> =
        scene.shown(&[]).iter().map(|setting| setting["key"].as_str().expect("a key").to_owned()).collect();
    assert_eq!(keys, flags("run"));
    let both: BTreeSet<String> = flags("record").union(&flags("serve")).cloned().collect();
    let of_serve: BTreeSet<String> = both.difference(&keys).cloned().collect();
    let of_archive = ["archive-cache", "archive-cache-bytes", "recorder"];
    assert_eq!(of_serve.iter().collect::<Vec<_>>(), of_archive, "what reads an archive does not record");
    assert_eq!(keys.difference(&both).count(), 0);
    // They are keys all the same: the services share a file.
    let shared =
        Scene::new("archive = \"file:///a\"\narchive-cache = \"/tmp/x\"\narchive-cache-bytes = \"1GiB\"\n");
    for command in ["run", "serve"] {
        let shown = done(["config", "show", &shared.file(), "--for", command]);
        let has_key = String::from_utf8(shown).expect("text").contains("archive-cache-bytes");
        assert_eq!(has_key, command == "serve", "{command}");
    }
    assert!(keys.len() > 35, "{keys:?}");
}

#[test]
fn what_is_shown_can_be_used_as_a_file() {
    let scene = Scene::new(
        "budget = \"3GiB\"\ninterface = [\"a b\", \"\\\"q\\\"\"]\nno-promiscuous = true\nlanes = 0x2\n",
    );
    let before = scene.shown(&["--max-age", "3d"]);
    let text =
        String::from_utf8(done(["config", "show", &scene.file(), "--", "--max-age", "3d"])).expect("text");
    scene.write(&text);
    let values = |settings: &[Value]| {
        settings.iter().map(|one| (one["key"].clone(), one["value"].clone())).collect::<Vec<_>>()
    };
    assert_eq!(values(&before), values(&scene.shown(&[])), "{text}");
    assert_eq!(setting(&before, "lanes")["value"], "2");
}

#[test]
fn flags_go_over_the_environment_that_over_the_file_and_that_over_defaults() {
    let scene = Scene::new("\nstore = \"from-file\"\nbudget = \"1GiB\"\naudit = \"audit\"\n");
    let file = scene.file();
    let origin = |settings: &[Value], key: &str| setting(settings, key)["origin"].clone();
    let settings = scene.shown(&["--budget", "2GiB"]);
    assert_eq!(setting(&settings, "budget")["value"], "2GiB");
    assert_eq!(origin(&settings, "budget")["kind"], "flag");
    assert_eq!(setting(&settings, "store")["value"], "from-file");
    assert_eq!(
        (&origin(&settings, "store")["line"], &origin(&settings, "store")["file"]),
        (&2.into(), &file.into())
    );
    assert_eq!(
        (origin(&settings, "ring")["kind"].as_str(), setting(&settings, "ring")["value"].as_str()),
        (Some("default"), Some("256MiB"))
    );
    assert_eq!(setting(&settings, "hold-budget")["default"], "half of the budget");
    // A flag displaces the key that it excludes.
    assert_eq!(setting(&scene.shown(&["--no-audit"]), "audit")["value"], Value::Null);
    for (variable, flags, kind, value) in [
        ("from-environment", &[][..], "environment", "from-environment"),
        ("from-environment", &["--store", "from-flag"], "flag", "from-flag"),
        ("", &[], "file", "from-file"),
    ] {
        let mut command = netrewind();
        command.args(["config", "show", &scene.file(), "--json", "--"]).args(flags);
        let output = command.env("NETREWIND_STORE", variable).output().expect("netrewind runs");
        let shown: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let store = setting(shown["settings"].as_array().expect("a list"), "store").clone();
        assert_eq!((store["origin"]["kind"].as_str(), store["value"].as_str()), (Some(kind), Some(value)));
    }
}

#[test]
fn all_faults_are_told_at_once_with_their_places() {
    let scene = Scene::new(
        "buget = \"1GiB\"\nbudget = \"much\"\n  lanes = 0\nmax_age = \"1d\"\ninterface = [\"lo\", [1]]\nno-promiscuous = \"yes\"\n\
         ring = [\"1MiB\"]\nreplay-speed =\n[record]\nsnaplen = 1\n",
    );
    let told = scene.faults();
    for words in [
        "F:1:1: unknown key \"buget\": did you mean budget?",
        "F:2:10: ",
        "F:3:11: ",
        "F:4:1: unknown key \"max_age\": did you mean max-age?",
        "F:5:20: interface takes a text or a number",
        "F:6:18: no-promiscuous is a switch",
        "F:7:8: ring takes one value",
        "F:8:",
        "F:9:2: unknown table \"record\"",
    ] {
        assert!(told.contains(words), "{words}: {told}");
    }
    assert_eq!(told.lines().filter(|line| line.starts_with("F:")).count(), 9, "{told}");
    // In the words of the flag.
    let flag = said(&run(["record", "--store", "x", "--interface", "lo", "--budget", "much"]));
    let words = flag.lines().next().and_then(|line| line.strip_prefix("error: ")).expect("an error");
    assert!(told.contains(&format!("F:2:10: {words}")), "{words}: {told}");
    // Nothing has been started, or made.
    let store = scene.text("store");
    let output = run(["record", "--config", &scene.file(), "--store", &store, "--stdin"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(!Path::new(&store).exists());
}

#[test]
fn what_does_not_go_together_or_is_not_there_is_a_fault() {
    let scene = Scene::new("");
    let store = scene.text("store");
    for (text, words) in [
        (format!("store = {store:?}\n"), "--interface"),
        (format!("store = {store:?}\ninterface = \"lo\"\ntls-cert = \"/x\"\n"), "--tls-key"),
        (
            format!("store = {store:?}\ninterface = \"lo\"\naudit = \"/x\"\nno-audit = true\n"),
            "cannot be used with",
        ),
        (format!("store = {store:?}\ninterface = \"lo\"\nlisten = \"0.0.0.0:1\"\n"), "needs --tls-cert"),
        (format!("store = {store:?}\ninterface = \"lo\"\nbudget = 1000\n"), "too small"),
        (
            format!("store = {store:?}\ninterface = \"lo\"\ntokens = \"/nowhere/tokens.toml\"\n"),
            "/nowhere/tokens.toml",
        ),
        (format!("store = {store:?}\ninterface = \"lo\"\ngroup = \"no-such-group\"\n"), "no such group"),
        (format!("store = {store:?}\nreplay = [\"/nowhere/x.pcap\"]\n"), "/nowhere/x.pcap"),
    ] {
        scene.write(&text);
        let told = scene.faults();
        assert!(told.contains(words), "{words}: {told}");
    }
    scene.write(&format!(
        "store = {store:?}\ntls-cert = \"/x\"\nlisten = \"0.0.0.0:1\"\ntls-key = \"/y\"\ngroup = \"0\"\n"
    ));
    let check = |command: &str| run(["config", "check", &scene.file(), "--for", command, "--", "--stdin"]);
    assert!(check("record").status.success(), "what serves is not looked at");
    assert_eq!(check("run").status.code(), Some(2));
}

#[test]
fn a_file_that_cannot_be_read_is_not_one_that_is_absent() {
    let scene = Scene::new("");
    let named = |file: &str| {
        let output = run(["record", "--config", file, "--store", &scene.text("store"), "--stdin"]);
        assert_eq!(output.status.code(), Some(2), "{}", said(&output));
        said(&output)
    };
    assert!(named(&scene.text("absent.toml")).contains("absent.toml: there is no such file"));
    assert!(named(&scene.folder.path().display().to_string()).contains("Is a directory"));
    std::fs::write(scene.path("netrewind.toml"), b"budget = \"\xff\"").expect("written");
    assert!(named(&scene.file()).contains("byte 10 is not UTF-8"));
    std::fs::write(scene.path("netrewind.toml"), vec![b'#'; (1 << 20) + 1]).expect("written");
    assert!(named(&scene.file()).contains("no file of settings"));
}

#[test]
fn the_default_file_is_for_commands_that_name_no_store() {
    if !may_make_namespaces() {
        return;
    }
    let scene = Scene::new("");
    let (of_file, of_flag) = (scene.text("of-file"), scene.text("of-flag"));
    scene.write(&format!("store = {of_file:?}\nstdin = true\nbuget = 1\n"));
    let ask = |command: &str| {
        let script = format!(
            "mount -t tmpfs tmpfs /etc && mkdir /etc/netrewind && cp {} /etc/netrewind && {} {command} </dev/null",
            scene.file(),
            env!("CARGO_BIN_EXE_netrewind")
        );
        Command::new("unshare").args(["--mount", "bash", "-c", &script]).output().expect("unshare runs")
    };
    for command in ["record", "run", "serve", "config check"] {
        let output = ask(command);
        assert_eq!(output.status.code(), Some(2), "{command}: {}", said(&output));
        assert!(
            said(&output).contains("/etc/netrewind/netrewind.toml:3:1: unknown key"),
            "{command}: {}",
            said(&output)
        );
    }
    scene.write(&format!("store = {of_file:?}\nstdin = true\n"));
    let output = ask("record");
    assert!(Path::new(&of_file).exists(), "the file's store was not made: {}", said(&output));
    let output = ask(&format!("record --store {of_flag}"));
    assert!(output.status.code() == Some(2) && said(&output).contains("--interface"), "{}", said(&output));
}

/// A capture of so many packets.
fn capture(packets: u32) -> Vec<u8> {
    let packet = |i| Packet { seconds: 1_792_886_400 + i, nanoseconds: 0, len: 60, bytes: vec![0; 60] };
    write_pcap(1, &(0..packets).map(packet).collect::<Vec<_>>())
}

#[test]
fn variables_name_the_store_and_recorders_and_give_way_to_flags() {
    let scene = Scene::new("");
    let (store, file) = (scene.text("store"), scene.text("x.pcap"));
    std::fs::write(&file, capture(3)).expect("written");
    let ask = |variables: &[(&str, &str)], words: &[&str]| {
        let mut command = netrewind();
        command.args(words).envs(variables.iter().copied());
        let output = command.output().expect("netrewind runs");
        (output.status.code(), String::from_utf8_lossy(&output.stdout).trim().to_owned(), said(&output))
    };
    let of_store = [("NETREWIND_STORE", store.as_str())];
    assert_eq!(ask(&of_store, &["import", &file]).0, Some(0));
    let count = ["extract", "--count"];
    assert_eq!(ask(&of_store, &count).1, "3");
    for words in [&["status"][..], &["flows"], &["verify"], &["index"], &["compress"], &["hold", "list"]] {
        let (code, _, said) = ask(&of_store, words);
        assert_eq!(code, Some(0), "{words:?}: {said}");
    }
    let service = Service::of(&store);
    let url = format!("http://{}", service.address);
    assert_eq!(ask(&[("NETREWIND_URL", &url)], &count).1, "3");
    // Two of them, as with the flag given twice.
    assert_eq!(ask(&[("NETREWIND_URL", &format!("{url} {url}"))], &count).1, "6");
    // Each flag displaces the other's variable.
    let nowhere = [("NETREWIND_STORE", "/nowhere")];
    assert_eq!(ask(&nowhere, &["extract", "--count", "--url", &url]).1, "3");
    assert_eq!(ask(&nowhere, &["extract", "--count", "--store", &store]).1, "3");
    assert_eq!(
        ask(&[("NETREWIND_URL", "http://127.0.0.1:1")], &["extract", "--count", "--store", &store]).1,
        "3"
    );
    let (code, _, said) = ask(&[("NETREWIND_STORE", &store), ("NETREWIND_URL", &url)], &count);
    assert!(code == Some(2) && said.contains("cannot be used with"), "{said}");
    // One that is empty is none.
    let (code, _, said) = ask(&[("NETREWIND_STORE", "")], &count);
    assert!(code == Some(2) && said.contains("--store <DIR>"), "{said}");
    // A file is verified whatever store the variable names.
    done(["extract", "--store", &store, "--manifest", "-o", &scene.text("y.pcap")]);
    let (code, _, said) = ask(&nowhere, &["verify", &scene.text("y.pcap")]);
    assert_eq!(code, Some(0), "{said}");
}

/// A recorder of standard input that also answers, in a session without a terminal.
struct Running {
    child: Child,
    said: PathBuf,
    address: String,
}

impl Running {
    fn start(scene: &Scene) -> Self {
        let path = scene.path("said");
        let mut command = Command::new("setsid");
        command.args([env!("CARGO_BIN_EXE_netrewind"), "run", "--config", &scene.file()]);
        command.stdin(Stdio::piped()).stderr(std::fs::File::create(&path).expect("a file"));
        let mut running =
            Self { child: command.spawn().expect("setsid runs"), said: path, address: String::new() };
        running.child.stdin.as_mut().expect("a pipe").write_all(&capture(1)).expect("written");
        running.wait_for("Answering on http");
        let said = running.said();
        let address = said.split("Answering on http://").nth(1).and_then(|rest| rest.split('/').next());
        running.address = address.expect("an address").to_owned();
        running
    }

    fn said(&self) -> String {
        std::fs::read_to_string(&self.said).expect("text")
    }

    fn wait_for(&self, words: &str) {
        let begun = std::time::Instant::now();
        while !self.said().contains(words) {
            assert!(begun.elapsed() < PATIENCE, "{words:?} is not said: {}", self.said());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn hang_up(&self) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-HUP", &pid]).status().expect("kill runs").success());
    }

    /// The budget that `/metrics` tells.
    fn budget(&self) -> Option<u64> {
        let output = Command::new("curl").args(["-s", &format!("http://{}/metrics", self.address)]).output();
        let text = String::from_utf8(output.expect("curl runs").stdout).expect("text");
        let line = text.lines().find_map(|line| line.strip_prefix("netrewind_recorder_budget_bytes "));
        line.and_then(|number| number.parse().ok())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn what_runs_takes_over_a_changed_file_and_refuses_one_with_a_fault() {
    let scene = Scene::new("");
    let with = |budget: &str, lanes: &str, log: &str| {
        scene.write(&format!(
            "store = {:?}\nstdin = true\nlisten = \"127.0.0.1:0\"\nlanes = {lanes}\nlog = {log:?}\n{budget}\n",
            scene.text("store")
        ));
    };
    with("budget = \"1GiB\"", "1", "warn");
    let running = Running::start(&scene);
    wait_until("the budget is told", || running.budget() == Some(1 << 30));
    assert!(!running.said().contains("\"level\":\"DEBUG\""), "{}", running.said());
    with("budget = \"2GiB\"\nhold-budget = \"1MiB\"\nmax-age = \"1d\"", "2", "debug");
    running.hang_up();
    running.wait_for("From now on: budget is \"2GiB\"");
    running.wait_for("Only after a restart: lanes is \"2\"");
    for words in ["From now on: hold-budget is", "From now on: max-age is", "From now on: log is \"debug\""] {
        assert!(running.said().contains(words), "{words}: {}", running.said());
    }
    wait_until("the new budget is told", || running.budget() == Some(2 << 30));
    running.wait_for("\"level\":\"DEBUG\"");
    // Each kind of fault changes nothing.
    for (budget, words) in [
        ("budget = \"much\"", "is not a size"),
        ("buget = \"3GiB\"", "did you mean budget"),
        ("budget = 1000", "too small"),
        ("budget = \"3GiB\"\nno-audit = true\naudit = \"x\"", "cannot be used with"),
    ] {
        with(budget, "1", "debug");
        running.hang_up();
        running.wait_for(words);
        assert!(running.said().contains("All settings stay as they are"), "{}", running.said());
        assert_eq!(running.budget(), Some(2 << 30), "{words}");
    }
    std::fs::remove_file(scene.path("netrewind.toml")).expect("removed");
    running.hang_up();
    running.wait_for("there is no such file");
    with("budget = \"2GiB\"\nhold-budget = \"1MiB\"\nmax-age = \"1d\"", "1", "debug");
    running.hang_up();
    running.wait_for("no setting has changed");
    with("", "1", "debug");
    running.hang_up();
    running.wait_for("budget is unset (default), before \"2GiB\"");
    wait_until("there is no budget", || running.budget().is_none());
}
