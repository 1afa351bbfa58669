//! Refresh (RFC 8656, section 8).

use super::world::{Ask, Client, World};
use crate::turn::{Drop, Output, Route};

#[test]
fn a_refresh_without_an_allocation_is_437() {
    let mut world = World::new();
    let mut alice = Client::new("198.18.0.1:4000");
    for ask in [
        Ask::refresh(600),
        Ask::refresh(0),
        Ask::permission().peer("9.9.9.9:1"),
        Ask::bind(0x4000, "9.9.9.9:1"),
    ] {
        assert_eq!(world.ask(&mut alice, ask).code(), 437);
    }
}

#[test]
fn a_refresh_moves_the_end() {
    let mut world = World::new();
    let mut alice = Client::new("198.18.0.1:4000");
    world.allocate(&mut alice);
    for _ in 0..5 {
        world.sleep(599.0);
        assert_eq!(world.ask(&mut alice, Ask::refresh(600)).lifetime(), Some(600));
    }
    world.sleep(599.0);
    assert_eq!(world.server.stats().allocations, 1);
    world.sleep(1.0);
    assert_eq!(world.server.stats().allocations, 0);
}

#[test]
fn a_refresh_can_make_it_shorter_but_not_shorter_than_the_default() {
    let mut world = World::new();
    let mut alice = Client::new("198.18.0.1:4000");
    world.ask(&mut alice, Ask::allocate().udp().lifetime(3600));
    assert_eq!(world.ask(&mut alice, Ask::refresh(1)).lifetime(), Some(600));
    world.sleep(600.0);
    assert_eq!(world.server.stats().allocations, 0);
}

#[test]
fn a_lifetime_of_zero_ends_it_at_once() {
    let mut world = World::new();
    let mut alice = Client::new("198.18.0.1:4000");
    let (at, _) = world.allocate(&mut alice);
    world.bind(&mut alice, 0x4000, "9.9.9.9:1");
    world.events.clear();
    let answer = world.ask(&mut alice, Ask::refresh(0));
    assert_eq!((answer.code(), answer.lifetime()), (0, Some(0)));
    assert!(answer.is_signed_by(&alice));
    let unbound = Output::ChannelUnbound { at, number: 0x4000 };
    assert_eq!(world.events, [unbound, Output::CloseRelay { at }]);
    assert_eq!(world.peer(at, "9.9.9.9:1", 5), Route::Here);
    assert_eq!(world.dropped(Drop::Stale), 1);
    assert!(world.server.leaves_nothing());
}

#[test]
fn the_family_of_a_refresh_must_be_the_allocations() {
    let mut world = World::new();
    let mut alice = Client::new("198.18.0.1:4000");
    world.allocate(&mut alice);
    assert_eq!(world.ask(&mut alice, Ask::refresh(600).family(1)).code(), 0);
    assert_eq!(world.ask(&mut alice, Ask::refresh(600).family(2)).code(), 443);
    assert_eq!(world.ask(&mut alice, Ask::refresh(0).family(2)).code(), 443);
    assert_eq!(world.server.stats().allocations, 1);
}

#[test]
fn one_family_of_a_dual_allocation_can_be_ended() {
    let mut world = World::new();
    let mut alice = Client::new("198.18.0.1:4000");
    assert_eq!(world.ask(&mut alice, Ask::allocate().udp().also_ipv6()).code(), 0);
    let (at, _) = world.opened[0];
    let six = world.opened[1].1;
    world.bind(&mut alice, 0x4004, "9.9.9.9:1");
    world.bind(&mut alice, 0x4006, "[2606:4700::1]:1");
    world.events.clear();
    assert_eq!(world.ask(&mut alice, Ask::refresh(0).family(2)).lifetime(), Some(0));
    assert_eq!(
        world.events,
        [Output::ChannelUnbound { at, number: 0x4006 }, Output::CloseFamily { at, local: six }]
    );
    assert_eq!(world.server.stats().allocations, 1);
    assert!(matches!(world.packet(alice.tuple, b"\x40\x04\x00\x01x"), Route::Peer { .. }), "the other lives");
    assert_eq!(world.packet(alice.tuple, b"\x40\x06\x00\x01x"), Route::Here);
    assert_eq!(world.peer(at, "[2606:4700::1]:1", 1), Route::Here, "its permissions went with it");
    assert_eq!(world.ask(&mut alice, Ask::refresh(600).family(2)).code(), 443);
    assert_eq!(world.ask(&mut alice, Ask::permission().peer("[2606:4700::1]:1")).code(), 443);
    assert_eq!(world.ask(&mut alice, Ask::refresh(0).family(1)).code(), 0);
    assert_eq!(world.server.stats().allocations, 0);
    assert!(world.server.leaves_nothing());
}

#[test]
fn each_family_of_a_dual_allocation_has_its_own_end() {
    let mut world = World::new();
    let mut alice = Client::new("198.18.0.1:4000");
    assert_eq!(world.ask(&mut alice, Ask::allocate().udp().also_ipv6()).code(), 0);
    world.sleep(300.0);
    assert_eq!(world.ask(&mut alice, Ask::refresh(600).family(1)).code(), 0);
    world.sleep(300.0);
    assert!(matches!(world.events[..], [Output::CloseFamily { local, .. }] if local.is_ipv6()));
    world.sleep(300.0);
    assert_eq!(world.server.stats().allocations, 0);
}
