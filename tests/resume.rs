//! Downloads that break off and go on: the same bytes as in one, or all of the answer anew.

use std::path::Path;
use std::process::{Command, Output};

use crate::support::import;
use crate::support::packets::{Packet, read_pcap, write_pcap};
use crate::support::served::{PACKETS, packet, store};
use crate::support::service::{Response, Service};

/// Packets of a megabyte or two, and of an answer that a client needs a while for.
const FEW: usize = 2_000;
const MANY: usize = 60_000;
const PAYLOAD_BYTES: usize = 700;
/// Times before and after all of them.
const RANGE: &str = "from=2023-01-01T00:00:00Z&to=2024-01-01T00:00:00Z";

fn curl(arguments: &[&str]) -> Output {
    Command::new("curl").args(["-sS"]).args(arguments).output().expect("curl runs: scripts/install test")
}

fn asking(service: &Service, query: &str, headers: &[(&str, &str)]) -> Response {
    Response::read(service.send("GET", &format!("{PACKETS}?{query}"), headers, ""), false)
}

fn tag(answer: &Response) -> String {
    answer.header("etag").expect("a tag").to_owned()
}

#[test]
fn a_download_that_was_cut_off_goes_on_to_the_same_bytes() {
    let folder = tempfile::tempdir().expect("a folder");
    let service = Service::of(&store(folder.path(), MANY, PAYLOAD_BYTES));
    for (format, more) in
        [("pcap", ""), ("pcapng", "&filter=udp+and+greater+100"), ("pcap", "&max_packets=50000")]
    {
        let url = format!("http://{}{PACKETS}?{RANGE}&format={format}{more}", service.address);
        let at = |name: &str| folder.path().join(format!("{name}.{format}")).display().to_string();
        let (whole, pieces, headers) = (at("whole"), at("pieces"), at("headers"));
        assert!(curl(&["-f", "-o", &whole, &url]).status.success());
        let whole = std::fs::read(&whole).expect("a capture");
        assert!(whole.len() > 20 << 20, "{}", whole.len());
        let _ = std::fs::remove_file(&pieces);
        let mut cuts = 0;
        // Cut off after a second each, and then no more.
        for limit in ["6M", "9M", ""] {
            let timed = ["--max-time", "1", "--limit-rate", limit];
            let timed = if limit.is_empty() { &[][..] } else { &timed[..] };
            let told = std::fs::read_to_string(&headers).unwrap_or_default();
            let told = told.lines().find_map(|line| line.strip_prefix("etag: ")).map(str::to_owned);
            let condition = told.map(|tag| format!("If-Range: {tag}"));
            let condition: Vec<&str> = condition.iter().flat_map(|text| ["-H", text]).collect();
            let output = curl(
                &[&["-f", "-C", "-", "-D", &headers, "-o", &pieces], timed, &condition, &[&url]].concat(),
            );
            cuts += usize::from(output.status.code() == Some(28));
            let so_far = std::fs::read(&pieces).expect("a part");
            assert!(whole.starts_with(&so_far), "{format}: {} bytes are the first", so_far.len());
        }
        assert!(cuts >= 1, "it was cut off");
        assert!(std::fs::read(&pieces).expect("a capture") == whole, "{format}{more}");
        // There is nothing more: curl is content with that.
        assert!(curl(&["-C", "-", "-o", &pieces, &url]).status.code().is_some());
        assert!(std::fs::read(&pieces).expect("a capture") == whole);
    }
}

