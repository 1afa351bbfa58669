//! ICMP errors (RFC 8656, sections 11.5 and 18.13).

use webrtc_stun::attributes as a;
use webrtc_stun::attributes::AttrType;

use super::world::{Answer, Ask, Client, World, addr};
use crate::turn::Drop;

#[test]
fn an_unreachable_peer_is_told_to_the_client() {
    let mut world = World::new();
    let mut alice = Client::new("198.18.0.1:4000");
    let (at, _) = world.allocate(&mut alice);
    world.permit(&mut alice, "9.9.9.9:1");
    world.sent.clear();
    world.server.handle_icmp(world.now, at, addr("9.9.9.9:7000"), 3, 4, 1400_u32.to_be_bytes());
    world.settle();
    let (to, message) = world.sent.pop().unwrap();
    assert_eq!(to, alice.tuple);
    let read = Answer::read(&message);
    assert_eq!(read.message.typ.to_string(), "Data indication");
    assert_eq!(read.address(a::ATTR_XOR_PEER_ADDRESS), addr("9.9.9.9:7000"));
    // 16 bits reserved, type 3 in 7 bits, code 4 in 9, the MTU.
    assert_eq!(read.get(AttrType(0x8004)).unwrap(), [0, 0, 0b0000_0110, 4, 0, 0, 5, 120]);
    assert!(read.get(a::ATTR_DATA).is_none());
}

#[test]
fn other_errors_and_other_peers_are_dropped() {
    let mut world = World::new();
    let mut alice = Client::new("198.18.0.1:4000");
    assert_eq!(world.ask(&mut alice, Ask::allocate().udp().also_ipv6()).code(), 0);
    let at = world.opened[0].0;
    world.permit(&mut alice, "9.9.9.9:1");
    world.permit(&mut alice, "[2606:4700::1]:1");
    world.sent.clear();
    for (peer, kind) in [
        ("9.9.9.9:1", 5),
        ("9.9.9.9:1", 0),
        ("9.9.9.10:1", 3),
        ("[2606:4700::1]:1", 11),
        ("[2606:4700::1]:1", 128),
    ] {
        world.server.handle_icmp(world.now, at, addr(peer), kind, 0, [0; 4]);
    }
    world.settle();
    assert!(world.sent.is_empty());
    assert_eq!(world.dropped(Drop::Icmp), 5);
    world.server.handle_icmp(world.now, at, addr("[2606:4700::1]:1"), 1, 4, [0; 4]);
    world.settle();
    assert_eq!(world.sent.len(), 1);
}
