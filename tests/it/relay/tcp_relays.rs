//! TCP allocations (RFC 6062): connections to peers and from them.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::OnceLock;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use callgate::relay::Relay;
use callgate::turn::credential::{self, Credential};
use secrecy::SecretString;

use super::client::{self, Message, attribute, read_xor_address};
use super::stream::{Client, Gate};
use super::{SECRET, SOON, closed_port, eventually, on_host, settings};
use crate::support::PATIENCE;

const TCP: u8 = 6;

/// The same credential whenever it is asked for: a connection is bound by whoever the allocation is for.
fn member(id: &str) -> Credential {
    static ENDS: OnceLock<u64> = OnceLock::new();
    let ends = ENDS.get_or_init(|| SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() + 3600);
    credential::mint(&SecretString::from(SECRET), id, *ends)
}

fn relay(shards: usize) -> Relay {
    let mut settings = settings("127.0.0.1:0", shards);
    settings.turn.tcp_relays = true;
    Relay::start(settings).unwrap()
}

fn allocated(gate: &Gate, relay: &Relay, n: u8, id: &str) -> Client {
    let mut client = gate.connect(relay, n, member(id), &[]);
    client.allocate_with(TCP, &[]).unwrap();
    client
}

fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    let (socket, from) = listener.accept().unwrap();
    socket.set_nodelay(true).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    (socket, from)
}

fn read(stream: &mut dyn Read, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    stream.read_exact(&mut bytes).unwrap();
    bytes
}

/// Nothing but the end is to come.
fn ended(stream: &mut dyn Read) -> bool {
    match stream.read(&mut [0; 10]) {
        Ok(n) => n == 0,
        Err(error) => matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::UnexpectedEof),
    }
}

/// A client's connection, joined with one to a peer that listens.
fn joined(gate: &Gate, relay: &Relay, control: &mut Client) -> (Client, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let id = control.connect(listener.local_addr().unwrap()).unwrap();
    let (peer, from) = accept(&listener);
    assert_eq!(from, control.relayed, "the connection comes from the relayed address");
    let mut data = gate.connect(relay, 1, member("a"), &[]);
    data.bind_connection(&id).unwrap();
    (data, peer)
}

#[test]
fn a_client_connects_to_a_peer() {
    for gate in Gate::each() {
        let relay = relay(1);
        let mut control = allocated(&gate, &relay, 1, "a");
        let (mut data, mut peer) = joined(&gate, &relay, &mut control);
        data.stream.write_all(b"GET / HTTP/1.1").unwrap();
        assert_eq!(read(&mut peer, 14), b"GET / HTTP/1.1");
        peer.write_all(b"\xff\xfe anything \x00").unwrap();
        assert_eq!(read(&mut data, 13), b"\xff\xfe anything \x00");
        // Several at a time, each its own.
        let (mut other, mut other_peer) = joined(&gate, &relay, &mut control);
        other.stream.write_all(b"other").unwrap();
        assert_eq!(read(&mut other_peer, 5), b"other");
        let stats = relay.stats();
        assert_eq!((stats.turn.to_peer.bytes, stats.turn.to_client.bytes), (19, 13));
        // The peer's end is the client's end.
        drop(peer);
        assert!(ended(&mut data));
        drop(other);
        assert!(ended(&mut other_peer));
        control.request(Message::new(client::REFRESH)).unwrap();
    }
}

#[test]
fn much_goes_both_ways_at_once_whole_and_in_order() {
    for gate in Gate::each() {
        let relay = relay(1);
        let mut control = allocated(&gate, &relay, 1, "a");
        let (mut data, mut peer) = joined(&gate, &relay, &mut control);
        let sent: Vec<u8> = (0..1_000_000u32).flat_map(u32::to_le_bytes).collect();
        let mut echo = peer.try_clone().unwrap();
        let echoing = std::thread::spawn(move || {
            let mut buffer = [0; 50_000];
            loop {
                match peer.read(&mut buffer).unwrap() {
                    0 => return peer.shutdown(Shutdown::Write).unwrap(),
                    n => echo.write_all(&buffer[..n]).unwrap(),
                }
            }
        });
        // What the echo cannot send yet it does not read: more than fits on the way would stand still.
        for part in sent.chunks(100_000) {
            data.stream.write_all(part).unwrap();
            data.stream.flush().unwrap();
            assert!(read(&mut data, part.len()) == part);
        }
        data.socket.shutdown(Shutdown::Write).unwrap();
        assert!(ended(&mut data));
        echoing.join().unwrap();
    }
}

