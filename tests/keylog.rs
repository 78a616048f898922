//! TLS secrets in pcapng answers: tshark decrypts with them, and without them it does not.

use std::io::Write;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::support::link::wait_until;
use crate::support::{done, import, may_make_namespaces, run};

/// Path that the client asks for, under TLS.
const ASKED: &str = "/a-secret-path";

/// A process that is ended when this is dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn openssl(arguments: &[&str]) -> Command {
    let mut command = Command::new("openssl");
    command.args(arguments).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// A TLS connection over loopback, captured, and its secrets.
fn capture_tls(folder: &Path, version: &str) -> u16 {
    let at = |name: &str| folder.join(name).to_str().expect("a path").to_owned();
    let port = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("bound").port();
    let made =
        openssl(&["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-days", "2"])
            .args(["-keyout", &at("key.pem"), "-out", &at("certificate.pem")])
            .status();
    assert!(made.expect("openssl runs").success());
    let mut server = openssl(&["s_server", "-www", "-accept", &port.to_string()]);
    server.args(["-key", &at("key.pem"), "-cert", &at("certificate.pem")]);
    let _server = Running(server.spawn().expect("openssl runs"));
    let mut tcpdump = Command::new("tcpdump");
    tcpdump
        .args(["-i", "lo", "-U", "-w", &at("tls.pcap"), &format!("tcp port {port}")])
        .stderr(Stdio::null());
    let tcpdump = Running(tcpdump.spawn().expect("tcpdump runs"));
    wait_until("the server listens", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
    wait_until("tcpdump captures", || std::fs::metadata(at("tls.pcap")).is_ok_and(|file| file.len() > 0));
    let mut client = openssl(&["s_client", "-quiet", version, "-connect", &format!("127.0.0.1:{port}")]);
    let mut client =
        client.args(["-keylogfile", &at("keys.txt")]).stdin(Stdio::piped()).spawn().expect("openssl");
    let mut input = client.stdin.take().expect("piped");
    write!(input, "GET {ASKED} HTTP/1.0\r\n\r\n").expect("written");
    client.wait().expect("ended");
    let captured = || Command::new("tcpdump").args(["-r", &at("tls.pcap")]).output().expect("runs").stdout;
    wait_until("both have closed", || String::from_utf8_lossy(&captured()).matches("Flags [F").count() >= 2);
    drop(tcpdump);
    port
}

/// What tshark sees asked for in a file.
fn asked_for(file: &Path, port: u16) -> String {
    let output = Command::new("tshark")
        .args(["-d", &format!("tcp.port=={port},tls"), "-d", &format!("tls.port=={port},http")])
        .args(["-T", "fields", "-e", "http.request.uri", "-Y", "http.request", "-r"])
        .arg(file)
        .output()
        .expect("tshark runs");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

#[test]
fn tshark_decrypts_an_answer_with_its_secrets() {
    if !may_make_namespaces() {
        eprintln!("skipped: capturing on loopback needs root");
        return;
    }
    for version in ["-tls1_2", "-tls1_3"] {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name).to_str().expect("a path").to_owned();
        let port = capture_tls(folder.path(), version);
        import(Path::new(&at("store")), &[Path::new(&at("tls.pcap"))]);
        let store = at("store");
        let extract = ["extract", "-q", "--store", &store, "-o"];
        done(extract.into_iter().chain([&*at("plain.pcapng")]));
        done(extract.into_iter().chain([&*at("keys.pcapng"), "--keylog", &at("keys.txt")]));
        assert_eq!(asked_for(Path::new(&at("plain.pcapng")), port), "", "{version}, without secrets");
        assert_eq!(asked_for(Path::new(&at("keys.pcapng")), port), ASKED, "{version}, with secrets");
        let info = Command::new("capinfos").arg(at("keys.pcapng")).output().expect("capinfos runs");
        assert!(String::from_utf8_lossy(&info.stdout).contains("decryption secrets"), "{info:?}");
        // What has no room for secrets is refused, and what is no file of secrets is named.
        for (arguments, told) in [
            ([&*at("x.pcap"), "--keylog", &at("keys.txt")], "pcapng"),
            ([&at("x.pcapng"), "--keylog", &at("key.pem")], "line 1 is not one of a file of TLS secrets"),
            ([&at("x.pcapng"), "--keylog", &at("none.txt")], "No such file"),
        ] {
            let output = run(extract.into_iter().chain(arguments));
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(2), "{said}");
            assert!(said.contains(told), "{said}");
        }
    }
}
