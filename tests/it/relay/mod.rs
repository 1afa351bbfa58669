//! The relay end to end: real sockets on loopback, clients that speak TURN.

mod client;
mod drain;
mod legs;
mod mobility;
mod rooms;
mod stream;
mod tcp_relays;

use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use callgate::relay::{IoDrop, Relay, Settings, StartError, Stats};
use callgate::turn::credential::{self, Credential};
use callgate::turn::{Census, Config, Keys, Limits, PeerPolicy, RelayAddress, Scopes};
use client::{Client, Message, attribute, channel_data, read_xor_address};
use nix::sys::socket::{setsockopt, sockopt};
use secrecy::SecretString;

use crate::support::PATIENCE;

const SECRET: &str = "known to the tests";

/// Not in some time, as what a connection without an allocation has.
const SOON: Duration = Duration::from_secs(15);

/// Ports that no other test has, in whatever process, below those that the system gives out: forty for a relay, and ten behind them
/// at which nobody is.
fn some_ports() -> std::ops::RangeInclusive<u16> {
    /// A socket on a host of its own stands for a block of ports, until this process ends.
    static CLAIMS: Mutex<Vec<UdpSocket>> = Mutex::new(Vec::new());
    let begin = std::process::id() % 400;
    for block in (begin..400).chain(0..begin) {
        let first = 10_000 + block as u16 * 50;
        if let Ok(claim) = UdpSocket::bind(SocketAddr::from(([127, 200, 0, 1], first))) {
            CLAIMS.lock().unwrap().push(claim);
            return first..=first + 39;
        }
    }
    panic!("every block of ports is somebody's");
}

/// A port of the loopback host `127.0.0.1` at which nobody is, now or later.
fn closed_port() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], some_ports().end() + 5))
}

fn settings(listen: &str, shards: usize) -> Settings {
    let local = |ip: &str| RelayAddress { local: ip.parse().unwrap(), public: ip.parse().unwrap() };
    let ports = some_ports();
    Settings {
        listen: vec![listen.parse().unwrap()],
        shards,
        turn: Config {
            realm: "tests".into(),
            software: "callgate".into(),
            keys: Keys { secrets: vec![SecretString::from(SECRET)], users: Vec::new() },
            nonce_key: [7; 32],
            relays: vec![local("127.0.0.1"), local("::1")],
            ports: ports.clone(),
            all_ports: ports,
            census: Census::default(),
            own: Vec::new(),
            discovery: Vec::new(),
            alternate: Vec::new(),
            peers: PeerPolicy {
                allow: vec!["127.0.0.0/8".parse().unwrap(), "::1".parse().unwrap()],
                deny: Vec::new(),
            },
            limits: Limits::default(),
            tcp_relays: false,
            mobility: false,
            room_scope: true,
            scopes: Scopes::default(),
        },
    }
}

fn start(listen: &str, shards: usize) -> (Relay, SocketAddr) {
    let relay = Relay::start(settings(listen, shards)).unwrap();
    let server = relay.listening()[0];
    (relay, server)
}

fn member(id: &str) -> Credential {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    credential::mint(&SecretString::from(SECRET), id, now + 3600)
}

