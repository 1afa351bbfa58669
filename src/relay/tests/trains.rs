//! Trains through real sockets: what is received as one leaves as one, and without the kernel's help it leaves anyway.

use std::net::SocketAddr;
use std::net::UdpSocket;
use std::time::Duration;

use crate::relay::train::Outbox;
use crate::relay::train::Place;
use crate::relay::train::Via;
use crate::relay::train::Way;
use crate::relay::udp::Inbox;
use crate::relay::udp::Sender;
use crate::relay::udp::Socket;
use crate::turn::Head;
use crate::turn::Span;

fn local(address: &str) -> Socket {
    Socket::listener(address.parse().unwrap(), true).unwrap()
}

fn receiver(address: &str) -> UdpSocket {
    let socket = UdpSocket::bind(address).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    socket
}

fn way(to: SocketAddr) -> Way {
    Way { via: Via::Listener(0), to, source: to.ip(), dont_fragment: false }
}

fn head(bytes: &[u8], padding: u8) -> Head {
    let mut head = Head { bytes: [0; Head::MAX], len: bytes.len() as u8, padding };
    head.bytes[..bytes.len()].copy_from_slice(bytes);
    head
}

fn wait(inbox: &mut Inbox, socket: &Socket) {
    for _ in 0..4000 {
        match inbox.receive(socket) {
            Ok(0) | Err(_) => std::thread::sleep(Duration::from_millis(5)),
            Ok(_) => return,
        }
    }
    panic!("nothing arrived");
}

/// Sends `packets` as one train (or singly, with `limit` 0) into a fresh inbox.
fn arrive(packets: &[&[u8]], offload: bool) -> (Inbox, Vec<Place>) {
    let (from, to) = (local("127.0.0.1:0"), local("127.0.0.1:0"));
    from.limit_offload(if offload { u16::MAX } else { 0 });
    let mut source = Inbox::new();
    let mut outbox = Outbox::default();
    // An inbox is the only place that packets are sent from: write them there first.
    let feeder = UdpSocket::bind("127.0.0.1:0").unwrap();
    feeder.send_to(&packets.concat(), from.local()).unwrap();
    wait(&mut source, &from);
    let mut offset = 0;
    for packet in packets {
        let place = Place { slot: 0, offset };
        outbox.push(&mut source, place, Span { start: 0, end: packet.len() as u16 }, way(to.local()), None);
        offset += packet.len() as u32;
    }
    let all: Vec<u16> = (0..outbox.trains().len() as u16).collect();
    Sender::new().send(&from, &source, &outbox, &all, &mut |n, e| panic!("{n} lost: {e}"));
    let mut inbox = Inbox::new();
    let mut places = Vec::new();
    // On a busy machine the last of them are not there yet when the first are.
    while places.len() < packets.len() {
        let first = inbox.len();
        wait(&mut inbox, &to);
        for slot in first..inbox.len() {
            let arrival = inbox.arrival(slot).unwrap();
            assert_eq!(arrival.from, from.local());
            for offset in (0..arrival.len.max(1)).step_by(arrival.segment) {
                places.push(Place { slot: slot as u16, offset: offset as u32 });
            }
        }
    }
    (inbox, places)
}

#[test]
fn a_train_arrives_as_one_and_singles_arrive_alone() {
    let packets: [&[u8]; 4] = [&[1; 1000], &[2; 1000], &[3; 1000], &[4; 7]];
    let (inbox, places) = arrive(&packets, true);
    assert_eq!((inbox.len(), places.len()), (1, 4));
    let (inbox, places) = arrive(&packets, false);
    assert_eq!((inbox.len(), places.len()), (4, 4));
}

