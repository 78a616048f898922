//! One service for all recorders of an archive: each answers below a path of its own as if it were served alone, and all of them
//! together at the root.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::access::certificate;
use crate::hours::Scene;
use crate::support::archived::Archive;
use crate::support::packets::{Packet, read_pcap, write_pcap};
use crate::support::service::{Response, Service};
use crate::support::{done, import, run};
use crate::view::{drive, ui};

/// Time within which a change of the archive is seen by who asks for the list of recorders.
const SEEN_WITHIN: Duration = Duration::from_secs(40);

/// An archive of two recorders.
struct Office {
    archive: Archive,
    cache: tempfile::TempDir,
    /// Ids of the two, and the packets of both in order of time.
    ids: [String; 2],
    packets: Vec<Packet>,
    _folder: tempfile::TempDir,
}

fn id_of(store: &Path) -> String {
    let told = done(["status", "--json", "--store", &store.display().to_string()]);
    let told: Value = serde_json::from_slice(&told).expect("JSON");
    told["id"].as_str().expect("an id").to_owned()
}

impl Office {
    fn new() -> Self {
        let scene = Scene::new();
        let archive = Archive::of(Path::new(&scene.store()));
        let packets = read_pcap(&done(["extract", "--store", &scene.store(), "-o", "-"]));
        let some: Vec<_> = packets.iter().step_by(3).cloned().collect();
        let folder = tempfile::tempdir().expect("a folder");
        let store = store_of(folder.path(), "other", &some);
        archive.add(&store);
        let mut both: Vec<Packet> = packets.into_iter().chain(some).collect();
        both.sort_by_key(|packet| (packet.seconds, packet.nanoseconds));
        let ids = [archive.id.clone(), id_of(&store)];
        Self { archive, cache: tempfile::tempdir().expect("a cache"), ids, packets: both, _folder: folder }
    }

    fn serve(&self, more: &[&str]) -> Service {
        let place = self.archive.arguments(self.cache.path());
        let arguments = ["serve"].into_iter().chain(place.iter().map(String::as_str));
        Service::start(&arguments.chain(more.iter().copied()).collect::<Vec<_>>())
    }
}

/// A store of these packets.
fn store_of(folder: &Path, name: &str, packets: &[Packet]) -> std::path::PathBuf {
    let (capture, store) = (folder.join(format!("{name}.pcap")), folder.join(name));
    fs::write(&capture, write_pcap(1, packets)).expect("written");
    import(&store, &[&capture]);
    done(["index", "--store", &store.display().to_string()]);
    store
}

/// An answer without what differs from one time to the next.
fn bare(response: &Response) -> (u16, Vec<u8>) {
    let mut told: Value = serde_json::from_slice(&response.body).unwrap_or_default();
    for field in ["work", "took"] {
        told.as_object_mut().map(|fields| fields.remove(field));
    }
    let body = if told.is_null() { response.body.clone() } else { told.to_string().into_bytes() };
    (response.status, body)
}

fn text(response: &Response) -> String {
    String::from_utf8_lossy(&response.body).into_owned()
}

