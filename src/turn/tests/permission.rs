//! CreatePermission (RFC 8656, sections 9 and 10) and the peer policy.

use super::world::{Ask, Client, World};
use crate::turn::{Drop, PeerPolicy, RelayAddress, Route};

#[test]
fn one_request_may_name_many_peers() {
    let mut world = World::new();
    let mut alice = Client::new("198.18.0.1:4000");
    let (at, _) = world.allocate(&mut alice);
    let ask = Ask::permission().peer("9.9.9.9:1").peer("9.9.9.10:2").peer("9.9.9.11:3");
    assert_eq!(world.ask(&mut alice, ask).code(), 0);
    for peer in ["9.9.9.9:700", "9.9.9.10:700", "9.9.9.11:700"] {
        assert!(matches!(world.peer(at, peer, 1), Route::Client { .. }), "{peer}");
    }
    assert_eq!(world.peer(at, "9.9.9.12:700", 1), Route::Here);
}

#[test]
fn one_forbidden_peer_spoils_the_request() {
    let mut world = World::new();
    let mut alice = Client::new("198.18.0.1:4000");
    let (at, _) = world.allocate(&mut alice);
    let ask = Ask::permission().peer("9.9.9.9:1").peer("192.168.1.1:2");
    assert_eq!(world.ask(&mut alice, ask).code(), 403);
    assert_eq!(world.peer(at, "9.9.9.9:1", 1), Route::Here);
    let ask = Ask::permission().peer("9.9.9.9:1").peer("[2606:4700::1]:2");
    assert_eq!(world.ask(&mut alice, ask).code(), 443);
    assert_eq!(world.peer(at, "9.9.9.9:1", 1), Route::Here);
    assert_eq!(world.dropped(Drop::NoPermission), 2);
}

#[test]
fn no_peer_or_a_garbled_one_is_400() {
    let mut world = World::new();
    let mut alice = Client::new("198.18.0.1:4000");
    world.allocate(&mut alice);
    assert_eq!(world.ask(&mut alice, Ask::permission()).code(), 400);
    let garbled = Ask::permission().add(webrtc_stun::attributes::ATTR_XOR_PEER_ADDRESS, &[0, 9, 1, 2]);
    assert_eq!(world.ask(&mut alice, garbled).code(), 400);
}

#[test]
fn a_permission_lasts_five_minutes_and_is_renewed_by_asking_again() {
    let mut world = World::new();
    let mut alice = Client::new("198.18.0.1:4000");
    let (at, _) = world.allocate(&mut alice);
    world.permit(&mut alice, "9.9.9.9:1");
    world.sleep(299.0);
    assert!(matches!(world.peer(at, "9.9.9.9:1", 1), Route::Client { .. }), "data does not renew it");
    world.permit(&mut alice, "9.9.9.9:1");
    world.sleep(299.9);
    assert!(matches!(world.peer(at, "9.9.9.9:1", 1), Route::Client { .. }));
    world.later(0.1);
    assert_eq!(world.peer(at, "9.9.9.9:1", 1), Route::Here);
    assert_eq!(world.packet(alice.tuple, &Ask::send("9.9.9.9:1", b"x").build()), Route::Here);
}

