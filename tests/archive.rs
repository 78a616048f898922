//! Archives: what a store has stands in object storage as it is, whatever fails, and through kills.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use fastrand::Rng;
use serde_json::Value;

use crate::hours::Scene;
use crate::roundtrip::segments;
use crate::support::link::{Link, logbook, wait_until};
use crate::support::numbered;
use crate::support::object_store::{KEYS, ObjectStore};
use crate::support::packets::write_pcap;
use crate::support::proxied::{Fate, Proxy};
use crate::support::served::packet;
use crate::support::{done, files_below, logbook_days, may_make_namespaces, netrewind, run, seed};

/// Kills of a process that uploads.
const KILLS: usize = 16;

fn id_of(store: &Path) -> String {
    let text = fs::read_to_string(store.join("store.toml")).expect("an identity");
    text.lines().find_map(|line| line.strip_prefix("id = \"")?.strip_suffix('"')).expect("an id").to_owned()
}

fn unpacked(file: &Path) -> Vec<u8> {
    let output = Command::new("zstd").args(["-dcq"]).arg(file).output().expect("zstd");
    assert!(output.status.success(), "{}", file.display());
    output.stdout
}

/// Bytes of each file below a folder, by its path there.
fn contents(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let name = |path: &PathBuf| path.strip_prefix(folder).expect("below").display().to_string();
    files_below(folder).iter().map(|path| (name(path), fs::read(path).expect("read"))).collect()
}

/// Asserts that an archive in a folder has everything that a store has, to the byte.
fn assert_whole(store: &Path, archive: &Path) {
    let there = archive.join(id_of(store));
    assert_eq!(
        fs::read(there.join("store.toml")).expect("identity"),
        fs::read(store.join("store.toml")).expect("read")
    );
    let segments = contents(&store.join("segments"));
    for (name, bytes) in segments.iter().filter(|(name, _)| name.contains(".pcap")) {
        let plain = there.join("segments").join(name.trim_end_matches(".zst"));
        let cold = plain.with_extension("pcap.zst");
        let found = if cold.exists() { unpacked(&cold) } else { fs::read(&plain).expect("the segment") };
        let ours =
            if name.ends_with(".zst") { unpacked(&store.join("segments").join(name)) } else { bytes.clone() };
        assert!(found == ours, "{name}");
    }
    for (name, bytes) in segments.iter().filter(|(name, _)| name.ends_with(".idx")) {
        assert!(fs::read(there.join("segments").join(name)).expect("an index") == *bytes, "{name}");
    }
    for day in logbook_days(store) {
        let date = day.file_stem().and_then(|name| name.to_str()).expect("a date");
        let mut pieces = files_below(&there.join("logbook").join(date));
        pieces.sort_unstable();
        let ours = fs::read(&day).expect("lines");
        let mut end = 0;
        for piece in pieces {
            let name = piece.file_name().and_then(|name| name.to_str()).expect("a name").to_owned();
            let (begin, rest) = name.split_once('-').expect("a range");
            let begin: usize = begin.parse().expect("a number");
            let lines = unpacked(&piece);
            assert!(begin <= end && ours[begin..].starts_with(&lines), "{name}");
            assert_eq!(rest, format!("{:012}.jsonl.zst", begin + lines.len()));
            end = end.max(begin + lines.len());
        }
        assert_eq!(end, ours.len(), "the logbook of {date}");
    }
}

fn archive_of(folder: &Path) -> (PathBuf, String) {
    let archive = folder.join("archive");
    fs::create_dir_all(&archive).expect("a folder");
    let url = format!("file://{}", archive.display());
    (archive, url)
}

fn report(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("no JSON: {}", String::from_utf8_lossy(&output.stderr)))
}

