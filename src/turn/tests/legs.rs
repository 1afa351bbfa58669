//! Clients that come over a connection.

use super::world::{Ask, Client, World};
use crate::turn::{FiveTuple, Leg, Output, Route, Transport};

const LEG: Leg = Leg { shard: 0, slot: 3, generation: 1 };

fn over_tcp() -> Client {
    let mut client = Client::new("198.51.100.1:4000");
    client.tuple.transport = Transport::Tcp(LEG);
    client
}

fn hang_ups(world: &mut World) -> Vec<FiveTuple> {
    let found = world.events.drain(..).filter_map(|event| match event {
        Output::HangUp { client } => Some(client),
        _ => None,
    });
    found.collect()
}

#[test]
fn an_allocation_ends_with_its_connection() {
    let mut world = World::new();
    let mut client = over_tcp();
    world.allocate(&mut client);
    assert!(world.server.has_allocation(&client.tuple));
    world.server.client_gone(world.now, client.tuple);
    world.settle();
    assert!(world.server.leaves_nothing());
    assert_eq!(hang_ups(&mut world), [], "it is gone already");
    world.server.client_gone(world.now, client.tuple);
}

#[test]
fn another_connection_from_the_same_address_is_another_client() {
    let mut world = World::new();
    let mut client = over_tcp();
    world.allocate(&mut client);
    for transport in [
        Transport::Udp,
        Transport::Tls(LEG),
        Transport::Tcp(Leg { generation: 2, ..LEG }),
        Transport::Tcp(Leg { shard: 1, ..LEG }),
    ] {
        let other = FiveTuple { transport, ..client.tuple };
        assert!(!world.server.has_allocation(&other), "{transport:?}");
        world.server.client_gone(world.now, other);
    }
    assert!(world.server.has_allocation(&client.tuple));
}

#[test]
fn the_connection_goes_with_an_allocation_that_is_taken_away() {
    let mut world = World::new();
    let mut client = over_tcp();
    world.allocate(&mut client);
    world.server.revoke(world.now, "alice");
    world.settle();
    assert_eq!(hang_ups(&mut world), [client.tuple]);

    client.nonce.clear();
    let mut bob = Client { tuple: client.tuple, ..Client::named("198.51.100.1:4000", "bob") };
    world.allocate(&mut bob);
    world.sleep(700.0);
    assert_eq!(hang_ups(&mut world), [bob.tuple], "it expired");
}

#[test]
fn the_connection_stays_when_the_client_gives_its_allocation_up() {
    let mut world = World::new();
    let mut client = over_tcp();
    world.allocate(&mut client);
    assert_eq!(world.ask(&mut client, Ask::refresh(0)).code(), 0);
    assert_eq!(hang_ups(&mut world), []);
    assert!(world.server.leaves_nothing());
}

#[test]
fn nobody_hangs_up_on_datagrams() {
    let mut world = World::new();
    world.allocate(&mut Client::new("198.51.100.1:4000"));
    world.server.revoke(world.now, "alice");
    world.settle();
    assert_eq!(hang_ups(&mut world), []);
}

#[test]
fn channel_data_is_padded_over_a_stream_alone() {
    for (transport, paddings) in [(Transport::Udp, [0; 6]), (Transport::Tcp(LEG), [0, 3, 2, 1, 0, 3])] {
        let mut world = World::new();
        let mut client = Client::new("198.51.100.1:4000");
        client.tuple.transport = transport;
        let (at, _) = world.allocate(&mut client);
        world.bind(&mut client, 0x4000, "9.9.9.9:7000");
        for (len, wanted) in paddings.into_iter().enumerate() {
            match world.peer(at, "9.9.9.9:7000", len) {
                Route::Client { head, .. } => {
                    assert_eq!((head.len, head.padding), (4, wanted), "{len} bytes")
                }
                other => panic!("{other:?}"),
            }
        }
    }
}
