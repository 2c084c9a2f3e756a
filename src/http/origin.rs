//! Where a request comes from: the address that is held to limits, through the proxies that are
//! trusted to say so.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use ipnet::IpNet;
use warp::http::HeaderMap;

/// What proxies add to, each the address that it was called from. `Forwarded` (RFC 7239) would say
/// the same, but most proxies pass on what a client wrote there, so that it is not looked at.
const FORWARDED_FOR: &str = "x-forwarded-for";

/// The proxies that are believed.
pub(super) struct Proxies(pub(super) Vec<IpNet>);

/// Those who are counted as one: an address, or all that an IPv6 network of the least size holds,
/// since whoever has one address of that has them all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Neighbours(IpAddr);

impl Proxies {
    pub(super) fn trust(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }

    /// Who asks, where `peer` is at the other end of the connection: the last in the chain of
    /// proxies that is no proxy of ours. What is before that anybody can have written.
    pub(super) fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut client = peer.to_canonical();
        let lines = headers.get_all(FORWARDED_FOR);
        let mut chain = lines.iter().rev().flat_map(|line| line.as_bytes().rsplit(|b| *b == b','));
        while self.trust(client) {
            match chain.next().and_then(address) {
                Some(before) => client = before,
                None => break,
            }
        }
        client
    }
}

impl Neighbours {
    pub(super) fn of(address: IpAddr) -> Neighbours {
        const FIRST_64_BITS: u128 = u128::MAX << 64;
        Neighbours(match address.to_canonical() {
            IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & FIRST_64_BITS).into(),
            address => address,
        })
    }
}

/// An address as proxies write it: some with a port, some IPv6 in brackets.
fn address(written: &[u8]) -> Option<IpAddr> {
    let written = std::str::from_utf8(written).ok()?.trim();
    let bare = written.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let address = bare.unwrap_or(written).parse::<IpAddr>();
    let address = address.or_else(|_| written.parse::<SocketAddr>().map(|with| with.ip()));
    address.ok().map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use warp::http::HeaderValue;

    use super::*;

    fn client(peer: &str, lines: &[&str]) -> String {
        let proxies = ["10.0.0.0/8", "127.0.0.1/32", "fd00::/8"];
        let proxies = Proxies(proxies.map(|network| network.parse().unwrap()).into());
        let lines = lines
            .iter()
            .map(|line| (FORWARDED_FOR.parse().unwrap(), HeaderValue::from_str(line).unwrap()));
        proxies.client(peer.parse().unwrap(), &lines.collect()).to_string()
    }

    #[test]
    fn the_last_that_is_no_proxy_of_ours_is_the_client() {
        for (peer, lines, from) in [
            ("203.0.113.9", &["198.51.100.1"][..], "203.0.113.9"),
            ("127.0.0.1", &[], "127.0.0.1"),
            ("127.0.0.1", &["198.51.100.1"], "198.51.100.1"),
            ("::ffff:127.0.0.1", &["::ffff:198.51.100.1"], "198.51.100.1"),
            ("127.0.0.1", &["1.1.1.1, 198.51.100.1 , 10.2.3.4"], "198.51.100.1"),
            ("127.0.0.1", &["1.1.1.1", "198.51.100.1", "10.2.3.4,10.0.0.1"], "198.51.100.1"),
            ("127.0.0.1", &["10.0.0.9, 10.0.0.8"], "10.0.0.9"),
            ("127.0.0.1", &["198.51.100.1:4711"], "198.51.100.1"),
            ("fd00::1", &["[2001:db8::1]:443"], "2001:db8::1"),
            ("fd00::1", &["[2001:db8::1]"], "2001:db8::1"),
            // What cannot be read was written by nobody that we know.
            ("127.0.0.1", &["198.51.100.1, unknown"], "127.0.0.1"),
            ("127.0.0.1", &["198.51.100.1, unknown, 10.0.0.3"], "10.0.0.3"),
            ("127.0.0.1", &[""], "127.0.0.1"),
        ] {
            assert_eq!(client(peer, lines), from, "{peer} {lines:?}");
        }
    }

    #[test]
    fn neighbours_in_one_ipv6_network_count_as_one() {
        let of = |address: &str| Neighbours::of(address.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
    }
}