#[test]
fn each_recorder_answers_below_its_path_as_if_it_were_served_alone() {
    let office = Office::new();
    let service = office.serve(&["--no-audit"]);
    let list = service.get("/api/v1/recorders").json();
    let listed = list["recorders"].as_array().expect("a list");
    let mut ids: Vec<&str> = office.ids.iter().map(String::as_str).collect();
    ids.sort_unstable();
    assert_eq!(listed.iter().map(|it| it["id"].as_str().expect("an id")).collect::<Vec<_>>(), ids, "{list}");
    for recorder in listed {
        assert!(recorder["status"]["rewind_to"].is_string() && recorder["trouble"].is_null(), "{list}");
    }
    let questions = [
        "/api/v1/packets?filter=udp&format=pcap",
        "/api/v1/packets?filter=tcp&format=pcapng",
        "/api/v1/packets/count?filter=ip",
        "/api/v1/packets/estimate?filter=ip",
        "/api/v1/packets/list?limit=20&bytes=true",
        "/api/v1/flows?filter=tcp&limit=100",
        "/api/v1/flows?limit=5&format=csv",
        "/api/v1/summary?filter=ip",
        "/api/v1/values?limit=3",
        "/api/v1/series",
        "/api/v1/status",
        "/api/v1/segments",
        "/api/v1/holds",
        "/api/v1/packets?filter=nonsense+here",
        "/api/v1/nothing",
    ];
    for id in &office.ids {
        let alone = office.serve(&["--no-audit", "--recorder", id]);
        for question in questions {
            let below = format!("/recorders/{id}{question}");
            let (one, other) = (alone.get(question), service.get(&below));
            assert_eq!(bare(&one), bare(&other), "{below}: {}\n{}", text(&one), text(&other));
        }
        let flow = alone.get("/api/v1/flows?limit=1").json()["flows"][0]["id"].clone();
        let of_flow = format!("/api/v1/flows/{}/packets", flow.as_str().expect("an id"));
        assert_eq!(bare(&alone.get(&of_flow)), bare(&service.get(&format!("/recorders/{id}{of_flow}"))));
        // The command asks it by that path.
        let url = format!("http://{}/recorders/{id}", service.address);
        let counted = done(["extract", "--count", "--url", &url]);
        let told = alone.get("/api/v1/packets/count").json()["packets"].clone();
        assert_eq!(String::from_utf8_lossy(&counted).trim(), told.to_string());
        let moved = service.get(&format!("/recorders/{id}"));
        assert_eq!((moved.status, moved.header("location")), (308, Some(&*format!("/recorders/{id}/"))));
        assert_eq!(service.get(&format!("/recorders/{id}/healthz")).status, 200);
        let figures = text(&service.get(&format!("/recorders/{id}/metrics")));
        assert!(figures.contains("netrewind_store_segments "), "{figures}");
    }
    for unknown in
        ["/recorders/x", "/recorders/x/", "/recorders/x/api/v1/status", "/recorders//api/v1/status"]
    {
        assert_eq!(service.get(unknown).status, 404, "{unknown}");
    }
    let figures = text(&service.get("/metrics"));
    assert!(
        figures.contains("netrewind_recorders 2\n") && figures.contains("netrewind_recorders_unreadable 0\n")
    );
    let page = service.get("/");
    assert!(page.status == 404 || text(&page).contains("netrewind-recorders"), "{}", text(&page));
}

