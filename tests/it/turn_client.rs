//! The webrtc crates' TURN client against the daemon. To that client a CreatePermission that got no answer is a success,
//! so these tests believe nothing but data that arrived.

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use callgate::turn::credential;
use secrecy::SecretString;
use tempfile::TempDir;
use tokio::time::timeout;
use webrtc_turn::client::{Client, ClientConfig};
use webrtc_util::Conn;

const SECRET: &str = "north wind";
const MESSAGES: usize = 40;

/// The binary with a relay on both loopback addresses; ends with the test.
struct Daemon {
    child: Child,
    turn_port: u16,
    _state: TempDir,
}

impl Daemon {
    fn start() -> Self {
        let http_port = TcpListener::bind("[::]:0").unwrap().local_addr().unwrap().port();
        let turn_port = UdpSocket::bind("[::]:0").unwrap().local_addr().unwrap().port();
        let state = TempDir::new().unwrap();
        let file = state.path().join("callgate.toml");
        let config = format!(
            r#"
            public.addresses = ["127.0.0.1", "::1"]
            http.listen = ["127.0.0.1:{http_port}"]
            [turn]
            listen = ["127.0.0.1:{turn_port}", "[::1]:{turn_port}"]
            secrets = ["{SECRET}"]
            relay_ports = "61000-65499"
            workers = 2
            peers.allow = ["127.0.0.0/8"]
            "#
        );
        std::fs::write(&file, config).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_callgate"))
            .args(["--config".as_ref(), file.as_os_str()])
            .env("STATE_DIRECTORY", state.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Self { child, turn_port, _state: state }
    }

    /// A client with a socket of its own, that is known to be answered.
    async fn client(&self, host: &str) -> Client {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        let made = credential::mint(&SecretString::from(SECRET), "crate", now + 600);
        let server = format!("{host}:{}", self.turn_port);
        let client = Client::new(ClientConfig {
            stun_serv_addr: server.clone(),
            turn_serv_addr: server,
            username: made.username,
            password: made.password,
            realm: "callgate".to_owned(),
            software: String::new(),
            rto_in_ms: 0,
            conn: Arc::new(tokio::net::UdpSocket::bind(format!("{host}:0")).await.unwrap()),
            vnet: None,
        })
        .await
        .unwrap();
        client.listen().await.unwrap();
        // The client repeats its request until the daemon is up.
        timeout(Duration::from_secs(20), client.send_binding_request()).await.unwrap().unwrap();
        client
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The next datagram, as text, and where it came from.
async fn receive(conn: &impl Conn) -> (String, SocketAddr) {
    let mut buffer = [0; 1500];
    let (len, from) =
        timeout(Duration::from_secs(5), conn.recv_from(&mut buffer)).await.expect("no data arrived").unwrap();
    (String::from_utf8(buffer[..len].to_vec()).unwrap(), from)
}

/// Sends to a plain peer and back, at first by indications, then, once the client has bound it, over a channel.
async fn talks_with_a_peer(host: &str) {
    let daemon = Daemon::start();
    let client = daemon.client(host).await;
    let relay = client.allocate().await.unwrap();
    let relayed = relay.local_addr().unwrap();
    // This client asks for no address family, so its relayed address is an IPv4 one.
    assert!(relayed.is_ipv4(), "{relayed}");

    let peer = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
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
    talks_with_a_peer("127.0.0.1").await;
}

#[tokio::test]
async fn the_turn_crates_client_talks_with_an_ipv4_peer_over_ipv6() {
    talks_with_a_peer("[::1]").await;
}

#[tokio::test]
async fn two_of_the_turn_crates_clients_talk_from_relay_to_relay() {
    let daemon = Daemon::start();
    let (left_client, right_client) = (daemon.client("127.0.0.1").await, daemon.client("127.0.0.1").await);
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
        assert_eq!(receive(&right).await, (text, left_address));
    }
    left.close().await.unwrap();
    right.close().await.unwrap();
}
