//! A connection on its way to the relay.

use std::any::Any;
use std::net::SocketAddr;
use std::net::TcpStream;
use std::sync::Arc;

use rustls::ServerConnection;

/// A connection that speaks TURN. It is not the gate's any more: no time-out of the gate's ends it.
pub struct Caller {
    /// Non-blocking, with TCP_NODELAY and TCP_USER_TIMEOUT set.
    pub socket: TcpStream,
    /// The TLS session, its handshake done; none on a plain port. It may hold bytes that are decrypted and not yet read, and some
    /// that are not yet written: look there before waiting for the socket.
    pub tls: Option<Box<ServerConnection>>,
    /// What was read of the connection so far, decrypted: it comes before what `tls` and `socket` have. At most 24 bytes.
    pub first: Vec<u8>,
    /// Where the client is; behind a load balancer, as that says. Canonical.
    pub client: SocketAddr,
    /// Where it connected to. Canonical.
    pub server: SocketAddr,
    /// To be dropped with the connection: its place.
    pub keep: Box<dyn Any + Send>,
}

/// Takes over connections that speak TURN. It is called on a thread of the runtime, and so may not block for long.
pub type TakeTurn = Arc<dyn Fn(Caller) + Send + Sync>;
