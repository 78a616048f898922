//! Self-signed certificates: what `openssl req -x509` makes, and what curl and Python take with `--cacert`, `--ca-file` takes too.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::service::Service;
use crate::support::{run, served};

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

struct Scene {
    folder: tempfile::TempDir,
    store: String,
}

impl Scene {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let store = served::store(folder.path(), 50, 20);
        Self { folder, store }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// A certificate and its key, made by openssl.
    fn certificate(&self, name: &str, options: &[&str]) {
        let output = Command::new("openssl")
            .args([
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:P-256",
                "-nodes",
                "-days",
                "2",
            ])
            .args(["-keyout", &self.text(&format!("{name}.key")), "-out", &self.text(&format!("{name}.pem"))])
            .args(options)
            .output()
            .expect("openssl runs");
        assert!(output.status.success(), "{}", text(&output.stderr));
    }

    fn serve(&self, name: &str) -> Service {
        let (certificate, key) = (self.text(&format!("{name}.pem")), self.text(&format!("{name}.key")));
        let store = ["serve", "--no-audit", "--store", &self.store];
        Service::start(&[&store[..], &["--tls-cert", &certificate, "--tls-key", &key]].concat())
    }

    /// Exit status of a count over HTTPS, and what was said.
    fn count(&self, service: &Service, host: &str, file: &str) -> (Option<i32>, String) {
        let url = format!("https://{host}:{}", service.address.port());
        let output = run(["extract", "--count", "--url", &url, "--ca-file", &self.text(file)]);
        (output.status.code(), text(&output.stdout) + &text(&output.stderr))
    }
}

fn curl_takes(service: &Service, host: &str, file: &Path) -> bool {
    let url = format!("https://{host}:{}/healthz", service.address.port());
    let output =
        Command::new("curl").args(["-sS", "--cacert"]).arg(file).arg(url).output().expect("curl runs");
    output.status.success()
}

/// True if the Python client gets all packets.
fn python_takes(scene: &Scene, service: &Service, host: &str, file: &str) -> bool {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/python-client");
    let made = Command::new("python3").arg(script).arg(scene.path("wheel")).output().expect("python3 runs");
    assert!(made.status.success(), "{}", text(&made.stderr));
    let program = "import netrewind, sys; print(sum(1 for _ in netrewind.Client(sys.argv[1], ca_file=sys.argv[2]).packets()))";
    let output = Command::new("python3")
        .args(["-c", program, &format!("https://{host}:{}", service.address.port()), &scene.text(file)])
        .env("PYTHONPATH", text(&made.stdout).trim())
        .output()
        .expect("python3 runs");
    text(&output.stdout).trim() == "50"
}

#[test]
fn a_self_signed_certificate_is_taken_by_all_clients() {
    let scene = Scene::new();
    let san = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"];
    scene.certificate("san", &san);
    scene.certificate("leaf", &[&san[..], &["-addext", "basicConstraints=critical,CA:FALSE"]].concat());
    scene.certificate("other", &san);
    for name in ["san", "leaf"] {
        let (service, file) = (scene.serve(name), format!("{name}.pem"));
        for host in ["localhost", "127.0.0.1"] {
            let (code, said) = scene.count(&service, host, &file);
            assert!(code == Some(0) && said.starts_with("50\n"), "{name} {host}: {said}");
            assert!(curl_takes(&service, host, &scene.path(&file)), "{name} {host}");
            assert!(python_takes(&scene, &service, host, &file), "{name} {host}");
        }
        // Another certificate for the same name is not this one.
        let (code, said) = scene.count(&service, "localhost", "other.pem");
        assert!(code == Some(3) && said.contains("certificate"), "{said}");
        assert!(!curl_takes(&service, "localhost", &scene.path("other.pem")));
    }
}

#[test]
fn a_certificate_with_a_common_name_alone_is_taken_where_it_is_the_only_one() {
    let scene = Scene::new();
    scene.certificate("plain", &["-subj", "/CN=localhost"]);
    scene.certificate("other", &["-subj", "/CN=localhost"]);
    let service = scene.serve("plain");
    let (code, said) = scene.count(&service, "localhost", "plain.pem");
    assert!(code == Some(0) && said.starts_with("50\n"), "{said}");
    let both =
        ["plain.pem", "other.pem"].map(|name| std::fs::read(scene.path(name)).expect("a file")).concat();
    std::fs::write(scene.path("both.pem"), both).expect("written");
    let (code, said) = scene.count(&service, "localhost", "both.pem");
    assert!(code == Some(3) && said.contains("for another name"), "{said}");
    assert_eq!(scene.count(&service, "localhost", "other.pem").0, Some(3));
}

#[test]
fn a_pinned_certificate_has_a_name_and_dates_all_the_same() {
    let scene = Scene::new();
    scene.certificate("elsewhere", &["-subj", "/CN=x", "-addext", "subjectAltName=DNS:nr.example"]);
    let (code, said) = scene.count(&scene.serve("elsewhere"), "localhost", "elsewhere.pem");
    assert!(code == Some(3) && said.contains("for another name"), "{said}");

    // openssl makes none that is over.
    let key = rcgen::KeyPair::generate().expect("a key");
    let mut parameters = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
    parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    parameters.not_before = rcgen::date_time_ymd(2020, 1, 1);
    parameters.not_after = rcgen::date_time_ymd(2021, 1, 1);
    let certificate = parameters.self_signed(&key).expect("a certificate");
    std::fs::write(scene.path("over.pem"), certificate.pem()).expect("written");
    std::fs::write(scene.path("over.key"), key.serialize_pem()).expect("written");
    let (code, said) = scene.count(&scene.serve("over"), "localhost", "over.pem");
    assert!(code == Some(3) && said.contains("has expired"), "{said}");
}
