//! Secrets and users that come and go while calls run.

use webrtc_stun::attributes as a;

use super::world::{Ask, Client, SECRET, WALL, World, keys};
use crate::turn::credential;
use crate::turn::{Output, Route};
use secrecy::SecretString;

/// A client with a credential of this secret.
fn signed_by(secret: &str, address: &str, id: &str) -> Client {
    let made = credential::mint(&SecretString::from(secret), id, WALL + 3600);
    Client { username: made.username, password: made.password, ..Client::new(address) }
}

fn set(world: &mut World, secrets: &[&str], users: &[(&str, &str)]) {
    world.server.set_keys(world.now, &keys(secrets, users));
    world.settle();
}

#[test]
fn a_rotation_drops_nobody_whose_secret_stays() {
    let mut world = World::with(|config| config.keys = keys(&["old"], &[]));
    let mut alice = signed_by("old", "198.18.0.1:4000", "alice");
    world.allocate(&mut alice);
    world.bind(&mut alice, 0x4000, "9.9.9.9:1");

    set(&mut world, &["new", "old"], &[]);
    let mut bob = signed_by("new", "198.18.0.2:4000", "bob");
    world.allocate(&mut bob);
    let mut carol = signed_by("old", "198.18.0.3:4000", "carol");
    world.allocate(&mut carol);
    assert_eq!(world.ask(&mut alice, Ask::refresh(600)).code(), 0);
    assert!(matches!(world.packet(alice.tuple, b"\x40\x00\x00\x01x"), Route::Peer { .. }));
    assert_eq!(world.server.stats().allocations, 3);

    world.events.clear();
    set(&mut world, &["new"], &[]);
    assert_eq!(world.server.stats().allocations, 1);
    let closed = world.events.iter().filter(|event| matches!(event, Output::CloseRelay { .. }));
    assert_eq!(closed.count(), 2, "those of the old secret, at once");
    assert_eq!(world.packet(alice.tuple, b"\x40\x00\x00\x01x"), Route::Here);
    assert_eq!(world.ask(&mut bob, Ask::refresh(600)).code(), 0);
    assert_eq!(world.ask(&mut alice, Ask::allocate().udp()).code(), 401, "nor does it let anybody in");
}

#[test]
fn the_order_of_the_secrets_means_nothing_to_those_inside() {
    let mut world = World::with(|config| config.keys = keys(&["one", "two", "three"], &[]));
    let mut clients: Vec<_> = ["one", "two", "three"]
        .iter()
        .zip(1..)
        .map(|(secret, n)| signed_by(secret, &format!("198.18.0.{n}:4000"), secret))
        .collect();
    for client in &mut clients {
        world.allocate(client);
    }
    set(&mut world, &["three", "four", "one"], &[]);
    for (client, code) in clients.iter_mut().zip([0, 437, 0]) {
        let expected = if code == 437 { 401 } else { code };
        assert_eq!(world.ask(client, Ask::refresh(600)).code(), expected, "{}", client.username);
    }
    assert_eq!(world.server.stats().allocations, 2);
}

#[test]
fn a_user_with_a_password_of_its_own_gets_in_and_stays_in() {
    let mut world = World::with(|config| config.keys = keys(&[SECRET], &[("door camera", "hunter22")]));
    let mut camera = Client::user("198.18.0.1:4000", "door camera", "hunter22");
    world.allocate(&mut camera);
    world.later(500.0);
    assert_eq!(world.ask(&mut camera, Ask::refresh(600)).code(), 0);
    let mut wrong = Client::user("198.18.0.2:4000", "door camera", "hunter23");
    assert_eq!(world.ask(&mut wrong, Ask::allocate().udp()).code(), 401);
    let mut other = Client::user("198.18.0.3:4000", "back camera", "hunter22");
    assert_eq!(world.ask(&mut other, Ask::allocate().udp()).code(), 401);
    // What stands in for users that there are not is nobody's password.
    let mut nobody = Client::user("198.18.0.4:4000", "", "");
    assert_eq!(world.ask(&mut nobody, Ask::allocate().udp()).code(), 401);
}

