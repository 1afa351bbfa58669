//! NAT behaviour discovery (RFC 5780).

use std::net::SocketAddr;

use webrtc_stun::attributes as a;

use super::world::{Answer, Ask, Client, World, addr};
use crate::turn::{Drop, FiveTuple, Leg, Transport};

const SQUARE: [&str; 4] = ["8.8.4.4:3478", "8.8.4.4:3479", "8.8.8.8:3478", "8.8.8.8:3479"];
const SQUARE_V6: [&str; 4] =
    ["[2001:4860::1]:3478", "[2001:4860::1]:3479", "[2001:4860::2]:3478", "[2001:4860::2]:3479"];

fn listening(addresses: &[&str]) -> World {
    World::with(|config| config.discovery = addresses.iter().map(|text| addr(text)).collect())
}

fn client(server: &str) -> Client {
    let mut client =
        Client::new(if server.starts_with('[') { "[2606:4700::1]:4000" } else { "198.18.0.1:4000" });
    client.tuple.server = addr(server);
    client
}

/// Sends a request, and returns what came of it: to where, from where, and what.
fn ask(world: &mut World, client: &Client, ask: Ask) -> Option<(FiveTuple, Answer)> {
    world.sent.clear();
    world.packet(client.tuple, &ask.build());
    assert!(world.sent.len() <= 1);
    world.sent.pop().map(|(to, message)| (to, Answer::read(&message)))
}

fn plain(answer: &Answer, kind: a::AttrType) -> Option<SocketAddr> {
    let value = answer.get(kind)?;
    let port = u16::from_be_bytes([value[2], value[3]]);
    Some(match value.len() {
        8 => (<[u8; 4]>::try_from(&value[4..]).unwrap(), port).into(),
        _ => (<[u8; 16]>::try_from(&value[4..]).unwrap(), port).into(),
    })
}

/// CHANGE-REQUEST: 4 the IP address, 2 the port.
fn change(flags: u8) -> Ask {
    Ask::binding().add(a::ATTR_CHANGE_REQUEST, &[0, 0, 0, flags])
}

#[test]
fn an_answer_leaves_from_where_it_was_asked_for() {
    let mut world = listening(&SQUARE);
    for (at, server) in SQUARE.iter().enumerate() {
        let client = client(server);
        // Neighbours in the list differ by port, those two apart by address.
        for (flags, from) in [(0, at), (2, at ^ 1), (4, at ^ 2), (6, at ^ 3)] {
            let (to, answer) = ask(&mut world, &client, change(flags)).unwrap();
            assert_eq!((to.server, to.client), (addr(SQUARE[from]), client.tuple.client), "{server} {flags}");
            assert_eq!(answer.code(), 0);
            assert_eq!(plain(&answer, a::ATTR_RESPONSE_ORIGIN), Some(addr(SQUARE[from])));
            assert_eq!(plain(&answer, a::ATTR_OTHER_ADDRESS), Some(addr(SQUARE[at ^ 3])));
            assert_eq!(plain(&answer, a::ATTR_MAPPED_ADDRESS), Some(client.tuple.client));
            assert_eq!(answer.address(a::ATTR_XORMAPPED_ADDRESS), client.tuple.client);
        }
    }
}

#[test]
fn the_barest_request_over_ipv4_is_told_of_the_other_address() {
    let mut world = listening(&SQUARE);
    let (_, answer) = ask(&mut world, &client(SQUARE[0]), Ask::binding()).unwrap();
    assert_eq!(plain(&answer, a::ATTR_OTHER_ADDRESS), Some(addr(SQUARE[3])));
    assert!(answer.message.raw.len() <= 60);
}

#[test]
fn over_ipv6_a_request_has_to_be_longer_for_that() {
    let mut world = listening(&SQUARE_V6);
    let (_, answer) = ask(&mut world, &client(SQUARE_V6[0]), Ask::binding()).unwrap();
    assert_eq!((answer.code(), plain(&answer, a::ATTR_OTHER_ADDRESS)), (0, None));
    let (to, answer) = ask(&mut world, &client(SQUARE_V6[0]), change(6)).unwrap();
    assert_eq!(to.server, addr(SQUARE_V6[3]));
    assert_eq!(plain(&answer, a::ATTR_OTHER_ADDRESS), Some(addr(SQUARE_V6[3])));
    let (_, answer) =
        ask(&mut world, &client(SQUARE_V6[0]), change(6).add(a::ATTR_PADDING, &[0; 40])).unwrap();
    assert_eq!(plain(&answer, a::ATTR_RESPONSE_ORIGIN), Some(addr(SQUARE_V6[3])));
}

#[test]
fn an_answer_may_be_wanted_at_another_port() {
    let mut world = listening(&SQUARE);
    let client = client(SQUARE[0]);
    for port in [&[0x13, 0x88, 0, 0][..], &[0x13, 0x88]] {
        let (to, answer) = ask(&mut world, &client, Ask::binding().add(a::ATTR_RESPONSE_PORT, port)).unwrap();
        assert_eq!(to.client, addr("198.18.0.1:5000"), "the same host, whatever is asked for");
        assert_eq!(answer.address(a::ATTR_XORMAPPED_ADDRESS), client.tuple.client);
    }
    for wrong in [&[][..], &[1], &[0, 0, 0, 0]] {
        let (to, answer) =
            ask(&mut world, &client, Ask::binding().add(a::ATTR_RESPONSE_PORT, wrong)).unwrap();
        assert_eq!((to, answer.code()), (client.tuple, 400), "{wrong:?}");
    }
}

