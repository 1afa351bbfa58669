//! The part of the abuse table that is about credentials: whatever is bent, cut, stolen, replayed or poured on, nobody gets in
//! by it, nothing is remembered, and those who are in notice nothing.

use webrtc_stun::attributes as a;

use super::world::{Ask, Client, REALM, SECRET, WALL, World, addr, keys};
use crate::stun::{Algorithm, Class, Mac, Writer, attribute, method};
use crate::turn::{Drop, Leg, Route, Transport, credential};
use secrecy::SecretString;

fn greeted(world: &mut World, client: &mut Client) {
    let challenge = world.ask_raw(client, &Ask::allocate().udp().build());
    client.nonce = challenge.get(a::ATTR_NONCE).unwrap();
}

/// A signed Allocate as clients of RFC 8489 send it.
fn modern(client: &Client, id: u8) -> Vec<u8> {
    let mut request = Vec::new();
    let text = format!("{}:{}:{}", client.username, client.realm, client.password);
    let key = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
    Writer::new(&mut request, method::ALLOCATE, Class::Request, [id; 12])
        .attribute(attribute::REQUESTED_TRANSPORT, &[17, 0, 0, 0])
        .attribute(attribute::LIFETIME, &600_u32.to_be_bytes())
        .attribute(attribute::USERNAME, client.username.as_bytes())
        .attribute(attribute::REALM, client.realm.as_bytes())
        .attribute(attribute::NONCE, &client.nonce)
        .attribute(attribute::PASSWORD_ALGORITHMS, &[0, 2, 0, 0, 0, 1, 0, 0])
        .attribute(attribute::PASSWORD_ALGORITHM, &[0, 2, 0, 0])
        .integrity(&Mac::new(Algorithm::Sha256, key.as_ref()));
    request
}

#[test]
fn a_request_with_any_bit_flipped_lets_nobody_in() {
    let mut world = World::new();
    let mut alice = Client::new("198.18.0.1:4000");
    greeted(&mut world, &mut alice);
    let old = Ask::allocate().udp().lifetime(600).signed(&alice).fingerprint().build();
    let plain = Ask::allocate().udp().lifetime(600).signed(&alice).build();
    // FINGERPRINT stands behind the integrity: nobody has signed it.
    for (request, behind) in [(old, 8), (plain, 0), (modern(&alice, 7), 0)] {
        for bit in 0..(request.len() - behind) * 8 {
            let mut forged = request.clone();
            forged[bit / 8] ^= 1 << (bit % 8);
            // So that the throttle does not hide what would get in.
            world.server.set_keys(world.now, &keys(&[SECRET], &[]));
            if let Some(answer) = world.try_ask_any(&alice, &forged) {
                // One bit makes it a Binding request, which everybody may send.
                let harmless = answer.message.typ.method == webrtc_stun::message::METHOD_BINDING;
                let refused = [400, 401, 420, 438].contains(&answer.code());
                assert!(refused || harmless, "bit {bit}: {}", answer.code());
                for kind in [a::ATTR_MESSAGE_INTEGRITY, a::ATTR_MESSAGE_INTEGRITY_SHA256] {
                    assert!(answer.get(kind).is_none(), "bit {bit}: the server signed for a stranger");
                }
            }
            assert!(world.opened.is_empty(), "bit {bit}");
        }
    }
    assert!(world.server.leaves_nothing());
    greeted(&mut world, &mut alice);
    assert_eq!(world.ask_raw(&alice, &modern(&alice, 8)).code(), 0, "as it was sent it is right");
}

#[test]
fn a_request_cut_short_lets_nobody_in() {
    let mut world = World::new();
    let mut alice = Client::new("198.18.0.1:4000");
    greeted(&mut world, &mut alice);
    let request = modern(&alice, 7);
    for length in 0..request.len() {
        let mut cut = request[..length].to_vec();
        assert_eq!(world.packet(alice.tuple, &cut), Route::Here);
        // The same with a length that fits what is left of it.
        if length >= 20 && length % 4 == 0 {
            cut[2..4].copy_from_slice(&((length - 20) as u16).to_be_bytes());
            assert_eq!(world.packet(alice.tuple, &cut), Route::Here);
        }
    }
    assert!(world.opened.is_empty() && world.server.leaves_nothing());
}

