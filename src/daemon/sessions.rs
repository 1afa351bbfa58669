//! Places for Socket.IO's sessions. One over long polling outlives its request, and needs no connection of its own: the
//! gate's places do not bound them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use axum::Json;
use axum::extract::ConnectInfo;
use axum::extract::Request;
use axum::http::Method;
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::IntoResponse;
use axum::response::Response;
use serde_json::json;

use crate::gate::Places;
use crate::gate::Refusals;

/// Gives a request that opens a session a place, or refuses it. The session keeps its first request, and so its place,
/// for as long as it lives.
pub(super) async fn seat(
    places: Places,
    refusals: Arc<Refusals>,
    mut request: Request,
    next: Next,
) -> Response {
    if opens(&request)
        && let Some(ConnectInfo(peer)) = request.extensions().get::<ConnectInfo<SocketAddr>>().copied()
    {
        let Ok(place) = places.take(peer.ip()) else {
            refusals.sessions.fetch_add(1, Relaxed);
            let error =
                json!({ "code": "too-many-requests", "message": "too many sessions of this address" });
            return (StatusCode::TOO_MANY_REQUESTS, Json(json!({ "error": error }))).into_response();
        };
        request.extensions_mut().insert(Arc::new(place));
    }
    next.run(request).await
}

fn opens(request: &Request) -> bool {
    let query = request.uri().query().unwrap_or_default();
    request.method() == Method::GET
        && request.uri().path().starts_with("/socket.io")
        && !query.split('&').any(|pair| pair.starts_with("sid="))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::Router;
    use axum::body::Body;
    use axum::middleware::from_fn;
    use tower::ServiceExt;

    use super::*;
    use crate::signaling::IceServers;
    use crate::signaling::Settings;
    use crate::signaling::Signaling;

    #[tokio::test(start_paused = true)]
    async fn sessions_over_long_polling_are_bounded_and_give_their_place_back() {
        let ice = IceServers {
            host: None,
            fallback_host: String::new(),
            port: 3478,
            secret: "of the test".into(),
            ttl: Duration::from_secs(3600),
        };
        let (_signaling, layer) = Signaling::new(&Settings::default(), ice, Arc::new(|_: &str| {}));
        let (places, refusals) = (Places::new(100, 2), Arc::<Refusals>::default());
        let counted = (places.clone(), Arc::clone(&refusals));
        let seats =
            from_fn(move |request, next| seat(counted.0.clone(), Arc::clone(&counted.1), request, next));
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
