//! Everything that is printed, to a reader that has gone and to a disk that is full.

use std::collections::BTreeSet;
use std::fs::File;
use std::process::{Output, Stdio};

use crate::support::packets::write_pcap;
use crate::support::served::{packet, store};
use crate::support::{done, files_below, netrewind, run};

/// Commands that print nothing on standard output, or only to a program of the same build.
const SILENT: [&str; 6] = ["compress", "export", "index", "man", "run", "serve"];

/// What the commands work on.
struct Scene {
    folder: tempfile::TempDir,
    store: String,
}

impl Scene {
    /// A store with a case, evidence, tokens, and settings.
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let scene = Self { store: store(folder.path(), 20_000, 100), folder };
        done(["hold", "add", "case-1", "--store", &scene.store]);
        let leak = scene.path("leak.pcap");
        done(["extract", "--store", &scene.store, "--manifest", "-o", &leak]);
        std::fs::copy(&leak, scene.path("changed.pcap")).expect("copied");
        let manifest = |name: &str| scene.path(&format!("{name}.pcap.manifest.json"));
        std::fs::copy(manifest("leak"), manifest("changed")).expect("copied");
        let mut bytes = std::fs::read(&leak).expect("packets");
        *bytes.last_mut().expect("a byte") ^= 1;
        std::fs::write(scene.path("changed.pcap"), bytes).expect("written");
        done(["token", "add", "soc", "--tokens", &scene.path("tokens.toml"), "--scope", "status"]);
        std::fs::write(scene.path("netrewind.toml"), "budget = \"1GiB\"\n").expect("written");
        for folder in ["archive", "empty", "third"] {
            std::fs::create_dir(scene.path(folder)).expect("a folder");
        }
        let archive = format!("file://{}", scene.path("archive"));
        done(["archive", "--store", &scene.store, "--archive", &archive, "--now"]);
        std::fs::write(scene.path("hosts.txt"), "10.0.0.1\n").expect("written");
        std::fs::write(scene.path("more.pcap"), write_pcap(1, &[packet(1, 10)])).expect("written");
        scene
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// Commands that print, each with its exit status when nobody reads that.
    fn commands(&self) -> Vec<(String, i32)> {
        let (store, folder) = (&self.store, self.folder.path().display());
        let reading = [
            "--help",
            "-h",
            "--version",
            "help extract",
            "extract --help",
            "licenses",
            "completions bash",
            "completions zsh",
            "config show FOLDER/netrewind.toml",
            "config show FOLDER/netrewind.toml --json",
            "token list --tokens FOLDER/tokens.toml",
            "token list --tokens FOLDER/tokens.toml --json",
            "status STORE",
            "status STORE --json",
            "status --archive file://FOLDER/archive",
            "flows STORE",
            "flows STORE --format json",
            "flows STORE --format csv",
            "flows STORE --format eve",
            "flows STORE --format zeek",
            "flows STORE --top hosts",
            "extract STORE",
            "extract STORE -o -",
            "extract STORE --format pcapng",
            "extract STORE --format text",
            "extract STORE --count",
            "extract STORE --count --json",
            "extract STORE --estimate",
            "extract STORE --estimate --json",
            "extract STORE --hosts-file FOLDER/hosts.txt --hits - -o FOLDER/hits.pcap",
            "verify STORE",
            "verify STORE --json",
            "verify FOLDER/leak.pcap --json",
            "hold list STORE",
            "hold list STORE --json",
            "extcap --extcap-interfaces",
            "--extcap-interfaces",
            "extcap --extcap-interface netrewind --extcap-dlts",
            "extcap --extcap-interface netrewind --extcap-config",
            "extcap --extcap-interface netrewind --extcap-config --extcap-reload-option view",
            "extcap --extcap-interface netrewind --extcap-capture-filter prot",
            "archive STORE --archive file://FOLDER/empty",
            "archive STORE --archive file://FOLDER/empty --json",
        ];
        // Their work is done before they print; and a fault that nobody read was found.
        let working = [
            ("archive STORE --archive file://FOLDER/third --now --json", 0),
            ("hold add case-CHANCE STORE --json", 0),
            ("hold add case-CHANCE STORE --filter udp --json", 0),
            ("import --store FOLDER/imported-CHANCE FOLDER/more.pcap --json", 0),
            ("record --store FOLDER/recorded-CHANCE --replay FOLDER/more.pcap --json", 0),
            ("verify FOLDER/changed.pcap", 1),
            ("verify FOLDER/changed.pcap --json", 1),
            ("token add other --tokens FOLDER/tokens.toml --scope status", 3),
        ];
        let all = reading.map(|line| (line, 0)).into_iter().chain(working);
        let placed = |line: &str| {
            line.replace("STORE", &format!("--store {store}"))
                .replace("FOLDER", &folder.to_string())
                .replace("CHANCE", &fastrand::u32(..).to_string())
        };
        all.map(|(line, status)| (placed(line), status)).collect()
    }
}

