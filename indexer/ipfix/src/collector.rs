//! A collector, and the connection to it.

use std::fmt;
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs, UdpSocket};
use std::str::FromStr;
use std::time::Duration;

/// Longest wait for a connection, and for a collector that takes nothing.
const PATIENCE: Duration = Duration::from_secs(5);

/// Transport of messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Datagrams, which may get lost.
    Udp,
    /// A stream.
    Tcp,
}

/// Address of a collector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CollectorAddress {
    /// The transport.
    pub transport: Transport,
    /// Name or address of the host; IPv6 without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

/// A text that is no collector.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a collector: write one as 192.0.2.1:4739, [2001:db8::1]:4739, collector.example:4739, or tcp:HOST:PORT"
)]
pub struct NotACollector(String);

impl FromStr for CollectorAddress {
    type Err = NotACollector;
    fn from_str(text: &str) -> Result<Self, NotACollector> {
        let wrong = || NotACollector(text.to_owned());
        let (transport, rest) = match (text.strip_prefix("udp:"), text.strip_prefix("tcp:")) {
            (Some(rest), _) => (Transport::Udp, rest),
            (_, Some(rest)) => (Transport::Tcp, rest),
            _ => (Transport::Udp, text),
        };
        let (host, port) = rest.rsplit_once(':').ok_or_else(wrong)?;
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let is_well = match bare {
            Some(host) => host.parse::<Ipv6Addr>().is_ok(),
            None => !host.is_empty() && !host.contains([':', '[', ']', '/', ' ']),
        };
        let port = port.parse::<u16>().ok().filter(|&port| port > 0 && is_well).ok_or_else(wrong)?;
        Ok(Self { transport, host: bare.unwrap_or(host).to_owned(), port })
    }
}

impl fmt::Display for CollectorAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let transport = match self.transport {
            Transport::Udp => "udp",
            Transport::Tcp => "tcp",
        };
        match self.address() {
            Some(IpAddr::V6(address)) => write!(f, "{transport}:[{address}]:{}", self.port),
            _ => write!(f, "{transport}:{}:{}", self.host, self.port),
        }
    }
}

impl CollectorAddress {
    /// The host, if it is written as an address.
    pub fn address(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }

    fn resolved(&self) -> io::Result<Vec<SocketAddr>> {
        let addresses: Vec<_> = (self.host.as_str(), self.port).to_socket_addrs()?.collect();
        if addresses.is_empty() {
            return Err(io::Error::new(io::ErrorKind::NotFound, "the host has no address"));
        }
        Ok(addresses)
    }
}

/// A connection to a collector.
#[derive(Debug)]
pub enum CollectorSocket {
    /// Over UDP.
    Udp(UdpSocket),
    /// Over TCP.
    Tcp(TcpStream),
}

impl CollectorSocket {
    /// Connects to the first address of a collector that can be reached.
    pub fn connect(collector: &CollectorAddress) -> io::Result<Self> {
        let mut failed = io::Error::from(io::ErrorKind::NotFound);
        for address in collector.resolved()? {
            match Self::connect_to(collector.transport, address) {
                Ok(socket) => return Ok(socket),
                Err(error) => failed = error,
            }
        }
        Err(failed)
    }

    fn connect_to(transport: Transport, address: SocketAddr) -> io::Result<Self> {
        match transport {
            Transport::Udp => {
                let own = match address {
                    SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
                    SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
                };
                let socket = UdpSocket::bind(own)?;
                socket.connect(address)?;
                socket.set_write_timeout(Some(PATIENCE))?;
                Ok(Self::Udp(socket))
            }
            Transport::Tcp => {
                let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
                stream.set_write_timeout(Some(PATIENCE))?;
                Ok(Self::Tcp(stream))
            }
        }
    }

    /// True if the collector has closed a stream: what is written to it then gets lost before that is noticed.
    pub(crate) fn is_closed(&self) -> bool {
        let Self::Tcp(stream) = self else { return false };
        let peek = || {
            stream.set_nonblocking(true)?;
            let read = stream.peek(&mut [0]);
            stream.set_nonblocking(false)?;
            read
        };
        match peek() {
            Ok(read) => read == 0,
            Err(error) => error.kind() != io::ErrorKind::WouldBlock,
        }
    }

    /// Sends a message whole. After an error, a stream has to be given up.
    pub fn send(&mut self, message: &[u8]) -> io::Result<()> {
        match self {
            Self::Udp(socket) => socket.send(message).map(drop),
            Self::Tcp(stream) => stream.write_all(message),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn collectors_are_written_with_a_port_and_perhaps_a_transport() {
        let read = |text: &str| text.parse::<CollectorAddress>().map(|collector| collector.to_string());
        assert_eq!(read("192.0.2.1:4739").as_deref(), Ok("udp:192.0.2.1:4739"));
        assert_eq!(read("udp:collector.example:9995").as_deref(), Ok("udp:collector.example:9995"));
        assert_eq!(read("tcp:[2001:db8::1]:4739").as_deref(), Ok("tcp:[2001:db8::1]:4739"));
        for text in [
            "",
            "4739",
            ":4739",
            "host",
            "host:0",
            "host:99999",
            "2001:db8::1:4739",
            "[host]:1",
            "sctp:a:1",
            "a b:1",
        ] {
            let error = read(text).expect_err(text);
            assert!(error.to_string().contains("tcp:HOST:PORT"), "{text}");
        }
    }
}
