//! What this host's interfaces and routes say about its addresses. Nothing is sent.

use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;
use std::net::SocketAddr;
use std::net::UdpSocket;

/// An address of an interface.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::daemon) struct Interface {
    pub(in crate::daemon) name: String,
    pub(in crate::daemon) address: IpAddr,
}

/// Every address of every interface; none if they cannot be listed.
pub(in crate::daemon) fn interfaces() -> Vec<Interface> {
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
pub(in crate::daemon) fn spelled_out(listening: &[SocketAddr], interfaces: &[Interface]) -> Vec<SocketAddr> {
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

/// The addresses of the default routes, of both families.
pub(super) fn default_routes() -> (Option<IpAddr>, Option<IpAddr>) {
    (
        route_to(Ipv4Addr::new(8, 8, 8, 8).into()),
        route_to(Ipv6Addr::new(0x2001, 0x4860, 0x4860, 0, 0, 0, 0, 0x8888).into()),
    )
}

/// The address of ours that packets to `to` would come from. Connecting a UDP socket sends nothing: it only asks the routing
/// table.
pub(super) fn route_to(to: IpAddr) -> Option<IpAddr> {
    let any: IpAddr = if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    route(any, to)
}

/// Whether sockets can be bound to it.
pub(super) fn is_here(address: IpAddr) -> bool {
    UdpSocket::bind((address, 0)).is_ok()
}

fn route(from: IpAddr, to: IpAddr) -> Option<IpAddr> {
    let socket = UdpSocket::bind((from, 0)).ok()?;
    socket.connect((to, 53)).ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_unspecified()).then_some(address)
}

/// Whether the internet could route to it. Only addresses that certainly are not are ruled out.
pub(super) fn is_global(address: IpAddr) -> bool {
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