#[test]
fn who_does_not_read_stops_the_other_and_loses_nothing() {
    for gate in Gate::each() {
        let relay = relay(1);
        let mut control = allocated(&gate, &relay, 1, "a");
        let (mut data, mut peer) = joined(&gate, &relay, &mut control);
        let mut sending = peer.try_clone().unwrap();
        sending.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
        // Until nobody takes any more.
        let mut sent = 0u32;
        let mut rest = Vec::new();
        loop {
            let block: Vec<u8> = (0..4096).flat_map(|i| (sent + i).to_le_bytes()).collect();
            let mut at = 0;
            while at < block.len() {
                match sending.write(&block[at..]) {
                    Ok(n) => at += n,
                    Err(_) => break,
                }
            }
            sent += 4096;
            if at < block.len() {
                rest.extend(&block[at..]);
                break;
            }
            assert!(sent < 20_000_000, "there is no end to it");
        }
        let reading = std::thread::spawn(move || {
            for i in (0..sent).step_by(4096) {
                let wanted: Vec<u8> = (i..i + 4096).flat_map(u32::to_le_bytes).collect();
                assert!(read(&mut data, wanted.len()) == wanted, "from {i} on");
            }
            data
        });
        peer.set_write_timeout(None).unwrap();
        peer.write_all(&rest).unwrap();
        let mut data = reading.join().unwrap();
        data.stream.write_all(b"done").unwrap();
        assert_eq!(read(&mut peer, 4), b"done");
    }
}

#[test]
fn one_side_may_stop_sending_before_the_other() {
    let (gate, relay) = (Gate::new(false), relay(1));
    let mut control = allocated(&gate, &relay, 1, "a");
    let (mut data, mut peer) = joined(&gate, &relay, &mut control);
    peer.write_all(b"that was all").unwrap();
    peer.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read(&mut data, 12), b"that was all");
    assert!(ended(&mut data));
    data.stream.write_all(b"not for me").unwrap();
    assert_eq!(read(&mut peer, 10), b"not for me");
    drop(data);
    assert!(ended(&mut peer));
    eventually(&relay, "one connection", |s| s.connections.tcp == 1);
}

#[test]
fn a_peer_connects_to_a_client() {
    for gate in Gate::each() {
        let relay = relay(1);
        let mut control = allocated(&gate, &relay, 1, "a");
        // Without a permission it is closed.
        let mut early = TcpStream::connect(control.relayed).unwrap();
        early.set_read_timeout(Some(PATIENCE)).unwrap();
        assert!(ended(&mut early));
        eventually(&relay, "no permission", |s| s.drops().any(|d| d == ("no_permission", 1)));

        control
            .request(Message::new(client::CREATE_PERMISSION).peer("127.0.0.1:1".parse().unwrap()))
            .unwrap();
        let mut peer = TcpStream::connect(control.relayed).unwrap();
        peer.set_read_timeout(Some(PATIENCE)).unwrap();
        peer.write_all(b"before anybody listens").unwrap();
        let attempt = control.receive();
        assert_eq!(attempt[..2], client::CONNECTION_ATTEMPT.to_be_bytes());
        let from = read_xor_address(attribute(&attempt, client::XOR_PEER_ADDRESS).unwrap(), &attempt[4..20]);
        assert_eq!(from, peer.local_addr().unwrap());
        let id = attribute(&attempt, client::CONNECTION_ID).unwrap().to_vec();
        let mut data = gate.connect(&relay, 1, member("a"), &[]);
        data.bind_connection(&id).unwrap();
        assert_eq!(read(&mut data, 22), b"before anybody listens");
        data.stream.write_all(b"here I am").unwrap();
        assert_eq!(read(&mut peer, 9), b"here I am");
        // A connection is bound once.
        assert_eq!(gate.connect(&relay, 1, member("a"), &[]).bind_connection(&id), Err(400));
    }
}

