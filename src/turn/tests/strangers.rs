//! What those get who have shown no credentials, and what it costs (nothing that stays).

use webrtc_stun::attributes as a;
use webrtc_stun::fingerprint::FINGERPRINT;
use webrtc_stun::message as m;

use super::world::{Ask, Client, World};
use crate::turn::{Drop, Route};

#[test]
fn a_binding_request_is_told_its_address() {
    for address in ["198.18.0.1:4000", "[2606:4700::1]:4000"] {
        let mut world = World::new();
        let client = Client::new(address);
        let answer = world.ask_raw(&client, &Ask::binding().build());
        assert_eq!(answer.code(), 0);
        assert_eq!(answer.address(a::ATTR_XORMAPPED_ADDRESS), client.tuple.client);
        assert!(answer.get(a::ATTR_FINGERPRINT).is_none());
        let answer = world.ask_raw(&client, &Ask::binding().fingerprint().build());
        FINGERPRINT.check(&answer.message).unwrap();
        assert_eq!(world.server.stats().bindings, 2);
    }
}

#[test]
fn a_binding_request_with_what_is_not_known_is_420() {
    let mut world = World::new();
    let client = Client::new("198.18.0.1:4000");
    let answer = world.ask_raw(&client, &Ask::binding().add(a::ATTR_CHANGE_REQUEST, &[0, 0, 0, 6]).build());
    assert_eq!(answer.code(), 420);
    assert_eq!(answer.get(a::ATTR_UNKNOWN_ATTRIBUTES).unwrap(), [0, 3]);
}

#[test]
fn a_wrong_fingerprint_is_no_stun() {
    let mut world = World::new();
    let client = Client::new("198.18.0.1:4000");
    let mut packet = Ask::binding().fingerprint().build();
    *packet.last_mut().unwrap() ^= 1;
    assert!(world.try_ask(&client, &packet).is_none());
    assert_eq!(world.dropped(Drop::Malformed), 1);
}

#[test]
fn answers_and_what_nobody_asked_for_are_dropped() {
    let mut world = World::new();
    let client = Client::new("198.18.0.1:4000");
    for (method, class) in [
        (m::METHOD_BINDING, m::CLASS_SUCCESS_RESPONSE),
        (m::METHOD_BINDING, m::CLASS_ERROR_RESPONSE),
        (m::METHOD_ALLOCATE, m::CLASS_INDICATION),
        (m::METHOD_DATA, m::CLASS_INDICATION),
        (m::METHOD_SEND, m::CLASS_REQUEST),
        (m::METHOD_CONNECT, m::CLASS_REQUEST),
    ] {
        assert!(world.try_ask(&client, &Ask::new(method, class).build()).is_none());
    }
    assert_eq!(world.dropped(Drop::Unexpected), 6);
    // A keep-alive.
    assert!(world.try_ask(&client, &Ask::new(m::METHOD_BINDING, m::CLASS_INDICATION).build()).is_none());
    assert_eq!(world.server.stats().drops.total(), 6);
}

#[test]
fn requests_without_credentials_leave_nothing_behind() {
    let mut world = World::new();
    for n in 0..1000_u16 {
        let client = Client::new(&format!("198.18.{}.{}:4000", n / 250, n % 250));
        assert_eq!(world.ask_raw(&client, &Ask::allocate().udp().build()).code(), 401);
        assert_eq!(world.ask_raw(&client, &Ask::binding().build()).code(), 0);
    }
    assert_eq!(world.server.stats().allocations, 0);
    assert_eq!(world.server.poll_timeout(), None, "no timer was set");
    assert!(world.opened.is_empty());
    assert!(world.server.leaves_nothing());
}

#[test]
fn strangers_get_so_many_answers_a_second_and_prefix() {
    let mut world = World::with(|config| config.limits.unauthenticated_per_second = 10);
    let neighbours: Vec<_> = (0..30).map(|n| Client::new(&format!("198.18.0.{n}:4000"))).collect();
    let answered = |world: &mut World| {
        let asked = neighbours.iter().map(|client| world.try_ask(client, &Ask::binding().build()).is_some());
        asked.filter(|&answered| answered).count()
    };
    assert_eq!(answered(&mut world), 10);
    assert_eq!(world.dropped(Drop::RateLimited), 20);
    let far = Client::new("198.18.77.1:4000");
    assert!(world.try_ask(&far, &Ask::allocate().udp().build()).is_some(), "another /24 is not touched");
    world.later(0.5);
    assert_eq!(answered(&mut world), 5);
    world.later(60.0);
    assert_eq!(answered(&mut world), 10, "what is not used is not saved up");
}

#[test]
fn the_limit_does_not_touch_those_who_have_credentials() {
    let mut world = World::with(|config| config.limits.unauthenticated_per_second = 1);
    let mut alice = Client::new("198.18.0.1:4000");
    world.allocate(&mut alice);
    for _ in 0..100 {
        assert_eq!(world.ask(&mut alice, Ask::refresh(600)).code(), 0);
    }
}

#[test]
fn ipv6_strangers_are_limited_by_56_bits() {
    let mut world = World::with(|config| config.limits.unauthenticated_per_second = 1);
    let one = Client::new("[2606:4700:0:aa00::1]:4000");
    let same = Client::new("[2606:4700:0:aaff::1]:4000");
    let other = Client::new("[2606:4700:0:ab00::1]:4000");
    assert!(world.try_ask(&one, &Ask::binding().build()).is_some());
    assert!(world.try_ask(&same, &Ask::binding().build()).is_none());
    assert!(world.try_ask(&other, &Ask::binding().build()).is_some());
}

#[test]
fn a_request_of_many_things_unknown_is_told_of_sixteen() {
    let mut world = World::new();
    let client = Client::new("[2606:4700::1]:4000");
    let many = (0..200).fold(Ask::binding(), |ask, n| ask.add(a::AttrType(0x7000 + n), &[]));
    assert_eq!(world.ask_raw(&client, &many.build()).get(a::ATTR_UNKNOWN_ATTRIBUTES).unwrap().len(), 32);
}

#[test]
fn a_huge_datagram_is_dropped() {
    let mut world = World::new();
    let client = Client::new("198.18.0.1:4000");
    let mut packet = vec![0; 20 + 65_532];
    packet[..8].copy_from_slice(&[0, 1, 0xff, 0xfc, 0x21, 0x12, 0xa4, 0x42]);
    assert_eq!(world.packet(client.tuple, &packet), Route::Here);
    assert_eq!(world.dropped(Drop::Malformed), 1);
}
