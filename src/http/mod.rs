//! Everything over HTTP but socket.io: the pages, the API, health, readiness, the figures; and the rules that hold for socket.io too.

mod access;
mod body;
mod ice;
mod listing;
mod log;
mod origin;
mod page;
mod pages;
mod payload;
mod problem;
mod refusal;
mod request;
mod rooms;
mod rule;
mod users;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU8;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use axum::Json;
use axum::Router;
use axum::extract::ConnectInfo;
use axum::extract::DefaultBodyLimit;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::HeaderName;
use axum::http::HeaderValue;
use axum::http::StatusCode;
use axum::http::Uri;
use axum::http::header;
use axum::middleware::from_fn;
use axum::middleware::map_request;
use axum::middleware::map_response;
use axum::response::IntoResponse;
use axum::response::Response;
use axum::routing::get;
use axum::routing::post;
use serde_json::json;
use tower::ServiceBuilder;
use tower_http::set_header::SetResponseHeaderLayer;

use crate::ice::IceServers;
use crate::metrics::Metrics;
use crate::store::Store;

pub use access::Access;
pub use access::Keys;
pub use origin::Origins;
pub use page::Page;
pub use problem::problem;
pub use problem::problem_for;
pub use problem::too_many;
pub use rooms::Done;
pub use rooms::NewRoom;
pub use rooms::Rooms;
pub use rooms::Search;
pub use users::Mint;
pub use users::Token;

/// What a page of ours may do: run its own scripts, talk to its own server, show its own camera. `'self'` includes
/// WebSockets of this host in today's browsers; the explicit schemes are for the older ones.
const CONTENT_SECURITY_POLICY: &str = "default-src 'self'; connect-src 'self' ws: wss:; \
     img-src 'self' data: blob:; media-src 'self' blob: mediastream:; object-src 'none'; base-uri 'none'; \
     form-action 'self'; frame-ancestors 'none'";

/// On every answer, unless the answer has its own.
const HEADERS: [(&str, &str); 5] = [
    ("content-security-policy", CONTENT_SECURITY_POLICY),
    ("x-content-type-options", "nosniff"),
    // A room's link is its key.
    ("referrer-policy", "no-referrer"),
    ("permissions-policy", "camera=(self), microphone=(self), display-capture=(self), geolocation=()"),
    ("cross-origin-opener-policy", "same-origin"),
];

/// What the routes need. Cheap to clone.
#[derive(Clone)]
pub struct Parts {
    /// The figures.
    pub metrics: Arc<Metrics>,
    /// Who may do what.
    pub access: Arc<Access>,
    /// What is handed out to who is in no room.
    pub ice: IceServers,
    /// The rooms.
    pub rooms: Arc<dyn Rooms>,
    /// What of them lasts.
    pub store: Arc<dyn Store>,
    /// Whether the relay is alive.
    pub relay_lives: Arc<dyn Fn() -> bool + Send + Sync>,
    /// What `/ready` says.
    pub readiness: Arc<Readiness>,
    /// Since when this process has run.
    pub started: Instant,
    /// The longest body of a request, in bytes.
    pub body_bytes: usize,
}

impl Parts {
    fn store_word(&self) -> &'static str {
        if self.store.health().fault.is_none() { "ok" } else { "failing" }
    }
}

/// Whether new calls should be sent here.
#[derive(Default, Debug)]
pub struct Readiness(AtomicU8);

impl Readiness {
    const SERVING: u8 = 1;
    const DRAINING: u8 = 2;

    /// Everything is listening.
    pub fn serving(&self) {
        self.0.store(Self::SERVING, Relaxed);
    }

    /// The end has begun.
    pub fn draining(&self) {
        self.0.store(Self::DRAINING, Relaxed);
    }

    fn word(&self) -> &'static str {
        match self.0.load(Relaxed) {
            Self::SERVING => "ready",
            Self::DRAINING => "draining",
            _ => "starting",
        }
    }
}

