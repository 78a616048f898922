//! A running service, and a client that looks at every byte of what it sends.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::netrewind;

/// No answer of a test takes longer.
const PATIENCE: Duration = Duration::from_secs(200);

/// `netrewind serve`, or `run`; ended when dropped.
pub struct Service {
    child: Child,
    pub address: SocketAddr,
    said: Arc<Mutex<Vec<String>>>,
}

impl Service {
    pub fn of(store: &str) -> Self {
        Self::start(&["serve", "--store", store])
    }

    /// With these arguments, on a port that is free.
    pub fn start(arguments: &[&str]) -> Self {
        let mut child = netrewind()
            .args(arguments)
            .args(["--listen", "127.0.0.1:0"])
            .stderr(Stdio::piped())
            .spawn()
            .expect("netrewind runs");
        let said = Arc::new(Mutex::new(Vec::new()));
        let stderr = BufReader::new(child.stderr.take().expect("a pipe"));
        let heard = Arc::clone(&said);
        std::thread::spawn(move || {
            stderr
                .lines()
                .map_while(Result::ok)
                .for_each(|line| heard.lock().expect("unpoisoned").push(line));
        });
        let mut service = Self { child, address: ([127, 0, 0, 1], 0).into(), said };
        let line = service.wait_for_line("Answering on http", PATIENCE).expect("an address");
        let address = line.split("://").nth(1).and_then(|rest| rest.split('/').next());
        service.address = address.expect("an address").parse().expect("an address");
        service
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has said on standard error.
    pub fn said(&self) -> Vec<String> {
        self.said.lock().expect("unpoisoned").clone()
    }

    /// The first line with these words, waiting for it.
    pub fn wait_for_line(&self, words: &str, patience: Duration) -> Option<String> {
        let until = Instant::now() + patience;
        loop {
            if let Some(line) = self.said().into_iter().find(|line| line.contains(words)) {
                return Some(line);
            }
            if Instant::now() > until {
                return None;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Sends a request, and leaves the answer to be read.
    pub fn send(&self, method: &str, target: &str, headers: &[(&str, &str)], body: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).expect("connected");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let mut head = format!("{method} {target} HTTP/1.1\r\nHost: {}\r\nTE: trailers\r\n", self.address);
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if method == "POST" {
            head.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        stream.write_all(format!("{head}\r\n{body}").as_bytes()).expect("sent");
        stream
    }

    pub fn get(&self, target: &str) -> Response {
        Response::read(self.send("GET", target, &[], ""), false)
    }

    pub fn head(&self, target: &str) -> Response {
        Response::read(self.send("HEAD", target, &[], ""), true)
    }

    pub fn post(&self, target: &str, media_type: &str, body: &str) -> Response {
        Response::read(self.send("POST", target, &[("Content-Type", media_type)], body), false)
    }

    /// Ends it at once, as a crash would.
    pub fn kill(&mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ends");
    }

    /// Asks it to end, and gives its exit status.
    pub fn terminate(&mut self) -> Option<i32> {
        let pid = self.child.id().to_string();
        std::process::Command::new("kill").args(["-TERM", &pid]).status().expect("kill runs");
        self.child.wait().expect("it ends").code()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What came back.
#[derive(Debug)]
pub struct Response {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub trailers: Vec<(String, String)>,
    /// Whether the body came to the end that it announced.
    pub is_whole: bool,
}

impl Response {
    /// Reads all of it; `of_head` where no body can follow.
    pub fn read(stream: TcpStream, of_head: bool) -> Self {
        let mut reader = BufReader::new(stream);
        let mut status_line = String::new();
        reader.read_line(&mut status_line).expect("a status line");
        let status = status_line.split(' ').nth(1).and_then(|text| text.parse().ok());
        let headers = read_fields(&mut reader).expect("headers");
        let status = status.unwrap_or_else(|| panic!("no status: {status_line:?}"));
        let mut response = Self { status, headers, body: Vec::new(), trailers: Vec::new(), is_whole: true };
        if of_head {
            return response;
        }
        if response.header("transfer-encoding") == Some("chunked") {
            let trailers = read_chunks(&mut reader, &mut response.body);
            response.is_whole = trailers.is_some();
            response.trailers = trailers.unwrap_or_default();
        } else {
            let length: u64 = response.header("content-length").expect("a length").parse().expect("a number");
            let read = reader.take(length).read_to_end(&mut response.body);
            response.is_whole = read.is_ok_and(|read| read as u64 == length);
        }
        response
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name)
    }

    pub fn trailer(&self, name: &str) -> Option<&str> {
        find(&self.trailers, name)
    }

    pub fn json(&self) -> serde_json::Value {
        let text = String::from_utf8_lossy(&self.body);
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }
}

fn find<'a>(fields: &'a [(String, String)], name: &str) -> Option<&'a str> {
    fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

/// Header lines up to the empty one; none where they break off.
fn read_fields(reader: &mut impl BufRead) -> Option<Vec<(String, String)>> {
    let mut fields = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let line = line.trim_end();
        if line.is_empty() {
            return Some(fields);
        }
        let (name, value) = line.split_once(':').expect("a header");
        fields.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
}

/// A chunked body (RFC 9112, section 7.1): its trailers; none where it breaks off.
fn read_chunks(reader: &mut impl BufRead, body: &mut Vec<u8>) -> Option<Vec<(String, String)>> {
    loop {
        let mut size = String::new();
        reader.read_line(&mut size).ok()?;
        let size = u64::from_str_radix(size.trim(), 16).ok()?;
        if size == 0 {
            return read_fields(reader);
        }
        if reader.take(size).read_to_end(body).ok()? as u64 != size {
            return None;
        }
        reader.read_line(&mut String::new()).ok()?;
    }
}
