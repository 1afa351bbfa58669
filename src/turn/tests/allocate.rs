//! Allocate (RFC 8656, section 7).

use webrtc_stun::attributes as a;
use webrtc_stun::attributes::AttrType;
use webrtc_stun::fingerprint::FINGERPRINT;

use super::world::{Ask, Client, World, addr};
use crate::turn::{Output, RelayFailure};

#[test]
fn a_client_with_credentials_gets_a_relayed_address() {
    let mut world = World::new();
    let mut alice = Client::new("198.18.0.1:4000");
    let answer = world.ask(&mut alice, Ask::allocate().udp());
    assert_eq!(answer.code(), 0);
    let [relayed] = answer.relayed()[..] else { panic!("{answer:?}") };
    assert_eq!(relayed.ip(), addr("192.0.2.5:0").ip(), "advertised by its public address");
    assert!((50000..=50999).contains(&relayed.port()));
    let (_, bound) = world.opened[0];
    assert_eq!(bound.ip(), addr("10.0.0.5:0").ip(), "bound on its local one");
    assert_eq!(bound.port(), relayed.port());
    assert_eq!(answer.lifetime(), Some(600));
    assert_eq!(answer.address(a::ATTR_XORMAPPED_ADDRESS), alice.tuple.client);
    assert_eq!(answer.get(a::ATTR_SOFTWARE).as_deref(), Some(&b"callgate"[..]));
    assert!(answer.is_signed_by(&alice));
    assert_eq!(world.server.stats().allocations, 1);
}

#[test]
fn the_answer_waits_for_the_socket() {
    let mut world = World::new();
    let mut alice = Client::new("198.18.0.1:4000");
    world.ask(&mut alice, Ask::refresh(0)); // for a nonce
    let request = Ask::allocate().udp().signed(&alice).build();
    world.server.handle_client(world.now, alice.tuple, &request);
    let Some(Output::OpenRelay { at, local }) = world.server.poll_output() else {
        panic!("no socket asked for")
    };
    assert_eq!(world.server.poll_output(), None);
    assert_eq!(world.server.stats().allocations, 0);
    // A retransmission meanwhile changes nothing.
    world.server.handle_client(world.now, alice.tuple, &request);
    assert_eq!(world.server.poll_output(), None);
    world.server.relay_opened(world.now, at, Ok(local), local);
    assert!(matches!(world.server.poll_output(), Some(Output::Send { .. })));
    assert_eq!(world.server.stats().allocations, 1);
}

#[test]
fn ports_taken_by_others_are_passed_over() {
    let mut world = World::new();
    world.opens = vec![Err(RelayFailure::InUse), Err(RelayFailure::InUse), Ok(())];
    let mut alice = Client::new("198.18.0.1:4000");
    let (_, relayed) = world.allocate(&mut alice);
    assert_eq!(world.opened.len(), 3);
    assert_eq!(world.opened[2].1.port(), relayed.port());
}

#[test]
fn a_socket_that_cannot_be_had_is_508() {
    let mut world = World::new();
    world.opens = vec![Err(RelayFailure::Refused)];
    let mut alice = Client::new("198.18.0.1:4000");
    let answer = world.ask(&mut alice, Ask::allocate().udp());
    assert_eq!(answer.code(), 508);
    assert!(answer.is_signed_by(&alice));
    assert_eq!(world.server.stats().allocations, 0);
    world.allocate(&mut alice);
}

#[test]
fn when_all_ports_are_taken_it_is_508_until_one_is_free() {
    let mut world = World::with(|config| {
        config.ports = 50000..=50003;
        config.all_ports = 50000..=50003;
    });
    let mut clients: Vec<_> = (0..4).map(|n| Client::new(&format!("198.18.0.1:{}", 4000 + n))).collect();
    let mut ports: Vec<_> = clients.iter_mut().map(|client| world.allocate(client).1.port()).collect();
    ports.sort_unstable();
    assert_eq!(ports, [50000, 50001, 50002, 50003]);
    let mut late = Client::new("198.18.0.1:5000");
    assert_eq!(world.ask(&mut late, Ask::allocate().udp()).code(), 508);
    assert_eq!(world.ask(&mut clients[2], Ask::refresh(0)).code(), 0);
    world.allocate(&mut late);
}

#[test]
fn the_transport_must_be_named_and_be_udp() {
    let mut world = World::new();
    let mut alice = Client::new("198.18.0.1:4000");
    assert_eq!(world.ask(&mut alice, Ask::allocate()).code(), 400);
    let tcp = Ask::allocate().add(a::ATTR_REQUESTED_TRANSPORT, &[6, 0, 0, 0]);
    assert_eq!(world.ask(&mut alice, tcp).code(), 442);
    let short = Ask::allocate().add(a::ATTR_REQUESTED_TRANSPORT, &[17]);
    assert_eq!(world.ask(&mut alice, short).code(), 400);
}

