//! TLS secrets in pcapng answers: tshark decrypts with them, and without them it does not.

use std::io::Write;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::support::link::wait_until;
use crate::support::service::Service;
use crate::support::{done, files_below, import, may_make_namespaces, run};

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

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// True if a capture file has decryption secrets.
fn has_secrets(file: &Path) -> bool {
    let info = Command::new("capinfos").arg(file).output().expect("capinfos runs");
    text(&info.stdout).contains("decryption secrets")
}

/// A capture of TLS 1.3 that holds its secrets.
fn capture_with_secrets(folder: &Path) -> u16 {
    let port = capture_tls(folder, "-tls1_3");
    let keys = format!("tls,{}", folder.join("keys.txt").display());
    let injected = Command::new("editcap")
        .args(["--inject-secrets", &keys])
        .args([folder.join("tls.pcap"), folder.join("tls.pcapng")])
        .status();
    assert!(injected.expect("editcap runs").success());
    port
}

#[test]
fn secrets_of_an_imported_capture_come_back_with_its_packets() {
    if !may_make_namespaces() {
        eprintln!("skipped: capturing on loopback needs root");
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name).to_str().expect("a path").to_owned();
    let port = capture_with_secrets(folder.path());
    let store = at("store");
    let imported = run(["import", "--store", &store, &at("tls.pcapng")]);
    let said = text(&imported.stderr);
    assert!(imported.status.success() && said.contains("of TLS secrets are kept"), "{said}");
    assert!(!said.contains("not kept"), "{said}");
    let extract = |arguments: &[&str]| {
        let output = run(["extract", "--store", &store].iter().chain(arguments));
        (output.status.code(), text(&output.stderr))
    };
    let path = |name: &str| folder.path().join(name);
    assert_eq!(extract(&["-q", "-o", &at("all.pcapng")]).0, Some(0));
    assert_eq!(asked_for(&path("all.pcapng"), port), ASKED);
    extract(&["-q", "--no-secrets", "-o", &at("none.pcapng")]);
    assert!(!has_secrets(&path("none.pcapng")) && asked_for(&path("none.pcapng"), port).is_empty());
    extract(&[
        "-q",
        "--filter",
        &format!("tcp port {port}"),
        "--snaplen",
        "200",
        "-o",
        &at("some.pcapng.gz"),
    ]);
    assert!(has_secrets(&path("some.pcapng.gz")));
    extract(&["-q", "-o", &at("plain.pcap")]);
    assert!(!has_secrets(&path("plain.pcap")));
    // Of another time there are none.
    extract(&["-q", "--from", "2001-01-01", "--to", "2002-01-01", "-o", &at("other.pcapng")]);
    assert!(!has_secrets(&path("other.pcapng")));
    // A case in pcapng has them and stays its owner's; one in pcap says that it has not.
    let hold = |case: &str, format: &str| {
        done(["hold", "add", case, "--store", &store, "--filter", "tcp", "--format", format]);
        let file = path(&format!("store/cases/{case}.{format}"));
        let manifest =
            std::fs::read_to_string(format!("{}.manifest.json", file.display())).expect("a manifest");
        done(["verify", file.to_str().expect("a path")]);
        (file, manifest)
    };
    let (held, manifest) = hold("with", "pcapng");
    assert_eq!(asked_for(&held, port), ASKED);
    assert!(!manifest.contains("TLS secrets"), "{manifest}");
    let (without, manifest) = hold("without", "pcap");
    assert!(!has_secrets(&without) && manifest.contains("the TLS secrets that the store has"), "{manifest}");
    // What was extracted can be imported and extracted again.
    let again = at("again");
    done(["import", "--store", &again, &at("all.pcapng")]);
    done(["extract", "-q", "--store", &again, "-o", &at("again.pcapng")]);
    assert_eq!(asked_for(&path("again.pcapng"), port), ASKED);
    // The owner's alone, and a key log as it lies there.
    let [file] = &files_below(&path("store/secrets"))[..] else { panic!("one file") };
    let mode = |path: &Path| {
        std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(path).expect("it is there").permissions())
            & 0o777
    };
    assert_eq!((mode(file), mode(&path("store/secrets"))), (0o600, 0o700));
    done([
        "extract",
        "-q",
        "--store",
        &store,
        "--no-secrets",
        "-o",
        &at("own.pcapng"),
        "--keylog",
        file.to_str().expect("a path"),
    ]);
    assert_eq!(asked_for(&path("own.pcapng"), port), ASKED);

    // Damage is named by answers and by verify, and costs no packet.
    let verify = || run(["verify", "--store", &store]);
    assert!(text(&verify().stdout).contains("1 files of TLS secrets"), "{:?}", verify());
    let sound = std::fs::read(file).expect("a file");
    let packets = done(["extract", "--count", "--store", &store]);
    for place in [5, sound.len() - 5] {
        let mut damaged = sound.clone();
        damaged[place] ^= 1;
        std::fs::write(file, damaged).expect("written");
        let name = format!("secrets/{}", file.file_name().expect("a name").to_str().expect("text"));
        let (code, said) = extract(&["-o", &at("damaged.pcapng")]);
        assert!(code == Some(1) && said.contains(&name) && said.contains("damaged"), "{code:?}: {said}");
        assert!(!has_secrets(&path("damaged.pcapng")));
        assert_eq!(done(["extract", "--count", "--store", &store]), packets);
        assert_eq!(extract(&["--no-secrets", "-o", &at("damaged.pcapng")]).0, Some(0));
        let found = verify();
        let told = text(&found.stdout);
        assert!(found.status.code() == Some(1) && told.contains(&name), "{told}");
    }
}