#[test]
fn at_the_root_all_recorders_give_one_answer() {
    let office = Office::new();
    let service = office.serve(&["--no-audit"]);
    let alone = |id: &str, question: &str| service.get(&format!("/recorders/{id}{question}")).json();
    let whole = service.get("/api/v1/packets?format=pcap");
    assert!(whole.status == 200 && whole.is_whole, "{whole:?}");
    let found = read_pcap(&whole.body);
    assert_eq!(found.len(), office.packets.len());
    let times = |packets: &[Packet]| -> Vec<(u32, u32)> {
        packets.iter().map(|packet| (packet.seconds, packet.nanoseconds)).collect()
    };
    assert_eq!(times(&found), times(&office.packets), "in order of time");
    let told = whole.header("netrewind-completeness").expect("a header");
    assert!(told.contains("\"complete\":true") && told.contains("\"recorders\":2"), "{told}");
    for question in ["/api/v1/packets/count?filter=udp", "/api/v1/packets/count?query=bytes:%3E100"] {
        let both = service.get(question).json();
        let each: u64 =
            office.ids.iter().map(|id| alone(id, question)["packets"].as_u64().expect("a number")).sum();
        assert_eq!(both["packets"].as_u64(), Some(each), "{both}");
        let named = both["completeness"]["recorders"].as_array().expect("recorders");
        assert_eq!(named.len(), 2, "{both}");
    }
    let estimate = service.get("/api/v1/packets/estimate?filter=udp").json();
    assert!(estimate["packets_max"].as_u64() > Some(0), "{estimate}");
    assert_eq!(estimate["completeness"]["recorders"].as_array().map(Vec::len), Some(2), "{estimate}");
    // Conversations, each with its recorder.
    let flows = service.get("/api/v1/flows?limit=10000").json();
    let rows = flows["flows"].as_array().expect("rows");
    for id in &office.ids {
        let own = alone(id, "/api/v1/flows?limit=10000");
        let of_one = rows.iter().filter(|row| row["recorder"] == id.as_str()).count();
        assert_eq!(Some(of_one), own["flows"].as_array().map(Vec::len));
    }
    assert_eq!(flows["has_more"], false, "{flows}");
    assert_eq!(service.get("/api/v1/flows?limit=2").json()["has_more"], true);
    let csv = text(&service.get("/api/v1/flows?limit=3&format=csv"));
    let mut lines = csv.lines();
    assert!(lines.next().is_some_and(|head| head.ends_with(",recorder")), "{csv}");
    assert!(lines.all(|line| office.ids.iter().any(|id| line.ends_with(id.as_str()))), "{csv}");
    let search = "/api/v1/flows?limit=10000&query=protocol:udp";
    let each: usize =
        office.ids.iter().map(|id| alone(id, search)["flows"].as_array().map_or(0, Vec::len)).sum();
    assert_eq!(service.get(search).json()["flows"].as_array().map(Vec::len), Some(each));
    let (one, all) = (alone(&office.ids[0], "/api/v1/summary"), service.get("/api/v1/summary").json());
    let other = alone(&office.ids[1], "/api/v1/summary");
    let bytes = |summary: &Value| summary["totals"]["bytes"].as_u64().expect("bytes");
    assert_eq!(bytes(&all), bytes(&one) + bytes(&other));
    // What is wrong is told as by one recorder.
    for wrong in [
        "/api/v1/packets?filter=nonsense+here",
        "/api/v1/flows?query=nonsense:1",
        "/api/v1/flows?sort=up",
        "/api/v1/packets?interface=nowhere",
        "/api/v1/packets?from=x",
    ] {
        let (root, one) = (service.get(wrong), service.get(&format!("/recorders/{}{wrong}", office.ids[0])));
        assert_eq!((root.status, &root.json()["type"]), (one.status, &one.json()["type"]), "{wrong}");
    }
    // What only one can answer.
    let flow = rows[0]["id"].as_str().expect("an id");
    for sole in [
        "/api/v1/status".to_owned(),
        "/api/v1/segments".to_owned(),
        "/api/v1/series".to_owned(),
        "/api/v1/packets/list".to_owned(),
        "/api/v1/packets?follow=true".to_owned(),
        "/api/v1/packets?manifest=abcdefghijklmnop".to_owned(),
        format!("/api/v1/flows/{flow}"),
        format!("/api/v1/flows/{flow}/packets"),
    ] {
        let refused = service.get(&sole);
        let problem = text(&refused);
        assert!(
            refused.status == 404 && problem.contains("/problems/several-recorders"),
            "{sole}: {problem}"
        );
    }
    let later = service.get("/api/v1/packets?from=2030-01-01T00:00:00Z&to=2030-01-02T00:00:00Z");
    let told = later.header("netrewind-completeness").expect("a header");
    assert!(told.contains("\"complete\":false"), "{told}");
    assert!(office.ids.iter().all(|id| told.contains(id)), "nobody keeps anything of it: {told}");
    let none = service.get("/api/v1/packets?filter=host+203.0.113.77&format=pcapng");
    assert!(none.status == 200 && none.is_whole, "{none:?}");
    // The command sees them as one.
    let url = format!("http://{}", service.address);
    let counted = done(["extract", "--count", "--url", &url]);
    assert_eq!(String::from_utf8_lossy(&counted).trim(), found.len().to_string());
}

