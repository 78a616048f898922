//! Every command of the documents works: it is run as it stands, and ends as the document says.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use super::blocks::shown;
use super::for_users;
use super::stage::{End, Stage};
use super::traffic::TALKERS;
use crate::support::may_make_namespaces;

const SIGINT: i32 = 2;
/// Status of a shell whose command was ended by SIGINT.
const INTERRUPTED: i32 = 130;

/// A test for each document, so that they run side by side.
macro_rules! documents {
    ($($test:ident: $name:literal,)*) => {
        const NAMES: &[&str] = &[$($name),*];
        $(#[test]
        fn $test() {
            run_commands_of($name);
        })*
    };
}

documents! {
    readme: "README.md",
    cloud_mirror: "docs/cloud-mirror.md",
    comparison: "docs/comparison.md",
    config: "docs/config.md",
    cookbook: "docs/cookbook.md",
    evidence: "docs/evidence.md",
    extract: "docs/extract.md",
    flows: "docs/flows.md",
    http: "docs/http.md",
    install: "docs/install.md",
    ipfix: "docs/ipfix.md",
    operate: "docs/operate.md",
    record: "docs/record.md",
    security: "docs/security.md",
    tables: "docs/tables.md",
    troubleshooting: "docs/troubleshooting.md",
    tunnels: "docs/tunnels.md",
    wireshark: "docs/wireshark.md",
}

#[test]
fn documents_with_commands_are_all_run() {
    let documents = for_users();
    let mut left_out = 0;
    for document in &documents {
        let found = shown(document);
        left_out += found.left_out;
        let is_run = NAMES.contains(&&*document.name);
        assert_eq!(
            is_run,
            !found.commands.is_empty(),
            "{}: list it in the macro above if it has commands",
            document.name
        );
    }
    eprintln!(
        "{left_out} commands of the documents are left out: they build the program, or need another kernel or a bucket"
    );
    assert!(left_out <= 23, "{left_out} commands that nobody runs");
}

/// When a command ends.
fn end(command: &str) -> End {
    let has = |words: &str| command.contains(words);
    match () {
        () if has("netrewind record") || has("netrewind run") => End::OnceItSays("Ctrl-C ends it"),
        () if has("netrewind serve") => End::OnceItSays("Answering on "),
        () if has("--follow") || has("follow=true") || has("mode:live") => End::AfterAWhile,
        () => End::ByItself,
    }
}

/// True for what records or begins to serve: it stands where the interfaces are, and where no other service is in its way.
fn is_inside(command: &str) -> bool {
    let words = ["netrewind record", "netrewind run", "netrewind serve", "tcpdump -i"];
    words.iter().any(|words| command.contains(words))
}

/// True if the command has ended as the document says: without a word about it, with status 0.
fn is_expected(status: ExitStatus, announced: Option<i32>, end: &End) -> bool {
    // Programs around netrewind may be ended by the Ctrl-C, or fail because of it.
    let is_interrupted = status.signal() == Some(SIGINT) || matches!(status.code(), Some(1 | INTERRUPTED));
    status.code() == Some(announced.unwrap_or(0)) || matches!(end, End::AfterAWhile) && is_interrupted
}

/// True for a command that extracts packets of hosts and names that there are.
fn asks_for_traffic(command: &str) -> bool {
    let is_among = TALKERS.iter().any(|talker| command.contains(talker));
    command.contains("netrewind extract") && is_among && !command.contains("--gre-key")
}

fn run_commands_of(name: &str) {
    if !may_make_namespaces() {
        return;
    }
    let document = for_users().into_iter().find(|document| document.name == name).expect("the document");
    let (stage, commands) = (Stage::new(), shown(&document).commands);
    let mut wrong = Vec::new();
    for command in &commands {
        let bare = command.text.split(" #").next().unwrap_or_default();
        let end = end(bare);
        let (status, said) = stage.run(&command.text, is_inside(bare), &end);
        let is_ended_well =
            status.is_some_and(|status| is_expected(status, command.announced_status(), &end));
        if !is_ended_well || asks_for_traffic(bare) && said.lines().any(|line| line.starts_with("0 packets,"))
        {
            wrong.push(format!("{name}:{}: ended with {status:?}: {}\n{said}", command.line, command.text));
        }
    }
    eprintln!("{name}: {} commands", commands.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
