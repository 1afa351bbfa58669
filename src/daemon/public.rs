//! Under which addresses the world finds this host: as configured, else as its interfaces say. Nothing is sent.

use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;
use std::net::SocketAddr;
use std::net::UdpSocket;

use crate::config::PublicAddress;

/// Public addresses, and where they come from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Found {
    /// One or two, at most one of each family.
    pub(super) addresses: Vec<PublicAddress>,
    /// For people: "configured (public.addresses)".
    pub(super) how: String,
    /// What is wrong with them, if anything, and the mend.
    pub(super) notice: Option<String>,
}

/// An address of an interface.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Interface {
    pub(super) name: String,
    pub(super) address: IpAddr,
}

/// The configured addresses, else what the interfaces have.
///
/// # Errors
/// A configured local address that this host does not have, in words.
pub(super) fn find(configured: &[PublicAddress], interfaces: &[Interface]) -> Result<Found, String> {
    if !configured.is_empty() {
        let addresses: Result<Vec<_>, _> = configured.iter().map(|address| bindable(*address)).collect();
        let how = "configured (public.addresses)".to_owned();
        return Ok(Found { addresses: addresses?, how, notice: None });
    }
    // Connecting a UDP socket sends nothing: it only asks the routing table which address of ours it would use.
    let v4 = route(Ipv4Addr::UNSPECIFIED.into(), Ipv4Addr::new(8, 8, 8, 8).into());
    let v6 =
        route(Ipv6Addr::UNSPECIFIED.into(), Ipv6Addr::new(0x2001, 0x4860, 0x4860, 0, 0, 0, 0, 0x8888).into());
    Ok(choose(v4, v6, interfaces))
}

/// The address with a local part that relays can be bound to. One that was given alone and is not on this host is the
/// outer one of a 1:1 NAT: the default route's address is its inner one.
fn bindable(address: PublicAddress) -> Result<PublicAddress, String> {
    let on_this_host = |ip: IpAddr| UdpSocket::bind((ip, 0)).is_ok();
    if on_this_host(address.local) {
        return Ok(address);
    }
    let unspecified: IpAddr =
        if address.local.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    match route(unspecified, address.public) {
        Some(local) if address.local == address.public && on_this_host(local) => {
            Ok(PublicAddress { local, ..address })
        }
        Some(local) => {
            let public = address.public;
            Err(format!("{} is not an address of this host; write \"{public}/{local}\"", address.local))
        }
        None => Err(format!("{} is not an address of this host", address.local)),
    }
}

/// Every address of every interface; none if they cannot be listed.
pub(super) fn interfaces() -> Vec<Interface> {
    let found = match webrtc_util::ifaces::ifaces() {
        Ok(found) => found,
        Err(error) => {
            tracing::warn!(%error, "cannot list this host's interfaces");
            return Vec::new();
        }
    };
    let with_address = |i: webrtc_util::ifaces::Interface| Some((i.name, i.addr?.ip()));
    found
        .into_iter()
        .filter_map(with_address)
        .map(|(name, address)| Interface { name, address: address.to_canonical() })
        .collect()
}

/// `listening`, with each wildcard address replaced by every address of its family (both, for `[::]`).
pub(super) fn spelled_out(listening: &[SocketAddr], interfaces: &[Interface]) -> Vec<SocketAddr> {
    let mut all = Vec::new();
    for address in listening {
        if address.ip().is_unspecified() {
            let same = |i: &&Interface| address.is_ipv6() || i.address.is_ipv4();
            all.extend(interfaces.iter().filter(same).map(|i| SocketAddr::new(i.address, address.port())));
        } else {
            all.push(SocketAddr::new(address.ip().to_canonical(), address.port()));
        }
    }
    all.sort();
    all.dedup();
    all
}

fn route(from: IpAddr, to: IpAddr) -> Option<IpAddr> {
    let socket = UdpSocket::bind((from, 0)).ok()?;
    socket.connect((to, 53)).ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_unspecified()).then_some(address)
}

