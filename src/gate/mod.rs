//! Every TCP port: accepts connections within limits, ends TLS, sees what they speak, and hands them to HTTP.

mod listen;
mod places;
mod serve;
mod stream;
mod tls;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use axum::Router;
use socket2::SockRef;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio::time::sleep;
use tokio_rustls::TlsAcceptor;

use crate::config::Settings;

pub use listen::BindError;
pub use places::Full;
pub use places::Place;
pub use places::Places;
use serve::House;
pub use serve::Secure;
pub use tls::CertificateError;
pub use tls::acceptor;

/// Unacknowledged bytes older than this end a connection: a browser that vanished is noticed even while we only write.
const USER_TIMEOUT: Duration = Duration::from_secs(30);

/// The pause after an accept that failed for want of descriptors or memory.
const BREATH: Duration = Duration::from_millis(200);

/// Lines about failing accepts come no more often than this.
const COMPLAIN_EVERY: Duration = Duration::from_secs(10);

/// Why a gate could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A port could not be had.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The certificate cannot be used.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
}

/// Connections turned away, by reason.
#[derive(Default, Debug)]
pub struct Refusals {
    /// The daemon was full.
    pub total: AtomicU64,
    /// Their address had its share.
    pub per_ip: AtomicU64,
    /// The TLS handshake failed or took too long.
    pub handshake: AtomicU64,
    /// They said nothing in time.
    pub silent: AtomicU64,
    /// The kernel had no descriptor or memory for them.
    pub accept: AtomicU64,
    /// Not connections but Socket.IO sessions: the daemon was full, or their address had its share.
    pub sessions: AtomicU64,
}

impl Refusals {
    fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Relaxed);
    }

    /// The reasons with their counts.
    #[must_use]
    pub fn counts(&self) -> [(&'static str, u64); 6] {
        [
            ("total", self.total.load(Relaxed)),
            ("per_ip", self.per_ip.load(Relaxed)),
            ("handshake", self.handshake.load(Relaxed)),
            ("silent", self.silent.load(Relaxed)),
            ("accept", self.accept.load(Relaxed)),
            ("sessions", self.sessions.load(Relaxed)),
        ]
    }
}

/// Open ports, before anybody is let in: the kernel queues who comes.
pub struct Gate {
    ports: Vec<(TcpListener, SocketAddr, Option<TlsAcceptor>)>,
    places: Places,
    refusals: Arc<Refusals>,
}

impl Gate {
    /// Opens every TCP port of `settings` for at most `total` connections. Port 0 is some free port.
    ///
    /// # Errors
    /// A port is taken or a certificate is no good; then none stays open.
    pub fn open(settings: &Settings, total: usize) -> Result<Self, OpenError> {
        let mut ports = Vec::new();
        let tls = settings.tls.as_ref().map(acceptor).transpose()?;
        let secure = settings.tls.iter().flat_map(|tls| &tls.listen).map(|address| (*address, tls.clone()));
        let plain = settings.http.listen.iter().map(|address| (*address, None));
        for (address, tls) in plain.chain(secure) {
            let listener = listen::listen(address)?;
            let bound = listener.local_addr().map_err(|error| BindError { address, error })?;
            ports.push((listener, bound, tls));
        }
        let per_ip = settings.limits.connections_per_ip as usize;
        Ok(Self { ports, places: Places::new(total, per_ip), refusals: Arc::default() })
    }

    /// The plain ports, as bound.
    pub fn plain(&self) -> impl Iterator<Item = SocketAddr> {
        self.ports.iter().filter(|(.., tls)| tls.is_none()).map(|(_, address, _)| *address)
    }

    /// The TLS ports, as bound.
    pub fn secure(&self) -> impl Iterator<Item = SocketAddr> {
        self.ports.iter().filter(|(.., tls)| tls.is_some()).map(|(_, address, _)| *address)
    }

    /// How many connections were turned away, and why.
    #[must_use]
    pub fn refusals(&self) -> Arc<Refusals> {
        Arc::clone(&self.refusals)
    }

    /// The open connections' places.
    #[must_use]
    pub fn places(&self) -> Places {
        self.places.clone()
    }

    /// Lets everybody in, to `router`.
    pub fn serve(self, router: Router) -> Serving {
        let (drain, draining) = watch::channel(false);
        let listeners = self
            .ports
            .into_iter()
            .map(|(listener, address, tls)| {
                let house = House {
                    router: router.clone(),
                    tls,
                    refusals: Arc::clone(&self.refusals),
                    drain: draining.clone(),
                };
                tokio::spawn(accept(listener, address, house, self.places.clone()))
            })
            .collect();
        Serving { listeners, drain, places: self.places }
    }
}

/// A gate that lets connections in.
#[derive(Debug)]
pub struct Serving {
    listeners: Vec<JoinHandle<()>>,
    drain: watch::Sender<bool>,
    places: Places,
}

impl Serving {
    /// Closes the ports; who is inside stays.
    pub async fn close(&mut self) {
        for listener in self.listeners.drain(..) {
            listener.abort();
            // The socket is closed when the task is gone, and not before.
            let _ = listener.await;
        }
    }

    /// Asks every connection to end after the request it is at, and waits until all have, or `until`. Returns how many
    /// are left.
    pub async fn drain(&self, until: Instant) -> usize {
        self.drain.send_replace(true);
        while self.places.taken() > 0 && Instant::now() < until {
            sleep(Duration::from_millis(20)).await;
        }
        self.places.taken()
    }
}

async fn accept(listener: TcpListener, address: SocketAddr, house: House, places: Places) {
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
    let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
    match places.take(peer.ip()) {
        Ok(place) => {
            let options = SockRef::from(&socket);
            // A socket that refuses these is closed already; serving it finds out.
            let _ = options.set_tcp_nodelay(true);
            let _ = options.set_tcp_user_timeout(Some(USER_TIMEOUT));
            tokio::spawn(serve::serve(house.clone(), socket, peer, place));
        }
        Err(Full::Total) => Refusals::count(&house.refusals.total),
        Err(Full::Address) => Refusals::count(&house.refusals.per_ip),
    }
}

fn is_of_the_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionRefused
    )
}
