//! Archives as readers see them: the answers are those of the store that was archived, and what is lacking is named.

use std::fs;
use std::path::{Path, PathBuf};

use fastrand::Rng;
use serde_json::Value;

use crate::hours::{Scene, answers, answers_from, assert_unchanged};
use crate::roundtrip::segments;
use crate::support::archived::{Archive, compress};
use crate::support::packets::{read_pcap, write_pcap};
use crate::support::service::Service;
use crate::support::{captures, done, files_below, import, run, seed};

/// A store of cold and plain segments, and its archive.
fn archived_scene() -> (Scene, Archive, tempfile::TempDir) {
    let scene = Scene::new();
    let store = PathBuf::from(scene.store());
    let plain = segments(&store).into_iter().next().expect("a segment");
    let bytes = fs::read(&plain).expect("read");
    compress(&store);
    // Not all are worth it.
    fs::write(&plain, bytes).expect("written");
    fs::remove_file(plain.with_extension("pcap.zst")).expect("it was compressed");
    std::thread::sleep(std::time::Duration::from_millis(150));
    done(["index", "--store", &scene.store()]);
    let archive = Archive::of(&store);
    (scene, archive, tempfile::tempdir().expect("a cache"))
}

fn strings(arguments: &[String]) -> Vec<&str> {
    arguments.iter().map(String::as_str).collect()
}

#[test]
fn every_answer_is_that_of_the_store() {
    let (scene, archive, cache) = archived_scene();
    let before = answers(&scene.store(), &scene.filters);
    let aside = format!("{}.aside", scene.store());
    fs::rename(scene.store(), &aside).expect("renamed");
    let place = archive.arguments(cache.path());
    assert_unchanged("from the archive", &before, &answers_from(&strings(&place), &scene.filters));
    assert!(!files_below(cache.path()).is_empty());
    assert_unchanged("with a cache", &before, &answers_from(&strings(&place), &scene.filters));
    let none = ["--archive", &archive.url(), "--archive-cache", "/proc/nowhere"];
    assert_eq!(run(["status"].iter().chain(&none)).status.code(), Some(3));
    for hour in archive.objects(".hour") {
        fs::remove_file(hour).expect("removed");
    }
    assert_unchanged("without hours", &before, &answers_from(&strings(&place), &scene.filters));
    fs::rename(&aside, scene.store()).expect("renamed");
    let beside: Vec<String> = ["--store".to_owned(), scene.store()].into_iter().chain(place).collect();
    assert_unchanged("beside the store", &before, &answers_from(&strings(&beside), &scene.filters));
}

/// The work that an answer took.
fn work(place: &[String], more: &[&str]) -> (Value, Option<i32>) {
    let output = run(["extract"]
        .into_iter()
        .chain(strings(place))
        .chain(["--json", "-o", "/dev/null"])
        .chain(more.iter().copied()));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (
        said.lines().last().and_then(|line| serde_json::from_str(line).ok()).unwrap_or_default(),
        output.status.code(),
    )
}

#[test]
fn each_segment_is_read_where_it_is() {
    let (scene, archive, cache) = archived_scene();
    let store = PathBuf::from(scene.store());
    let before = answers(&scene.store(), &scene.filters);
    let place = archive.arguments(cache.path());
    let beside: Vec<String> = ["--store".to_owned(), scene.store()].into_iter().chain(place).collect();
    let all: Vec<PathBuf> = files_below(&store.join("segments"))
        .into_iter()
        .filter(|path| path.extension().is_some_and(|it| it == "idx"))
        .collect();
    let archived = |place: &[String]| work(place, &[]).0["work"]["segments_from_archive"].as_u64();
    assert_eq!(archived(&beside), None, "all is in the store");
    for (number, index) in all.iter().enumerate() {
        for extension in ["idx", "pcap", "pcap.zst"] {
            let _ = fs::remove_file(index.with_extension(extension));
        }
        let now = answers_from(&strings(&beside), &scene.filters[..6]);
        assert_unchanged(&format!("{} expired", number + 1), &before[..now.len()], &now);
        assert_eq!(archived(&beside), Some(number as u64 + 1));
    }
    assert_eq!(
        run(["extract", "--store", &scene.store(), "--count"]).status.code(),
        Some(1),
        "alone it lacks them"
    );
    fs::remove_dir_all(store.join("logbook")).expect("removed");
    fs::remove_dir_all(store.join("segments")).expect("removed");
    assert_unchanged("only its identity is left", &before, &answers_from(&strings(&beside), &scene.filters));
}

