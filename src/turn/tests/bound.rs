//! Over UDP nobody is sent more than three times what came from there, until a password was shown.

use proptest::prelude::*;
use webrtc_stun::attributes as a;
use webrtc_stun::attributes::AttrType;
use webrtc_stun::message as m;

use super::world::{Ask, Client, World, addr};
use crate::turn::{Drop, Leg, Transport};

#[test]
fn the_answer_to_a_browsers_first_request_is_exactly_three_times_as_long() {
    let mut world = World::with(|config| config.software = "callgate 1.0".into());
    let client = Client::new("198.18.0.1:4000");
    let request = Ask::allocate().udp().build();
    let answer = world.ask_raw(&client, &request);
    assert_eq!((request.len(), answer.message.raw.len()), (28, 84));
    let left_out =
        answer.get(a::ATTR_SOFTWARE).is_none() && answer.get(a::ATTR_ERROR_CODE).unwrap().len() == 4;
    assert!(left_out);
    // Where there is room, everything is said.
    let request = Ask::allocate().udp().lifetime(600).add(a::ATTR_SOFTWARE, b"some browser").build();
    let answer = world.ask_raw(&client, &request);
    assert_eq!(answer.get(a::ATTR_SOFTWARE).unwrap(), b"callgate 1.0");
    assert!(answer.get(a::ATTR_ERROR_CODE).unwrap().ends_with(b"Unauthenticated"));
}

#[test]
fn a_request_too_short_for_any_answer_gets_none() {
    let mut world = World::new();
    let client = Client::new("198.18.0.1:4000");
    assert!(world.try_ask(&client, &Ask::allocate().build()).is_none());
    assert_eq!(world.dropped(Drop::Amplification), 1);
    assert_eq!(world.dropped(Drop::RateLimited), 0);
}

#[test]
fn a_bare_binding_request_is_answered_in_both_families() {
    for (address, software) in [("198.18.0.1:4000", true), ("[2606:4700::1]:4000", false)] {
        let mut world = World::with(|config| config.software = "callgate 0.1.0".into());
        let answer = world.ask_raw(&Client::new(address), &Ask::binding().build());
        assert_eq!(answer.code(), 0);
        assert_eq!(answer.get(a::ATTR_SOFTWARE).is_some(), software, "what is optional goes first");
    }
}

#[test]
fn on_a_stream_everything_is_said() {
    let mut world = World::with(|config| config.realm = "a realm of one hundred bytes ".repeat(3));
    let leg = Leg { shard: 0, slot: 1, generation: 1 };
    for transport in [Transport::Tcp(leg), Transport::Tls(leg)] {
        let mut client = Client::new("198.18.0.1:4000");
        assert!(world.try_ask(&client, &Ask::allocate().udp().build()).is_none());
        client.tuple.transport = transport;
        let answer = world.ask_raw(&client, &Ask::allocate().build());
        assert!(answer.get(a::ATTR_SOFTWARE).is_some() && answer.get(a::ATTR_REALM).is_some());
        assert!(answer.get(a::ATTR_ERROR_CODE).unwrap().ends_with(b"Unauthenticated"));
    }
}

#[test]
fn the_longest_realm_that_the_configuration_takes_is_answered() {
    let mut world = World::with(|config| config.realm = "x".repeat(32));
    let answer = world.ask_raw(&Client::new("198.18.0.1:4000"), &Ask::allocate().udp().build());
    assert_eq!((answer.code(), answer.message.raw.len()), (401, 84));
    let mut world = World::with(|config| config.realm = "x".repeat(33));
    assert!(world.try_ask(&Client::new("198.18.0.1:4000"), &Ask::allocate().udp().build()).is_none());
}

prop_compose! {
    /// Attributes that requests have, and others, with values of all lengths.
    fn attribute()(
        known in prop::sample::select(vec![
            1_u16, 3, 6, 8, 9, 0x0a, 0x0c, 0x0d, 0x12, 0x14, 0x15, 0x16, 0x17, 0x18, 0x19, 0x1a, 0x1c, 0x1d, 0x1e, 0x20, 0x22,
            0x26, 0x27, 0x8002, 0x8022, 0x802b, 0x802c,
        ]),
        other in any::<u16>(), is_known in prop::bool::weighted(0.8),
        value in prop_oneof![
            3 => prop::collection::vec(any::<u8>(), 4), 2 => prop::collection::vec(any::<u8>(), 0..40),
            1 => prop::collection::vec(any::<u8>(), 0..600),
        ],
    ) -> (u16, Vec<u8>) {
        (if is_known { known } else { other }, value)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, ..ProptestConfig::default() })]

    #[test]
    fn no_answer_to_a_stranger_is_longer_than_three_times_the_question(
        realm in "[a-z.]{0,130}", software in "[a-z/0-9]{0,80}", ipv6 in any::<bool>(), discovery in any::<bool>(),
        asked in prop::collection::vec((0_usize..6, prop::collection::vec(attribute(), 0..9), any::<bool>(), any::<bool>()), 1..6),
        user in any::<bool>(), draining in any::<bool>(),
    ) {
        let square = if ipv6 {
            ["[2001:4860::1]:3478", "[2001:4860::1]:3479", "[2001:4860::2]:3478", "[2001:4860::2]:3479"]
        } else {
            ["8.8.4.4:3478", "8.8.4.4:3479", "8.8.8.8:3478", "8.8.8.8:3479"]
        };
        let mut world = World::with(|config| {
            config.realm.clone_from(&realm);
            config.software = software;
            if discovery {
                config.discovery = square.iter().map(|text| addr(text)).collect();
            }
        });
        if draining {
            world.server.drain(world.now);
        }
        let mut client = Client::new(if ipv6 { "[2606:4700::1]:4000" } else { "198.18.0.1:4000" });
        client.realm = realm;
        client.password = "wrong".into();
        if user {
            client.username = "nobody".into();
        }
        for (method, attributes, signed, print) in asked {
            let method = [
                m::METHOD_BINDING, m::METHOD_ALLOCATE, m::METHOD_REFRESH, m::METHOD_CREATE_PERMISSION, m::METHOD_CHANNEL_BIND,
                m::METHOD_SEND,
            ][method];
            let mut ask = Ask::new(method, m::CLASS_REQUEST);
            for (kind, value) in attributes.iter().filter(|(kind, _)| *kind != 0x8028) {
                ask = ask.add(AttrType(*kind), value);
            }
            if signed {
                ask = ask.signed(&client);
            }
            if print {
                ask = ask.fingerprint();
            }
            let request = ask.build();
            world.sent.clear();
            world.packet(client.tuple, &request);
            prop_assert!(world.sent.len() <= 1);
            prop_assert!(world.opened.is_empty());
            for (_, answer) in &world.sent {
                prop_assert!(answer.len() <= 3 * request.len(), "{} for {}", answer.len(), request.len());
                // With a nonce in hand the next one may go on to the password.
                let answer = super::world::Answer::read(answer);
                client.nonce = answer.get(a::ATTR_NONCE).unwrap_or(std::mem::take(&mut client.nonce));
            }
        }
    }
}
