//! Mobility (RFC 8016).

use webrtc_stun::attributes::{ATTR_NONCE, AttrType};

use super::world::{Answer, Ask, Client, World, addr};
use crate::stun::attribute;
use crate::turn::{Drop, FiveTuple, Leg, Output, Route, Transport};

const TICKET: AttrType = AttrType(attribute::MOBILITY_TICKET);

fn world() -> World {
    World::with(|config| config.mobility = true)
}

fn allocated(world: &mut World, client: &mut Client) -> Vec<u8> {
    let answer = world.ask(client, Ask::allocate().udp().add(TICKET, &[]));
    assert_eq!(answer.code(), 0);
    answer.get(TICKET).expect("no ticket")
}

/// The same client at another address.
fn elsewhere(world: &mut World, client: &Client, address: &str) -> Client {
    let tuple = FiveTuple { client: addr(address), ..client.tuple };
    let mut moved = Client { tuple, nonce: vec![], ..client.clone() };
    let challenge = world.ask_raw(&moved, &Ask::refresh(600).build());
    moved.nonce = challenge.get(ATTR_NONCE).unwrap();
    moved
}

fn refresh(world: &mut World, client: &Client, ticket: &[u8]) -> Answer {
    let request = Ask::refresh(600).add(TICKET, ticket).signed(client).build();
    world.ask_raw(client, &request)
}

#[test]
fn an_allocation_follows_its_client() {
    let mut world = world();
    let mut alice = Client::new("198.51.100.1:4000");
    let ticket = allocated(&mut world, &mut alice);
    let at = world.opened[0].0;
    world.bind(&mut alice, 0x4000, "9.9.9.9:7000");
    let moved = elsewhere(&mut world, &alice, "203.0.113.9:5000");
    let answer = refresh(&mut world, &moved, &ticket);
    assert_eq!((answer.code(), answer.lifetime()), (0, Some(600)));
    assert_ne!(answer.get(TICKET).expect("no new ticket"), ticket);
    // Data comes and goes at the new address, by the same channel.
    match world.peer(at, "9.9.9.9:7000", 10) {
        Route::Client { to, .. } => assert_eq!(to, moved.tuple),
        other => panic!("{other:?}"),
    }
    let data = b"\x40\x00\x00\x04data";
    assert!(matches!(world.packet(moved.tuple, data), Route::Peer { .. }));
    // The old one is nobody's.
    assert_eq!(world.packet(alice.tuple, data), Route::Here);
    assert_eq!(world.dropped(Drop::NoAllocation), 1);
    assert_eq!(world.ask(&mut alice, Ask::refresh(600)).code(), 437);
    assert_eq!(world.server.stats().allocations, 1);
    world.sleep(700.0);
    assert!(world.server.leaves_nothing());
}

#[test]
fn the_last_two_tickets_are_good() {
    let mut world = world();
    let mut alice = Client::new("198.51.100.1:4000");
    let first = allocated(&mut world, &mut alice);
    let second = world.ask(&mut alice, Ask::refresh(600)).get(TICKET).unwrap();
    // The second one was lost on its way.
    let moved = elsewhere(&mut world, &alice, "203.0.113.9:5000");
    let third = refresh(&mut world, &moved, &first).get(TICKET).unwrap();
    let again = elsewhere(&mut world, &moved, "203.0.113.9:5001");
    assert_eq!(refresh(&mut world, &again, &first).code(), 400, "too old");
    assert_eq!(refresh(&mut world, &again, &second).code(), 0);
    let back = elsewhere(&mut world, &moved, "203.0.113.9:5002");
    assert_eq!(refresh(&mut world, &back, &third).code(), 0);
}

#[test]
fn a_retransmitted_move_gets_the_same_answer() {
    let mut world = world();
    let mut alice = Client::new("198.51.100.1:4000");
    let ticket = allocated(&mut world, &mut alice);
    let moved = elsewhere(&mut world, &alice, "203.0.113.9:5000");
    let request = Ask::refresh(600).add(TICKET, &ticket).signed(&moved).build();
    let first = world.ask_raw(&moved, &request).message.raw;
    assert_eq!(world.ask_raw(&moved, &request).message.raw, first);
}

#[test]
fn a_ticket_is_of_use_to_its_user_alone() {
    let mut world = world();
    let mut alice = Client::new("198.51.100.1:4000");
    let ticket = allocated(&mut world, &mut alice);
    let bob = elsewhere(&mut world, &Client::named("198.51.100.2:4000", "bob"), "203.0.113.9:5000");
    assert_eq!(refresh(&mut world, &bob, &ticket).code(), 441);
    let forged = elsewhere(&mut world, &alice, "203.0.113.9:5001");
    for at in 0..ticket.len() {
        let mut ticket = ticket.clone();
        ticket[at] ^= 1;
        assert_eq!(refresh(&mut world, &forged, &ticket).code(), 400, "byte {at}");
    }
    assert_eq!(refresh(&mut world, &forged, &ticket[1..]).code(), 400);
    // What nobody signed moves nothing.
    let unsigned = Ask::refresh(600).add(TICKET, &ticket).build();
    assert_eq!(world.ask_raw(&forged, &unsigned).code(), 401);
    assert_eq!(world.ask(&mut alice, Ask::refresh(600)).code(), 0, "still where it was");
}