/// What can become of an object.
type Change = (&'static str, fn(&Path, &mut Rng));

const CHANGES: &[Change] = &[
    ("it is gone", |path, _| fs::remove_file(path).expect("removed")),
    ("it is empty", |path, _| fs::write(path, "").expect("written")),
    ("it is cut", |path, rng| {
        let bytes = fs::metadata(path).expect("there").len();
        fs::File::options()
            .write(true)
            .open(path)
            .and_then(|file| file.set_len(rng.u64(..bytes)))
            .expect("cut");
    }),
    ("a bit is flipped", |path, rng| {
        let mut bytes = fs::read(path).expect("read");
        let at = rng.usize(..bytes.len());
        bytes[at] ^= 1 << rng.u32(..8);
        fs::write(path, bytes).expect("written");
    }),
    ("a folder is in its place", |path, _| {
        fs::remove_file(path).expect("removed");
        fs::create_dir(path).expect("made");
        fs::write(path.join("x"), "x").expect("written");
    }),
    ("another is in its place", |path, rng| {
        let bytes: Vec<u8> = (0..rng.usize(..5000)).map(|_| rng.u8(..)).collect();
        fs::write(path, bytes).expect("written");
    }),
];

/// Packets of an answer that is complete, or says that it is not.
fn checked(what: &str, place: &[String], filter: &str, whole: &[Vec<u8>]) -> bool {
    let arguments = ["extract", "-o", "-", "--format", "pcapng", "--filter", filter];
    let output = run(arguments.into_iter().chain(strings(place)));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let status = output.status.code();
    assert!(matches!(status, Some(0 | 1)), "{what}: {filter:?}: {status:?}: {said}");
    let found = packets_of(&output.stdout);
    match status {
        Some(0) => assert!(found == whole, "{what}: {filter:?}: {} of {}: {said}", found.len(), whole.len()),
        _ => {
            assert!(said.contains("incomplete") || said.contains("not kept"), "{what}: {filter:?}: {said}");
            let is_of_whole = found.iter().all(|packet| whole.contains(packet));
            let tells = said.contains("differ from those recorded");
            assert!(is_of_whole || tells, "{what}: {filter:?}: packets that are none: {said}");
        }
    }
    status == Some(0)
}

/// The packets in a pcapng file, as blocks.
fn packets_of(file: &[u8]) -> Vec<Vec<u8>> {
    let (mut rest, mut found) = (file, Vec::new());
    let word = |bytes: &[u8], at: usize| {
        bytes.get(at..at + 4).map(|word| u32::from_le_bytes(word.try_into().expect("4 bytes")))
    };
    while let (Some(kind), Some(length)) = (word(rest, 0), word(rest, 4)) {
        let (block, behind) = rest.split_at(length as usize);
        if kind == 6 {
            // Without the number of the interface.
            found.push(block[12..].to_vec());
        }
        rest = behind;
    }
    found
}

#[test]
fn whatever_becomes_of_objects_what_is_lacking_is_named() {
    let seed = seed();
    let mut rng = Rng::with_seed(seed);
    let (scene, archive, cache) = archived_scene();
    let filters: Vec<&String> = scene.filters.iter().take(6).collect();
    let whole: Vec<Vec<Vec<u8>>> = filters
        .iter()
        .map(|filter| {
            let arguments =
                ["extract", "-o", "-", "--format", "pcapng", "--store", &scene.store(), "--filter", filter];
            packets_of(&done(arguments))
        })
        .collect();
    let place = archive.arguments(cache.path());
    let (mut complete, mut incomplete) = (0, 0);
    for kind in [".pcap.zst", ".pcap", ".idx", ".hour", ".jsonl.zst", "store.toml"] {
        for (what, change) in CHANGES {
            let objects = archive.objects(kind);
            assert!(!objects.is_empty(), "{kind}");
            let object = &objects[rng.usize(..objects.len())];
            let before = fs::read(object).expect("read");
            change(object, &mut rng);
            let what = format!("{what}: {}", object.display());
            // Of what is in the cache, nothing is asked of the archive.
            fs::remove_dir_all(cache.path()).expect("removed");
            for (filter, whole) in filters.iter().zip(&whole) {
                if checked(&what, &place, filter, whole) { complete += 1 } else { incomplete += 1 }
            }
            let _ = fs::remove_dir_all(object);
            let _ = fs::remove_file(object);
            fs::write(object, before).expect("written");
        }
    }
    eprintln!("{complete} complete answers, {incomplete} that name what they lack");
    assert!(complete > 30 && incomplete > 30);
    fs::remove_dir_all(cache.path()).expect("removed");
    assert!(checked("as it was", &place, filters[0], &whole[0]));
}

#[test]
fn a_segment_whose_file_is_gone_is_named() {
    let (scene, archive, cache) = archived_scene();
    let place = archive.arguments(cache.path());
    let all = packets_of(&done(["extract", "-o", "-", "--format", "pcapng", "--store", &scene.store()]));
    let lost = archive.objects(".pcap.zst").pop().expect("a segment");
    fs::remove_file(&lost).expect("removed");
    let name = lost.file_name().and_then(|name| name.to_str()).expect("a name");
    let stem = name.trim_end_matches(".pcap.zst");
    // From the second time on the list comes from the cache.
    for _ in 0..2 {
        let output = run(["extract", "-o", "-", "--format", "pcapng"].into_iter().chain(strings(&place)));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("unreadable") && said.contains(stem), "{said}");
        let found = packets_of(&output.stdout);
        assert!(found.len() < all.len() && found.iter().all(|packet| all.contains(packet)));
    }
    let verified = run(["verify"].into_iter().chain(strings(&place)));
    let said = String::from_utf8_lossy(&[verified.stdout, verified.stderr].concat()).into_owned();
    assert!(verified.status.code() == Some(1) && said.contains(stem), "{said}");
}

