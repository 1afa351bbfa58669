//! TCP allocations (RFC 6062).

use webrtc_stun::attributes::AttrType;
use webrtc_stun::message::{CLASS_REQUEST, METHOD_CONNECT, METHOD_CONNECTION_BIND};

use super::world::{Answer, Ask, Client, World, addr};
use crate::stun::{Message, attribute, method};
use crate::turn::{AllocationId, ConnectionId, Drop, FiveTuple, Leg, Output, Transport};

const PEER: &str = "9.9.9.9:7000";

fn leg(slot: u32) -> Transport {
    Transport::Tcp(Leg { shard: 0, slot, generation: 1 })
}

fn world() -> World {
    World::with(|config| config.tcp_relays = true)
}

fn client(slot: u32) -> Client {
    let mut client = Client::new(&format!("198.51.100.1:{}", 4000 + slot));
    client.tuple.transport = leg(slot);
    client
}

fn tcp() -> Ask {
    Ask::allocate().add(AttrType(attribute::REQUESTED_TRANSPORT), &[6, 0, 0, 0])
}

fn connect(peer: &str) -> Ask {
    Ask::new(METHOD_CONNECT, CLASS_REQUEST).peer(peer)
}

fn bind(id: ConnectionId) -> Ask {
    let id = id.0.to_be_bytes();
    Ask::new(METHOD_CONNECTION_BIND, CLASS_REQUEST).add(AttrType(attribute::CONNECTION_ID), &id)
}

fn allocated(world: &mut World, slot: u32) -> (Client, AllocationId) {
    let mut client = client(slot);
    assert_eq!(world.ask(&mut client, tcp()).code(), 0);
    (client, world.opened.last().unwrap().0)
}

/// Sends a Connect, and returns the connection that the server asks for.
fn connecting(world: &mut World, client: &mut Client, peer: &str) -> ConnectionId {
    world.events.clear();
    let request = connect(peer).signed(client).build();
    assert!(world.try_ask(client, &request).is_none(), "too early an answer");
    match world.events.as_slice() {
        [Output::Connect { connection, .. }] => *connection,
        other => panic!("{other:?}"),
    }
}

fn answer(world: &mut World) -> Answer {
    world.settle();
    Answer::read(&world.sent.pop().expect("no answer").1)
}

/// A connection to a peer that waits for its ConnectionBind.
fn connected(world: &mut World, client: &mut Client, peer: &str) -> ConnectionId {
    let id = connecting(world, client, peer);
    world.server.peer_connected(world.now, id, true);
    let answer = answer(world);
    assert_eq!(answer.code(), 0);
    assert_eq!(answer.get(AttrType(attribute::CONNECTION_ID)), Some(id.0.to_be_bytes().to_vec()));
    id
}

fn closed(world: &mut World) -> Vec<ConnectionId> {
    let found = world.events.drain(..).filter_map(|event| match event {
        Output::ClosePeer { connection } => Some(connection),
        _ => None,
    });
    found.collect()
}

#[test]
fn a_connection_is_made_from_the_relayed_address_and_then_bound() {
    let mut world = world();
    let (mut alice, at) = allocated(&mut world, 1);
    world.events.clear();
    let request = connect(PEER).signed(&alice).build();
    world.try_ask(&alice, &request);
    let [Output::Connect { connection, local, peer, ours }] = world.events[..] else {
        panic!("{:?}", world.events)
    };
    assert_eq!((local, peer, ours), (world.opened[0].1, addr(PEER), false));
    assert_eq!(at, world.opened[0].0);
    world.server.peer_connected(world.now, connection, true);
    assert_eq!(answer(&mut world).code(), 0);

    let mut data = Client { tuple: client(2).tuple, nonce: vec![], ..alice.clone() };
    world.events.clear();
    let request = bind(connection).build();
    let challenge = world.ask_raw(&data, &request);
    data.nonce = challenge.get(webrtc_stun::attributes::ATTR_NONCE).unwrap();
    let request = bind(connection).signed(&data).build();
    assert_eq!(world.ask_raw(&data, &request).code(), 0);
    assert_eq!(world.events, [Output::Splice { connection, client: data.tuple }]);
    // No time ends what is bound.
    for _ in 0..5 {
        world.sleep(500.0);
        assert_eq!(world.ask(&mut alice, Ask::refresh(600)).code(), 0);
    }
    assert_eq!(closed(&mut world), []);
    assert_eq!(world.server.pass(world.now, connection, true, 1000), Some(1000));
    world.server.connection_closed(world.now, connection);
    assert_eq!(world.server.pass(world.now, connection, true, 1000), None);
    assert_eq!(world.ask(&mut alice, Ask::refresh(0)).code(), 0);
    assert!(world.server.leaves_nothing());
}

#[test]
fn a_connect_that_takes_too_long_is_447() {
    let mut world = world();
    let (mut alice, _) = allocated(&mut world, 1);
    let id = connecting(&mut world, &mut alice, PEER);
    world.sleep(29.9);
    assert!(world.sent.is_empty());
    world.sleep(0.2);
    assert_eq!(answer(&mut world).code(), 447);
    assert_eq!(closed(&mut world), [id]);
    // It comes about in the end, and is closed.
    world.server.peer_connected(world.now, id, true);
    world.settle();
    assert_eq!(closed(&mut world), [id]);
}

