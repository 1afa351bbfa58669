//! Under which addresses the world finds this host: as configured, else as its interfaces say, else as its cloud does.

mod cloud;
mod interfaces;

use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::path::Path;

use crate::config::PublicAddress;

pub(super) use interfaces::Interface;
pub(super) use interfaces::interfaces;
pub(super) use interfaces::spelled_out;

use interfaces::is_global;
use interfaces::is_here;

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

/// The configured addresses, else what the interfaces have, else what the cloud knows.
///
/// # Errors
/// A configured local address that this host does not have, in words.
pub(super) async fn find(configured: &[PublicAddress], interfaces: &[Interface]) -> Result<Found, String> {
    if !configured.is_empty() {
        return bindable(configured, interfaces);
    }
    let (v4, v6) = interfaces::default_routes();
    Ok(or_cloud(choose(v4, v6, interfaces), Path::new(cloud::DMI), None).await)
}

/// What is wrong with configured addresses on this host as it is now, in words.
pub(super) fn complaints(configured: &[PublicAddress], interfaces: &[Interface]) -> Vec<String> {
    match bindable(configured, interfaces) {
        Ok(found) => found.notice.into_iter().collect(),
        Err(what) => vec![what],
    }
}

/// The addresses with local parts that relays can be bound to. One that was given alone and is not on this host is taken for
/// the outer one of a 1:1 NAT: the address of the route there is its inner one.
fn bindable(configured: &[PublicAddress], interfaces: &[Interface]) -> Result<Found, String> {
    let mut found =
        Found { addresses: Vec::new(), how: "configured (public.addresses)".to_owned(), notice: None };
    for &address in configured {
        let PublicAddress { public, local } = address;
        if !is_global(public) {
            add(
                &mut found.notice,
                &format!(
                    "{public} is not an address of the internet: only clients in its network can be relayed. If the internet \
                     reaches this host by another address, write public.addresses = [\"PUBLIC/{local}\"]."
                ),
            );
        }
        if is_here(local) {
            found.addresses.push(address);
            continue;
        }
        let same = |i: &&Interface| i.address.is_ipv4() == public.is_ipv4() && !i.address.is_loopback();
        let other = interfaces::route_to(public)
            .or_else(|| interfaces.iter().filter(same).map(|i| i.address).find(|address| is_here(*address)));
        match other {
            Some(inner) if local == public => {
                found.addresses.push(PublicAddress { public, local: inner });
                add(
                    &mut found.notice,
                    &format!(
                        "{public} is not an address of this host: it is taken for the outer one of a 1:1 NAT, with {inner} \
                     behind it. If that is right, write public.addresses = [\"{public}/{inner}\"]."
                    ),
                );
            }
            Some(inner) => {
                return Err(format!("{local} is not an address of this host; write \"{public}/{inner}\""));
            }
            None => return Err(format!("{local} is not an address of this host")),
        }
    }
    Ok(found)
}

/// One more sentence.
fn add(notice: &mut Option<String>, sentence: &str) {
    let notice = notice.get_or_insert_default();
    if !notice.is_empty() {
        notice.push(' ');
    }
    notice.push_str(sentence);
}