#[test]
fn torn_and_forged_files_of_the_cache_change_no_answer() {
    let mut rng = Rng::with_seed(seed());
    let (scene, archive, cache) = archived_scene();
    let place = archive.arguments(cache.path());
    let filters = &scene.filters[..6];
    let before = answers(&scene.store(), filters);
    assert_unchanged("before", &before, &answers_from(&strings(&place), filters));
    let all = files_below(cache.path());
    assert!(all.len() > 10);
    for (what, change) in CHANGES {
        for path in &all {
            if rng.u8(..3) == 0 && path.is_file() {
                change(path, &mut rng);
            }
        }
        assert_unchanged(what, &before, &answers_from(&strings(&place), filters));
    }
    let small: Vec<String> =
        place.iter().cloned().chain(["--archive-cache-bytes".into(), "20KB".into()]).collect();
    assert_unchanged("a small cache", &before, &answers_from(&strings(&small), filters));
    let bytes: u64 = files_below(cache.path()).iter().map(|it| fs::metadata(it).expect("there").len()).sum();
    assert!(bytes <= 20_000, "{bytes} bytes");
}

#[test]
fn captures_come_back_from_an_archive() {
    let Some(captures) = captures() else { return };
    let mut rng = Rng::with_seed(seed());
    let questions: [&[&str]; 5] = [
        &["extract", "-o", "-"],
        &["extract", "-o", "-", "--filter", "tcp", "--json"],
        &["extract", "-o", "-", "--no-index", "--filter", "udp or arp"],
        &["extract", "--count", "--filter", "ip[8] > 60"],
        &["flows", "--format", "csv", "--sort", "start"],
    ];
    let mut compared = 0;
    for file in captures {
        if rng.u8(..10) > 0 {
            continue;
        }
        let folder = tempfile::tempdir().expect("a folder");
        let (store, cache) = (folder.path().join("store"), folder.path().join("cache"));
        import(&store, &[&file]);
        if rng.bool() {
            compress(&store);
        }
        done(["index", "--store", &store.display().to_string()]);
        if segments(&store).is_empty() && files_below(&store.join("segments")).is_empty() {
            continue;
        }
        let archive = Archive::of(&store);
        let place = archive.arguments(&cache);
        for question in questions {
            let ask = |place: &[&str]| {
                let output = run(question[..1].iter().chain(place).chain(&question[1..]));
                (output.status.code(), output.stdout)
            };
            let local = ask(&["--store", &store.display().to_string()]);
            assert!(local == ask(&strings(&place)), "{}: {question:?}", file.display());
        }
        compared += 1;
    }
    eprintln!("{compared} captures");
}

