//! Hours of the catalog as Parquet files: DuckDB reads in them what `netrewind flows` lists.

use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use fastrand::Rng;
use netrewind_store::Timestamp;
use netrewind_tables::columns::COLUMNS;
use serde_json::{Value, json};

use crate::catalog::{catalogue, packets, packets_between, recorded};
use crate::support::disk::Disk;
use crate::support::object_store::{KEYS, ObjectStore};
use crate::support::packets::write_pcap;
use crate::support::{captures, done, files_below, import, netrewind, run, seed};
use crate::tidy::root;

const ETHERNET: u32 = 1;
/// The hours of [`packets`].
const HOURS: [&str; 3] = ["2026-11-22T09", "2026-11-22T10", "2026-11-22T11"];

/// DuckDB's extension for object stores, of the version that `scripts/engines` installs.
const HTTPFS: &str = "duckdb_extension_httpfs/extensions/v1.5.5/httpfs.duckdb_extension";

/// Python with DuckDB, where `scripts/engines` has installed it.
fn duckdb() -> Option<PathBuf> {
    let target = Path::new(env!("CARGO_BIN_EXE_netrewind")).ancestors().nth(2).expect("the target folder");
    let found = std::fs::read_dir(target).expect("a folder").flatten().map(|entry| entry.path());
    let is_it = |path: &PathBuf| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("duckdb-"))
            && path.extension().is_none_or(|extension| extension != "new")
    };
    let python = found.filter(is_it).map(|path| path.join("bin/python")).find(|path| path.exists());
    if python.is_none() {
        eprintln!("skipped: DuckDB is not installed (scripts/engines)");
    }
    python
}

/// Rows of a question to DuckDB, as JSON.
fn ask(python: &Path, question: &str) -> Vec<Value> {
    ask_after(python, "", question)
}

