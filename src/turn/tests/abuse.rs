//! The addresses that nobody's relay may touch, in every way to write them, by every way to reach them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::world::{Ask, Client, World};
use crate::turn::{AllocationId, Route, credential};

/// IPv4 addresses that are never peers.
const FORBIDDEN: [&str; 26] = [
    "0.0.0.0",         // this host
    "0.1.2.3",         // this network
    "10.0.0.1",        // private
    "10.255.255.255",  //
    "100.64.0.1",      // carrier-grade NAT
    "100.100.100.200", // Alibaba's metadata
    "127.0.0.1",       // loopback
    "127.255.255.254", //
    "169.254.0.1",     // link-local
    "169.254.169.254", // metadata nearly everywhere
    "169.254.170.2",   // Amazon's container credentials
    "172.16.0.1",      // private
    "172.31.255.255",  //
    "192.0.0.1",       // protocol assignments
    "192.0.0.192",     // Oracle's metadata
    "192.0.2.77",      // documentation
    "192.88.99.1",     // 6to4 relays
    "192.168.0.1",     // private
    "198.18.0.1",      // benchmarking
    "198.19.255.255",  //
    "198.51.100.1",    // documentation
    "203.0.113.1",     //
    "224.0.0.1",       // multicast
    "239.255.255.250", // SSDP
    "240.0.0.1",       // reserved
    "255.255.255.255", // broadcast
];

/// And IPv6 ones.
const FORBIDDEN_V6: [&str; 17] = [
    "::",
    "::1",
    "::2",
    "fe80::1",
    "fe80::5efe:9.9.9.9",
    "febf:ffff::1",
    "fec0::1",
    "fc00::1",
    "fd00:ec2::254", // Amazon's metadata
    "fd20:ce::254",  // Google's metadata
    "fdff:ffff::1",
    "ff02::1",
    "ff0e::1",
    "100::1",
    "2001:2::1",
    "2001:db8::77",
    "5f00::1",
];

/// All ways to write an IPv4 address, with their names.
fn spellings(ip: Ipv4Addr) -> Vec<(&'static str, IpAddr)> {
    let v4 = u128::from(ip.to_bits());
    let [a, b, c, d] = ip.octets().map(u128::from);
    let v6 = |bits: u128| IpAddr::V6(Ipv6Addr::from_bits(bits));
    let nat64_local = 0x0064_ff9b_0001_u128 << 80;
    vec![
        ("plain", IpAddr::V4(ip)),
        ("IPv4-mapped", v6(0xffff << 32 | v4)),
        ("IPv4-compatible", v6(v4)),
        ("IPv4-translated", v6(0xffff << 48 | v4)),
        ("NAT64", v6(0x0064_ff9b << 96 | v4)),
        ("local NAT64, /96", v6(nat64_local | v4)),
        ("local NAT64, /48", v6(nat64_local | a << 72 | b << 64 | c << 48 | d << 40)),
        ("local NAT64, /56", v6(nat64_local | a << 64 | b << 48 | c << 40 | d << 32)),
        ("local NAT64, /64", v6(nat64_local | a << 48 | b << 40 | c << 32 | d << 24)),
        ("6to4", v6(0x2002 << 112 | v4 << 80 | 1)),
        ("6to4, the whole of it", v6(0x2002 << 112 | v4 << 80 | 0xffff_ffff_ffff_ffff_ffff)),
        ("Teredo client", v6(0x2001 << 112 | 0x0909_0909 << 64 | u128::from(!ip.to_bits()))),
        ("Teredo server", v6(0x2001 << 112 | v4 << 64 | u128::from(!0x0909_0909_u32))),
        ("ISATAP", v6(0x2606_4700 << 96 | 0x5efe << 32 | v4)),
        ("ISATAP, universal", v6(0x2606_4700 << 96 | 0x0200_5efe << 32 | v4)),
    ]
}

/// Somebody in no room, and a member of a room whose other member claims every address there is.
fn attackers() -> [(World, Client, AllocationId); 2] {
    ["attacker".to_owned(), credential::member_id("attacker")].map(|id| {
        let mut world = World::new();
        for member in ["attacker", "accomplice"] {
            world.scopes.seat(&credential::member_id(member), "blue", 0);
        }
        let mut client = Client::named("198.18.0.1:4000", &id);
        assert_eq!(world.ask(&mut client, Ask::allocate().udp().also_ipv6()).code(), 0);
        let at = world.opened[0].0;
        (world, client, at)
    })
}

