//! The service for language models: what a caller may see, by the same rules as the API.

use serde_json::{Value, json};

use crate::support::packets::{Packet, tcp, write_pcap};
use crate::support::service::{Response, Service};
use crate::support::{done, import};

const START: u32 = 1_795_339_862;

/// A store with 300 packets of 10.0.0.1 and 200 of 10.0.0.2, in a folder that goes with it.
fn store() -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let packet = |number: u32| {
        let client = [10, 0, 0, if number % 5 < 3 { 1 } else { 2 }];
        tcp((START + number, 0), [(client, 40_000), ([192, 0, 2, 1], 443)], (number, 0), 0x10, b"x")
    };
    let packets: Vec<Packet> = (0..500).map(packet).collect();
    let (capture, store) = (folder.path().join("all.pcap"), folder.path().join("store"));
    std::fs::write(&capture, write_pcap(1, &packets)).expect("written");
    import(&store, &[&capture]);
    let store = store.to_str().expect("a path").to_owned();
    (folder, store)
}

fn send(service: &Service, headers: &[(&str, &str)], message: &Value) -> Response {
    let headers = [&[("Content-Type", "application/json")], headers].concat();
    Response::read(service.send("POST", "/mcp", &headers, &message.to_string()), false)
}

/// The answer to a request.
fn ask(service: &Service, headers: &[(&str, &str)], method: &str, params: Value) -> Value {
    let answer =
        send(service, headers, &json!({"jsonrpc": "2.0", "id": 7, "method": method, "params": params}));
    assert_eq!(answer.status, 200, "{method}");
    let answer = answer.json();
    assert_eq!((&answer["jsonrpc"], &answer["id"]), (&json!("2.0"), &json!(7)), "{answer}");
    answer
}

fn call(service: &Service, headers: &[(&str, &str)], tool: &str, arguments: Value) -> Value {
    ask(service, headers, "tools/call", json!({"name": tool, "arguments": arguments}))
}

