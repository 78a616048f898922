//! Circles of imports: files none of which can be understood before the others.
//!
//! A file imports another if it names an item that is defined there: in a `use`, or in a path such as `child::run()`. Names
//! are followed through re-exports to the file that defines them, so that it does not matter by which way a name comes.
//! Naming a module, or re-exporting a name without using it, imports nothing: a file that only declares modules and
//! re-exports what is in them is in no circle. One that uses a child's items while the child uses its items is in one. What
//! methods and macros bring with them is not seen, and tests are left out.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::imports::Modules;
use super::{crates, sources};

fn reachable<'i>(imports: &'i BTreeMap<PathBuf, BTreeSet<PathBuf>>, from: &'i Path) -> BTreeSet<&'i Path> {
    let mut found = BTreeSet::new();
    let mut open = vec![from];
    while let Some(file) = open.pop() {
        let others = imports.get(file).into_iter().flatten().map(PathBuf::as_path);
        open.extend(others.filter(|other| found.insert(*other)));
    }
    found
}

/// The circles in the imports of a crate's files: each file that reaches itself, with those that it reaches and that reach
/// it.
fn circles(imports: &BTreeMap<PathBuf, BTreeSet<PathBuf>>) -> BTreeSet<Vec<&Path>> {
    let reached: BTreeMap<&Path, BTreeSet<&Path>> =
        imports.keys().map(|file| (file.as_path(), reachable(imports, file))).collect();
    let reaches = |one: &Path, other: &Path| reached.get(one).is_some_and(|found| found.contains(other));
    let mut circles = BTreeSet::new();
    for (&file, others) in reached.iter().filter(|(file, others)| others.contains(*file)) {
        circles.insert(others.iter().copied().filter(|other| reaches(other, file)).collect());
    }
    circles
}

#[test]
fn files_import_each_other_in_no_circle() {
    let all = sources();
    let mut found = Vec::new();
    for root in crates().into_iter().map(|folder| folder + "/src").chain(["src".to_owned()]) {
        let imports = Modules::read(Path::new(&root), &all).imports();
        let names = |circle: Vec<&Path>| circle.iter().map(|file| file.display().to_string()).collect();
        found.extend(circles(&imports).into_iter().map(names).map(|files: Vec<_>| files.join(", ")));
    }
    assert!(found.is_empty(), "files that import each other:\n{}", found.join("\n"));
}
