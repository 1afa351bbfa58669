//! A TCP connection on its way from the gate to a shard.

use std::any::Any;
use std::fmt;
use std::net::SocketAddr;
use std::net::TcpStream;

/// A client's connection that turned out to speak TURN. The socket does not block, and a TLS handshake lies behind it.
pub struct Connection {
    /// The connection.
    pub socket: TcpStream,
    /// Its TLS session, if it has one.
    pub tls: Option<Box<rustls::ServerConnection>>,
    /// What has been read already (and decrypted): 64 KiB at most.
    pub first: Vec<u8>,
    /// Where the client is, as told by a proxy that is trusted to, else as the socket says.
    pub client: SocketAddr,
    /// Where the client connected to.
    pub server: SocketAddr,
    /// Dropped with the connection: its place among those that there may be.
    pub keep: Box<dyn Any + Send>,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Connection");
        shown.field("client", &self.client).field("server", &self.server);
        shown.field("tls", &self.tls.is_some()).finish_non_exhaustive()
    }
}