#[test]
fn a_second_allocation_on_a_five_tuple_is_437() {
    let mut world = World::new();
    let mut alice = Client::new("198.18.0.1:4000");
    world.allocate(&mut alice);
    assert_eq!(world.ask(&mut alice, Ask::allocate().udp()).code(), 437);
}

#[test]
fn the_lifetime_is_at_least_ten_minutes_and_at_most_the_servers() {
    for (asked, granted) in [(1, 600), (600, 600), (1800, 1800), (999_999, 3600)] {
        let mut world = World::new();
        let mut alice = Client::new("198.18.0.1:4000");
        let answer = world.ask(&mut alice, Ask::allocate().udp().lifetime(asked));
        assert_eq!(answer.lifetime(), Some(granted), "asked for {asked}");
    }
}

#[test]
fn ipv6_is_had_for_the_asking() {
    let mut world = World::new();
    let mut alice = Client::new("198.18.0.1:4000");
    let answer = world.ask(&mut alice, Ask::allocate().udp().family(2));
    assert_eq!(answer.relayed()[0].ip(), addr("[2001:db8::5]:0").ip());
}

#[test]
fn an_unknown_family_is_440() {
    let mut world = World::new();
    let mut alice = Client::new("198.18.0.1:4000");
    assert_eq!(world.ask(&mut alice, Ask::allocate().udp().family(3)).code(), 440);
    let mut world = World::with(|config| config.relays.truncate(1));
    alice.nonce.clear();
    assert_eq!(world.ask(&mut alice, Ask::allocate().udp().family(2)).code(), 440);
    let mut world = World::with(|config| {
        config.relays.remove(0);
    });
    alice.nonce.clear();
    assert_eq!(world.ask(&mut alice, Ask::allocate().udp()).code(), 440, "IPv4 is the default");
}

#[test]
fn both_families_come_in_one_allocation() {
    let mut world = World::new();
    let mut alice = Client::new("198.18.0.1:4000");
    let answer = world.ask(&mut alice, Ask::allocate().udp().also_ipv6());
    let [four, six] = answer.relayed()[..] else { panic!("{answer:?}") };
    assert!(four.is_ipv4() && six.is_ipv6());
    assert_eq!(world.opened.len(), 2);
    assert_eq!(world.server.stats().allocations, 1);
    assert!(answer.get(AttrType(0x8001)).is_none());
}

#[test]
fn one_family_of_two_is_success_with_an_address_error_code() {
    // No IPv6 here.
    let mut world = World::with(|config| config.relays.truncate(1));
    let mut alice = Client::new("198.18.0.1:4000");
    let answer = world.ask(&mut alice, Ask::allocate().udp().also_ipv6());
    assert_eq!((answer.code(), answer.relayed().len()), (0, 1));
    assert_eq!(answer.get(AttrType(0x8001)).unwrap()[..4], [2, 0, 4, 40]);
    // IPv6 here, but its socket cannot be had.
    let mut world = World::new();
    world.opens = vec![Ok(()), Err(RelayFailure::Refused)];
    alice.nonce.clear();
    let answer = world.ask(&mut alice, Ask::allocate().udp().also_ipv6());
    assert_eq!((answer.code(), answer.relayed().len()), (0, 1));
    assert!(answer.relayed()[0].is_ipv4());
    assert_eq!(answer.get(AttrType(0x8001)).unwrap()[..4], [2, 0, 5, 8]);
    // Neither.
    let mut world = World::new();
    world.opens = vec![Err(RelayFailure::Refused), Err(RelayFailure::Refused)];
    alice.nonce.clear();
    assert_eq!(world.ask(&mut alice, Ask::allocate().udp().also_ipv6()).code(), 508);
}

#[test]
fn an_additional_family_other_than_ipv6_or_besides_a_requested_one_is_400() {
    let mut world = World::new();
    let mut alice = Client::new("198.18.0.1:4000");
    let four = Ask::allocate().udp().add(AttrType(0x8000), &[1, 0, 0, 0]);
    assert_eq!(world.ask(&mut alice, four).code(), 400);
    assert_eq!(world.ask(&mut alice, Ask::allocate().udp().family(1).also_ipv6()).code(), 400);
    assert_eq!(world.ask(&mut alice, Ask::allocate().udp().also_ipv6().even_port(true)).code(), 400);
}

