//! The Python client: made of the OpenAPI document, it gives what the command gives.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::packets::{Packet, read_pcap, tcp, write_pcap};
use crate::support::service::Service;
use crate::support::{done, import};

const PACKETS: u32 = 5000;

/// The wheel, twice: the same bytes.
fn wheel(folder: &Path) -> PathBuf {
    let make = |name: &str| {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/python-client");
        let output =
            Command::new("python3").arg(script).arg(folder.join(name)).output().expect("python3 runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        PathBuf::from(String::from_utf8(output.stdout).expect("a path").trim())
    };
    let (one, other) = (make("one"), make("other"));
    assert_eq!(std::fs::read(&one).expect("a wheel"), std::fs::read(other).expect("a wheel"));
    one
}

/// What a program says that uses the wheel: pip is not needed, Python imports from a wheel as it is.
fn python(wheel: &Path, program: &str, arguments: &[&str]) -> (bool, String) {
    let output = Command::new("python3")
        .args(["-W", "error", "-c", program])
        .args(arguments)
        .env("PYTHONPATH", wheel)
        .output()
        .expect("python3 runs");
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

#[test]
fn the_python_client_gives_what_the_command_gives() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name).to_str().expect("a path").to_owned();
    let packet = |number: u32| {
        let [_, _, high, low] = number.to_be_bytes();
        let ends = [([10, 0, high, low], 40_000), ([10, 9, 0, 1], 443)];
        tcp((1_795_339_862 + number / 1000, number % 1000 * 1000), ends, (number, 0), 0x10, b"x")
    };
    let packets: Vec<Packet> = (0..PACKETS).map(packet).collect();
    std::fs::write(at("all.pcap"), write_pcap(1, &packets)).expect("written");
    import(Path::new(&at("store")), &[Path::new(&at("all.pcap"))]);
    let service = Service::of(&at("store"));
    let url = format!("http://{}", service.address);
    let wheel = wheel(folder.path());

    let program = "
import sys, hashlib, netrewind
recorder = netrewind.Client(sys.argv[1])
answer, digest, count = recorder.packets(filter='src net 10.0.0.0/20'), hashlib.sha256(), 0
for packet in answer:
    digest.update(packet.time_ns.to_bytes(8, 'big') + packet.length.to_bytes(4, 'big') + packet.data)
    count += 1
assert packet.link_type == 1 and answer.account['packets'] == count, answer.account
assert recorder.count_packets(filter='src net 10.0.0.0/20')['packets'] == count
assert recorder.query_count(hosts='10.0.0.0/20,!10.0.0.1')['packets'] == count - 1
account = recorder.save(sys.argv[2], filter='src net 10.0.0.0/20')
assert account['packets'] == count, account
flows = list(recorder.flows(sort='start', limit=7, filter='src net 10.0.0.0/25'))
assert len({flow['id'] for flow in flows}) == len(flows) == 128, len(flows)
rows = recorder.list_flows(format='csv', sort='start', limit=7, filter='src net 10.0.0.0/25').splitlines()
assert rows[0].startswith('id,first,last,') and [row.split(',')[0] for row in rows[1:]] == [flow['id'] for flow in flows[:7]], rows
flow = recorder.get_flow(flows[5]['id'])
assert flow['client']['address'] == flows[5]['client']['address'], flow
assert recorder.get_status()['segments'] and 'netrewind_build_info' in recorder.get_metrics()
try:
    recorder.packets(filter='port nonsense')
    raise SystemExit('a wrong filter was accepted')
except netrewind.Problem as problem:
    assert problem.status == 400 and 'nonsense' in str(problem), problem
print(count, digest.hexdigest())
";
    let (is_done, said) = python(&wheel, program, &[&url, &at("saved.pcap")]);
    assert!(is_done, "{said}");
    let store = at("store");
    let extracted = done(["extract", "-q", "--store", &store, "--filter", "src net 10.0.0.0/20", "-o", "-"]);
    assert_eq!(std::fs::read(at("saved.pcap")).expect("a file"), extracted, "the file is the same");
    let found = read_pcap(&extracted);
    let mut bytes = Vec::new();
    for packet in &found {
        bytes.extend(packet.at_ns().to_be_bytes());
        bytes.extend(packet.len.to_be_bytes());
        bytes.extend(&packet.bytes);
    }
    std::fs::write(at("bytes"), bytes).expect("written");
    let digest = Command::new("sha256sum").arg(at("bytes")).output().expect("sha256sum runs").stdout;
    let digest = String::from_utf8(digest).expect("text");
    let digest = digest.split_whitespace().next().expect("a digest");
    assert_eq!(said.trim(), format!("{} {digest}", found.len()), "packets one by one");

    // An answer that is not complete is told; here a warning is an exception.
    let segment =
        std::fs::read_dir(at("store/segments")).expect("days").next().expect("a day").expect("read").path();
    let segment = std::fs::read_dir(segment).expect("segments").map(|entry| entry.expect("read").path());
    let mut segment = segment.filter(|path| path.extension().is_some_and(|extension| extension == "pcap"));
    std::fs::File::options()
        .write(true)
        .open(segment.next().expect("a segment"))
        .and_then(|file| file.set_len(100_000))
        .expect("shortened");
    let program = "import sys, netrewind\nfor packet in netrewind.Client(sys.argv[1]).packets(): pass";
    let (is_done, said) = python(&wheel, program, &[&url]);
    assert!(!is_done && said.contains("IncompleteAnswer"), "{said}");
}
