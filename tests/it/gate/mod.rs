//! The gate: HTTP and TURN on every TCP port, load balancers, certificates that change, and people who take their time.

mod certificate;
mod protocols;
mod proxied;
mod slow;

use std::fmt::Debug;
use std::io;
use std::net::IpAddr;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::routing::get;
use callgate::config;
use callgate::gate::Caller;
use callgate::gate::Gate;
use callgate::gate::Places;
use callgate::gate::Refusals;
use callgate::gate::Serving;
use rustls::ClientConfig;
use rustls::RootCertStore;
use rustls::crypto::ring;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::ServerName;
use rustls_pki_types::pem::PemObject;
use tempfile::TempDir;
use tokio::io::AsyncRead;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWrite;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpSocket;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::support::PATIENCE;

/// A Binding request: 20 bytes of header and 12 of an attribute nobody knows.
const BINDING: &[u8] = b"\0\x01\0\x0c\x21\x12\xa4\x42abcdefghijkl\xff\0\0\x08skip-me.";

/// A gate of one's own, on three free ports of loopback. HTTP tells the client its address at `/peer`.
struct Door {
    plain: SocketAddr,
    turn: SocketAddr,
    secure: SocketAddr,
    callers: mpsc::UnboundedReceiver<Caller>,
    places: Places,
    refusals: Arc<Refusals>,
    serving: Serving,
    certificate: CertificateDer<'static>,
    _folder: TempDir,
}

/// A certificate for localhost and its key, as PEM.
fn made() -> (String, String) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    (made.cert.pem(), made.signing_key.serialize_pem())
}

/// Opens a gate with these settings beside its ports and certificate.
fn open(settings: &str) -> Door {
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    let pair = made();
    std::fs::write(&certificate, &pair.0).unwrap();
    std::fs::write(&key, &pair.1).unwrap();
    let any = "listen = [\"127.0.0.1:0\"]";
    let text = format!(
        "{settings}\n[http]\n{any}\n[turn]\n{any}\n[tls]\n{any}\ncertificate = {certificate:?}\nkey = {key:?}\n"
    );
    let settings = config::read(None, &text, &config::Environment::new()).unwrap();
    let mut gate = Gate::open(&settings, 10_000).unwrap();
    gate.open_turn(&settings, &["127.0.0.1:0".parse().unwrap()]).unwrap();
    let (plain, turn, secure) =
        (gate.plain().next().unwrap(), gate.turn().next().unwrap(), gate.secure().next().unwrap());
    let (places, refusals) = (gate.places(), gate.refusals());
    let (send, callers) = mpsc::unbounded_channel();
    let peer = |ConnectInfo(peer): ConnectInfo<SocketAddr>| async move { peer.to_string() };
    let router = Router::new().route("/peer", get(peer));
    let serving = gate.serve(router, Arc::new(move |caller| drop(send.send(caller))));
    let certificate = CertificateDer::from_pem_slice(pair.0.as_bytes()).unwrap();
    Door { plain, turn, secure, callers, places, refusals, serving, certificate, _folder: folder }
}

impl Door {
    /// Who was handed over next.
    async fn caller(&mut self) -> Caller {
        timeout(PATIENCE, self.callers.recv()).await.expect("nobody was handed over").unwrap()
    }

    /// A TLS connection on `socket`, with these protocols offered.
    async fn tls<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        socket: S,
        protocols: &[&str],
    ) -> io::Result<TlsStream<S>> {
        tls(socket, &self.certificate, protocols).await
    }

    fn refused(&self, reason: &str) -> u64 {
        self.refusals.counts().into_iter().find(|(name, _)| *name == reason).unwrap().1
    }

    /// Waits until so many places are taken: one is given back a moment after its connection's end is seen.
    async fn taken(&self, places: usize) {
        self.until(|| self.places.taken(), places).await;
    }

    async fn until<T: PartialEq + Debug>(&self, figure: impl Fn() -> T, wanted: T) {
        let end = Instant::now() + PATIENCE;
        while figure() != wanted {
            assert!(Instant::now() < end, "{:?}, not {wanted:?}", figure());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// TLS with a server that shows this certificate.
async fn tls<S: AsyncRead + AsyncWrite + Unpin>(
    socket: S,
    certificate: &CertificateDer<'static>,
    protocols: &[&str],
) -> io::Result<TlsStream<S>> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).unwrap();
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, socket).await
}

/// A connection from this address of ours.
async fn connect_from(from: &str, to: SocketAddr) -> TcpStream {
    let socket = if to.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }.unwrap();
    socket.bind(SocketAddr::new(from.parse::<IpAddr>().unwrap(), 0)).unwrap();
    socket.connect(to).await.unwrap()
}

/// Asks for `/peer`, and returns everything that comes until the end.
async fn ask<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S) -> String {
    // It may be closed already; then nothing comes.
    let _ = stream.write_all(b"GET /peer HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await;
    String::from_utf8_lossy(&rest(stream).await).into_owned()
}

/// Everything that comes until the end.
async fn rest<S: AsyncRead + Unpin>(stream: &mut S) -> Vec<u8> {
    let mut all = Vec::new();
    // However it ends.
    let _ = timeout(PATIENCE, stream.read_to_end(&mut all)).await.expect("it is still open");
    all
}
