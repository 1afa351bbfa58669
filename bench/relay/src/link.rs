//! A client's way to its server: UDP, TCP, or TLS over TCP. One thread, never blocking once it is set up.

use std::cell::RefCell;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme};

/// How clients reach the server.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Leg {
    Udp,
    Tcp,
    Tls,
}

pub enum Link {
    Udp(UdpSocket),
    Stream(RefCell<Stream>),
}

pub struct Stream {
    socket: TcpStream,
    tls: Option<Box<ClientConnection>>,
    /// What has come and is not a whole frame yet.
    rest: Vec<u8>,
    /// What the socket did not take yet.
    waiting: Vec<u8>,
}

/// More than this not taken by the socket: the link is full, and a packet is not sent.
const FULL: usize = 256 << 10;

impl Link {
    pub fn connect(leg: Leg, server: SocketAddr) -> io::Result<Link> {
        if leg == Leg::Udp {
            let socket = UdpSocket::bind("127.0.0.1:0")?;
            socket.connect(server)?;
            return Ok(Link::Udp(socket));
        }
        let socket = TcpStream::connect(server)?;
        socket.set_nodelay(true)?;
        let mut stream = Stream { socket, tls: None, rest: Vec::new(), waiting: Vec::new() };
        if leg == Leg::Tls {
            let name = ServerName::IpAddress(server.ip().into());
            let mut tls = ClientConnection::new(config(), name).map_err(io::Error::other)?;
            while tls.is_handshaking() {
                tls.complete_io(&mut stream.socket)?;
            }
            stream.tls = Some(Box::new(tls));
        }
        stream.socket.set_nonblocking(true)?;
        Ok(Link::Stream(RefCell::new(stream)))
    }

    pub fn fd(&self) -> RawFd {
        match self {
            Link::Udp(socket) => socket.as_raw_fd(),
            Link::Stream(stream) => stream.borrow().socket.as_raw_fd(),
        }
    }

    pub fn send(&self, bytes: &[u8]) -> bool {
        match self {
            Link::Udp(socket) => socket.send(bytes).is_ok(),
            Link::Stream(stream) => stream.borrow_mut().send(bytes).unwrap_or(false),
        }
    }

    /// The frames that are there, each handed to `frame`.
    pub fn receive(&self, buffer: &mut [u8], mut frame: impl FnMut(&[u8])) {
        match self {
            Link::Udp(socket) => {
                while let Ok(length) = socket.recv(buffer) {
                    frame(&buffer[..length]);
                }
            }
            Link::Stream(stream) => {
                let _ = stream.borrow_mut().receive(buffer, &mut frame);
            }
        }
    }

    /// The next frame within `patience`; `None`: there was none.
    pub fn next(&self, patience: Duration) -> Option<Vec<u8>> {
        let end = Instant::now() + patience;
        let mut buffer = [0; 4096];
        let mut found: Option<Vec<u8>> = None;
        while Instant::now() < end {
            match self {
                Link::Udp(socket) => {
                    let left = end.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
                    socket.set_read_timeout(Some(left)).ok()?;
                    return socket.recv(&mut buffer).ok().map(|length| buffer[..length].to_vec());
                }
                Link::Stream(_) => self.receive(&mut buffer, |frame| {
                    found.get_or_insert_with(|| frame.to_vec());
                }),
            }
            if found.is_some() {
                return found;
            }
            std::thread::sleep(Duration::from_micros(100));
        }
        None
    }
}

impl Stream {
    fn send(&mut self, bytes: &[u8]) -> io::Result<bool> {
        self.flush()?;
        if self.waiting.len() > FULL {
            return Ok(false);
        }
        match &mut self.tls {
            None => self.waiting.extend(bytes),
            Some(tls) => {
                tls.writer().write_all(bytes)?;
                while tls.wants_write() {
                    tls.write_tls(&mut self.waiting)?;
                }
            }
        }
        self.flush()?;
        Ok(true)
    }

    fn flush(&mut self) -> io::Result<()> {
        let mut at = 0;
        while at < self.waiting.len() {
            match self.socket.write(&self.waiting[at..]) {
                Ok(n) => at += n,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        self.waiting.drain(..at);
        Ok(())
    }

    fn receive(&mut self, buffer: &mut [u8], frame: &mut impl FnMut(&[u8])) -> io::Result<()> {
        self.flush()?;
        loop {
            let length = match &mut self.tls {
                None => match self.socket.read(buffer) {
                    Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                    Ok(length) => length,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                    Err(error) => return Err(error),
                },
                Some(tls) => {
                    match tls.reader().read(buffer) {
                        Ok(length) => length,
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => match tls.read_tls(&mut self.socket) {
                            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                            Ok(_) => {
                                tls.process_new_packets().map_err(io::Error::other)?;
                                continue;
                            }
                            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                            Err(error) => return Err(error),
                        },
                        Err(error) => return Err(error),
                    }
                }
            };
            self.rest.extend(&buffer[..length]);
            let mut at = 0;
            while let Some(head) = self.rest.get(at..at + 4) {
                let stated = usize::from(u16::from_be_bytes([head[2], head[3]]));
                let length = if head[0] & 0xC0 == 0x40 { 4 + stated.next_multiple_of(4) } else { 20 + stated };
                let Some(whole) = self.rest.get(at..at + length) else { break };
                frame(whole);
                at += length;
            }
            self.rest.drain(..at);
        }
    }
}

/// TLS 1.2 (Debian's coturn has no other) with AES-128-GCM, so that both servers do the same work; the certificate is made
/// for the run and not checked.
fn config() -> Arc<ClientConfig> {
    let mut provider = rustls::crypto::ring::default_provider();
    provider.cipher_suites = vec![rustls::crypto::ring::cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256];
    let config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS12])
        .expect("TLS 1.2")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anything))
        .with_no_client_auth();
    Arc::new(config)
}

#[derive(Debug)]
struct Anything;

impl ServerCertVerifier for Anything {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        rustls::crypto::ring::default_provider().signature_verification_algorithms.supported_schemes()
    }
}
