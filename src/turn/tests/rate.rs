//! How many bytes a second pass, proven by packets. (`meter.rs` has the law itself.)

use super::world::{Ask, Client, World};
use crate::turn::{AllocationId, Drop, Limits, Route, Scopes, credential};

const PEER: &str = "9.9.9.9:1";

fn id(name: &str) -> String {
    credential::member_id(name)
}

/// `n` packets of 1000 bytes from the peer; how many pass.
fn pour(world: &mut World, at: AllocationId, n: usize) -> usize {
    (0..n).filter(|_| world.peer(at, PEER, 1000) != Route::Here).count()
}

/// An allocation with a permission for `PEER`, for a member of a room or for somebody in none.
fn allocate(world: &mut World, host: u8, id: &str) -> (Client, AllocationId) {
    let mut client = Client::named(&format!("198.18.0.{host}:4000"), id);
    let (at, _) = world.allocate(&mut client);
    world.permit(&mut client, PEER);
    (client, at)
}

fn limited(change: impl FnOnce(&mut Limits)) -> World {
    World::with(|config| change(&mut config.limits))
}

/// Shards of one daemon, with two rooms of two members each: `1`, `2` are in blue, `3`, `4` in red.
fn shards(change: impl Fn(&mut Limits)) -> (World, World) {
    let scopes = Scopes::default();
    for (n, room) in [(1, "blue"), (2, "blue"), (3, "red"), (4, "red")] {
        scopes.seat(&id(&n.to_string()), room, 0);
        scopes.observed(&id(&n.to_string()), "9.9.9.9".parse().unwrap());
    }
    let make = |ports| {
        let scopes = scopes.clone();
        World::with(|config| {
            (config.scopes, config.ports) = (scopes, ports);
            change(&mut config.limits);
        })
    };
    let (here, mut there) = (make(50000..=50999), make(51000..=51999));
    there.now = here.now;
    (here, there)
}

#[test]
fn an_allocation_gets_its_rate_and_a_seconds_worth() {
    let mut world = limited(|limits| limits.bytes_per_second = 10_000);
    let (_, at) = allocate(&mut world, 1, "alice");
    let (_, other) = allocate(&mut world, 2, "alice");
    assert_eq!(pour(&mut world, at, 25), 10);
    assert_eq!(world.dropped(Drop::OverRate), 15);
    world.later(0.35);
    assert_eq!(pour(&mut world, at, 25), 3);
    assert_eq!(pour(&mut world, other, 25), 10, "each has its own");
    world.later(100.0);
    assert_eq!(pour(&mut world, at, 25), 10, "what was not used is not saved up");
    assert_eq!(world.server.stats().to_client.packets, 33);
}

#[test]
fn both_directions_count_together() {
    let mut world = limited(|limits| limits.bytes_per_second = 10_000);
    let (mut alice, at) = allocate(&mut world, 1, "alice");
    world.bind(&mut alice, 0x4000, PEER);
    let channel = [&[0x40, 0, 0x03, 0xe8][..], &[7; 1000]].concat();
    let send = Ask::send(PEER, &[7; 1000]).build();
    for round in 0..5 {
        let passes = pour(&mut world, at, 1) == 1
            && world.packet(alice.tuple, &channel) != Route::Here
            && world.packet(alice.tuple, &send) != Route::Here;
        assert_eq!(passes, round < 3, "{round}");
    }
    assert_eq!(world.server.stats().to_peer.packets + world.server.stats().to_client.packets, 10);
}

#[test]
fn a_room_gets_its_rate_over_all_members_and_shards() {
    let (mut here, mut there) = shards(|limits| limits.room_bytes_per_second = 10_000);
    let (_, one) = allocate(&mut here, 1, &id("1"));
    let (_, two) = allocate(&mut there, 2, &id("2"));
    let (_, three) = allocate(&mut there, 3, &id("3"));
    let (_, eve) = allocate(&mut here, 4, "eve");
    assert_eq!(pour(&mut here, one, 7), 7);
    assert_eq!(pour(&mut there, two, 7), 3);
    assert_eq!(there.dropped(Drop::RoomOverRate), 4);
    assert_eq!(pour(&mut there, three, 20), 10, "another room");
    assert_eq!(pour(&mut here, eve, 20), 20, "no room");
    here.later(0.2);
    there.later(0.2);
    assert_eq!(pour(&mut here, one, 7), 2);
    assert_eq!(pour(&mut there, two, 7), 0);
}

