//! The rules of ARCHITECTURE.md that can be read off the sources.

mod circles;
mod fuzz;
mod impls;
mod imports;
mod seams;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::{Path, PathBuf};

use crate::support::files_below;

const FILE_BYTES_MAX: u64 = 24 << 10;

/// Bytes of ARCHITECTURE.md: what a newcomer reads in one sitting.
const ARCHITECTURE_BYTES_MAX: usize = 9216;

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn text_of(file: &str) -> String {
    std::fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// The folders of the product's crates, without the command's.
fn crates() -> Vec<String> {
    let manifest = text_of("Cargo.toml");
    let members = manifest.split("members = [").nth(1).and_then(|rest| rest.split(']').next());
    let folders = members.expect("members").split('"').skip(1).step_by(2);
    folders.filter(|folder| !folder.starts_with("benches")).map(str::to_owned).collect()
}

/// Every source file of the product, with its text.
pub fn sources() -> Vec<(PathBuf, String)> {
    let folders = crates().into_iter().map(|folder| folder + "/src").chain(["src".to_owned()]);
    let files = folders.flat_map(|folder| files_below(&root().join(folder)));
    files
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .map(|path| {
            let text = std::fs::read_to_string(&path).expect("a source file");
            (path.strip_prefix(root()).expect("below the root").to_owned(), text)
        })
        .collect()
}

/// The file's text without its tests.
fn product(text: &str) -> &str {
    text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default()
}

/// The file's code without its tests and comments.
pub fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    product(text).lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//"))
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

/// The crates of ours that a crate depends on, as its manifest says.
fn dependencies(folder: &str) -> Vec<String> {
    let text = text_of(&format!("{folder}/Cargo.toml"));
    let section = text.split("[dependencies]").nth(1).expect("dependencies");
    let section = section.split("\n[").next().expect("a section");
    let ours = section.lines().filter_map(|line| line.strip_prefix("netrewind-"));
    ours.map(|line| line.split(['.', ' ']).next().expect("a name").to_owned()).collect()
}

#[test]
fn crates_are_listed_with_what_they_depend_on() {
    let text = text_of("ARCHITECTURE.md");
    let listed = text.lines().filter_map(|line| line.strip_prefix("- **`")?.split_once("`** ("));
    let mut listed: Vec<(String, Vec<String>)> = listed
        .map(|(folder, rest)| {
            let names = rest.split(')').next().expect("what it depends on").split(", ");
            let mut names: Vec<_> = names.filter(|&name| name != "none").map(str::to_owned).collect();
            names.sort();
            (folder.to_owned(), names)
        })
        .collect();
    let mut found: Vec<_> = crates().into_iter().map(|folder| (dependencies(&folder), folder)).collect();
    found.iter_mut().for_each(|(names, _)| names.sort());
    listed.sort();
    found.sort_by(|one, other| one.1.cmp(&other.1));
    let found: Vec<_> = found.into_iter().map(|(names, folder)| (folder, names)).collect();
    assert_eq!(listed, found, "ARCHITECTURE.md (left) lists other crates than there are (right)");
}

#[test]
fn recording_and_answering_know_nothing_of_each_other() {
    let all_dependencies = |folder: &str| {
        let mut found = dependencies(folder);
        let mut at = 0;
        while let Some(name) = found.get(at).cloned() {
            let folder = crates()
                .into_iter()
                .find(|folder| Path::new(folder).ends_with(name.replace('-', "/")))
                .expect("a crate");
            found.extend(dependencies(&folder));
            at += 1;
        }
        found
    };
    assert_eq!(all_dependencies("recorder"), ["store"]);
    assert!(all_dependencies("recorder/store").is_empty());
    assert_eq!(all_dependencies("indexer/packet"), ["store"]);
    for folder in ["indexer/index", "indexer/flows", "indexer/catalog"] {
        let found = all_dependencies(folder);
        assert!(!found.iter().any(|name| name == "recorder" || name == "extractor"), "{folder}");
    }
    for folder in ["extractor", "extractor/http", "extractor/client"] {
        let found = all_dependencies(folder);
        assert!(!found.iter().any(|name| name == "recorder" || name == "catalog-tantivy"), "{folder}");
    }
    assert!(!all_dependencies("extractor/client").iter().any(|name| name == "http"));
}

/// Packages that take minutes to compile, and the only crates that may need them.
const HEAVY: [(&str, &[&str]); 8] = [
    ("tantivy", &["catalog-tantivy", "indexer"]),
    ("parquet", &["tables"]),
    ("axum", &["http"]),
    ("argon2", &["http"]),
    ("object_store", &["archive"]),
    ("reqwest", &["archive"]),
    ("hyper", &["http", "client", "archive"]),
    ("tokio", &["http", "client", "archive"]),
];

#[test]
fn heavy_packages_are_compiled_only_where_they_are_used() {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    for folder in crates() {
        let manifest = text_of(&format!("{folder}/Cargo.toml"));
        let name = manifest.lines().find_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"'));
        let name = name.expect("a package");
        let tree = std::process::Command::new(&cargo)
            .args([
                "tree",
                "--offline",
                "--locked",
                "--edges",
                "normal",
                "--prefix",
                "none",
                "--package",
                name,
            ])
            .current_dir(root())
            .output()
            .expect("cargo");
        assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
        let tree = String::from_utf8_lossy(&tree.stdout);
        for (package, allowed) in HEAVY {
            let is_needed = tree.lines().any(|line| line.split(' ').next() == Some(package));
            let is_allowed = allowed.iter().any(|short| name == format!("netrewind-{short}"));
            assert!(!is_needed || is_allowed, "{name} needs {package}");
        }
    }
}

#[test]
fn only_the_catalog_knows_tantivy() {
    let catalog = |path: &Path| path.starts_with("indexer/catalog/tantivy");
    only_in(
        &["use tantivy::", " tantivy::", "(tantivy::", "<tantivy::", "&tantivy::"],
        catalog,
        "tantivy outside the catalog",
    );
    let depends = |manifest: &str| {
        let text = std::fs::read_to_string(root().join(manifest)).expect("a manifest");
        text.lines().any(|line| line.starts_with("tantivy.") || line.starts_with("netrewind-catalog-tantivy"))
    };
    let others = [
        "recorder/store",
        "recorder",
        "indexer/index",
        "indexer/packet",
        "indexer/labels",
        "indexer/flows",
        "indexer/catalog",
        "extractor",
        "extractor/filter",
        "extractor/http",
    ];
    assert!(!others.iter().any(|folder| depends(&format!("{folder}/Cargo.toml"))));
}

/// A map whose lost pages nobody notes would end the process with them; the recorder maps memory alone, and its sockets' rings.
#[test]
fn only_the_store_maps_files() {
    let may = |path: &Path| path.starts_with("recorder/store/src/sys") || path.starts_with("recorder/src");
    only_in(&["memmap2::"], may, "memory maps outside store::sys");
    only_in(&["Mmap::map(", ".map(file)"], |path| path.starts_with("recorder/store"), "a map of a file");
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
        |path| {
            ["store/src/store.rs", "store/src/store/hours.rs", "archive/src/objects.rs"]
                .iter()
                .any(|file| path.ends_with(file))
        },
        "a file name of the store outside store::store",
    );
}

