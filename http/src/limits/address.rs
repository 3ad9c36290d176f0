//! Who a client is for limits: its address, told by proxies where these are trusted.

use std::net::IpAddr;

use axum::http::{HeaderMap, HeaderName, header};
use ipnet::IpNet;

/// The chain of addresses that proxies write.
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// Header fields by which proxies tell that they pass a request on.
const FORWARDED: [HeaderName; 4] =
    [header::FORWARDED, X_FORWARDED_FOR, HeaderName::from_static("x-real-ip"), header::VIA];
/// Proxies in a row that are looked through.
const MAX_HOPS: usize = 16;

/// The address of the client of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ClientAddress {
    /// That of the connection, or what a trusted proxy says of it.
    pub ip: IpAddr,
    /// Whether the request says that it was passed on.
    pub is_forwarded: bool,
    /// Whether the connection is that of this machine or of a trusted proxy.
    pub is_near: bool,
}

impl ClientAddress {
    /// Reads `X-Forwarded-For` from its end, as far as trusted proxies wrote it: what stands before
    /// that anybody may have written.
    pub(crate) fn of(connection: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> Self {
        let is_forwarded = FORWARDED.iter().any(|name| headers.contains_key(name));
        let mut ip = connection.to_canonical();
        let is_near = ip.is_loopback() || is_trusted(ip, trusted);
        let lines = headers.get_all(X_FORWARDED_FOR).iter().rev();
        let hops = lines.flat_map(|line| line.to_str().unwrap_or_default().rsplit(','));
        for hop in hops.take(MAX_HOPS) {
            if !is_trusted(ip, trusted) {
                break;
            }
            match parse(hop.trim()) {
                Some(before) => ip = before.to_canonical(),
                None => break,
            }
        }
        Self { ip, is_forwarded, is_near }
    }

    /// Whether it was sent from this machine, and not through a proxy on it.
    pub(crate) fn is_local(self) -> bool {
        self.ip.is_loopback() && !self.is_forwarded
    }

    /// What limits count by.
    pub(crate) fn network(self) -> IpAddr {
        network_of(self.ip)
    }
}

/// Whether an address is that of a trusted proxy.
pub(crate) fn is_trusted(ip: IpAddr, trusted: &[IpNet]) -> bool {
    trusted.iter().any(|network| network.contains(&ip.to_canonical()))
}

/// The address that limits count by: an IPv6 client owns its whole /64.
pub(crate) fn network_of(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V6(address) => {
            let mut parts = address.segments();
            if let Some(host) = parts.get_mut(4..) {
                host.fill(0);
            }
            IpAddr::V6(parts.into())
        }
        v4 => v4,
    }
}

/// An address, perhaps with a port.
fn parse(text: &str) -> Option<IpAddr> {
    if let Ok(ip) = text.parse() {
        return Some(ip);
    }
    if let Ok(socket) = text.parse::<std::net::SocketAddr>() {
        return Some(socket.ip());
    }
    text.strip_prefix('[')?.strip_suffix(']')?.parse().ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn told(connection: &str, lines: &[&str], trusted: &str) -> String {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(X_FORWARDED_FOR, line.parse().unwrap());
        }
        let trusted: Vec<IpNet> =
            trusted.split_whitespace().map(|net| net.parse().unwrap()).collect();
        ClientAddress::of(connection.parse().unwrap(), &headers, &trusted).ip.to_string()
    }

    #[test]
    fn only_trusted_proxies_are_believed() {
        let proxy = "10.0.0.0/8 ::1/128";
        assert_eq!(told("203.0.113.9", &["198.51.100.1"], proxy), "203.0.113.9");
        assert_eq!(told("10.0.0.1", &["198.51.100.1"], ""), "10.0.0.1");
        assert_eq!(told("10.0.0.1", &["198.51.100.1"], proxy), "198.51.100.1");
        // What the client wrote itself stands before what the proxies added.
        assert_eq!(
            told("10.0.0.1", &["192.0.2.66, 198.51.100.1, 10.0.0.2"], proxy),
            "198.51.100.1"
        );
        assert_eq!(told("10.0.0.1", &["192.0.2.66", "198.51.100.1"], proxy), "198.51.100.1");
        assert_eq!(told("::1", &["[2001:db8::7]:443"], proxy), "2001:db8::7");
        assert_eq!(told("::ffff:10.0.0.1", &["198.51.100.1:80"], proxy), "198.51.100.1");
        for odd in ["unknown", "", ",", "1.2.3", "[::1", "::1]"] {
            assert_eq!(told("10.0.0.1", &[odd], proxy), "10.0.0.1", "{odd}");
        }
        let long = "10.0.0.2, ".repeat(100) + "10.0.0.3";
        assert_eq!(told("10.0.0.1", &["198.51.100.1", &long], proxy), "10.0.0.2");
    }

    #[test]
    fn a_client_is_an_ipv4_address_or_a_network_of_ipv6() {
        let of = |text: &str| network_of(text.parse().unwrap()).to_string();
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(of("::ffff:192.0.2.1"), "192.0.2.1");
        assert_eq!(of("192.0.2.1"), "192.0.2.1");
    }

    #[test]
    fn this_machine_and_trusted_proxies_are_near() {
        let is_near = |connection: &str, told: Option<&str>| {
            let told = told.map(|told| (X_FORWARDED_FOR, told.parse().unwrap()));
            let trusted = ["10.0.0.0/8", "2001:db8::/64"].map(|net| net.parse().unwrap());
            let headers = HeaderMap::from_iter(told);
            ClientAddress::of(connection.parse().unwrap(), &headers, &trusted).is_near
        };
        for near in ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1", "10.1.2.3", "2001:db8::7"]
        {
            assert!(is_near(near, None), "{near}");
            // What counts is who holds the connection, not for whom.
            assert!(is_near(near, Some("203.0.113.9")), "{near}");
        }
        for far in ["203.0.113.9", "11.0.0.1", "192.168.0.1", "2001:db8:0:1::7", "fe80::1"] {
            assert!(!is_near(far, None), "{far}");
            for claim in ["127.0.0.1", "10.0.0.1", "::1"] {
                assert!(!is_near(far, Some(claim)), "{far} says that it is {claim}");
            }
        }
    }

    #[test]
    fn what_was_passed_on_is_not_local() {
        let mut headers = HeaderMap::new();
        let of =
            |headers: &HeaderMap| ClientAddress::of("127.0.0.1".parse().unwrap(), headers, &[]);
        assert!(of(&headers).is_local());
        headers.insert(header::FORWARDED, "for=127.0.0.1".parse().unwrap());
        assert!(!of(&headers).is_local() && of(&headers).is_near);
    }
}
