//! Files of sums that are shortened or changed while they are read.

use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use netrewind_catalog::cache::Rollups;
use netrewind_flows::encapsulation::Encapsulations;
use netrewind_flows::top_flows::{FlowSort, TopFlows};
use netrewind_store::LOST_PAGES;
use netrewind_store::store::CatalogFolder;

use crate::made::{Made, made, store, write};

#[test]
fn a_rollup_that_is_shortened_or_changed_while_its_sums_are_taken_says_so() {
    let Made { hours: [hour, _], .. } = made(300);
    let (_folder, store) = store();
    write(&store, &hour);
    let path = CatalogFolder::of(&store).hour_path(hour.manifest.hour).join("rollup");
    let rollups = Rollups::default();
    let fault_after = |spoil: &dyn Fn(&Path)| {
        let rollup = rollups.rollup(&store, &hour.manifest).expect("a rollup");
        spoil(&path);
        let encapsulations = Encapsulations::default();
        rollup.whole.add_to(&mut TopFlows::new(FlowSort::Bytes, 5, None, &encapsulations), &encapsulations);
        rollup.file().fault()
    };
    assert_eq!(fault_after(&|_| ()), None, "nothing has happened to it");
    let shorten = |path: &Path| {
        std::fs::OpenOptions::new().write(true).open(path).unwrap().set_len(100).unwrap();
    };
    assert_eq!(fault_after(&shorten).as_deref(), Some(LOST_PAGES));
    assert!(rollups.rollup(&store, &hour.manifest).is_none(), "and then it is none");
    std::fs::write(&path, &hour.rollup).unwrap();
    let change = |path: &Path| {
        let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
        file.write_all_at(&[0x55; 64], 200).unwrap();
        file.set_modified(UNIX_EPOCH + Duration::from_secs(9)).unwrap();
    };
    assert!(fault_after(&change).is_some_and(|fault| fault.contains("changed")));
}
