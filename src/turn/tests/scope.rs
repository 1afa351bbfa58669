//! What the relays of a room's members reach: the room's other members, and nobody else.

use std::net::IpAddr;

use super::world::{Ask, Client, World, addr};
use crate::turn::{AllocationId, Drop, Output, RelayAddress, Route, Scopes, credential};

const CALL: u8 = 0;

fn id(name: &str) -> String {
    credential::member_id(name)
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn data(number: u16) -> Vec<u8> {
    let [a, b] = number.to_be_bytes();
    vec![a, b, 0, 1, b'x']
}

/// A world whose room `blue` has alice (at 198.18.0.1) and bob, and `red` has carol.
struct Rooms {
    world: World,
    scopes: Scopes,
    alice: Client,
    bob: Client,
    carol: Client,
}

impl Rooms {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut crate::turn::Config)) -> Self {
        let scopes = Scopes::default();
        for (member, room) in [("alice", "blue"), ("bob", "blue"), ("carol", "red")] {
            scopes.seat(&id(member), room, CALL);
        }
        let shared = scopes.clone();
        Self {
            world: World::with(|config| {
                config.scopes = shared;
                change(config);
            }),
            scopes,
            alice: Client::named("198.18.0.1:4000", &id("alice")),
            bob: Client::named("198.18.0.2:4000", &id("bob")),
            carol: Client::named("198.18.0.3:4000", &id("carol")),
        }
    }

    /// Another shard of the same daemon.
    fn other_shard(&self) -> World {
        let scopes = self.scopes.clone();
        let mut world = World::with(|config| {
            config.scopes = scopes;
            config.ports = 51000..=51999;
        });
        world.now = self.world.now;
        world
    }

    fn permits(&mut self, peer: &str) -> u16 {
        self.world.ask(&mut self.alice, Ask::permission().peer(peer)).code()
    }

    fn binds(&mut self, number: u16, peer: &str) -> u16 {
        self.world.ask(&mut self.alice, Ask::bind(number, peer)).code()
    }

    fn allocate_alice(&mut self) -> (AllocationId, String) {
        let (at, relayed) = self.world.allocate(&mut self.alice);
        (at, relayed.to_string())
    }
}

#[test]
fn a_credential_is_worth_as_much_as_the_seat() {
    for room_scope in [true, false] {
        let mut world = World::with(|config| config.room_scope = room_scope);
        let scopes = world.scopes.clone();
        let mut alice = Client::named("198.18.0.1:4000", &id("alice"));
        assert_eq!(world.ask(&mut alice, Ask::allocate().udp()).code(), 401, "never seated");
        scopes.seat(&id("alice"), "blue", CALL);
        world.allocate(&mut alice);
        scopes.unseat(&id("alice"));
        assert_eq!(world.ask(&mut alice, Ask::refresh(600)).code(), 401);
        assert_eq!(world.ask(&mut alice, Ask::permission().peer("9.9.9.9:1")).code(), 401);
        world.server.revoke(world.now, &id("alice"));
        world.settle();
        assert_eq!(world.server.stats().allocations, 0);
        alice.nonce.clear();
        assert_eq!(
            world.ask(&mut alice, Ask::allocate().udp()).code(),
            401,
            "the credential has not expired"
        );
        assert!(world.server.leaves_nothing() && scopes.is_empty());
        // Whoever is in no room has nothing to do with that.
        world.allocate(&mut Client::named("198.18.0.2:4000", "room-members"));
    }
}

