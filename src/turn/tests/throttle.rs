//! Whoever tries out passwords gets a few tries, and stands in nobody else's way.

use super::world::{Ask, Client, SECRET, WALL, World, keys};
use crate::turn::Drop;
use crate::turn::credential;
use secrecy::SecretString;

const USERS: [(&str, &str); 2] = [("camera", "hunter22"), ("lamp", "hunter33")];

fn world() -> World {
    World::with(|config| config.keys = keys(&[SECRET], &USERS))
}

fn camera(address: &str, password: &str) -> Client {
    Client::user(address, "camera", password)
}

/// Makes one try; whether there was an answer.
fn tries(world: &mut World, client: &mut Client) -> Option<u16> {
    if client.nonce.is_empty() {
        world.ask(client, Ask::refresh(0));
        // That was one try too.
    }
    let request = Ask::allocate().udp().signed(client).build();
    world.try_ask(client, &request).map(|answer| answer.code())
}

/// Guesses until there is no more answer; how many there were.
fn guess(world: &mut World, client: &mut Client) -> usize {
    let first = usize::from(client.nonce.is_empty());
    first + (0..100).take_while(|_| tries(world, client) == Some(401)).count()
}

#[test]
fn ten_guesses_are_answered_and_then_one_in_six_seconds() {
    let mut world = world();
    let mut mallory = camera("198.18.0.1:4000", "guess");
    assert_eq!(guess(&mut world, &mut mallory), 10);
    assert_eq!(world.dropped(Drop::Throttled), 1);
    assert_eq!(world.server.stats().unauthorized, 10);
    world.later(5.9);
    assert_eq!(guess(&mut world, &mut mallory), 0);
    world.later(0.1);
    assert_eq!(guess(&mut world, &mut mallory), 1);
    world.later(30.0);
    assert_eq!(guess(&mut world, &mut mallory), 5);
    world.later(1000.0);
    assert_eq!(guess(&mut world, &mut mallory), 10, "what is not used is not saved up");
}

#[test]
fn the_right_password_is_not_looked_at_either_until_there_is_a_try_left() {
    let mut world = world();
    let mut mallory = camera("198.18.0.1:4000", "guess");
    guess(&mut world, &mut mallory);
    let mut lucky = Client { password: "hunter22".into(), ..mallory };
    assert_eq!(tries(&mut world, &mut lucky), None);
    world.later(6.0);
    assert_eq!(tries(&mut world, &mut lucky), Some(0));
}

#[test]
fn another_port_is_the_same_address_and_so_is_an_ipv6_neighbour() {
    for (one, same, other) in [
        ("198.18.0.1:4000", "198.18.0.1:4001", "198.18.0.2:4000"),
        ("[2606:4700::1]:4000", "[2606:4700::2]:4000", "[2606:4700:0:1::1]:4000"),
    ] {
        let mut world = world();
        guess(&mut world, &mut camera(one, "guess"));
        // The challenge is answered, the guess is not.
        let mut moved = camera(same, "guess");
        moved.nonce = world
            .ask_raw(&moved, &Ask::allocate().udp().build())
            .get(webrtc_stun::attributes::ATTR_NONCE)
            .unwrap();
        assert_eq!(tries(&mut world, &mut moved), None, "{same}");
        assert_eq!(tries(&mut world, &mut camera(other, "hunter22")), Some(0), "{other}");
    }
}

#[test]
fn the_neighbours_behind_the_same_nat_are_not_locked_out() {
    let mut world = world();
    // Somebody has a call running before it begins.
    let mut running = camera("198.18.0.1:3000", "hunter22");
    world.allocate(&mut running);
    let mut mallory = camera("198.18.0.1:4000", "guess");
    guess(&mut world, &mut mallory);
    let mut lamp = Client::user("198.18.0.1:5000", "lamp", "hunter33");
    world.allocate(&mut lamp);
    let mut alice = Client::new("198.18.0.1:6000");
    world.allocate(&mut alice);
    for client in [&mut running, &mut lamp, &mut alice] {
        assert_eq!(world.ask(client, Ask::refresh(600)).code(), 0, "{}", client.username);
        assert_eq!(world.ask(client, Ask::permission().peer("9.9.9.9:1")).code(), 0);
    }
    assert!(world.try_ask(&mallory, &Ask::binding().build()).is_some());
}

#[test]
fn names_that_do_not_exist_and_hashes_are_throttled_alike() {
    let mut world = world();
    let made = credential::mint(&SecretString::from("another secret"), "alice", WALL + 3600);
    for (name, password) in
        [("nobody", "x"), (made.username.as_str(), made.password.as_str()), ("1:expired", "x")]
    {
        let mut mallory = Client::user("198.18.0.1:4000", name, password);
        assert_eq!(guess(&mut world, &mut mallory), 10, "{name}");
    }
}

#[test]
fn nobodys_tries_are_used_up_by_a_stranger_who_forges_the_sender() {
    let mut world = world();
    // He cannot see the nonces that are sent to the victim's address; his own is of no use there.
    let mut mallory = camera("203.0.113.66:4000", "guess");
    world.ask(&mut mallory, Ask::refresh(0));
    let mut victim = camera("198.18.0.1:4000", "hunter22");
    for nonce in [&mallory.nonce[..], b"made up", b""] {
        for _ in 0..50 {
            let forged = Client { nonce: nonce.to_vec(), password: "guess".into(), ..victim.clone() };
            let answer = world.try_ask(&victim, &Ask::allocate().udp().signed(&forged).build());
            assert_eq!(answer.unwrap().code(), 438);
        }
    }
    world.allocate(&mut victim);
}

#[test]
fn many_names_do_not_make_one_forgotten() {
    let mut world = world();
    let mut mallory = camera("198.18.0.1:4000", "guess");
    guess(&mut world, &mut mallory);
    for n in 0..20_000 {
        let other = Client { username: format!("name {n}"), ..mallory.clone() };
        let answer = world.try_ask(&other, &Ask::allocate().udp().signed(&other).build());
        assert_eq!(answer.unwrap().code(), 401, "a stranger to the table is looked at");
    }
    assert_eq!(guess(&mut world, &mut mallory), 0);
}

#[test]
fn new_keys_give_everybody_new_tries() {
    let mut world = world();
    let mut early = camera("198.18.0.1:4000", "new password");
    guess(&mut world, &mut early);
    world.server.set_keys(world.now, &keys(&[SECRET], &[("camera", "new password")]));
    assert_eq!(tries(&mut world, &mut early), Some(0));
}
