//! The licences that the program prints are those of what it is made of, by its two lock files.

use std::collections::{BTreeSet, HashMap};
use std::process::Command;

use serde_json::Value;

use crate::support::done;
use crate::tidy::root;

/// Names and versions of the crates that the command is linked from, but for our own.
fn crates() -> BTreeSet<String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let words = ["metadata", "--offline", "--locked", "--format-version", "1", "--filter-platform"];
    let output = Command::new(cargo).args(words).arg("x86_64-unknown-linux-gnu").current_dir(root()).output();
    let output = output.expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let id = |value: &Value| value["id"].as_str().unwrap_or_default().to_owned();
    let packages: HashMap<String, Value> =
        list(&metadata["packages"]).into_iter().map(|package| (id(&package), package)).collect();
    let nodes: HashMap<String, Value> =
        list(&metadata["resolve"]["nodes"]).into_iter().map(|node| (id(&node), node)).collect();
    let is_command = |package: &&Value| package["name"] == "netrewind";
    let mut waiting: Vec<String> = packages.values().filter(is_command).map(id).collect();
    let mut seen = BTreeSet::new();
    while let Some(at) = waiting.pop() {
        if !seen.insert(at.clone()) {
            continue;
        }
        let is_linked = |edge: &Value| list(&edge["dep_kinds"]).iter().any(|kind| kind["kind"].is_null());
        let edges = list(&nodes[&at]["deps"]).into_iter().filter(is_linked);
        waiting.extend(edges.map(|edge| edge["pkg"].as_str().unwrap_or_default().to_owned()));
    }
    let all = seen.iter().map(|id| &packages[id]).filter(|package| !package["source"].is_null());
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    all.map(|package| format!("{} {}", text(&package["name"]), text(&package["version"]))).collect()
}

/// Names and versions of the packages in the page.
fn packages_of_page() -> BTreeSet<String> {
    let lock = std::fs::read_to_string(root().join("extractor/http/ui/package-lock.json")).expect("a file");
    let lock: Value = serde_json::from_str(&lock).expect("JSON");
    let packages = lock["packages"].as_object().expect("packages").iter();
    let used = packages.filter(|(path, package)| !path.is_empty() && package["dev"] != true);
    let name = |path: &str| path.trim_start_matches("node_modules/").to_owned();
    used.map(|(path, package)| format!("{} {}", name(path), package["version"].as_str().unwrap_or_default()))
        .collect()
}

#[test]
fn every_part_is_told_with_its_licence() {
    let text = String::from_utf8(done(["licenses"])).expect("text");
    let list = text.split("\n[1] ").next().expect("a list");
    let (program, page) = list.split_once("Packages in the page").expect("two parts");
    let told = |part: &str| -> BTreeSet<String> {
        let lines = part.lines().filter_map(|line| line.split_once(": "));
        lines.filter(|(_, licence)| !licence.is_empty()).map(|(name, _)| name.to_owned()).collect()
    };
    assert_eq!(told(program), crates(), "run scripts/sbom licenses");
    assert_eq!(told(page), packages_of_page(), "run scripts/sbom licenses");
    assert!(text.contains("Apache License") && text.contains("Permission is hereby granted"));
}
