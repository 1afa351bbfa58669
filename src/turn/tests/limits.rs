//! What there may be at most.

use super::world::{Ask, Client, World};
use crate::turn::Route;

#[test]
fn allocations_in_all_of_a_user_and_of_an_address_are_limited() {
    let mut world = World::with(|config| config.limits.allocations = 2);
    let mut clients: Vec<_> =
        (0..3).map(|n| Client::named(&format!("198.18.0.{n}:4000"), &n.to_string())).collect();
    world.allocate(&mut clients[0]);
    world.allocate(&mut clients[1]);
    assert_eq!(world.ask(&mut clients[2], Ask::allocate().udp()).code(), 486);
    assert_eq!(world.server.stats().quota_reached, 1);
    world.ask(&mut clients[0], Ask::refresh(0));
    world.allocate(&mut clients[2]);

    let mut world = World::with(|config| config.limits.allocations_per_user = 1);
    let mut one = Client::named("198.18.0.1:4000", "alice");
    let mut two = Client::named("198.18.0.2:4000", "alice");
    let mut bob = Client::named("198.18.0.1:4001", "bob");
    world.allocate(&mut one);
    assert_eq!(world.ask(&mut two, Ask::allocate().udp()).code(), 486);
    world.allocate(&mut bob);

    let mut world = World::with(|config| config.limits.allocations_per_ip = 1);
    let mut one = Client::named("[2606:4700::1]:4000", "alice");
    let mut same = Client::named("[2606:4700::2]:4000", "bob");
    let mut other = Client::named("[2606:4700:0:1::1]:4000", "carol");
    world.allocate(&mut one);
    assert_eq!(world.ask(&mut same, Ask::allocate().udp()).code(), 486, "one /64");
    world.allocate(&mut other);
}

#[test]
fn a_user_is_the_id_whatever_the_expiry() {
    let mut world = World::with(|config| config.limits.allocations_per_user = 1);
    let mut one = Client::named("198.18.0.1:4000", "alice");
    let mut two = Client::named("198.18.0.1:4001", "alice");
    let secret = secrecy::SecretString::from(super::world::SECRET);
    let later = crate::turn::credential::mint(&secret, "alice", super::world::WALL + 7200);
    (two.username, two.password) = (later.username, later.password);
    world.allocate(&mut one);
    assert_eq!(world.ask(&mut two, Ask::allocate().udp()).code(), 486);
}

#[test]
fn a_member_is_counted_whatever_the_address_and_the_credential() {
    let mut world = World::with(|config| config.limits.allocations_per_user = 2);
    let [one, two] = ["one", "two"].map(crate::turn::credential::member_id);
    for member in [&one, &two] {
        world.scopes.seat(member, "blue", 0);
    }
    world.allocate(&mut Client::named("198.18.0.1:4000", &one));
    world.allocate(&mut Client::until("198.18.0.2:4000", &one, super::world::WALL + 60));
    assert_eq!(world.ask(&mut Client::named("198.18.0.3:4000", &one), Ask::allocate().udp()).code(), 486);
    world.allocate(&mut Client::named("198.18.0.3:4000", &two));
    // And of an address the members of all rooms.
    let mut world = World::with(|config| config.limits.allocations_per_ip = 1);
    for (member, room) in [(&one, "blue"), (&two, "red")] {
        world.scopes.seat(member, room, 0);
    }
    world.allocate(&mut Client::named("198.18.0.1:4000", &one));
    assert_eq!(world.ask(&mut Client::named("198.18.0.1:4001", &two), Ask::allocate().udp()).code(), 486);
}

#[test]
fn permissions_are_limited_and_all_or_nothing() {
    let mut world = World::with(|config| config.limits.permissions = 3);
    let mut alice = Client::new("198.18.0.1:4000");
    let (at, _) = world.allocate(&mut alice);
    let ask = Ask::permission().peer("9.9.9.1:1").peer("9.9.9.2:1");
    assert_eq!(world.ask(&mut alice, ask).code(), 0);
    let ask = Ask::permission().peer("9.9.9.3:1").peer("9.9.9.4:1");
    assert_eq!(world.ask(&mut alice, ask).code(), 508);
    assert_eq!(world.peer(at, "9.9.9.3:1", 1), Route::Here);
    let ask = Ask::permission().peer("9.9.9.1:1").peer("9.9.9.3:1").peer("9.9.9.3:2");
    assert_eq!(world.ask(&mut alice, ask).code(), 0, "known ones and repetitions do not count");
    assert_eq!(world.ask(&mut alice, Ask::bind(0x4000, "9.9.9.4:1")).code(), 508);
}

#[test]
fn a_request_as_long_as_can_be_counts_every_peer_once() {
    let mut world = World::new();
    let mut alice = Client::new("198.18.0.1:4000");
    world.allocate(&mut alice);
    let two = (0..5300)
        .map(|n| format!("9.9.9.{}:1", n / 2650))
        .fold(Ask::permission(), |ask, peer| ask.peer(&peer));
    assert_eq!(world.ask(&mut alice, two).code(), 0);
    let peers = (0..5300).map(|n| format!("9.9.{}.{}:1", n / 256, n % 256));
    assert_eq!(world.ask(&mut alice, peers.fold(Ask::permission(), |ask, peer| ask.peer(&peer))).code(), 508);
}

#[test]
fn channels_are_limited() {
    let mut world = World::with(|config| config.limits.channels = 2);
    let mut alice = Client::new("198.18.0.1:4000");
    world.allocate(&mut alice);
    world.bind(&mut alice, 0x4000, "9.9.9.9:1");
    world.bind(&mut alice, 0x4001, "9.9.9.9:2");
    assert_eq!(world.ask(&mut alice, Ask::bind(0x4002, "9.9.9.9:3")).code(), 508);
    world.bind(&mut alice, 0x4001, "9.9.9.9:2");
}

#[test]
fn the_lifetime_is_capped() {
    let mut world = World::with(|config| config.limits.lifetime = std::time::Duration::from_secs(900));
    let mut alice = Client::new("198.18.0.1:4000");
    assert_eq!(world.ask(&mut alice, Ask::allocate().udp().lifetime(3600)).lifetime(), Some(900));
    assert_eq!(world.ask(&mut alice, Ask::refresh(3600)).lifetime(), Some(900));
}

#[test]
fn reservations_do_not_take_all_the_ports() {
    let mut world = World::new();
    let reserve = |world: &mut World, n: u16, id: &str| {
        let mut client = Client::named(&format!("198.18.0.1:{}", 4000 + n), id);
        let code = world.ask(&mut client, Ask::allocate().udp().even_port(true)).code();
        world.ask(&mut client, Ask::refresh(0));
        code == 0
    };
    let of_one = (0..100).filter(|&n| reserve(&mut world, n, "alice")).count();
    assert_eq!(of_one, 64);
    let of_others = (100..400).filter(|&n| reserve(&mut world, n, &format!("user {n}"))).count();
    assert_eq!(of_one + of_others, 256);
    world.allocate(&mut Client::new("198.18.0.2:4000"));
}

#[test]
fn an_allocation_is_small() {
    // Its map entries and timer come on top, some 150 bytes; its user name, and channels or permissions beyond the first two.
    let size = std::mem::size_of::<crate::turn::allocation::Allocation>();
    assert!(size <= 480, "{size} bytes");
}
