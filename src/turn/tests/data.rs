//! The data path (RFC 8656, sections 11 and 12).

use webrtc_stun::attributes as a;
use webrtc_turn::proto::chandata::ChannelData;
use webrtc_turn::proto::channum::ChannelNumber;

use super::world::{Answer, Ask, Client, World, addr};
use crate::turn::{Drop, Route};

/// A public address that nothing special is known of.
const PEER: &str = "9.9.9.9:7000";

fn channel_data(number: u16, data: &[u8]) -> Vec<u8> {
    let mut frame = ChannelData { data: data.to_vec(), number: ChannelNumber(number), raw: vec![] };
    frame.encode();
    frame.raw
}

/// What a client receives: head, payload, padding.
fn frame(route: Route, payload: &[u8]) -> Vec<u8> {
    let Route::Client { head, payload: span, .. } = route else { panic!("{route:?}") };
    let mut frame = head.as_bytes().to_vec();
    frame.extend_from_slice(&payload[span.range()]);
    frame.resize(frame.len() + usize::from(head.padding), 0);
    frame
}

#[test]
fn channel_data_goes_to_the_peer_it_is_bound_to() {
    let mut world = World::new();
    let mut alice = Client::new("198.18.0.1:4000");
    let (at, _) = world.allocate(&mut alice);
    world.bind(&mut alice, 0x4001, PEER);
    let packet = channel_data(0x4001, b"hello");
    let Route::Peer { at: from, peer, payload, dont_fragment } = world.packet(alice.tuple, &packet) else {
        panic!("not sent")
    };
    assert_eq!((from, peer, dont_fragment), (at, addr(PEER), false));
    assert_eq!(&packet[payload.range()], b"hello", "without the padding");
    assert_eq!(world.server.stats().to_peer.bytes, 5);
}

#[test]
fn channel_data_without_padding_is_fine_over_udp() {
    let mut world = World::new();
    let mut alice = Client::new("198.18.0.1:4000");
    world.allocate(&mut alice);
    world.bind(&mut alice, 0x4001, PEER);
    assert!(matches!(world.packet(alice.tuple, b"\x40\x01\x00\x05hello"), Route::Peer { .. }));
    assert_eq!(world.packet(alice.tuple, b"\x40\x01\x00\x06hello"), Route::Here);
    assert_eq!(world.dropped(Drop::Malformed), 1);
    assert_eq!(world.packet(alice.tuple, b"\x40\x02\x00\x05hello"), Route::Here);
    assert_eq!(world.dropped(Drop::NoChannel), 1);
    let stranger = Client::new("198.18.0.1:4001");
    assert_eq!(world.packet(stranger.tuple, b"\x40\x01\x00\x05hello"), Route::Here);
    assert_eq!(world.dropped(Drop::NoAllocation), 1);
}

#[test]
fn what_a_bound_peer_sends_comes_as_channel_data() {
    let mut world = World::new();
    let mut alice = Client::new("198.18.0.1:4000");
    let (at, _) = world.allocate(&mut alice);
    world.bind(&mut alice, 0x4001, PEER);
    let route = world.peer(at, PEER, 5);
    let mut read = ChannelData { raw: frame(route, b"hello"), ..ChannelData::default() };
    read.decode().unwrap();
    assert_eq!((read.number.0, &read.data[..]), (0x4001, &b"hello"[..]));
    // Another port of the same peer has the permission, but not the channel.
    let route = world.peer(at, "9.9.9.9:7001", 5);
    assert_eq!(Answer::read(&frame(route, b"hello")).get(a::ATTR_DATA).unwrap(), b"hello");
}

#[test]
fn what_a_permitted_peer_sends_comes_as_a_data_indication() {
    for (peer, family) in [(PEER, 1), ("[2606:4700::1]:7000", 2)] {
        let mut world = World::new();
        let mut alice = Client::new("198.18.0.1:4000");
        assert_eq!(world.ask(&mut alice, Ask::allocate().udp().family(family)).code(), 0);
        let at = world.opened[0].0;
        world.permit(&mut alice, peer);
        for payload in [&b""[..], b"a", b"abc", b"abcd"] {
            let route = world.peer(at, peer, payload.len());
            let read = Answer::read(&frame(route, payload));
            assert_eq!(read.message.typ.to_string(), "Data indication");
            assert_eq!(read.get(a::ATTR_DATA).unwrap(), payload);
            assert_eq!(read.address(a::ATTR_XOR_PEER_ADDRESS), addr(peer));
        }
    }
}

