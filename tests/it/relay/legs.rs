//! TURN over TCP and TLS: framing, bounds, and the ends of connections.

use std::io::Write;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use callgate::relay::{Ending, IoDrop};

use super::client::{self, Message, attribute, channel_data};
use super::stream::{Gate, padded};
use super::{
    SOON, eventually, in_first_shard, is_free_again, member, on_host, peer, receive, settings, start,
};
use crate::support::PATIENCE;
use callgate::relay::Relay;

#[test]
fn data_goes_both_ways_over_tcp_and_tls() {
    for gate in Gate::each() {
        let (relay, _) = start("127.0.0.1:0", 1);
        let mut client = gate.allocated(&relay, 1, member("a"));
        let peer = peer("127.0.0.1:0");
        let address = peer.local_addr().unwrap();
        client.bind(0x4000, address).unwrap();
        // Every length modulo four, and nothing at all.
        for text in ["", "1", "22", "333", "4444", "55555"] {
            client.send(&padded(0x4000, text.as_bytes()));
            assert_eq!(receive(&peer), (text.as_bytes().to_vec(), client.relayed));
            peer.send_to(text.as_bytes(), client.relayed).unwrap();
            assert_eq!(client.receive(), padded(0x4000, text.as_bytes()));
        }
        let send = Message::new(client::SEND).peer(address).with(client::DATA_VALUE, b"indeed");
        client.send(send.bytes());
        assert_eq!(receive(&peer).0, b"indeed");
        let other = super::peer("127.0.0.1:0");
        other.send_to(b"by permission", client.relayed).unwrap();
        let data = client.receive();
        assert_eq!(data[..2], client::DATA.to_be_bytes());
        assert_eq!(attribute(&data, client::DATA_VALUE), Some(b"by permission" as &[u8]));
        let open = relay.stats().connections;
        assert_eq!(open.tcp + open.tls, 1);
        eventually(&relay, "ten frames each way", |s| {
            s.connections.frames_in >= 10 && s.connections.frames_out >= 10
        });
    }
}

#[test]
fn frames_may_be_split_anywhere() {
    for gate in Gate::each() {
        let (relay, _) = start("127.0.0.1:0", 1);
        let mut client = gate.allocated(&relay, 1, member("a"));
        let peer = peer("127.0.0.1:0");
        let address = peer.local_addr().unwrap();
        client.bind(0x4000, address).unwrap();
        let mut frames = padded(0x4000, b"first");
        frames.extend(Message::new(client::SEND).peer(address).with(client::DATA_VALUE, b"second").bytes());
        frames.extend(padded(0x4000, b"third"));
        for cut in 1..frames.len() {
            client.send(&frames[..cut]);
            std::thread::sleep(Duration::from_millis(2));
            client.send(&frames[cut..]);
            for text in ["first", "second", "third"] {
                assert_eq!(receive(&peer).0, text.as_bytes(), "cut at {cut}");
            }
        }
        // A byte at a time.
        for byte in &frames {
            client.send(&[*byte]);
        }
        for text in ["first", "second", "third"] {
            assert_eq!(receive(&peer).0, text.as_bytes());
        }
    }
}

#[test]
fn many_frames_in_one_write_keep_their_order() {
    for gate in Gate::each() {
        let (relay, server) = start("127.0.0.1:0", 1);
        let mut client = gate.allocated(&relay, 1, member("a"));
        let other = on_host(2, server, "b");
        client.bind(0x4000, other.relayed).unwrap();
        other.bind(0x4001, client.relayed).unwrap();
        let frames: Vec<u8> = (0..100u32).flat_map(|i| padded(0x4000, &i.to_be_bytes())).collect();
        for _ in 0..20 {
            client.send(&frames);
            for i in 0..100u32 {
                assert_eq!(other.receive(), channel_data(0x4001, &i.to_be_bytes()));
            }
        }
        for i in 0..100u32 {
            other.socket.send(&channel_data(0x4001, &i.to_be_bytes())).unwrap();
        }
        for i in 0..100u32 {
            assert_eq!(client.receive(), padded(0x4000, &i.to_be_bytes()));
        }
    }
}