#[test]
fn heads_are_put_in_front_of_every_packet_of_a_train() {
    let packets: [&[u8]; 4] = [&[1; 100], &[2; 100], &[3; 100], &[4; 50]];
    for (offload, padding) in [(true, 0), (false, 0), (true, 2), (false, 3)] {
        let (mut inbox, places) = arrive(&packets, true);
        let to = receiver("127.0.0.1:0");
        let from = local("127.0.0.1:0");
        from.limit_offload(if offload { u16::MAX } else { 0 });
        let mut outbox = Outbox::default();
        for (place, packet) in places.iter().zip(&packets) {
            let head = head(&[0x40, 0, 0, packet.len() as u8], padding);
            let payload = Span { start: 0, end: packet.len() as u16 };
            outbox.push(&mut inbox, *place, payload, way(to.local_addr().unwrap()), Some(&head));
        }
        assert_eq!(outbox.trains().len(), 1);
        Sender::new().send(&from, &inbox, &outbox, &[0], &mut |n, e| panic!("{n} lost: {e}"));
        for packet in packets {
            let mut buffer = [9; 2000];
            let n = to.recv(&mut buffer).unwrap();
            let mut wanted = vec![0x40, 0, 0, packet.len() as u8];
            wanted.extend(packet);
            wanted.extend(vec![0; padding.into()]);
            assert_eq!(&buffer[..n], wanted, "offload {offload}, padding {padding}");
        }
    }
}

#[test]
fn a_head_that_takes_the_place_of_another_leaves_one_piece_of_memory() {
    let packets: [&[u8]; 3] = [b"\x40\0\0\x06first!", b"\x40\0\0\x06second", b"\x40\0\0\x05third"];
    let (mut inbox, places) = arrive(&packets, true);
    let to = receiver("127.0.0.1:0");
    let from = local("127.0.0.1:0");
    let mut outbox = Outbox::default();
    for (place, packet) in places.iter().zip(&packets) {
        let head = head(&[0x41, 1, 0, packet[3]], 0);
        let payload = Span { start: 4, end: packet.len() as u16 };
        outbox.push(&mut inbox, *place, payload, way(to.local_addr().unwrap()), Some(&head));
    }
    Sender::new().send(&from, &inbox, &outbox, &[0], &mut |n, e| panic!("{n} lost: {e}"));
    for wanted in [b"\x41\x01\0\x06first!" as &[u8], b"\x41\x01\0\x06second", b"\x41\x01\0\x05third"] {
        let mut buffer = [0; 100];
        let n = to.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..n], wanted);
    }
}

#[test]
fn nothing_follows_a_shorter_packet_in_its_train() {
    let packets: [&[u8]; 3] = [&[1; 10], &[2; 5], &[3; 10]];
    let mut inbox = Inbox::new();
    let mut outbox = Outbox::default();
    let mut offset = 0;
    for packet in packets {
        let payload = Span { start: 0, end: packet.len() as u16 };
        outbox.push(
            &mut inbox,
            Place { slot: 0, offset },
            payload,
            way("127.0.0.1:9".parse().unwrap()),
            None,
        );
        offset += packet.len() as u32;
    }
    let counts: Vec<_> = outbox.trains().iter().map(|t| t.count).collect();
    assert_eq!(counts, [2, 1]);
}

#[test]
fn empty_datagrams_are_packets_too() {
    let (mut inbox, places) = arrive(&[&[]], true);
    let to = receiver("127.0.0.1:0");
    let mut outbox = Outbox::default();
    let head = head(&[0x40, 0, 0, 0], 0);
    outbox.push(&mut inbox, places[0], Span { start: 0, end: 0 }, way(to.local_addr().unwrap()), Some(&head));
    Sender::new().send(&local("127.0.0.1:0"), &inbox, &outbox, &[0], &mut |n, e| panic!("{n} lost: {e}"));
    let mut buffer = [0; 100];
    assert_eq!(to.recv(&mut buffer).unwrap(), 4);
}

#[test]
fn a_wildcard_socket_tells_where_a_datagram_went_and_answers_from_there() {
    for (wildcard, host) in [("0.0.0.0:0", "127.0.0.77"), ("[::]:0", "::1")] {
        let socket = local(wildcard);
        let client = receiver(&SocketAddr::new(host.parse().unwrap(), 0).to_string());
        let server = SocketAddr::new(host.parse().unwrap(), socket.local().port());
        client.send_to(b"question", server).unwrap();
        let mut inbox = Inbox::new();
        wait(&mut inbox, &socket);
        let arrival = inbox.arrival(0).unwrap();
        assert_eq!((arrival.from, arrival.to), (client.local_addr().unwrap(), Some(server.ip())));
        socket.send(arrival.from, server.ip(), b"answer").unwrap();
        let mut buffer = [0; 100];
        let (n, from) = client.recv_from(&mut buffer).unwrap();
        assert_eq!((&buffer[..n], from), (b"answer" as &[u8], server));
    }
}