#[test]
fn a_credential_bent_or_cut_is_401() {
    let mut world = World::new();
    let alice = Client::new("198.18.0.1:4000");
    let (name, password) = (alice.username.clone(), alice.password.clone());
    let later = format!("{}:alice", WALL + 7200);
    let other = name.replace("alice", "alicf");
    for (name, password) in [
        (&name[..name.len() - 1], &password[..]),
        (&name[1..], &password),
        (&name, &password[..password.len() - 1]),
        (&name, ""),
        (&later, &password),
        (&other, &password),
        (&format!("{name} "), &password),
        (&format!("{name}:more"), &password),
        (&name.replace(':', ";"), &password),
        (&format!("0{name}"), &password),
        (&name, SECRET),
    ] {
        // Each from another place: guesses are throttled.
        let number = world.server.stats().challenges;
        let address = format!("198.18.1.{}:4000", number + 1);
        let mut forged = Client { username: name.into(), password: password.into(), ..alice.moved(&address) };
        let code = world.ask(&mut forged, Ask::allocate().udp()).code();
        assert_eq!(code, 401, "{name:?} {password:?}");
    }
    assert!(world.opened.is_empty());
}

#[test]
fn a_credential_is_over_in_the_very_second_it_names() {
    for (expires, code) in [(0, 401), (1, 401), (WALL - 1, 401), (WALL, 401), (WALL + 1, 0), (u64::MAX, 0)] {
        let mut world = World::new();
        let mut alice = Client::until("198.18.0.1:4000", "alice", expires);
        assert_eq!(world.ask(&mut alice, Ask::allocate().udp()).code(), code, "{expires}");
    }
}

#[test]
fn a_request_is_worth_nothing_on_another_five_tuple() {
    let mut world = World::new();
    let mut alice = Client::new("198.18.0.1:4000");
    greeted(&mut world, &mut alice);
    let request = modern(&alice, 7);
    let leg = Leg { shard: 0, slot: 1, generation: 1 };
    let mut elsewhere = vec![alice.clone(); 5];
    elsewhere[0].tuple.client = addr("198.18.0.2:4000");
    elsewhere[1].tuple.client = addr("198.18.0.1:4001");
    elsewhere[2].tuple.server = addr("8.8.8.8:3478");
    elsewhere[3].tuple.server = addr("8.8.4.4:3479");
    elsewhere[4].tuple.transport = Transport::Tls(leg);
    for (number, replayed) in elsewhere.iter().enumerate() {
        for _ in 0..2 {
            assert_eq!(world.ask_raw(replayed, &request).code(), 438, "{number}");
        }
    }
    assert!(world.opened.is_empty());
    assert_eq!(world.ask_raw(&alice, &request).code(), 0, "at home it is good");
    for replayed in &elsewhere {
        assert_eq!(world.ask_raw(replayed, &request).code(), 438, "and nowhere else after that");
    }
    assert_eq!(world.server.stats().allocations, 1);
}

#[test]
fn a_stolen_nonce_is_of_no_use_to_the_thief() {
    let mut world = World::new();
    let mut alice = Client::new("198.18.0.1:4000");
    greeted(&mut world, &mut alice);
    let mut mallory = Client::named("198.18.0.66:4000", "mallory");
    mallory.nonce = alice.nonce.clone();
    let answer = world.ask(&mut mallory, Ask::allocate().udp());
    assert_eq!(answer.code(), 438);
    mallory.nonce = answer.get(a::ATTR_NONCE).unwrap();
    assert_ne!(mallory.nonce, alice.nonce);
    assert_eq!(world.ask(&mut mallory, Ask::allocate().udp()).code(), 0, "his own is");
}