#[test]
fn a_relay_reaches_what_other_members_named_or_were_seen_at() {
    let mut rooms = Rooms::new();
    rooms.allocate_alice();
    for peer in ["9.9.9.9:1", "8.8.8.8:1", "7.7.7.7:1"] {
        assert_eq!((rooms.permits(peer), rooms.binds(0x4000, peer)), (403, 403), "{peer}");
        let send = Ask::send(peer, b"x").build();
        assert_eq!(rooms.world.packet(rooms.alice.tuple, &send), Route::Here);
    }
    assert_eq!(rooms.world.dropped(Drop::NoPermission), 3);
    rooms.scopes.signaled(&id("bob"), &[ip("1.2.3.4"), ip("9.9.9.9")]);
    rooms.scopes.observed(&id("bob"), ip("8.8.8.8"));
    let mut seen = Client::named("7.7.7.7:4000", &id("bob"));
    rooms.world.allocate(&mut seen);
    for (number, peer) in [(0x4000, "9.9.9.9:1"), (0x4001, "8.8.8.8:1"), (0x4002, "7.7.7.7:1")] {
        assert_eq!((rooms.permits(peer), rooms.binds(number, peer)), (0, 0), "{peer}");
        assert!(matches!(rooms.world.packet(rooms.alice.tuple, &data(number)), Route::Peer { .. }));
    }
    // One that is not spoils the request, as always.
    let ask = Ask::permission().peer("1.2.3.4:1").peer("1.2.3.5:1");
    assert_eq!(rooms.world.ask(&mut rooms.alice, ask).code(), 403);
    assert_eq!(rooms.world.packet(rooms.alice.tuple, &Ask::send("1.2.3.4:1", b"x").build()), Route::Here);
}

#[test]
fn a_stranger_who_asked_without_the_password_was_not_seen() {
    let mut rooms = Rooms::new();
    rooms.allocate_alice();
    let mut thief = Client::named("7.7.7.7:4000", &id("bob"));
    thief.password = "guess".into();
    assert_eq!(rooms.world.ask(&mut thief, Ask::allocate().udp()).code(), 401);
    assert_eq!(rooms.permits("7.7.7.7:1"), 403);
    // Nor was one with a nonce of somebody else.
    rooms.world.allocate(&mut rooms.bob);
    let mut replayed = Client::named("7.7.7.7:4000", &id("bob"));
    replayed.nonce = rooms.bob.nonce.clone();
    assert_eq!(rooms.world.ask(&mut replayed, Ask::allocate().udp()).code(), 438);
    assert_eq!(rooms.permits("7.7.7.7:1"), 403);
}

#[test]
fn an_own_address_counts_if_somebody_else_has_it_too() {
    let mut rooms = Rooms::new();
    rooms.allocate_alice();
    rooms.scopes.signaled(&id("alice"), &[ip("9.9.9.9")]);
    rooms.scopes.observed(&id("alice"), ip("9.9.9.9"));
    assert_eq!(rooms.permits("9.9.9.9:1"), 403);
    rooms.scopes.observed(&id("carol"), ip("9.9.9.9"));
    assert_eq!(rooms.permits("9.9.9.9:1"), 403, "carol is in another room");
    // Behind the same NAT.
    rooms.scopes.observed(&id("bob"), ip("9.9.9.9"));
    assert_eq!(rooms.permits("9.9.9.9:1"), 0);
}

#[test]
fn the_scope_does_not_widen_the_peer_policy() {
    let mut rooms = Rooms::new();
    rooms.allocate_alice();
    for peer in ["10.1.1.1", "127.0.0.1", "169.254.169.254", "8.8.4.4"] {
        rooms.scopes.signaled(&id("bob"), &[ip(peer)]);
        let wanted = if peer == "8.8.4.4" { 0 } else { 403 };
        assert_eq!(rooms.permits(&format!("{peer}:3478")), wanted, "{peer}");
        assert_eq!(
            rooms.binds(0x4000, &format!("{peer}:3478")),
            403,
            "{peer}: a listener of ours at the last"
        );
    }
}

