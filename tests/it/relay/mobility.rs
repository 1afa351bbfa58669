//! Mobility (RFC 8016): clients that change their address, also to one that another shard reads.

use std::net::{SocketAddr, UdpSocket};

use callgate::relay::Relay;

use super::client::{self, Client, Message, attribute, channel_data};
use super::stream::{Gate, padded};
use super::{SOON, eventually, in_first_shard, member, peer, receive, settings};
use crate::support::PATIENCE;

fn relay(shards: usize) -> (Relay, SocketAddr, std::ops::RangeInclusive<u16>) {
    let mut settings = settings("127.0.0.1:0", shards);
    settings.turn.mobility = true;
    let ports = settings.turn.all_ports.clone();
    let relay = Relay::start(settings).unwrap();
    let server = relay.listening()[0];
    (relay, server, ports)
}

/// Which shard reads what comes from the host `127.0.0.n`: seen by where an allocation from there ends up.
fn shard_of(n: u8, server: SocketAddr, ports: &std::ops::RangeInclusive<u16>) -> bool {
    let probe = super::on_host(n, server, "probe");
    let first = in_first_shard(&probe, ports);
    probe.request(Message::new(client::REFRESH).with(0x000D, &[0; 4])).unwrap();
    first
}

fn host_of(other: bool, server: SocketAddr, ports: &std::ops::RangeInclusive<u16>, from: u8) -> u8 {
    (from..60).find(|&n| shard_of(n, server, ports) == other).expect("all hosts in one shard")
}

fn move_to(client: &mut Client, n: u8, server: SocketAddr, ticket: &[u8]) -> (UdpSocket, Vec<u8>) {
    let socket = UdpSocket::bind(SocketAddr::from(([127, 0, 0, n], 0))).unwrap();
    socket.connect(server).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let old = std::mem::replace(&mut client.socket, socket);
    // (A shorter request may not have so long an answer.)
    client.log_in(Message::new(client::REFRESH).with(client::MOBILITY_TICKET, ticket));
    let answer = client.request(Message::new(client::REFRESH).with(client::MOBILITY_TICKET, ticket)).unwrap();
    (old, attribute(&answer, client::MOBILITY_TICKET).expect("no new ticket").to_vec())
}

#[test]
fn a_client_moves_between_shards_and_its_media_goes_on() {
    let (relay, server, ports) = relay(2);
    let home = shard_of(1, server, &ports);
    let (same, other) = (host_of(home, server, &ports, 2), host_of(!home, server, &ports, 2));
    let third = host_of(!home, server, &ports, other + 1);
    let mut client = Client::new(server, member("a"));
    let answer = client.allocate_with(&[(client::MOBILITY_TICKET, &[])]).unwrap();
    let mut ticket = attribute(&answer, client::MOBILITY_TICKET).unwrap().to_vec();
    let peer = peer("127.0.0.1:0");
    client.bind(0x4000, peer.local_addr().unwrap()).unwrap();
    for n in [same, other, third, 1, other] {
        let (old, next) = move_to(&mut client, n, server, &ticket);
        ticket = next;
        for round in 0..20 {
            let text = format!("from {n}, round {round}");
            client.socket.send(&channel_data(0x4000, text.as_bytes())).unwrap();
            assert_eq!(receive(&peer), (text.as_bytes().to_vec(), client.relayed));
            peer.send_to(text.as_bytes(), client.relayed).unwrap();
            assert_eq!(client.receive(), channel_data(0x4000, text.as_bytes()));
        }
        // Requests work from there as they did before.
        client.bind(0x4000, peer.local_addr().unwrap()).unwrap();
        // And nothing from where it was.
        let before = relay.stats().turn.drops.total();
        old.send(&channel_data(0x4000, b"from the old place")).unwrap();
        eventually(&relay, "a drop", |s| s.turn.drops.total() == before + 1);
    }
    relay.revoke("a");
    eventually(&relay, "no allocation", |s| s.turn.allocations == 0);
    // The other shard has forgotten it.
    let before = relay.stats().turn.drops.total();
    client.socket.send(&channel_data(0x4000, b"too late")).unwrap();
    eventually(&relay, "a drop", |s| s.turn.drops.total() == before + 1);
    assert!(client.quiet());
}

#[test]
fn a_client_moves_from_udp_to_a_connection_of_another_shard_and_back() {
    for gate in Gate::each() {
        let (relay, server, ports) = relay(2);
        let home = shard_of(1, server, &ports);
        let other = host_of(!home, server, &ports, 2);
        let mut udp = Client::new(server, member("a"));
        let answer = udp.allocate_with(&[(client::MOBILITY_TICKET, &[])]).unwrap();
        let ticket = attribute(&answer, client::MOBILITY_TICKET).unwrap().to_vec();
        let peer = peer("127.0.0.1:0");
        udp.bind(0x4000, peer.local_addr().unwrap()).unwrap();

        let mut tcp = gate.connect(&relay, other, udp.credential(), &[]);
        tcp.log_in(Message::new(client::REFRESH));
        let answer =
            tcp.request(Message::new(client::REFRESH).with(client::MOBILITY_TICKET, &ticket)).unwrap();
        let ticket = attribute(&answer, client::MOBILITY_TICKET).unwrap().to_vec();
        for round in 0..20 {
            let text = format!("round {round}");
            tcp.send(&padded(0x4000, text.as_bytes()));
            assert_eq!(receive(&peer).0, text.as_bytes());
            peer.send_to(text.as_bytes(), udp.relayed).unwrap();
            assert_eq!(tcp.receive(), padded(0x4000, text.as_bytes()));
        }
        // The connection breaks; the allocation waits.
        drop(tcp);
        eventually(&relay, "no connection", |s| s.connections.tcp + s.connections.tls == 0);
        assert_eq!(relay.stats().turn.allocations, 1);
        let (_old, ticket) = move_to(&mut udp, 1, server, &ticket);
        peer.send_to(b"here again", udp.relayed).unwrap();
        assert_eq!(udp.receive(), channel_data(0x4000, b"here again"));

        // Revoked while it is at a connection of another shard: that is closed.
        let mut tcp = gate.connect(&relay, other, udp.credential(), &[]);
        tcp.log_in(Message::new(client::REFRESH));
        tcp.request(Message::new(client::REFRESH).with(client::MOBILITY_TICKET, &ticket)).unwrap();
        relay.revoke("a");
        assert!(tcp.closed_after() < SOON);
        eventually(&relay, "nothing", |s| s.turn.allocations + s.connections.tcp + s.connections.tls == 0);
    }
}

#[test]
fn nobody_else_can_use_a_ticket() {
    let (_relay, server, ports) = relay(2);
    let home = shard_of(1, server, &ports);
    let mut client = Client::new(server, member("a"));
    let answer = client.allocate_with(&[(client::MOBILITY_TICKET, &[])]).unwrap();
    let ticket = attribute(&answer, client::MOBILITY_TICKET).unwrap().to_vec();
    for n in [host_of(home, server, &ports, 2), host_of(!home, server, &ports, 2)] {
        let mut thief = Client::at([127, 0, 0, n].into(), server, member("b"));
        thief.log_in(Message::new(client::REFRESH).with(client::MOBILITY_TICKET, &ticket));
        let request = Message::new(client::REFRESH).with(client::MOBILITY_TICKET, &ticket);
        assert_eq!(thief.request(request).unwrap_err(), 441);
    }
    client.request(Message::new(client::REFRESH)).unwrap();
}