fn peer(host: &str) -> UdpSocket {
    let socket = UdpSocket::bind(host).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// That nobody has this port any more. A relay's figures are known before its sockets are closed.
fn is_free_again(address: SocketAddr) {
    let end = Instant::now() + PATIENCE;
    while let Err(error) = UdpSocket::bind(address) {
        assert!(Instant::now() < end, "{address}: {error}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn receive(socket: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut buffer = [0; 65_536];
    let (n, from) = socket.recv_from(&mut buffer).expect("nothing came");
    (buffer[..n].to_vec(), from)
}

/// Waits until the counters say what is wanted.
fn eventually(relay: &Relay, what: &str, wanted: impl Fn(&Stats) -> bool) {
    let end = Instant::now() + PATIENCE;
    while !wanted(&relay.stats()) {
        assert!(Instant::now() < end, "{what}: {:?}", relay.stats());
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// An allocation for a client on the loopback host `127.0.0.n`.
fn on_host(n: u8, server: SocketAddr, id: &str) -> Client {
    let mut client = Client::at([127, 0, 0, n].into(), server, member(id));
    client.allocate().unwrap();
    client
}

/// Whether the relay port lies in the first of two shards' slices.
fn in_first_shard(client: &Client, ports: &std::ops::RangeInclusive<u16>) -> bool {
    client.relayed.port() < ports.start() + 20
}

/// Clients of different hosts until two of them have allocations in different shards.
fn on_two_shards(server: SocketAddr, ports: &std::ops::RangeInclusive<u16>) -> (Client, Client) {
    let first = on_host(1, server, "first");
    let elsewhere = |other: &Client| in_first_shard(&first, ports) != in_first_shard(other, ports);
    let other = (2..20).map(|n| on_host(n, server, "other")).find(elsewhere).expect("all hosts in one shard");
    (first, other)
}

#[test]
fn channel_data_goes_both_ways() {
    for (listen, host) in [("127.0.0.1:0", "127.0.0.1:0"), ("[::1]:0", "[::1]:0")] {
        let (relay, server) = start(listen, 1);
        let client = Client::allocated(server, member("a"));
        let peer = peer(host);
        client.bind(0x4000, peer.local_addr().unwrap()).unwrap();
        client.socket.send(&channel_data(0x4000, b"to the peer")).unwrap();
        assert_eq!(receive(&peer), (b"to the peer".to_vec(), client.relayed));
        peer.send_to(b"to the client", client.relayed).unwrap();
        assert_eq!(client.receive(), channel_data(0x4000, b"to the client"));
        let stats = relay.stats();
        assert_eq!((stats.turn.to_peer.bytes, stats.turn.to_client.bytes), (11, 13));
        relay.stop();
    }
}

#[test]
fn send_and_data_indications_go_both_ways() {
    let (_relay, server) = start("127.0.0.1:0", 1);
    let client = Client::allocated(server, member("a"));
    let peer = peer("127.0.0.1:0");
    let address = peer.local_addr().unwrap();
    client.permit(address).unwrap();
    for dont_fragment in [false, true, false] {
        let mut send = Message::new(client::SEND).peer(address).with(client::DATA_VALUE, b"hello");
        if dont_fragment {
            send = send.with(client::DONT_FRAGMENT, b"");
        }
        client.socket.send(send.bytes()).unwrap();
        assert_eq!(receive(&peer), (b"hello".to_vec(), client.relayed));
    }
    peer.send_to(b"good day", client.relayed).unwrap();
    let data = client.receive();
    assert_eq!(data[..2], client::DATA.to_be_bytes());
    assert_eq!(attribute(&data, client::DATA_VALUE), Some(b"good day" as &[u8]));
    let from = read_xor_address(attribute(&data, client::XOR_PEER_ADDRESS).unwrap(), &data[4..20]);
    assert_eq!(from, address);
}

#[test]
fn a_train_comes_out_as_a_train() {
    let (_relay, server) = start("127.0.0.1:0", 1);
    let client = Client::allocated(server, member("a"));
    let peer = peer("127.0.0.1:0");
    client.bind(0x4000, peer.local_addr().unwrap()).unwrap();
    for socket in [&client.socket, &peer] {
        setsockopt(&socket.as_fd(), sockopt::UdpGroSegment, &true).unwrap();
    }
    setsockopt(&client.socket.as_fd(), sockopt::UdpGsoSegment, &104).unwrap();
    let train: Vec<u8> = (0..5u8).flat_map(|i| channel_data(0x4000, &[i; 100])).collect();
    client.socket.send(&train).unwrap();
    let wanted: Vec<u8> = (0..5u8).flat_map(|i| [i; 100]).collect();
    assert_eq!(receive(&peer).0, wanted);

    setsockopt(&peer.as_fd(), sockopt::UdpGsoSegment, &100).unwrap();
    peer.send_to(&wanted, client.relayed).unwrap();
    assert_eq!(client.receive(), train);
}

#[test]
fn two_relays_of_one_shard_talk_in_process() {
    let (relay, server) = start("127.0.0.1:0", 1);
    let (a, b) = (Client::allocated(server, member("a")), Client::allocated(server, member("b")));
    a.bind(0x4000, b.relayed).unwrap();
    a.socket.send(&channel_data(0x4000, b"too early")).unwrap();
    eventually(&relay, "no permission yet", |s| s.drops().any(|d| d == ("peer_not_permitted", 1)));
    b.bind(0x4001, a.relayed).unwrap();
    for (from, number, to, back) in [(&a, 0x4000, &b, 0x4001), (&b, 0x4001, &a, 0x4000)] {
        from.socket.send(&channel_data(number, b"hello")).unwrap();
        assert_eq!(to.receive(), channel_data(back, b"hello"));
    }
    assert_eq!(relay.stats().turn.in_process.packets, 2);
}

#[test]
fn two_relays_of_different_shards_talk_in_process() {
    let settings = settings("127.0.0.1:0", 2);
    let ports = settings.turn.all_ports.clone();
    let relay = Relay::start(settings).unwrap();
    let server = relay.listening()[0];
    let (a, b) = on_two_shards(server, &ports);
    a.bind(0x4000, b.relayed).unwrap();
    b.bind(0x4001, a.relayed).unwrap();
    for round in 0..50 {
        let text = format!("round {round}");
        a.socket.send(&channel_data(0x4000, text.as_bytes())).unwrap();
        assert_eq!(b.receive(), channel_data(0x4001, text.as_bytes()));
        b.socket.send(&channel_data(0x4001, text.as_bytes())).unwrap();
        assert_eq!(a.receive(), channel_data(0x4000, text.as_bytes()));
    }
    assert_eq!(relay.stats().turn.in_process.packets, 100);
}

#[test]
fn an_icmp_error_reaches_the_client_and_the_relay_lives_on() {
    let (_relay, server) = start("127.0.0.1:0", 1);
    let client = Client::allocated(server, member("a"));
    let closed = closed_port();
    client.bind(0x4000, closed).unwrap();
    client.socket.send(&channel_data(0x4000, b"anybody there?")).unwrap();
    let data = client.receive();
    assert_eq!(data[..2], client::DATA.to_be_bytes());
    // RFC 8656, section 18.13: 16 bits reserved, 7 of the type, 9 of the code.
    let icmp = attribute(&data, client::ICMP).expect("no ICMP attribute");
    assert_eq!(u16::from_be_bytes([icmp[2], icmp[3]]), 3 << 9 | 3);
    let from = read_xor_address(attribute(&data, client::XOR_PEER_ADDRESS).unwrap(), &data[4..20]);
    assert_eq!(from, closed);

    let open = peer("127.0.0.1:0");
    client.bind(0x4001, open.local_addr().unwrap()).unwrap();
    client.socket.send(&channel_data(0x4000, b"still nobody?")).unwrap();
    client.socket.send(&channel_data(0x4001, b"hello")).unwrap();
    assert_eq!(receive(&open).0, b"hello");
}

#[test]
fn a_peer_without_a_route_costs_its_packets_and_nothing_else() {
    let mut settings = settings("127.0.0.1:0", 1);
    // No socket bound to a loopback address reaches these.
    settings.turn.peers.allow.push("192.0.2.0/24".parse().unwrap());
    let relay = Relay::start(settings).unwrap();
    let client = Client::allocated(relay.listening()[0], member("a"));
    client.bind(0x4000, "192.0.2.1:9".parse().unwrap()).unwrap();
    let open = peer("127.0.0.1:0");
    client.bind(0x4001, open.local_addr().unwrap()).unwrap();
    for _ in 0..3 {
        client.socket.send(&channel_data(0x4000, b"lost")).unwrap();
    }
    client.socket.send(&channel_data(0x4001, b"found")).unwrap();
    assert_eq!(receive(&open).0, b"found");
    let lost = |s: &Stats| IoDrop::ALL.iter().map(|&reason| s.io_drops(reason)).sum::<u64>();
    eventually(&relay, "three lost packets", |s| lost(s) == 3);
    assert_eq!(relay.stats().turn.allocations, 1);
}

#[test]
fn a_wildcard_serves_both_families_and_answers_from_where_it_was_asked() {
    let (relay, _) = start("[::]:0", 2);
    let port = relay.listening()[0].port();
    assert_eq!(relay.listening().len(), 2);
    for server in [SocketAddr::from(([127, 0, 0, 1], port)), SocketAddr::from(([127, 0, 0, 9], port))] {
        // The socket is connected, so an answer from elsewhere would not arrive.
        Client::allocated(server, member("four"));
    }
    Client::allocated(format!("[::1]:{port}").parse().unwrap(), member("six"));
    assert_eq!(relay.stats().turn.allocations, 3);
}

#[test]
fn a_client_stays_with_one_shard_so_that_its_reserved_port_is_found() {
    for (listen, family) in [("127.0.0.1:0", 1), ("[::1]:0", 2)] {
        let (_relay, server) = start(listen, 2);
        // Each takes another port, by which the kernel alone would choose.
        for round in 0..8 {
            let mut rtp = Client::new(server, member("rtp"));
            let wanted: [(u16, &[u8]); 2] =
                [(client::EVEN_PORT, &[0x80]), (client::REQUESTED_ADDRESS_FAMILY, &[family, 0, 0, 0])];
            let answer = rtp.allocate_with(&wanted).unwrap();
            let token = attribute(&answer, client::RESERVATION_TOKEN).expect("no token");
            let mut rtcp = Client::new(server, member("rtcp"));
            rtcp.allocate_with(&[(client::RESERVATION_TOKEN, token)])
                .unwrap_or_else(|code| panic!("{code} in round {round}"));
            assert_eq!(rtcp.relayed.port(), rtp.relayed.port() + 1);
        }
    }
}

#[test]
fn a_revoked_credential_loses_its_allocations_on_every_shard() {
    let (relay, server) = start("127.0.0.1:0", 2);
    let clients: Vec<_> = (1..=6).map(|n| on_host(n, server, "gone")).collect();
    let other = Client::allocated(server, member("stays"));
    assert_eq!(relay.stats().turn.allocations, 7);
    relay.revoke("gone");
    eventually(&relay, "one left", |s| s.turn.allocations == 1);
    for client in clients {
        assert_eq!(client.request(Message::new(client::REFRESH)).unwrap_err(), 437);
        is_free_again(client.relayed);
    }
    other.request(Message::new(client::REFRESH)).unwrap();
}

#[test]
fn a_secret_that_goes_takes_its_allocations_along_on_every_shard() {
    let (relay, server) = start("127.0.0.1:0", 2);
    let clients: Vec<_> = (1..=6).map(|n| on_host(n, server, "old")).collect();
    let keys = |secrets: &[&str]| Keys {
        secrets: secrets.iter().map(|secret| SecretString::from(*secret)).collect(),
        users: vec![("camera".to_owned(), SecretString::from("hunter22"))],
    };
    relay.set_keys(keys(&["a new one", SECRET]));
    let camera = Credential { username: "camera".into(), password: "hunter22".into() };
    let camera = Client::allocated(server, camera);
    assert_eq!(relay.stats().turn.allocations, 7, "whose secret stays, stays");
    relay.set_keys(keys(&["a new one"]));
    eventually(&relay, "the camera's is left", |s| s.turn.allocations == 1);
    for client in clients {
        assert_eq!(client.request(Message::new(client::REFRESH)).unwrap_err(), 401);
    }
    camera.request(Message::new(client::REFRESH)).unwrap();
}

#[test]
fn a_limit_for_the_whole_relay_is_shared_by_the_shards() {
    let mut settings = settings("127.0.0.1:0", 2);
    settings.turn.limits.allocations = 4;
    let ports = settings.turn.all_ports.clone();
    let relay = Relay::start(settings).unwrap();
    let server = relay.listening()[0];
    let (one, other) = on_two_shards(server, &ports);
    while relay.stats().turn.allocations < 4 {
        let host = one.socket.local_addr().unwrap().ip();
        Client::at(host, server, member("more")).allocate().unwrap();
    }
    for full in [one, other] {
        let host = full.socket.local_addr().unwrap().ip();
        assert_eq!(Client::at(host, server, member("too many")).allocate(), Err(486));
    }
}

#[test]
fn a_draining_relay_takes_no_newcomers_but_serves_the_rest() {
    let (relay, server) = start("127.0.0.1:0", 2);
    let client = Client::allocated(server, member("a"));
    relay.drain();
    // The order is on its way.
    let end = Instant::now() + PATIENCE;
    while Client::new(server, member("b")).allocate() != Err(508) {
        assert!(Instant::now() < end, "newcomers are let in");
    }
    let peer = peer("127.0.0.1:0");
    client.bind(0x4000, peer.local_addr().unwrap()).unwrap();
    client.socket.send(&channel_data(0x4000, b"still here")).unwrap();
    assert_eq!(receive(&peer).0, b"still here");
}

#[test]
fn a_relay_port_that_another_program_has_is_passed_over() {
    let mut settings = settings("127.0.0.1:0", 1);
    let first = *settings.turn.all_ports.start();
    settings.turn.all_ports = first..=first + 1;
    let _taken = UdpSocket::bind(("127.0.0.1", first)).unwrap();
    let relay = Relay::start(settings).unwrap();
    let server = relay.listening()[0];
    assert_eq!(Client::allocated(server, member("a")).relayed.port(), first + 1);
    assert_eq!(Client::new(server, member("b")).allocate(), Err(508));
}

#[test]
fn stopping_frees_every_port() {
    let (relay, server) = start("127.0.0.1:0", 2);
    let client = Client::allocated(server, member("a"));
    relay.stop();
    is_free_again(server);
    is_free_again(client.relayed);
}

#[test]
fn a_busy_listening_address_is_named() {
    let (_relay, server) = start("127.0.0.1:0", 1);
    let error = Relay::start(settings(&server.to_string(), 1)).unwrap_err();
    assert!(matches!(&error, StartError::Busy { address, .. } if *address == server), "{error}");
}

#[test]
fn garbage_is_counted_and_answered_with_nothing() {
    let (relay, server) = start("127.0.0.1:0", 1);
    let client = Client::new(server, member("a"));
    for garbage in [&b""[..], b"\0", b"GET / HTTP/1.1\r\n\r\n", &[0xFF; 1500], &[0x40; 3], &[0; 65_000]] {
        client.socket.send(garbage).unwrap();
    }
    eventually(&relay, "six drops", |s| s.turn.drops.total() == 6);
    assert!(client.quiet());
}
