//! One connection, from its first byte to its end.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use hyper::body::Incoming;
use hyper_util::rt::TokioExecutor;
use hyper_util::rt::TokioIo;
use hyper_util::rt::TokioTimer;
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use rustls::ServerConnection;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tower::ServiceExt;

use crate::config::Cidr;

use super::caller::Caller;
use super::caller::TakeTurn;
use super::places::Place;
use super::proxy;
use super::proxy::Header;
use super::refusals::Refusals;
use super::stream;
use super::stream::Speech;
use super::stream::Stream;
use super::tls;

/// For a load balancer's header; after it for the TLS handshake; after it for the first bytes; and for each request's head.
const PATIENCE: Duration = Duration::from_secs(10);

/// An idle HTTP/2 connection is asked this often whether it is still there.
const KEEP_ALIVE: Duration = Duration::from_secs(20);

/// Requests at a time on one HTTP/2 connection.
const STREAMS: u32 = 128;

/// The longest head of a request, in bytes.
const HEAD: usize = 32 * 1024;

/// What every connection shares.
#[derive(Clone)]
pub(super) struct House {
    pub(super) router: Router,
    pub(super) tls: Option<TlsAcceptor>,
    pub(super) turn: TakeTurn,
    /// Whose connections begin with a header that says whom they are for.
    pub(super) proxies: Arc<[Cidr]>,
    pub(super) refusals: Arc<Refusals>,
    /// Turns true when the connections should finish what they are at, and end.
    pub(super) drain: watch::Receiver<bool>,
}

/// The two ends of a connection, canonical.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ends {
    pub(super) client: SocketAddr,
    pub(super) server: SocketAddr,
}

/// Serves a connection; returns when it has ended or was handed over, as an upgrade or as TURN.
pub(super) async fn serve(house: House, socket: TcpStream, ends: Ends, place: Place) {
    let mut drain = house.drain.clone();
    let begun = tokio::select! {
        begun = begin(&house, socket, ends, place) => begun,
        // Whoever has not said anything yet is asked to go at once.
        () = draining(&mut drain) => return,
    };
    match begun {
        Some((Begun::Plain(Speech::Turn, stream), ends)) => {
            let (first, socket, place) = stream.into_parts();
            hand_over(&house, socket, None, first.into(), ends, place);
        }
        Some((Begun::Tls(Speech::Turn, stream), ends)) => {
            let (first, stream, place) = stream.into_parts();
            let (socket, tls) = stream.into_inner();
            hand_over(&house, socket, Some(Box::new(tls)), first.into(), ends, place);
        }
        Some((Begun::Plain(speech, stream), ends)) => speak(house, speech, stream, ends.client).await,
        Some((Begun::Tls(speech, stream), ends)) => speak(house, speech, *stream, ends.client).await,
        None => {}
    }
}

/// A connection that has said its first bytes.
enum Begun {
    Plain(Speech, Stream<TcpStream>),
    Tls(Speech, Box<Stream<TlsStream<TcpStream>>>),
}

/// The place where a connection is told from others: whose it is, and what it speaks. None: it failed, and was counted.
async fn begin(
    house: &House,
    mut socket: TcpStream,
    mut ends: Ends,
    mut place: Place,
) -> Option<(Begun, Ends)> {
    if proxy::is_one_of(&house.proxies, ends.client.ip()) {
        let Some(header) = patiently(proxy::read(&mut socket)).await else {
            Refusals::count(&house.refusals.proxy);
            return None;
        };
        if let Header::Proxied { source, destination } = header {
            ends = Ends { client: source, server: destination };
        }
        if place.settle(ends.client.ip()).is_err() {
            Refusals::count(&house.refusals.per_ip);
            return None;
        }
    }
    let begun = match &house.tls {
        None => {
            let heard = patiently(stream::listen(socket, place)).await;
            heard.map(|(speech, stream)| Begun::Plain(speech, stream))
        }
        Some(tls) => {
            let Some(socket) = patiently(tls.accept(socket)).await else {
                Refusals::count(&house.refusals.handshake);
                return None;
            };
            begin_tls(socket, place).await.map(|(speech, stream)| Begun::Tls(speech, Box::new(stream)))
        }
    };
    if begun.is_none() {
        Refusals::count(&house.refusals.silent);
    }
    begun.map(|begun| (begun, ends))
}

/// What it speaks is what was agreed on in the handshake; if nothing was, its first bytes tell.
async fn begin_tls(
    socket: TlsStream<TcpStream>,
    place: Place,
) -> Option<(Speech, Stream<TlsStream<TcpStream>>)> {
    let agreed = socket.get_ref().1.alpn_protocol().map(<[u8]>::to_vec);
    if agreed.as_deref() == Some(tls::TURN) {
        return Some((Speech::Turn, Stream::new(socket, place)));
    }
    let (speech, stream) = patiently(stream::listen(socket, place)).await?;
    // Who agreed to speak HTTP does not speak TURN: the parser of HTTP says so.
    Some((if agreed.is_some() && speech == Speech::Turn { Speech::Http1 } else { speech }, stream))
}

/// What comes of it, if it does within our patience.
async fn patiently<T>(doing: impl Future<Output = io::Result<T>>) -> Option<T> {
    timeout(PATIENCE, doing).await.ok().and_then(Result::ok)
}

/// Gives a connection that speaks TURN to the relay.
fn hand_over(
    house: &House,
    socket: TcpStream,
    tls: Option<Box<ServerConnection>>,
    first: Vec<u8>,
    ends: Ends,
    mut place: Place,
) {
    match socket.into_std() {
        Ok(socket) => {
            place.hand_over();
            let Ends { client, server } = ends;
            (house.turn)(Caller { socket, tls, first, client, server, keep: Box::new(place) });
        }
        Err(error) => tracing::debug!(%error, "connection broke while it was handed over"),
    }
}

/// Returns when the connections should end; also when the gate is gone.
async fn draining(drain: &mut watch::Receiver<bool>) {
    let _ = drain.wait_for(|drain| *drain).await;
}

/// HTTP, to the end of the connection.
async fn speak<S>(house: House, speech: Speech, stream: Stream<S>, peer: SocketAddr)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let router = house.router.map_request(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(peer));
        request.map(axum::body::Body::new)
    });
    let mut http = auto::Builder::new(TokioExecutor::new());
    http.http1().timer(TokioTimer::new()).header_read_timeout(PATIENCE).max_buf_size(HEAD);
    http.http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(PATIENCE)
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(HEAD as u32);
    let http = match speech {
        // What speaks TURN is not here any more.
        Speech::Http1 | Speech::Turn => http.http1_only(),
        Speech::Http2 => http.http2_only(),
    };
    let connection =
        http.serve_connection_with_upgrades(TokioIo::new(stream), TowerToHyperService::new(router));
    tokio::pin!(connection);
    let mut drain = house.drain;
    let ended = tokio::select! {
        ended = connection.as_mut() => Some(ended),
        () = draining(&mut drain) => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "connection ended early");
    }
}
