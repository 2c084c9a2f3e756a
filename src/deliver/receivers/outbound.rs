//! Where nothing is sent, whatever the rules file says: where a cloud tells its machines who they
//! are and with which credentials, and all else that is link-local. Names are looked up here, so
//! that this holds for what they stand for when something is sent.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use futures_util::FutureExt;
use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::address::is_loopback;

/// The metadata services that are not at link-local addresses.
const METADATA_V4: [Ipv4Addr; 3] = [
    Ipv4Addr::new(100, 100, 100, 200), // Alibaba Cloud
    Ipv4Addr::new(168, 63, 129, 16),   // Azure's wire server
    Ipv4Addr::new(192, 0, 0, 192),     // Oracle Cloud Classic
];
const METADATA_V6: [Ipv6Addr; 2] = [
    Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254), // Google Cloud
    Ipv6Addr::new(0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42),  // Scaleway
];

/// The names that stand for them: a proxy looks names up by itself.
const METADATA_NAMES: [&str; 7] = [
    "metadata",
    "metadata.google.internal",
    "metadata.goog",
    "metadata.azure.internal",
    "metadata.tencentyun.com",
    "instance-data",
    "instance-data.ec2.internal",
];

/// Why a name gives no address to send to.
#[derive(Debug, thiserror::Error)]
pub(super) enum LookupError {
    /// It stands for an address that nothing is sent to.
    #[error(
        "its name stands for {0}, a link-local address or one at which a cloud gives credentials \
         away, and nothing is sent there; put the name right"
    )]
    Forbidden(IpAddr),
    /// `localhost` is not this machine.
    #[error("localhost stands for {0} here, which is not this machine; put /etc/hosts right")]
    NotHere(IpAddr),
    /// It cannot be looked up.
    #[error("{0}")]
    Failed(#[from] io::Error),
}

/// Refuses a host that is such an address or the name of one, however it is written.
pub(super) fn check_host(host: &str) -> Result<(), String> {
    let name = host.trim_end_matches('.');
    let named = METADATA_NAMES.iter().any(|known| known.eq_ignore_ascii_case(name));
    match named || address_in(name).is_some_and(is_forbidden) {
        true => {
            Err("is a link-local address, or one at which a cloud gives credentials away, and \
                     nothing is sent there; name the place itself"
                .into())
        }
        false => Ok(()),
    }
}

/// The addresses that this name, or this address, stands for: only those that may be sent to.
pub(super) async fn look_up(host: &str, port: u16) -> Result<Vec<SocketAddr>, LookupError> {
    let found = tokio::net::lookup_host((host, port)).await?;
    permitted(host, found.collect())
}

/// Those of the addresses found for a host that may be sent to; an error if there is none for that
/// reason alone.
fn permitted(host: &str, found: Vec<SocketAddr>) -> Result<Vec<SocketAddr>, LookupError> {
    let refusal = |address: &SocketAddr| match address.ip() {
        ip if is_forbidden(ip) => Some(LookupError::Forbidden(ip)),
        // It is sent to without TLS, and past the proxy.
        ip if is_loopback(host) && !ip.to_canonical().is_loopback() => {
            Some(LookupError::NotHere(ip))
        }
        _ => None,
    };
    let refused = found.iter().find_map(refusal);
    let kept: Vec<SocketAddr> =
        found.into_iter().filter(|address| refusal(address).is_none()).collect();
    match refused {
        Some(refused) if kept.is_empty() => Err(refused),
        _ => Ok(kept),
    }
}

/// Looks names up for the client of HTTP.
pub(super) struct Lookup;

impl Resolve for Lookup {
    fn resolve(&self, name: Name) -> Resolving {
        async move {
            // The port is the URL's.
            let found = look_up(name.as_str(), 0).await?;
            Ok(Box::new(found.into_iter()) as Addrs)
        }
        .boxed()
    }
}