#[test]
fn clocks_environment_and_exits_belong_to_the_command() {
    let words =
        ["SystemTime::now", "std::env", "env::var", "process::exit", "stdout()", "stderr()", "println!"];
    only_in(
        &words,
        |path| path.starts_with("src") || path.ends_with("store/src/clock.rs"),
        "a library that reads the clock, the environment or the terminal",
    );
}

#[test]
fn only_the_service_is_async() {
    let service = |path: &Path| {
        [
            "extractor/http",
            "extractor/client",
            "recorder/archive/src/bucket",
            "recorder/archive/src/bucket.rs",
        ]
        .iter()
        .any(|folder| path.starts_with(folder))
    };
    only_in(&["async fn", ".await;", ".await?", ".await."], service, "async code");
    let is_async = |line: &str| {
        ["tokio", "axum", "hyper", "tower-http", "utoipa-axum"]
            .iter()
            .any(|name| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['.', ' ', '-'])))
    };
    let depends = |folder: &String| text_of(&format!("{folder}/Cargo.toml")).lines().any(is_async);
    let found: Vec<_> = crates().into_iter().filter(depends).collect();
    assert_eq!(
        found,
        ["recorder/archive", "extractor/client", "extractor/http"],
        "crates that depend on an async runtime"
    );
}