/// `found`, with the public address of its private IPv4 one if the cloud knows it. `dmi` and `at` are as in `cloud::ask`.
async fn or_cloud(mut found: Found, dmi: &Path, at: Option<SocketAddr>) -> Found {
    let private = |address: &&mut PublicAddress| {
        address.public.is_ipv4() && !is_global(address.public) && !address.public.is_loopback()
    };
    let alone = found.addresses.len() == 1;
    if let Some(address) = found.addresses.iter_mut().find(private)
        && let Some((public, cloud)) = cloud::ask(dmi, at).await
    {
        address.public = public;
        let rest = if alone { "" } else { ", and the global IPv6 address of the default route" };
        found.how = format!("the metadata service of {cloud}{rest}");
        found.notice = None;
    }
    found
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

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;
    use tokio::io::AsyncWriteExt;

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

    #[tokio::test]
    async fn the_configured_address_wins() {
        let configured = [PublicAddress { public: ip("203.0.113.7"), local: ip("127.0.0.1") }];
        let found = find(&configured, &host(&[("eth0", "198.51.100.1")])).await.unwrap();
        assert_eq!(addresses(&found), ["203.0.113.7/127.0.0.1"]);
        assert!(found.how.contains("configured"));
    }

    #[test]
    fn a_local_address_that_is_not_here_is_an_error() {
        let configured = [PublicAddress { public: ip("203.0.113.7"), local: ip("203.0.113.8") }];
        let error = bindable(&configured, &[]).unwrap_err();
        assert!(error.starts_with("203.0.113.8 is not an address of this host"), "{error}");
        assert_eq!(complaints(&configured, &[]), [error]);
        let here = PublicAddress { public: ip("5.9.1.2"), local: ip("127.0.0.1") };
        assert!(complaints(&[here], &[]).is_empty());
    }

    #[test]
    fn a_configured_address_that_the_internet_cannot_reach_is_complained_about() {
        for address in ["10.0.0.5", "192.168.1.5", "100.64.0.1", "127.0.0.1", "fd00::1"] {
            let private = PublicAddress { public: ip(address), local: ip("127.0.0.1") };
            let global = PublicAddress { public: ip("5.9.1.2"), local: ip("127.0.0.1") };
            let notice = complaints(&[global, private], &[]).remove(0);
            assert!(notice.starts_with(&format!("{address} is not an address of the internet")), "{notice}");
        }
    }

    #[test]
    fn an_outer_address_given_alone_is_taken_for_one_and_it_is_said() {
        let configured = [PublicAddress { public: ip("203.0.113.7"), local: ip("203.0.113.7") }];
        // The test's own host may have a route there; else the first address of its interfaces is the inner one.
        let inner = interfaces::route_to(ip("203.0.113.7"));
        let found = match (inner, bindable(&configured, &interfaces())) {
            (None, Err(error)) => return assert!(error.contains("203.0.113.7"), "{error}"),
            (_, found) => found.unwrap(),
        };
        let local = found.addresses[0].local;
        assert!(inner.is_none_or(|inner| inner == local));
        assert_eq!(addresses(&found), [format!("203.0.113.7/{local}")]);
        let notice = found.notice.clone().unwrap();
        assert!(notice.contains(&format!("public.addresses = [\"203.0.113.7/{local}\"]")), "{notice}");
        assert_eq!(complaints(&configured, &interfaces()), [notice]);
    }

    #[tokio::test]
    async fn the_cloud_knows_the_address_that_the_interfaces_lack() {
        let service = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = service.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = service.accept().await {
                let _ = stream.read(&mut [0; 1024]).await;
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n5.9.1.2").await;
            }
        });
        let dmi = tempfile::tempdir().unwrap();
        std::fs::write(dmi.path().join("sys_vendor"), "Hetzner\n").unwrap();
        let all = host(&[("eth0", "10.0.0.5"), ("eth0", "2a01:4f8::2")]);
        let v4 = or_cloud(choose(Some(ip("10.0.0.5")), None, &all), dmi.path(), Some(at)).await;
        assert_eq!(addresses(&v4), ["5.9.1.2/10.0.0.5"]);
        assert_eq!((v4.how.as_str(), v4.notice), ("the metadata service of Hetzner Cloud", None));
        let both = choose(Some(ip("10.0.0.5")), Some(ip("2a01:4f8::2")), &all);
        let both = or_cloud(both, dmi.path(), Some(at)).await;
        assert_eq!(addresses(&both), ["5.9.1.2/10.0.0.5", "2a01:4f8::2"]);
        assert!(both.how.contains("Hetzner") && both.how.contains("IPv6"), "{both:?}");
    }

    #[tokio::test]
    async fn the_cloud_is_not_asked_by_who_has_an_address_or_no_network() {
        let service = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        service.set_nonblocking(true).unwrap();
        let at = Some(service.local_addr().unwrap());
        let dmi = tempfile::tempdir().unwrap();
        std::fs::write(dmi.path().join("sys_vendor"), "Hetzner\n").unwrap();
        let global = choose(Some(ip("5.9.1.2")), None, &host(&[("eth0", "5.9.1.2")]));
        assert_eq!(or_cloud(global.clone(), dmi.path(), at).await, global);
        let loopback = choose(None, None, &host(&[("lo", "127.0.0.1")]));
        assert_eq!(or_cloud(loopback.clone(), dmi.path(), at).await, loopback);
        let private = choose(Some(ip("10.0.0.5")), None, &host(&[("eth0", "10.0.0.5")]));
        let nowhere = tempfile::tempdir().unwrap();
        assert_eq!(or_cloud(private.clone(), nowhere.path(), at).await, private);
        assert!(service.accept().is_err(), "somebody asked");
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
}