#[test]
fn a_model_asks_what_a_program_may_ask() {
    let (_folder, store) = store();
    assert_eq!(send(&Service::of(&store), &[], &json!({})).status, 404, "it is off unless it is switched on");
    let service = Service::start(&["serve", "--store", &store, "--mcp"]);
    let begun =
        ask(&service, &[], "initialize", json!({"protocolVersion": "2025-03-26", "capabilities": {}}));
    assert_eq!(begun["result"]["protocolVersion"], "2025-03-26");
    assert_eq!(begun["result"]["serverInfo"]["name"], "netrewind");
    let later = ask(&service, &[], "initialize", json!({"protocolVersion": "2099-01-01"}));
    assert_eq!(later["result"]["protocolVersion"], "2025-06-18");
    let notified = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
    assert_eq!(send(&service, &[], &notified).status, 202);
    assert_eq!(ask(&service, &[], "ping", json!({}))["result"], json!({}));

    // Every tool is called, and each of its parameters is one of the API.
    let tools = ask(&service, &[], "tools/list", json!({}))["result"]["tools"].clone();
    let range = json!({"from": "2026-11-22T00:00:00Z", "to": "2026-11-23T00:00:00Z"});
    for tool in tools.as_array().expect("tools") {
        let name = tool["name"].as_str().expect("a name");
        let properties = tool["inputSchema"]["properties"].as_object().expect("properties");
        let mut arguments = if properties.contains_key("from") { range.clone() } else { json!({}) };
        if name == "check_filter" {
            arguments["filter"] = json!("tcp");
        }
        let plain = call(&service, &[], name, arguments.clone());
        assert_eq!(plain["result"]["isError"], false, "{name}: {plain}");
        assert_eq!(
            serde_json::from_str::<Value>(plain["result"]["content"][0]["text"].as_str().expect("text")).ok(),
            Some(plain["result"]["structuredContent"].clone()),
        );
        for (parameter, schema) in properties {
            let value = match (parameter.as_str(), schema["type"].as_str()) {
                ("around" | "window" | "from" | "to" | "cursor" | "community_id" | "flow", _) => continue,
                ("tz", _) => json!("Europe/Rome"),
                ("sort", _) => json!("start"),
                ("query", _) => json!("bytes:>0"),
                ("hosts", _) => json!("10.0.0.0/8,!10.0.0.9"),
                (_, Some("string")) => json!("tcp port 443"),
                (_, Some("integer")) => json!(3),
                _ => json!(true),
            };
            arguments[parameter] = value;
        }
        let full = call(&service, &[], name, arguments.clone());
        assert_eq!(full["result"]["isError"], false, "{name} {arguments}: {full}");
    }
    let counted =
        |arguments: &Value| call(&service, &[], "count_packets", arguments.clone())["result"].clone();
    let of_one = json!({"from": "2026-11-22T00:00:00Z", "filter": "host 10.0.0.1"});
    assert_eq!(counted(&of_one)["structuredContent"]["packets"], 300);
    assert!(counted(&of_one)["structuredContent"]["completeness"].is_object(), "it says how complete it is");
    let wrong = counted(&json!({"from": "2026-11-22T00:00:00Z", "filter": "port nonsense"}));
    assert_eq!(wrong["isError"], true);
    assert!(wrong["content"][0]["text"].as_str().expect("text").contains("nonsense"), "{wrong}");

    for (tool, arguments, told) in [
        ("count_packets", json!({"filter": "tcp"}), "give the range"),
        ("count_packets", json!({"from": "1h ago", "no_index": true}), "no argument \"no_index\""),
        ("list_conversations", json!({"from": "1h ago", "limit": 1000}), "from 1 to 100"),
        ("list_conversations", json!({"from": 5}), "from is a"),
        (
            "list_packets",
            json!({"from": "1h ago", "limit": 11, "bytes": true}),
            "at most 10 packets, 512 bytes",
        ),
        ("delete_everything", json!({}), "no tool"),
    ] {
        let answer = call(&service, &[], tool, arguments);
        assert_eq!(answer["error"]["code"], -32602, "{answer}");
        assert!(answer["error"]["message"].as_str().expect("text").contains(told), "{answer}");
    }
    assert_eq!(ask(&service, &[], "resources/list", json!({}))["error"]["code"], -32601);
    assert_eq!(send(&service, &[], &json!([1])).json()["error"]["code"], -32600);
    let text = Response::read(service.send("POST", "/mcp", &[("Content-Type", "text/plain")], "{}"), false);
    assert_eq!(text.status, 415);
    assert_eq!(service.get("/mcp").status, 405);
    let cut = service.send("POST", "/mcp", &[("Content-Type", "application/json")], "{\"jsonrpc\"");
    assert_eq!(Response::read(cut, false).json()["error"]["code"], -32700);
    // A page elsewhere that a browser shows cannot use it.
    let elsewhere = call(&service, &[("Origin", "https://example.com")], "recorder_status", json!({}));
    assert_eq!(elsewhere["result"]["isError"], true, "{elsewhere}");
}

/// Lines of `extract --format text`, as time and ends.
fn extracted(store: &str, filter: &str) -> Vec<String> {
    let text = done(["extract", "--store", store, "--filter", filter, "--format", "text", "-o", "-", "-q"]);
    let text = String::from_utf8(text).expect("text");
    let line = |line: &str| {
        let fields: Vec<&str> = line.split('\t').collect();
        format!("{} {} > {} {} {} {}", fields[0], fields[1], fields[2], fields[3], fields[4], fields[5])
    };
    text.lines().map(line).collect()
}