#[test]
fn an_address_counts_in_every_spelling_of_the_same_host() {
    let mut rooms = Rooms::new();
    let answer = rooms.world.ask(&mut rooms.alice, Ask::allocate().udp().also_ipv6());
    assert_eq!(answer.code(), 0);
    rooms.scopes.signaled(&id("bob"), &[ip("::ffff:9.9.9.9"), ip("64:ff9b::8.8.8.8"), ip("2606:4700::1")]);
    for peer in ["9.9.9.9:1", "[64:ff9b::9.9.9.9]:1", "8.8.8.8:1", "[64:ff9b::8.8.8.8]:1", "[2606:4700::1]:1"]
    {
        assert_eq!(rooms.permits(peer), 0, "{peer}");
    }
    // What only carries the address is another host; and what the policy denies stays denied.
    for peer in
        ["[2002:909:909::1]:1", "[2001:0:909:909::f6f6:f6f6]:1", "[::ffff:9.9.9.9]:1", "[::9.9.9.9]:1"]
    {
        assert_eq!(rooms.permits(peer), 403, "{peer}");
    }
}

#[test]
fn the_oldest_of_many_addresses_go() {
    let mut rooms = Rooms::new();
    rooms.allocate_alice();
    let named: Vec<_> = (1..=32).map(|n| ip(&format!("9.9.9.{n}"))).collect();
    rooms.scopes.signaled(&id("bob"), &named);
    // Named again: the newest now.
    rooms.scopes.signaled(&id("bob"), &named[..1]);
    assert_eq!((rooms.permits("9.9.9.1:1"), rooms.permits("9.9.9.2:1")), (0, 0));
    rooms.scopes.signaled(&id("bob"), &[ip("9.9.9.33")]);
    assert_eq!((rooms.permits("9.9.9.1:1"), rooms.permits("9.9.9.2:1")), (0, 403));
    assert_eq!(rooms.permits("9.9.9.33:1"), 0);
    let send = Ask::send("9.9.9.2:1", b"x").build();
    assert_eq!(rooms.world.packet(rooms.alice.tuple, &send), Route::Here, "and the permission with it");

    // A flood of one list leaves the other alone.
    for n in 1..=9 {
        rooms.scopes.observed(&id("bob"), ip(&format!("8.8.8.{n}")));
    }
    assert_eq!(
        (rooms.permits("8.8.8.1:1"), rooms.permits("8.8.8.2:1"), rooms.permits("9.9.9.33:1")),
        (403, 0, 0)
    );
}

#[test]
fn what_a_member_takes_along_is_out_of_reach_from_the_next_packet_on() {
    let mut rooms = Rooms::new();
    let (at, _) = rooms.allocate_alice();
    rooms.scopes.seat(&id("dave"), "blue", CALL);
    rooms.scopes.signaled(&id("bob"), &[ip("9.9.9.9"), ip("8.8.8.8")]);
    rooms.scopes.signaled(&id("dave"), &[ip("8.8.8.8")]);
    for (number, peer) in [(0x4000, "9.9.9.9:1"), (0x4001, "8.8.8.8:1")] {
        assert_eq!(rooms.binds(number, peer), 0);
    }
    rooms.world.events.clear();
    rooms.scopes.unseat(&id("bob"));
    assert_eq!(rooms.world.packet(rooms.alice.tuple, &data(0x4000)), Route::Here);
    assert_eq!(rooms.world.dropped(Drop::NoChannel), 1);
    assert_eq!(rooms.world.events, [Output::ChannelUnbound { at, number: 0x4000 }]);
    assert_eq!(rooms.world.packet(rooms.alice.tuple, &Ask::send("9.9.9.9:2", b"x").build()), Route::Here);
    assert_eq!(rooms.world.peer(at, "9.9.9.9:1", 1), Route::Here);
    assert_eq!(rooms.world.dropped(Drop::NoPermission), 2);
    // Dave has the other one.
    assert!(matches!(rooms.world.packet(rooms.alice.tuple, &data(0x4001)), Route::Peer { .. }));
    assert!(matches!(rooms.world.peer(at, "8.8.8.8:1", 1), Route::Client { .. }));
    // Alice's own seat is the last: nobody else is there.
    rooms.scopes.unseat(&id("dave"));
    assert_eq!(rooms.world.peer(at, "8.8.8.8:1", 1), Route::Here);
}

