//! What the request that opens a Socket.IO session brings along, for as long as the session lives: a place, as one over long
//! polling needs no connection of its own and is not bounded by the gate's places; and the request's head, made small.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use std::time::Instant;

use axum::extract::ConnectInfo;
use axum::extract::Request;
use axum::http::HeaderMap;
use axum::http::HeaderName;
use axum::http::HeaderValue;
use axum::http::Method;
use axum::http::header;
use axum::middleware::Next;
use axum::response::Response;
use bytes::Bytes;
use hyper::upgrade::OnUpgrade;

use crate::gate::Places;
use crate::gate::Refusals;
use crate::http;
use crate::rate::Throttle;
use crate::signaling::Visitor;

/// When to try again where all places are taken.
const FULL: Duration = Duration::from_secs(10);

/// How many addresses are remembered, and how many seconds one waits in line.
const MOST: usize = 100_000;
const LINE: u32 = 10;

/// How fast new sessions of one address are let in: so many a second. After an outage everybody comes back at once, and many share an
/// address: so who comes too early waits in line, and is told to come again only when the line is long.
pub(super) fn arrivals(per_second: u32, now: Instant) -> Throttle {
    Throttle::new(per_second, MOST, now).with_line(LINE)
}

/// Gives a request that opens a session a place, or refuses it. The session keeps its first request, and so its place,
/// for as long as it lives.
pub(super) async fn admit(
    places: Places,
    arrivals: Arc<Throttle>,
    refusals: Arc<Refusals>,
    mut request: Request,
    next: Next,
) -> Response {
    if opens(&request)
        && let Some(ConnectInfo(peer)) = request.extensions().get::<ConnectInfo<SocketAddr>>().copied()
    {
        let Ok(place) = places.take(peer.ip()) else {
            refusals.sessions.fetch_add(1, Relaxed);
            return http::too_many("too many sessions of this address", FULL);
        };
        match arrivals.count(peer.ip(), tokio::time::Instant::now().into_std()) {
            Ok(Duration::ZERO) => {}
            Ok(wait) => tokio::time::sleep(wait).await,
            Err(wait) => {
                refusals.sessions.fetch_add(1, Relaxed);
                return http::too_many("too many new sessions of this address", wait);
            }
        }
        detach(&mut request, peer);
        request.extensions_mut().insert(Arc::new(place));
    }
    next.run(request).await
}

/// What of the request outlives it: who asks, from where, and what opens a WebSocket.
const KEPT: [HeaderName; 5] =
    [header::HOST, header::ORIGIN, header::AUTHORIZATION, header::COOKIE, header::SEC_WEBSOCKET_KEY];

/// Leaves of the request's head what the session needs, in memory of its own: names, values and address are slices of the 16 KiB
/// that the connection reads into, and would keep all of it.
fn detach(request: &mut Request, peer: SocketAddr) {
    if let Ok(uri) = request.uri().to_string().parse() {
        *request.uri_mut() = uri;
    }
    let headers = request.headers();
    let kept = || KEPT.iter().flat_map(|name| headers.get_all(name).iter().map(move |value| (name, value)));
    let all: Bytes = kept().flat_map(|(_, value)| value.as_bytes()).copied().collect();
    let mut copy = HeaderMap::with_capacity(kept().count());
    let mut at = 0;
    for (name, value) in kept() {
        let end = at + value.len();
        if let Ok(value) = HeaderValue::from_maybe_shared(all.slice(at..end)) {
            copy.append(name, value);
        }
        at = end;
    }
    *request.headers_mut() = copy;
    // What layers before left there is theirs.
    let before = std::mem::take(request.extensions_mut());
    let after = request.extensions_mut();
    if let Some(upgrade) = before.get::<OnUpgrade>() {
        after.insert(upgrade.clone());
    }
    after.insert(Visitor::new(peer));
}

fn opens(request: &Request) -> bool {
    let query = request.uri().query().unwrap_or_default();
    request.method() == Method::GET
        && request.uri().path().starts_with("/socket.io")
        && !query.split('&').any(|pair| pair.starts_with("sid="))
}

#[cfg(test)]
mod tests {

    use axum::Router;
    use axum::body::Body;
    use axum::http::StatusCode;
    use axum::middleware::from_fn;
    use tower::ServiceExt;

    use super::*;
    use crate::ice::IceServers;
    use crate::ice::Signer;
    use crate::signaling::Parts;
    use crate::signaling::Settings;
    use crate::signaling::Signaling;

    #[test]
    fn of_a_head_is_left_what_the_session_needs_as_it_was() {
        let mut request = Request::builder()
            .uri("http://call.example.org/socket.io/?EIO=4&transport=websocket")
            .header("Host", "call.example.org")
            .header("User-Agent", "a browser with much to say of itself")
            .header("Cookie", "a=1")
            .header("Cookie", &b"b=caf\xE9"[..])
            .header("Sec-WebSocket-Key", "")
            .body(Body::empty())
            .unwrap();
        let uri = request.uri().clone();
        detach(&mut request, SocketAddr::from(([192, 0, 2, 1], 1)));
        assert!(request.extensions().get::<Visitor>().is_some());
        assert_eq!(*request.uri(), uri);
        let headers: Vec<_> =
            request.headers().iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        let kept: [(&str, &[u8]); 4] = [
            ("host", b"call.example.org"),
            ("cookie", b"a=1"),
            ("cookie", b"b=caf\xE9"),
            ("sec-websocket-key", b""),
        ];
        assert_eq!(headers, kept);
    }

    #[tokio::test(start_paused = true)]
    async fn sessions_over_long_polling_are_bounded_and_give_their_place_back() {
        let ice = IceServers {
            host: None,
            addresses: Default::default(),
            udp: None,
            tcp: None,
            tls: None,
            signer: Signer::new("of the test".into()),
            ttl: Duration::from_secs(3600),
        };
        let (_signaling, layer) =
            Signaling::new(&Settings::default(), Parts::volatile(&Settings::default(), ice, Arc::new(())));
        let (places, refusals) = (Places::new(100, 2), Arc::<Refusals>::default());
        let counted = (places.clone(), Arc::clone(&refusals));
        let seats = from_fn(move |request, next| {
            admit(
                counted.0.clone(),
                Arc::new(arrivals(0, std::time::Instant::now())),
                Arc::clone(&counted.1),
                request,
                next,
            )
        });
        let router: Router = Router::new().layer(layer).layer(seats);
        let open = async |query: &str, from: [u8; 4]| {
            let uri = format!("/socket.io/?EIO=4&transport=polling{query}");
            let mut request = Request::builder().uri(uri).body(Body::empty()).unwrap();
            request.extensions_mut().insert(ConnectInfo(SocketAddr::from((from, 1))));
            router.clone().oneshot(request).await.unwrap().status()
        };
        let (one, other) = ([192, 0, 2, 1], [192, 0, 2, 2]);
        assert_eq!(open("", one).await, StatusCode::OK);
        assert_eq!(open("", one).await, StatusCode::OK);
        // What names a session opens none.
        assert_eq!(open("&sid=x", one).await, StatusCode::BAD_REQUEST);
        assert_eq!(open("", one).await, StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(open("", other).await, StatusCode::OK);
        assert_eq!((places.taken(), refusals.sessions.load(Relaxed)), (3, 1));
        // Nobody said hello.
        tokio::time::sleep(Duration::from_secs(30)).await;
        assert_eq!(places.taken(), 0);
        assert_eq!(open("", one).await, StatusCode::OK);
    }
}
