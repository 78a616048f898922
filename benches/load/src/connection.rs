//! A minimal HTTP/1.1 client that can tell a whole answer from one that broke off (RFC 9112).

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, ensure};

/// The longest silence of a service.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// The longest body.
const BODY_BYTES_MAX: u64 = 1 << 30;

/// A connection that is reused for further answers.
pub struct Connection {
    input: BufReader<TcpStream>,
    output: TcpStream,
    server: SocketAddr,
}

/// A whole answer.
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// The body, without chunk sizes.
    pub body: Vec<u8>,
    /// The service's account of the answer, in the head or behind the body.
    pub account: Option<String>,
}

/// Headers and trailers that matter here.
#[derive(Default)]
struct Headers {
    length: Option<u64>,
    is_chunked: bool,
    account: Option<String>,
}

impl Connection {
    /// Connects to a service.
    pub fn open(server: SocketAddr) -> anyhow::Result<Self> {
        let output = TcpStream::connect(server).with_context(|| format!("connecting to {server}"))?;
        output.set_nodelay(true)?;
        output.set_read_timeout(Some(SILENCE_MAX))?;
        Ok(Self { input: BufReader::new(output.try_clone()?), output, server })
    }

    /// Sends a request, and reads the answer.
    pub fn get(&mut self, target: &str) -> anyhow::Result<Answer> {
        write!(self.output, "GET {target} HTTP/1.1\r\nHost: {}\r\nTE: trailers\r\n\r\n", self.server)?;
        let line = self.line()?;
        let status = line.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.with_context(|| format!("no status: {line:?}"))?;
        let mut headers = Headers::default();
        self.headers(&mut headers)?;
        let body = match headers.is_chunked {
            true => self.chunks(&mut headers)?,
            false => self.exactly(headers.length.context("neither a length nor chunks")?)?,
        };
        Ok(Answer { status, body, account: headers.account })
    }

    fn line(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        self.input.read_line(&mut line)?;
        let line = line.strip_suffix("\r\n").context("the connection was closed")?;
        Ok(line.to_owned())
    }

    fn headers(&mut self, headers: &mut Headers) -> anyhow::Result<()> {
        loop {
            let line = self.line()?;
            let Some((name, value)) = line.split_once(':') else {
                ensure!(line.is_empty(), "{line:?} is no header");
                return Ok(());
            };
            let value = value.trim();
            match name.to_ascii_lowercase().as_str() {
                "content-length" => headers.length = Some(value.parse()?),
                "transfer-encoding" => headers.is_chunked = value.eq_ignore_ascii_case("chunked"),
                "netrewind-answer" => headers.account = Some(value.to_owned()),
                _ => {}
            }
        }
    }

    fn exactly(&mut self, length: u64) -> anyhow::Result<Vec<u8>> {
        ensure!(length <= BODY_BYTES_MAX, "a body of {length} bytes");
        let mut body = vec![0; usize::try_from(length)?];
        self.input.read_exact(&mut body)?;
        Ok(body)
    }

    fn chunks(&mut self, headers: &mut Headers) -> anyhow::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let line = self.line()?;
            let length = u64::from_str_radix(&line, 16).with_context(|| format!("{line:?} is no chunk"))?;
            if length == 0 {
                self.headers(headers)?;
                return Ok(body);
            }
            ensure!(
                body.len() as u64 + length <= BODY_BYTES_MAX,
                "a body of more than {BODY_BYTES_MAX} bytes"
            );
            body.extend(self.exactly(length)?);
            ensure!(self.line()?.is_empty(), "a chunk that is longer than it says");
        }
    }
}
