//! Where clients are sent while the server drains (RFC 8489, section 10).

use std::net::SocketAddr;

use webrtc_stun::attributes as a;

use super::world::{Answer, Ask, Client, World, addr};

/// ALTERNATE-SERVER, which is not XORed: family, port, address.
fn alternate(answer: &Answer) -> Option<SocketAddr> {
    let value = answer.get(a::ATTR_ALTERNATE_SERVER)?;
    let port = u16::from_be_bytes([value[2], value[3]]);
    Some(match (value[1], value.len()) {
        (1, 8) => (<[u8; 4]>::try_from(&value[4..]).unwrap(), port).into(),
        (2, 20) => (<[u8; 16]>::try_from(&value[4..]).unwrap(), port).into(),
        other => panic!("{other:?}"),
    })
}

fn draining(alternates: &[&str]) -> World {
    let mut world =
        World::with(|config| config.alternate = alternates.iter().map(|text| addr(text)).collect());
    world.server.drain(world.now);
    world
}

#[test]
fn a_newcomer_is_sent_to_the_other_server_of_its_family() {
    let mut world = draining(&["203.0.113.8:3479", "[2001:db8::8]:3480"]);
    for (client, other) in [("198.18.0.1:4000", 0), ("[2606:4700::1]:4000", 1)] {
        let mut client = Client::new(client);
        let answer = world.ask(&mut client, Ask::allocate().udp());
        assert_eq!(answer.code(), 300);
        let others = [addr("203.0.113.8:3479"), addr("[2001:db8::8]:3480")];
        assert_eq!(alternate(&answer), Some(others[other]));
        assert!(answer.is_signed_by(&client), "nobody else can send clients away");
    }
    assert!(world.opened.is_empty());
}

#[test]
fn without_another_server_of_its_family_a_newcomer_is_told_508() {
    let mut world = draining(&["203.0.113.8:3479"]);
    let answer = world.ask(&mut Client::new("[2606:4700::1]:4000"), Ask::allocate().udp());
    assert_eq!((answer.code(), alternate(&answer)), (508, None));
    let answer = draining(&[]).ask(&mut Client::new("198.18.0.1:4000"), Ask::allocate().udp());
    assert_eq!((answer.code(), alternate(&answer)), (508, None));
}

#[test]
fn only_a_draining_server_sends_anybody_on_and_only_those_with_a_password() {
    let mut world = World::with(|config| config.alternate = vec![addr("203.0.113.8:3479")]);
    let mut alice = Client::new("198.18.0.1:4000");
    world.allocate(&mut alice);
    world.server.drain(world.now);
    assert_eq!(world.ask(&mut alice, Ask::refresh(600)).code(), 0, "who is in stays in");
    assert_eq!(world.ask(&mut alice, Ask::permission().peer("9.9.9.9:1")).code(), 0);
    let stranger = Client::new("198.18.0.2:4000");
    let answer = world.ask_raw(&stranger, &Ask::allocate().udp().build());
    assert_eq!((answer.code(), alternate(&answer)), (401, None));
    let mut wrong = Client { password: "wrong".into(), ..stranger };
    let answer = world.ask(&mut wrong, Ask::allocate().udp());
    assert_eq!((answer.code(), alternate(&answer)), (401, None));
}