#[test]
fn what_does_not_fit_a_datagram_with_its_head_is_a_counted_drop() {
    let mut world = World::new();
    let mut alice = Client::new("198.18.0.1:4000");
    let (at, _) = world.allocate(&mut alice);
    world.permit(&mut alice, PEER);
    let delivered = |world: &World| world.server.stats().to_client.packets;
    assert_ne!(world.peer(at, PEER, 65_507 - 48), Route::Here);
    assert_eq!(delivered(&world), 1);
    assert_eq!(world.peer(at, PEER, 65_507), Route::Here);
    assert_eq!((delivered(&world), world.dropped(Drop::TooLong)), (1, 1));
}

#[test]
fn peers_without_a_permission_are_not_heard() {
    let mut world = World::new();
    let mut alice = Client::new("198.18.0.1:4000");
    let (at, _) = world.allocate(&mut alice);
    assert_eq!(world.peer(at, PEER, 5), Route::Here);
    assert_eq!(world.dropped(Drop::NoPermission), 1);
    assert_eq!(world.packet(alice.tuple, &Ask::send(PEER, b"x").build()), Route::Here);
    assert_eq!(world.dropped(Drop::NoPermission), 2);
}

#[test]
fn a_send_indication_goes_to_a_permitted_peer() {
    let mut world = World::new();
    let mut alice = Client::new("198.18.0.1:4000");
    world.allocate(&mut alice);
    world.permit(&mut alice, "9.9.9.9:1");
    let packet = Ask::send(PEER, b"hello").add(a::ATTR_DONT_FRAGMENT, &[]).fingerprint().build();
    let Route::Peer { peer, payload, dont_fragment, .. } = world.packet(alice.tuple, &packet) else {
        panic!("not sent")
    };
    assert_eq!((peer, dont_fragment), (addr(PEER), true));
    assert_eq!(&packet[payload.range()], b"hello");
}

#[test]
fn send_indications_that_make_no_sense_are_dropped() {
    let mut world = World::new();
    let mut alice = Client::new("198.18.0.1:4000");
    world.allocate(&mut alice);
    world.permit(&mut alice, PEER);
    let unknown = Ask::send(PEER, b"x").add(a::AttrType(0x7001), &[]).build();
    assert_eq!(world.packet(alice.tuple, &unknown), Route::Here);
    assert_eq!(world.dropped(Drop::UnknownAttribute), 1);
    let family = Ask::send("[2606:4700::1]:7000", b"x").build();
    assert_eq!(world.packet(alice.tuple, &family), Route::Here);
    assert_eq!(world.dropped(Drop::PeerFamily), 1);
    let mut torn = Ask::send(PEER, b"x").fingerprint().build();
    torn[31] ^= 1;
    assert_eq!(world.packet(alice.tuple, &torn), Route::Here);
    assert_eq!(world.dropped(Drop::Malformed), 1);
}

#[test]
fn relay_to_relay_never_leaves_the_process() {
    let mut world = World::new();
    let mut alice = Client::new("198.18.0.1:4000");
    let mut bob = Client::named("198.18.0.2:4000", "bob");
    let (_, of_alice) = world.allocate(&mut alice);
    let (_, of_bob) = world.allocate(&mut bob);
    world.bind(&mut alice, 0x4001, &of_bob.to_string());
    let packet = channel_data(0x4001, b"hello");
    assert_eq!(world.packet(alice.tuple, &packet), Route::Here, "bob has not permitted alice");
    assert_eq!(world.dropped(Drop::PeerNotPermitted), 1);
    world.permit(&mut bob, &of_alice.to_string());
    let route = world.packet(alice.tuple, &packet);
    let Route::Client { to, .. } = route else { panic!("{route:?}") };
    assert_eq!(to, bob.tuple);
    let read = Answer::read(&frame(route, &packet));
    assert_eq!(read.get(a::ATTR_DATA).unwrap(), b"hello");
    assert_eq!(read.address(a::ATTR_XOR_PEER_ADDRESS), of_alice);
    // Bob answers by Send, alice gets it on her channel.
    let packet = Ask::send(&of_alice.to_string(), b"hi").build();
    let route = world.packet(bob.tuple, &packet);
    assert_eq!(frame(route, &packet), b"\x40\x01\x00\x02hi");
    assert_eq!(world.server.stats().in_process.packets, 2);
}