#[test]
fn a_nonce_serves_its_owner_for_an_hour_and_comes_back_to_nobody() {
    let mut world = World::new();
    let mut alice = Client::until("198.18.0.1:4000", "alice", WALL * 2);
    greeted(&mut world, &mut alice);
    for _ in 0..50 {
        assert_eq!(world.ask(&mut alice, Ask::allocate().udp()).code(), 0);
        assert_eq!(world.ask(&mut alice, Ask::refresh(0)).code(), 0);
    }
    // Its seconds are cut to 24 bits: 194 days later they come round.
    for days in [0.05, 1.0, 97.0, 194.18, 194.19] {
        let mut world = World::new();
        greeted(&mut world, &mut alice);
        world.later(days * 86_400.0);
        let code = world.ask(&mut alice, Ask::allocate().udp()).code();
        assert_eq!(code, 438, "{days} days");
    }
    let mut world = World::new();
    greeted(&mut world, &mut alice);
    world.later(f64::from(1 << 24));
    assert_eq!(world.ask(&mut alice, Ask::allocate().udp()).code(), 438);
}

#[test]
fn a_wrong_realm_is_401_and_no_guess() {
    let mut world = World::new();
    for realm in ["", "Callgate", "callgat", "callgate ", "callgate\0"] {
        let mut alice = Client { realm: realm.into(), ..Client::new("198.18.0.1:4000") };
        for _ in 0..20 {
            assert_eq!(world.ask(&mut alice, Ask::allocate().udp()).code(), 401, "{realm:?}");
        }
    }
    assert_eq!(world.dropped(Drop::Throttled), 0);
}

#[test]
fn names_of_all_sizes_are_401() {
    let users = [("camera", "hunter22")];
    let mut world = World::with(|config| config.keys = keys(&[SECRET], &users));
    let secret = SecretString::from(SECRET);
    let valid = |length: usize| {
        let made = credential::mint(&secret, &"x".repeat(length - 11), WALL + 3600);
        (made.username, made.password)
    };
    for (at, ((name, password), code)) in [
        ((String::new(), String::new()), 401),
        (("\0".into(), "x".into()), 401),
        (valid(508), 0),
        (valid(509), 401),
        (valid(65_000), 401),
        (("x".repeat(60_000), "x".into()), 401),
        (("9".repeat(508), "x".into()), 401),
    ]
    .into_iter()
    .enumerate()
    {
        let mut client = Client::user(&format!("198.18.0.{}:4000", at + 1), &name, &password);
        assert_eq!(world.ask(&mut client, Ask::allocate().udp()).code(), code, "{} bytes", name.len());
    }
    // Not UTF-8.
    let mut alice = Client::new("198.18.0.99:4000");
    greeted(&mut world, &mut alice);
    let mut ask = Ask::allocate().udp().add(a::ATTR_USERNAME, &[0xff, 0xfe]);
    ask = ask.add(a::ATTR_REALM, REALM.as_bytes()).add(a::ATTR_NONCE, &alice.nonce);
    webrtc_stun::message::Setter::add_to(&alice.key(), &mut ask.message).unwrap();
    assert_eq!(world.ask_raw(&alice, &ask.build()).code(), 401);
}

/// A call whose two sides are relays here, and which goes on whatever else does.
struct Call {
    alice: Client,
    bob: Client,
}

impl Call {
    fn begin(world: &mut World) -> Self {
        let mut alice = Client::named("203.0.113.1:4000", "alice");
        let mut bob = Client::named("203.0.113.2:4000", "bob");
        let (_, left) = world.allocate(&mut alice);
        let (_, right) = world.allocate(&mut bob);
        world.bind(&mut alice, 0x4000, &right.to_string());
        world.bind(&mut bob, 0x4001, &left.to_string());
        Self { alice, bob }
    }

    fn goes_on(&mut self, world: &mut World) {
        let to_bob = world.packet(self.alice.tuple, b"\x40\x00\x00\x01x");
        assert!(matches!(to_bob, Route::Client { to, .. } if to == self.bob.tuple), "{to_bob:?}");
        assert_eq!(world.ask(&mut self.alice, Ask::refresh(600)).code(), 0);
        assert_eq!(world.ask(&mut self.bob, Ask::permission().peer("9.9.9.9:1")).code(), 0);
    }
}

