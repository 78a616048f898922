//! Archives on a real object store, behind a proxy that delays, refuses and breaks off requests.

use std::path::PathBuf;
use std::process::Output;
use std::time::{Duration, Instant};

use netrewind_archive::{ArchiveUrl, Bucket, CloudEnvironment};

use crate::hours::Scene;
use crate::support::archived::{Archive, compress};
use crate::support::object_store::{KEYS, ObjectStore};
use crate::support::packets::read_pcap;
use crate::support::proxied::{Fate, Proxy};
use crate::support::{done, files_below, netrewind, run};

/// Name of a fault, what it does to a request, and a word by which it is told.
type FaultCase = (&'static str, fn() -> Fate, &'static str);

struct Setting {
    scene: Scene,
    proxy: Proxy,
    url: String,
    cache: tempfile::TempDir,
    _server: ObjectStore,
}

impl Setting {
    /// `None` without an object store, having said so.
    fn new(name: &str) -> Option<Self> {
        let server = ObjectStore::start()?;
        server.make_bucket("packets");
        let address = format!("127.0.0.1:{}", server.port);
        let scene = Scene::new();
        compress(&PathBuf::from(scene.store()));
        done(["index", "--store", &scene.store()]);
        let archive = Archive::of(&PathBuf::from(scene.store()));
        let url = format!("s3://packets/{name}-{}", std::process::id());
        let endpoint = [("AWS_ENDPOINT_URL".to_owned(), format!("http://{address}"))];
        let keys = KEYS.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let environment: CloudEnvironment = keys.into_iter().chain(endpoint).collect();
        let parsed: ArchiveUrl = url.parse().expect("a URL");
        let bucket = Bucket::open(&parsed, &environment).expect("a bucket");
        for file in files_below(archive.folder.path()) {
            let key = file.strip_prefix(archive.folder.path()).expect("below").display().to_string();
            bucket.put_new(&key, vec![std::fs::read(&file).expect("read").into()]).expect("put");
        }
        let cache = tempfile::tempdir().expect("a cache");
        Some(Self { scene, proxy: Proxy::before(&address), url, cache, _server: server })
    }

    fn ask(&self, arguments: &[&str]) -> Output {
        netrewind()
            .args(arguments)
            .args(["--archive", &self.url, "--archive-cache"])
            .arg(self.cache.path())
            .env("AWS_ENDPOINT_URL", format!("http://127.0.0.1:{}", self.proxy.port))
            .envs(KEYS)
            .output()
            .expect("runs")
    }

    fn forget(&self) {
        std::fs::remove_dir_all(self.cache.path()).expect("removed");
    }
}

#[test]
fn an_object_store_gives_the_answers_of_the_store() {
    let Some(setting) = Setting::new("same") else { return };
    let store = setting.scene.store();
    let questions: [&[&str]; 4] = [
        &["extract", "-o", "-", "--filter"],
        &["extract", "-o", "-", "--no-index", "--filter"],
        &["extract", "--count", "--filter"],
        &["flows", "--format", "json", "--filter"],
    ];
    for filter in &setting.scene.filters[..6] {
        for question in questions {
            let question: Vec<&str> = question.iter().copied().chain([filter.as_str()]).collect();
            let local = run(question.iter().copied().chain(["--store", &store]));
            let output = setting.ask(&question);
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), local.status.code(), "{question:?}: {said}");
            assert!(output.stdout == local.stdout, "{question:?}: {said}");
        }
    }
}

#[test]
fn refused_failing_cut_and_slow_requests_cost_their_part_alone() {
    let Some(setting) = Setting::new("faults") else { return };
    let question = ["extract", "-o", "-", "--filter", "ip"];
    let whole = read_pcap(&setting.ask(&question).stdout);
    assert!(whole.len() > 500);
    let is_segment = |line: &str| line.contains(".pcap.zst");
    let bytes = |file: &PathBuf| std::fs::metadata(file).map_or(0, |found| found.len());
    let files = files_below(&PathBuf::from(setting.scene.store()).join("segments"));
    let cold = files.into_iter().filter(|file| file.extension().is_some_and(|end| end == "zst"));
    let largest = cold.max_by_key(bytes).expect("a segment");
    let largest = largest.file_name().and_then(|name| name.to_str()).expect("a name").to_owned();
    let cases: [FaultCase; 4] = [
        ("refused", || Fate::Status(403), "403"),
        ("failing", || Fate::Status(500), "500"),
        ("cut", || Fate::Cut(700), "end of file"),
        ("missing", || Fate::Status(404), "404"),
    ];
    for (what, fate, named) in cases {
        setting.forget();
        // Of one segment alone: the largest, which is cut whatever the head of the answer is.
        let largest = largest.clone();
        setting.proxy.set(move |line| {
            if is_segment(line) && line.contains(&largest) { fate() } else { Fate::Late(Duration::ZERO) }
        });
        let output = setting.ask(&question);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{what}: {said}");
        assert!(
            said.contains("incomplete") && said.contains("unreadable") && said.contains(named),
            "{what}: {said}"
        );
        let found = read_pcap(&output.stdout);
        assert!(found.len() < whole.len() && found.len() * 2 > whole.len(), "{what}: {}", found.len());
    }
    setting.forget();
    setting.proxy.set(|_| Fate::Late(Duration::from_millis(100)));
    let output = setting.ask(&question);
    assert_eq!(output.status.code(), Some(0), "slow: {}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(read_pcap(&output.stdout).len(), whole.len(), "slow");
    setting.forget();
    setting.proxy.set(|_| Fate::Status(403));
    let output = setting.ask(&question);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(3) && said.contains("403"), "{:?}: {said}", output.status);
    let beside = ["extract", "-o", "-", "--filter", "ip", "--store", &setting.scene.store()];
    let output = setting.ask(&beside);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(1) && said.contains("403"), "{:?}: {said}", output.status);
    assert_eq!(read_pcap(&output.stdout).len(), whole.len(), "the store has all of it");
}

#[test]
fn a_needle_takes_few_requests() {
    let Some(setting) = Setting::new("needle") else { return };
    setting.proxy.set(|_| Fate::Late(Duration::from_millis(30)));
    let question = ["extract", "--count", "--filter", "host 10.77.0.2 and host 10.77.1.1 and port 443"];
    for what in ["cold", "with a cache"] {
        let begun = Instant::now();
        let output = setting.ask(&question);
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        eprintln!("{what}: {:?}, {} requests", begun.elapsed(), setting.proxy.gets());
    }
}
