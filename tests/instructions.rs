//! Instructions of the work that is done for every packet, counted by callgrind: the same to a few in ten thousand on a noisy machine, where
//! a time is not. A case that has become cheaper gets a lower limit.
//!
//! To add a case: an example of the crate, named `counted_*`, whose function `counted` does the work, and whose last word of output is how
//! many units that were; the crate's packages in `tests/instructions.toml`; a row here.

use std::path::Path;
use std::process::Command;

use crate::tidy::root;

/// Work to count, and the most instructions that a unit of it may take.
struct Case {
    /// The unit.
    what: &'static str,
    example: &'static str,
    argument: &'static str,
    instructions_max: u64,
}

const CASES: [Case; 3] = [
    Case {
        what: "a packet to its index",
        example: "counted_index",
        argument: "imix",
        instructions_max: 1_785,
    },
    Case {
        what: "a packet to its index",
        example: "counted_index",
        argument: "campus",
        instructions_max: 1_475,
    },
    Case {
        what: "a packet to its index",
        example: "counted_index",
        argument: "vxlan",
        instructions_max: 2_850,
    },
];

#[test]
fn work_for_every_packet_takes_no_more_instructions() {
    if Command::new("valgrind").arg("--version").output().is_err() {
        eprintln!("skipped: instructions are counted by valgrind (scripts/install test)");
        return;
    }
    #[cfg(target_arch = "x86_64")]
    let has_wide_instructions =
        std::is_x86_feature_detected!("avx2") && std::is_x86_feature_detected!("bmi2");
    #[cfg(not(target_arch = "x86_64"))]
    let has_wide_instructions = false;
    if !has_wide_instructions {
        eprintln!("skipped: the limits are those of a machine with AVX2 and BMI");
        return;
    }
    let mut over = Vec::new();
    for case in CASES {
        let Case { what, example, argument, instructions_max } = case;
        let found = count(&build(example), argument);
        eprintln!("{what} ({argument}): {found} instructions, at most {instructions_max}");
        if found > instructions_max {
            over.push(format!("{what} ({argument}): {found} instructions, more than {instructions_max}"));
        }
    }
    assert!(over.is_empty(), "{}", over.join("\n"));
}

/// Compiles an example, and gives its path.
fn build(example: &str) -> std::path::PathBuf {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    // All packages are selected, so that others are compiled with the same features as for the tests.
    let built = Command::new(cargo)
        .args([
            "build",
            "--offline",
            "--locked",
            "--workspace",
            "--message-format",
            "json",
            "--example",
            example,
        ])
        .args(["--config", "tests/instructions.toml"])
        .env("CARGO_INCREMENTAL", "0")
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let messages = String::from_utf8_lossy(&built.stdout).into_owned();
    let mut executables = messages.lines().filter_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        message["executable"].as_str().map(Into::into)
    });
    executables.next_back().expect("cargo tells what it has built")
}

/// Instructions of a unit of an example's work.
fn count(example: &Path, argument: &str) -> u64 {
    let counted = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null", "--toggle-collect=*::counted*"])
        .arg(example)
        .arg(argument)
        .output()
        .expect("valgrind runs");
    let (said, account) =
        (String::from_utf8_lossy(&counted.stdout), String::from_utf8_lossy(&counted.stderr));
    assert!(counted.status.success(), "{account}");
    let number = |text: &str| text.replace(',', "").trim().parse::<u64>().ok();
    let units = said.split_whitespace().next_back().and_then(number).filter(|&units| units > 0);
    let collected = account.lines().find_map(|line| number(line.split_once("Collected :")?.1));
    collected.expect("instructions") / units.expect("units")
}
