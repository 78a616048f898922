//! Users whom a proxy before the service has signed in, and names in a header.
//!
//! **Invariant:** the header counts only if the connection comes from a proxy that is trusted; from anybody else it is as if it were
//! not there.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName};

use super::signed_in::SignedIn;

/// Networks of one service that are trusted.
pub const TRUSTED_PROXIES_MAX: usize = 64;

/// A network: an address and the bits of it that count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

impl Network {
    fn bits(address: IpAddr) -> (u128, u8) {
        match address {
            IpAddr::V4(address) => (u128::from(u32::from(address)) << 96, 32),
            IpAddr::V6(address) => (address.into(), 128),
        }
    }

    fn contains(self, address: IpAddr) -> bool {
        let ((own, length), (other, other_length)) = (Self::bits(self.address), Self::bits(address));
        let mask = if self.prefix == 0 { 0 } else { u128::MAX << (128 - self.prefix) };
        length == other_length && (own ^ other) & mask == 0
    }
}

impl std::str::FromStr for Network {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!("{text:?} is not an address or a network: write one as 127.0.0.1, 10.0.0.0/8 or fd00::/8")
        };
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let address = address.to_canonical();
        let length = Self::bits(address).1;
        let is_number =
            |prefix: &&str| !prefix.is_empty() && prefix.bytes().all(|byte| byte.is_ascii_digit());
        let prefix = match prefix {
            Some(prefix) => {
                Some(prefix).filter(is_number).and_then(|prefix| prefix.parse().ok()).ok_or_else(wrong)?
            }
            None => length,
        };
        // Anybody at all is no proxy.
        if prefix == 0 || prefix > length { Err(wrong()) } else { Ok(Self { address, prefix }) }
    }
}

/// Proxies that are trusted, and the headers in which they name users.
#[derive(Clone, Debug)]
pub struct TrustedProxies {
    /// Networks that they are in.
    pub networks: Vec<Network>,
    /// Header with the user's name.
    pub user_header: HeaderName,
    /// Header with the user's groups, with commas between.
    pub groups_header: HeaderName,
}

impl TrustedProxies {
    /// Proxies in these networks; the error is what is wrong with the headers' names.
    pub fn new(networks: Vec<Network>, user_header: &str, groups_header: &str) -> Result<Self, String> {
        let name = |text: &str| {
            text.parse::<HeaderName>().map_err(|_| format!("{text:?} is not the name of a header"))
        };
        Ok(Self { networks, user_header: name(user_header)?, groups_header: name(groups_header)? })
    }

    /// The user in whose name a proxy asks; `None` if it is no trusted proxy, or names nobody. The error is what is wrong with the names.
    pub(super) fn user_of(&self, headers: &HeaderMap, peer: IpAddr) -> Option<Result<SignedIn, String>> {
        let peer = peer.to_canonical();
        if !headers.contains_key(&self.user_header)
            || !self.networks.iter().any(|network| network.contains(peer))
        {
            return None;
        }
        Some(self.read(headers))
    }

    fn read(&self, headers: &HeaderMap) -> Result<SignedIn, String> {
        let texts = |name: &HeaderName| -> Result<Vec<&str>, String> {
            // Only bytes of UTF-8 are a name.
            let read = |value| std::str::from_utf8(http::HeaderValue::as_bytes(value)).map(str::trim);
            headers
                .get_all(name)
                .iter()
                .map(read)
                .collect::<Result<_, _>>()
                .map_err(|_| format!("{name} is not text"))
        };
        // A second one may be the client's own, which the proxy has passed on.
        let users = texts(&self.user_header)?;
        let [user] = users[..] else { return Err(format!("{} is there twice", self.user_header)) };
        let groups = texts(&self.groups_header)?;
        let groups = groups.iter().flat_map(|line| line.split(',')).map(str::trim);
        let groups = groups.filter(|group| !group.is_empty()).map(str::to_owned).collect();
        SignedIn::new(user, groups)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_an_address_and_bits_of_it() {
        let network = |text: &str| text.parse::<Network>();
        let has = |text: &str, address: &str| network(text).unwrap().contains(address.parse().unwrap());
        assert!(has("10.0.0.0/8", "10.255.0.1") && !has("10.0.0.0/8", "11.0.0.1"));
        assert!(has("127.0.0.1", "127.0.0.1") && !has("127.0.0.1", "127.0.0.2"));
        assert!(has("fd00::/8", "fdff::1") && !has("fd00::/8", "fe00::1"));
        assert!(!has("::/1", "10.0.0.1") && !has("10.0.0.0/8", "a00::"));
        assert!(has("::ffff:10.0.0.1", "10.0.0.1"));
        for text in
            ["", "10.0.0.0/33", "10.0.0.0/0", "::/0", "10.0.0.0/", "10.0.0.0/+8", "proxy", "10.0.0.0/8/8"]
        {
            assert!(network(text).is_err(), "{text}");
        }
    }

    #[test]
    fn only_a_trusted_proxy_names_users() {
        let proxies = TrustedProxies {
            networks: vec!["10.0.0.1".parse().unwrap()],
            user_header: HeaderName::from_static("x-forwarded-user"),
            groups_header: HeaderName::from_static("x-forwarded-groups"),
        };
        let mut headers = HeaderMap::new();
        let (proxy, other) = ("::ffff:10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap());
        assert_eq!(proxies.user_of(&headers, proxy), None);
        headers.append("x-forwarded-user", "alice".parse().unwrap());
        headers.append("x-forwarded-groups", "soc, net ,".parse().unwrap());
        headers.append("x-forwarded-groups", "ops".parse().unwrap());
        assert_eq!(proxies.user_of(&headers, other), None);
        let groups = ["soc", "net", "ops"].map(str::to_owned).to_vec();
        assert_eq!(proxies.user_of(&headers, proxy), Some(Ok(SignedIn { user: "alice".into(), groups })));
        headers.append("x-forwarded-user", "admin".parse().unwrap());
        assert!(proxies.user_of(&headers, proxy).unwrap().is_err_and(|error| error.contains("twice")));
        for value in [&b"a,b"[..], b"", b"\xff\xfe", b"a b"] {
            headers.insert("x-forwarded-user", http::HeaderValue::from_bytes(value).unwrap());
            assert!(proxies.user_of(&headers, proxy).unwrap().is_err(), "{value:?}");
        }
    }
}
