//! The webrtc crates' TURN client against the daemon. To that client a CreatePermission that got no answer is a success,
//! so these tests believe nothing but data that arrived.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

use callgate::turn::credential;
use secrecy::SecretString;
use tokio::net::UdpSocket;
use tokio::time::timeout;
use webrtc_turn::client::Client;
use webrtc_turn::client::ClientConfig;
use webrtc_util::Conn;

use crate::support::Callgate;
use crate::support::PATIENCE;

const SECRET: &str = "north wind";
const MESSAGES: usize = 40;

/// A daemon with a relay on both loopback addresses.
fn daemon() -> Callgate {
    Callgate::start(&format!(
        r#"
[public]
addresses = ["127.0.0.1", "::1"]
[turn]
listen = ["127.0.0.1:0", "[::1]:0"]
secrets = ["{SECRET}"]
workers = 2
[turn.peers]
allow = ["127.0.0.0/8"]
"#
    ))
}

/// A client with a socket of its own that talks with the listener of that family.
async fn client(daemon: &Callgate, ipv6: bool) -> Client {
    let server = *daemon.turn.iter().find(|address| address.is_ipv6() == ipv6).unwrap();
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let made = credential::mint(&SecretString::from(SECRET), "crate", now + 600);
    let client = Client::new(ClientConfig {
        stun_serv_addr: server.to_string(),
        turn_serv_addr: server.to_string(),
        username: made.username,
        password: made.password,
        realm: "callgate".to_owned(),
        software: String::new(),
        rto_in_ms: 0,
        conn: Arc::new(UdpSocket::bind((server.ip(), 0)).await.unwrap()),
        vnet: None,
    })
    .await
    .unwrap();
    client.listen().await.unwrap();
    client
}

/// The next datagram, as text, and where it came from.
async fn receive(conn: &impl Conn) -> (String, SocketAddr) {
    let mut buffer = [0; 1500];
    let (len, from) = timeout(PATIENCE, conn.recv_from(&mut buffer)).await.expect("no data arrived").unwrap();
    (String::from_utf8(buffer[..len].to_vec()).unwrap(), from)
}

/// Sends to a plain peer and back, at first by indications, then, once the client has bound it, over a channel.
async fn talks_with_a_peer(ipv6: bool) {
    let daemon = daemon();
    let client = client(&daemon, ipv6).await;
    let relay = client.allocate().await.unwrap();
    let relayed = relay.local_addr().unwrap();
    // This client asks for no address family, so its relayed address is an IPv4 one.
    assert!(relayed.is_ipv4(), "{relayed}");
    assert_eq!(client.send_binding_request().await.unwrap().is_ipv6(), ipv6);

    let peer = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let peer_address = peer.local_addr().unwrap();
    for number in 0..MESSAGES {
        let there = format!("{number} there");
        relay.send_to(there.as_bytes(), peer_address).await.unwrap();
        assert_eq!(receive(&peer).await, (there, relayed));

        let back = format!("{number} and back");
        peer.send_to(back.as_bytes(), relayed).await.unwrap();
        assert_eq!(receive(&relay).await, (back, peer_address));
    }
    relay.close().await.unwrap();
    client.close().await.unwrap();
}

#[tokio::test]
async fn the_turn_crates_client_talks_with_a_peer() {
    talks_with_a_peer(false).await;
}

#[tokio::test]
async fn the_turn_crates_client_talks_with_an_ipv4_peer_over_ipv6() {
    talks_with_a_peer(true).await;
}

#[tokio::test]
async fn two_of_the_turn_crates_clients_talk_from_relay_to_relay() {
    let daemon = daemon();
    let (left_client, right_client) = (client(&daemon, false).await, client(&daemon, false).await);
    let left = left_client.allocate().await.unwrap();
    let right = right_client.allocate().await.unwrap();
    let (left_address, right_address) = (left.local_addr().unwrap(), right.local_addr().unwrap());

    // A packet that arrives before the receiver has made its permission is dropped: this one opens left's door.
    left.send_to(b"knock", right_address).await.unwrap();
    for number in 0..MESSAGES {
        let text = format!("to the left {number}");
        right.send_to(text.as_bytes(), left_address).await.unwrap();
        assert_eq!(receive(&left).await, (text, right_address));

        let text = format!("to the right {number}");
        left.send_to(text.as_bytes(), right_address).await.unwrap();
        let mut received = receive(&right).await;
        if received.0 == "knock" {
            // It was overtaken by right's own permission, so it was not dropped.
            received = receive(&right).await;
        }
        assert_eq!(received, (text, left_address));
    }
    left.close().await.unwrap();
    right.close().await.unwrap();
}