#[test]
fn an_even_port_is_even() {
    let mut world = World::new();
    for n in 0..20 {
        let mut client = Client::new(&format!("198.18.0.1:{}", 4000 + n));
        let answer = world.ask(&mut client, Ask::allocate().udp().even_port(false));
        assert_eq!(answer.relayed()[0].port() % 2, 0);
        assert!(answer.get(a::ATTR_RESERVATION_TOKEN).is_none());
    }
}

#[test]
fn a_reserved_port_goes_to_whoever_brings_the_token() {
    let mut world = World::new();
    let mut rtp = Client::new("198.18.0.1:4000");
    let mut rtcp = Client::new("198.18.0.1:4001");
    let answer = world.ask(&mut rtp, Ask::allocate().udp().even_port(true));
    let first = answer.relayed()[0].port();
    let token = answer.get(a::ATTR_RESERVATION_TOKEN).unwrap();
    let answer = world.ask(&mut rtcp, Ask::allocate().udp().token(&token));
    assert_eq!(answer.relayed()[0].port(), first + 1);
    // It is good once.
    let mut third = Client::new("198.18.0.1:4002");
    assert_eq!(world.ask(&mut third, Ask::allocate().udp().token(&token)).code(), 508);
}

#[test]
fn a_reservation_lasts_thirty_seconds() {
    let mut world = World::with(|config| {
        config.ports = 50000..=50001;
        config.all_ports = 50000..=50001;
    });
    let mut rtp = Client::new("198.18.0.1:4000");
    let answer = world.ask(&mut rtp, Ask::allocate().udp().even_port(true));
    let token = answer.get(a::ATTR_RESERVATION_TOKEN).unwrap();
    let mut other = Client::new("198.18.0.1:4001");
    world.sleep(29.0);
    assert_eq!(world.ask(&mut other, Ask::allocate().udp()).code(), 508, "the only other port is set aside");
    world.sleep(1.0);
    assert_eq!(world.ask(&mut other, Ask::allocate().udp().token(&token)).code(), 508);
    world.allocate(&mut other);
}

#[test]
fn a_token_goes_with_neither_even_port_nor_family() {
    let mut world = World::new();
    let mut alice = Client::new("198.18.0.1:4000");
    let token = [0; 8];
    assert_eq!(world.ask(&mut alice, Ask::allocate().udp().token(&token).even_port(false)).code(), 400);
    assert_eq!(world.ask(&mut alice, Ask::allocate().udp().token(&token).family(1)).code(), 400);
    assert_eq!(world.ask(&mut alice, Ask::allocate().udp().token(&token).also_ipv6()).code(), 400);
    assert_eq!(
        world.ask(&mut alice, Ask::allocate().udp().token(&token)).code(),
        508,
        "nobody reserved this"
    );
}

#[test]
fn dont_fragment_is_understood() {
    let mut world = World::new();
    let mut alice = Client::new("198.18.0.1:4000");
    let ask = Ask::allocate().udp().add(a::ATTR_DONT_FRAGMENT, &[]);
    assert_eq!(world.ask(&mut alice, ask).code(), 0);
}

#[test]
fn attributes_that_must_be_understood_and_are_not_are_listed_in_420() {
    let mut world = World::new();
    let mut alice = Client::new("198.18.0.1:4000");
    let ask = Ask::allocate().udp().add(AttrType(0x7001), b"??").add(AttrType(0x0031), &[]);
    let answer = world.ask(&mut alice, ask.add(AttrType(0xc001), b"optional"));
    assert_eq!(answer.code(), 420);
    assert_eq!(answer.get(a::ATTR_UNKNOWN_ATTRIBUTES).unwrap(), [0x70, 0x01, 0x00, 0x31]);
    assert!(answer.is_signed_by(&alice));
}

#[test]
fn a_request_with_a_fingerprint_gets_an_answer_with_one() {
    let mut world = World::new();
    let mut alice = Client::new("198.18.0.1:4000");
    let plain = world.ask(&mut alice, Ask::allocate().udp());
    assert!(plain.get(a::ATTR_FINGERPRINT).is_none());
    let request = Ask::refresh(600).signed(&alice).fingerprint().build();
    let answer = world.ask_raw(&alice, &request);
    assert_eq!(answer.code(), 0);
    FINGERPRINT.check(&answer.message).unwrap();
}

#[test]
fn a_server_that_drains_takes_nobody_on_and_lets_nobody_down() {
    let mut world = World::new();
    let mut alice = Client::new("198.18.0.1:4000");
    world.allocate(&mut alice);
    world.server.drain(world.now);
    let mut bob = Client::new("198.18.0.1:4001");
    assert_eq!(world.ask(&mut bob, Ask::allocate().udp()).code(), 508);
    assert_eq!(world.ask(&mut alice, Ask::refresh(600)).code(), 0);
}