#[test]
fn a_megabyte_in_a_row_arrives_whole_where_it_is_read() {
    for (from, to) in [(false, false), (true, true), (false, true)] {
        let (relay, _) = start("127.0.0.1:0", 1);
        let mut a = Gate::new(from).allocated(&relay, 1, member("a"));
        let mut b = Gate::new(to).allocated(&relay, 1, member("b"));
        a.bind(0x4000, b.relayed).unwrap();
        b.bind(0x4001, a.relayed).unwrap();
        let payload = |i: usize| i.to_be_bytes().repeat(125 + i % 3);
        let (told, heard) = std::sync::mpsc::channel();
        let reading = std::thread::spawn(move || {
            for i in 0..1000 {
                assert_eq!(b.receive(), padded(0x4001, &payload(i)), "frame {i}");
                told.send(i).unwrap();
            }
        });
        for chunk in (0..1000).collect::<Vec<_>>().chunks(50) {
            let frames: Vec<u8> = chunk.iter().flat_map(|&i| padded(0x4000, &payload(i))).collect();
            a.send(&frames);
            // Never more on the way than one queue holds, however late the reader is.
            let last = chunk[49];
            while last >= 150 && heard.recv_timeout(PATIENCE).expect("it is read") < last - 150 {}
        }
        reading.join().unwrap();
        assert_eq!(relay.stats().io_drops(IoDrop::QueueFull), 0);
    }
}

#[test]
fn connections_of_different_shards_talk_to_each_other() {
    for gate in Gate::each() {
        let settings = settings("127.0.0.1:0", 2);
        let ports = settings.turn.all_ports.clone();
        let relay = Relay::start(settings).unwrap();
        let mut a = gate.allocated(&relay, 1, member("a"));
        let low = |relayed: std::net::SocketAddr| relayed.port() < ports.start() + 20;
        let mut b = (2..20)
            .map(|n| gate.allocated(&relay, n, member("b")))
            .find(|b| low(b.relayed) != low(a.relayed))
            .expect("all hosts in one shard");
        a.bind(0x4000, b.relayed).unwrap();
        b.bind(0x4001, a.relayed).unwrap();
        for round in 0..200 {
            let text = format!("round {round}");
            a.send(&padded(0x4000, text.as_bytes()));
            assert_eq!(b.receive(), padded(0x4001, text.as_bytes()));
            b.send(&padded(0x4001, text.as_bytes()));
            assert_eq!(a.receive(), padded(0x4000, text.as_bytes()));
        }
        let frames: Vec<u8> = (0..500u32).flat_map(|i| padded(0x4000, &i.to_be_bytes().repeat(50))).collect();
        a.send(&frames);
        for i in 0..500u32 {
            assert_eq!(b.receive(), padded(0x4001, &i.to_be_bytes().repeat(50)));
        }
        assert_eq!(relay.stats().turn.in_process.packets, 900);

        // And with a client of each shard that uses UDP.
        let server = relay.listening()[0];
        for n in 1..20 {
            let udp = on_host(n, server, "u");
            udp.bind(0x4000, a.relayed).unwrap();
            a.bind(0x4100 + u16::from(n), udp.relayed).unwrap();
            udp.socket.send(&channel_data(0x4000, b"over UDP")).unwrap();
            assert_eq!(a.receive(), padded(0x4100 + u16::from(n), b"over UDP"));
            a.send(&padded(0x4100 + u16::from(n), b"over a stream"));
            assert_eq!(udp.receive(), channel_data(0x4000, b"over a stream"));
            if n > 3 && in_first_shard(&udp, &ports) != low(a.relayed) {
                break;
            }
        }
    }
}

#[test]
fn a_client_uses_one_shard_over_every_transport() {
    let settings = settings("127.0.0.1:0", 2);
    let ports = settings.turn.all_ports.clone();
    let relay = Relay::start(settings).unwrap();
    let (server, gate) = (relay.listening()[0], Gate::new(false));
    for n in 1..=8 {
        let (udp, tcp) = (on_host(n, server, "a"), gate.allocated(&relay, n, member("b")));
        assert_eq!(in_first_shard(&udp, &ports), tcp.relayed.port() < ports.start() + 20, "127.0.0.{n}");
    }
}

#[test]
fn what_the_gate_has_read_already_is_not_lost() {
    for gate in Gate::each() {
        let (relay, _) = start("127.0.0.1:0", 1);
        let binding = Message::new(0x0001);
        let allocate = Message::new(client::ALLOCATE).with(0x0019, &[17, 0, 0, 0]);
        let first = [binding.bytes(), &allocate.bytes()[..15]].concat();
        let mut client = gate.connect(&relay, 1, member("a"), &first);
        let answer = client.receive();
        assert_eq!((&answer[..2], &answer[8..20]), (&[1, 1][..], &binding.bytes()[8..20]));
        client.send(&allocate.bytes()[15..]);
        assert_eq!(client.receive()[8..20], allocate.bytes()[8..20]);
        client.allocate().unwrap();
    }
}