#[test]
fn whoever_is_unseated_relays_nothing_even_before_the_order_to_end_it_comes() {
    for seats in [&[None, Some("red"), Some("blue")][..], &[Some("blue")]] {
        let mut rooms = Rooms::new();
        let (at, of_alice) = rooms.allocate_alice();
        rooms.scopes.signaled(&id("bob"), &[ip("9.9.9.9")]);
        assert_eq!(rooms.binds(0x4000, "9.9.9.9:1"), 0);
        // From relay to relay, in this shard and another, by permission and by channel.
        let (_, of_bob) = rooms.world.allocate(&mut rooms.bob);
        let mut there = rooms.other_shard();
        rooms.scopes.seat(&id("dave"), "blue", CALL);
        let mut dave = Client::named("198.18.0.4:4000", &id("dave"));
        let (_, of_dave) = there.allocate(&mut dave);
        there.permit(&mut dave, &of_alice);
        rooms.world.permit(&mut rooms.bob, &of_alice);
        assert_eq!(rooms.binds(0x4001, &of_bob.to_string()), 0);
        assert_eq!(rooms.binds(0x4002, &of_dave.to_string()), 0);
        let from_bob = Ask::send(&of_alice, b"x").build();
        let sends = [of_bob, of_dave].map(|to| Ask::send(&to.to_string(), b"x").build());
        let crosses = |rooms: &mut Rooms, there: &mut World| {
            let mut routes: Vec<_> = [&sends[0], &sends[1], &data(0x4001), &data(0x4002)]
                .map(|packet| rooms.world.packet(rooms.alice.tuple, packet))
                .into();
            routes.push(rooms.world.packet(rooms.bob.tuple, &from_bob));
            if let Route::Across { from, to, room, .. } = there.packet(dave.tuple, &from_bob) {
                routes.push(rooms.world.server.handle_relayed(rooms.world.now, to, from, room, 1));
            }
            routes.iter().filter(|route| **route != Route::Here).count()
        };
        assert_eq!(crosses(&mut rooms, &mut there), 6);
        rooms.scopes.unseat(&id("alice"));
        // Not even if the place is taken again at once, in a room of that name or another.
        for room in seats {
            if let Some(room) = room {
                rooms.scopes.seat(&id("alice"), room, CALL);
            }
            assert_eq!(rooms.world.packet(rooms.alice.tuple, &data(0x4000)), Route::Here, "{room:?}");
            assert_eq!(rooms.world.peer(at, "9.9.9.9:1", 1), Route::Here, "{room:?}");
            assert_eq!(crosses(&mut rooms, &mut there), 0, "{room:?}");
        }
    }
}

#[test]
fn a_channel_that_lost_its_peer_can_be_bound_again_when_the_peer_is_back() {
    let mut rooms = Rooms::new();
    rooms.allocate_alice();
    rooms.scopes.signaled(&id("bob"), &[ip("9.9.9.9")]);
    assert_eq!(rooms.binds(0x4000, "9.9.9.9:1"), 0);
    rooms.scopes.unseat(&id("bob"));
    assert_eq!(rooms.world.packet(rooms.alice.tuple, &data(0x4000)), Route::Here);
    assert_eq!(rooms.binds(0x4000, "9.9.9.9:1"), 403);
    rooms.scopes.seat(&id("bob"), "blue", CALL);
    rooms.scopes.signaled(&id("bob"), &[ip("9.9.9.9"), ip("8.8.8.8")]);
    assert_eq!(rooms.binds(0x4000, "8.8.8.8:1"), 400, "in quarantine, as an expired one");
    assert_eq!(rooms.binds(0x4000, "9.9.9.9:1"), 0);
    assert!(matches!(rooms.world.packet(rooms.alice.tuple, &data(0x4000)), Route::Peer { .. }));
    rooms.world.sleep(1000.0);
    assert_eq!(rooms.world.server.stats().allocations, 0);
}