#[test]
fn what_is_not_bound_within_thirty_seconds_is_closed() {
    let mut world = world();
    let (mut alice, at) = allocated(&mut world, 1);
    let id = connected(&mut world, &mut alice, PEER);
    world.permit(&mut alice, PEER);
    let other = world.server.peer_accepted(world.now, at, addr("9.9.9.9:7001"), None).unwrap();
    world.events.clear();
    world.sleep(30.1);
    let mut gone = closed(&mut world);
    gone.sort_by_key(|id| id.0);
    let mut wanted = vec![id, other];
    wanted.sort_by_key(|id| id.0);
    assert_eq!(gone, wanted);
}

#[test]
fn a_peer_needs_a_permission_and_the_client_hears_of_it() {
    let mut world = world();
    let (mut alice, at) = allocated(&mut world, 1);
    assert_eq!(world.server.peer_accepted(world.now, at, addr(PEER), None), None);
    assert_eq!(world.dropped(Drop::NoPermission), 1);
    world.permit(&mut alice, PEER);
    world.sent.clear();
    let id = world.server.peer_accepted(world.now, at, addr(PEER), None).unwrap();
    world.settle();
    let (to, told) = world.sent.pop().unwrap();
    let told = Message::parse(&told).unwrap();
    assert_eq!((to, told.method()), (alice.tuple, method::CONNECTION_ATTEMPT));
    let value = |kind| told.attributes().find(|found| found.kind == kind).unwrap().value;
    assert_eq!(value(attribute::CONNECTION_ID), id.0.to_be_bytes());
    let from = crate::stun::address::decode(value(attribute::XOR_PEER_ADDRESS), &told.transaction_id());
    assert_eq!(from, Some(addr(PEER)));
    // What says that it comes from a relayed address of ours must be one.
    world.permit(&mut alice, "192.0.2.5:50001");
    assert_eq!(world.server.peer_accepted(world.now, at, addr("10.0.0.5:50900"), None), None);
    assert_eq!(world.dropped(Drop::NoPeerAllocation), 1);
    assert!(world.server.peer_accepted(world.now, at, addr("10.0.0.5:50900"), Some(None)).is_some());
}

#[test]
fn there_is_an_end_to_how_many_there_may_be() {
    let mut world = world();
    let (mut alice, at) = allocated(&mut world, 1);
    for port in 1..=32 {
        connecting(&mut world, &mut alice, &format!("9.9.9.9:{port}"));
    }
    assert_eq!(world.ask(&mut alice, connect("9.9.9.9:33")).code(), 508);
    world.permit(&mut alice, PEER);
    assert_eq!(world.server.peer_accepted(world.now, at, addr(PEER), None), None);
    assert_eq!(world.dropped(Drop::TooManyConnections), 1);
}

#[test]
fn the_allocation_takes_its_connections_along() {
    let mut world = world();
    let (mut alice, _) = allocated(&mut world, 1);
    let ids = ["9.9.9.9:1", "9.9.9.9:2"].map(|peer| connected(&mut world, &mut alice, peer));
    world.events.clear();
    world.server.client_gone(world.now, alice.tuple);
    world.settle();
    assert_eq!(closed(&mut world), ids);
    assert!(world.server.leaves_nothing());
}

#[test]
fn the_peer_policy_holds_for_connections_too() {
    let mut world = world();
    let (mut alice, _) = allocated(&mut world, 1);
    for (peer, code) in [
        ("10.0.0.1:80", 403),
        ("127.0.0.1:80", 403),
        ("169.254.169.254:80", 403),
        ("192.0.2.5:22", 403),
        ("8.8.4.4:3478", 403),
        ("9.9.9.9:0", 400),
        ("[2001:4860::8888]:80", 443),
    ] {
        assert_eq!(world.ask(&mut alice, connect(peer)).code(), code, "{peer}");
    }
}

#[test]
fn without_being_configured_none_of_it_is_there() {
    let mut world = World::new();
    let mut alice = client(1);
    assert_eq!(world.ask(&mut alice, tcp()).code(), 442);
    let request = connect(PEER).signed(&alice).build();
    assert!(world.try_ask(&alice, &request).is_none());
    assert_eq!(world.dropped(Drop::Unexpected), 1);
}

#[test]
fn a_connection_of_its_own_is_what_is_bound() {
    let mut world = world();
    let (mut alice, _) = allocated(&mut world, 1);
    let id = connected(&mut world, &mut alice, PEER);
    assert_eq!(world.ask(&mut alice, bind(id)).code(), 400, "it has an allocation");
    let udp = FiveTuple { transport: Transport::Udp, ..client(2).tuple };
    let mut udp = Client { tuple: udp, nonce: vec![], ..alice.clone() };
    assert_eq!(world.ask(&mut udp, bind(id)).code(), 400);
    let mut bob = Client { tuple: client(3).tuple, ..Client::named("198.51.100.1:4003", "bob") };
    assert_eq!(world.ask(&mut bob, bind(id)).code(), 441);
}