#[test]
fn secrets_of_a_plain_capture_are_named_beside_it() {
    if !may_make_namespaces() {
        eprintln!("skipped: capturing on loopback needs root");
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name).to_str().expect("a path").to_owned();
    let port = capture_tls(folder.path(), "-tls1_3");
    let store = at("store");
    let account = done(["import", "--json", "--store", &store, "--keylog", &at("keys.txt"), &at("tls.pcap")]);
    let account: serde_json::Value = serde_json::from_slice(&account).expect("JSON");
    assert_eq!(account["secrets_bytes"], std::fs::metadata(at("keys.txt")).expect("a file").len());
    let wrong = run(["import", "--store", &store, "--keylog", &at("key.pem"), &at("tls.pcap")]);
    assert!(
        wrong.status.code() == Some(2) && text(&wrong.stderr).contains("line 1"),
        "{}",
        text(&wrong.stderr)
    );

    // Over HTTP: asked for, and for who may have all packets.
    let tokens = at("tokens.toml");
    let token = |name: &str, more: &[&str]| {
        let made = done(["token", "add", name, "--tokens", &tokens, "--scope", "extract"].iter().chain(more));
        text(&made).split_whitespace().find(|word| word.starts_with("nrw_")).expect("a token").to_owned()
    };
    let (whole, cut) = (token("whole", &[]), token("cut", &["--filter", "tcp"]));
    let service = Service::start(&["serve", "--store", &store, "--tokens", &tokens]);
    let answer = |token: &str, parameters: &str| {
        let authorization = format!("Bearer {token}");
        let target = format!("/api/v1/packets?{parameters}");
        let stream = service.send("GET", &target, &[("Authorization", &authorization)], "");
        let response = crate::support::service::Response::read(stream, false);
        assert_eq!(response.status, 200, "{parameters}");
        let file = folder.path().join("answer.pcapng");
        std::fs::write(&file, response.body).expect("written");
        (asked_for(&file, port), has_secrets(&file))
    };
    assert_eq!(answer(&whole, "format=pcapng&secrets=true"), (ASKED.to_owned(), true));
    assert_eq!(answer(&whole, "format=pcapng"), (String::new(), false));
    assert_eq!(answer(&whole, "secrets=true"), (String::new(), false));
    assert_eq!(answer(&cut, "format=pcapng&secrets=true"), (String::new(), false));
    // The command asks for them by itself, also several recorders.
    std::fs::write(at("whole"), &whole).expect("written");
    let url = format!("http://{}", service.address);
    let remote = ["extract", "-q", "--token-file", &at("whole"), "--url", &url];
    done(remote.iter().chain(&["-o", &at("remote.pcapng")]));
    assert_eq!(asked_for(Path::new(&at("remote.pcapng")), port), ASKED);
    done(remote.iter().chain(&["--url", &url, "-o", &at("both.pcapng")]));
    assert_eq!(asked_for(Path::new(&at("both.pcapng")), port), ASKED);
    done(remote.iter().chain(&["--no-secrets", "-o", &at("none.pcapng")]));
    assert!(!has_secrets(Path::new(&at("none.pcapng"))));
}

/// Secrets are of no use without their packets, and go with them; a hold keeps both.
#[test]
fn secrets_expire_with_the_packets_of_their_import() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name).to_str().expect("a path").to_owned();
    let store = at("store");
    let keys = format!("CLIENT_RANDOM {} {}\n", "0a".repeat(32), "0b".repeat(48));
    std::fs::write(at("keys.txt"), keys).expect("written");
    let capture = |name: &str, second: u32| {
        let mut packets: Vec<_> =
            (0..600).map(|number| crate::support::served::packet(number, 1400)).collect();
        packets.iter_mut().for_each(|packet| packet.seconds += second);
        std::fs::write(at(name), crate::support::packets::write_pcap(1, &packets)).expect("written");
    };
    let kept = || files_below(&folder.path().join("store/secrets")).len();
    let import = |name: &str, more: &[&str]| {
        let budget = ["import", "--store", &store, "--segment-bytes", "1MiB", "--budget", "12MiB", &at(name)];
        run(budget.iter().chain(more))
    };
    capture("a.pcap", 0);
    capture("b.pcap", 100_000);
    import("a.pcap", &["--keylog", &at("keys.txt")]);
    assert_eq!(kept(), 1);
    import("b.pcap", &["--keylog", &at("keys.txt")]);
    assert_eq!(kept(), 2);
    done(["hold", "add", "case", "--store", &store, "--from", "1700100000", "--note", "why"]);
    for round in 0..20 {
        capture("more.pcap", 1_000_000 + 1000 * round);
        import("more.pcap", &[]);
    }
    assert_eq!(kept(), 1, "those of the packets that are held");
    let count = |from: &str, to: &str| {
        text(&run(["extract", "--count", "--store", &store, "--from", from, "--to", to]).stdout)
            .trim()
            .to_owned()
    };
    assert_eq!(
        (count("1700000000", "1700050000"), count("1700100000", "1700150000")),
        ("0".into(), "600".into())
    );
    done(["hold", "release", "case", "--store", &store]);
    for round in 0..20 {
        capture("more.pcap", 2_000_000 + 1000 * round);
        import("more.pcap", &[]);
    }
    assert_eq!(kept(), 0);
    let _ = std::fs::remove_file(at("more.pcap"));
}
