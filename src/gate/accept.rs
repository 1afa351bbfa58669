//! Letting connections in, and ending that.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use socket2::SockRef;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio::time::sleep;

use crate::config::Tls;

use super::certificate::Certificate;
use super::certificate::CertificateError;
use super::places::Full;
use super::places::Places;
use super::proxy;
use super::refusals::Refusals;
use super::serve;
use super::serve::Ends;
use super::serve::House;

/// Unacknowledged bytes older than this end a connection: a browser that vanished is noticed even while we only write.
const USER_TIMEOUT: Duration = Duration::from_secs(30);

/// The pause after an accept that failed for want of descriptors or memory.
const BREATH: Duration = Duration::from_millis(200);

/// Lines about failing accepts come no more often than this.
const COMPLAIN_EVERY: Duration = Duration::from_secs(10);

/// A gate that lets connections in.
#[derive(Debug)]
pub struct Serving {
    listeners: Vec<JoinHandle<()>>,
    drain: watch::Sender<bool>,
    places: Places,
    certificate: Option<Arc<Certificate>>,
}

impl Serving {
    pub(super) fn new(
        listeners: Vec<JoinHandle<()>>,
        drain: watch::Sender<bool>,
        places: Places,
        certificate: Option<Arc<Certificate>>,
    ) -> Self {
        Self { listeners, drain, places, certificate }
    }

    /// Reads the certificate again, from where `tls` says; connections from here on get it.
    ///
    /// # Errors
    /// It cannot be used; the old one stays.
    pub fn reload_certificates(&self, tls: &Tls) -> Result<(), CertificateError> {
        self.certificate.as_ref().map_or(Ok(()), |certificate| certificate.reload(tls))
    }

    /// Closes the ports; who is inside stays.
    pub async fn close(&mut self) {
        for listener in self.listeners.drain(..) {
            listener.abort();
            // The socket is closed when the task is gone, and not before.
            let _ = listener.await;
        }
    }

    /// Asks every connection to end after the request it is at, and waits until all have, or `until`. Returns how many
    /// are left. Those that speak TURN are the relay's.
    pub async fn drain(&self, until: Instant) -> usize {
        self.drain.send_replace(true);
        while self.places.served() > 0 && Instant::now() < until {
            sleep(Duration::from_millis(20)).await;
        }
        self.places.served()
    }
}

/// Lets in who comes, until it is aborted.
pub(super) async fn accept(listener: TcpListener, address: SocketAddr, house: House, places: Places) {
    let mut complained: Option<Instant> = None;
    loop {
        match listener.accept().await {
            Ok((socket, peer)) => welcome(socket, peer, &house, &places),
            // The connection was gone before it was ours.
            Err(error) if is_of_the_connection(&error) => {}
            Err(error) => {
                Refusals::count(&house.refusals.accept);
                if complained.is_none_or(|at| at.elapsed() > COMPLAIN_EVERY) {
                    tracing::error!(%address, %error, "cannot accept connections; trying again");
                    complained = Some(Instant::now());
                }
                sleep(BREATH).await;
            }
        }
    }
}

fn welcome(socket: TcpStream, peer: SocketAddr, house: &House, places: &Places) {
    let client = canonical(peer);
    // The connections of a load balancer are not its own: it says whose they are.
    let place = if proxy::is_one_of(&house.proxies, client.ip()) {
        places.take_for_nobody()
    } else {
        places.take(client.ip())
    };
    match place {
        Ok(place) => {
            // A connection without an address of ours is gone already.
            let Ok(server) = socket.local_addr() else { return };
            let options = SockRef::from(&socket);
            // A socket that refuses these is closed already; serving it finds out.
            let _ = options.set_tcp_nodelay(true);
            let _ = options.set_tcp_user_timeout(Some(USER_TIMEOUT));
            let ends = Ends { client, server: canonical(server) };
            tokio::spawn(serve::serve(house.clone(), socket, ends, place));
        }
        Err(Full::Total) => Refusals::count(&house.refusals.total),
        Err(Full::Address) => Refusals::count(&house.refusals.per_ip),
    }
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

fn is_of_the_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionRefused
    )
}