#[test]
fn what_is_not_allowed_has_its_error_code() {
    let (gate, relay) = (Gate::new(false), relay(1));
    let mut control = allocated(&gate, &relay, 1, "a");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let open = listener.local_addr().unwrap();
    let closed = closed_port();
    assert_eq!(control.connect(closed), Err(447));
    assert_eq!(control.connect(closed), Err(447), "the first one is forgotten");
    assert_eq!(control.connect("10.0.0.1:80".parse().unwrap()), Err(403));
    assert_eq!(control.connect(control.relayed), Err(403), "to oneself");
    assert_eq!(control.connect("[::1]:80".parse().unwrap()), Err(443));
    let id = control.connect(open).unwrap();
    assert_eq!(control.connect(open), Err(446));
    assert_eq!(control.bind(0x4000, open), Err(403), "no channels");
    // Another user's connection is not to be had, nor one that is not there.
    let mut thief = gate.connect(&relay, 1, member("b"), &[]);
    assert_eq!(thief.bind_connection(&id), Err(441));
    assert_eq!(thief.bind_connection(&[1, 2, 3, 4]), Err(400));
    // The allocation's own connection is none for data.
    assert_eq!(control.bind_connection(&id), Err(400));
    let mut data = gate.connect(&relay, 1, member("a"), &[]);
    data.bind_connection(&id).unwrap();

    // Over a stream, and without what is about datagrams.
    let mut udp = on_host(1, relay.listening()[0], "c");
    udp.request(Message::new(client::REFRESH).with(0x000D, &[0; 4])).unwrap();
    let tcp = Message::new(client::ALLOCATE).with(0x0019, &[TCP, 0, 0, 0]);
    assert_eq!(udp.request(tcp), Err(400));
    udp.allocate().unwrap();
    for (kind, value) in [(client::EVEN_PORT, &[0x80][..]), (client::DONT_FRAGMENT, &[])] {
        let mut other = gate.connect(&relay, 1, member("d"), &[]);
        assert_eq!(other.allocate_with(TCP, &[(kind, value)]), Err(400));
    }
    // Datagrams do not reach it.
    udp.permit(control.relayed).unwrap();
    control.request(Message::new(client::CREATE_PERMISSION).peer(udp.relayed)).unwrap();
    udp.bind(0x4000, control.relayed).unwrap();
    udp.socket.send(&client::channel_data(0x4000, b"datagram")).unwrap();
    eventually(&relay, "nobody there", |s| s.drops().any(|d| d == ("no_peer_allocation", 1)));
}

#[test]
fn there_are_none_unless_they_are_configured() {
    let (gate, (relay, _)) = (Gate::new(false), super::start("127.0.0.1:0", 1));
    let mut client = gate.connect(&relay, 1, member("a"), &[]);
    assert_eq!(client.allocate_with(TCP, &[]), Err(442));
}

#[test]
fn an_allocations_end_is_the_end_of_all_its_connections() {
    for gate in Gate::each() {
        let relay = relay(1);
        let mut control = allocated(&gate, &relay, 1, "a");
        let relayed = control.relayed;
        let (mut data, mut peer) = joined(&gate, &relay, &mut control);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        control.connect(listener.local_addr().unwrap()).unwrap();
        let (mut unbound, _) = accept(&listener);
        relay.revoke("a");
        assert!(ended(&mut data) && ended(&mut peer) && ended(&mut unbound));
        control.closed_after();
        eventually(&relay, "nothing", |s| s.connections.tcp + s.connections.tls + s.turn.allocations == 0);
        assert_eq!(gate.open.load(Ordering::SeqCst), 0);
        // Its socket is closed after that, perhaps.
        let end = Instant::now() + PATIENCE;
        while TcpStream::connect(relayed).is_ok() {
            assert!(Instant::now() < end, "somebody still listens");
        }
    }
}

