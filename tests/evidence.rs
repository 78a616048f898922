//! Evidence of answers: sha256sum and openssl find the same as `netrewind verify`, and every change is named.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

use crate::support::served::store;
use crate::support::service::Service;
use crate::support::{done, files_below, run};

pub fn openssl(arguments: &[&str]) -> Output {
    Command::new("openssl").args(arguments).output().expect("openssl runs: scripts/install test")
}

/// A private and a public key in a folder, as openssl makes them.
pub fn keys(folder: &Path, name: &str) -> (String, String) {
    let private = folder.join(format!("{name}.pem")).display().to_string();
    let public = folder.join(format!("{name}-public.pem")).display().to_string();
    assert!(openssl(&["genpkey", "-algorithm", "ed25519", "-out", &private]).status.success());
    assert!(openssl(&["pkey", "-in", &private, "-pubout", "-out", &public]).status.success());
    (private, public)
}

fn said(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text).into_owned()).concat()
}

fn manifest_of(file: &Path) -> PathBuf {
    PathBuf::from(format!("{}.manifest.json", file.display()))
}

fn sha256(file: &Path) -> String {
    let output = Command::new("sha256sum").arg(file).output().expect("sha256sum runs");
    String::from_utf8_lossy(&output.stdout).split_whitespace().next().expect("a hash").to_owned()
}

fn read(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).expect("a file")).expect("JSON")
}

/// Extracts with a manifest; returns the file, and the account that `--json` gave.
fn extract(folder: &Path, store: &str, name: &str, options: &[&str]) -> (PathBuf, Value) {
    let file = folder.join(name);
    let output = file.display().to_string();
    let arguments = ["extract", "--store", store, "-o", &output, "--manifest", "--json"];
    let output = run(arguments.iter().chain(options));
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    (file, serde_json::from_slice(&output.stderr).expect("an account"))
}

#[test]
fn a_manifest_says_what_was_asked_and_what_was_written() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = store(folder.path(), 500, 100);
    for (name, options) in [
        ("a.pcap", &["--filter", "udp port 1007", "--from", "2023-11-14T22:13:20Z", "--to", "+2s"][..]),
        ("a.pcapng", &[][..]),
        ("none.pcap", &["--filter", "port 9"]),
    ] {
        let (file, account) = extract(folder.path(), &store, name, options);
        let manifest = read(&manifest_of(&file));
        assert_eq!(manifest["sha256"].as_str(), Some(sha256(&file).as_str()), "{name}");
        assert_eq!(manifest["bytes"].as_u64(), Some(std::fs::metadata(&file).expect("a file").len()));
        assert_eq!(manifest["file"], name);
        assert_eq!(manifest["answer"]["packets"], account["packets"], "{name}");
        assert_eq!(manifest["answer"]["completeness"], account["completeness"], "{name}");
        assert_eq!(manifest["is_complete"], true);
        assert!(manifest["completeness"][0].as_str().is_some_and(|line| line.starts_with("complete")));
        assert!(manifest["made_by"].as_str().is_some_and(|by| by.starts_with("netrewind ")));
        let identity = std::fs::read_to_string(Path::new(&store).join("store.toml")).expect("text");
        let id = manifest["source"]["store"]["id"].as_str().expect("an id");
        assert!(identity.contains(id));
        let filter = options.get(1).copied().unwrap_or_default();
        assert_eq!(manifest["query"]["filter"], filter);
        let checked = run(["verify", &file.display().to_string()]);
        assert_eq!(checked.status.code(), Some(0), "{}", said(&checked));
    }
    let manifest = read(&manifest_of(&folder.path().join("a.pcap")));
    assert_eq!(manifest["query"]["from"], "2023-11-14T22:13:20.000000000Z");
}