/// Rows of a question, after some statements.
fn ask_after(python: &Path, statements: &str, question: &str) -> Vec<Value> {
    let program = "import duckdb, sys\nopened = duckdb.connect()\nopened.execute(sys.argv[1])\n\
        for row in opened.execute(sys.argv[2]).fetchall(): print(row[0])";
    let output =
        Command::new(python).args(["-c", program, statements, question]).output().expect("python runs");
    assert!(output.status.success(), "{question}: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("text");
    text.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
}

/// Rows of these files, with times in microseconds.
fn rows(python: &Path, files: &str) -> Vec<Value> {
    let times = "epoch_us(first) AS first, epoch_us(last) AS last";
    ask(
        python,
        &format!(
            "SELECT to_json(t) FROM (SELECT * REPLACE ({times}) FROM read_parquet('{files}', hive_partitioning=false)) t"
        ),
    )
}

/// The row of a conversation as `netrewind flows` lists it.
fn row_of(flow: &Value) -> Value {
    let time = |name: &str| {
        let at: Timestamp = serde_json::from_value(flow[name].clone()).expect("a time");
        at.ns()
    };
    let (tcp, labels, icmp) = (&flow["tcp"], &flow["labels"], &flow["icmp"]);
    let list = |value: &Value| match value {
        Value::Null => json!([]),
        Value::Array(_) => value.clone(),
        one => json!([one]),
    };
    let name = flow["protocol"].as_str().expect("a protocol");
    let number = match name {
        "icmp" => json!(1),
        "igmp" => json!(2),
        "tcp" => json!(6),
        "udp" => json!(17),
        "ipip" => json!(4),
        "dccp" => json!(33),
        "ipv6" => json!(41),
        "gre" => json!(47),
        "esp" => json!(50),
        "ah" => json!(51),
        "icmp6" => json!(58),
        "eigrp" => json!(88),
        "ospf" => json!(89),
        "pim" => json!(103),
        "vrrp" => json!(112),
        "l2tp" => json!(115),
        "sctp" => json!(132),
        "udplite" => json!(136),
        other => other.parse::<u8>().map_or(Value::Null, |number| json!(number)),
    };
    let mut row = json!({
        "first": time("first") / 1000,
        "first_ns": time("first") % 1000,
        "last": time("last") / 1000,
        "last_ns": time("last") % 1000,
        "protocol": name,
        "protocol_number": number,
        "client_address": flow["client"]["address"],
        "client_port": flow["client"]["port"],
        "server_address": flow["server"]["address"],
        "server_port": flow["server"]["port"],
        "tcp_client_flags": tcp["client_flags"],
        "tcp_server_flags": tcp["server_flags"],
        "tcp_state": tcp["state"],
        "rtt_ns": tcp["rtt_ns"],
        "icmp_type": icmp["type"],
        "icmp_code": icmp["code"],
        "server_tunnels": list(&flow["server_tunnels"]),
        "application": labels["application"],
        "application_guessed": labels["guessed"],
    });
    for name in
        ["client_packets", "client_bytes", "server_packets", "server_bytes", "fragments", "vlans", "tunnels"]
    {
        row[name] = flow[name].clone();
    }
    for name in ["community_id", "id", "segments"] {
        row[name] = flow[name].clone();
    }
    for name in ["retransmissions", "out_of_order"] {
        for end in ["client", "server"] {
            row[format!("{end}_{name}")] = tcp[format!("{end}_{name}")].clone();
        }
    }
    for name in [
        "server_name",
        "ja4",
        "tls_version",
        "http_method",
        "http_host",
        "http_user_agent",
        "dns_question",
        "dns_type",
        "quic_version",
    ] {
        row[name] = labels[name].clone();
    }
    for name in ["alpn", "dns_answer", "ssh_banner"] {
        row[name] = list(&labels[name]);
    }
    row
}

fn flows(store: &Path, range: &[&str]) -> Vec<Value> {
    let store = store.display().to_string();
    let fixed = ["flows", "--store", &store, "--quiet", "--format", "json", "--limit", "100000"];
    let listed = run(fixed.iter().chain(range));
    let text = String::from_utf8(listed.stdout).expect("text");
    text.lines().map(|line| row_of(&serde_json::from_str(line).expect("JSON"))).collect()
}

/// What an export ended with, and what it said.
fn export(store: &Path, into: &Path, more: &[&str]) -> (Option<i32>, String) {
    let (store, into) = (store.display().to_string(), into.display().to_string());
    let output = run(["export", "flows", "--store", &store, "--into", &into].iter().chain(more));
    (output.status.code(), String::from_utf8(output.stderr).expect("text"))
}

/// Whole files below a folder, without it and the recorder's id.
fn tables(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for path in files_below(folder) {
        let name = path.strip_prefix(folder.join("flows/v1")).expect("below it").display().to_string();
        let name = name.split_once('/').expect("a recorder").1.to_owned();
        found.insert(name, std::fs::read(&path).expect("a file"));
    }
    found
}

fn sum(rows: &[Value], name: &str) -> i64 {
    rows.iter().map(|row| row[name].as_i64().expect("a number")).sum()
}

#[test]
fn each_row_is_a_conversation_as_it_is_listed_and_bytes_are_the_same_each_time() {
    let Some(python) = duckdb() else { return };
    let mut rng = Rng::with_seed(seed());
    let folder = tempfile::tempdir().expect("a folder");
    let store = recorded(folder.path(), &packets(&mut rng, 3));
    catalogue(&store);
    let (one, other) = (folder.path().join("one"), folder.path().join("other"));
    let (code, said) = export(&store, &one, &[]);
    assert_eq!((code, said.contains("3 hours exported")), (Some(0), true), "{said}");
    for hour in HOURS {
        let (date, of_day) = hour.split_once('T').expect("an hour");
        let files = format!("{}/flows/v1/recorder=*/date={date}/hour={of_day}/part-*.parquet", one.display());
        let table = rows(&python, &files);
        let from = format!("{hour}:00:00Z");
        let listed = flows(&store, &["--from", &from, "--to", "+1h"]);
        assert!(
            table.len() > 100
                && table.is_sorted_by_key(|row| (row["first"].as_i64(), row["first_ns"].as_i64()))
        );
        let both = |rows: &[Value], what: &str| {
            sum(rows, &format!("client_{what}")) + sum(rows, &format!("server_{what}"))
        };
        for what in ["packets", "bytes"] {
            assert_eq!(both(&table, what), both(&listed, what), "{hour} {what}");
        }
        // Pieces of those that may cross the hour's ends are joined by the list alone.
        let mut compared = 0;
        for row in table.iter().filter(|row| row["may_cross_hour"] == false) {
            let mut row = row.clone();
            row.as_object_mut().expect("a row").remove("may_cross_hour");
            let found = listed.iter().find(|listed| listed["id"] == row["id"]);
            assert_eq!(Some(&row), found, "{hour}");
            compared += 1;
        }
        assert!(compared > 50, "{hour}: {compared} of {}", table.len());
    }
    let (code, _) = export(&store, &other, &["--quiet"]);
    assert_eq!((code, tables(&one)), (Some(0), tables(&other)));
    let stamps = || {
        let files = files_below(&one).into_iter();
        files
            .map(|file| std::fs::metadata(file).map(|file| (file.ino(), file.mtime_nsec())).expect("a file"))
            .collect::<Vec<_>>()
    };
    let (before, (code, said)) = (stamps(), export(&store, &one, &[]));
    assert_eq!((code, said.matches("already there").count(), stamps()), (Some(0), 3, before), "{said}");
    // A range takes the hours that it meets, whole.
    let few = folder.path().join("few");
    let (code, said) =
        export(&store, &few, &["--from", "2026-11-22T10:59:00Z", "--to", "2026-11-22T11:00:01Z"]);
    assert_eq!((code, tables(&few).len()), (Some(0), 2), "{said}");
    // The packets may be gone: the catalog has the same.
    std::fs::remove_dir_all(store.join("segments/2026-11-22")).expect("removed");
    let (code, said) = export(&store, &one, &[]);
    assert_eq!((code, said.matches("already there").count()), (Some(0), 3), "{said}");
}

#[test]
fn real_captures_come_back_with_labels_tunnels_and_vlans() {
    let (Some(python), Some(files)) = (duckdb(), captures()) else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let (store, into) = (folder.path().join("store"), folder.path().join("tables"));
    let mut compared = BTreeMap::new();
    for file in files.iter().filter(|file| std::fs::metadata(file).is_ok_and(|file| file.len() < 1 << 20)) {
        import(&store, &[file]);
    }
    catalogue(&store);
    let (code, said) = export(&store, &into, &[]);
    assert!(matches!(code, Some(0 | 1)), "{said}");
    let table = rows(&python, &format!("{}/flows/v1/**/*.parquet", into.display()));
    let listed: BTreeMap<String, Value> = flows(&store, &[])
        .into_iter()
        .map(|row| (row["id"].as_str().expect("an id").to_owned(), row))
        .collect();
    let packets = |rows: &[Value]| sum(rows, "client_packets") + sum(rows, "server_packets");
    assert_eq!(packets(&table), packets(&listed.values().cloned().collect::<Vec<_>>()));
    for row in &table {
        let mut row = row.clone();
        row.as_object_mut().expect("a row").remove("may_cross_hour");
        let Some(listed) = listed.get(row["id"].as_str().expect("an id")) else { continue };
        // Loose pieces are joined by the list.
        if listed["last"] != row["last"] || listed["segments"] != row["segments"] {
            continue;
        }
        // Whether it has timed out depends on the end of the range.
        row["tcp_state"] = listed["tcp_state"].clone();
        assert_eq!(&row, listed);
        for name in ["server_name", "http_host", "dns_question", "ja4", "icmp_type", "rtt_ns"] {
            *compared.entry(name).or_insert(0) += i32::from(!row[name].is_null());
        }
        for name in ["tunnels", "vlans", "alpn", "dns_answer", "ssh_banner"] {
            *compared.entry(name).or_insert(0) += i32::from(row[name] != json!([]));
        }
    }
    assert!(compared.values().filter(|&&count| count > 0).count() >= 8, "{compared:?}");
}

#[test]
fn hours_that_are_missing_empty_or_lack_something_are_told_of() {
    let Some(python) = duckdb() else { return };
    let mut rng = Rng::with_seed(seed());
    let folder = tempfile::tempdir().expect("a folder");
    let (store, into) = (recorded(folder.path(), &packets(&mut rng, 2)), folder.path().join("tables"));
    let segment = |stem: &str| store.join(format!("segments/2026-11-22/{stem}.000000000Z-0.pcap"));
    std::fs::write(segment("120000"), write_pcap(ETHERNET, &[])).expect("written");
    std::fs::write(segment("130000"), write_pcap(ETHERNET, &packets(&mut rng, 1)[..9])).expect("written");
    std::fs::write(segment("130001"), b"no capture").expect("written");
    run(["index", "--store", &store.display().to_string(), "--catalog", "--current-hour"]);
    let (code, said) = export(&store, &into, &[]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("hour 2026-11-22T13 lacks segment"), "{said}");
    let files = |hour: &str| format!("{}/flows/v1/*/date=2026-11-22/hour={hour}/*.parquet", into.display());
    assert_eq!(rows(&python, &files("12")).len(), 0, "{said}");
    assert!(!rows(&python, &files("13")).is_empty(), "{said}");
    let facts = format!(
        "SELECT to_json(value::VARCHAR) FROM parquet_kv_metadata('{}') WHERE key::VARCHAR = 'netrewind.lacks'",
        files("13")
    );
    assert!(ask(&python, &facts)[0].as_str().is_some_and(|lacks| lacks.contains("segment")));
    // One that the catalog does not have, one that is damaged.
    std::fs::remove_dir_all(store.join("catalog/2026-11-22T10")).expect("removed");
    std::fs::write(store.join("catalog/2026-11-22T12/manifest.json"), "{").expect("written");
    let other = folder.path().join("other");
    let (code, said) = export(&store, &other, &[]);
    assert_eq!((code, tables(&other).len()), (Some(1), 2), "{said}");
    for hour in ["2026-11-22T10", "2026-11-22T12"] {
        let line = said.lines().find(|line| line.contains(&format!("hour {hour} is left out"))).expect(&said);
        assert!(line.contains("netrewind index --catalog"), "{line}");
    }
    // What was exported of them before stays.
    let (code, _) = export(&store, &into, &[]);
    assert_eq!((code, tables(&into).len()), (Some(1), 4));
}

#[test]
fn tables_go_into_a_bucket_as_into_a_folder() {
    let Some(server) = ObjectStore::start() else { return };
    server.make_bucket("tables");
    let mut rng = Rng::with_seed(seed());
    let folder = tempfile::tempdir().expect("a folder");
    let many = packets(&mut rng, 3);
    let store = recorded(folder.path(), &many);
    catalogue(&store);
    let (into, fetched) = (folder.path().join("tables"), folder.path().join("fetched"));
    assert_eq!(export(&store, &into, &[]).0, Some(0));
    let to_bucket = |port: u16| {
        let url = "s3://tables/nr";
        let output = netrewind()
            .args(["export", "flows", "--into", url, "--store"])
            .arg(&store)
            .envs(KEYS)
            .env("AWS_ENDPOINT_URL", format!("http://127.0.0.1:{port}"))
            .output()
            .expect("runs");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, said) = to_bucket(server.port);
    assert!(code == Some(0) && said.contains("s3://tables/nr/flows/v1/recorder="), "{said}");
    let (code, said) = to_bucket(server.port);
    assert!(code == Some(0) && said.contains("already there"), "{said}");
    server.fetch("tables", &fetched);
    let below = |root: &Path| -> Vec<(PathBuf, Vec<u8>)> {
        let named = |path: PathBuf| {
            (path.strip_prefix(root).expect("below").to_owned(), std::fs::read(&path).expect("read"))
        };
        files_below(root).into_iter().map(named).collect()
    };
    assert!(below(&into).len() > 1 && below(&into) == below(&fetched.join("nr")), "the same bytes");
    // A file that is another's is written again, and one too many is removed.
    let hour = files_below(&into).pop().expect("a file");
    let key = format!("nr/{}", hour.strip_prefix(&into).expect("below").display());
    let spare = key.replace("part-0", "part-1");
    server
        .aws(&format!(
            "[client.put_object(Bucket='tables', Key=key, Body=b'x') for key in ({key:?}, {spare:?})]"
        ))
        .expect("put");
    let (code, said) = to_bucket(server.port);
    assert_eq!(code, Some(0), "{said}");
    std::fs::remove_dir_all(&fetched).expect("removed");
    server.fetch("tables", &fetched);
    assert!(below(&into) == below(&fetched.join("nr")), "the same bytes again");
    let (code, said) = to_bucket(1);
    assert!(code == Some(3) && said.contains("check the network"), "{said}");
    // DuckDB reads them there, with its extension.
    let Some(python) = duckdb() else { return };
    let tool = python.ancestors().nth(2).expect("its folder");
    let extension = files_below(&tool.join("lib")).into_iter().find(|path| path.ends_with(HTTPFS));
    let Some(extension) = extension else {
        eprintln!("skipped: DuckDB's extension httpfs is not installed (scripts/engines)");
        return;
    };
    let keys: std::collections::HashMap<_, _> = KEYS.into_iter().collect();
    let statements = format!(
        "LOAD '{}'; CREATE SECRET (TYPE s3, KEY_ID '{}', SECRET '{}', ENDPOINT '127.0.0.1:{}', URL_STYLE 'path', USE_SSL false)",
        extension.display(),
        keys["AWS_ACCESS_KEY_ID"],
        keys["AWS_SECRET_ACCESS_KEY"],
        server.port
    );
    let of = |place: &str| {
        format!(
            "SELECT to_json(t) FROM (SELECT recorder, date, hour, server_port, count(*) AS rows, \
             sum(client_bytes + server_bytes) AS bytes \
             FROM read_parquet('{place}/flows/v1/*/*/*/*.parquet', hive_partitioning = true) \
             WHERE date = '2026-11-22' GROUP BY ALL ORDER BY ALL) t"
        )
    };
    let there = ask_after(&python, &statements, &of("s3://tables/nr"));
    assert!(!there.is_empty());
    assert_eq!(there, ask(&python, &of(&into.display().to_string())));
}

#[test]
fn folders_that_cannot_be_written_and_full_disks_leave_nothing_half() {
    let mut rng = Rng::with_seed(seed());
    let folder = tempfile::tempdir().expect("a folder");
    let many = packets_between(&mut rng, 1, 20_000, 2, [1..250, 100..250], 1024..60_000);
    let store = recorded(folder.path(), &many);
    catalogue(&store);
    let file = folder.path().join("file");
    std::fs::write(&file, "").expect("written");
    let (code, said) = export(&store, &file.join("tables"), &[]);
    assert_eq!((code, said.contains("--into")), (Some(3), true), "{said}");
    if let Some(disk) = Disk::in_memory(1) {
        disk.fill_but(200 << 10);
        let (code, said) = export(&store, disk.path(), &[]);
        assert_eq!(code, Some(3), "{said}");
        let left: Vec<_> = files_below(disk.path())
            .into_iter()
            .filter(|path| path.display().to_string().contains("part"))
            .collect();
        assert_eq!((left, said.contains("hour=09")), (Vec::<PathBuf>::new(), true), "{said}");
    }
    // Killed at any time, a file is whole or not there.
    let (good, into) = (folder.path().join("good"), folder.path().join("tables"));
    let begun = Instant::now();
    assert_eq!(export(&store, &good, &[]).0, Some(0));
    let (took, good) = (begun.elapsed(), tables(&good));
    for _ in 0..20 {
        let _ = std::fs::remove_dir_all(&into);
        let mut exporting = netrewind()
            .args(["export", "flows", "--quiet", "--store"])
            .arg(&store)
            .arg("--into")
            .arg(&into)
            .spawn()
            .expect("netrewind runs");
        std::thread::sleep(took.mul_f64(rng.f64()));
        exporting.kill().expect("killed");
        exporting.wait().expect("it ends");
        let whole: Vec<_> = match into.exists() {
            true => tables(&into).into_iter().filter(|(name, _)| name.ends_with(".parquet")).collect(),
            false => Vec::new(),
        };
        assert!(whole.iter().all(|(name, bytes)| good.get(name) == Some(bytes)));
    }
    assert_eq!(export(&store, &into, &[]).0, Some(0));
    assert_eq!(tables(&into), good, "what a killed process has left is overwritten");
}

#[test]
fn a_recording_exports_hours_that_are_over_and_goes_on_where_that_fails() {
    let mut rng = Rng::with_seed(seed());
    let folder = tempfile::tempdir().expect("a folder");
    let store = recorded(folder.path(), &packets(&mut rng, 2));
    let record = |into: &Path, until: &dyn Fn() -> bool| {
        let mut recorder = netrewind()
            .args(["record", "--stdin", "--store"])
            .arg(&store)
            .arg("--export-flows")
            .arg(into)
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("netrewind runs");
        let mut stdin = recorder.stdin.take().expect("a pipe");
        stdin.write_all(&write_pcap(ETHERNET, &packets(&mut Rng::with_seed(7), 1)[..1])).expect("written");
        let begun = Instant::now();
        while !until() {
            assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", files_below(into));
            std::thread::sleep(Duration::from_millis(50));
        }
        drop(stdin);
        let output = recorder.wait_with_output().expect("it ends");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stderr).expect("text")
    };
    let into = folder.path().join("tables");
    let logbook = || {
        let files = crate::support::logbook_days(&store);
        files.iter().map(|file| std::fs::read_to_string(file).expect("text")).collect::<String>()
    };
    record(&into, &|| logbook().matches("\"exported\"").count() == 2);
    let found = tables(&into);
    let by_hand = folder.path().join("by hand");
    export(&store, &by_hand, &["--to", "2026-11-23"]);
    assert_eq!((found.len(), &found), (2, &tables(&by_hand)));
    // In the way of the second hour stands a file; the first is there already.
    std::fs::remove_dir_all(&into).expect("removed");
    let hour = files_below(&by_hand)
        .into_iter()
        .find(|path| path.to_string_lossy().contains("hour=10"))
        .expect("an hour");
    let hour = into.join(hour.parent().expect("a folder").strip_prefix(&by_hand).expect("below it"));
    std::fs::create_dir_all(hour.parent().expect("a folder")).expect("made");
    std::fs::write(&hour, "in the way").expect("written");
    record(&into, &|| logbook().contains("export_behind"));
    let line = logbook().lines().find(|line| line.contains("export_behind")).expect("a line").to_owned();
    assert!(line.contains("2026-11-22T10") && line.contains("hour=10"), "{line}");
    let said = record(&folder.path().join("store/store.toml/no folder"), &|| true);
    assert!(said.contains("no hours are exported"), "{said}");
    done(["verify", "--store", &store.display().to_string()]);
}

#[test]
fn the_documentation_has_the_columns_in_their_order() {
    let text = std::fs::read_to_string(root().join("docs/tables.md")).expect("a document");
    let table = text.split("| column | type | |\n").nth(1).expect("a table").lines().skip(1);
    let rows = table.take_while(|line| line.starts_with("| `"));
    let cells = rows
        .map(|line| line.split('|').map(|cell| cell.trim().trim_matches('`').to_owned()).collect::<Vec<_>>());
    let documented: Vec<(String, String)> = cells.map(|cells| (cells[1].clone(), cells[2].clone())).collect();
    let columns = COLUMNS.iter().map(|column| {
        let optional = if column.is_optional { "?" } else { "" };
        (column.name.to_owned(), format!("{}{optional}", column.column_type.name()))
    });
    assert_eq!(documented, columns.collect::<Vec<_>>());
}