#[test]
fn members_of_a_room_talk_from_relay_to_relay() {
    let mut rooms = Rooms::new();
    let (_, of_alice) = rooms.allocate_alice();
    let (_, of_bob) = rooms.world.allocate(&mut rooms.bob);
    // Permissions first, as browsers do, and before either has named its relay.
    assert_eq!(rooms.permits(&of_bob.to_string()), 0);
    rooms.world.permit(&mut rooms.bob, &of_alice);
    let send = Ask::send(&of_bob.to_string(), b"x").build();
    assert!(matches!(rooms.world.packet(rooms.alice.tuple, &send), Route::Client { .. }));
    assert_eq!(rooms.binds(0x4000, &of_bob.to_string()), 0);
    assert!(matches!(rooms.world.packet(rooms.alice.tuple, &data(0x4000)), Route::Client { .. }));
    // By the address it is bound to, too.
    assert_eq!(rooms.binds(0x4001, &format!("10.0.0.5:{}", of_bob.port())), 0);
    assert!(matches!(rooms.world.packet(rooms.alice.tuple, &data(0x4001)), Route::Client { .. }));
    // Gone with the allocation.
    rooms.world.ask(&mut rooms.bob, Ask::refresh(0));
    assert_eq!(rooms.binds(0x4000, &of_bob.to_string()), 403);
    assert_eq!(rooms.world.packet(rooms.alice.tuple, &data(0x4000)), Route::Here);
    assert_eq!(rooms.world.dropped(Drop::NoPeerAllocation), 1);
}

#[test]
fn no_relay_of_another_room_or_of_none_is_reached() {
    for (id, room) in [(id("carol"), Some("red")), ("eve".to_owned(), None)] {
        let mut rooms = Rooms::new();
        let (_, of_alice) = rooms.allocate_alice();
        let mut other = Client::named("198.18.0.9:4000", &id);
        let (_, of_other) = rooms.world.allocate(&mut other);
        let of_other = of_other.to_string();
        assert_eq!(rooms.binds(0x4000, &of_other), 403, "{room:?}");
        assert_eq!(rooms.permits(&of_other), 403, "{room:?}");
        rooms.world.permit_address(&mut rooms.alice, &of_other);
        rooms.world.permit_address(&mut other, &of_alice);
        for (from, to) in [(&rooms.alice, &of_other), (&other, &of_alice)] {
            let send = Ask::send(to, b"x").build();
            assert_eq!(rooms.world.packet(from.tuple, &send), Route::Here);
        }
        assert_eq!(rooms.world.dropped(Drop::OtherRoom), 2);
        // The public may bind whatever relayed address there is, and gets as far.
        let bound = rooms.world.ask(&mut other, Ask::bind(0x4000, &of_alice)).code();
        assert_eq!(bound, if room.is_some() { 403 } else { 0 });
        assert_eq!(rooms.world.packet(other.tuple, &data(0x4000)), Route::Here);
        // Nobody's relayed address, and one that a member had, are not to be bound either.
        assert_eq!(rooms.binds(0x4001, "192.0.2.5:50001"), 403);
        // Nor does the address of the relays open anything else on that host.
        assert_eq!(rooms.binds(0x4001, "192.0.2.5:80"), 403);
        assert_eq!(
            rooms.world.packet(rooms.alice.tuple, &Ask::send("192.0.2.5:80", b"x").build()),
            Route::Here
        );
        assert_eq!(rooms.world.dropped(Drop::PeerDenied), 1);
    }
}

#[test]
fn a_port_that_another_room_took_over_is_not_reached_through_the_old_channel() {
    let mut rooms = Rooms::with(|config| config.ports = 50000..=50001);
    rooms.allocate_alice();
    let (_, of_bob) = rooms.world.allocate(&mut rooms.bob);
    assert_eq!(rooms.binds(0x4000, &of_bob.to_string()), 0);
    rooms.world.ask(&mut rooms.bob, Ask::refresh(0));
    let (_, of_carol) = rooms.world.allocate(&mut rooms.carol);
    assert_eq!(of_carol, of_bob);
    rooms.world.permit(&mut rooms.carol, "192.0.2.5:1");
    assert_eq!(rooms.world.packet(rooms.alice.tuple, &data(0x4000)), Route::Here);
    assert_eq!(rooms.world.dropped(Drop::OtherRoom), 1);
}