#[test]
fn files_have_one_purpose_and_nothing_is_left_undone() {
    only_in(&["todo!(", "unimplemented!("], |_| false, "left undone");
    let large: Vec<_> = sources()
        .into_iter()
        .filter(|(_, text)| text.len() as u64 > FILE_BYTES_MAX)
        .map(|(path, text)| format!("{}: {} bytes", path.display(), text.len()))
        .collect();
    assert!(large.is_empty(), "files that outgrew their room:\n{}", large.join("\n"));
}

/// The words in backquotes.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|character| character.is_ascii_alphanumeric() || character == '_')
}

/// The names that a source file gives to its items.
fn definitions(text: &str) -> impl Iterator<Item = &str> {
    let items = ["struct", "enum", "trait", "type", "fn", "mod", "const"];
    text.lines().flat_map(move |line| {
        let words = || line.split(|next: char| !next.is_alphanumeric() && next != '_');
        words().zip(words().skip(1)).filter(move |(item, _)| items.contains(item)).map(|(_, name)| name)
    })
}

#[test]
fn architecture_is_short_and_names_what_is_there() {
    let text = text_of("ARCHITECTURE.md");
    assert!(text.len() <= ARCHITECTURE_BYTES_MAX, "{} bytes: decisions and limits are in docs/", text.len());
    let tests = files_below(&root().join("tests")).into_iter();
    let tests = tests.filter_map(|path| Some((path.clone(), std::fs::read_to_string(path).ok()?)));
    let all: Vec<_> = sources().into_iter().chain(tests).collect();
    let defined: HashSet<&str> = all.iter().flat_map(|(_, text)| definitions(text)).collect();
    let is_package = |word: &str| crates().iter().any(|folder| Path::new(folder).ends_with(word));
    let unknown: Vec<_> = quoted(&text)
        .filter(|name| match *name {
            text if text.contains(char::is_whitespace) => false,
            path if path.contains(['/', '.']) => !root().join(path).exists(),
            name => {
                let is_there =
                    |word| defined.contains(word) || is_package(word) || root().join(word).exists();
                name.split("::").all(is_word) && !name.split("::").all(is_there)
            }
        })
        .collect();
    assert!(unknown.is_empty(), "ARCHITECTURE.md names what is not there: {unknown:?}");
}

/// The two paths of ARCHITECTURE.md, step by step: the file that defines a type or function calls the next step.
#[test]
fn a_packet_and_a_query_take_the_ways_that_are_described() {
    let steps = [
        ("struct LaneThread", "source.receive("),
        ("struct Lanes", ".accept("),
        ("struct Lane<", ".append("),
        ("fn advance_segment", "disk.write("),
        ("fn advance_segment", "disk.sync("),
        ("fn advance_segment", "self.hand_to_sink("),
        ("fn advance_segment", "disk.publish("),
        ("fn advance_segment", "disk.seal("),
        ("struct LaneIndexer", "builder.push_all("),
        ("struct IndexWriter", ".write_index("),
        ("struct QueryArguments", "Ok(Query {"),
        ("struct OpenedQuery", "Snapshot::take("),
        ("struct CompiledQuery", "OpenedQuery { "),
        ("struct CompiledQuery", "engine.compile("),
        ("struct Engine", "QueryFilter::compile("),
        ("struct PreparedQuery", "CompiledQuery { "),
        ("struct PreparedQuery", "RecordingTimeline::read("),
        ("struct PreparedQuery", "coverage::fill("),
        ("struct PlannedQuery", "PreparedQuery {"),
        ("struct WrittenQuery", "PlannedQuery { "),
        ("struct WrittenQuery", "RunQueue::new("),
        ("struct WrittenQuery", "merge(&mut run_queue"),
        ("struct RunQueue", "Planner"),
        ("struct Output", "sink.packet("),
        ("fn query_for", "selection.query("),
    ];
    let all = sources();
    let is_taken = |(definition, call): &(&str, &str)| {
        let defines = |line: &str| line.contains(definition);
        all.iter().any(|(_, text)| code(text).any(|(_, line)| defines(line)) && text.contains(call))
    };
    let others: Vec<_> = steps.iter().filter(|step| !is_taken(step)).collect();
    assert!(others.is_empty(), "ARCHITECTURE.md describes other ways than the code takes: {others:?}");
}

