//! What is spoken at which port.

use std::io::Read;
use std::io::Write;
use std::time::Duration;

use callgate::gate::Caller;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::BINDING;
use super::ask;
use super::open;
use super::rest;
use crate::support::PATIENCE;

/// Reads as many bytes as `BINDING` has, the way the relay would, and sends them back.
async fn echo(caller: Caller) -> Caller {
    let answer = move || {
        let mut caller = caller;
        caller.socket.set_nonblocking(false).unwrap();
        caller.socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut bytes = std::mem::take(&mut caller.first);
        let had = bytes.len();
        bytes.resize(BINDING.len(), 0);
        match &mut caller.tls {
            None => {
                caller.socket.read_exact(&mut bytes[had..]).unwrap();
                caller.socket.write_all(&bytes).unwrap();
            }
            Some(tls) => {
                let mut stream = rustls::Stream::new(&mut **tls, &mut caller.socket);
                stream.read_exact(&mut bytes[had..]).unwrap();
                stream.write_all(&bytes).unwrap();
            }
        }
        caller
    };
    tokio::task::spawn_blocking(answer).await.unwrap()
}

#[tokio::test]
async fn a_plain_port_speaks_http_and_turn() {
    let mut door = open("");
    for port in [door.plain, door.turn] {
        let mut http = TcpStream::connect(port).await.unwrap();
        let answer = ask(&mut http).await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("127.0.0.1:"), "{answer}");
        let mut client = TcpStream::connect(port).await.unwrap();
        for piece in [&BINDING[..3], &BINDING[3..6], &BINDING[6..]] {
            client.write_all(piece).await.unwrap();
            client.flush().await.unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let caller = door.caller().await;
        assert_eq!((caller.client, caller.server), (client.local_addr().unwrap(), port));
        assert!(caller.tls.is_none());
        let caller = echo(caller).await;
        let mut back = vec![0; BINDING.len()];
        client.read_exact(&mut back).await.unwrap();
        assert_eq!(back, BINDING);
        // The place goes along.
        door.taken(1).await;
        drop(caller);
        assert!(rest(&mut client).await.is_empty());
        // And is given back with the connection.
        door.taken(0).await;
    }
}

#[tokio::test]
async fn a_tls_port_speaks_turn_with_and_without_being_told() {
    let mut door = open("");
    for protocols in [&[][..], &["stun.turn"], &["http/1.1", "stun.turn"]] {
        let socket = TcpStream::connect(door.secure).await.unwrap();
        let from = socket.local_addr().unwrap();
        let mut client = door.tls(socket, protocols).await.unwrap();
        let caller = if protocols.is_empty() {
            client.write_all(BINDING).await.unwrap();
            door.caller().await
        } else {
            // Agreed on in the handshake, TURN it is before a byte is said.
            let caller = door.caller().await;
            assert!(caller.first.is_empty());
            client.write_all(BINDING).await.unwrap();
            caller
        };
        assert_eq!((caller.client, caller.server), (from, door.secure));
        let caller = echo(caller).await;
        assert!(caller.tls.is_some());
        let mut back = vec![0; BINDING.len()];
        client.read_exact(&mut back).await.unwrap();
        assert_eq!(back, BINDING, "{protocols:?}");
    }
}

#[tokio::test]
async fn a_tls_port_speaks_http_with_and_without_being_told() {
    let mut door = open("");
    for protocols in [&[][..], &["http/1.1"], &["who/knows", "http/1.1"]] {
        let socket = TcpStream::connect(door.secure).await.unwrap();
        let answer = ask(&mut door.tls(socket, protocols).await.unwrap()).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{protocols:?}: {answer}");
    }
    for protocols in [&[][..], &["http/1.1", "h2"]] {
        let socket = TcpStream::connect(door.secure).await.unwrap();
        let mut client = door.tls(socket, protocols).await.unwrap();
        // The preface, and SETTINGS without settings (RFC 9113, sections 3.4 and 6.5).
        client.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
        let mut head = [0; 9];
        client.read_exact(&mut head).await.unwrap();
        assert_eq!(head[3], 4, "{protocols:?}: no SETTINGS but {head:?}");
    }
    assert!(door.callers.try_recv().is_err());
}

#[tokio::test]
async fn who_agreed_on_one_protocol_does_not_get_another() {
    let mut door = open("");
    let socket = TcpStream::connect(door.secure).await.unwrap();
    let mut client = door.tls(socket, &["http/1.1"]).await.unwrap();
    client.write_all(BINDING).await.unwrap();
    let answer = rest(&mut client).await;
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 400"), "{}", String::from_utf8_lossy(&answer));
    assert!(door.callers.try_recv().is_err());
    let socket = TcpStream::connect(door.secure).await.unwrap();
    assert!(
        door.tls(socket, &["stun.nat-discovery"]).await.is_err(),
        "a protocol we don't have was agreed on"
    );
    door.until(|| door.refused("handshake") >= 1, true).await;
}

#[tokio::test]
async fn draining_does_not_wait_for_what_was_handed_over_and_does_for_requests() {
    let mut door = open("");
    let mut client = TcpStream::connect(door.plain).await.unwrap();
    client.write_all(BINDING).await.unwrap();
    let caller = door.caller().await;
    let mut asking = TcpStream::connect(door.plain).await.unwrap();
    asking.write_all(b"GET /peer HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    asking.read_u8().await.unwrap();
    let silent = TcpStream::connect(door.plain).await.unwrap();
    door.taken(3).await;
    let begun = Instant::now();
    door.serving.close().await;
    assert_eq!(door.serving.drain(Instant::now() + PATIENCE).await, 0);
    // Who says nothing would have ten.
    assert!(begun.elapsed() < Duration::from_secs(7), "{:?}", begun.elapsed());
    assert_eq!(door.places.taken(), 1);
    let caller = echo(caller).await;
    drop((caller, silent));
}