#[test]
fn rooms_are_kept_apart_across_shards() {
    let mut rooms = Rooms::new();
    let (_, of_alice) = rooms.allocate_alice();
    let mut there = rooms.other_shard();
    let (_, of_bob) = there.allocate(&mut rooms.bob);
    let (_, of_carol) = there.allocate(&mut rooms.carol);
    let mut eve = Client::named("198.18.0.9:4000", "eve");
    let (_, of_eve) = there.allocate(&mut eve);
    for client in [&mut rooms.bob, &mut rooms.carol, &mut eve] {
        there.permit_address(client, &of_alice);
    }
    assert_eq!(rooms.binds(0x4000, &of_bob.to_string()), 0, "a member's, whichever shard has it");
    assert_eq!(rooms.binds(0x4001, &of_carol.to_string()), 403);
    assert_eq!(rooms.binds(0x4001, &of_eve.to_string()), 403);
    for (to, arrives) in [(of_bob, true), (of_carol, false), (of_eve, false)] {
        let packet = Ask::send(&to.to_string(), b"x").build();
        let Route::Across { from, to, room, payload } = rooms.world.packet(rooms.alice.tuple, &packet) else {
            panic!("not across")
        };
        assert_eq!(from, addr(&of_alice));
        let route = there.server.handle_relayed(there.now, to, from, room, payload.range().len());
        assert_eq!(matches!(route, Route::Client { .. }), arrives, "{to}");
    }
    assert_eq!(there.dropped(Drop::OtherRoom), 2);
    // And the public sends to no room.
    let packet = Ask::send(&of_alice, b"x").build();
    let Route::Across { from, to, room, .. } = there.packet(eve.tuple, &packet) else { panic!("not across") };
    rooms.permits(&of_eve.to_string());
    assert_eq!(rooms.world.server.handle_relayed(rooms.world.now, to, from, room, 1), Route::Here);
    assert_eq!(rooms.world.dropped(Drop::OtherRoom), 1);
    // A member that leaves is out of reach on all of them.
    rooms.scopes.unseat(&id("bob"));
    assert_eq!(rooms.world.packet(rooms.alice.tuple, &data(0x4000)), Route::Here);
    there.server.revoke(there.now, &id("bob"));
    there.settle();
    assert_eq!(rooms.binds(0x4000, &of_bob.to_string()), 403);
}

#[test]
fn what_comes_from_the_network_with_a_relayed_source_is_dropped_whatever_the_room() {
    let mut rooms = Rooms::new();
    let (at, of_alice) = rooms.allocate_alice();
    let (_, of_bob) = rooms.world.allocate(&mut rooms.bob);
    let (_, of_carol) = rooms.world.allocate(&mut rooms.carol);
    assert_eq!(rooms.binds(0x4000, &of_bob.to_string()), 0);
    for from in [of_bob.to_string(), of_carol.to_string(), of_alice, "10.0.0.5:50001".into()] {
        rooms.world.permit_address(&mut rooms.alice, &from);
        assert_eq!(rooms.world.peer(at, &from, 1), Route::Here, "{from}");
    }
    assert_eq!(rooms.world.dropped(Drop::Hairpin), 4);
}

