//! Certificates that change under open connections.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::io::WriteHalf;
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;

use super::made;
use super::tls;
use crate::support::Callgate;
use crate::support::PATIENCE;

type Pair = (String, String);

fn leaf(pair: &Pair) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pair.0.as_bytes()).unwrap()
}

fn write(folder: &Path, pair: &Pair) {
    fs::write(folder.join("cert.pem"), &pair.0).unwrap();
    fs::write(folder.join("key.pem"), &pair.1).unwrap();
}

async fn connect(to: SocketAddr, certificate: &Pair) -> std::io::Result<TlsStream<TcpStream>> {
    tls(TcpStream::connect(to).await.unwrap(), &leaf(certificate), &[]).await
}

/// Reads until `end` has come.
async fn until(stream: &mut TlsStream<TcpStream>, end: &str) -> String {
    let mut all = Vec::new();
    while !String::from_utf8_lossy(&all).contains(end) {
        let read = timeout(PATIENCE, stream.read_buf(&mut all)).await.expect("nothing comes").unwrap();
        assert!(read > 0, "closed after {:?}", String::from_utf8_lossy(&all));
    }
    String::from_utf8_lossy(&all).into_owned()
}

/// A websocket that answers pings, for as long as it takes.
struct Member {
    heard: watch::Receiver<String>,
    writing: Arc<Mutex<WriteHalf<TlsStream<TcpStream>>>>,
}

impl Member {
    fn stays(socket: TlsStream<TcpStream>) -> Member {
        let (mut reading, writing) = tokio::io::split(socket);
        let writing = Arc::new(Mutex::new(writing));
        let (tell, heard) = watch::channel(String::new());
        let answering = Arc::clone(&writing);
        tokio::spawn(async move {
            let (mut all, mut answered) = (Vec::new(), 0);
            while reading.read_buf(&mut all).await.is_ok_and(|read| read > 0) {
                // Text frames of one byte: Engine.IO's ping. Its pong is masked.
                let pings = all.windows(3).filter(|frame| frame == b"\x81\x012").count();
                for _ in answered..pings {
                    answering.lock().await.write_all(b"\x81\x81\0\0\0\x003").await.unwrap();
                }
                answered = pings;
                tell.send_replace(String::from_utf8_lossy(&all).into_owned());
            }
        });
        Member { heard, writing }
    }

    async fn says(&self, frame: &[u8]) {
        self.writing.lock().await.write_all(frame).await.unwrap();
    }

    async fn hears(&mut self, wanted: &str) {
        let heard = self.heard.wait_for(|all| all.contains(wanted));
        timeout(PATIENCE, heard).await.expect("nothing comes").expect("it is closed");
    }
}

async fn health(stream: &mut TlsStream<TcpStream>) {
    stream.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    assert!(until(stream, "\"status\"").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn open_connections_live_on_when_the_certificate_changes() {
    let folder = tempfile::tempdir().unwrap();
    let (old, new) = (made(), made());
    write(folder.path(), &old);
    let (certificate, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    let mut daemon = Callgate::start(&format!(
        "[tls]\nlisten = [\"127.0.0.1:0\"]\ncertificate = {certificate:?}\nkey = {key:?}\n"
    ));
    let port = daemon.tls[0];
    let mut socket = connect(port, &old).await.unwrap();
    socket
        .write_all(
            b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n\
              Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
        )
        .await
        .unwrap();
    until(&mut socket, "\"sid\"").await;
    // Socket.IO's CONNECT, in a masked text frame.
    socket.write_all(b"\x81\x82\0\0\0\x0040").await.unwrap();
    let mut member = Member::stays(socket);
    member.hears("40{\"sid\"").await;

    // Half of a pair: said once, and the old one stays.
    fs::write(folder.path().join("cert.pem"), &new.0).unwrap();
    let complaint = "the certificate's files have changed and cannot be used";
    let complaints = |daemon: &Callgate| {
        let lines = daemon.log();
        let of_it =
            |line: &&serde_json::Value| line["message"].as_str().is_some_and(|m| m.starts_with(complaint));
        lines.iter().filter(of_it).cloned().collect::<Vec<_>>()
    };
    let begun = Instant::now();
    while complaints(&daemon).is_empty() {
        assert!(begun.elapsed() < PATIENCE, "not a word: {:#?}", daemon.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    tokio::time::sleep(Duration::from_secs(5)).await;
    let said = complaints(&daemon);
    assert_eq!(said.len(), 1, "{said:#?}");
    assert_eq!(said[0]["level"], "ERROR");
    assert!(said[0]["error"].as_str().unwrap().contains("key.pem"), "{said:#?}");
    let mut kept = connect(port, &old).await.unwrap();
    health(&mut kept).await;
    daemon.wait_for_metric("callgate_certificate_reloads_total{result=\"failed\"}", 1.0).await;

    // The other half.
    fs::write(folder.path().join("key.pem"), &new.1).unwrap();
    daemon.wait_for_log("the certificate's files have changed; new connections get the new one");
    let mut fresh = connect(port, &new).await.unwrap();
    health(&mut fresh).await;
    assert!(connect(port, &old).await.is_err(), "the old certificate is still shown");
    health(&mut kept).await;
    // An event over the connection from before.
    let join = br#"42["join",{"roomId":"tea"}]"#;
    member.says(&[&[0x81, 0x80 | join.len() as u8, 0, 0, 0, 0][..], join].concat()).await;
    member.hears("\"joined\"").await;
    daemon.wait_for_metric("callgate_certificate_reloads_total{result=\"ok\"}", 1.0).await;
    let secret = new.1.lines().nth(1).unwrap();
    assert!(!daemon.log().iter().any(|line| line.to_string().contains(secret)), "the key is in the log");
}