/// `v4` and `v6` are the addresses of the default routes.
fn choose(v4: Option<IpAddr>, v6: Option<IpAddr>, interfaces: &[Interface]) -> Found {
    let name_of = |address: IpAddr| interfaces.iter().find(|i| i.address == address).map(|i| i.name.as_str());
    // The default route may prefer a private address of an interface that has a global one as well.
    let global = |route: Option<IpAddr>| {
        let route = route?;
        let name = name_of(route);
        let same = |i: &&Interface| {
            Some(i.name.as_str()) == name && i.address.is_ipv4() == route.is_ipv4() && is_global(i.address)
        };
        if is_global(route) { Some(route) } else { interfaces.iter().find(same).map(|i| i.address) }
    };
    let globals: Vec<IpAddr> = [global(v4), global(v6)].into_iter().flatten().collect();
    let found = |addresses: &[IpAddr], kind: &str, notice: Option<&str>| {
        let names: Vec<&str> = addresses.iter().filter_map(|address| name_of(*address)).collect();
        let on = names.first().map(|name| format!(" on {name}")).unwrap_or_default();
        Found {
            addresses: addresses.iter().map(|a| PublicAddress { public: *a, local: *a }).collect(),
            how: format!("{kind}{on}"),
            notice: notice.map(str::to_owned),
        }
    };
    if let [only] = globals.as_slice()
        && only.is_ipv6()
        && let Some(private) = v4.filter(|address| !address.is_loopback())
    {
        // Browsers ask for IPv4 relays, whatever way they came: without one there is none at all.
        return found(
            &[private, *only],
            "a private IPv4 address, and the global IPv6 address of the default route",
            Some(
                "No public IPv4 address was found: IPv4 relays reach only this network, and each other. If the internet reaches \
                 this host by another IPv4 address, write public.addresses = [\"PUBLIC/PRIVATE\", \"IPV6\"].",
            ),
        );
    }
    if !globals.is_empty() {
        return found(&globals, "the global address of the default route", None);
    }
    let any = |i: &&Interface| i.address.is_ipv4() && !i.address.is_loopback();
    let private = v4.or_else(|| interfaces.iter().find(any).map(|i| i.address)).or(v6);
    match private.filter(|address| !address.is_loopback()) {
        Some(private) => found(
            &[private],
            "a private address",
            Some(
                "No public address was found: only clients in this network can be relayed. If the internet reaches this \
                 host by another address, write public.addresses = [\"PUBLIC/PRIVATE\"].",
            ),
        ),
        None => {
            let loopback: Vec<IpAddr> =
                interfaces.iter().map(|i| i.address).filter(IpAddr::is_loopback).collect();
            let first = |v4: bool| loopback.iter().copied().find(|address| address.is_ipv4() == v4);
            let mut addresses: Vec<IpAddr> = [first(true), first(false)].into_iter().flatten().collect();
            if addresses.is_empty() {
                addresses.push(Ipv4Addr::LOCALHOST.into());
            }
            found(
                &addresses,
                "loopback, for want of anything else",
                Some("This host has no network: only clients on this machine can be relayed."),
            )
        }
    }
}