#[test]
fn padding_is_given_back_as_long_as_it_came() {
    let mut world = listening(&SQUARE);
    let client = client(SQUARE[0]);
    for length in [0, 1, 1500, 9000, 60_000] {
        let padding = vec![7; length];
        let (_, answer) = ask(&mut world, &client, Ask::binding().add(a::ATTR_PADDING, &padding)).unwrap();
        assert_eq!(answer.get(a::ATTR_PADDING).map(|value| value.len()), Some(length));
    }
    // What would come back is longer than a datagram.
    let longest = Ask::binding().add(a::ATTR_PADDING, &[0; 65_480]);
    assert!(ask(&mut world, &client, longest).is_none());
    let both = Ask::binding().add(a::ATTR_PADDING, &[0; 100]).add(a::ATTR_RESPONSE_PORT, &[0x13, 0x88, 0, 0]);
    let (to, answer) = ask(&mut world, &client, both).unwrap();
    assert_eq!(
        (to, answer.code()),
        (client.tuple, 400),
        "nobody is sent fragments at a port that did not ask"
    );
}

#[test]
fn a_change_request_of_a_wrong_size_is_400() {
    let mut world = listening(&SQUARE);
    for wrong in [&[][..], &[6], &[0, 0, 0, 6, 0]] {
        let (to, answer) =
            ask(&mut world, &client(SQUARE[0]), Ask::binding().add(a::ATTR_CHANGE_REQUEST, wrong)).unwrap();
        assert_eq!((to, answer.code()), (client(SQUARE[0]).tuple, 400), "{wrong:?}");
    }
}

#[test]
fn with_other_addresses_than_just_four_there_is_no_discovery() {
    for addresses in [
        &[][..],
        &["8.8.4.4:3478"],
        &["8.8.4.4:3478", "8.8.4.4:3479"],
        &["8.8.4.4:3478", "8.8.8.8:3478"],
        &SQUARE[..3],
        &["8.8.4.4:3478", "8.8.4.4:3479", "8.8.8.8:3478", "8.8.8.8:3480"],
        &["8.8.4.4:3478", "8.8.4.4:3479", "8.8.8.8:3478", "8.8.8.8:3479", "8.8.1.1:3478"],
        &["8.8.4.4:3478", "8.8.4.4:3479", "8.8.8.8:3478", "8.8.8.8:3479", "8.8.8.8:3480"],
        &["8.8.4.4:3478", "8.8.4.4:3479", "0.0.0.0:3478", "0.0.0.0:3479"],
        &SQUARE_V6,
    ] {
        let mut world = listening(addresses);
        let client = client("8.8.4.4:3478");
        for (kind, value) in [
            (a::ATTR_CHANGE_REQUEST, &[0, 0, 0, 6][..]),
            (a::ATTR_RESPONSE_PORT, &[0x13, 0x88, 0, 0]),
            (a::ATTR_PADDING, &[0; 8]),
        ] {
            let (to, answer) = ask(&mut world, &client, Ask::binding().add(kind, value)).unwrap();
            assert_eq!((to, answer.code()), (client.tuple, 420), "{addresses:?}");
            assert_eq!(answer.get(a::ATTR_UNKNOWN_ATTRIBUTES).unwrap(), kind.0.to_be_bytes());
        }
        let (_, answer) = ask(&mut world, &client, Ask::binding()).unwrap();
        assert!(answer.get(a::ATTR_OTHER_ADDRESS).is_none() && answer.get(a::ATTR_RESPONSE_ORIGIN).is_none());
    }
}

#[test]
fn the_order_of_the_addresses_and_the_other_family_do_not_matter() {
    let mut all = [SQUARE, SQUARE_V6].concat();
    all.reverse();
    all.push("[2001:4860::3]:3478");
    let mut world = listening(&all);
    let (to, _) = ask(&mut world, &client(SQUARE[1]), change(6)).unwrap();
    assert_eq!(to.server, addr(SQUARE[2]));
    let (_, answer) = ask(&mut world, &client(SQUARE_V6[1]), change(6)).unwrap();
    assert_eq!(answer.code(), 420, "three addresses are not two");
}

#[test]
fn over_a_stream_nothing_can_leave_from_elsewhere() {
    let mut world = listening(&SQUARE);
    let mut client = client(SQUARE[0]);
    let leg = Leg { shard: 0, slot: 1, generation: 1 };
    for transport in [Transport::Tcp(leg), Transport::Tls(leg)] {
        client.tuple.transport = transport;
        let (_, answer) = ask(&mut world, &client, change(6)).unwrap();
        assert_eq!(answer.code(), 420);
    }
}

#[test]
fn it_is_for_binding_requests_only_and_within_their_rate() {
    let mut world = World::with(|config| {
        config.discovery = SQUARE.iter().map(|text| addr(text)).collect();
        config.limits.unauthenticated_per_second = 3;
    });
    let mut alice = client(SQUARE[0]);
    let ask_for = Ask::allocate().udp().add(a::ATTR_CHANGE_REQUEST, &[0, 0, 0, 6]);
    assert_eq!(world.ask(&mut alice, ask_for).code(), 420);
    let answered = (0..5).filter(|_| ask(&mut world, &client(SQUARE[0]), change(6)).is_some()).count();
    assert_eq!((answered, world.dropped(Drop::RateLimited)), (2, 3));
}