/// The routes.
pub fn router(parts: Parts) -> Router {
    let body_bytes = parts.body_bytes;
    Router::new()
        .route("/health", get(health))
        .route("/ready", get(ready))
        .route("/metrics", get(metrics))
        .route("/api/ice", get(ice::ice))
        .route("/api/rooms", get(listing::list).post(rule::create))
        .route("/api/rooms/{roomId}", get(listing::room).delete(rule::close))
        .route("/api/rooms/{roomId}/kick", post(rule::kick))
        .route("/api/rooms/{roomId}/lock", post(rule::lock))
        .route("/api/rooms/{roomId}/invite", post(rule::invite))
        .route("/api/rooms/{roomId}/messages", get(log::messages))
        .route("/api/calls", get(log::calls))
        .route("/api/tokens", post(users::mint))
        .route("/turn", get(ice::turn).post(ice::turn))
        .fallback(pages::page)
        .with_state(parts)
        .layer(DefaultBodyLimit::max(body_bytes))
        .layer(map_response(problem::shaped))
}

/// Puts the rules for origins, the security headers and the deadline for bodies around everything, socket.io included.
pub fn guard(router: Router, origins: &Origins) -> Router {
    let strangers = {
        let origins = origins.clone();
        from_fn(move |request, next| origin::refuse_strangers(origins.clone(), request, next))
    };
    let deadlines = map_request(async |request| body::timed(request));
    let mut router =
        router.layer(ServiceBuilder::new().layer(origins.cors()).layer(strangers).layer(deadlines));
    for (name, value) in HEADERS {
        router = router.layer(SetResponseHeaderLayer::if_not_present(
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        ));
    }
    router
}

async fn health(State(parts): State<Parts>) -> Response {
    let body = json!({
        "status": "ok",
        "version": env!("CARGO_PKG_VERSION"),
        "uptime": parts.started.elapsed().as_secs(),
        "store": { "status": parts.store_word() },
        "relay": { "status": if (parts.relay_lives)() { "ok" } else { "dead" } },
    });
    ([(header::CACHE_CONTROL, "no-store")], Json(body)).into_response()
}

async fn ready(State(parts): State<Parts>) -> Response {
    let word = parts.readiness.word();
    let status = if word == "ready" { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    // Calls go on without a disk, so this is no reason to send them elsewhere.
    let body = json!({ "status": word, "store": parts.store_word() });
    let mut answer = (status, [(header::CACHE_CONTROL, "no-store")], Json(body)).into_response();
    if status != StatusCode::OK {
        answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    answer
}

async fn metrics(
    State(parts): State<Parts>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    if !is_local(peer, &headers, &uri)
        && let Err(refused) = parts.access.admin_only(peer.ip(), &headers)
    {
        let what = "this needs the admin token, or a look from this machine";
        return refused.answer(StatusCode::UNAUTHORIZED, what);
    }
    let text = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    (text, parts.metrics.render()).into_response()
}

/// From this machine itself and meant for it: not through a reverse proxy, nor from a page whose name was made to lead here.
fn is_local(peer: SocketAddr, headers: &HeaderMap, uri: &Uri) -> bool {
    const PASSED_ON: [&str; 4] = ["forwarded", "x-forwarded-for", "x-real-ip", "via"];
    peer.ip().to_canonical().is_loopback()
        && !PASSED_ON.iter().any(|name| headers.contains_key(*name))
        && origin::host(headers, uri).is_none_or(origin::is_localhost)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(n, v)| (HeaderName::from_static(n), HeaderValue::from_static(v))).collect()
    }

    #[test]
    fn the_figures_are_for_this_machine_and_not_for_whom_it_passes_on() {
        let local: SocketAddr = "127.0.0.1:1".parse().unwrap();
        assert!(is_local(local, &headers(&[]), &Uri::from_static("/")));
        assert!(is_local(
            "[::ffff:127.0.0.1]:1".parse().unwrap(),
            &headers(&[("host", "localhost:3000")]),
            &Uri::from_static("/")
        ));
        let path = Uri::from_static("/metrics");
        assert!(!is_local(local, &headers(&[("x-forwarded-for", "192.0.2.1")]), &path));
        assert!(!is_local("192.0.2.1:1".parse().unwrap(), &headers(&[]), &path));
        assert!(!is_local(local, &headers(&[("host", "rebound.example:3000")]), &path));
        assert!(!is_local(local, &headers(&[]), &Uri::from_static("http://rebound.example/metrics")));
    }
}