#[test]
fn the_daemon_gets_its_rate_over_all_rooms_and_shards() {
    let (mut here, mut there) = shards(|limits| limits.total_bytes_per_second = 10_000);
    let (_, one) = allocate(&mut here, 1, &id("1"));
    let (_, three) = allocate(&mut there, 3, &id("3"));
    let (_, eve) = allocate(&mut there, 4, "eve");
    assert_eq!(pour(&mut here, one, 4), 4);
    assert_eq!(pour(&mut there, three, 4), 4);
    assert_eq!(pour(&mut there, eve, 4), 2);
    assert_eq!(there.dropped(Drop::TotalOverRate), 2);
    assert_eq!(pour(&mut here, one, 4), 0);
    assert_eq!(here.dropped(Drop::TotalOverRate), 4);
}

#[test]
fn what_one_limit_refuses_is_not_charged_to_another() {
    let (mut here, _) = shards(|limits| {
        limits.bytes_per_second = 3_000;
        limits.room_bytes_per_second = 5_000;
        limits.total_bytes_per_second = 9_000;
    });
    let (_, one) = allocate(&mut here, 1, &id("1"));
    let (_, two) = allocate(&mut here, 2, &id("2"));
    let (_, three) = allocate(&mut here, 3, &id("3"));
    let (_, eve) = allocate(&mut here, 4, "eve");
    assert_eq!(pour(&mut here, one, 100), 3);
    assert_eq!(pour(&mut here, two, 100), 2);
    assert_eq!(pour(&mut here, three, 100), 3);
    assert_eq!(pour(&mut here, eve, 100), 1);
    let dropped =
        [Drop::OverRate, Drop::RoomOverRate, Drop::TotalOverRate].map(|reason| here.dropped(reason));
    assert_eq!(dropped, [97 + 97, 98, 99]);
}

#[test]
fn what_the_daemon_has_no_room_for_leaves_allocation_and_room_what_they_had() {
    let (mut here, _) = shards(|limits| {
        limits.bytes_per_second = 10_000;
        limits.room_bytes_per_second = 10_000;
        limits.total_bytes_per_second = 10_000;
    });
    let (_, one) = allocate(&mut here, 1, &id("1"));
    let (_, eve) = allocate(&mut here, 4, "eve");
    assert_eq!(pour(&mut here, eve, 10), 10);
    for _ in 0..9 {
        assert_eq!(pour(&mut here, one, 1_000), 0);
    }
    // The daemon has regained a half of it: all of that is to be had.
    here.later(0.5);
    assert_eq!(pour(&mut here, one, 10), 5);
    assert_eq!((here.dropped(Drop::OverRate), here.dropped(Drop::RoomOverRate)), (0, 0));
}

#[test]
fn in_process_both_allocations_pay_and_room_and_daemon_once() {
    for (own, room, total, passed, reason) in [
        (5_000, 0, 0, 5, Drop::OverRate),
        (0, 5_000, 0, 5, Drop::RoomOverRate),
        (0, 0, 5_000, 5, Drop::TotalOverRate),
    ] {
        for across in [false, true] {
            let (mut here, mut there) = shards(|limits| {
                limits.bytes_per_second = own;
                limits.room_bytes_per_second = room;
                limits.total_bytes_per_second = total;
            });
            let mut one = Client::named("198.18.0.1:4000", &id("1"));
            let mut two = Client::named("198.18.0.2:4000", &id("2"));
            let (_, of_one) = here.allocate(&mut one);
            let receiver = if across { &mut there } else { &mut here };
            let (at, of_two) = receiver.allocate(&mut two);
            receiver.permit(&mut two, &of_one.to_string());
            receiver.permit(&mut two, PEER);
            here.permit(&mut one, &of_two.to_string());
            let packet = Ask::send(&of_two.to_string(), &[7; 1000]).build();
            let mut count = 0;
            for _ in 0..20 {
                count += match here.packet(one.tuple, &packet) {
                    Route::Client { .. } => 1,
                    Route::Across { from, to, room, .. } => {
                        let route = there.server.handle_relayed(there.now, to, from, room, 1000);
                        usize::from(route != Route::Here)
                    }
                    _ => 0,
                };
            }
            assert_eq!(count, passed, "{reason:?}, across: {across}");
            assert_eq!(here.dropped(reason), 15);
            // The receiver has paid for them, too: it has nothing left for others.
            let receiver = if across { &mut there } else { &mut here };
            assert_eq!(pour(receiver, at, 1), 0, "{reason:?}, across: {across}");
        }
    }
}

#[test]
fn without_limits_everything_passes() {
    let mut world = World::new();
    let (_, at) = allocate(&mut world, 1, "alice");
    assert_eq!(pour(&mut world, at, 10_000), 10_000);
}
