//! ChannelBind (RFC 8656, section 12).

use webrtc_stun::attributes as a;

use super::world::{Ask, Client, World, addr};
use crate::turn::{Output, Route};

const PEER: &str = "9.9.9.9:7000";
const OTHER: &str = "9.9.9.9:7001";

fn data(number: u16) -> Vec<u8> {
    let [a, b] = number.to_be_bytes();
    vec![a, b, 0, 1, b'x']
}

#[test]
fn numbers_run_from_4000_to_4fff() {
    for (number, code) in
        [(0x3fff, 400), (0x4000, 0), (0x4fff, 0), (0x5000, 400), (0x7fff, 400), (0xffff, 400)]
    {
        let mut world = World::new();
        let mut alice = Client::new("198.18.0.1:4000");
        world.allocate(&mut alice);
        assert_eq!(world.ask(&mut alice, Ask::bind(number, PEER)).code(), code, "{number:x}");
    }
}

#[test]
fn number_and_peer_must_both_be_there() {
    let mut world = World::new();
    let mut alice = Client::new("198.18.0.1:4000");
    world.allocate(&mut alice);
    let bind = |ask: Ask| ask;
    let method = webrtc_stun::message::METHOD_CHANNEL_BIND;
    let class = webrtc_stun::message::CLASS_REQUEST;
    assert_eq!(world.ask(&mut alice, bind(Ask::new(method, class)).peer(PEER)).code(), 400);
    let lonely = Ask::new(method, class).add(a::ATTR_CHANNEL_NUMBER, &[0x40, 0, 0, 0]);
    assert_eq!(world.ask(&mut alice, lonely).code(), 400);
    assert_eq!(world.ask(&mut alice, Ask::bind(0x4000, "9.9.9.9:0")).code(), 400);
    assert_eq!(world.ask(&mut alice, Ask::bind(0x4000, "[2606:4700::1]:1")).code(), 443);
}

#[test]
fn a_number_stands_for_one_peer_and_a_peer_has_one_number() {
    let mut world = World::new();
    let mut alice = Client::new("198.18.0.1:4000");
    world.allocate(&mut alice);
    world.bind(&mut alice, 0x4000, PEER);
    assert_eq!(world.ask(&mut alice, Ask::bind(0x4000, OTHER)).code(), 400);
    assert_eq!(world.ask(&mut alice, Ask::bind(0x4001, PEER)).code(), 400);
    world.bind(&mut alice, 0x4000, PEER);
    world.bind(&mut alice, 0x4001, OTHER);
    assert_eq!(
        world.ask(&mut alice, Ask::bind(0x4001, PEER)).code(),
        400,
        "both bound, but not to each other"
    );
}

#[test]
fn a_binding_lasts_ten_minutes_and_is_told_of() {
    let mut world = World::new();
    let mut alice = Client::new("198.18.0.1:4000");
    world.ask(&mut alice, Ask::allocate().udp().lifetime(3600));
    let at = world.opened[0].0;
    world.bind(&mut alice, 0x4000, PEER);
    assert_eq!(world.events, [Output::ChannelBound { at, number: 0x4000, peer: addr(PEER) }]);
    world.sleep(599.0);
    assert!(matches!(world.packet(alice.tuple, &data(0x4000)), Route::Peer { .. }));
    world.bind(&mut alice, 0x4000, PEER);
    world.sleep(599.0);
    assert!(matches!(world.packet(alice.tuple, &data(0x4000)), Route::Peer { .. }), "renewed");
    assert_eq!(world.events.len(), 1, "renewing is no news");
    world.sleep(1.0);
    assert_eq!(world.events[1..], [Output::ChannelUnbound { at, number: 0x4000 }]);
    assert_eq!(world.packet(alice.tuple, &data(0x4000)), Route::Here);
    assert_eq!(world.peer(at, PEER, 1), Route::Here);
}

#[test]
fn for_five_minutes_more_nobody_reuses_the_number_or_the_peer() {
    let mut world = World::new();
    let mut alice = Client::new("198.18.0.1:4000");
    world.ask(&mut alice, Ask::allocate().udp().lifetime(3600));
    world.bind(&mut alice, 0x4000, PEER);
    world.sleep(600.0 + 299.0);
    assert_eq!(world.ask(&mut alice, Ask::bind(0x4000, OTHER)).code(), 400);
    assert_eq!(world.ask(&mut alice, Ask::bind(0x4001, PEER)).code(), 400);
    world.sleep(1.0);
    world.bind(&mut alice, 0x4000, OTHER);
    world.bind(&mut alice, 0x4001, PEER);
}

#[test]
fn the_same_pair_may_be_bound_again_at_any_time() {
    let mut world = World::new();
    let mut alice = Client::new("198.18.0.1:4000");
    world.ask(&mut alice, Ask::allocate().udp().lifetime(3600));
    world.bind(&mut alice, 0x4000, PEER);
    world.sleep(700.0);
    world.bind(&mut alice, 0x4000, PEER);
    assert!(matches!(world.packet(alice.tuple, &data(0x4000)), Route::Peer { .. }));
    assert!(matches!(
        world.events[..],
        [Output::ChannelBound { .. }, Output::ChannelUnbound { .. }, Output::ChannelBound { .. }]
    ));
}

#[test]
fn a_bind_is_a_permission_for_the_whole_address() {
    let mut world = World::new();
    let mut alice = Client::new("198.18.0.1:4000");
    let (at, _) = world.allocate(&mut alice);
    world.bind(&mut alice, 0x4000, PEER);
    assert!(matches!(world.peer(at, OTHER, 1), Route::Client { .. }));
    world.sleep(300.0);
    assert_eq!(world.peer(at, OTHER, 1), Route::Here, "which lasts five minutes");
    assert!(matches!(world.peer(at, PEER, 1), Route::Client { .. }), "the channel's own peer stays");
}

#[test]
fn many_channels_find_their_peers_both_ways() {
    let mut world = World::new();
    let mut alice = Client::new("198.18.0.1:4000");
    let (at, _) = world.allocate(&mut alice);
    let pairs: Vec<_> =
        (0..200_u16).map(|n| (0x4000 + (n * 77) % 0x1000, format!("9.9.{}.9:{}", n % 7, 7000 + n))).collect();
    for (number, peer) in &pairs {
        world.bind(&mut alice, *number, peer);
    }
    for (number, peer) in &pairs {
        let Route::Peer { peer: to, .. } = world.packet(alice.tuple, &data(*number)) else {
            panic!("{number:x}")
        };
        assert_eq!(to, addr(peer));
        let Route::Client { head, .. } = world.peer(at, peer, 1) else { panic!("{peer}") };
        assert_eq!(head.as_bytes()[..2], number.to_be_bytes());
    }
}
