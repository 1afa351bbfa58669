//! Behind a load balancer: 127.0.0.9 is one, and speaks the PROXY protocol.

use std::net::SocketAddr;
use std::time::Instant;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::BINDING;
use super::Door;
use super::ask;
use super::connect_from;
use super::open;
use super::rest;
use crate::support::PATIENCE;

const BALANCER: &str = "127.0.0.9";

fn door(limits: &str) -> Door {
    open(&format!("public.proxies = [\"{BALANCER}\"]\n{limits}"))
}

/// A header of version 2, with an extension behind the addresses.
fn header(source: &str, destination: &str) -> Vec<u8> {
    let (source, destination): (SocketAddr, SocketAddr) =
        (source.parse().unwrap(), destination.parse().unwrap());
    let mut rest = Vec::new();
    for address in [source, destination] {
        match address {
            SocketAddr::V4(v4) => rest.extend(v4.ip().octets()),
            SocketAddr::V6(v6) => rest.extend(v6.ip().octets()),
        }
    }
    rest.extend(source.port().to_be_bytes());
    rest.extend(destination.port().to_be_bytes());
    rest.extend(b"\x03\0\x04crc!");
    let family = if source.is_ipv4() { 0x11 } else { 0x21 };
    written(0x21, family, &rest)
}

fn written(version_command: u8, family_transport: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
    [b"\r\n\r\n\0\r\nQUIT\n", &[version_command, family_transport][..], &length, rest].concat()
}

#[tokio::test]
async fn the_client_is_who_the_balancer_says() {
    let mut door = door("");
    for (source, destination) in
        [("192.0.2.7:1234", "198.51.100.1:443"), ("[2001:db8::7]:1234", "[2001:db8::1]:443")]
    {
        let header = header(source, destination);
        let mut http = connect_from(BALANCER, door.plain).await;
        http.write_all(&header).await.unwrap();
        let answer = ask(&mut http).await;
        assert!(answer.ends_with(source), "{answer}");

        let mut secure = connect_from(BALANCER, door.secure).await;
        secure.write_all(&header).await.unwrap();
        let answer = ask(&mut door.tls(secure, &[]).await.unwrap()).await;
        assert!(answer.ends_with(source), "{answer}");

        let mut turn = connect_from(BALANCER, door.turn).await;
        turn.write_all(&[&header, BINDING].concat()).await.unwrap();
        let caller = door.caller().await;
        assert_eq!((caller.client, caller.server), (source.parse().unwrap(), destination.parse().unwrap()));
        assert!(BINDING.starts_with(&caller.first) && !caller.first.is_empty());
    }
}

#[tokio::test]
async fn a_health_check_is_the_balancers_own() {
    let door = door("");
    for header in [written(0x20, 0, &[]), written(0x21, 0, &[]), written(0x20, 0x11, &[9; 12])] {
        let mut http = connect_from(BALANCER, door.plain).await;
        http.write_all(&header).await.unwrap();
        let answer = ask(&mut http).await;
        assert!(answer.contains("127.0.0.9:"), "{answer}");
    }
}

#[tokio::test]
async fn a_balancer_that_does_not_say_whom_it_speaks_for_is_refused() {
    let door = door("");
    let wrong = [
        b"GET /peer HTTP/1.1\r\n\r\n".to_vec(),
        b"PROXY TCP4 192.0.2.7 198.51.100.1 1234 443\r\nGET /peer HTTP/1.1\r\n\r\n".to_vec(),
        BINDING.to_vec(),
        written(0x21, 0x31, &[0; 216]),
        written(0x21, 0x11, &[0; 5]),
        written(0x21, 0x11, &[0; 60_000]),
        written(0x2f, 0x11, &[0; 12]),
        header("192.0.2.7:1", "198.51.100.1:2")[..20].to_vec(),
    ];
    for (n, bytes) in wrong.iter().enumerate() {
        let mut stream = connect_from(BALANCER, door.plain).await;
        // It may be closed before all is said.
        let _ = stream.write_all(bytes).await;
        let _ = stream.shutdown().await;
        assert!(rest(&mut stream).await.is_empty(), "{bytes:?} was answered");
        door.until(|| door.refused("proxy"), n as u64 + 1).await;
    }
    door.taken(0).await;
}

#[tokio::test]
async fn nobody_else_can_say_who_they_are() {
    let mut door = door("");
    let mut stream = TcpStream::connect(door.plain).await.unwrap();
    stream.write_all(&header("192.0.2.7:1234", "198.51.100.1:443")).await.unwrap();
    let answer = ask(&mut stream).await;
    assert!(!answer.contains("200") && !answer.contains("192.0.2.7"), "{answer}");
    assert!(door.callers.try_recv().is_err());
}

#[tokio::test]
async fn a_clients_share_of_connections_is_its_own_behind_a_balancer_too() {
    let door = door("limits.connections_per_ip = 2");
    let mut held = Vec::new();
    for source in ["192.0.2.7:1", "192.0.2.7:2", "192.0.2.8:1"] {
        let mut stream = connect_from(BALANCER, door.plain).await;
        stream.write_all(&header(source, "198.51.100.1:443")).await.unwrap();
        held.push(stream);
    }
    door.taken(3).await;
    // Until the headers are read, the places are nobody's.
    let end = Instant::now() + PATIENCE / 4;
    loop {
        let mut third = connect_from(BALANCER, door.plain).await;
        third.write_all(&header("192.0.2.7:3", "198.51.100.1:443")).await.unwrap();
        if ask(&mut third).await.is_empty() {
            break;
        }
        assert!(Instant::now() < end, "a third is let in");
    }
    assert_eq!(door.refused("per_ip"), 1);
    let mut other = connect_from(BALANCER, door.plain).await;
    other.write_all(&header("192.0.2.8:2", "198.51.100.1:443")).await.unwrap();
    assert!(ask(&mut other).await.ends_with("192.0.2.8:2"));
}
