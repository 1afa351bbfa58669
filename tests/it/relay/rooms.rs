//! Rooms' members on real shards: what they reach, what is counted for them, what they may use up.

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use callgate::relay::{Relay, Settings};
use callgate::turn::credential;

use super::client::{self, Client, Message, channel_data};
use super::{eventually, in_first_shard, member, peer, receive, settings};

fn id(name: &str) -> String {
    credential::member_id(name)
}

fn host(n: u8) -> IpAddr {
    [127, 0, 0, n].into()
}

/// A relay of two shards in which `a` and `b` are in one room, and `c` in another.
fn start(change: impl FnOnce(&mut Settings)) -> (Relay, SocketAddr, std::ops::RangeInclusive<u16>) {
    let mut settings = settings("127.0.0.1:0", 2);
    change(&mut settings);
    let ports = settings.turn.all_ports.clone();
    let relay = Relay::start(settings).unwrap();
    for (name, room) in [("a", "blue"), ("b", "blue"), ("c", "red")] {
        relay.scopes().seat(&id(name), room, 0);
    }
    let server = relay.listening()[0];
    (relay, server, ports)
}

/// An allocation of a member for a client on a host that the wanted shard serves.
fn in_shard(first: bool, server: SocketAddr, ports: &std::ops::RangeInclusive<u16>, name: &str) -> Client {
    for n in 2..40 {
        let mut client = Client::at(host(n), server, member(&id(name)));
        client.allocate().unwrap();
        if in_first_shard(&client, ports) == first {
            return client;
        }
        client.request(Message::new(client::REFRESH).with(0x000D, &[0; 4])).unwrap();
    }
    panic!("all hosts in one shard");
}

#[test]
fn a_member_reaches_its_room_until_the_room_has_changed() {
    let (relay, server, _) = start(|_| {});
    let mut a = Client::at(host(2), server, member(&id("a")));
    a.allocate().unwrap();
    let other = peer("127.0.0.9:0");
    let there = other.local_addr().unwrap();
    assert_eq!((a.bind(0x4000, there), a.permit(there)), (Err(403), Err(403)));
    relay.scopes().signaled(&id("b"), &[host(9)]);
    a.bind(0x4000, there).unwrap();
    a.socket.send(&channel_data(0x4000, b"hello")).unwrap();
    assert_eq!(receive(&other).0, b"hello");
    other.send_to(b"hello, too", a.relayed).unwrap();
    assert_eq!(a.receive(), channel_data(0x4000, b"hello, too"));
    // From here on, nothing: no order has to arrive first.
    relay.scopes().unseat(&id("b"));
    a.socket.send(&channel_data(0x4000, b"still there?")).unwrap();
    other.send_to(b"no", a.relayed).unwrap();
    eventually(&relay, "one drop each way", |stats| {
        let drops = &stats.turn.drops;
        drops.iter().any(|d| d == ("no_channel", 1)) && drops.iter().any(|d| d == ("no_permission", 1))
    });
    assert_eq!(relay.usage(&[&id("a")])[0].to_peer.packets, 1);
}

#[test]
fn rooms_are_kept_apart_on_every_shard() {
    let (relay, server, ports) = start(|_| {});
    let a = in_shard(true, server, &ports, "a");
    let b = in_shard(false, server, &ports, "b");
    let c = in_shard(false, server, &ports, "c");
    let public = in_shard_public(server, &ports);
    for other in [&c, &public] {
        assert_eq!(a.bind(0x4001, other.relayed), Err(403));
        assert_eq!(a.permit(other.relayed), Err(403));
        // The address alone, which all relays share: every packet is looked at.
        a.permit(SocketAddr::new(other.relayed.ip(), 1)).unwrap();
        other.permit(SocketAddr::new(a.relayed.ip(), 1)).unwrap();
        let send = Message::new(client::SEND).peer(other.relayed).with(client::DATA_VALUE, b"psst");
        a.socket.send(send.bytes()).unwrap();
        let send = Message::new(client::SEND).peer(a.relayed).with(client::DATA_VALUE, b"psst");
        other.socket.send(send.bytes()).unwrap();
    }
    eventually(&relay, "all four dropped", |s| s.drops().any(|d| d == ("other_room", 4)));
    a.bind(0x4000, b.relayed).unwrap();
    b.bind(0x4000, a.relayed).unwrap();
    a.socket.send(&channel_data(0x4000, b"hello")).unwrap();
    assert_eq!(b.receive(), channel_data(0x4000, b"hello"));
    assert!(a.quiet() && c.quiet() && public.quiet());
}

/// An allocation of nobody's, in the second shard.
fn in_shard_public(server: SocketAddr, ports: &std::ops::RangeInclusive<u16>) -> Client {
    (2..40)
        .map(|n| super::on_host(n, server, "public"))
        .find(|client| !in_first_shard(client, ports))
        .expect("all hosts in one shard")
}

#[test]
fn usage_is_summed_over_shards_and_over_what_has_ended() {
    let (relay, server, ports) = start(|_| {});
    relay.scopes().observed(&id("b"), host(9));
    let other = peer("127.0.0.9:0");
    let pour = |client: &Client, payload: &[u8]| {
        client.bind(0x4000, other.local_addr().unwrap()).unwrap();
        client.socket.send(&channel_data(0x4000, payload)).unwrap();
        assert_eq!(receive(&other).0, payload);
    };
    let bytes = || relay.usage(&[&id("a"), &id("b")]).iter().map(|u| u.to_peer.bytes).collect::<Vec<_>>();
    let one = in_shard(true, server, &ports, "a");
    let two = in_shard(false, server, &ports, "a");
    pour(&one, b"12345");
    pour(&two, b"123");
    assert_eq!(bytes(), [8, 0]);
    two.request(Message::new(client::REFRESH).with(0x000D, &[0; 4])).unwrap();
    assert_eq!(bytes(), [8, 0]);
    // As when the member leaves.
    relay.scopes().unseat(&id("a"));
    relay.revoke(&id("a"));
    eventually(&relay, "none left", |s| s.turn.allocations == 0);
    assert_eq!(bytes(), [0, 0]);
    assert_eq!(Client::at(host(2), server, member(&id("a"))).allocate(), Err(401));
}

#[test]
fn a_room_gets_its_bytes_per_second_and_no_more() {
    const RATE: u64 = 50_000;
    let (relay, server, ports) = start(|settings| settings.turn.limits.room_bytes_per_second = RATE);
    relay.scopes().observed(&id("a"), host(9));
    relay.scopes().observed(&id("b"), host(9));
    let other = peer("127.0.0.9:0");
    let members = [in_shard(true, server, &ports, "a"), in_shard(false, server, &ports, "b")];
    for member in &members {
        member.bind(0x4000, other.local_addr().unwrap()).unwrap();
    }
    let begin = Instant::now();
    let mut sent = 0;
    let passed = || relay.stats().turn.to_peer.packets;
    let dropped = || relay.stats().drops().find(|(name, _)| *name == "room_over_rate").unwrap().1;
    while begin.elapsed().as_millis() < 400 || dropped() == 0 {
        for member in &members {
            for _ in 0..10 {
                member.socket.send(&channel_data(0x4000, &[7; 1000])).unwrap();
                sent += 1;
            }
        }
        eventually(&relay, "all counted", |_| passed() + dropped() == sent);
    }
    let most = RATE as f64 * (1.0 + begin.elapsed().as_secs_f64()) / 1000.0;
    let passed = passed() as f64;
    assert!(passed <= most + 1.0, "{passed} of at most {most}");
    assert!(passed >= 50.0, "{passed} of {sent}");
}