#[test]
fn a_closed_port_of_the_peer_shows_in_the_error_queue_and_the_socket_goes_on() {
    for host in ["127.0.0.1", "::1"] {
        let any = SocketAddr::new(host.parse().unwrap(), 0);
        let relay = Socket::relay(any).unwrap();
        let closed = UdpSocket::bind(any).unwrap().local_addr().unwrap();
        relay.send(closed, closed.ip(), b"hello").unwrap();
        let error = (0..10_000).find_map(|_| {
            std::thread::sleep(Duration::from_millis(2));
            relay.next_error()
        });
        let error = error.expect("no ICMP error");
        let wanted = if any.is_ipv4() { (3, 3) } else { (1, 4) };
        assert_eq!((error.peer, (error.kind, error.code)), (closed, wanted));
        let open = receiver(&any.to_string());
        relay.send(closed, closed.ip(), b"hello").unwrap();
        relay.send(open.local_addr().unwrap(), closed.ip(), b"still here").unwrap();
        let mut buffer = [0; 100];
        assert_eq!(open.recv(&mut buffer).unwrap(), 10);
    }
}

#[test]
fn all_trains_of_a_batch_survive_a_kernel_that_refuses_them() {
    let (from, one, two) = (local("127.0.0.1:0"), receiver("127.0.0.1:0"), receiver("127.0.0.1:0"));
    from.refuse_offload();
    let (mut source, mut outbox) = (Inbox::new(), Outbox::default());
    receiver("127.0.0.1:0").send_to(&[7; 400], from.local()).unwrap();
    wait(&mut source, &from);
    for (to, offset) in [(&one, 0), (&one, 100), (&two, 200), (&two, 300)] {
        let way = way(to.local_addr().unwrap());
        outbox.push(&mut source, Place { slot: 0, offset }, Span { start: 0, end: 100 }, way, None);
    }
    assert_eq!(outbox.trains().len(), 2);
    let mut lost = 0;
    Sender::new().send(&from, &source, &outbox, &[0, 1], &mut |packets, _| lost += packets);
    assert_eq!(lost, 0);
    for to in [one, two] {
        for _ in 0..2 {
            assert_eq!(to.recv(&mut [0; 200]).unwrap(), 100);
        }
    }
}

// What follows shows something only where the loopback device has an MTU of 1500 (unshare -n; ip link set lo mtu 1500 up).

#[test]
fn a_train_of_packets_longer_than_the_mtu_arrives_in_fragments() {
    let (from, to) = (local("127.0.0.1:0"), receiver("127.0.0.1:0"));
    let (mut source, mut outbox) = (Inbox::new(), Outbox::default());
    receiver("127.0.0.1:0").send_to(&[7; 3200], from.local()).unwrap();
    wait(&mut source, &from);
    for offset in [0, 1600] {
        let way = way(to.local_addr().unwrap());
        outbox.push(&mut source, Place { slot: 0, offset }, Span { start: 0, end: 1600 }, way, None);
    }
    assert_eq!(outbox.trains().len(), 1);
    Sender::new().send(&from, &source, &outbox, &[0], &mut |n, e| panic!("{n} lost: {e}"));
    for _ in 0..2 {
        assert_eq!(to.recv(&mut [0; 2000]).unwrap(), 1600);
    }
}

#[test]
fn too_long_a_packet_not_to_be_fragmented_is_one_error_that_names_its_peer() {
    for host in ["127.0.0.1:0", "[::1]:0"] {
        let (relay, to) = (Socket::relay(host.parse().unwrap()).unwrap(), receiver(host));
        let to = to.local_addr().unwrap();
        let (mut source, mut outbox) = (Inbox::new(), Outbox::default());
        receiver(host).send_to(&[7; 2000], relay.local()).unwrap();
        wait(&mut source, &relay);
        let way = Way { dont_fragment: true, ..way(to) };
        outbox.push(&mut source, Place { slot: 0, offset: 0 }, Span { start: 0, end: 2000 }, way, None);
        let mut lost = 0;
        Sender::new().send(&relay, &source, &outbox, &[0], &mut |packets, _| lost += packets);
        let errors: Vec<_> = std::iter::from_fn(|| relay.next_error()).collect();
        assert_eq!(errors.len() as u64, lost, "{errors:?}");
        assert!(errors.iter().all(|error| error.peer == to && error.info == 1500), "{errors:?}");
    }
}
