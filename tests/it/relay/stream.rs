//! A TURN client over TCP or TLS for these tests, and the little of a gate that brings its connection to the relay.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use callgate::relay::{Connection, Relay};
use callgate::turn::credential::Credential;
use rustls::pki_types::PrivateKeyDer;
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned};

use super::client::{self, Login, Message, attribute};
use crate::support::PATIENCE;

/// Accepts, ends the TLS handshake, and hands over.
pub(super) struct Gate {
    listener: TcpListener,
    tls: Option<(Arc<ServerConfig>, Arc<ClientConfig>)>,
    /// Connections that have not been dropped.
    pub(super) open: Arc<AtomicUsize>,
}

/// Counts the connections that live.
struct Place(Arc<AtomicUsize>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Gate {
    pub(super) fn new(tls: bool) -> Gate {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        Gate { listener, tls: tls.then(certificate), open: Arc::default() }
    }

    /// Both of them: what is said holds for TCP and for TLS.
    pub(super) fn each() -> [Gate; 2] {
        [Gate::new(false), Gate::new(true)]
    }

    /// A client on the loopback host `127.0.0.n`, connected and handed over, having sent `first` already.
    pub(super) fn connect(&self, relay: &Relay, n: u8, login: Credential, first: &[u8]) -> Client {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from(([127, 0, 0, n], 0)).into()).unwrap();
        socket.connect(&self.listener.local_addr().unwrap().into()).unwrap();
        let near = TcpStream::from(socket);
        near.set_nodelay(true).unwrap();
        near.set_read_timeout(Some(PATIENCE)).unwrap();
        let (far, from) = self.listener.accept().unwrap();
        far.set_nodelay(true).unwrap();
        let server = far.local_addr().unwrap();
        let (stream, tls): (Box<dyn Duplex>, _) = match &self.tls {
            None => (Box::new(near.try_clone().unwrap()), None),
            Some((server, client)) => {
                let mut theirs = ServerConnection::new(Arc::clone(server)).unwrap();
                let mut ours =
                    ClientConnection::new(Arc::clone(client), "localhost".try_into().unwrap()).unwrap();
                let socket = far.try_clone().unwrap();
                let theirs = std::thread::scope(|scope| {
                    let handshake = scope.spawn(move || {
                        while theirs.is_handshaking() {
                            theirs.complete_io(&mut &socket).unwrap();
                        }
                        theirs
                    });
                    while ours.is_handshaking() {
                        ours.complete_io(&mut &near).unwrap();
                    }
                    handshake.join().unwrap()
                });
                let stream = StreamOwned::new(ours, near.try_clone().unwrap());
                (Box::new(stream), Some(Box::new(theirs)))
            }
        };
        far.set_nonblocking(true).unwrap();
        self.open.fetch_add(1, Ordering::SeqCst);
        relay.adopt(Connection {
            socket: far,
            tls,
            first: first.to_vec(),
            client: from,
            server,
            keep: Box::new(Place(Arc::clone(&self.open))),
        });
        Client { socket: near, stream, read: Vec::new(), relayed: server, login: Login::new(login) }
    }

    /// The same, with an allocation.
    pub(super) fn allocated(&self, relay: &Relay, n: u8, login: Credential) -> Client {
        let mut client = self.connect(relay, n, login, &[]);
        client.allocate().unwrap();
        client
    }
}

fn certificate() -> (Arc<ServerConfig>, Arc<ClientConfig>) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    (Arc::new(server), Arc::new(client))
}

pub(super) trait Duplex: Read + Write + Send {}
impl<T: Read + Write + Send> Duplex for T {}

pub(super) struct Client {
    pub(super) socket: TcpStream,
    pub(super) stream: Box<dyn Duplex>,
    read: Vec<u8>,
    pub(super) relayed: SocketAddr,
    login: Login,
}

/// What comes after the frames.
impl Read for Client {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.read.is_empty() {
            return self.stream.read(buffer);
        }
        let len = self.read.len().min(buffer.len());
        buffer[..len].copy_from_slice(&self.read[..len]);
        self.read.drain(..len);
        Ok(len)
    }
}

impl Client {
    pub(super) fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
        self.stream.flush().unwrap();
    }

    /// The next frame, padding and all.
    pub(super) fn receive(&mut self) -> Vec<u8> {
        self.next().expect("the connection is closed")
    }

    /// The next frame; `None`: the connection has ended between two frames.
    pub(super) fn next(&mut self) -> Option<Vec<u8>> {
        loop {
            if let Ok(Some(len)) = callgate::stun::frame::length(&self.read)
                && len <= self.read.len()
            {
                return Some(self.read.drain(..len).collect());
            }
            let mut buffer = [0; 65_536];
            match self.stream.read(&mut buffer) {
                Ok(0) => {
                    assert!(self.read.is_empty(), "cut off within a frame");
                    return None;
                }
                Ok(n) => self.read.extend(&buffer[..n]),
                Err(error)
                    if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::UnexpectedEof) =>
                {
                    return None;
                }
                Err(error) => panic!("nothing came: {error}"),
            }
        }
    }

    /// Waits until the relay has closed the connection, and says how long that took.
    pub(super) fn closed_after(&mut self) -> Duration {
        let start = Instant::now();
        while self.next().is_some() {}
        start.elapsed()
    }

    pub(super) fn allocate(&mut self) -> Result<Vec<u8>, u16> {
        self.allocate_with(17, &[])
    }

    /// Allocate for a transport towards the peers, with more attributes.
    pub(super) fn allocate_with(&mut self, transport: u8, more: &[(u16, &[u8])]) -> Result<Vec<u8>, u16> {
        self.log_in(client::allocation(transport, more));
        let answer = self.request(client::allocation(transport, more))?;
        self.relayed = client::relayed(&answer);
        Ok(answer)
    }

    /// Gets a nonce.
    pub(super) fn log_in(&mut self, request: Message) {
        let challenge = self.exchange(request.bytes());
        self.login.learn(&challenge);
    }

    pub(super) fn signed(&self, message: Message) -> Message {
        self.login.signed(message)
    }

    /// Sends a request with credentials; an error answer's code is the error.
    pub(super) fn request(&mut self, message: Message) -> Result<Vec<u8>, u16> {
        let message = self.signed(message);
        client::outcome(self.exchange(message.bytes()))
    }

    pub(super) fn bind(&mut self, number: u16, peer: SocketAddr) -> Result<(), u16> {
        self.request(client::channel_bind(number, peer)).map(|_| ())
    }

    /// Connect (RFC 6062): the CONNECTION-ID.
    pub(super) fn connect(&mut self, peer: SocketAddr) -> Result<Vec<u8>, u16> {
        let answer = self.request(Message::new(client::CONNECT).peer(peer))?;
        Ok(attribute(&answer, client::CONNECTION_ID).expect("no CONNECTION-ID").to_vec())
    }

    /// ConnectionBind: from here on what is sent over this connection goes to the peer.
    pub(super) fn bind_connection(&mut self, id: &[u8]) -> Result<(), u16> {
        let request = || Message::new(client::CONNECTION_BIND).with(client::CONNECTION_ID, id);
        self.log_in(request());
        self.request(request())?;
        Ok(())
    }

    fn exchange(&mut self, request: &[u8]) -> Vec<u8> {
        self.send(request);
        for _ in 0..1000 {
            let answer = self.receive();
            if answer.get(8..20) == request.get(8..20) {
                return answer;
            }
        }
        panic!("no answer among a thousand frames");
    }
}

/// ChannelData as a stream has it.
pub(super) fn padded(number: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = client::channel_data(number, payload);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}