/// The entry of a recorder in the list, once it is as it should be.
fn wait_for(service: &Service, what: &str, is_there: impl Fn(&Value) -> bool) -> Value {
    let until = Instant::now() + SEEN_WITHIN;
    loop {
        let list = service.get("/api/v1/recorders").json();
        if is_there(&list) {
            return list;
        }
        assert!(Instant::now() < until, "{what}: {list}");
        std::thread::sleep(Duration::from_millis(500));
    }
}

#[test]
fn a_recorder_that_cannot_be_read_is_named_and_the_others_answer() {
    let office = Office::new();
    let [sound, damaged] = &office.ids;
    let identity = office.archive.folder.path().join(damaged).join("store.toml");
    let before = fs::read(&identity).expect("read");
    fs::write(&identity, "no store").expect("written");
    let service = office.serve(&["--no-audit"]);
    let entry = |list: &Value, id: &str| {
        let all = list["recorders"].as_array().expect("a list").clone();
        all.into_iter().find(|recorder| recorder["id"] == id)
    };
    let list = service.get("/api/v1/recorders").json();
    let damage = |list: &Value, id: &str| entry(list, id).expect("named")["status"]["damaged"].to_string();
    assert!(damage(&list, damaged).contains("store.toml"), "{list}");
    assert_eq!(damage(&list, sound), "[]", "{list}");
    let count = service.get("/api/v1/packets/count").json();
    let lacking = count["completeness"]["recorders"].to_string();
    assert!(lacking.contains(damaged.as_str()) && lacking.contains("\"is_complete\":false"), "{lacking}");
    let packets = service.get("/api/v1/packets?format=pcapng");
    let told = packets.header("netrewind-completeness").unwrap_or_default().to_owned();
    assert!(packets.status == 200 && told.contains(damaged.as_str()), "{told}");
    let place = office.archive.arguments(office.cache.path());
    let commanded = run(["extract", "--count"].into_iter().chain(place.iter().map(String::as_str)));
    let said = String::from_utf8_lossy(&commanded.stderr).into_owned();
    assert!(commanded.status.code() == Some(1) && said.contains(damaged.as_str()), "{said}");
    // It is tried again, and others come and go.
    fs::write(&identity, before).expect("written");
    wait_for(&service, "it is whole again", |list| damage(list, damaged) == "[]");
    assert_eq!(service.get(&format!("/recorders/{damaged}/api/v1/status")).status, 200);
    assert_eq!(service.get("/api/v1/packets/count").json()["packets"], office.packets.len());
    let folder = tempfile::tempdir().expect("a folder");
    let third = store_of(folder.path(), "third", &office.packets[..5]);
    office.archive.add(&third);
    let new = id_of(&third);
    wait_for(&service, "another came", |list| entry(list, &new).is_some());
    assert_eq!(service.get(&format!("/recorders/{new}/api/v1/packets/count")).json()["packets"], 5);
    assert_eq!(service.get("/api/v1/packets/count").json()["packets"], office.packets.len() + 5);
    fs::remove_dir_all(office.archive.folder.path().join(&new)).expect("removed");
    wait_for(&service, "it is gone", |list| entry(list, &new).is_none());
    assert_eq!(service.get(&format!("/recorders/{new}/api/v1/status")).status, 404);
    assert_eq!(service.get("/api/v1/packets/count").json()["packets"], office.packets.len());
}

