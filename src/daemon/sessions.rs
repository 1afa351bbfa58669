//! What the request that opens a Socket.IO session brings along, for as long as the session lives: a place, as one over long
//! polling needs no connection of its own and is not bounded by the gate's places; and the request's head, made small.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use axum::extract::ConnectInfo;
use axum::extract::Request;
use axum::http::HeaderMap;
use axum::http::HeaderName;
use axum::http::HeaderValue;
use axum::http::Method;
use axum::middleware::Next;
use axum::response::Response;
use bytes::Bytes;

use super::arrivals::Arrivals;
use crate::gate::Places;
use crate::gate::Refusals;
use crate::http;

/// When to try again where all places are taken.
const FULL: Duration = Duration::from_secs(10);

/// Gives a request that opens a session a place, or refuses it. The session keeps its first request, and so its place,
/// for as long as it lives.
pub(super) async fn admit(
    places: Places,
    arrivals: Arc<Arrivals>,
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
        match arrivals.wait(peer.ip(), tokio::time::Instant::now().into_std()) {
            Ok(Duration::ZERO) => {}
            Ok(wait) => tokio::time::sleep(wait).await,
            Err(wait) => {
                refusals.sessions.fetch_add(1, Relaxed);
                return http::too_many("too many new sessions of this address", wait);
            }
        }
        request.extensions_mut().insert(Arc::new(place));
        detach(&mut request);
    }
    next.run(request).await
}

/// Copies the request's head: names, values and address are slices of the 16 KiB that the connection reads into, and would
/// keep all of it.
fn detach(request: &mut Request) {
    if let Ok(uri) = request.uri().to_string().parse() {
        *request.uri_mut() = uri;
    }
    let headers = request.headers();
    let all: Bytes = headers.values().flat_map(|value| value.as_bytes()).copied().collect();
    let mut copy = HeaderMap::with_capacity(headers.len());
    let mut at = 0;
    for (name, value) in headers {
        let end = at + value.len();
        let name = HeaderName::from_bytes(name.as_str().as_bytes());
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_maybe_shared(all.slice(at..end))) {
            copy.append(name, value);
        }
        at = end;
    }
    *request.headers_mut() = copy;
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
    fn a_detached_head_is_the_same_head() {
        let head = || {
            Request::builder()
                .uri("http://call.example.org/socket.io/?EIO=4&transport=websocket")
                .header("Host", "call.example.org")
                .header("X-Own", "")
                .header("Cookie", "a=1")
                .header("Cookie", "b=2")
                .header("X-Own", &b"caf\xE9"[..])
        };
        let (before, mut after) = (head().body(Body::empty()).unwrap(), head().body(Body::empty()).unwrap());
        after.extensions_mut().insert(ConnectInfo(SocketAddr::from(([192, 0, 2, 1], 1))));
        detach(&mut after);
        assert!(after.extensions().get::<ConnectInfo<SocketAddr>>().is_some());
        assert_eq!((before.headers(), before.uri()), (after.headers(), after.uri()));
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
            admit(counted.0.clone(), Arc::new(Arrivals::new(0)), Arc::clone(&counted.1), request, next)
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
