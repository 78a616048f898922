//! A proxy before an object store, which delays, refuses and breaks off requests as it is told, and counts them.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What becomes of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It goes on, after this time.
    Late(Duration),
    /// It is answered with this status.
    Status(u16),
    /// Its answer breaks off after so many bytes.
    Cut(usize),
    /// It breaks off itself after so many bytes of its body.
    CutRequest(usize),
    /// Its connection is closed without an answer.
    Closed,
}

/// Says what becomes of a request, by its first line.
type Rule = Box<dyn Fn(&str) -> Fate + Send>;

pub struct Proxy {
    pub port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    server: String,
    rule: Mutex<Rule>,
    gets: AtomicU64,
}

impl Proxy {
    /// Before the server at this address.
    pub fn before(server: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
        let port = listener.local_addr().expect("an address").port();
        let shared = Arc::new(Shared {
            server: server.to_owned(),
            rule: Mutex::new(Box::new(|_| Fate::Late(Duration::ZERO))),
            gets: AtomicU64::new(0),
        });
        let listening = Arc::clone(&shared);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let shared = Arc::clone(&listening);
                std::thread::spawn(move || drop(serve(client, &shared)));
            }
        });
        Self { port, shared }
    }

    pub fn set(&self, rule: impl Fn(&str) -> Fate + Send + 'static) {
        *self.shared.rule.lock().expect("a lock") = Box::new(rule);
    }

    /// Requests for objects and lists since the last time.
    pub fn gets(&self) -> u64 {
        self.shared.gets.swap(0, Ordering::Relaxed)
    }
}

/// Reads up to the end of a head, and returns it with what is already there of the body.
fn head(stream: &mut TcpStream) -> std::io::Result<Option<(Vec<u8>, Vec<u8>)>> {
    let (mut all, mut part) = (Vec::new(), [0; 1 << 16]);
    loop {
        let read = stream.read(&mut part)?;
        if read == 0 {
            return Ok(None);
        }
        all.extend(&part[..read]);
        if let Some(at) = all.windows(4).position(|four| four == b"\r\n\r\n") {
            let body = all.split_off(at + 4);
            return Ok(Some((all, body)));
        }
    }
}

fn field(head: &str, name: &str) -> Option<String> {
    let line = head.lines().find(|line| line.to_ascii_lowercase().starts_with(&format!("{name}:")))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// One request a connection: what follows on the same one is asked on another.
fn serve(mut client: TcpStream, shared: &Shared) -> std::io::Result<()> {
    let Some((head_bytes, body)) = head(&mut client)? else { return Ok(()) };
    let text = String::from_utf8_lossy(&head_bytes).into_owned();
    let line = text.lines().next().unwrap_or_default().to_owned();
    if line.starts_with("GET ") {
        shared.gets.fetch_add(1, Ordering::Relaxed);
    }
    let fate = (shared.rule.lock().expect("a lock"))(&line);
    if let Fate::Status(status) = fate {
        let answer = format!("HTTP/1.1 {status} Told so\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        client.write_all(answer.as_bytes())?;
        client.shutdown(Shutdown::Write)?;
        // What is not read of its body would break off the answer.
        return std::io::copy(&mut client, &mut std::io::sink()).map(drop);
    }
    match fate {
        Fate::Closed => return Ok(()),
        Fate::Late(by) => std::thread::sleep(by),
        Fate::Status(_) | Fate::Cut(_) | Fate::CutRequest(_) => {}
    }
    let mut server = TcpStream::connect(&shared.server)?;
    let closing = text.replacen("\r\n", "\r\nConnection: close\r\n", 1);
    server.write_all(closing.as_bytes())?;
    let wanted: usize = field(&text, "content-length").and_then(|it| it.parse().ok()).unwrap_or(0);
    if let Fate::CutRequest(bytes) = fate
        && bytes < wanted
    {
        let given = &body[..bytes.min(body.len())];
        server.write_all(given)?;
        let mut rest = vec![0; bytes - given.len()];
        client.read_exact(&mut rest)?;
        return server.write_all(&rest);
    }
    server.write_all(&body)?;
    let mut rest = wanted.saturating_sub(body.len());
    let mut part = vec![0; 1 << 16];
    while rest > 0 {
        let read = client.read(&mut part)?;
        server.write_all(&part[..read])?;
        rest = rest.saturating_sub(read.max(1));
    }
    let mut left = if let Fate::Cut(bytes) = fate { bytes } else { usize::MAX };
    loop {
        let read = server.read(&mut part)?;
        if read == 0 || left == 0 {
            return Ok(());
        }
        let given = read.min(left);
        client.write_all(&part[..given])?;
        left -= given;
    }
}
