//! Holds over HTTP: who may make them, what comes of it, and what the audit keeps of each.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::served::store;
use crate::support::service::{Response, Service};
use crate::support::{done, may_make_namespaces, run};

const HOLDS: &str = "/api/v1/holds";
const FORM: &str = "application/x-www-form-urlencoded";
const JSON: &str = "application/json";

fn delete(service: &Service, case: &str, headers: &[(&str, &str)]) -> Response {
    Response::read(service.send("DELETE", &format!("{HOLDS}/{case}"), headers, ""), false)
}

fn problem(response: &Response) -> (u16, String) {
    let kind = response.json()["type"].as_str().unwrap_or_default().to_owned();
    (response.status, kind.trim_start_matches("/problems/").to_owned())
}

/// The lines of the audit about holds, once there are so many.
fn audited(store: &str, count: usize) -> Vec<Value> {
    let until = Instant::now() + Duration::from_secs(10);
    loop {
        let text = std::fs::read_to_string(Path::new(store).join("audit.jsonl")).unwrap_or_default();
        let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let found: Vec<Value> = lines.filter(|line| line["event"] == "hold").collect();
        if found.len() >= count {
            return found;
        }
        assert!(Instant::now() < until, "{} of {count}: {text}", found.len());
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn holds_are_made_listed_and_released_and_each_is_in_the_audit() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = store(folder.path(), 500, 100);
    let service = Service::of(&store);
    assert_eq!(service.get(HOLDS).json()["holds"], serde_json::json!([]));

    let made = service.post(HOLDS, FORM, "case=INC-1&note=a+leak&from=2023-11-14T22:13:20Z&to=%2B1m");
    assert_eq!(made.status, 201, "{}", made.json());
    assert_eq!((made.json()["segments"].as_u64(), made.json()["case"].as_str()), (Some(1), Some("INC-1")));
    let filter = "udp port 1007";
    let body = format!("{{\"case\": \"INC-2\", \"filter\": \"{filter}\"}}");
    let made = service.post(HOLDS, JSON, &body);
    assert_eq!((made.status, made.json()["packets"].as_u64()), (201, Some(5)), "{}", made.json());
    assert_eq!(made.json()["completeness"]["gaps"], serde_json::json!([]));
    let expected = folder.path().join("expected.pcap");
    done(["extract", "--store", &store, "--filter", filter, "-o", &expected.display().to_string()]);
    let held = Path::new(&store).join("cases/INC-2.pcap");
    assert!(std::fs::read(&held).expect("a file") == std::fs::read(&expected).expect("a file"));
    done(["verify", &held.display().to_string()]);

    let list = service.get(HOLDS).json();
    let cases: Vec<_> =
        list["holds"].as_array().expect("holds").iter().map(|hold| hold["case"].clone()).collect();
    assert_eq!(cases, ["INC-1", "INC-2"]);
    assert_eq!(
        (list["holds"][0]["by"].as_str(), list["holds"][0]["note"].as_str()),
        (Some("local"), Some("a leak"))
    );
    let by_command = run(["hold", "list", "--store", &store, "--json"]);
    let by_command: Value = serde_json::from_slice(&by_command.stdout).expect("JSON");
    assert_eq!(by_command["holds"], list["holds"]);
    assert_eq!(service.get("/api/v1/status").json()["held"]["cases"], 2);
    let metrics = String::from_utf8(service.get("/metrics").body).expect("text");
    assert!(
        metrics.contains("netrewind_held_cases 2\n") && metrics.contains("netrewind_held_segments 1\n"),
        "{metrics}"
    );

    for (body, status, kind) in [
        ("case=INC-1", 409, "hold-exists"),
        ("note=x", 400, "bad-parameter"),
        ("case=..%2Fx", 400, "bad-parameter"),
        ("case=x&colour=red", 400, "unknown-parameter"),
        ("case=x&from=tomorrowish", 400, "bad-time"),
        ("case=x&filter=nonsense(", 400, "bad-filter"),
        ("case=x&from=2001-01-01&to=2001-01-02", 404, "not-kept"),
        ("case=x&filter=port+9", 404, "not-kept"),
    ] {
        let refused = service.post(HOLDS, FORM, body);
        assert_eq!(problem(&refused), (status, kind.to_owned()), "{body}: {}", refused.json());
    }
    let limits = "{\"budget_bytes\":1000000,\"hold_budget_bytes\":20000,\"sum\":\"0000000000000000\"}\n";
    std::fs::write(Path::new(&store).join("cases/.limits"), limits).expect("written");
    assert_eq!(
        service.post(HOLDS, FORM, "case=x").status,
        500,
        "limits that cannot be read are not taken for none"
    );
    std::fs::remove_file(Path::new(&store).join("cases/.limits")).expect("removed");

    let released = delete(&service, "INC-1", &[]);
    assert_eq!((released.status, released.json()["segments"].as_u64()), (200, Some(1)));
    assert_eq!(delete(&service, "INC-2", &[]).status, 200);
    assert!(!held.exists());
    assert_eq!(problem(&delete(&service, "INC-2", &[])), (404, "not-found".to_owned()));
    assert_eq!(problem(&delete(&service, "%2e%2e", &[])).0, 404);

    let lines = audited(&store, 9);
    let of = |what: &str, case: &str| {
        let found =
            lines.iter().find(|line| line["what"] == what && line["case"] == case && line["error"].is_null());
        found.unwrap_or_else(|| panic!("{what} {case}: {lines:?}")).clone()
    };
    assert_eq!(
        (of("add", "INC-1")["segments"].as_u64(), of("add", "INC-1")["who"].as_str()),
        (Some(1), Some("local"))
    );
    assert_eq!(of("add", "INC-2")["query"]["filter"], filter);
    assert_eq!(of("add", "INC-2")["packets"], 5);
    assert_eq!(of("release", "INC-1")["segments"], 1);
    assert!(lines.iter().any(|line| line["what"] == "list"));
    assert!(
        lines
            .iter()
            .any(|line| line["error"].as_str().is_some_and(|error| error.contains("has a hold already")))
    );
    drop(service);
    done(["verify", "--store", &store]);
}

#[test]
fn only_administrators_hold_and_no_other_page_can_make_them() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = store(folder.path(), 50, 100);
    let tokens = folder.path().join("tokens.toml").display().to_string();
    let token = |name: &str, scope: &str| {
        let made = done(["token", "add", name, "--tokens", &tokens, "--scope", scope]);
        format!("Bearer {}", String::from_utf8(made).expect("a token").trim())
    };
    let (boss, reader) = (token("boss", "admin"), token("reader", "extract,flows,status"));
    let service = Service::start(&["serve", "--store", &store, "--tokens", &tokens]);
    let post = |body: &str, headers: &[(&str, &str)]| {
        let headers = [&[("Content-Type", FORM)], headers].concat();
        Response::read(service.send("POST", HOLDS, &headers, body), false)
    };
    let get =
        |headers: &[(&str, &str)]| Response::read(service.send("GET", HOLDS, headers, ""), false).status;
    assert_eq!(
        (get(&[]), get(&[("Authorization", &reader)]), get(&[("Authorization", &boss)])),
        (401, 403, 200)
    );
    assert_eq!(post("case=one", &[]).status, 401);
    assert_eq!(problem(&post("case=one", &[("Authorization", &reader)])), (403, "forbidden".to_owned()));
    assert_eq!(delete(&service, "one", &[("Authorization", &reader)]).status, 403);
    assert_eq!(post("case=one", &[("Authorization", &boss)]).status, 201);
    let list = Response::read(service.send("GET", HOLDS, &[("Authorization", &boss)], ""), false).json();
    assert_eq!(list["holds"][0]["by"], "boss");

    // A page that has a session may hold; other pages that make the browser send the cookie may not.
    let session =
        Response::read(service.send("POST", "/api/v1/session", &[("Authorization", &boss)], ""), true);
    let cookie =
        session.header("set-cookie").expect("a cookie").split(';').next().expect("a value").to_owned();
    let own = format!("http://{}", service.address);
    for (origin, status) in
        [(None, 403), (Some("https://evil.example"), 403), (Some("null"), 403), (Some(&own[..]), 201)]
    {
        let headers: Vec<(&str, &str)> =
            [("Cookie", &cookie[..])].into_iter().chain(origin.map(|origin| ("Origin", origin))).collect();
        let answer = post("case=two", &headers);
        assert_eq!(answer.status, status, "{origin:?}: {}", answer.json());
    }
    assert_eq!(delete(&service, "two", &[("Cookie", &cookie)]).status, 403);
    assert_eq!(delete(&service, "two", &[("Cookie", &cookie), ("Origin", &own)]).status, 200);
    let lines = audited(&store, 5);
    assert!(lines.iter().all(|line| line["who"] == "boss"), "{lines:?}");
}

