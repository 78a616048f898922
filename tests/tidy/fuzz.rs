//! The fuzz targets, which the workspace does not build, name what there is in its crates.

use std::path::Path;

use super::imports::Modules;
use super::{crates, root, sources};
use crate::support::files_below;

#[test]
fn fuzz_targets_name_what_there_is() {
    let all = sources();
    let of_crate = |name: &str| {
        let folder = name.replace('_', "/");
        let found = crates().into_iter().find(|known| Path::new(known).ends_with(&folder));
        let root = found.unwrap_or_else(|| panic!("no crate is called netrewind_{name}")) + "/src";
        Modules::read(Path::new(&root), &all)
    };
    let targets: Vec<_> = files_below(&root().join("fuzz/src"))
        .into_iter()
        .map(|path| (path.clone(), std::fs::read_to_string(&path).expect("a fuzz target")))
        .collect();
    assert!(!targets.is_empty());
    let named = Modules::read(&root().join("fuzz/src"), &targets);
    let mut unknown = Vec::new();
    for path in named.paths() {
        let [first, rest @ ..] = path else { continue };
        if let Some(name) = first.strip_prefix("netrewind_")
            && !of_crate(name).has(rest)
        {
            unknown.push(path.join("::"));
        }
    }
    assert!(unknown.is_empty(), "fuzz targets name what is not there: {unknown:?}");
}
