//! `--geoip`: where in the world hosts are.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::geoip::{self, database};
use crate::support::packets::{Packet, tcp, write_pcap};
use crate::support::service::Service;
use crate::support::{import, run};

/// How long a change of the file may take to be seen.
const SEEN_WITHIN: Duration = Duration::from_secs(20);
const LONDON: [u8; 4] = [81, 2, 69, 142];
const TOKYO: [u8; 4] = [203, 0, 113, 7];
const UNKNOWN: [u8; 4] = [198, 51, 100, 1];
const PRIVATE: [u8; 4] = [10, 0, 0, 5];

/// A store in which a private host talks to three of the world.
pub fn store(folder: &Path) -> String {
    let packets: Vec<Packet> = [LONDON, TOKYO, UNKNOWN]
        .iter()
        .enumerate()
        .map(|(n, &server)| {
            tcp((1_795_339_000, n as u32), [(PRIVATE, 40_000), (server, 443)], (1, 1), 0x18, b"hello")
        })
        .collect();
    let (capture, store) = (folder.join("world.pcap"), folder.join("store"));
    std::fs::write(&capture, write_pcap(1, &packets)).expect("written");
    import(&store, &[&capture]);
    store.display().to_string()
}

/// Writes a database next to the file and moves it there, as updaters do.
pub fn write(file: &Path, networks: &[([u8; 4], u32, geoip::Value)]) {
    let new = file.with_extension("new");
    std::fs::write(&new, database("Test-City", networks)).expect("written");
    std::fs::rename(new, file).expect("moved");
}

/// London as the common databases have it, Tokyo as the flat ones do.
pub fn world() -> Vec<([u8; 4], u32, geoip::Value)> {
    use geoip::Value::{Map, Text};
    let flat = vec![
        ("city", Text("Tokyo")),
        ("country_code", Text("JP")),
        ("lat", Text("35.69")),
        ("lng", Text("139.69")),
    ];
    vec![
        ([81, 2, 69, 0], 24, geoip::Value::city("London", "United Kingdom", "GB", (51.5142, -0.0931))),
        ([203, 0, 113, 0], 28, Map(flat)),
    ]
}

fn places(service: &Service, parameters: &str) -> Value {
    let answer = service.get(&format!("/api/v1/summary?{parameters}"));
    assert_eq!(answer.status, 200);
    answer.json()["places"].take()
}

#[test]
fn hosts_have_the_places_that_the_database_gives_them() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = store(folder.path());
    let file = folder.path().join("city.mmdb");
    write(&file, &world());
    let path = file.display().to_string();
    let service = Service::start(&["serve", "--store", &store, "--geoip", &path]);
    let london = json!({
        "city": "London", "country": "United Kingdom", "country_code": "GB", "latitude": 51.5142, "longitude": -0.0931,
    });
    let tokyo = json!({
        "city": "Tokyo", "country": "JP", "country_code": "JP", "latitude": 35.69, "longitude": 139.69,
    });
    assert_eq!(places(&service, ""), json!({ "81.2.69.142": london, "203.0.113.7": tokyo }));
    // Only of what the answer names.
    assert_eq!(places(&service, "filter=host+81.2.69.142"), json!({ "81.2.69.142": london }));
    assert_eq!(places(&service, "filter=port+1"), json!({}));

    let countries = geoip::Value::Map(vec![("country", geoip::Value::Text("Japan"))]);
    write(&file, &[([203, 0, 113, 0], 24, countries)]);
    let begun = Instant::now();
    while places(&service, "") != json!({ "203.0.113.7": { "country": "Japan" } }) {
        assert!(begun.elapsed() < SEEN_WITHIN, "the old database is still in use");
        std::thread::sleep(Duration::from_millis(200));
    }

    std::fs::write(&file, "broken").expect("written");
    service.wait_for_line("the old one stays in use", SEEN_WITHIN).expect("a warning");
    assert_eq!(places(&service, ""), json!({ "203.0.113.7": { "country": "Japan" } }));
}

#[test]
fn without_a_database_nobody_has_a_place() {
    let folder = tempfile::tempdir().expect("a folder");
    let service = Service::of(&store(folder.path()));
    assert_eq!(places(&service, ""), json!({}));
}

#[test]
fn pairs_of_hosts_are_as_many_as_asked_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let service = Service::of(&store(folder.path()));
    let count = |parameters: &str, name: &str| {
        let answer = service.get(&format!("/api/v1/summary?{parameters}")).json();
        answer.pointer(name).and_then(Value::as_array).map(Vec::len)
    };
    assert_eq!((count("top=1", "/edges"), count("top=1", "/top/hosts")), (Some(1), Some(1)));
    assert_eq!((count("top=1&edges=2", "/edges"), count("top=1&edges=2", "/top/hosts")), (Some(2), Some(1)));
    assert_eq!(service.get("/api/v1/summary?edges=0").status, 400);
}

#[test]
fn a_wrong_database_is_named_with_a_remedy() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = store(folder.path());
    let asn = geoip::Value::Map(vec![("autonomous_system_number", geoip::Value::U32(64_496))]);
    let files: [(&str, Option<Vec<u8>>, &str); 4] = [
        ("missing.mmdb", None, "No such file"),
        ("text.mmdb", Some(b"not a database".to_vec()), "MaxMind"),
        ("cut.mmdb", Some(database("Test-City", &world())[..40].to_vec()), "MaxMind"),
        (
            "asn.mmdb",
            Some(database("Test-ASN", &[([81, 2, 69, 0], 24, asn)])),
            "\"Test-ASN\" database, which has no locations",
        ),
    ];
    for (name, bytes, reason) in files {
        let file = folder.path().join(name);
        if let Some(bytes) = bytes {
            std::fs::write(&file, bytes).expect("written");
        }
        let path = file.display().to_string();
        let output = run(["serve", "--store", &store, "--listen", "127.0.0.1:0", "--geoip", &path]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{name}: {said}");
        assert!(said.contains(name) && said.contains(reason) && said.contains("GeoLite2 City"), "{said}");
    }
}