#[test]
fn addresses_that_are_nobodys_business_are_403() {
    let denied = [
        "0.0.0.0",
        "0.1.2.3",
        "10.1.2.3",
        "100.64.0.1",
        "127.0.0.1",
        "127.255.0.1",
        "169.254.169.254",
        "172.16.0.1",
        "172.31.255.255",
        "192.0.0.1",
        "192.0.2.77",
        "192.168.0.1",
        "198.18.0.1",
        "198.19.255.1",
        "198.51.100.1",
        "203.0.113.1",
        "224.0.0.1",
        "239.1.1.1",
        "240.0.0.1",
        "255.255.255.255",
        // The like in IPv6, and IPv4 in disguise.
        "::",
        "::1",
        "fe80::1",
        "fec0::1",
        "fc00::1",
        "fdff::1",
        "ff02::1",
        "2001:db8::77",
        "100::1",
        "2001:2::1",
        "3fff::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "::ffff:9.9.9.9",
        "::127.0.0.1",
        "::9.9.9.9",
        "64:ff9b::10.0.0.1",
        "64:ff9b::127.0.0.1",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::10.0.0.1",
        "64:ff9b:1:a00:0:100::",
        "64:ff9b:1:7f:0:1::",
        "64:ff9b:1:a:0:a9fe:a9fe:0",
        "64:ff9b:1:0:a:1:200:0",
        "2002:a00:1::1",
        "2002:7f00:1::1",
        "2002:c0a8:101::1",
        "2001:0:a00:1::1",
        "2001:0:909:909::f5ff:fffe",
        "2001:0:909:909::80ff:fffe",
        "::ffff:0:127.0.0.1",
    ];
    let allowed = [
        "9.9.9.9",
        "1.1.1.1",
        "11.0.0.1",
        "100.63.255.255",
        "100.128.0.1",
        "172.15.0.1",
        "172.32.0.1",
        "192.0.1.1",
        "198.17.0.1",
        "198.20.0.1",
        "223.255.255.255",
        "2606:4700::1",
        "2001:4860::8888",
        "64:ff9b::9.9.9.9",
        "2002:909:909::1",
        "2001:0:909:909::f6f6:f6f6",
    ];
    for (list, code) in [(&denied[..], 403), (&allowed[..], 0)] {
        for ip in list {
            let mut world = World::new();
            let mut alice = Client::new("198.18.0.1:4000");
            assert_eq!(world.ask(&mut alice, Ask::allocate().udp().also_ipv6()).code(), 0);
            let peer = if ip.contains(':') { format!("[{ip}]:7000") } else { format!("{ip}:7000") };
            assert_eq!(
                world.ask(&mut alice, Ask::permission().peer(&peer)).code(),
                code,
                "permission for {ip}"
            );
            assert_eq!(world.ask(&mut alice, Ask::bind(0x4000, &peer)).code(), code, "channel to {ip}");
            let send = world.packet(alice.tuple, &Ask::send(&peer, b"x").build());
            assert_eq!(matches!(send, Route::Peer { .. }), code == 0, "send to {ip}");
        }
    }
}

#[test]
fn the_operator_allows_over_the_list_and_denies_over_all() {
    let policy = PeerPolicy {
        allow: vec!["10.0.0.0/8".parse().unwrap(), "::1".parse().unwrap()],
        deny: vec!["10.1.0.0/16".parse().unwrap(), "9.9.9.0/24".parse().unwrap()],
    };
    let says = |ip: &str| policy.allows(ip.parse().unwrap());
    assert!(says("10.0.0.1") && says("::1") && says("64:ff9b::10.0.0.1") && says("9.9.8.1"));
    assert!(!says("10.1.0.1") && !says("9.9.9.9") && !says("64:ff9b::9.9.9.9") && !says("192.168.0.1"));
    assert!("10.0.0.0/33".parse::<crate::turn::Cidr>().is_err());
    assert_eq!("10.9.9.9/8".parse::<crate::turn::Cidr>().unwrap().to_string(), "10.0.0.0/8");
}

#[test]
fn where_the_daemon_listens_is_never_a_peer() {
    let mut world = World::new();
    let mut alice = Client::new("198.18.0.1:4000");
    let (at, _) = world.allocate(&mut alice);
    assert_eq!(world.ask(&mut alice, Ask::bind(0x4000, "8.8.4.4:3478")).code(), 403);
    assert_eq!(world.ask(&mut alice, Ask::bind(0x4000, "8.8.4.4:3479")).code(), 0);
    assert_eq!(world.packet(alice.tuple, &Ask::send("8.8.4.4:3478", b"x").build()), Route::Here);
    assert_eq!(world.peer(at, "8.8.4.4:3478", 1), Route::Here);
    assert_eq!(world.dropped(Drop::PeerDenied), 2);
}