#[test]
fn where_mobility_is_off_it_is_forbidden() {
    let mut world = World::new();
    let mut alice = Client::new("198.51.100.1:4000");
    assert_eq!(world.ask(&mut alice, Ask::allocate().udp().add(TICKET, &[])).code(), 405);
    assert_eq!(world.ask(&mut alice, Ask::refresh(600).add(TICKET, &[1; 30])).code(), 405);
    let answer = world.ask(&mut alice, Ask::allocate().udp());
    assert_eq!((answer.code(), answer.get(TICKET)), (0, None));
}

#[test]
fn who_did_not_ask_for_a_ticket_gets_none() {
    let mut world = world();
    let mut alice = Client::new("198.51.100.1:4000");
    assert_eq!(world.ask(&mut alice, Ask::allocate().udp()).get(TICKET), None);
    assert_eq!(world.ask(&mut alice, Ask::refresh(600)).get(TICKET), None);
    let mut bob = Client::named("198.51.100.2:4000", "bob");
    assert_eq!(world.ask(&mut bob, Ask::allocate().udp().add(TICKET, &[1])).code(), 400);
}

#[test]
fn with_a_ticket_it_outlives_its_connection() {
    let mut world = world();
    let leg = |slot| Transport::Tcp(Leg { shard: 0, slot, generation: 1 });
    let mut alice = Client::new("198.51.100.1:4000");
    alice.tuple.transport = leg(1);
    let ticket = allocated(&mut world, &mut alice);
    world.server.client_gone(world.now, alice.tuple);
    assert!(world.server.has_allocation(&alice.tuple));
    let mut moved = alice.clone();
    moved.tuple.transport = leg(2);
    let moved = elsewhere(&mut world, &moved, "203.0.113.9:5000");
    world.events.clear();
    assert_eq!(refresh(&mut world, &moved, &ticket).code(), 0);
    let port = Some(world.opened[0].1.port());
    let told = Output::Moved { client: moved.tuple, port };
    assert_eq!(world.events, [told, Output::HangUp { client: alice.tuple }]);
    // Where it was not asked for again it expires.
    world.server.client_gone(world.now, moved.tuple);
    world.sleep(601.0);
    assert!(world.server.leaves_nothing());
}

#[test]
fn a_move_counts_towards_the_new_address() {
    let mut world = World::with(|config| {
        config.mobility = true;
        config.limits.allocations_per_ip = 1;
    });
    let mut alice = Client::new("198.51.100.1:4000");
    let ticket = allocated(&mut world, &mut alice);
    world.allocate(&mut Client::named("203.0.113.9:4000", "bob"));
    let moved = elsewhere(&mut world, &alice, "203.0.113.9:5000");
    assert_eq!(refresh(&mut world, &moved, &ticket).code(), 486);
    let moved = elsewhere(&mut world, &alice, "203.0.113.10:5000");
    assert_eq!(refresh(&mut world, &moved, &ticket).code(), 0);
    world.allocate(&mut Client::named("198.51.100.1:4001", "carol"));
    assert_eq!(world.ask(&mut Client::named("203.0.113.10:1", "dave"), Ask::allocate().udp()).code(), 486);
}

#[test]
fn another_servers_client_is_passed_on_until_it_is_not() {
    let mut here = world();
    let mut there = World::with(|config| {
        config.mobility = true;
        config.ports = 51000..=51999;
    });
    let mut alice = Client::new("198.51.100.1:4000");
    let ticket = allocated(&mut there, &mut alice);
    let moved = elsewhere(&mut here, &alice, "203.0.113.9:5000");
    let request = Ask::refresh(600).add(TICKET, &ticket).signed(&moved).build();
    let Route::Home { port } = here.packet(moved.tuple, &request) else { panic!("it stayed here") };
    assert!((51000..=51999).contains(&port));
    assert_eq!(there.ask_raw(&moved, &request).code(), 0, "the nonce is good for all servers");
    let Some(&Output::Moved { client, port: told }) = there.events.last() else {
        panic!("{:?}", there.events)
    };
    assert_eq!((client, told), (moved.tuple, Some(port)));

    // Not told of it, it does not know the client.
    let data = b"\x40\x00\x00\x04data";
    assert_eq!(here.packet(moved.tuple, data), Route::Here);
    here.server.set_home(here.now, client, told);
    for packet in [&data[..], &request] {
        assert_eq!(here.packet(moved.tuple, packet), Route::Home { port });
    }
    assert!(here.server.has_allocation(&moved.tuple));
    // Gone: the other says so.
    there.events.clear();
    there.server.revoke(there.now, "alice");
    there.settle();
    assert!(there.events.contains(&Output::Moved { client, port: None }));
    here.server.set_home(here.now, client, None);
    assert_eq!(here.packet(moved.tuple, data), Route::Here);
}
