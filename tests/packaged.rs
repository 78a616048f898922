//! What packages take from the command: its version, manual pages, completions; and what the packages' files say of it.
//! `scripts/package --check` tries the packages themselves.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::{done, run};
use crate::tidy::root;

/// The commands that `--help` lists.
fn commands() -> BTreeSet<String> {
    let help = String::from_utf8(done(["--help"])).expect("text");
    let listed = help.split("Commands:\n").nth(1).and_then(|rest| rest.split("\n\n").next()).expect("a list");
    let names = listed.lines().filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    let names = names.filter_map(|line| line.split_whitespace().next());
    names.filter(|name| *name != "help").map(str::to_owned).collect()
}

#[test]
fn the_version_names_commit_parts_and_libpcap() {
    let text = String::from_utf8(done(["--version"])).expect("text");
    let lines: Vec<&str> = text.lines().collect();
    let [version, commit, features, libpcap] = lines[..] else { panic!("{text}") };
    assert_eq!(version, concat!("netrewind ", env!("CARGO_PKG_VERSION")));
    assert!(commit.strip_prefix("commit ").is_some_and(|commit| !commit.is_empty()), "{text}");
    assert!(["features: page", "features: no-page"].contains(&features), "{text}");
    assert!(libpcap.starts_with("libpcap version "), "{text}");
    let short = String::from_utf8(done(["-V"])).expect("text");
    assert_eq!(short.trim(), version);
}

#[test]
fn every_command_has_a_manual_page_without_mistakes() {
    let folder = tempfile::tempdir().expect("a folder");
    let pages = folder.path().join("man1");
    done(["man", &pages.display().to_string()]);
    let files = std::fs::read_dir(&pages).expect("a folder").flatten();
    let names: BTreeSet<String> =
        files.map(|file| file.file_name().to_string_lossy().trim_end_matches(".1").to_owned()).collect();
    for command in commands() {
        assert!(names.contains(&format!("netrewind-{command}")), "{command}: {names:?}");
    }
    assert!(names.contains("netrewind") && !names.iter().any(|name| name.contains("help")), "{names:?}");
    assert!(!names.contains("netrewind-broker"), "{names:?}");
    for name in &names {
        let page = pages.join(format!("{name}.1"));
        let mut man = Command::new("man");
        man.args(["--warnings=w", "-E", "UTF-8", "-l"])
            .arg(&page)
            .env("LC_ALL", "C.UTF-8")
            .env("MANWIDTH", "80");
        let Ok(output) = man.output() else { return eprintln!("skipped: man is not installed") };
        let (shown, said) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success() && said.is_empty(), "{name}: {said}");
        assert!(shown.contains("SYNOPSIS") && !shown.contains("libpcap version"), "{name}: {shown}");
    }
    let again = folder.path().join("again");
    done(["man", &again.display().to_string()]);
    for name in &names {
        let of = |folder: &Path| std::fs::read(folder.join(format!("{name}.1"))).expect("a page");
        assert_eq!(of(&pages), of(&again), "{name}");
    }
}

#[test]
fn shells_take_the_completions() {
    for shell in ["bash", "fish", "zsh"] {
        let script = done(["completions", shell]);
        let text = String::from_utf8(script).expect("text");
        for command in commands() {
            assert!(text.contains(&command), "{shell}: {command}");
        }
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("completions");
        std::fs::write(&file, text).expect("written");
        let checked = Command::new(shell).arg("-n").arg(&file).stdin(Stdio::null()).output();
        let Ok(checked) = checked else {
            eprintln!("skipped: {shell} is not installed");
            continue;
        };
        let said = String::from_utf8_lossy(&checked.stderr);
        assert!(checked.status.success() && said.is_empty(), "{shell}: {said}");
    }
    // bash completes what was begun.
    let ask = "source <(\"$0\" completions bash); COMP_WORDS=(netrewind extr); COMP_CWORD=1; _netrewind netrewind extr netrewind; \
               echo \"${COMPREPLY[@]}\"";
    let asked =
        Command::new("bash").args(["-c", ask, env!("CARGO_BIN_EXE_netrewind")]).output().expect("bash");
    assert_eq!(String::from_utf8_lossy(&asked.stdout).trim(), "extract", "{asked:?}");
    assert_eq!(run(["completions", "tcsh"]).status.code(), Some(2));
}

/// Lines of the packages' file of settings that are set, and those that are only shown.
#[test]
fn the_file_of_settings_is_right_with_and_without_what_it_only_shows() {
    let shipped = root().join("scripts/packaging/netrewind.toml");
    let text = std::fs::read_to_string(&shipped).expect("a file");
    let folder = tempfile::tempdir().expect("a folder");
    let is_key = |line: &str| line.split_once(" = ").is_some_and(|(key, _)| !key.contains(' '));
    let shown: Vec<&str> =
        text.lines().filter_map(|line| line.strip_prefix('#')).filter(|line| is_key(line)).collect();
    assert!(shown.len() > 10, "{shown:?}");
    // The second way to listen takes the place of the first.
    let set = text.lines().filter(|line| !line.starts_with('#') && !line.starts_with("listen"));
    let whole = folder.path().join("netrewind.toml");
    std::fs::write(&whole, set.chain(shown.iter().copied()).collect::<Vec<_>>().join("\n")).expect("written");
    for file in [shipped, whole] {
        let text = String::from_utf8(done(["config", "show", &file.display().to_string()])).expect("text");
        for key in ["store", "broker", "audit", "listen"] {
            assert!(text.lines().any(|line| line.starts_with(&format!("{key} = "))), "{key}: {text}");
        }
    }
}