/// Whether the internet could route to it. Only addresses that certainly are not are ruled out.
fn is_global(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            !(v4.is_private()
                || v4.is_loopback()
                || v4.is_link_local()
                || v4.is_multicast()
                || v4.is_documentation()
                || a == 0
                || a >= 240
                || (a == 100 && (64..128).contains(&b))
                || (a == 198 && (18..20).contains(&b))
                || (a == 192 && b == 0 && c == 0))
        }
        IpAddr::V6(v6) => {
            let [a, b, ..] = v6.segments();
            a & 0xe000 == 0x2000 && a != 0x2002 && !(a == 0x2001 && (b == 0xdb8 || b < 0x200))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn host(pairs: &[(&str, &str)]) -> Vec<Interface> {
        pairs
            .iter()
            .map(|(name, address)| Interface { name: (*name).to_owned(), address: ip(address) })
            .collect()
    }

    fn addresses(found: &Found) -> Vec<String> {
        found.addresses.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_configured_address_wins() {
        let configured = [PublicAddress { public: ip("203.0.113.7"), local: ip("127.0.0.1") }];
        let found = find(&configured, &host(&[("eth0", "198.51.100.1")])).unwrap();
        assert_eq!(addresses(&found), ["203.0.113.7/127.0.0.1"]);
        assert!(found.how.contains("configured"));
    }

    #[test]
    fn a_local_address_that_is_not_here_is_an_error() {
        let configured = [PublicAddress { public: ip("203.0.113.7"), local: ip("203.0.113.8") }];
        let error = find(&configured, &[]).unwrap_err();
        assert!(error.starts_with("203.0.113.8 is not an address of this host"), "{error}");
    }

    #[test]
    fn the_default_routes_global_addresses_are_taken_in_both_families() {
        let all =
            host(&[("lo", "127.0.0.1"), ("eth0", "5.9.1.2"), ("eth0", "2a01:4f8::2"), ("eth0", "fe80::1")]);
        let found = choose(Some(ip("5.9.1.2")), Some(ip("2a01:4f8::2")), &all);
        assert_eq!(addresses(&found), ["5.9.1.2", "2a01:4f8::2"]);
        assert_eq!(found.how, "the global address of the default route on eth0");
        assert_eq!(found.notice, None);
    }

    #[test]
    fn a_global_address_beside_a_private_one_on_the_same_interface_is_found() {
        let all = host(&[("eth0", "10.0.0.5"), ("eth0", "5.9.1.2"), ("docker0", "5.9.9.9")]);
        assert_eq!(addresses(&choose(Some(ip("10.0.0.5")), None, &all)), ["5.9.1.2"]);
    }

    #[test]
    fn a_private_ipv4_address_stands_beside_a_global_ipv6_one() {
        let all = host(&[("eth0", "10.0.0.5"), ("eth0", "2a01:4f8::2")]);
        let found = choose(Some(ip("10.0.0.5")), Some(ip("2a01:4f8::2")), &all);
        assert_eq!(addresses(&found), ["10.0.0.5", "2a01:4f8::2"]);
        assert!(found.notice.as_ref().unwrap().contains("public.addresses"), "{found:?}");
    }

    #[test]
    fn a_private_address_is_used_and_complained_about() {
        let all = host(&[("lo", "127.0.0.1"), ("wlan0", "192.168.1.5")]);
        for route in [Some(ip("192.168.1.5")), None] {
            let found = choose(route, None, &all);
            assert_eq!(addresses(&found), ["192.168.1.5"]);
            assert!(found.notice.as_ref().unwrap().contains("public.addresses"), "{found:?}");
        }
    }

    #[test]
    fn without_a_network_there_is_loopback() {
        let found = choose(None, None, &host(&[("lo", "127.0.0.1"), ("lo", "::1")]));
        assert_eq!(addresses(&found), ["127.0.0.1", "::1"]);
        assert!(found.notice.is_some());
        assert_eq!(addresses(&choose(None, None, &[])), ["127.0.0.1"]);
    }

    #[test]
    fn special_addresses_are_not_global() {
        for special in [
            "10.1.2.3",
            "192.168.0.1",
            "172.16.0.1",
            "100.64.0.1",
            "169.254.1.1",
            "192.0.2.1",
            "203.0.113.1",
            "198.18.0.1",
            "0.1.2.3",
            "240.0.0.1",
            "fe80::1",
            "fc00::1",
            "::1",
            "2001:db8::1",
            "2001::1",
            "2002::1",
        ] {
            assert!(!is_global(ip(special)), "{special}");
        }
        for global in ["8.8.8.8", "5.9.1.2", "100.128.0.1", "2a01:4f8::2", "2001:4860::8888"] {
            assert!(is_global(ip(global)), "{global}");
        }
    }

    #[test]
    fn wildcards_are_spelled_out() {
        let all = host(&[("lo", "127.0.0.1"), ("lo", "::1"), ("eth0", "5.9.1.2")]);
        let listening =
            ["[::]:1".parse().unwrap(), "0.0.0.0:2".parse().unwrap(), "9.9.9.9:3".parse().unwrap()];
        let expected: Vec<SocketAddr> =
            ["5.9.1.2:1", "5.9.1.2:2", "9.9.9.9:3", "127.0.0.1:1", "127.0.0.1:2", "[::1]:1"]
                .map(|text| text.parse().unwrap())
                .to_vec();
        assert_eq!(spelled_out(&listening, &all), expected);
    }
}