/// Of the doc comments of the product, the share that may open with a question word: a noun or a verb says more.
const OPENINGS_PERCENT_MAX: usize = 5;

/// The first line of every doc comment.
fn openings(text: &str) -> impl Iterator<Item = &str> {
    let lines = product(text).lines().map(str::trim_start);
    let doc = |line: &str| line.starts_with("///") || line.starts_with("//!");
    let mut was_doc = false;
    lines.filter_map(move |line| {
        let is_doc = doc(line);
        let is_first = is_doc && !was_doc;
        was_doc = is_doc;
        let words = line.get(3..).filter(|_| is_first)?.trim();
        (!words.is_empty()).then_some(words)
    })
}

#[test]
fn comments_say_what_a_thing_is() {
    let questions = ["What", "Whether", "Where", "How", "Who", "Which", "Why", "When"];
    let opens = |words: &str| {
        let first = words.split(|next: char| !next.is_alphanumeric() && next != '_').next();
        first.is_some_and(|first| questions.contains(&first))
    };
    let files: Vec<_> = sources().into_iter().filter(|(path, _)| !is_test(path)).collect();
    let all: Vec<_> =
        files.iter().flat_map(|(path, text)| openings(text).map(move |words| (path, words))).collect();
    let found: Vec<_> = all.iter().filter(|(_, words)| opens(words)).collect();
    let list: Vec<_> = found.iter().map(|(path, words)| format!("{}: {words}", path.display())).collect();
    assert!(
        found.len() * 100 <= all.len() * OPENINGS_PERCENT_MAX,
        "{} of {} doc comments open with a question word:\n{}",
        found.len(),
        all.len(),
        list.join("\n")
    );
}

/// Of the names of the product's types, the share that may be defined in more than one file: a name that has one meaning is
/// looked up once.
const SHARED_NAMES_PERCENT_MAX: usize = 6;

/// The name of the type that a line defines.
fn type_name(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let line = match line.strip_prefix("pub") {
        Some(rest) if rest.starts_with('(') => rest.split_once(") ")?.1,
        Some(rest) => rest.strip_prefix(' ')?,
        None => line,
    };
    let kinds = ["struct ", "enum ", "trait ", "type ", "union "];
    let name = kinds.iter().find_map(|kind| line.strip_prefix(kind))?;
    name.split(|next: char| !next.is_alphanumeric() && next != '_').next().filter(|name| !name.is_empty())
}

#[test]
fn types_have_names_of_their_own() {
    let mut files: BTreeMap<String, BTreeSet<PathBuf>> = BTreeMap::new();
    for (path, text) in sources().into_iter().filter(|(path, _)| !is_test(path)) {
        for name in product(&text).lines().filter_map(type_name) {
            files.entry(name.to_owned()).or_default().insert(path.clone());
        }
    }
    let shared: Vec<_> = files.iter().filter(|(_, files)| files.len() > 1).collect();
    assert!(
        shared.len() * 100 <= files.len() * SHARED_NAMES_PERCENT_MAX,
        "{} of {} type names are defined in more than one file: {shared:#?}",
        shared.len(),
        files.len()
    );
}
