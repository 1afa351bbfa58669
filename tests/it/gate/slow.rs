//! People who take their time: at each step of the way in, a connection that does not go on is ended, and costs little until then.

use std::time::Duration;
use std::time::Instant;

use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::connect_from;
use super::made;
use crate::support::Callgate;

/// Each step has 10 seconds.
const LIMIT: Duration = Duration::from_secs(10);

/// Connections at each step.
const EACH: usize = 150;

/// The head of a TLS handshake record that says it is 512 bytes long, and of a ClientHello in it.
const HALF_A_HELLO: &[u8] = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03half a client hello";

/// Resident bytes of a process.
fn resident(process: u32) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_ascii_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
}

/// How long it takes until the other side ends the connection.
async fn ended(mut stream: TcpStream, drip: bool) -> Duration {
    let begun = Instant::now();
    let mut answer = Vec::new();
    loop {
        let step = if drip { Duration::from_millis(300) } else { 3 * LIMIT };
        match timeout(step, stream.read_buf(&mut answer)).await {
            Ok(Ok(0) | Err(_)) => return begun.elapsed(),
            Ok(Ok(_)) => {}
            Err(_) => {
                assert!(drip && begun.elapsed() < 3 * LIMIT, "it is still open");
                // The end is seen by reading.
                let _ = stream.write_all(b"x").await;
            }
        }
    }
}

#[tokio::test]
async fn who_does_not_go_on_is_cut_at_every_step_and_nobody_else_notices() {
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    let pair = made();
    std::fs::write(&certificate, &pair.0).unwrap();
    std::fs::write(&key, &pair.1).unwrap();
    let daemon = Callgate::start(&format!(
        "[public]\naddresses = [\"127.0.0.1\"]\nproxies = [\"127.0.0.9\"]\n[tls]\nlisten = [\"127.0.0.1:0\"]\ncertificate = {certificate:?}\nkey = {key:?}\n"
    ));
    let (plain, secure) = (daemon.http(), daemon.tls[0]);
    // Whatever a first request costs is paid before.
    assert!(reqwest::get(daemon.url("/health")).await.unwrap().status().is_success());
    let before = resident(daemon.process());
    let steps: [(&str, _, &[u8]); 7] = [
        ("127.0.0.1", plain, b""),
        ("127.0.0.1", secure, b""),
        ("127.0.0.1", secure, HALF_A_HELLO),
        ("127.0.0.9", plain, b"\r\n\r\n\0\r\nQUIT\n\x21\x11"),
        ("127.0.0.9", secure, b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x10\0"),
        ("127.0.0.1", plain, b"\0\x01\0\x0c\x21\x12\xa4"),
        ("127.0.0.1", plain, b"GET / HTTP/1.1\r\nX: "),
    ];
    let begun = Instant::now();
    let mut waiting = Vec::new();
    for (from, to, bytes) in steps {
        for _ in 0..EACH {
            let mut stream = connect_from(from, to).await;
            stream.write_all(bytes).await.unwrap();
            // A head that comes byte by byte is as late as one that does not come.
            waiting.push(tokio::spawn(ended(stream, bytes.starts_with(b"GET"))));
        }
    }
    let all = waiting.len();
    let opened = begun.elapsed();
    let at_most = (all + 2) as f64;
    let open = loop {
        let open = daemon.metrics().await["callgate_tcp_connections"];
        // They are let in one after the other.
        if open > all as f64 - 1.0 {
            break open;
        }
        assert!(begun.elapsed() < LIMIT, "too slow a machine for this test: {open} of {all}");
    };
    assert!(open <= at_most, "{open} of {all}");
    let grown = resident(daemon.process()).saturating_sub(before) / all;
    assert!(grown < 24 * 1024, "{grown} bytes each");
    let asked = Instant::now();
    assert!(reqwest::get(daemon.url("/health")).await.unwrap().status().is_success());
    assert!(asked.elapsed() < LIMIT / 2, "others wait for {:?}", asked.elapsed());
    for one in waiting {
        let took = one.await.unwrap();
        assert!(took + opened > LIMIT - Duration::from_secs(1), "cut too early: {took:?}");
        assert!(took < 2 * LIMIT + opened, "cut too late: {took:?}");
    }
    for reason in ["silent", "handshake", "proxy"] {
        let figure = format!("callgate_connections_refused_total{{reason=\"{reason}\"}}");
        daemon.wait_for_metric(&figure, 2.0 * EACH as f64).await;
    }
    println!("{all} connections, {grown} bytes each");
}