/// The address that a host is, also where it is written in one of the ways that only C's `inet_aton`
/// knows, as `0xa9fea9fe`.
fn address_in(host: &str) -> Option<IpAddr> {
    let address = host.parse().ok();
    address.or_else(|| Url::parse(&format!("http://{host}/")).ok()?.host_str()?.parse().ok())
}

fn is_forbidden(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_link_local() || METADATA_V4.contains(&v4),
        IpAddr::V6(v6) => {
            let [first, second, ..] = v6.segments();
            // fd00:ec2:: is what Amazon has for its machines.
            v6.is_unicast_link_local()
                || (first, second) == (0xfd00, 0xec2)
                || METADATA_V6.contains(&v6)
                || embedded(v6).is_some_and(|v4| is_forbidden(v4.into()))
        }
    }
}

/// The IPv4 address that is reached through this one: mapped or compatible (RFC 4291 §2.5.5), or
/// translated (RFC 6052 §2.1).
fn embedded(v6: Ipv6Addr) -> Option<Ipv4Addr> {
    let [.., high, low] = v6.segments();
    let translated = v6.segments()[..6] == [0x64, 0xff9b, 0, 0, 0, 0];
    let translated = translated.then(|| Ipv4Addr::from(u32::from(high) << 16 | u32::from(low)));
    v6.to_ipv4().or(translated)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| SocketAddr::new(text.parse().unwrap(), 0)).collect()
    }

    #[test]
    fn nothing_is_sent_to_where_a_cloud_gives_credentials_away() {
        for host in [
            "169.254.169.254",
            "169.254.170.2",
            "100.100.100.200",
            "168.63.129.16",
            "fd00:ec2::254",
            "fd20:ce::254",
            "fd00:42::42",
            "fe80::1",
            "::ffff:169.254.169.254",
            "::ffff:a9fe:a9fe",
            "::169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "2852039166",
            "0xa9fea9fe",
            "0251.0376.0251.0376",
            "169.254.43518",
            "169.254.169.254.",
            "metadata.google.internal",
            "Metadata.Google.Internal.",
            "instance-data",
        ] {
            assert!(check_host(host).is_err(), "{host}");
        }
        for host in [
            "hooks.slack.com",
            "127.0.0.1",
            "::1",
            "10.0.0.1",
            "169.253.255.255",
            "100.100.100.100",
            "fd00::1",
            "metadata.example.com",
            "",
        ] {
            assert_eq!(check_host(host), Ok(()), "{host}");
        }
    }

    #[test]
    fn of_what_a_name_stands_for_only_what_may_be_sent_to_is_kept() {
        let mixed = addresses(&["169.254.169.254", "10.0.0.1", "fd00:ec2::254"]);
        assert_eq!(permitted("example.com", mixed).unwrap(), addresses(&["10.0.0.1"]));
        let forbidden = permitted("example.com", addresses(&["::ffff:169.254.169.254"]));
        assert!(matches!(forbidden, Err(LookupError::Forbidden(_))), "{forbidden:?}");
        assert_eq!(permitted("example.com", Vec::new()).unwrap(), []);
    }

    #[test]
    fn localhost_is_this_machine_or_nothing() {
        let both = addresses(&["127.0.0.1", "10.0.0.1", "::1"]);
        assert_eq!(permitted("localhost", both).unwrap(), addresses(&["127.0.0.1", "::1"]));
        let elsewhere = permitted("localhost", addresses(&["10.0.0.1"]));
        assert!(matches!(elsewhere, Err(LookupError::NotHere(_))), "{elsewhere:?}");
    }

    #[tokio::test]
    async fn an_address_is_looked_up_as_a_name_is() {
        assert_eq!(look_up("127.0.0.1", 9).await.unwrap(), ["127.0.0.1:9".parse().unwrap()]);
        for written in ["169.254.169.254", "2852039166"] {
            let forbidden = look_up(written, 25).await;
            assert!(matches!(forbidden, Err(LookupError::Forbidden(_))), "{forbidden:?}");
        }
    }
}
