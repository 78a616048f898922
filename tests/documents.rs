//! What the documents say: they lead on to what exists, and their commands work.

mod blocks;
mod commands;
mod stage;
mod traffic;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::tidy::root;

/// Bytes of README.md: what a visitor reads before deciding.
const README_BYTES_MAX: usize = 8192;

/// A document: its path from the root, and its text.
pub struct Document {
    pub name: String,
    pub text: String,
}

impl Document {
    fn read(path: &Path) -> Self {
        let name = path.strip_prefix(root()).expect("below the root").display().to_string();
        Self { name, text: std::fs::read_to_string(path).expect("a document") }
    }

    /// Lines outside of blocks of code.
    fn prose(&self) -> impl Iterator<Item = &str> {
        self.text.split("\n```").step_by(2).flat_map(str::lines)
    }

    /// Targets of links and pictures.
    fn links(&self) -> Vec<String> {
        let mut links = Vec::new();
        for line in self.prose() {
            let text: String = line.split('`').step_by(2).collect();
            for opening in ["](", "src=\""] {
                let targets = text.split(opening).skip(1).filter_map(|rest| rest.split([')', '"']).next());
                links.extend(targets.map(str::to_owned));
            }
        }
        links
    }

    /// Anchors of its headings, as GitHub makes them.
    fn anchors(&self) -> BTreeSet<String> {
        let headings = self.prose().filter(|line| line.starts_with('#'));
        headings.map(|line| anchor(line.trim_start_matches('#').trim())).collect()
    }
}

fn anchor(heading: &str) -> String {
    let is_kept = |c: &char| c.is_alphanumeric() || [' ', '-', '_'].contains(c);
    heading.to_lowercase().chars().filter(is_kept).map(|c| if c == ' ' { '-' } else { c }).collect()
}

/// The documents for users: README.md and the files of docs/.
pub fn for_users() -> Vec<Document> {
    let entries = std::fs::read_dir(root().join("docs")).expect("docs/").flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
    paths.sort();
    paths.insert(0, root().join("README.md"));
    paths.iter().map(|path| Document::read(path)).collect()
}

/// Every document of the project.
fn all() -> Vec<Document> {
    fn add(folder: &Path, found: &mut Vec<Document>) {
        for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
            let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
            let is_foreign = name.starts_with('.') || ["target", "node_modules", "store"].contains(&&*name);
            match entry.file_type().expect("a type").is_dir() {
                true if !is_foreign || name == "store" && folder.ends_with("recorder") => add(&path, found),
                false if name.ends_with(".md") => found.push(Document::read(&path)),
                _ => {}
            }
        }
    }
    let mut found = Vec::new();
    add(root(), &mut found);
    found
}

#[test]
fn readme_is_short() {
    let bytes = Document::read(&root().join("README.md")).text.len();
    assert!(
        bytes <= README_BYTES_MAX,
        "README.md has {bytes} bytes: what explains itself further is in docs/"
    );
}

#[test]
fn every_document_for_users_is_in_the_readme() {
    let documents = for_users();
    let links: BTreeSet<String> = documents[0].links().into_iter().collect();
    let missing: Vec<&str> =
        documents[1..].iter().map(|document| &*document.name).filter(|name| !links.contains(*name)).collect();
    assert!(missing.is_empty(), "README.md does not lead to {missing:?}");
}

#[test]
fn links_lead_to_what_exists() {
    let (mut wrong, mut seen) = (Vec::new(), 0);
    for document in all() {
        let folder = root().join(&document.name).parent().expect("a folder").to_owned();
        for link in document.links().into_iter().filter(|link| !link.contains("://")) {
            let (file, heading) = link.split_once('#').unwrap_or((&link, ""));
            let path = if file.is_empty() { root().join(&document.name) } else { folder.join(file) };
            let is_there = match (path.exists(), heading) {
                (there, "") => there,
                (there, heading) => {
                    there && Document::read(&path.canonicalize().expect("there")).anchors().contains(heading)
                }
            };
            seen += 1;
            if !is_there {
                wrong.push(format!("{}: {link}", document.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(seen > 60, "{seen} links");
}

#[test]
fn anchors_are_those_of_the_web() {
    let [mtu, lanes] = ["The MTU: 54 and 74 bytes", "Lanes, ring and card"].map(anchor);
    assert_eq!((&*mtu, &*lanes), ("the-mtu-54-and-74-bytes", "lanes-ring-and-card"));
}
