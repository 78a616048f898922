//! Conversations whose labels are known because they were made so.

use netrewind_labels::{ConversationPorts, Direction, LabelStep, Labeller, Transport};

use crate::support::{HTTPS, client_hello, label, records};
use Direction::{Backward, Forward};

const SERVER_HELLO: &[u8] = b"\x16\x03\x03\x00\x3a\x02\x00\x00\x36\x03\x03................................\
    \x00\x13\x01\x00\x00\x0e\x00\x2b\x00\x02\x03\x04\x00\x33\x00\x04\x00\x1d\x00\x00";

#[test]
fn both_hellos_make_the_labels_of_tls() {
    let hello = records(&client_hello("WWW.Example.org", 9), 16_000);
    let labels = label(&HTTPS, &[(Forward, 0, &hello), (Backward, 0, SERVER_HELLO)]).expect("labels");
    assert_eq!((labels.application, labels.is_guess), ("tls", false));
    let tls = labels.tls.expect("TLS");
    assert_eq!(tls.server_name.as_deref(), Some("www.example.org"));
    assert_eq!(tls.alpn, ["h2".into(), "http/1.1".into()]);
    assert_eq!((tls.version_offered, tls.version, tls.cipher), (Some(0x0304), Some(0x0304), Some(0x1301)));
    let ja4 = tls.ja4.expect("a fingerprint");
    assert!(ja4.as_str().starts_with("t13d0305h2_"), "{ja4}");
}

#[test]
fn a_server_alone_and_a_cut_hello_still_tell_something() {
    let labels = label(&HTTPS, &[(Backward, 0, SERVER_HELLO)]).expect("labels");
    assert_eq!(labels.tls.expect("TLS").version, Some(0x0304));
    let hello = records(&client_hello("a.example", 600), 16_000);
    let tls = label(&HTTPS, &[(Forward, 0, &hello[..400])]).expect("labels").tls.expect("TLS");
    assert_eq!((tls.server_name.as_deref(), tls.ja4), (Some("a.example"), None));
}

#[test]
fn a_question_waits_for_its_answer() {
    let dns = ConversationPorts { transport: Transport::Udp, ports: [40_000, 53] };
    let question = b"\x12\x34\x01\x00\0\x01\0\0\0\0\0\0\x03wWw\x07example\x03org\0\0\x01\0\x01";
    let answer = [
        &b"\x12\x34\x81\x80\0\x01\0\x02\0\0\0\0\x03wWw\x07example\x03org\0\0\x01\0\x01"[..],
        b"\xc0\x0c\0\x05\0\x01\0\0\0\x09\0\x04\x01a\xc0\x10",
        b"\xc0\x2d\0\x01\0\x01\0\0\0\x09\0\x04\xc0\0\x02\x07",
    ]
    .concat();
    let mut labeller = Labeller::new();
    assert_eq!(labeller.push(&dns, Forward, 0, question), LabelStep::NeedMore([0, 4096]));
    let LabelStep::Done(Some(labels)) = labeller.push(&dns, Backward, 0, &answer) else { panic!("not done") };
    let mut seen = Vec::new();
    labels.visit(|key, value| seen.push(format!("{key}={value}")));
    assert_eq!(
        seen,
        [
            "application=dns",
            "dns_question=www.example.org",
            "dns_type=A",
            "dns_answer=a.example.org",
            "dns_answer=192.0.2.7"
        ]
    );
    assert_eq!(labels.dns.expect("DNS").response_code, Some(0));
    // The same between other ports: every record is in place.
    let elsewhere = ConversationPorts { transport: Transport::Udp, ports: [40_000, 40_001] };
    assert_eq!(label(&elsewhere, &[(Forward, 0, &answer)]).expect("labels").application, "dns");
    assert_eq!(label(&elsewhere, &[(Forward, 0, &answer[..answer.len() - 1])]), None);
}

#[test]
fn both_banners_are_kept() {
    let ssh = ConversationPorts { transport: Transport::Tcp, ports: [50_000, 2222] };
    let labels = label(
        &ssh,
        &[(Backward, 0, b"SSH-2.0-dropbear\r\n..."), (Forward, 0, b"SSH-2.0-Open"), (Forward, 12, b"SSH\n")],
    );
    let banners = labels.expect("labels").ssh.expect("SSH");
    assert_eq!(banners.forward.as_deref(), Some("SSH-2.0-OpenSSH"));
    assert_eq!(banners.backward.as_deref(), Some("SSH-2.0-dropbear"));
}

#[test]
fn a_port_is_a_guess_and_random_bytes_are_nothing() {
    let smtp = ConversationPorts { transport: Transport::Tcp, ports: [25, 50_000] };
    let labels = label(&smtp, &[(Forward, 0, b"220 mail"), (Backward, 0, b"EHLO a\r\n")]).expect("a guess");
    assert_eq!((labels.application, labels.is_guess), ("smtp", true));
    let mut labeller = Labeller::new();
    let unknown = ConversationPorts { transport: Transport::Tcp, ports: [50_000, 50_001] };
    assert_eq!(labeller.push(&unknown, Forward, 0, &[0x80; 99]), LabelStep::NeedMore([0, 4096]));
    assert_eq!(labeller.heap_bytes(), 0);
    assert_eq!(labeller.push(&unknown, Backward, 0, &[0x80; 99]), LabelStep::Done(None));
    assert!(size_of::<Labeller>() <= 56);
}