#[test]
fn a_relayed_address_may_be_named_by_the_address_it_is_bound_to() {
    let mut world = World::new();
    let mut alice = Client::new("198.18.0.1:4000");
    let mut bob = Client::named("198.18.0.2:4000", "bob");
    let (_, of_alice) = world.allocate(&mut alice);
    let (_, of_bob) = world.allocate(&mut bob);
    world.permit(&mut alice, &format!("10.0.0.5:{}", of_bob.port()));
    world.permit(&mut bob, &format!("10.0.0.5:{}", of_alice.port()));
    let packet = Ask::send(&format!("10.0.0.5:{}", of_bob.port()), b"hi").build();
    let route = world.packet(alice.tuple, &packet);
    let read = Answer::read(&frame(route, &packet));
    assert_eq!(read.address(a::ATTR_XOR_PEER_ADDRESS), addr(&format!("10.0.0.5:{}", of_alice.port())));
}

#[test]
fn a_relayed_address_of_another_shard_is_across() {
    let mut world = World::new();
    let mut alice = Client::new("198.18.0.1:4000");
    let (_, of_alice) = world.allocate(&mut alice);
    world.bind(&mut alice, 0x4001, "192.0.2.5:51500");
    let packet = channel_data(0x4001, b"hello");
    let Route::Across { from, to, payload, .. } = world.packet(alice.tuple, &packet) else {
        panic!("not across")
    };
    assert_eq!((from, to), (of_alice, addr("192.0.2.5:51500")));
    assert_eq!(&packet[payload.range()], b"hello");
    // And from there.
    let route = world.server.handle_relayed(world.now, of_alice, addr("192.0.2.5:51500"), None, 5);
    assert_eq!(frame(route, b"hello"), b"\x40\x01\x00\x05hello");
    assert_eq!(
        world.server.handle_relayed(world.now, of_alice, addr("192.0.2.6:51500"), None, 5),
        Route::Here
    );
    assert_eq!(world.dropped(Drop::PeerNotPermitted), 1);
}

#[test]
fn a_relayed_address_that_nobody_holds_is_a_counted_drop() {
    let mut world = World::new();
    let mut alice = Client::new("198.18.0.1:4000");
    let (_, of_alice) = world.allocate(&mut alice);
    let free = if of_alice.port() == 50010 { 50011 } else { 50010 };
    world.permit(&mut alice, "192.0.2.5:1");
    let packet = Ask::send(&format!("192.0.2.5:{free}"), b"hi").build();
    assert_eq!(world.packet(alice.tuple, &packet), Route::Here);
    assert_eq!(world.dropped(Drop::NoPeerAllocation), 1);
    // Outside the relay ports the documentation address is what it is: denied.
    let packet = Ask::send("192.0.2.5:80", b"hi").build();
    assert_eq!(world.packet(alice.tuple, &packet), Route::Here);
    assert_eq!(world.dropped(Drop::PeerDenied), 1);
}

#[test]
fn what_claims_to_come_from_a_relayed_address_over_the_network_is_dropped() {
    let mut world = World::new();
    let mut alice = Client::new("198.18.0.1:4000");
    let (at, _) = world.allocate(&mut alice);
    world.permit(&mut alice, "192.0.2.5:1");
    assert_eq!(world.peer(at, "192.0.2.5:51000", 5), Route::Here);
    assert_eq!(world.dropped(Drop::Hairpin), 1);
    assert_eq!(world.peer(at, "192.0.2.5:80", 5), Route::Here);
    assert_eq!(world.dropped(Drop::PeerDenied), 1);
}

#[test]
fn packets_that_are_nothing_are_counted() {
    let mut world = World::new();
    let alice = Client::new("198.18.0.1:4000");
    for (packet, reason) in [
        (&b""[..], Drop::NotStun),
        (b"\x80junk", Drop::NotStun),
        (b"\xffjunk", Drop::NotStun),
        (b"\x00", Drop::Malformed),
        (b"\x40", Drop::Malformed),
        (b"\x50\x00\x00\x00", Drop::Malformed),
    ] {
        let before = world.dropped(reason);
        assert_eq!(world.packet(alice.tuple, packet), Route::Here);
        assert_eq!(world.dropped(reason), before + 1, "{packet:?}");
    }
    assert!(world.sent.is_empty());
}
