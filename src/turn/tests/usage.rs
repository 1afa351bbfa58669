//! Who relayed how much.

use super::world::{Ask, Client, World};
use crate::turn::{Flow, KINDS, Leg, PUBLIC, Route, Scopes, Transport, Usage, credential};

fn id(name: &str) -> String {
    credential::member_id(name)
}

fn flow(packets: u64, bytes: u64) -> Flow {
    Flow { packets, bytes }
}

fn usage(to_peer: (u64, u64), to_client: (u64, u64)) -> Usage {
    Usage { to_peer: flow(to_peer.0, to_peer.1), to_client: flow(to_client.0, to_client.1) }
}

#[test]
fn what_passes_is_counted_and_what_is_dropped_is_not() {
    let mut world = World::new();
    let mut alice = Client::new("198.18.0.1:4000");
    let (at, _) = world.allocate(&mut alice);
    world.bind(&mut alice, 0x4000, "9.9.9.9:1");
    assert_ne!(world.packet(alice.tuple, b"\x40\x00\x00\x05hello"), Route::Here);
    assert_ne!(world.packet(alice.tuple, &Ask::send("9.9.9.9:2", b"hi").build()), Route::Here);
    assert_ne!(world.peer(at, "9.9.9.9:1", 100), Route::Here);
    assert_ne!(world.peer(at, "9.9.9.9:2", 0), Route::Here);
    // To and from nobody.
    assert_eq!(world.packet(alice.tuple, b"\x40\x01\x00\x05hello"), Route::Here);
    assert_eq!(world.packet(alice.tuple, &Ask::send("9.9.9.8:2", b"hi").build()), Route::Here);
    assert_eq!(world.peer(at, "9.9.9.8:1", 100), Route::Here);
    let wanted = usage((2, 7), (2, 100));
    assert_eq!(world.server.usage("alice"), wanted);
    assert_eq!(world.server.usage("bob"), Usage::default());
    let stats = world.server.stats();
    assert_eq!((stats.to_peer, stats.to_client), (wanted.to_peer, wanted.to_client));
    assert_eq!(stats.by_scope[PUBLIC], wanted);
}

#[test]
fn a_members_usage_is_that_of_all_its_allocations_until_it_is_unseated() {
    let scopes = Scopes::default();
    scopes.seat(&id("alice"), "blue", 0);
    scopes.seat(&id("bob"), "blue", 0);
    scopes.observed(&id("bob"), "9.9.9.9".parse().unwrap());
    let shard = |ports| {
        let scopes = scopes.clone();
        World::with(|config| (config.scopes, config.ports) = (scopes, ports))
    };
    let (mut here, mut there) = (shard(50000..=50999), shard(51000..=51999));
    let mut one = Client::named("198.18.0.1:4000", &id("alice"));
    let mut two = Client::named("198.18.0.1:4001", &id("alice"));
    let mut three = Client::named("198.18.0.2:4000", &id("alice"));
    let pour = |world: &mut World, client: &mut Client, bytes| {
        let (at, _) = world.allocate(client);
        world.permit(client, "9.9.9.9:1");
        assert_ne!(world.peer(at, "9.9.9.9:1", bytes), Route::Here);
    };
    pour(&mut here, &mut one, 1);
    pour(&mut here, &mut two, 10);
    pour(&mut there, &mut three, 100);
    let sum = |here: &World, there: &World| {
        let mut sum = scopes.ended(&id("alice"));
        sum += here.server.usage(&id("alice"));
        sum += there.server.usage(&id("alice"));
        sum
    };
    let wanted = usage((0, 0), (3, 111));
    assert_eq!(sum(&here, &there), wanted);
    assert_eq!(here.server.usage(&id("alice")), usage((0, 0), (2, 11)));
    // By Refresh, and by expiry.
    here.ask(&mut one, Ask::refresh(0));
    assert_eq!(scopes.ended(&id("alice")), usage((0, 0), (1, 1)));
    there.sleep(700.0);
    assert_eq!(there.server.stats().allocations, 0);
    assert_eq!(sum(&here, &there), wanted);
    scopes.unseat(&id("alice"));
    here.server.revoke(here.now, &id("alice"));
    assert_eq!(sum(&here, &there), Usage::default());
    assert_eq!(here.server.stats().to_client.bytes, 11, "what the daemon relayed stays counted");
}

#[test]
fn what_those_relayed_who_have_left_stays_with_the_room() {
    let mut world = World::with(|config| config.room_scope = false);
    let scopes = world.scopes.clone();
    for name in ["alice", "bob"] {
        scopes.seat(&id(name), "blue", 0);
        let mut client = Client::named(&format!("198.18.0.{}:4000", name.len()), &id(name));
        for bytes in [5, 50] {
            let (at, _) = world.allocate(&mut client);
            world.permit(&mut client, "9.9.9.9:1");
            assert_ne!(world.peer(at, "9.9.9.9:1", bytes), Route::Here);
            if bytes == 5 {
                world.ask(&mut client, Ask::refresh(0));
            }
        }
    }
    assert_eq!(scopes.departed("blue"), Usage::default());
    scopes.unseat(&id("alice"));
    assert_eq!(scopes.departed("blue"), usage((0, 0), (1, 5)), "what had ended before");
    world.server.revoke(world.now, &id("alice"));
    assert_eq!(scopes.departed("blue"), usage((0, 0), (2, 55)), "and what ended with the seat");
    scopes.unseat(&id("bob"));
    assert_eq!(scopes.departed("blue"), Usage::default(), "the room is gone");
}