#[test]
fn garbage_ends_the_connection_and_is_counted() {
    for gate in Gate::each() {
        let (relay, _) = start("127.0.0.1:0", 1);
        let too_long = [0, 3, 0x40, 0, 0x21, 0x12, 0xA4, 0x42];
        let starts: [&[u8]; 4] = [b"GET / HTTP/1.1\r\n", b"\xff", &[0, 1, 0, 0, 0, 0, 0, 0], &too_long];
        for garbage in starts {
            let mut client = gate.connect(&relay, 1, member("a"), &[]);
            // What came before it is answered.
            let binding = Message::new(0x0001);
            client.send(&[binding.bytes(), garbage].concat());
            assert_eq!(client.receive()[8..20], binding.bytes()[8..20]);
            assert!(client.closed_after() < SOON);
        }
        let mut client = gate.allocated(&relay, 1, member("a"));
        client.send(&[0x7f; 100]);
        client.closed_after();
        eventually(&relay, "the end of all", |s| {
            let open = s.connections.tcp + s.connections.tls;
            (s.connections.ended(Ending::Garbage), s.turn.allocations, open) == (5, 0, 0)
        });
        assert_eq!(gate.open.load(Ordering::SeqCst), 0);
    }
}

#[test]
fn a_broken_tls_record_ends_the_connection() {
    let (relay, _) = start("127.0.0.1:0", 1);
    let client = Gate::new(true).allocated(&relay, 1, member("a"));
    let mut raw: &TcpStream = &client.socket;
    raw.write_all(&[0x17, 3, 3, 0, 40]).unwrap();
    raw.write_all(&[1; 40]).unwrap();
    eventually(&relay, "the end", |s| s.connections.tls == 0 && s.turn.allocations == 0);
    assert_eq!(relay.stats().connections.ended(Ending::Failed), 1);
}

#[test]
fn an_allocation_ends_with_its_connection() {
    for gate in Gate::each() {
        let (relay, _) = start("127.0.0.1:0", 1);
        let client = gate.allocated(&relay, 1, member("a"));
        let relayed = client.relayed;
        assert_eq!(relay.stats().turn.allocations, 1);
        drop(client);
        eventually(&relay, "no allocation", |s| s.turn.allocations == 0);
        is_free_again(relayed);
        assert_eq!(gate.open.load(Ordering::SeqCst), 0);
        assert_eq!(relay.stats().connections.ended(Ending::Gone), 1);
    }
}

#[test]
fn a_revoked_credential_loses_its_connection_at_once() {
    for gate in Gate::each() {
        let (relay, _) = start("127.0.0.1:0", 2);
        let mut gone = gate.allocated(&relay, 1, member("gone"));
        let mut stays = gate.allocated(&relay, 1, member("stays"));
        relay.revoke("gone");
        assert!(gone.closed_after() < SOON);
        eventually(&relay, "one end", |s| s.connections.ended(Ending::Ended) == 1);
        assert_eq!(gate.open.load(Ordering::SeqCst), 1);
        stays.request(Message::new(client::REFRESH)).unwrap();
    }
}

#[test]
fn who_gives_up_the_allocation_may_keep_the_connection() {
    for gate in Gate::each() {
        let (relay, _) = start("127.0.0.1:0", 1);
        let mut client = gate.allocated(&relay, 1, member("a"));
        client.request(Message::new(client::REFRESH).with(0x000D, &[0; 4])).unwrap();
        assert_eq!(relay.stats().turn.allocations, 0);
        client.allocate().unwrap();
        assert_eq!(relay.stats().turn.allocations, 1);
    }
}