#[test]
pub fn openssl_checks_the_signature_and_every_change_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = store(folder.path(), 500, 100);
    let (private, public) = keys(folder.path(), "one");
    let (_, other) = keys(folder.path(), "other");
    let (file, _) = extract(folder.path(), &store, "a.pcap", &["--sign", &private]);
    let (path, manifest) = (file.display().to_string(), manifest_of(&file));
    let signature = PathBuf::from(format!("{}.sig", manifest.display()));
    let by_openssl = |key: &str| {
        let (text, signature) = (manifest.display().to_string(), signature.display().to_string());
        let asked =
            ["pkeyutl", "-verify", "-rawin", "-pubin", "-inkey", key, "-in", &text, "-sigfile", &signature];
        openssl(&asked).status.success()
    };
    assert!(by_openssl(&public) && !by_openssl(&other));
    let verify = |options: &[&str]| {
        let output = run(["verify", &path].iter().chain(options));
        (output.status.code(), said(&output))
    };
    assert_eq!(verify(&["--key", &public]).0, Some(0), "{}", verify(&["--key", &public]).1);
    assert_eq!(verify(&[]).0, Some(0), "{}", verify(&[]).1);
    let is_named = |options: &[&str], words: &[&str]| {
        let (code, text) = verify(options);
        assert_eq!(code, Some(1), "{text}");
        assert!(words.iter().all(|words| text.contains(words)), "{words:?}: {text}");
    };
    is_named(&["--key", &other], &["signed with another key"]);
    // The manifest names its key by what openssl and sha256sum say of it.
    let der = folder.path().join("key.der");
    let written = ["pkey", "-pubin", "-in", &public, "-outform", "DER", "-out", &der.display().to_string()];
    assert!(openssl(&written).status.success());
    assert_eq!(read(&manifest)["signed_by"]["fingerprint"].as_str(), Some(sha256(&der).as_str()));

    let (bytes, text) = (std::fs::read(&file).expect("a file"), std::fs::read(&manifest).expect("a file"));
    let mut changed = bytes.clone();
    changed[100] ^= 1;
    std::fs::write(&file, &changed).expect("written");
    is_named(&["--key", &public], &["a.pcap: it has changed since it was written"]);
    std::fs::write(&file, &bytes[..bytes.len() - 1]).expect("written");
    is_named(&[], &["a.pcap: it has", "bytes, and had"]);
    std::fs::write(&file, &bytes).expect("written");

    let asked = String::from_utf8(text.clone()).expect("text");
    std::fs::write(&manifest, asked.replacen("\"packets\": 500", "\"packets\": 501", 1)).expect("written");
    is_named(&["--key", &public], &["a.pcap.manifest.json: its checksum is wrong", "does not fit it"]);
    assert!(!by_openssl(&public));
    // Whoever can write a checksum cannot write a signature.
    let (forged, _) = extract(folder.path(), &store, "forged.pcap", &[]);
    std::fs::copy(manifest_of(&forged), &manifest).expect("copied");
    is_named(&["--key", &public], &["does not fit it"]);
    std::fs::write(&manifest, &text).expect("written");

    let of_signature = std::fs::read(&signature).expect("a signature");
    assert_eq!(of_signature.len(), 64);
    std::fs::write(&signature, &of_signature[..63]).expect("written");
    is_named(&["--key", &public], &["does not fit it"]);
    std::fs::remove_file(&signature).expect("removed");
    is_named(&[], &["a.pcap.manifest.json.sig: the signature is missing"]);
    is_named(&["--key", &public], &["the signature is missing"]);
    let output = run(["verify", &forged.display().to_string(), "--key", &public]);
    assert!(
        output.status.code() == Some(1)
            && said(&output).contains("it is not signed, although a key was given")
    );
}

