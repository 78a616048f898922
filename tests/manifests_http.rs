//! Manifests of downloads: whoever names one with their request fetches it beside the packets.

use std::path::Path;

use serde_json::Value;

use crate::evidence::{keys, openssl};
use crate::support::served::store;
use crate::support::service::{Response, Service};
use crate::support::{done, run};

const PACKETS: &str = "/api/v1/packets?filter=udp+port+1007&manifest=";
const MANIFESTS: &str = "/api/v1/manifests/";

fn is_missing(response: &Response) -> bool {
    response.status == 404 && response.json()["pending"].is_null()
}

/// Writes a download, its manifest and its signature beside each other, under the names that they come with.
fn saved(folder: &Path, responses: &[&Response]) -> String {
    let mut names = responses.iter().map(|response| {
        let disposition = response.header("content-disposition").expect("a name");
        let name = disposition.split('"').nth(1).expect("a name").to_owned();
        std::fs::write(folder.join(&name), &response.body).expect("written");
        name
    });
    let first = names.next().expect("a download");
    assert!(names.all(|name| name.starts_with(&first)), "the rest stands beside {first}");
    folder.join(first).display().to_string()
}

#[test]
fn a_download_has_its_manifest_beside_it_signed_by_the_services_key() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = store(folder.path(), 500, 100);
    let (private, public) = keys(folder.path(), "service");
    let (_, other) = keys(folder.path(), "other");
    let service = Service::start(&["serve", "--store", &store, "--sign", &private]);
    let packets = service.get(&format!("{PACKETS}one&format=pcapng"));
    let manifest = service.get(&format!("{MANIFESTS}one"));
    let signature = service.get(&format!("{MANIFESTS}one/signature"));
    assert_eq!((packets.status, manifest.status, signature.status), (200, 200, 200), "{}", manifest.json());
    assert_eq!(manifest.header("netrewind-signed"), Some("true"));
    let file = saved(folder.path(), &[&packets, &manifest, &signature]);
    let verified = run(["verify", &file, "--key", &public]);
    assert_eq!(verified.status.code(), Some(0), "{}", String::from_utf8_lossy(&verified.stderr));
    assert_eq!(run(["verify", &file, "--key", &other]).status.code(), Some(1));
    let text = format!("{file}.manifest.json");
    let asked = [
        "pkeyutl",
        "-verify",
        "-rawin",
        "-pubin",
        "-inkey",
        &public,
        "-in",
        &text,
        "-sigfile",
        &format!("{text}.sig"),
    ];
    assert!(openssl(&asked).status.success());
    let told = manifest.json();
    assert_eq!((&told["query"]["filter"], &told["answer"]["packets"]), (&"udp port 1007".into(), &5.into()));

    // Of a conversation too, and of packets that are held.
    let flow =
        service.get("/api/v1/flows?limit=1").json()["flows"][0]["id"].as_str().expect("an id").to_owned();
    let packets = service.get(&format!("/api/v1/flows/{flow}/packets?manifest=flow"));
    let manifest = service.get(&format!("{MANIFESTS}flow"));
    let file = saved(folder.path(), &[&packets, &manifest]);
    let signature = service.get(&format!("{MANIFESTS}flow/signature"));
    saved(folder.path(), &[&packets, &manifest, &signature]);
    done(["verify", &file, "--key", &public]);
    assert_eq!(manifest.json()["query"]["flow"], flow.as_str());
    let form = "application/x-www-form-urlencoded";
    let held = service.post("/api/v1/holds", form, "case=INC-1&filter=udp+port+1007");
    assert_eq!(held.status, 201, "{}", held.json());
    done(["verify", &format!("{store}/cases/INC-1.pcap"), "--key", &public]);
}

#[test]
fn a_manifest_is_of_a_whole_answer_and_for_whoever_asked() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = store(folder.path(), 500, 100);
    let service = Service::of(&store);
    assert!(is_missing(&service.get(&format!("{MANIFESTS}none"))));
    assert_eq!(service.get(&format!("{PACKETS}a/b")).status, 400);
    assert_eq!(service.get(&format!("{PACKETS}{}", "x".repeat(65))).status, 400);
    let refused = service.get("/api/v1/packets?from=2001-01-01&to=2001-01-02&manifest=refused");
    assert_eq!(refused.status, 404);
    assert!(is_missing(&service.get(&format!("{MANIFESTS}refused"))), "nothing was sent");
    assert_eq!(service.get(&format!("{PACKETS}one")).status, 200);
    let first = service.get(&format!("{MANIFESTS}one"));
    assert_eq!((first.status, first.header("netrewind-signed")), (200, Some("false")));
    assert!(is_missing(&service.get(&format!("{MANIFESTS}one/signature"))), "there is no key");
    assert_eq!(service.get(&format!("{PACKETS}one&max_packets=2")).status, 200);
    let second = service.get(&format!("{MANIFESTS}one")).json();
    assert_eq!(
        (&second["answer"]["packets"], &second["is_complete"]),
        (&2.into(), &false.into()),
        "{second}"
    );

    drop(service);

    let tokens = folder.path().join("tokens.toml").display().to_string();
    let token = |name: &str, filter: &[&str]| {
        let asked = ["token", "add", name, "--tokens", &tokens, "--scope", "extract"];
        let output = done(asked.iter().chain(filter));
        format!("Bearer {}", String::from_utf8(output).expect("a token").trim())
    };
    let (all, some) = (token("all", &[]), token("some", &["--filter", "udp port 1007 or udp port 1008"]));
    let service = Service::start(&["serve", "--store", &store, "--tokens", &tokens]);
    let get = |path: &str, token: &str| {
        Response::read(service.send("GET", path, &[("Authorization", token)], ""), false)
    };
    let packets = get("/api/v1/packets?manifest=mine", &some);
    let manifest = get(&format!("{MANIFESTS}mine"), &some);
    let file = saved(folder.path(), &[&packets, &manifest]);
    done(["verify", &file]);
    let told: Value = manifest.json();
    assert_eq!(told["query"]["restricted_by_token"], true);
    assert!(!told.to_string().contains("1008"), "the token's filter is not told: {told}");
    assert!(is_missing(&get(&format!("{MANIFESTS}mine"), &all)), "another's is none of theirs");
    assert_eq!(service.get(&format!("{MANIFESTS}mine")).status, 401);
}

#[test]
fn a_key_that_cannot_sign_is_told_before_serving() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = store(folder.path(), 5, 1);
    let (_, public) = keys(folder.path(), "one");
    for key in [public.as_str(), "/nonexistent/key.pem"] {
        let output = run(["serve", "--store", &store, "--listen", "127.0.0.1:0", "--sign", key]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(2) && said.contains("--sign") && said.contains(key), "{said}");
    }
}