/// Addresses from all over the world.
fn source(n: u32) -> Client {
    let [a, b, c, d] = n.wrapping_mul(2_654_435_761).to_be_bytes();
    Client::new(&format!("{}.{b}.{c}.{d}:4000", a.clamp(1, 223)))
}

#[test]
fn a_flood_of_first_requests_leaves_nothing_behind() {
    let mut world = World::with(|config| config.limits.unauthenticated_per_second = 200);
    let mut call = Call::begin(&mut world);
    let before = world.server.footprint();
    for n in 0..50_000 {
        let from = source(n);
        world.sent.clear();
        world.packet(from.tuple, &Ask::allocate().udp().build());
        world.packet(from.tuple, &Ask::binding().build());
        let sent: usize = world.sent.iter().map(|(_, answer)| answer.len()).sum();
        assert!(sent <= 3 * 48);
        if n % 1000 == 0 {
            call.goes_on(&mut world);
        }
    }
    assert_eq!(world.server.stats().allocations, 2);
    let after = world.server.footprint();
    // But for the answers to those two.
    assert!(after.0 == before.0 && after.1 <= before.1 + 200, "{before:?} {after:?}");
}

#[test]
fn a_flood_of_guesses_leaves_nothing_behind() {
    let mut world = World::with(|config| config.limits.unauthenticated_per_second = 200);
    let mut call = Call::begin(&mut world);
    let before = world.server.footprint();
    for n in 0..10_000 {
        let mut from = source(n);
        from.password = "guess".into();
        if let Some(challenge) = world.try_ask(&from, &Ask::allocate().udp().build()) {
            from.nonce = challenge.get(a::ATTR_NONCE).unwrap();
            let request = Ask::allocate().udp().signed(&from).build();
            assert!(world.try_ask(&from, &request).is_none_or(|answer| answer.code() == 401));
        }
        if n % 1000 == 0 {
            call.goes_on(&mut world);
        }
    }
    assert!(world.server.stats().unauthorized > 5_000);
    let after = world.server.footprint();
    assert!(after.0 == before.0 && after.1 <= before.1 + 40, "{before:?} {after:?}");
}

#[test]
fn a_flood_of_bindings_from_one_network_is_cut_to_its_rate() {
    let mut world = World::with(|config| config.limits.unauthenticated_per_second = 200);
    let mut call = Call::begin(&mut world);
    for second in 0..5_u32 {
        let mut answered = 0;
        for n in 0..2_000_u32 {
            let from = Client::new(&format!("198.18.7.{}:{}", n % 256, 1024 + n));
            answered += u32::from(world.try_ask(&from, &Ask::binding().build()).is_some());
        }
        assert_eq!(answered, 200, "second {second}");
        call.goes_on(&mut world);
        assert!(world.try_ask(&source(second), &Ask::binding().build()).is_some(), "others are answered");
        world.later(1.0);
    }
    assert_eq!(world.dropped(Drop::RateLimited), 5 * 1_800);
}

#[test]
fn a_flood_in_the_name_of_a_network_leaves_answers_to_those_who_are_there() {
    let mut world = World::with(|config| config.limits.unauthenticated_per_second = 20);
    let flood = |world: &mut World| {
        for n in 0..100 {
            let forged = Client::new(&format!("198.18.7.9:{}", 1024 + n));
            world.try_ask(&forged, &Ask::binding().build());
        }
    };
    let mut alice = Client::named("198.18.7.1:4000", "alice");
    world.allocate(&mut alice);
    flood(&mut world);
    // Who comes over a connection.
    let mut bob = Client::named("198.18.7.2:4000", "bob");
    bob.tuple.transport = Transport::Tcp(Leg { shard: 0, slot: 1, generation: 1 });
    world.allocate(&mut bob);
    // Who has an allocation, and a nonce that is an hour old at the end.
    let codes: Vec<_> = (0..7)
        .map(|_| {
            world.later(590.0);
            flood(&mut world);
            world.ask(&mut alice, Ask::refresh(600)).code()
        })
        .collect();
    assert_eq!(codes, [0, 0, 0, 0, 0, 0, 438]);
}
