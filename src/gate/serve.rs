//! One connection, from its first byte to its end.

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
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tower::ServiceExt;

use super::Refusals;
use super::places::Place;
use super::stream;
use super::stream::Speech;
use super::stream::Stream;

/// For the TLS handshake; and after it, for the first bytes; and for each request's head.
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
    pub(super) refusals: Arc<Refusals>,
    /// Turns true when the connections should finish what they are at, and end.
    pub(super) drain: watch::Receiver<bool>,
}

/// Set on every request: whether it came over TLS that ended here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Secure(pub bool);

/// Serves a connection; returns when it has ended or was handed over as an upgrade.
pub(super) async fn serve(house: House, socket: TcpStream, peer: SocketAddr, place: Place) {
    let mut drain = house.drain.clone();
    let begun = tokio::select! {
        begun = begin(&house, socket, place) => begun,
        // Whoever has not said anything yet is asked to go at once.
        () = draining(&mut drain) => return,
    };
    match begun {
        Some(Begun::Plain(speech, stream)) => speak(house, speech, stream, peer, false).await,
        Some(Begun::Tls(speech, stream)) => speak(house, speech, *stream, peer, true).await,
        None => {}
    }
}

/// A connection that has said its first bytes.
enum Begun {
    Plain(Speech, Stream<TcpStream>),
    Tls(Speech, Box<Stream<TlsStream<TcpStream>>>),
}

/// The place where the first bytes tell the protocols apart. None: it failed, and was counted.
async fn begin(house: &House, socket: TcpStream, place: Place) -> Option<Begun> {
    let Some(tls) = &house.tls else {
        let heard = timeout(PATIENCE, stream::listen(socket, place)).await;
        let heard = heard.ok().and_then(Result::ok).map(|(speech, stream)| Begun::Plain(speech, stream));
        if heard.is_none() {
            Refusals::count(&house.refusals.silent);
        }
        return heard;
    };
    let Ok(Ok(socket)) = timeout(PATIENCE, tls.accept(socket)).await else {
        Refusals::count(&house.refusals.handshake);
        return None;
    };
    let heard = timeout(PATIENCE, stream::listen(socket, place)).await;
    let heard = heard.ok().and_then(Result::ok).map(|(speech, stream)| Begun::Tls(speech, Box::new(stream)));
    if heard.is_none() {
        Refusals::count(&house.refusals.silent);
    }
    heard
}

/// Returns when the connections should end; also when the gate is gone.
async fn draining(drain: &mut watch::Receiver<bool>) {
    let _ = drain.wait_for(|drain| *drain).await;
}

/// HTTP, to the end of the connection.
async fn speak<S>(house: House, speech: Speech, stream: Stream<S>, peer: SocketAddr, secure: bool)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let router = house.router.map_request(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(peer));
        request.extensions_mut().insert(Secure(secure));
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
        Speech::Http1 => http.http1_only(),
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