#[test]
fn a_model_reads_packets_page_by_page() {
    let (_folder, store) = store();
    let service = Service::start(&["serve", "--store", &store, "--mcp"]);
    let listed = |arguments: Value| {
        let answer = call(&service, &[], "list_packets", arguments)["result"].clone();
        assert_eq!(answer["isError"], false, "{answer}");
        answer["structuredContent"].clone()
    };
    let (mut lines, mut cursor) = (Vec::new(), None);
    loop {
        let mut asked =
            json!({"from": "2026-11-22T00:00:00Z", "filter": "host 10.0.0.1 and greater 1", "limit": 70});
        if let Some(cursor) = cursor {
            asked["cursor"] = cursor;
        }
        let page = listed(asked);
        let packets = page["packets"].as_array().expect("lines");
        assert!(packets.len() <= 70 && page["completeness"].is_object() && page["bytes"].is_null());
        lines.extend(packets.iter().map(|line| line.as_str().expect("a line").to_owned()));
        match &page["next"] {
            Value::String(next) => cursor = Some(json!(next)),
            _ => break,
        }
    }
    let expected = extracted(&store, "host 10.0.0.1");
    assert_eq!(lines.len(), 300);
    for ((number, line), expected) in (1..).zip(&lines).zip(&expected) {
        let line = line.replace(":40000", "").replace(":443", "");
        assert_eq!(line, format!("{number} {expected}"));
    }
    let page = listed(json!({"from": "2026-11-22T00:00:00Z", "limit": 2, "bytes": true}));
    let bytes = page["bytes"].as_array().expect("bytes");
    let whole = service.get("/api/v1/packets/list?limit=2&bytes=true").json();
    for (number, bytes) in bytes.iter().enumerate() {
        assert_eq!(bytes["hex"], whole["packets"][number]["bytes"]);
        assert_eq!(bytes["captured"], whole["packets"][number]["captured"]);
    }
    assert_eq!(bytes.len(), 2);
    let flow = service.get("/api/v1/flows?limit=1&filter=host+10.0.0.2").json()["flows"][0]["id"].clone();
    let of_flow = listed(json!({"from": "2026-11-22T00:00:00Z", "flow": flow, "limit": 100}));
    assert!(of_flow["packets"][0].as_str().is_some_and(|line| line.contains("10.0.0.2")), "{of_flow}");
}

#[test]
fn a_model_sees_what_its_token_may_see() {
    let (folder, store) = store();
    let tokens = folder.path().join("tokens");
    let tokens = tokens.to_str().expect("a path");
    let token = |name: &str, more: &[&str]| {
        let said = done([&["token", "add", name, "--tokens", tokens][..], more].concat());
        let said = String::from_utf8(said).expect("text");
        format!("Bearer {}", said.split_whitespace().last().expect("a token"))
    };
    let some = token("some", &["--scope", "extract", "--scope", "flows", "--filter", "host 10.0.0.2"]);
    let status = token("status", &["--scope", "status"]);
    let service = Service::start(&["serve", "--store", &store, "--mcp", "--tokens", tokens]);
    let count = |headers: &[(&str, &str)]| {
        let arguments = json!({"from": "2026-11-22T00:00:00Z"});
        call(&service, headers, "count_packets", arguments)["result"].clone()
    };
    assert_eq!(
        count(&[("Authorization", &some)])["structuredContent"]["packets"],
        200,
        "its filter is joined"
    );
    assert_eq!(count(&[("Authorization", &status)])["isError"], true, "it has not that scope");
    let list = |filter: &str| {
        let arguments = json!({"from": "2026-11-22T00:00:00Z", "filter": filter, "limit": 100});
        call(&service, &[("Authorization", &some)], "list_packets", arguments)["result"]["structuredContent"]
            .clone()
    };
    assert_eq!(list("host 10.0.0.1")["packets"], json!([]), "its filter is joined");
    assert_eq!(list("")["packets"].as_array().map(Vec::len), Some(100));
    assert_eq!(count(&[])["isError"], true, "it needs a token");
    assert_eq!(count(&[("Authorization", "Bearer wrong")])["isError"], true);
    let of_status = call(&service, &[("Authorization", &status)], "recorder_status", json!({}));
    assert_eq!(of_status["result"]["isError"], false, "{of_status}");
}