fn upload(store: &str, url: &str) -> Value {
    let output = run(["archive", "--store", store, "--archive", url, "--now", "--json"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{said}");
    report(&output)
}

#[test]
fn a_store_is_archived_to_the_byte_once() {
    let scene = Scene::new();
    let (store, path) = (scene.store(), PathBuf::from(scene.store()));
    let (archive, url) = archive_of(scene.folder.path());
    let segments = scene.segments().len();
    let listed = run(["archive", "--store", &store, "--archive", &url, "--json"]);
    let waiting = report(&listed);
    assert_eq!(
        (listed.status.code(), waiting["waiting_segments"].as_u64()),
        (Some(1), Some(segments as u64))
    );
    assert!(
        waiting["lag_seconds"].is_u64()
            && waiting["segments"].as_array().is_some_and(|it| it.len() == segments)
    );
    assert!(contents(&archive).is_empty(), "looking writes nothing");
    let first = upload(&store, &url);
    assert_eq!(
        (first["archived_segments"].as_u64(), first["waiting_segments"].as_u64()),
        (Some(segments as u64), Some(0))
    );
    assert_whole(&path, &archive);
    let before = contents(&archive);
    assert_eq!(upload(&store, &url)["archived_segments"], 0);
    let after = contents(&archive);
    assert!(before.iter().all(|(name, bytes)| after[name] == *bytes), "what is there is never changed");
    assert_whole(&path, &archive);
    let listed = run(["archive", "--store", &store, "--archive", &url]);
    assert!(String::from_utf8_lossy(&listed.stderr).contains("Everything is in"), "{listed:?}");
    // Cold segments go as they are; both files are the same segment.
    done(["compress", "--store", &store]);
    upload(&store, &url);
    assert_whole(&path, &archive);
    assert!(!path.join("upload.new").exists());
    done(["verify", "--store", &store]);
}

#[test]
fn an_object_of_another_length_is_a_fault_that_is_told() {
    let scene = Scene::new();
    let (store, path) = (scene.store(), PathBuf::from(scene.store()));
    let (archive, url) = archive_of(scene.folder.path());
    upload(&store, &url);
    let index = files_below(&archive).into_iter().find(|it| it.extension().is_some_and(|it| it == "idx"));
    let index = index.expect("an index");
    let segment = index.with_extension("pcap.zst");
    let segment = if segment.exists() { segment } else { index.with_extension("pcap") };
    fs::remove_file(&index).expect("removed");
    fs::write(&segment, b"another").expect("written");
    let output = run(["archive", "--store", &store, "--archive", &url, "--now", "--json"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("in the archive with 7 bytes") && said.contains("remove the object"), "{said}");
    assert_eq!(report(&output)["waiting_segments"], 1);
    assert!(!index.exists() && fs::read(&segment).expect("read") == b"another", "it is left alone");
    fs::remove_file(&segment).expect("removed");
    upload(&store, &url);
    assert_whole(&path, &archive);
}

#[test]
fn a_kill_while_uploading_leaves_nothing_wrong() {
    let scene = Scene::new();
    let (store, path) = (scene.store(), PathBuf::from(scene.store()));
    let mut chance = Rng::with_seed(seed());
    let (archive, url) = archive_of(scene.folder.path());
    let mut states = Vec::new();
    for number in 0..KILLS {
        if number % 3 == 0 {
            fs::remove_dir_all(&archive).expect("removed");
            fs::create_dir(&archive).expect("a folder");
        }
        let mut child = netrewind()
            .args(["archive", "--store", &store, "--archive", &url, "--now"])
            .stderr(Stdio::null())
            .spawn()
            .expect("started");
        std::thread::sleep(Duration::from_micros(chance.u64(..150_000)));
        child.kill().expect("killed");
        child.wait().expect("a child");
        // Whatever has an index has its segment, whole.
        let there = contents(&archive);
        let committed: Vec<_> = there.keys().filter(|name| name.ends_with(".idx")).collect();
        for index in &committed {
            let stem = index.trim_end_matches(".idx");
            assert!(
                there.contains_key(&format!("{stem}.pcap.zst"))
                    || there.contains_key(&format!("{stem}.pcap"))
            );
        }
        states.push(committed.len());
    }
    upload(&store, &url);
    assert_whole(&path, &archive);
    assert!(!path.join("upload.new").exists());
    done(["verify", "--store", &store]);
    eprintln!("{KILLS} kills left {states:?} segments committed");
}

#[test]
fn days_expire_in_the_archive_by_name() {
    let scene = Scene::new();
    let store = scene.store();
    let (archive, url) = archive_of(scene.folder.path());
    upload(&store, &url);
    let there = archive.join(id_of(Path::new(&store)));
    let old =
        ["segments/2020-01-02/000000.000000001Z-0.pcap.zst", "segments/2020-01-02/000000.000000001Z-0.idx"];
    let others = ["segments/2020-01-02/notes.txt", "elsewhere/2020-01-02"];
    let expired =
        [&old[..], &["hours/2020-01-02T00.hour", "logbook/2020-01-02/000000000000-000000000010.jsonl.zst"]]
            .concat();
    for name in expired.iter().chain(&others) {
        let file = there.join(name);
        fs::create_dir_all(file.parent().expect("a folder")).expect("made");
        fs::write(file, "x").expect("written");
    }
    let before = contents(&there);
    let output =
        run(["archive", "--store", &store, "--archive", &url, "--now", "--json", "--archive-max-age", "30d"]);
    assert_eq!(report(&output)["removed_objects"], expired.len());
    let after = contents(&there);
    let gone: Vec<_> = before.keys().filter(|name| !after.contains_key(*name)).cloned().collect();
    let mut wanted: Vec<_> = expired.iter().map(|name| (*name).to_owned()).collect();
    wanted.sort_unstable();
    assert_eq!(gone, wanted, "these and no others");
    for wrong in ["1h", "0d"] {
        let output = run(["archive", "--store", &store, "--archive", &url, "--archive-max-age", wrong]);
        assert_eq!(output.status.code(), Some(2));
    }
}

fn with_keys(command: &mut Command, port: u16) -> &mut Command {
    let bare = ["AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL_S3", "AWS_ALLOW_HTTP"];
    let command = bare.iter().fold(command, |command, name| command.env_remove(name));
    command.envs(KEYS).env("AWS_ENDPOINT_URL", format!("http://127.0.0.1:{port}"))
}

fn s3(port: u16, arguments: &[&str]) -> Output {
    let mut command = netrewind();
    with_keys(&mut command, port).args(arguments).output().expect("netrewind runs")
}

#[test]
fn a_real_object_store_takes_it_whatever_fails_on_the_way() {
    let Some(server) = ObjectStore::start() else { return };
    let scene = Scene::new();
    let (store, path) = (scene.store(), PathBuf::from(scene.store()));
    let url = "s3://packets/office/north";
    let now = |port: u16| s3(port, &["archive", "--store", &store, "--archive", url, "--now", "--json"]);
    let said = |output: &Output| String::from_utf8_lossy(&output.stderr).into_owned();
    server.make_bucket("other");
    let output = now(server.port);
    assert!(
        output.status.code() == Some(3) && said(&output).contains("create it, or correct the URL"),
        "{}",
        said(&output)
    );
    server.make_bucket("packets");
    let mut wrong = netrewind();
    with_keys(&mut wrong, server.port).env("AWS_SECRET_ACCESS_KEY", "wrong");
    let output =
        wrong.args(["archive", "--store", &store, "--archive", url, "--now"]).output().expect("runs");
    let text = said(&output);
    assert!(
        output.status.code() == Some(3) && text.contains("403") && text.contains("check the keys"),
        "{text}"
    );
    let proxy = Proxy::before(&format!("127.0.0.1:{}", server.port));
    proxy.set(|_| Fate::Status(503));
    let output = now(proxy.port);
    let text = said(&output);
    assert!(
        output.status.code() == Some(3)
            && text.contains("s3://packets/office/north/")
            && text.contains("503"),
        "{text}"
    );
    proxy.set(|_| Fate::Closed);
    let output = now(proxy.port);
    assert!(
        output.status.code() == Some(3) && said(&output).contains("check the network"),
        "{}",
        said(&output)
    );
    // Cut early in a body, late, and behind it.
    for bytes in [100, 5_000, 40_000] {
        proxy.set(move |_| Fate::CutRequest(bytes));
        now(proxy.port);
    }
    proxy.set(|_| Fate::Late(Duration::ZERO));
    let output = now(proxy.port);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert_eq!(report(&output)["waiting_segments"], 0);
    assert_eq!(report(&now(server.port))["archived_segments"], 0, "once");
    let copy = scene.folder.path().join("copy");
    server.fetch("packets", &copy);
    assert_whole(&path, &copy.join("office/north"));
    // Keys from a profile.
    let home = scene.folder.path().join("home");
    fs::create_dir_all(home.join(".aws")).expect("a folder");
    let profile = "[night]\naws_access_key_id = nrkey\naws_secret_access_key = nrsecret\n";
    fs::write(home.join(".aws/credentials"), profile).expect("written");
    let mut command = netrewind();
    with_keys(&mut command, server.port).env_remove("AWS_ACCESS_KEY_ID").env_remove("AWS_SECRET_ACCESS_KEY");
    command.env("HOME", &home).env("AWS_PROFILE", "night");
    let output = command.args(["archive", "--store", &store, "--archive", url]).output().expect("runs");
    assert!(output.status.code() == Some(0), "{}", said(&output));
}

#[test]
fn expiry_goes_through_all_pages_of_a_listing() {
    let Some(server) = ObjectStore::start() else { return };
    let scene = Scene::new();
    let store = scene.store();
    server.make_bucket("packets");
    let id = id_of(Path::new(&store));
    let made = server.aws(&format!(
        "from concurrent.futures import ThreadPoolExecutor\nkeys = ['a/{id}/segments/2020-01-02/%06d.000000001Z-0.%s' % (n // 60 * 100 + n % 60, e) for n in range(1500) for e in ('pcap.zst', 'idx')]\nlist(ThreadPoolExecutor(16).map(lambda k: client.put_object(Bucket='packets', Key=k, Body=b'x'), keys))"
    ));
    made.expect("objects");
    let arguments = [
        "archive",
        "--store",
        &store,
        "--archive",
        "s3://packets/a",
        "--now",
        "--json",
        "--archive-max-age",
        "30d",
    ];
    let output = s3(server.port, &arguments);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(report(&output)["removed_objects"], 3000, "{said}");
    let left = server.aws("print(len([o for p in client.get_paginator('list_objects_v2').paginate(Bucket='packets', Prefix='a') for o in p.get('Contents', []) if '2020-01-02' in o['Key']]))");
    assert_eq!(left.expect("a listing").trim(), "0");
}

#[test]
fn a_recorder_uploads_behind_itself_and_goes_on_without_the_bucket() {
    if !may_make_namespaces() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let store = folder.path().join("store");
    let text = store.display().to_string();
    let (archive, url) = archive_of(folder.path());
    let capture = numbered::capture(folder.path());
    let link = Link::new();
    let recording =
        link.record(&store, &["--segment-bytes", "1MiB", "--archive", &url, "--archive-rate", "50MB"]);
    let mut sender = link.send_forever(&capture, &["--mbps=20"]);
    let committed =
        || files_below(&archive).iter().filter(|it| it.extension().is_some_and(|it| it == "idx")).count();
    let begun = Instant::now();
    while committed() < 4 && begun.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(200));
    }
    assert!(committed() >= 4, "{}", logbook(&store).join("\n"));
    let away = folder.path().join("away");
    fs::rename(&archive, &away).expect("renamed");
    let is_told = |word: &str| {
        logbook(&store).iter().any(|line| line.contains("\"event\":\"archive\"") && line.contains(word))
    };
    wait_until("trouble is told", || is_told("trouble"));
    let status: Value = serde_json::from_slice(&done(["status", "--store", &text, "--json"])).expect("JSON");
    assert!(status["archive"]["trouble"].is_string(), "{status}");
    fs::rename(&away, &archive).expect("renamed");
    sender.kill().expect("killed");
    sender.wait().expect("a child");
    recording.stop();
    upload(&text, &url);
    assert_whole(&store, &archive);
    done(["verify", "--store", &text]);
}

/// A recording of 4,000 packets in some segments, which ends with its capture.
fn replayed(command: &mut Command, folder: &Path, url: &str) -> (PathBuf, Output) {
    let (store, capture) = (folder.join("store"), folder.join("capture.pcap"));
    let packets: Vec<_> = (0..4000).map(|number| packet(number, 1000)).collect();
    fs::write(&capture, write_pcap(1, &packets)).expect("written");
    let (capture, text) = (capture.display().to_string(), store.display().to_string());
    let recording = ["record", "--store", &text, "--segment-bytes", "1MiB", "--replay", &capture];
    let command = command.args(recording).args(["--replay-speed", "max", "--archive", url]);
    (store, command.output().expect("netrewind runs"))
}

fn last_words(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn what_is_sealed_as_a_recording_ends_is_archived_by_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let (archive, url) = archive_of(folder.path());
    let (store, output) = replayed(&mut netrewind(), folder.path(), &url);
    let said = last_words(&output);
    assert!(output.status.success() && said.contains(&format!("Everything is in {url}")), "{said}");
    assert!(segments(&store).len() > 2);
    assert_whole(&store, &archive);
    let left = run(["archive", "--store", &store.display().to_string(), "--archive", &url, "--json"]);
    assert_eq!((left.status.code(), report(&left)["waiting_segments"].as_u64()), (Some(0), Some(0)));
    // All that the store answers, the archive does.
    let count = |place: [&str; 2]| done(["extract", "--count"].iter().chain(&place));
    assert_eq!(count(["--store", &store.display().to_string()]), count(["--archive", &url]));
    done(["verify", "--archive", &url]);
}

#[test]
fn what_a_recording_could_not_archive_at_its_end_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let remedy = |store: &Path, url: &str| {
        format!("netrewind archive --store {} --archive {url} --now", store.display())
    };
    let url = format!("file://{}/", folder.path().join("nowhere").display());
    let (store, output) = replayed(&mut netrewind(), folder.path(), &url);
    let said = last_words(&output);
    assert!(output.status.success() && said.contains(&remedy(&store, &url)), "{said}");
    let Some(server) = ObjectStore::start() else { return };
    server.make_bucket("packets");
    let (proxy, url) = (Proxy::before(&format!("127.0.0.1:{}", server.port)), "s3://packets/late");
    for (fate, reason) in
        [(Fate::Status(403), "403"), (Fate::Late(Duration::from_secs(13)), "within the 30 s")]
    {
        let folder = tempfile::tempdir().expect("a folder");
        proxy.set(move |_| fate.clone());
        let begun = Instant::now();
        let (store, output) = replayed(with_keys(&mut netrewind(), proxy.port), folder.path(), url);
        let (said, took) = (last_words(&output), begun.elapsed());
        assert!(output.status.success() && said.contains(reason), "{said}");
        assert!(said.contains(&remedy(&store, url)), "{said}");
        assert!(took < Duration::from_secs(50), "{took:?}");
        let sent =
            s3(server.port, &["archive", "--store", &store.display().to_string(), "--archive", url, "--now"]);
        assert_eq!(sent.status.code(), Some(0), "{}", last_words(&sent));
    }
}
