//! Who is let in (RFC 8489, section 9.2; RFC 8656, section 5).

use webrtc_stun::attributes as a;

use super::world::{Ask, Client, REALM, SECRET, WALL, World};
use crate::turn::credential;
use secrecy::SecretString;

#[test]
fn the_first_request_is_answered_with_realm_and_nonce() {
    let mut world = World::new();
    let alice = Client::new("198.18.0.1:4000");
    let answer = world.ask_raw(&alice, &Ask::allocate().udp().build());
    assert_eq!(answer.code(), 401);
    assert_eq!(answer.get(a::ATTR_REALM).unwrap(), REALM.as_bytes());
    assert_eq!(answer.get(a::ATTR_NONCE).unwrap().len(), 28);
    assert!(answer.get(a::ATTR_MESSAGE_INTEGRITY).is_none());
    assert_eq!(world.server.stats().challenges, 1);
    assert_eq!(world.server.stats().unauthorized, 0, "asking for a nonce is no failure");
}

#[test]
fn a_wrong_password_is_401() {
    let mut world = World::new();
    let mut alice = Client::new("198.18.0.1:4000");
    alice.password = "guess".into();
    let answer = world.ask(&mut alice, Ask::allocate().udp());
    assert_eq!(answer.code(), 401);
    assert!(answer.get(a::ATTR_NONCE).is_some());
    assert!(!answer.is_signed_by(&alice));
    assert_eq!(world.server.stats().unauthorized, 1);
}

#[test]
fn an_expired_credential_is_401_for_a_new_allocation_only() {
    let mut world = World::new();
    let mut alice = Client::new("198.18.0.1:4000");
    let made = credential::mint(&SecretString::from(SECRET), "alice", WALL + 700);
    (alice.username, alice.password) = (made.username, made.password);
    world.allocate(&mut alice);
    world.sleep(500.0);
    assert_eq!(world.ask(&mut alice, Ask::refresh(600)).code(), 0);
    world.sleep(500.0);
    assert_eq!(world.ask(&mut alice, Ask::refresh(600)).code(), 0, "the call goes on");
    assert_eq!(world.ask(&mut alice, Ask::permission().peer("9.9.9.9:1")).code(), 0);
    let mut again = alice.clone();
    again.tuple.client.set_port(4001);
    again.nonce.clear();
    assert_eq!(world.ask(&mut again, Ask::allocate().udp()).code(), 401, "a new one does not begin");
}

#[test]
fn the_wall_clock_decides_when_a_credential_expires() {
    let mut world = World::new();
    let mut alice = Client::new("198.18.0.1:4000");
    let later = std::time::UNIX_EPOCH + std::time::Duration::from_secs(WALL + 3600);
    world.server.set_wall_clock(world.now, later);
    assert_eq!(world.ask(&mut alice, Ask::allocate().udp()).code(), 401);
}

#[test]
fn every_secret_verifies() {
    let mut world = World::new();
    let mut alice = Client::new("198.18.0.1:4000");
    alice.password = credential::mint(&SecretString::from("south"), "alice", WALL + 3600).password;
    assert_eq!(world.ask(&mut alice, Ask::allocate().udp()).code(), 0);
}

#[test]
fn user_names_without_an_expiry_are_401() {
    let mut world = World::new();
    for name in ["alice", "", ":alice", "99999999999999999999:alice"] {
        let mut alice = Client::new("198.18.0.1:4000");
        alice.username = name.into();
        assert_eq!(world.ask(&mut alice, Ask::allocate().udp()).code(), 401, "{name:?}");
    }
}

#[test]
fn a_bare_expiry_is_a_user_name() {
    let mut world = World::new();
    let mut alice = Client::named("198.18.0.1:4000", "");
    assert_eq!(alice.username, (WALL + 3600).to_string());
    world.allocate(&mut alice);
}

#[test]
fn another_realm_is_401() {
    let mut world = World::new();
    let mut alice = Client::new("198.18.0.1:4000");
    alice.realm = "elsewhere".into();
    assert_eq!(world.ask(&mut alice, Ask::allocate().udp()).code(), 401);
}

#[test]
fn integrity_without_the_rest_is_400() {
    let mut world = World::new();
    let mut alice = Client::new("198.18.0.1:4000");
    world.ask(&mut alice, Ask::refresh(0));
    for missing in [a::ATTR_USERNAME, a::ATTR_REALM, a::ATTR_NONCE] {
        let mut ask = Ask::allocate().udp();
        for (kind, value) in [
            (a::ATTR_USERNAME, alice.username.as_bytes()),
            (a::ATTR_REALM, alice.realm.as_bytes()),
            (a::ATTR_NONCE, &alice.nonce[..]),
        ] {
            if kind != missing {
                ask = ask.add(kind, value);
            }
        }
        webrtc_stun::message::Setter::add_to(&alice.key(), &mut ask.message).unwrap();
        assert_eq!(world.ask_raw(&alice, &ask.build()).code(), 400, "without {missing}");
    }
}