#[test]
fn an_allowed_address_of_this_host_is_in_scope_only_if_a_member_has_it() {
    // As on a laptop, where all is one address.
    let mut rooms = Rooms::with(|config| {
        let here = ip("127.0.0.1");
        config.relays = vec![RelayAddress { local: here, public: here }];
        config.peers.allow = vec!["127.0.0.0/8".parse().unwrap()];
    });
    let (at, _) = rooms.allocate_alice();
    assert_eq!((rooms.permits("127.0.0.1:7000"), rooms.binds(0x4000, "127.0.0.1:7000")), (0, 403));
    let send = Ask::send("127.0.0.1:7000", b"x").build();
    assert_eq!(rooms.world.packet(rooms.alice.tuple, &send), Route::Here);
    assert_eq!(rooms.world.peer(at, "127.0.0.1:7000", 1), Route::Here);
    assert_eq!(rooms.world.dropped(Drop::PeerDenied), 2);
    rooms.scopes.observed(&id("bob"), ip("127.0.0.1"));
    assert_eq!((rooms.permits("127.0.0.1:7000"), rooms.binds(0x4000, "127.0.0.1:7000")), (0, 0));
    for packet in [send.clone(), data(0x4000)] {
        assert!(matches!(rooms.world.packet(rooms.alice.tuple, &packet), Route::Peer { .. }));
    }
    rooms.scopes.unseat(&id("bob"));
    for packet in [send, data(0x4000)] {
        assert_eq!(rooms.world.packet(rooms.alice.tuple, &packet), Route::Here);
    }
}

#[test]
fn with_the_public_scope_members_reach_what_everybody_does() {
    let mut rooms = Rooms::with(|config| config.room_scope = false);
    let (_, of_alice) = rooms.allocate_alice();
    assert_eq!((rooms.permits("9.9.9.9:1"), rooms.binds(0x4000, "8.8.8.8:1")), (0, 0));
    assert_eq!(rooms.permits("10.1.1.1:1"), 403);
    let (_, of_carol) = rooms.world.allocate(&mut rooms.carol);
    rooms.world.permit(&mut rooms.carol, &of_alice);
    assert_eq!(rooms.binds(0x4001, &of_carol.to_string()), 0);
    assert!(matches!(rooms.world.packet(rooms.alice.tuple, &data(0x4001)), Route::Client { .. }));
}

#[test]
fn a_room_of_the_same_name_is_another_room() {
    let mut rooms = Rooms::new();
    let (_, of_alice) = rooms.allocate_alice();
    rooms.scopes.unseat(&id("alice"));
    rooms.scopes.unseat(&id("bob"));
    rooms.scopes.seat(&id("dave"), "blue", CALL);
    let mut dave = Client::named("198.18.0.4:4000", &id("dave"));
    let (_, of_dave) = rooms.world.allocate(&mut dave);
    assert_eq!(rooms.world.ask(&mut dave, Ask::bind(0x4000, &of_alice)).code(), 403);
    rooms.world.permit_address(&mut dave, &of_alice);
    assert_eq!(rooms.world.packet(dave.tuple, &Ask::send(&of_alice, b"x").build()), Route::Here);
    assert_eq!(
        rooms.world.packet(rooms.alice.tuple, &Ask::send(&of_dave.to_string(), b"x").build()),
        Route::Here
    );
    assert_eq!(rooms.world.dropped(Drop::OtherRoom), 1);
}

#[test]
fn nothing_is_kept_of_rooms_that_are_empty() {
    let mut rooms = Rooms::new();
    rooms.allocate_alice();
    rooms.world.allocate(&mut rooms.bob);
    rooms.scopes.signaled(&id("bob"), &[ip("9.9.9.9"), ip("9.9.9.9")]);
    rooms.scopes.observed(&id("bob"), ip("9.9.9.9"));
    // Nobody's.
    rooms.scopes.signaled(&id("zoe"), &[ip("9.9.9.9")]);
    rooms.scopes.observed(&id("zoe"), ip("9.9.9.9"));
    rooms.scopes.unseat(&id("zoe"));
    for member in ["alice", "bob", "carol"] {
        assert!(!rooms.scopes.is_empty());
        rooms.scopes.unseat(&id(member));
        rooms.world.server.revoke(rooms.world.now, &id(member));
    }
    rooms.world.settle();
    assert!(rooms.scopes.is_empty() && rooms.world.server.leaves_nothing());
}
