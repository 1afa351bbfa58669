//! A request that comes again gets the same answer (RFC 8489, section 6.3.1).

use super::world::{Ask, Client, World};
use crate::turn::RelayFailure;

/// Sends the request twice and returns the one answer.
fn twice(world: &mut World, client: &mut Client, ask: Ask) -> super::world::Answer {
    if client.nonce.is_empty() {
        world.ask(client, Ask::refresh(0));
    }
    let request = ask.signed(client).build();
    let first = world.ask_raw(client, &request);
    let before = world.server.stats().retransmissions;
    world.sleep(0.5);
    let second = world.ask_raw(client, &request);
    assert_eq!(first.message.raw, second.message.raw);
    assert_eq!(world.server.stats().retransmissions, before + 1);
    first
}

#[test]
fn an_allocate_is_answered_again_and_nothing_else_happens() {
    let mut world = World::new();
    let mut alice = Client::new("198.18.0.1:4000");
    assert_eq!(twice(&mut world, &mut alice, Ask::allocate().udp().even_port(true)).code(), 0);
    assert_eq!((world.opened.len(), world.server.stats().allocations_total), (1, 1));
}

#[test]
fn so_are_the_others_with_success_or_without() {
    let mut world = World::new();
    let mut alice = Client::new("198.18.0.1:4000");
    world.allocate(&mut alice);
    assert_eq!(twice(&mut world, &mut alice, Ask::permission().peer("9.9.9.9:1")).code(), 0);
    assert_eq!(twice(&mut world, &mut alice, Ask::permission().peer("10.0.0.1:1")).code(), 403);
    assert_eq!(twice(&mut world, &mut alice, Ask::bind(0x4000, "9.9.9.9:1")).code(), 0);
    assert_eq!(twice(&mut world, &mut alice, Ask::refresh(600)).code(), 0);
    assert_eq!(twice(&mut world, &mut alice, Ask::allocate().udp()).code(), 437);
    assert_eq!(
        twice(&mut world, &mut alice, Ask::refresh(0)).code(),
        0,
        "though there is nothing left to end"
    );
    assert_eq!(twice(&mut world, &mut alice, Ask::refresh(0)).code(), 437, "a new request is another thing");
}

#[test]
fn a_failure_that_would_now_be_a_success_stays_a_failure() {
    let mut world = World::new();
    world.opens = vec![Err(RelayFailure::Refused)];
    let mut alice = Client::new("198.18.0.1:4000");
    assert_eq!(twice(&mut world, &mut alice, Ask::allocate().udp()).code(), 508);
    assert_eq!(world.opened.len(), 1);
}

#[test]
fn answers_are_forgotten_after_forty_seconds() {
    let mut world = World::new();
    let mut alice = Client::new("198.18.0.1:4000");
    world.ask(&mut alice, Ask::refresh(0));
    let request = Ask::allocate().udp().signed(&alice).build();
    assert_eq!(world.ask_raw(&alice, &request).code(), 0);
    world.sleep(40.0);
    assert_eq!(world.ask_raw(&alice, &request).code(), 437);
}

#[test]
fn somebody_elses_transaction_id_is_of_no_use() {
    let mut world = World::new();
    let mut alice = Client::new("198.18.0.1:4000");
    world.ask(&mut alice, Ask::refresh(0));
    let request = Ask::allocate().udp().signed(&alice).build();
    assert_eq!(world.ask_raw(&alice, &request).code(), 0);
    let mallory = Client::new("198.18.0.1:4001");
    assert_eq!(world.ask_raw(&mallory, &request).code(), 438, "the nonce is alice's");
}

#[test]
fn a_storm_of_others_does_not_make_an_answer_forgotten() {
    let mut world = World::new();
    let mut alice = Client::new("198.18.0.1:4000");
    world.ask(&mut alice, Ask::refresh(0));
    let request = Ask::allocate().udp().signed(&alice).build();
    assert_eq!(world.ask_raw(&alice, &request).code(), 0);
    for n in 0..1024_u16 {
        let mut other = Client::named(&format!("198.18.1.{}:{}", n % 250, 4000 + n), "other");
        world.ask(&mut other, Ask::refresh(0));
    }
    world.sleep(0.5);
    assert_eq!(world.ask_raw(&alice, &request).code(), 0);
}