#[test]
fn what_an_old_seat_relayed_is_not_charged_to_a_new_one() {
    let mut world = World::with(|config| config.room_scope = false);
    let scopes = world.scopes.clone();
    scopes.seat(&id("alice"), "blue", 0);
    let mut alice = Client::named("198.18.0.1:4000", &id("alice"));
    let (at, _) = world.allocate(&mut alice);
    world.permit(&mut alice, "9.9.9.9:1");
    assert_ne!(world.peer(at, "9.9.9.9:1", 5), Route::Here);
    scopes.unseat(&id("alice"));
    scopes.seat(&id("alice"), "red", 0);
    world.server.revoke(world.now, &id("alice"));
    assert_eq!(scopes.ended(&id("alice")), Usage::default());
}

#[test]
fn traffic_is_told_apart_by_the_kind_of_room() {
    for room_scope in [true, false] {
        let mut world = World::with(|config| config.room_scope = room_scope);
        world.scopes.observed(&id("nobody"), "9.9.9.9".parse().unwrap());
        for (number, kind) in [(0_u8, 0_u8), (1, 1), (2, 255)] {
            world.scopes.seat(&id(&format!("{number}")), &format!("{number}"), kind);
            world.scopes.seat(&id(&format!("{number}'s peer")), &format!("{number}"), kind);
            world.scopes.observed(&id(&format!("{number}'s peer")), "9.9.9.9".parse().unwrap());
        }
        for (host, (name, bytes)) in
            [(id("0"), 1), (id("1"), 10), (id("2"), 100), ("somebody".to_owned(), 1000)]
                .into_iter()
                .enumerate()
        {
            let mut client = Client::named(&format!("198.18.0.{host}:4000"), &name);
            let (at, _) = world.allocate(&mut client);
            world.permit(&mut client, "9.9.9.9:1");
            assert_ne!(world.peer(at, "9.9.9.9:1", bytes), Route::Here);
            assert_ne!(world.packet(client.tuple, &Ask::send("9.9.9.9:1", b"x").build()), Route::Here);
        }
        // A kind that is not known counts as the last; there are no more labels than that.
        let wanted = [usage((1, 1), (1, 1)), usage((2, 2), (2, 110)), usage((1, 1), (1, 1000))];
        assert_eq!(world.server.stats().by_scope, wanted);
        assert_eq!((KINDS, PUBLIC), (2, 2));
    }
}

#[test]
fn a_packet_in_process_counts_for_both_allocations() {
    let mut world = World::new();
    for (name, room) in [("alice", "blue"), ("bob", "blue")] {
        world.scopes.seat(&id(name), room, 1);
    }
    let mut alice = Client::named("198.18.0.1:4000", &id("alice"));
    let mut bob = Client::named("198.18.0.2:4000", &id("bob"));
    let (_, of_alice) = world.allocate(&mut alice);
    let (_, of_bob) = world.allocate(&mut bob);
    world.permit(&mut alice, &of_bob.to_string());
    let packet = Ask::send(&of_bob.to_string(), b"hello").build();
    assert_eq!(world.packet(alice.tuple, &packet), Route::Here);
    assert_eq!(world.server.usage(&id("alice")), Usage::default(), "nobody wanted it");
    world.permit(&mut bob, &of_alice.to_string());
    assert_ne!(world.packet(alice.tuple, &packet), Route::Here);
    assert_eq!(world.server.usage(&id("alice")), usage((1, 5), (0, 0)));
    assert_eq!(world.server.usage(&id("bob")), usage((0, 0), (1, 5)));
    let stats = world.server.stats();
    assert_eq!(stats.by_scope[1], usage((1, 5), (1, 5)));
    assert_eq!(stats.in_process, flow(1, 5));
}

#[test]
fn allocations_are_counted_by_their_clients_transport() {
    let mut world = World::new();
    let leg = Leg { shard: 0, slot: 0, generation: 1 };
    let mut clients: Vec<_> = [Transport::Udp, Transport::Tcp(leg), Transport::Tls(leg), Transport::Udp]
        .into_iter()
        .enumerate()
        .map(|(n, transport)| {
            let mut client = Client::new(&format!("198.18.0.{n}:4000"));
            client.tuple.transport = transport;
            client
        })
        .collect();
    for client in &mut clients {
        world.allocate(client);
    }
    assert_eq!(world.server.stats().by_transport, [2, 1, 1]);
    world.ask(&mut clients[1], Ask::refresh(0));
    assert_eq!(world.server.stats().by_transport, [2, 0, 1]);
    // One that never came to be leaves no trace.
    world.opens = vec![Err(crate::turn::RelayFailure::Refused)];
    assert_eq!(world.ask(&mut clients[1], Ask::allocate().udp()).code(), 508);
    world.sleep(700.0);
    assert_eq!(world.server.stats().by_transport, [0; 3]);
}