fn ended(line: &str, output: impl Into<Stdio>) -> (Option<i32>, String) {
    let child =
        netrewind().args(line.split(' ')).stdin(Stdio::null()).stdout(output).stderr(Stdio::piped()).spawn();
    let Output { status, stderr, .. } = child.expect("netrewind runs").wait_with_output().expect("it ends");
    (status.code(), String::from_utf8_lossy(&stderr).into_owned())
}

/// Lines that tell an error.
fn errors(said: &str) -> Vec<&str> {
    said.lines().filter(|line| line.starts_with("netrewind: ") || line.starts_with("error")).collect()
}

#[test]
fn every_command_ends_quietly_when_its_reader_has_gone() {
    let scene = Scene::new();
    for (line, wanted) in scene.commands() {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let (status, said) = ended(&line, writer);
        assert_eq!(status, Some(wanted), "netrewind {line}: {said}");
        assert_eq!(errors(&said).is_empty(), wanted != 3, "netrewind {line}: {said}");
    }
    let tokens = done(["token", "list", "--tokens", &scene.path("tokens.toml")]);
    assert!(!String::from_utf8_lossy(&tokens).contains("other"), "nobody was shown that token");
}

#[test]
fn every_command_says_that_its_output_has_no_room() {
    let scene = Scene::new();
    for (line, _) in scene.commands() {
        let full = File::options().write(true).open("/dev/full").expect("a full disk");
        let (status, said) = ended(&line, full);
        assert_eq!(status, Some(3), "netrewind {line}: {said}");
        let errors = errors(&said);
        let is_clear = |line: &&str| {
            let is_named =
                line.contains("standard output: ") || line.contains("the answer cannot be written: ");
            is_named && line.contains("No space left on device")
        };
        assert!(errors.len() == 1 && errors.iter().all(is_clear), "netrewind {line}: {said}");
    }
    let tokens = done(["token", "list", "--tokens", &scene.path("tokens.toml")]);
    assert!(!String::from_utf8_lossy(&tokens).contains("other"), "nobody was shown that token");
    let unfinished =
        files_below(scene.folder.path()).into_iter().filter(|path| path.ends_with("hits.pcap.tmp"));
    assert_eq!(unfinished.count(), 0);
}

#[test]
fn every_command_is_among_those_that_are_tried() {
    let help = String::from_utf8(run(["--help"]).stdout).expect("text");
    let named =
        help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let named: BTreeSet<String> =
        named.filter_map(|line| Some(line.strip_prefix("  ")?.split(' ').next()?.to_owned())).collect();
    let scene = Scene::new();
    let lines = scene.commands();
    let tried = lines.iter().filter_map(|(line, _)| line.split(' ').next()).chain(SILENT);
    let tried: BTreeSet<String> = tried.filter(|word| !word.starts_with('-')).map(str::to_owned).collect();
    assert_eq!(
        named.iter().filter(|name| !name.is_empty()).collect::<Vec<_>>(),
        tried.iter().collect::<Vec<_>>()
    );
}
