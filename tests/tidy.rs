//! The rules of ARCHITECTURE.md that can be read off the sources.

use std::path::{Path, PathBuf};

use crate::support::files_below;

const FILE_BYTES_MAX: u64 = 24 << 10;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every source file of the product, with its text.
fn sources() -> Vec<(PathBuf, String)> {
    let folders = [
        "src",
        "recorder/src",
        "recorder/segment/src",
        "indexer/src",
        "indexer/labels/src",
        "indexer/catalog/src",
        "extractor/src",
        "extractor/filter/src",
    ];
    let files = folders.iter().flat_map(|folder| files_below(&root().join(folder)));
    files
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .map(|path| {
            let text = std::fs::read_to_string(&path).expect("a source file");
            (path.strip_prefix(root()).expect("below the root").to_owned(), text)
        })
        .collect()
}

/// The file's code without its tests and comments.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let product = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    product.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//"))
}

fn is_test(path: &Path) -> bool {
    path.components().any(|part| part.as_os_str() == "tests") || path.ends_with("tests.rs")
}

/// Asserts that no line outside `allowed` contains one of the words.
fn only_in(words: &[&str], allowed: impl Fn(&Path) -> bool, rule: &str) {
    let mut found = Vec::new();
    for (path, text) in sources() {
        if allowed(&path) || is_test(&path) {
            continue;
        }
        for (number, line) in code(&text) {
            if words.iter().any(|word| line.contains(word)) {
                found.push(format!("{}:{}: {}", path.display(), number + 1, line.trim()));
            }
        }
    }
    assert!(found.is_empty(), "{rule}:\n{}", found.join("\n"));
}

#[test]
fn crates_depend_in_one_direction() {
    let dependencies = |manifest: &str| -> Vec<String> {
        let text = std::fs::read_to_string(root().join(manifest)).expect("a manifest");
        let section = text
            .split("[dependencies]")
            .nth(1)
            .expect("dependencies")
            .split("\n[")
            .next()
            .expect("a section");
        let ours = section.lines().filter_map(|line| line.strip_prefix("netrewind-"));
        ours.map(|line| line.split(['.', ' ']).next().expect("a name").to_owned()).collect()
    };
    assert_eq!(dependencies("recorder/segment/Cargo.toml"), Vec::<String>::new());
    assert_eq!(dependencies("recorder/Cargo.toml"), ["segment"]);
    assert_eq!(dependencies("indexer/Cargo.toml"), ["labels", "segment"]);
    assert_eq!(dependencies("indexer/labels/Cargo.toml"), Vec::<String>::new());
    assert_eq!(dependencies("indexer/catalog/Cargo.toml"), ["segment"]);
    assert_eq!(dependencies("extractor/filter/Cargo.toml"), ["segment"]);
    assert_eq!(dependencies("extractor/Cargo.toml"), ["filter", "indexer", "labels", "segment"]);
}

#[test]
fn only_the_catalog_knows_tantivy() {
    let catalog = |path: &Path| path.starts_with("indexer/catalog");
    only_in(&["tantivy::"], catalog, "tantivy outside the catalog");
    let depends = |manifest: &str| {
        let text = std::fs::read_to_string(root().join(manifest)).expect("a manifest");
        text.lines().any(|line| line.starts_with("tantivy.") || line.starts_with("netrewind-catalog"))
    };
    let others =
        ["recorder/segment", "recorder", "indexer", "indexer/labels", "extractor", "extractor/filter"];
    assert!(!others.iter().any(|folder| depends(&format!("{folder}/Cargo.toml"))));
}

/// A map whose lost pages nobody notes would end the process with them; the recorder maps memory alone, and its sockets' rings.
#[test]
fn only_segments_map_files() {
    let may = |path: &Path| path.starts_with("recorder/segment/src/sys") || path.starts_with("recorder/src");
    only_in(&["memmap2::"], may, "memory maps outside segment::sys");
    only_in(&["Mmap::map(", ".map(file)"], |path| path.starts_with("recorder/segment"), "a map of a file");
}

#[test]
fn unsafe_code_stands_in_islands() {
    let island = |path: &Path| path.components().any(|part| part.as_os_str() == "sys");
    only_in(&["unsafe {", "unsafe fn", "unsafe impl"], island, "unsafe code outside sys/");
}

#[test]
fn only_the_store_knows_file_names() {
    let words = [
        "\".pcap",
        "\".idx",
        "\".mark",
        "join(\"segments\")",
        "join(\"logbook\")",
        "\".jsonl",
        "\"manifest.json",
    ];
    only_in(
        &words,
        |path| path.ends_with("segment/src/store.rs") || path.ends_with("segment/src/store/hours.rs"),
        "a file name of the store outside segment::store",
    );
}

#[test]
fn clocks_environment_and_exits_belong_to_the_command() {
    let words =
        ["SystemTime::now", "std::env", "env::var", "process::exit", "stdout()", "stderr()", "println!"];
    only_in(
        &words,
        |path| path.starts_with("src"),
        "a library that reads the clock, the environment or the terminal",
    );
}

#[test]
fn files_have_one_purpose_and_nothing_is_left_undone() {
    only_in(&["todo!(", "unimplemented!("], |_| false, "left undone");
    let service = |path: &Path| path.starts_with("extractor/src/http");
    only_in(&["async fn", ".await;", ".await?", ".await."], service, "async code");
    let large: Vec<_> = sources()
        .into_iter()
        .filter(|(_, text)| text.len() as u64 > FILE_BYTES_MAX)
        .map(|(path, text)| format!("{}: {} bytes", path.display(), text.len()))
        .collect();
    assert!(large.is_empty(), "files that outgrew their room:\n{}", large.join("\n"));
}