#[test]
fn what_cannot_be_vouched_for_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = store(folder.path(), 10, 100);
    let (private, public) = keys(folder.path(), "one");
    let rsa = folder.path().join("rsa.pem").display().to_string();
    assert!(openssl(&["genpkey", "-algorithm", "RSA", "-out", &rsa]).status.success());
    let output = folder.path().join("x.pcap").display().to_string();
    let extract = ["extract", "--store", &store];
    for (options, code, words) in [
        (&["-o", "-", "--manifest"][..], 2, "standard output has no name"),
        (&["-o", "/dev/null", "--manifest"], 3, "this is a pipe or a device"),
        (&["-o", &output, "--sign", &private], 2, "--manifest"),
        (&["-o", &output, "--manifest", "--sign", &public], 2, "it holds no private key"),
        (&["-o", &output, "--manifest", "--sign", &rsa], 2, "not one of Ed25519"),
        (&["--count", "--manifest"], 2, "--manifest"),
    ] {
        let refused = run(extract.iter().chain(options));
        assert_eq!(refused.status.code(), Some(code), "{options:?}: {}", said(&refused));
        assert!(said(&refused).contains(words), "{options:?}: {}", said(&refused));
    }
    assert!(!Path::new(&output).exists(), "nothing is left behind");
    done(extract.iter().chain(&["-o", &output]));
    for (options, words) in [
        (&[&output[..]][..], "there is no manifest"),
        (&[&output, "--key", &private], "it holds no public key"),
        (&["--key", &public], "FILE"),
        (&[&output, "--store", &store], "--store"),
    ] {
        let refused = run(["verify"].iter().chain(options));
        assert_eq!(refused.status.code(), Some(2), "{options:?}: {}", said(&refused));
        assert!(said(&refused).contains(words), "{options:?}: {}", said(&refused));
    }
}

#[test]
fn an_earlier_manifest_does_not_stay_beside_another_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = store(folder.path(), 100, 100);
    let (private, public) = keys(folder.path(), "one");
    let (file, _) = extract(folder.path(), &store, "a.pcap", &["--sign", &private]);
    let (_, _) = extract(folder.path(), &store, "a.pcap", &["--filter", "port 1001"]);
    let checked = run(["verify", &file.display().to_string(), "--key", &public]);
    assert!(checked.status.code() == Some(1) && said(&checked).contains("not signed"), "{}", said(&checked));
    assert_eq!(run(["verify", &file.display().to_string()]).status.code(), Some(0));
    // What fails leaves all three as they were.
    let before = std::fs::read(manifest_of(&file)).expect("a manifest");
    let failed = run([
        "extract",
        "--store",
        &store,
        "--filter",
        "nonsense(",
        "-o",
        &file.display().to_string(),
        "--manifest",
    ]);
    assert_eq!(failed.status.code(), Some(2));
    assert_eq!(std::fs::read(manifest_of(&file)).expect("a manifest"), before);
    assert_eq!(
        std::fs::read_dir(folder.path())
            .expect("a folder")
            .filter(|entry| {
                entry.as_ref().is_ok_and(|entry| entry.file_name().to_string_lossy().contains("partial"))
            })
            .count(),
        0
    );
}

#[test]
fn a_manifest_names_the_recorders_that_were_asked_and_each_event_has_its_own() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = store(folder.path(), 100, 100);
    let service = Service::of(&store);
    let url = format!("http://{}", service.address);
    let file = folder.path().join("remote.pcap");
    done(["extract", "--url", &url, "-o", &file.display().to_string(), "--manifest"]);
    let manifest = read(&manifest_of(&file));
    assert_eq!(manifest["source"]["recorders"], serde_json::json!([url]));
    assert_eq!(manifest["answer"]["packets"], 100);
    assert_eq!(run(["verify", &file.display().to_string()]).status.code(), Some(0));

    let log = folder.path().join("eve.json");
    let event = |second: u32, host: u32| {
        format!(
            "{{\"timestamp\":\"2023-11-14T22:13:{second}.000000+0000\",\"src_ip\":\"10.0.0.{host}\",\"src_port\":10{host:02},\"dest_ip\":\"10.9.9.9\",\"dest_port\":53,\"proto\":\"UDP\"}}\n"
        )
    };
    std::fs::write(&log, event(20, 7) + &event(20, 9)).expect("written");
    let each = folder.path().join("each").display().to_string();
    let (private, public) = keys(folder.path(), "one");
    done([
        "extract",
        "--store",
        &store,
        "--eve",
        &log.display().to_string(),
        "--each",
        &each,
        "--manifest",
        "--sign",
        &private,
    ]);
    let files = files_below(Path::new(&each));
    let captures: Vec<_> =
        files.iter().filter(|file| file.extension().is_some_and(|e| e == "pcap")).collect();
    assert_eq!((captures.len(), files.len()), (2, 6), "{files:?}");
    for capture in captures {
        let checked = run(["verify", &capture.display().to_string(), "--key", &public]);
        assert_eq!(checked.status.code(), Some(0), "{}", said(&checked));
    }
}