#[test]
fn a_slow_reader_has_a_bounded_queue_and_hurts_nobody() {
    for gate in Gate::each() {
        let (relay, _) = start("127.0.0.1:0", 1);
        let mut slow = gate.allocated(&relay, 1, member("slow"));
        let mut quick = gate.allocated(&relay, 1, member("quick"));
        let source = peer("127.0.0.1:0");
        for client in [&mut slow, &mut quick] {
            client.bind(0x4000, source.local_addr().unwrap()).unwrap();
        }
        let packet = |i: u32| [&i.to_be_bytes()[..], &[7; 1196]].concat();
        for i in 0..5000 {
            source.send_to(&packet(i), slow.relayed).unwrap();
            if i % 50 == 0 {
                source.send_to(&packet(i), quick.relayed).unwrap();
                assert_eq!(quick.receive(), padded(0x4000, &packet(i)));
            }
        }
        eventually(&relay, "drops", |s| s.io_drops(IoDrop::QueueFull) > 0);
        // What did get through is whole and in order: the newest were dropped.
        let mut last = None;
        let mut count = 0;
        // And it goes on: what is said now finds room as soon as some of that is read.
        let later = padded(0x4000, b"afterwards");
        let stop = Arc::new(AtomicBool::new(false));
        let saying = std::thread::spawn({
            let (stop, to) = (Arc::clone(&stop), slow.relayed);
            move || {
                while !stop.load(Ordering::SeqCst) {
                    source.send_to(b"afterwards", to).unwrap();
                    std::thread::sleep(Duration::from_millis(20));
                }
            }
        });
        loop {
            let frame = slow.receive();
            if frame == later {
                break;
            }
            let number = u32::from_be_bytes(frame[4..8].try_into().unwrap());
            assert_eq!(frame, padded(0x4000, &packet(number)));
            assert!(last < Some(number), "{number} after {last:?}");
            last = Some(number);
            count += 1;
        }
        stop.store(true, Ordering::SeqCst);
        saying.join().unwrap();
        assert!((100..4000).contains(&count), "{count} frames were kept");
    }
}

#[test]
fn who_does_not_read_at_all_is_cut_off() {
    let (relay, _) = start("127.0.0.1:0", 1);
    let mut client = Gate::new(false).allocated(&relay, 1, member("a"));
    let source = peer("127.0.0.1:0");
    client.bind(0x4000, source.local_addr().unwrap()).unwrap();
    let began = Instant::now();
    while relay.stats().connections.tcp == 1 {
        assert!(began.elapsed() < 2 * PATIENCE, "still there");
        for _ in 0..100 {
            source.send_to(&[1; 1200], client.relayed).unwrap();
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(began.elapsed() > Duration::from_secs(9), "{:?}", began.elapsed());
    eventually(&relay, "its end, and its allocation's", |s| {
        s.connections.ended(Ending::Stalled) == 1 && s.turn.allocations == 0
    });
}

#[test]
fn a_draining_relay_waits_for_nobody_without_an_allocation() {
    for gate in Gate::each() {
        let (relay, _) = start("127.0.0.1:0", 1);
        let mut stays = gate.allocated(&relay, 1, member("a"));
        let mut goes = gate.connect(&relay, 1, member("b"), &[]);
        eventually(&relay, "both", |s| s.connections.tcp + s.connections.tls == 2);
        relay.drain();
        assert!(goes.closed_after() < SOON);
        stays.request(Message::new(client::REFRESH)).unwrap();
        // It is counted once it is closed.
        eventually(&relay, "one end", |s| s.connections.ended(Ending::Idle) == 1);
        relay.stop();
        stays.closed_after();
        assert_eq!(gate.open.load(Ordering::SeqCst), 0);
    }
}

#[test]
fn who_closes_its_side_after_a_request_gets_the_answer() {
    for gate in Gate::each() {
        let (relay, _) = start("127.0.0.1:0", 1);
        for _ in 0..3 {
            let mut client = gate.connect(&relay, 1, member("a"), &[]);
            let binding = Message::new(0x0001);
            // Both in one segment, to a relay that looks at neither alone.
            std::thread::sleep(Duration::from_millis(20));
            socket2::SockRef::from(&client.socket).set_tcp_cork(true).unwrap();
            client.send(binding.bytes());
            client.socket.shutdown(std::net::Shutdown::Write).unwrap();
            assert_eq!(client.receive()[8..20], binding.bytes()[8..20]);
            client.closed_after();
        }
    }
}

#[test]
fn channel_data_before_there_was_an_allocation_is_garbage() {
    for gate in Gate::each() {
        let (relay, _) = start("127.0.0.1:0", 1);
        let mut stranger = gate.connect(&relay, 1, member("a"), &[]);
        stranger.send(&[0x40, 0, 0, 0].repeat(10_000));
        assert!(stranger.closed_after() < SOON);
        eventually(&relay, "an end", |s| s.connections.ended(Ending::Garbage) == 1);
        // Afterwards it may be late.
        let mut client = gate.allocated(&relay, 1, member("a"));
        client.request(Message::new(client::REFRESH).with(0x000D, &[0; 4])).unwrap();
        client.send(&padded(0x4000, b"late"));
        client.allocate().unwrap();
    }
}