#[test]
fn parts_are_those_of_rfc_9110() {
    let folder = tempfile::tempdir().expect("a folder");
    let service = Service::of(&store(folder.path(), FEW, PAYLOAD_BYTES));
    let whole = asking(&service, RANGE, &[]);
    assert_eq!((whole.status, whole.header("accept-ranges")), (200, Some("bytes")));
    let (length, tag) = (whole.body.len(), tag(&whole));
    assert!(tag.starts_with('"') && tag.ends_with('"'), "a strong one: {tag}");
    assert_eq!(service.head(&format!("{PACKETS}?{RANGE}")).header("etag"), Some(&*tag));
    for first in [0, 1, 23, 24, 25, 4000, length / 2, length - 1] {
        let part = asking(&service, RANGE, &[("Range", &format!("bytes={first}-")), ("If-Range", &tag)]);
        assert_eq!(part.status, 206);
        let range = format!("bytes {first}-{}/{length}", length - 1);
        assert_eq!((part.header("content-range"), part.header("etag")), (Some(&*range), Some(&*tag)));
        assert!(part.body == whole.body[first..], "{first}");
        let account =
            part.header("netrewind-answer").or(part.trailer("netrewind-answer")).expect("an account");
        let account: serde_json::Value = serde_json::from_str(account).expect("JSON");
        assert_eq!(
            (&account["packets"], &account["complete"]),
            (&FEW.into(), &true.into()),
            "of the whole answer"
        );
    }
    // The rest of an answer that was never made before is measured first.
    let other = format!("{RANGE}&filter=src+port+1007&format=pcapng");
    let part = asking(&service, &other, &[("Range", "bytes=333-")]);
    let all = asking(&service, &other, &[]);
    assert_eq!((part.status, all.status), (206, 200));
    assert!(part.body == all.body[333..] && part.header("etag") == all.header("etag"));
    let end = asking(&service, RANGE, &[("Range", "bytes=-100")]);
    assert!(end.status == 206 && end.body == whole.body[length - 100..]);
    let beyond = asking(&service, RANGE, &[("Range", &format!("bytes={length}-"))]);
    assert_eq!((beyond.status, beyond.header("content-range")), (416, Some(&*format!("bytes */{length}"))));
    assert_eq!(beyond.json()["type"], "/problems/range-not-satisfiable");
    // What is not for this answer gives all of it.
    for headers in [
        &[("Range", "bytes=5-"), ("If-Range", "\"another\"")][..],
        &[("Range", "bytes=5-"), ("If-Range", "Sun, 22 Nov 2026 09:31:01 GMT")],
        &[("Range", "bytes=5-9")],
        &[("Range", "bytes=5-9, 20-")],
        &[("Range", "packets=5-")],
    ] {
        let all = asking(&service, RANGE, headers);
        assert_eq!((all.status, all.header("content-range")), (200, None), "{headers:?}");
        assert!(all.body == whole.body, "{headers:?}");
    }
    // Another query has another tag.
    let mut tags = vec![tag.clone()];
    for other in ["&filter=udp", "&format=pcapng", "&max_packets=10", "&view=outer", "&decapsulate=true"] {
        tags.push(self::tag(&asking(&service, &format!("{RANGE}{other}"), &[])));
    }
    tags.push(self::tag(&asking(&service, "from=2023-01-01T00:00:01Z&to=2024-01-01T00:00:00Z", &[])));
    tags.sort_unstable();
    tags.dedup();
    assert_eq!(tags.len(), 7);
    // A range that moves with the clock is another one each time, and one whose end is to come is not finished.
    let moving = "from=30000d+ago&to=1d+ago";
    let moving =
        if asking(&service, moving, &[]).status == 200 { moving } else { "from=1970-01-02&to=1d+ago" };
    let moved = asking(&service, moving, &[("Range", "bytes=5-")]);
    assert!(moved.status == 200 && moved.body == whole.body, "not without If-Range");
    for open in [
        "from=2023-01-01T00:00:00Z",
        "from=2023-01-01T00:00:00Z&to=2100-01-01T00:00:00Z",
        &format!("{RANGE}&max_seconds=60"),
    ] {
        let answer = asking(&service, open, &[("Range", "bytes=5-")]);
        assert_eq!(
            (answer.status, answer.header("etag"), answer.header("accept-ranges")),
            (200, None, None),
            "{open}"
        );
        assert!(answer.body == whole.body);
    }
    let posted = service.post(PACKETS, "application/x-www-form-urlencoded", RANGE);
    assert!(posted.status == 200 && posted.body == whole.body);
}

#[test]
fn an_answer_that_has_changed_is_sent_whole() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = store(folder.path(), FEW, PAYLOAD_BYTES);
    let service = Service::of(&store);
    let before = asking(&service, RANGE, &[]);
    let unchanged = tag(&asking(&service, RANGE, &[]));
    assert_eq!(tag(&before), unchanged);
    // Later packets of another time are nothing to it.
    let put = |name: &str, packets: &[Packet]| {
        let file = folder.path().join(name);
        std::fs::write(&file, write_pcap(1, packets)).expect("written");
        import(Path::new(&store), &[&file]);
    };
    let later = |seconds: u32, number: usize| {
        let packet = packet(number, PAYLOAD_BYTES);
        Packet { seconds: packet.seconds + seconds, ..packet }
    };
    put("later.pcap", &[later(80_000_000, 1)]);
    assert_eq!(tag(&asking(&service, RANGE, &[])), unchanged);
    // Packets in the midst of it are.
    put("midst.pcap", &[later(0, 1000)]);
    let resumed = |answer: &Response| {
        let headers = [("Range", "bytes=100-"), ("If-Range", &*tag(answer))].map(|(a, b)| (a, b.to_owned()));
        let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, &**value)).collect();
        asking(&service, RANGE, &headers)
    };
    let after = resumed(&before);
    assert_eq!((after.status, after.header("content-range")), (200, None));
    assert_ne!(tag(&after), unchanged);
    assert_eq!(read_pcap(&after.body).len(), FEW + 1);
    assert_eq!(resumed(&after).status, 206);
    // So is retention: the oldest segment goes.
    let mut segments: Vec<_> = crate::support::files_below(&Path::new(&store).join("segments"));
    segments.sort();
    let oldest = segments[0].with_extension("");
    for file in segments.iter().filter(|file| file.with_extension("") == oldest) {
        std::fs::remove_file(file).expect("removed");
    }
    let expired = resumed(&after);
    assert_eq!((expired.status, expired.header("content-range")), (200, None));
    assert!(read_pcap(&expired.body).len() < FEW + 1);
    assert_eq!(resumed(&expired).status, 206);
    // What cannot be read may be read the next time: the bytes of such an answer have no name.
    let left = crate::support::files_below(&Path::new(&store).join("segments"));
    let left = left.iter().find(|file| file.extension().is_some_and(|extension| extension == "pcap"));
    let damaged = left.expect("a segment").display().to_string().replace("-0.pcap", "-7.pcap");
    std::fs::write(damaged, b"no segment").expect("written");
    let told = resumed(&expired);
    assert_eq!((told.status, told.header("etag"), told.header("accept-ranges")), (200, None, None));
}
