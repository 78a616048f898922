//! Who may read what is recorded, and where answers are written.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::support::packets::{Packet, read_pcap, tcp, write_pcap};
use crate::support::{done, files_below, netrewind, run};

fn packets(count: u32) -> Vec<Packet> {
    let ends = |n: u32| [([10, 0, 0, 1], 1000 + (n % 900) as u16), ([10, 0, 0, 2], 80)];
    (0..count).map(|n| tcp((1_795_339_861, n), ends(n), (n, 0), 0x18, b"x")).collect()
}

fn capture(folder: &Path, count: u32) -> PathBuf {
    let file = folder.join(format!("{count}.pcap"));
    fs::write(&file, write_pcap(1, &packets(count))).expect("written");
    file
}

/// Runs the command in a shell of this umask.
fn with_umask(umask: &str, arguments: &[&str]) -> Output {
    let command = netrewind();
    Command::new("sh")
        .args(["-c", "umask \"$0\" && exec \"$@\"", umask])
        .arg(command.get_program())
        .args(arguments)
        .output()
        .expect("sh runs")
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).expect("it is there").mode() & 0o777
}

fn folders_below(folder: &Path) -> Vec<PathBuf> {
    let folders = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    let mut found = vec![folder.to_owned()];
    folders.filter(|path| path.is_dir()).for_each(|path| found.extend(folders_below(&path)));
    found
}

/// All modes in a store: of folders, and of files.
fn modes(store: &Path) -> (Vec<u32>, Vec<u32>) {
    let distinct = |paths: Vec<PathBuf>| {
        let mut modes: Vec<u32> = paths.iter().map(|path| mode(path)).collect();
        modes.sort_unstable();
        modes.dedup();
        modes
    };
    (distinct(folders_below(store)), distinct(files_below(store)))
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

#[test]
fn a_recording_is_its_owners_alone_whatever_the_umask() {
    for umask in ["000", "022", "077"] {
        let folder = tempfile::tempdir().expect("a folder");
        let (store, file) = (folder.path().join("above/store"), capture(folder.path(), 100));
        let store = text(&store);
        assert!(with_umask(umask, &["import", "--store", store, text(&file)]).status.success());
        let again = ["record", "--store", store, "--replay", text(&file), "--replay-speed", "max"];
        assert!(with_umask(umask, &again).status.success());
        let catalog = ["index", "--store", store, "--rebuild", "--catalog", "--current-hour"];
        assert!(with_umask(umask, &catalog).status.success());
        assert_eq!(modes(Path::new(store)), (vec![0o700], vec![0o600]), "umask {umask}");
        assert!(!files_below(&Path::new(store).join("catalog")).is_empty());
        let above =
            if umask == "000" { 0o777 } else { 0o777 & !u32::from_str_radix(umask, 8).expect("octal") };
        assert_eq!(mode(&folder.path().join("above")), above, "the way there is the user's");
    }
}

#[test]
fn a_group_shares_what_is_there_and_what_comes_and_nobody_else_does() {
    if !rustix::process::geteuid().is_root() {
        return eprintln!("no root: skipped");
    }
    const GROUP: u32 = 54_321;
    let folder = tempfile::tempdir().expect("a folder");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("changed");
    let (store, file) = (folder.path().join("store"), capture(folder.path(), 100));
    done(["import", "--store", text(&store), text(&file)]);
    let count_as = |groups: &str| {
        let command = netrewind();
        Command::new("setpriv")
            .args(["--reuid", "65534", "--regid", groups, "--clear-groups"])
            .arg(command.get_program())
            .args(["extract", "--store", text(&store), "--count", "--quiet"])
            .output()
            .expect("setpriv runs")
    };
    assert!(!count_as("54321").status.success(), "it is private");
    let group = GROUP.to_string();
    done(["import", "--store", text(&store), "--group", &group, text(&file)]);
    // Whoever writes next need not say it again.
    done(["import", "--store", text(&store), text(&file)]);
    done(["index", "--store", text(&store), "--rebuild", "--catalog", "--current-hour"]);
    assert_eq!(modes(&store), (vec![0o750], vec![0o640]));
    for path in files_below(&store).iter().chain(&folders_below(&store)) {
        assert_eq!(fs::metadata(path).expect("it is there").gid(), GROUP, "{}", path.display());
    }
    let counted = count_as("54321");
    assert_eq!(String::from_utf8_lossy(&counted.stdout).trim(), "300", "{counted:?}");
    assert!(!count_as("54322").status.success(), "another group reads nothing");
    let unknown = run(["import", "--store", text(&store), "--group", "no such group", text(&file)]);
    assert_eq!(unknown.status.code(), Some(2));
}

#[test]
fn a_store_that_is_wider_stays_so_with_a_word() {
    let folder = tempfile::tempdir().expect("a folder");
    let (store, file) = (folder.path().join("store"), capture(folder.path(), 10));
    done(["import", "--store", text(&store), text(&file)]);
    for path in folders_below(&store) {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("changed");
    }
    let told = with_umask("077", &["import", "--store", text(&store), text(&file)]);
    assert!(String::from_utf8_lossy(&told.stderr).contains("chmod -R go="), "{told:?}");
    let segments = files_below(&store.join("segments"));
    assert!(segments.iter().any(|segment| mode(segment) == 0o644), "what comes can be read as before");
}

fn extract(store: &Path, output: &Path) -> Output {
    run(["extract", "--store", text(store), "-o", text(output)])
}

#[test]
fn an_answer_goes_where_it_was_told_to() {
    let folder = tempfile::tempdir().expect("a folder");
    let (store, file) = (folder.path().join("store"), capture(folder.path(), 2000));
    done(["import", "--store", text(&store), text(&file)]);
    let found = |path: &Path| read_pcap(&fs::read(path).expect("a file")).len();
    let (far, link) = (folder.path().join("far.pcap"), folder.path().join("link.pcap"));
    symlink("far.pcap", &link).expect("a link");
    assert!(extract(&store, &link).status.success());
    assert!(fs::symlink_metadata(&link).expect("it is there").is_symlink());
    assert_eq!((found(&far), mode(&far)), (2000, 0o600), "also where the link led nowhere");
    fs::set_permissions(&far, fs::Permissions::from_mode(0o664)).expect("changed");
    assert!(extract(&store, &link).status.success());
    assert_eq!((found(&far), mode(&far)), (2000, 0o664));

    let into_folder = extract(&store, folder.path());
    assert!(!into_folder.status.success());
    assert!(String::from_utf8_lossy(&into_folder.stderr).contains("name a file in it"), "{into_folder:?}");
    assert!(extract(&store, Path::new("/dev/null")).status.success());

    let same = folder.path().join("same.pcap");
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| assert!(extract(&store, &same).status.success()));
        }
    });
    assert_eq!(found(&same), 2000, "four at once");
    let left = fs::read_dir(folder.path()).expect("a folder").filter_map(Result::ok);
    let left = left.filter(|entry| entry.file_name().to_string_lossy().contains("partial"));
    assert_eq!(left.count(), 0, "nothing is left behind");
}
