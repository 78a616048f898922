//! Build script: tells the program which commit it is made of.
//!
//! `NETREWIND_COMMIT` names it; otherwise a release build asks git, in whose folder this has to be the top. Other builds do not
//! ask, as each commit would have them compile the program again. Where nobody knows, it is `unknown`.

use std::path::Path;
use std::process::Command;

/// Variable that names the commit: an input, with precedence over git.
const GIVEN: &str = "NETREWIND_COMMIT";
/// Variable that the program reads as it is compiled.
const TOLD: &str = "NETREWIND_BUILD_COMMIT";
/// Text of a commit that is not known.
const UNKNOWN: &str = "unknown";

fn main() {
    println!("cargo::rerun-if-env-changed={GIVEN}");
    println!("cargo::rerun-if-changed=src/build.rs");
    let given = std::env::var(GIVEN).ok().filter(|commit| !commit.is_empty());
    let is_release = std::env::var("PROFILE").is_ok_and(|profile| profile == "release");
    let commit = given.or_else(|| if is_release { commit_of_git() } else { None });
    println!("cargo::rustc-env={TOLD}={}", commit.as_deref().unwrap_or(UNKNOWN));
}

fn commit_of_git() -> Option<String> {
    let here = Path::new(&std::env::var_os("CARGO_MANIFEST_DIR")?).canonicalize().ok()?;
    let top = git(&["rev-parse", "--show-toplevel"])?;
    if Path::new(&top).canonicalize().ok()? != here {
        return None; // the sources lie in a repository of something else
    }
    // Every commit and checkout adds a line to the first, where git keeps one, and the second names the branch.
    for file in ["logs/HEAD", "HEAD"] {
        let path = git(&["rev-parse", "--git-path", file])?;
        if Path::new(&path).exists() {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    git(&["rev-parse", "--short=12", "HEAD"])
}

fn git(arguments: &[&str]) -> Option<String> {
    let output =
        Command::new("git").args(arguments).output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
}
