//! What is possible inside: each test tries it in a process of its own, which raises walls first.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::*;

/// Variable that makes this test binary try what a test wants, in the folder that it names.
const INSIDE: &str = "NETREWIND_INSIDE";

/// Runs the test with this name again in another process, in which [`INSIDE`] is set; returns what it printed.
fn inside(test: &str, folder: &Path) -> String {
    let output = Command::new(std::env::current_exe().expect("this program"))
        .args([&format!("confine::tests::{test}"), "--exact", "--nocapture", "--test-threads=1"])
        .env(INSIDE, folder)
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{said}");
    said
}

fn folder_inside() -> Option<PathBuf> {
    std::env::var_os(INSIDE).map(PathBuf::from)
}

/// A folder with a store and another folder, which has a file.
fn folders() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for name in ["store", "other"] {
        std::fs::create_dir(folder.path().join(name)).expect("a folder");
        std::fs::write(folder.path().join(name).join("file"), "text").expect("a file");
    }
    folder
}

fn is_denied<T: std::fmt::Debug>(result: io::Result<T>) -> bool {
    let denied = [libc::EACCES, libc::EPERM, libc::ENOSYS, libc::EXDEV];
    let is_denied =
        matches!(&result, Err(error) if error.raw_os_error().is_some_and(|code| denied.contains(&code)));
    assert!(is_denied, "{result:?}");
    is_denied
}

/// What nothing inside any walls can do.
fn nothing_outside_is_reached(other: &Path) {
    assert!(is_denied(std::fs::read("/etc/passwd")));
    assert!(is_denied(std::fs::read_dir("/etc")));
    assert!(is_denied(std::fs::read(other.join("file"))));
    assert!(is_denied(std::fs::write(other.join("file"), "x")));
    assert!(is_denied(std::fs::write(other.join("new"), "x")));
    assert!(is_denied(std::fs::remove_file(other.join("file"))));
    assert!(is_denied(std::fs::create_dir(other.join("folder"))));
    assert!(is_denied(std::fs::rename(other.join("file"), other.join("moved"))));
    for program in ["/bin/true", "/bin/sh", "/proc/self/exe"] {
        assert!(is_denied(Command::new(program).output()));
    }
    assert!(is_denied(std::os::unix::fs::symlink("/etc/passwd", other.join("link"))));
    let status = std::fs::read_to_string("/proc/self/status");
    assert!(is_denied(status));
    assert!(is_denied(
        rustix::net::socket(rustix::net::AddressFamily::PACKET, rustix::net::SocketType::RAW, None)
            .map_err(io::Error::from)
    ));
    let kept = rustix::thread::capabilities(None).expect("capabilities");
    assert!(kept.permitted.is_empty() && kept.effective.is_empty() && kept.inheritable.is_empty());
    assert!(rustix::thread::no_new_privs().expect("a flag"));
    std::thread::spawn(|| assert!(is_denied(std::fs::read("/etc/passwd")))).join().expect("a thread");
}

#[test]
fn a_writer_uses_its_store_and_nothing_else() {
    let Some(folder) = folder_inside() else {
        let folder = folders();
        let said = inside("a_writer_uses_its_store_and_nothing_else", folder.path());
        assert!(said.contains("Confined: "), "{said}");
        assert_eq!(std::fs::read_to_string(folder.path().join("other/file")).expect("a file"), "text");
        return;
    };
    let (store, other) = (folder.join("store"), folder.join("other"));
    let walls = Walls::new().calling(Calls::with_ring).calling(Calls::asking_for_interfaces);
    let raised = walls.writing(&store).keeping(KeptCapabilities::files_if_needed()).raise();
    println!("{raised}");
    nothing_outside_is_reached(&other);
    assert!(is_denied(std::fs::rename(store.join("file"), other.join("stolen"))));
    assert!(is_denied(std::net::TcpStream::connect("127.0.0.1:9")));
    std::fs::create_dir_all(store.join("a/b")).expect("a folder");
    std::fs::write(store.join("a/file"), "text").expect("written");
    std::fs::rename(store.join("a/file"), store.join("a/b/file")).expect("moved");
    std::fs::hard_link(store.join("a/b/file"), store.join("linked")).expect("linked");
    assert_eq!(std::fs::read_to_string(store.join("linked")).expect("read"), "text");
    std::fs::remove_dir_all(store.join("a")).expect("removed");
}

#[test]
fn a_reader_reads_its_store_and_writes_what_is_open() {
    use std::io::Write;
    let Some(folder) = folder_inside() else {
        let folder = folders();
        inside("a_reader_reads_its_store_and_writes_what_is_open", folder.path());
        assert_eq!(std::fs::read_to_string(folder.path().join("answer")).expect("a file"), "packets");
        assert_eq!(std::fs::read_to_string(folder.path().join("store/file")).expect("a file"), "text");
        return;
    };
    let store = folder.join("store");
    let mut output = std::fs::File::create(folder.join("answer.partial")).expect("a file");
    let calls = Walls::new().reading(&store).renaming_in(&folder.join("."));
    calls.keeping(KeptCapabilities::files_if_needed()).raise();
    assert_eq!(std::fs::read_to_string(store.join("file")).expect("read"), "text");
    assert!(is_denied(std::fs::write(store.join("file"), "x")));
    assert!(is_denied(std::fs::File::create(folder.join("another"))));
    assert!(is_denied(std::fs::read(folder.join("answer.partial"))));
    assert!(is_denied(std::fs::read("/etc/passwd")));
    assert!(is_denied(Command::new("/bin/true").output()));
    output.write_all(b"packets").expect("written");
    std::fs::rename(folder.join("answer.partial"), folder.join("answer")).expect("renamed");
    std::fs::metadata("/usr/share/zoneinfo")
        .map(|_| std::fs::read("/usr/share/zoneinfo/Europe/Rome").expect("a zone"))
        .ok();
}

#[test]
fn nothing_is_raised_where_it_is_turned_off() {
    let Some(_) = folder_inside() else {
        let folder = folders();
        let said = inside("nothing_is_raised_where_it_is_turned_off", folder.path());
        assert!(said.contains("--no-confine"), "{said}");
        return;
    };
    turn_off();
    println!("{}", Walls::new().raise());
    std::fs::read("/etc/passwd").expect("it can be read");
    Command::new("/bin/true").output().expect("it runs");
}

#[test]
fn gaps_are_told() {
    let gaps = vec!["no Landlock".into(), "no seccomp".into()];
    let mut raised = Raised { gaps, ..Raised::default() };
    let told = "Confined, but not wholly: no Landlock; no seccomp; it has no capabilities";
    assert_eq!(raised.to_string(), told);
    raised.keeps_files = true;
    assert!(raised.to_string().contains("belong to another user"));
}