#[test]
fn two_allocations_of_this_daemon_connect_to_each_other() {
    let (gate, relay) = (Gate::new(false), relay(2));
    let mut a = allocated(&gate, &relay, 1, "a");
    for n in 1..8 {
        let mut b = allocated(&gate, &relay, n, "b");
        if n == 1 {
            // It has no permission yet, and hangs up.
            let id = a.connect(b.relayed).unwrap();
            eventually(&relay, "not permitted", |s| s.drops().any(|d| d == ("peer_not_permitted", 1)));
            std::thread::sleep(Duration::from_millis(50));
            let mut dead = gate.connect(&relay, 1, member("a"), &[]);
            assert!(dead.bind_connection(&id).is_err() || ended(&mut dead));
        }
        b.request(Message::new(client::CREATE_PERMISSION).peer(a.relayed)).unwrap();
        let ida = a.connect(b.relayed).unwrap();
        let attempt = b.receive();
        let id = attribute(&attempt, client::CONNECTION_ID).unwrap().to_vec();
        let (mut one, mut other) =
            (gate.connect(&relay, 1, member("a"), &[]), gate.connect(&relay, n, member("b"), &[]));
        one.bind_connection(&ida).unwrap();
        other.bind_connection(&id).unwrap();
        one.stream.write_all(b"hello").unwrap();
        assert_eq!(read(&mut other, 5), b"hello");
        other.stream.write_all(b"good day").unwrap();
        assert_eq!(read(&mut one, 8), b"good day");
    }
}

#[test]
fn a_limit_slows_a_connection_down_and_loses_nothing() {
    let mut settings = settings("127.0.0.1:0", 1);
    settings.turn.tcp_relays = true;
    settings.turn.limits.bytes_per_second = 200_000;
    let (gate, relay) = (Gate::new(false), Relay::start(settings).unwrap());
    let mut control = allocated(&gate, &relay, 1, "a");
    let (mut data, mut peer) = joined(&gate, &relay, &mut control);
    let sent: Vec<u8> = (0..100_000u32).flat_map(u32::to_le_bytes).collect();
    let began = Instant::now();
    let reading = std::thread::spawn({
        let len = sent.len();
        move || read(&mut peer, len)
    });
    data.stream.write_all(&sent).unwrap();
    assert!(reading.join().unwrap() == sent);
    // A second's worth at once, another after a second.
    let took = began.elapsed();
    assert!(took > Duration::from_millis(800) && took < SOON, "{took:?}");
}

#[test]
fn the_end_comes_after_all_that_a_slow_reader_was_sent() {
    for gate in Gate::each() {
        let relay = relay(1);
        let mut control = allocated(&gate, &relay, 1, "a");
        let (mut data, mut peer) = joined(&gate, &relay, &mut control);
        socket2::SockRef::from(&data.socket).set_recv_buffer_size(65_536).unwrap();
        let sent: Vec<u8> = (0..262_144u32).flat_map(u32::to_le_bytes).collect();
        let whole = sent.clone();
        let sending = std::thread::spawn(move || peer.write_all(&whole).unwrap());
        let mut arrived: Vec<u8> = Vec::new();
        let mut buffer = [0; 32_768];
        loop {
            std::thread::sleep(Duration::from_millis(2));
            // A stream that is cut off is an error with TLS.
            match data.read(&mut buffer).unwrap() {
                0 => break,
                n => arrived.extend(&buffer[..n]),
            }
        }
        sending.join().unwrap();
        assert!(arrived == sent, "{} of {} bytes", arrived.len(), sent.len());
    }
}

#[test]
fn an_allocation_on_a_connection_for_data_ends_with_it() {
    for gate in Gate::each() {
        let relay = relay(1);
        let mut control = allocated(&gate, &relay, 1, "a");
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let id = control.connect(listener.local_addr().unwrap()).unwrap();
        let (peer, _) = accept(&listener);
        let mut data = gate.connect(&relay, 1, member("a"), &[]);
        let bind = || Message::new(client::CONNECTION_BIND).with(client::CONNECTION_ID, &id);
        data.log_in(bind());
        let allocate = Message::new(client::ALLOCATE).with(0x0019, &[17, 0, 0, 0]);
        let both = [data.signed(bind()).bytes(), data.signed(allocate).bytes()].concat();
        data.send(&both);
        eventually(&relay, "both", |s| s.turn.allocations_total == 2);
        drop((peer, data));
        eventually(&relay, "the control connection's alone", |s| s.turn.allocations == 1);
        control.request(Message::new(client::REFRESH)).unwrap();
    }
}