#[test]
fn several_recorders_give_one_answer_in_order_of_time() {
    let (scene, archive, cache) = archived_scene();
    let other = tempfile::tempdir().expect("a folder");
    let store = other.path().join("store");
    let capture = other.path().join("other.pcap");
    let packets = read_pcap(&done(["extract", "--store", &scene.store(), "-o", "-"]));
    let some: Vec<_> = packets.iter().step_by(3).cloned().collect();
    fs::write(&capture, write_pcap(1, &some)).expect("written");
    import(&store, &[&capture]);
    done(["index", "--store", &store.display().to_string()]);
    archive.add(&store);
    let place = archive.arguments(cache.path());
    let all = run(["extract", "-o", "-", "--format", "pcap"].into_iter().chain(strings(&place)));
    assert_eq!(all.status.code(), Some(0), "{}", String::from_utf8_lossy(&all.stderr));
    let found = read_pcap(&all.stdout);
    assert_eq!(found.len(), packets.len() + some.len());
    assert!(found.is_sorted_by_key(|packet| (packet.seconds, packet.nanoseconds)));
    let counted = run(["extract", "--count"].into_iter().chain(strings(&place)));
    assert_eq!(String::from_utf8_lossy(&counted.stdout).trim(), found.len().to_string());
    let one = ["extract", "-o", "-", "--format", "pcap", "--recorder", &archive.id];
    let one = run(one.into_iter().chain(strings(&place)));
    assert_eq!(read_pcap(&one.stdout).len(), packets.len());
    let list = |more: &[&str]| -> Vec<Value> {
        let flows =
            ["flows", "--json", "--quiet", "--limit", "100000"].into_iter().chain(more.iter().copied());
        let output = run(flows.map(str::to_owned).chain(strings(&place).into_iter().map(str::to_owned)));
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        let lines = String::from_utf8_lossy(&output.stdout).into_owned();
        lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    };
    let flows = list(&[]);
    let of_one = flows.iter().filter(|flow| flow["recorder"] == archive.id.as_str()).count();
    assert_eq!(of_one, list(&["--recorder", &archive.id]).len());
    assert!(of_one > 0 && of_one < flows.len(), "{of_one} of {}", flows.len());
    let status = run(["status", "--json"].into_iter().chain(strings(&place)));
    let ids: Vec<String> = String::from_utf8_lossy(&status.stdout)
        .lines()
        .filter_map(|line| Some(serde_json::from_str::<Value>(line).ok()?["id"].as_str()?.to_owned()))
        .collect();
    assert!(ids.len() == 2 && ids.contains(&archive.id), "{ids:?}");
    let unknown = run(["extract", "--count", "--recorder", "x"].into_iter().chain(strings(&place)));
    assert_eq!(unknown.status.code(), Some(2));
}

