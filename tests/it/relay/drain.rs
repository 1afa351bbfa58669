//! What becomes of relayed calls when the daemon is told to stop.

use std::net::UdpSocket;
use std::time::Duration;
use std::time::Instant;

use callgate::turn::credential::Credential;

use super::client::Client;
use super::client::Message;
use super::client::REFRESH;
use super::client::channel_data;
use crate::reload::handed_out;
use crate::support::Callgate;
use crate::support::PATIENCE;

fn daemon() -> Callgate {
    Callgate::start(
        "[turn]\nlisten = [\"127.0.0.1:0\"]\nworkers = 2\nusers = [\"amy:passw0rd!\"]\n\
         alternate = [\"127.0.0.1:3479\"]\npeers.allow = [\"127.0.0.0/8\"]\n",
    )
}

fn amy() -> Credential {
    Credential { username: "amy".to_owned(), password: "passw0rd!".to_owned() }
}

#[tokio::test]
async fn calls_go_on_for_a_while_after_the_first_signal_and_none_begins() {
    let mut daemon = daemon();
    let client = Client::allocated(daemon.turn[0], amy());
    let (username, password) = handed_out(&daemon).await;
    let member = Client::allocated(daemon.turn[0], Credential { username, password });
    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    client.bind(0x4000, peer.local_addr().unwrap()).unwrap();
    daemon.signal("TERM");
    daemon.wait_for_log("stopping; the same again stops at once");
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(1500) {
        client.socket.send(&channel_data(0x4000, b"there")).unwrap();
        let mut buffer = [0; 100];
        let (length, from) = peer.recv_from(&mut buffer).expect("the call is cut");
        assert_eq!(&buffer[..length], b"there");
        peer.send_to(b"back", from).unwrap();
        assert_eq!(client.receive(), channel_data(0x4000, b"back"));
        std::thread::sleep(Duration::from_millis(100));
    }
    member.request(Message::new(REFRESH)).expect("the member has lost its relay");
    let begun = Instant::now();
    while Client::new(daemon.turn[0], amy()).allocate() != Err(300) {
        assert!(begun.elapsed() < Duration::from_secs(5), "it is not sent on");
    }
    // Again: now.
    let again = Instant::now();
    daemon.signal("TERM");
    assert_eq!(daemon.wait().code(), Some(1));
    assert!(again.elapsed() < Duration::from_secs(5), "{:?}", again.elapsed());
}

#[test]
fn it_stops_with_the_last_call() {
    let mut daemon = daemon();
    let client = Client::allocated(daemon.turn[0], amy());
    let begun = Instant::now();
    daemon.signal("TERM");
    std::thread::sleep(Duration::from_millis(500));
    client.request(Message::new(REFRESH).with(0x000D, &[0; 4])).expect("the call is cut");
    assert_eq!(daemon.wait().code(), Some(0));
    // It would have waited for eight seconds.
    assert!(begun.elapsed() < Duration::from_secs(7), "{:?}", begun.elapsed());
}

#[test]
fn a_call_that_does_not_end_is_ended_within_ten_seconds() {
    let mut daemon = daemon();
    let _client = Client::allocated(daemon.turn[0], amy());
    let begun = Instant::now();
    daemon.signal("TERM");
    assert_eq!(daemon.wait().code(), Some(0));
    let took = begun.elapsed();
    // On a machine that has time for it, less than ten.
    assert!((Duration::from_secs(8)..Duration::from_secs(15)).contains(&took), "{took:?}");
}
