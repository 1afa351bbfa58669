//! Nothing outlives its time, and the server wakes up neither late nor for ever.

use super::world::{Ask, Client, World};
use crate::turn::{Output, Route};

#[test]
fn an_allocation_ends_after_its_lifetime_without_anybody_asking() {
    let mut world = World::new();
    let mut alice = Client::new("198.18.0.1:4000");
    let (at, _) = world.allocate(&mut alice);
    world.permit(&mut alice, "9.9.9.9:1");
    let due = world.server.poll_timeout().unwrap();
    assert!(due <= world.now + std::time::Duration::from_secs(300), "the permission ends first");
    world.sleep(600.0);
    assert_eq!(world.events, [Output::CloseRelay { at }]);
    assert_eq!(world.server.poll_timeout(), None);
    assert!(world.server.leaves_nothing());
}

#[test]
fn a_packet_after_the_end_finds_nothing_even_if_the_timer_was_late() {
    let mut world = World::new();
    let mut alice = Client::new("198.18.0.1:4000");
    let (at, _) = world.allocate(&mut alice);
    world.bind(&mut alice, 0x4000, "9.9.9.9:1");
    world.later(600.0);
    assert_eq!(world.packet(alice.tuple, b"\x40\x00\x00\x01x"), Route::Here);
    assert_eq!(world.peer(at, "9.9.9.9:1", 1), Route::Here);
    assert_eq!(world.server.stats().allocations, 0);
}

#[test]
fn time_that_runs_backwards_harms_nobody() {
    let mut world = World::new();
    let mut alice = Client::new("198.18.0.1:4000");
    world.later(1000.0);
    world.allocate(&mut alice);
    world.now -= std::time::Duration::from_secs(500);
    world.bind(&mut alice, 0x4000, "9.9.9.9:1");
    assert!(matches!(world.packet(alice.tuple, b"\x40\x00\x00\x01x"), Route::Peer { .. }));
}

#[test]
fn an_old_id_does_not_reach_the_next_tenant() {
    let mut world = World::new();
    let mut alice = Client::new("198.18.0.1:4000");
    let (old, _) = world.allocate(&mut alice);
    world.ask(&mut alice, Ask::refresh(0));
    let mut bob = Client::named("198.18.0.2:4000", "bob");
    let (new, _) = world.allocate(&mut bob);
    world.permit(&mut bob, "9.9.9.9:1");
    assert_eq!(old.slot, new.slot);
    assert_eq!(world.peer(old, "9.9.9.9:1", 1), Route::Here);
    assert!(matches!(world.peer(new, "9.9.9.9:1", 1), Route::Client { .. }));
}

#[test]
fn a_thousand_allocations_come_and_go() {
    let mut world = World::new();
    for round in 0..3 {
        for n in 0..1000_u16 {
            let mut client = Client::named(&format!("198.18.{round}.1:{}", 4000 + n), &n.to_string());
            world.allocate(&mut client);
        }
        assert_eq!(world.server.stats().allocations, 1000);
        assert_eq!(world.ask(&mut Client::new("198.18.9.9:1"), Ask::allocate().udp()).code(), 508);
        world.sleep(600.0);
        assert_eq!(world.server.stats().allocations, 0);
    }
    assert!(world.server.leaves_nothing());
}