fn claim(world: &World, ip: IpAddr) {
    world.scopes.signaled(&credential::member_id("accomplice"), &[ip]);
    world.scopes.observed(&credential::member_id("accomplice"), ip);
}

#[test]
fn a_forbidden_address_is_out_of_reach_in_every_spelling() {
    let v4 = FORBIDDEN.iter().flat_map(|text| spellings(text.parse().unwrap()));
    let v6 = FORBIDDEN_V6.iter().map(|text| ("IPv6", text.parse().unwrap()));
    let all: Vec<_> = v4.chain(v6).collect();
    assert_eq!(all.len(), 26 * 15 + 17);
    for (mut world, mut client, at) in attackers() {
        for &(spelling, ip) in &all {
            claim(&world, ip);
            for port in [80, 50_001] {
                let peer = SocketAddr::new(ip, port).to_string();
                let what = format!("{peer} ({spelling})");
                assert_eq!(world.ask(&mut client, Ask::permission().peer(&peer)).code(), 403, "{what}");
                assert_eq!(world.ask(&mut client, Ask::bind(0x4000, &peer)).code(), 403, "{what}");
                assert_eq!(
                    world.packet(client.tuple, &Ask::send(&peer, b"x").build()),
                    Route::Here,
                    "{what}"
                );
                assert_eq!(world.peer(at, &peer, 1), Route::Here, "{what}");
                assert_eq!(world.packet(client.tuple, b"\x40\x00\x00\x01x"), Route::Here, "{what}");
            }
        }
        assert_eq!(world.server.stats().to_peer.packets + world.server.stats().to_client.packets, 0);
    }
}

#[test]
fn this_daemons_own_ports_are_out_of_reach_in_every_spelling() {
    for (mut world, mut client, at) in attackers() {
        // Nothing is wrong with the address: another program on it may be a peer.
        for (spelling, ip) in spellings("8.8.4.4".parse().unwrap()) {
            claim(&world, ip);
            let [listener, other] = [3478, 3480].map(|port| SocketAddr::new(ip, port).to_string());
            let what = format!("{listener} ({spelling})");
            let permitted = world.ask(&mut client, Ask::permission().peer(&listener)).code() == 0;
            assert!(permitted || spelling != "plain");
            assert_eq!(world.ask(&mut client, Ask::bind(0x4000, &listener)).code(), 403, "{what}");
            assert_eq!(
                world.packet(client.tuple, &Ask::send(&listener, b"x").build()),
                Route::Here,
                "{what}"
            );
            assert_eq!(world.peer(at, &listener, 1), Route::Here, "{what}");
            let send = world.packet(client.tuple, &Ask::send(&other, b"x").build());
            assert_eq!(matches!(send, Route::Peer { .. }), permitted, "{what}");
        }
    }
}

#[test]
fn other_ports_of_the_relays_host_are_out_of_reach_in_every_spelling() {
    for (mut world, mut client, at) in attackers() {
        // The one it has for the world, and the one behind the NAT.
        for relay in ["192.0.2.5", "10.0.0.5"] {
            for (spelling, ip) in spellings(relay.parse().unwrap()) {
                claim(&world, ip);
                // Below, at the edges of, and above the relay ports; within them, over the network.
                for port in [22, 3478, 49_999, 52_000] {
                    let peer = SocketAddr::new(ip, port).to_string();
                    let what = format!("{peer} ({spelling})");
                    world.ask(&mut client, Ask::permission().peer(&peer));
                    assert_eq!(world.ask(&mut client, Ask::bind(0x4000, &peer)).code(), 403, "{what}");
                    assert_eq!(
                        world.packet(client.tuple, &Ask::send(&peer, b"x").build()),
                        Route::Here,
                        "{what}"
                    );
                    assert_eq!(world.peer(at, &peer, 1), Route::Here, "{what}");
                }
                let relayed = SocketAddr::new(ip, 50_001).to_string();
                assert_eq!(world.peer(at, &relayed, 1), Route::Here, "{relayed} ({spelling})");
            }
        }
        assert_eq!(world.server.stats().to_peer.packets + world.server.stats().to_client.packets, 0);
    }
}