#[test]
fn a_nonce_lasts_an_hour() {
    let mut world = World::new();
    let mut alice = Client::new("198.18.0.1:4000");
    alice.username = credential::mint(&SecretString::from(SECRET), "alice", WALL + 99_999).username;
    alice.password = credential::mint(&SecretString::from(SECRET), "alice", WALL + 99_999).password;
    world.ask(&mut alice, Ask::refresh(0));
    world.sleep(3599.0);
    assert_eq!(world.ask(&mut alice, Ask::allocate().udp().lifetime(3600)).code(), 0);
    world.sleep(1.0);
    let stale = world.ask(&mut alice, Ask::refresh(600));
    assert_eq!(stale.code(), 438);
    assert_eq!(world.server.stats().stale_nonces, 1);
    alice.nonce = stale.get(a::ATTR_NONCE).unwrap();
    assert_eq!(world.ask(&mut alice, Ask::refresh(600)).code(), 0);
}

#[test]
fn a_nonce_is_of_no_use_to_another_address() {
    let mut world = World::new();
    let mut alice = Client::new("198.18.0.1:4000");
    world.ask(&mut alice, Ask::refresh(0));
    let mut elsewhere = Client::new("198.18.0.1:4001");
    elsewhere.nonce = alice.nonce.clone();
    assert_eq!(world.ask(&mut elsewhere, Ask::allocate().udp()).code(), 438);
}

#[test]
fn a_made_up_nonce_is_438() {
    let mut world = World::new();
    for nonce in [&b"x"[..], b"ffffffff", &[0xff; 32], "zzzzzzzz123456781234567812345678".as_bytes()] {
        let mut alice = Client::new("198.18.0.1:4000");
        alice.nonce = nonce.to_vec();
        assert_eq!(world.ask(&mut alice, Ask::allocate().udp()).code(), 438, "{nonce:?}");
    }
}

#[test]
fn another_shard_takes_the_nonce_of_this_one() {
    let mut one = World::new();
    let mut two = World::with(|config| config.ports = 51000..=51999);
    let mut alice = Client::new("198.18.0.1:4000");
    one.ask(&mut alice, Ask::refresh(0));
    assert_eq!(two.ask(&mut alice, Ask::allocate().udp()).code(), 0);
}

#[test]
fn another_users_request_for_an_allocation_is_441() {
    let mut world = World::new();
    let mut alice = Client::new("198.18.0.1:4000");
    world.allocate(&mut alice);
    let mut mallory = Client::named("198.18.0.1:4000", "mallory");
    assert_eq!(world.ask(&mut mallory, Ask::refresh(0)).code(), 441);
    assert_eq!(world.ask(&mut mallory, Ask::permission().peer("9.9.9.9:1")).code(), 441);
    assert_eq!(world.ask(&mut mallory, Ask::bind(0x4000, "9.9.9.9:1")).code(), 441);
    assert_eq!(world.server.stats().wrong_credentials, 3);
    assert_eq!(world.server.stats().allocations, 1);
}

#[test]
fn what_follows_the_integrity_does_not_count() {
    let mut world = World::new();
    let mut alice = Client::new("198.18.0.1:4000");
    world.allocate(&mut alice);
    let request = Ask::refresh(600).signed(&alice).add(a::ATTR_LIFETIME, &[0; 4]).build();
    assert_eq!(world.ask_raw(&alice, &request).lifetime(), Some(600));
    let permission = Ask::permission().peer("9.9.9.9:1").signed(&alice).peer("9.9.9.10:1").build();
    assert_eq!(world.ask_raw(&alice, &permission).code(), 0);
    assert_eq!(world.packet(alice.tuple, &Ask::send("9.9.9.10:1", b"x").build()), crate::turn::Route::Here);
}

#[test]
fn revoking_an_id_ends_its_allocations_and_no_others() {
    let mut world = World::new();
    let mut one = Client::named("198.18.0.1:4000", "alice");
    let mut two = Client::named("198.18.0.1:4001", "alice");
    let mut bob = Client::named("198.18.0.1:4002", "bob");
    for client in [&mut one, &mut two, &mut bob] {
        world.allocate(client);
    }
    world.server.revoke(world.now, "alice");
    world.settle();
    assert_eq!(world.events.len(), 2, "both sockets close");
    assert_eq!(world.server.stats().allocations, 1);
    assert_eq!(world.ask(&mut one, Ask::refresh(600)).code(), 437);
    assert_eq!(world.ask(&mut bob, Ask::refresh(600)).code(), 0);
    world.server.revoke(world.now, "nobody");
    assert_eq!(world.server.stats().allocations, 1);
}
