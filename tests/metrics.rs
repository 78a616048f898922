//! What is told of a recorder's ring and disk, wherever it is asked: by the service, which is another process, and by `status`.

use std::time::Duration;

use crate::support::link::{Link, count_in_logbook, wait_until};
use crate::support::packets::write_pcap;
use crate::support::served::packet;
use crate::support::service::Service;
use crate::support::{done, may_make_namespaces};

/// The value of a sample.
fn value(text: &str, sample: &str) -> f64 {
    let line = text.lines().find(|line| line.rsplit_once(' ').is_some_and(|(name, _)| name == sample));
    let line = line.unwrap_or_else(|| panic!("no {sample} in {text}"));
    line.rsplit(' ').next().and_then(|value| value.parse().ok()).expect("a number")
}

#[test]
fn ring_and_writes_are_told_by_service_and_status() {
    if !may_make_namespaces() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let (store, capture) = (folder.path().join("store"), folder.path().join("capture.pcap"));
    let packets: Vec<_> = (0..3000).map(|number| packet(number, 1000)).collect();
    std::fs::write(&capture, write_pcap(1, &packets)).expect("written");
    let link = Link::new();
    let recording = link.record(&store, &["--ring", "16MiB"]);
    let store_text = store.display().to_string();
    let service = Service::of(&store_text);
    for _ in 0..3 {
        link.send(&capture, &["--mbps=40"]);
    }
    wait_until("writes are logged", || count_in_logbook(&store, "\"writes\":") >= 2);
    wait_until("a ring is logged", || count_in_logbook(&store, "\"ring\":{\"blocks\":16,") >= 2);
    let text = String::from_utf8(service.get("/metrics").body).expect("text");
    let write = "netrewind_recorder_write_duration_seconds";
    let count = value(&text, &format!("{write}_count"));
    assert!(count >= 2.0 && value(&text, &format!("{write}_sum")) > 0.0, "{text}");
    assert_eq!(value(&text, &format!("{write}_bucket{{le=\"+Inf\"}}")), count);
    assert!(value(&text, &format!("{write}_bucket{{le=\"0.0025\"}}")) <= count);
    assert_eq!(value(&text, "netrewind_recorder_ring_blocks{lane=\"0\"}"), 16.0);
    assert!(value(&text, "netrewind_recorder_ring_filled_blocks{lane=\"0\"}") <= 16.0);
    assert_eq!(value(&text, "netrewind_recorder_ring_freezes_total"), 0.0);

    recording.stop();
    let status = String::from_utf8(done(["status", "--store", &store_text])).expect("text");
    assert!(status.lines().any(|line| line.starts_with("ring ") && line.contains("% full")), "{status}");
    let slowest = status.lines().find(|line| line.starts_with("slowest ")).expect("a line");
    assert!(slowest.ends_with("ms") || slowest.ends_with(" s"), "{slowest}");
    let overview = done(["status", "--store", &store_text, "--json"]);
    let overview: serde_json::Value = serde_json::from_slice(&overview).expect("JSON");
    let share = overview["ring_filled_last_day"].as_f64().expect("a number");
    assert!(share > 0.0 && share <= 1.0, "{overview}");
    let slowest = overview["slowest_write_last_day"].as_f64().expect("a number");
    assert!(slowest > 0.0 && slowest < Duration::from_secs(60).as_secs_f64(), "{overview}");
    // The ring of one that has ended is not told any more; what it wrote is.
    let text = String::from_utf8(service.get("/metrics").body).expect("text");
    assert!(!text.contains("ring_filled_blocks{") && value(&text, &format!("{write}_count")) >= count);
}