#[test]
fn a_service_that_may_not_write_says_so() {
    if !may_make_namespaces() {
        return; // without root, no file can belong to another user
    }
    let folder = tempfile::tempdir().expect("a folder");
    let store = store(folder.path(), 50, 100);
    let given = std::process::Command::new("chown").args(["-R", "nobody", &store]).status();
    assert!(given.expect("chown runs").success());
    let service = Service::of(&store);
    let refused = service.post(HOLDS, FORM, "case=one");
    assert_eq!(problem(&refused), (403, "not-writable".to_owned()), "{}", refused.json());
    assert_eq!(service.get(HOLDS).status, 200);
    let by_command = run(["hold", "add", "one", "--store", &store]);
    assert_eq!(by_command.status.code(), Some(2));
    assert!(
        String::from_utf8_lossy(&by_command.stderr).contains("sudo -u"),
        "the recorder could not read it"
    );
}

#[test]
fn a_recorder_that_answers_finds_its_own_holds() {
    if !may_make_namespaces() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let store = store(folder.path(), 2000, 1000);
    let capture = folder.path().join("capture.pcap").display().to_string();
    let started = [
        "run",
        "--store",
        &store,
        "--replay",
        &capture,
        "--replay-speed",
        "max",
        "--budget",
        "8MiB",
        "--segment-bytes",
        "1MiB",
    ];
    let service = Service::start(&started);
    let range = "case=one&from=2023-11-14T22:13:20Z&to=2023-11-14T22:13:21Z";
    assert_eq!(service.post(HOLDS, FORM, range).status, 201);
    assert_eq!(problem(&service.post(HOLDS, FORM, "case=x&filter=port+9")), (404, "not-kept".to_owned()));
    let list = service.get(HOLDS).json();
    assert_eq!(list["bytes_max"], 4 << 20);
    assert!(list["holds"][0]["segments"].as_u64().is_some_and(|segments| segments > 0));
    drop(service);
}