#[test]
fn verify_compares_every_object_with_its_index() {
    let (_scene, archive, cache) = archived_scene();
    let place = archive.arguments(cache.path());
    let verify = || run(["verify"].into_iter().chain(strings(&place)));
    let sound = verify();
    assert_eq!(sound.status.code(), Some(0), "{}", String::from_utf8_lossy(&sound.stdout));
    for kind in [".pcap.zst", ".pcap"] {
        let objects = archive.objects(kind);
        let object = objects.first().expect("an object");
        let mut bytes = fs::read(object).expect("read");
        let before = bytes.clone();
        let at = bytes.len() / 2;
        bytes[at] ^= 1;
        fs::write(object, bytes).expect("written");
        let found = verify();
        let stem = object.file_name().expect("a name").to_string_lossy().into_owned();
        let stem = stem.trim_end_matches(".zst").trim_end_matches(".pcap");
        let said = String::from_utf8_lossy(&found.stdout).into_owned();
        assert!(found.status.code() == Some(1) && said.contains(stem), "{kind}: {said}");
        fs::write(object, before).expect("written");
    }
    fs::remove_dir_all(cache.path()).expect("removed");
    let object = &archive.objects(".idx")[0];
    let bytes = fs::read(object).expect("read");
    fs::write(object, &bytes[..bytes.len() - 9]).expect("written");
    assert_eq!(verify().status.code(), Some(1));
}

#[test]
fn a_service_answers_from_an_archive_and_keeps_only_its_cache() {
    let (scene, archive, cache) = archived_scene();
    let place = archive.arguments(cache.path());
    let refused = run(["serve", "--listen", "127.0.0.1:0"].into_iter().chain(strings(&place)));
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.status.code() == Some(2) && said.contains("--no-audit"), "{said}");
    let aside = format!("{}.aside", scene.store());
    let local = Service::of(&scene.store());
    let questions = [
        "/api/v1/packets/count?filter=ip",
        "/api/v1/packets?filter=udp&format=pcap",
        "/api/v1/flows?filter=tcp&limit=100",
        "/api/v1/summary?filter=ip",
        "/api/v1/segments",
    ];
    let bare = |body: &[u8]| {
        let mut told: Value = serde_json::from_slice(body).unwrap_or_default();
        ["work", "took"].iter().for_each(|field| {
            told.as_object_mut().map(|fields| fields.remove(*field));
        });
        let of_disk = |segment: &mut Value| segment["disk_bytes"] = Value::Null;
        told.as_array_mut().into_iter().flatten().for_each(of_disk);
        if told.is_null() { body.to_vec() } else { told.to_string().into_bytes() }
    };
    let before: Vec<_> = questions.iter().map(|it| local.get(it)).collect();
    drop(local);
    fs::rename(scene.store(), &aside).expect("renamed");
    let arguments: Vec<&str> = ["serve", "--no-audit"].into_iter().chain(strings(&place)).collect();
    let service = Service::start(&arguments);
    for (question, before) in questions.iter().zip(before) {
        let now = service.get(question);
        assert_eq!(now.status, before.status, "{question}");
        assert!(
            bare(&now.body) == bare(&before.body),
            "{question}: {}\n{}",
            String::from_utf8_lossy(&before.body),
            String::from_utf8_lossy(&now.body)
        );
    }
    let status = String::from_utf8_lossy(&service.get("/api/v1/status").body).into_owned();
    assert!(status.contains(&archive.url()), "{status}");
    let figures = String::from_utf8_lossy(&service.get("/metrics").body).into_owned();
    let gets = figures
        .lines()
        .find_map(|line| line.strip_prefix("netrewind_archive_gets_total "))
        .expect("a figure");
    assert!(gets.parse::<u64>().is_ok_and(|gets| gets > 0), "{figures}");
    fs::rename(&aside, scene.store()).expect("renamed");
}