#[test]
fn a_user_or_its_password_that_goes_takes_its_allocations_along_and_no_others() {
    let users = [("one", "password"), ("two", "password"), ("three", "password")];
    let mut world = World::with(|config| config.keys = keys(&[SECRET], &users));
    let mut clients: Vec<_> = users
        .iter()
        .zip(1..)
        .map(|((name, password), n)| Client::user(&format!("198.18.0.{n}:4000"), name, password))
        .chain([signed_by(SECRET, "198.18.0.9:4000", "alice")])
        .collect();
    for client in &mut clients {
        world.allocate(client);
    }
    set(&mut world, &[SECRET], &[("one", "password"), ("two", "another one")]);
    assert_eq!(world.server.stats().allocations, 2);
    for (client, code) in clients.iter_mut().zip([0, 401, 401, 0]) {
        assert_eq!(world.ask(client, Ask::refresh(600)).code(), code, "{}", client.username);
    }
    set(&mut world, &[], &[]);
    assert_eq!(world.server.stats().allocations, 0);
    assert!(world.server.leaves_nothing());
}

#[test]
fn a_secret_is_not_taken_for_a_users_password() {
    let mut world = World::with(|config| config.keys = keys(&["the same"], &[]));
    world.allocate(&mut signed_by("the same", "198.18.0.1:4000", "alice"));
    set(&mut world, &[], &[("", "the same"), ("alice", "the same")]);
    assert_eq!(world.server.stats().allocations, 0);
}

#[test]
fn an_allocation_that_still_waits_for_its_socket_ends_too() {
    let mut world = World::new();
    let mut alice = Client::new("198.18.0.1:4000");
    world.ask(&mut alice, Ask::refresh(0));
    let request = Ask::allocate().udp().signed(&alice).build();
    assert_eq!(world.server.handle_client(world.now, alice.tuple, &request), Route::Here);
    let Some(Output::OpenRelay { at, local }) = world.server.poll_output() else {
        panic!("no socket asked for")
    };
    set(&mut world, &["another"], &[]);
    world.sent.clear();
    world.server.relay_opened(world.now, at, Ok(local), local);
    world.settle();
    assert!(world.sent.is_empty());
    assert!(world.events.contains(&Output::CloseRelay { at }));
    assert!(world.server.leaves_nothing());
}

#[test]
fn new_keys_leave_nonces_good_and_old_answers_known() {
    let mut world = World::new();
    let mut alice = Client::new("198.18.0.1:4000");
    world.ask(&mut alice, Ask::refresh(0));
    set(&mut world, &[SECRET], &[("camera", "hunter22")]);
    let request = Ask::allocate().udp().signed(&alice).build();
    let answer = world.ask_raw(&alice, &request);
    assert_eq!(answer.code(), 0);
    set(&mut world, &["another", SECRET], &[]);
    assert_eq!(world.ask_raw(&alice, &request).message.raw, answer.message.raw);
    assert!(answer.get(a::ATTR_XOR_RELAYED_ADDRESS).is_some());
}

#[test]
fn keys_do_not_show_what_is_secret() {
    let shown = format!("{:?}", keys(&["the secret"], &[("alice", "the password")]));
    assert!(shown.contains("alice") && !shown.contains("the secret") && !shown.contains("the password"));
    let mut world = World::with(|config| config.keys = keys(&[SECRET], &[("alice", "the password")]));
    world.allocate(&mut Client::user("198.18.0.1:4000", "alice", "the password"));
    let shown = format!("{:?}", world.server);
    assert!(!shown.contains("the password"), "{shown}");
    let key = Client::user("198.18.0.1:4000", "alice", "the password").key().0;
    assert!(!shown.contains(&format!("{key:?}")[1..20]), "the long-term key is shown");
}

#[test]
fn a_user_cannot_be_named_as_a_rooms_member() {
    let name = credential::member_id("p1");
    let mut world = World::with(|config| config.keys = keys(&[SECRET], &[(&name, "hunter22")]));
    world.server.scopes.seat(&name, "tea", 0);
    let mut alice = Client::user("198.18.0.1:4000", &name, "hunter22");
    assert_eq!(world.ask(&mut alice, Ask::allocate().udp()).code(), 401);
    let mut member = Client::named("198.18.0.2:4000", &name);
    assert_eq!(world.ask(&mut member, Ask::allocate().udp()).code(), 0);
}