#[test]
fn all_recorders_share_tokens_filters_and_the_audit() {
    let office = Office::new();
    let folder = tempfile::tempdir().expect("a folder");
    let (tokens, audit) = (folder.path().join("tokens.toml"), folder.path().join("audit.jsonl"));
    let token = |name: &str, arguments: &[&str]| {
        let file = tokens.display().to_string();
        let made = done([&["token", "add", name, "--tokens", &file][..], arguments].concat());
        String::from_utf8(made).expect("a token").trim().to_owned()
    };
    let all = token("all", &["--scope", "extract,flows,status"]);
    let some = token("some", &["--scope", "extract,flows", "--filter", "udp"]);
    let (tokens, audit_file) = (tokens.display().to_string(), audit.display().to_string());
    let service = office.serve(&["--tokens", &tokens, "--audit", &audit_file]);
    let get = |path: &str, token: &str| {
        let header = format!("Bearer {token}");
        Response::read(service.send("GET", path, &[("Authorization", &header)], ""), false)
    };
    let id = &office.ids[1];
    let below = |path: &str| format!("/recorders/{id}{path}");
    for path in [
        "/api/v1/recorders".to_owned(),
        below("/api/v1/status"),
        "/recorders/x/".to_owned(),
        "/recorders/x/metrics".to_owned(),
    ] {
        assert_eq!(service.get(&path).status, 401, "{path}");
    }
    assert_eq!(get("/api/v1/recorders", &all).status, 200);
    assert_eq!(get("/api/v1/recorders", &some).status, 403);
    assert_eq!(get(&below("/api/v1/status"), &some).status, 403);
    assert_eq!(get(&below("/api/v1/holds"), &all).status, 403);
    let count = |path: &str, token: &str| get(path, token).json()["packets"].as_u64().expect("a number");
    for place in [String::new(), format!("/recorders/{id}")] {
        let counted = format!("{place}/api/v1/packets/count");
        let udp = count(&format!("{counted}?filter=udp"), &all);
        assert!(udp > 0 && udp < count(&counted, &all));
        assert_eq!(count(&counted, &some), udp, "{counted}");
        let given = read_pcap(&get(&format!("{place}/api/v1/packets?format=pcap"), &some).body);
        assert_eq!(given.len() as u64, udp, "{place}");
        let listed = get(&format!("{place}/api/v1/flows?limit=10000"), &some).json();
        let protocols = listed["flows"].as_array().expect("rows").iter();
        assert_eq!(protocols.filter(|row| row["protocol"] != "udp").count(), 0, "{listed}");
    }
    drop(service);
    let lines = fs::read_to_string(&audit).expect("an audit");
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let given = |recorder: Option<&str>| {
        lines
            .iter()
            .filter(|line| line["event"] == "extraction" && line["who"] == "some")
            .any(|line| line["recorder"].as_str() == recorder)
    };
    assert!(given(None) && given(Some(id)), "{lines:?}");
    let refused =
        lines.iter().any(|line| line["event"] == "refused" && line["path"] == below("/api/v1/holds"));
    assert!(refused, "{lines:?}");
}

#[test]
fn a_recorder_is_chosen_on_the_page() {
    let Some(ui) = ui() else { return };
    let office = Office::new();
    let [sound, damaged] = &office.ids;
    fs::write(office.archive.folder.path().join(damaged).join("store.toml"), "no store").expect("written");
    let folder = tempfile::tempdir().expect("a folder");
    let tokens = folder.path().join("tokens.toml").display().to_string();
    let token = done(["token", "add", "all", "--tokens", &tokens, "--scope", "admin"]);
    let token = String::from_utf8(token).expect("a token").trim().to_owned();
    let (certificate, key) = certificate(folder.path());
    let service =
        office.serve(&["--no-audit", "--tokens", &tokens, "--tls-cert", &certificate, "--tls-key", &key]);
    let url = format!("https://localhost:{}/", service.address.port());
    let seen = drive(&ui, "recorders", &url, folder.path(), &[sound, &token]);
    let rows = seen["rows"].as_array().expect("rows").clone();
    let row = |id: &str| rows.iter().filter_map(Value::as_str).find(|row| row.contains(id)).expect("a row");
    assert!(row(sound).contains("2026-"), "{seen}");
    assert!(row(damaged).contains("store.toml"), "{seen}");
}