#[test]
fn a_wildcard_listener_stands_for_the_relays_own_addresses() {
    let here = "8.8.8.8".parse().unwrap();
    let mut world = World::with(|config| {
        config.relays = vec![RelayAddress { local: here, public: here }];
        config.peers.allow = vec!["8.8.8.8/32".parse().unwrap()];
    });
    let mut alice = Client::new("198.18.0.1:4000");
    world.allocate(&mut alice);
    assert_eq!(world.ask(&mut alice, Ask::bind(0x4000, "8.8.8.8:3478")).code(), 403);
    assert_eq!(world.ask(&mut alice, Ask::bind(0x4000, "8.8.8.8:3479")).code(), 0);
}

#[test]
fn where_the_daemon_is_stays_forbidden_in_other_spellings() {
    let here = "8.8.8.8".parse().unwrap();
    let mut world = World::with(|config| config.relays[0] = RelayAddress { local: here, public: here });
    let mut alice = Client::new("198.18.0.1:4000");
    assert_eq!(world.ask(&mut alice, Ask::allocate().udp().also_ipv6()).code(), 0);
    for peer in ["8.8.4.4:3478", "[64:ff9b::8.8.4.4]:3478", "[2002:808:404::1]:3478"] {
        assert_eq!(world.ask(&mut alice, Ask::bind(0x4000, peer)).code(), 403, "a listener: {peer}");
    }
    for peer in ["8.8.8.8:6379", "[64:ff9b::8.8.8.8]:6379", "[2002:808:808::1]:6379"] {
        assert_eq!(world.ask(&mut alice, Ask::bind(0x4000, peer)).code(), 403, "another service: {peer}");
    }
}

#[test]
fn other_services_of_the_relays_host_are_for_the_operator_to_open() {
    let here = "8.8.8.8".parse().unwrap();
    let mut world = World::with(|config| config.relays = vec![RelayAddress { local: here, public: here }]);
    let mut alice = Client::new("198.18.0.1:4000");
    let (at, _) = world.allocate(&mut alice);
    assert_eq!(world.ask(&mut alice, Ask::bind(0x4000, "8.8.8.8:6379")).code(), 403);
    world.permit(&mut alice, "8.8.8.8:6379");
    assert_eq!(world.packet(alice.tuple, &Ask::send("8.8.8.8:6379", b"x").build()), Route::Here);
    assert_eq!(world.peer(at, "8.8.8.8:6379", 1), Route::Here);
    assert_eq!(world.dropped(Drop::PeerDenied), 2);
}

#[test]
fn this_daemons_relayed_addresses_are_peers_whatever_their_range() {
    let mut world = World::with(|config| {
        let here = "127.0.0.1".parse().unwrap();
        config.relays = vec![RelayAddress { local: here, public: here }];
    });
    let mut alice = Client::new("127.0.0.1:4000");
    let mut bob = Client::named("127.0.0.1:4001", "bob");
    let (_, of_alice) = world.allocate(&mut alice);
    let (_, of_bob) = world.allocate(&mut bob);
    world.permit(&mut alice, &of_bob.to_string());
    world.bind(&mut bob, 0x4000, &of_alice.to_string());
    assert!(matches!(
        world.packet(alice.tuple, &Ask::send(&of_bob.to_string(), b"x").build()),
        Route::Client { .. }
    ));
    // But nothing else on that address.
    assert_eq!(world.ask(&mut alice, Ask::bind(0x4000, "127.0.0.1:22")).code(), 403);
    assert_eq!(world.packet(alice.tuple, &Ask::send("127.0.0.1:22", b"x").build()), Route::Here);
    assert_eq!(world.dropped(Drop::PeerDenied), 1);
}
