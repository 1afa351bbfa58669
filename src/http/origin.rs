//! Which web pages may talk to this server: one rule for CORS, for WebSockets (which browsers open without asking) and
//! for the API.

use axum::extract::Request;
use axum::http::HeaderMap;
use axum::http::HeaderValue;
use axum::http::Method;
use axum::http::StatusCode;
use axum::http::header;
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::IntoResponse;
use axum::response::Response;
use std::sync::Arc;
use std::time::Duration;
use tower_http::cors::AllowOrigin;
use tower_http::cors::CorsLayer;

use super::problem;

/// The allowed origins.
#[derive(Clone, Debug)]
pub struct Origins {
    /// As configured: `https://host[:port]`, `*` or `null`. Empty: localhost's.
    listed: Arc<[String]>,
    /// The name that clients use, which a reverse proxy may not pass on.
    public: Option<Arc<str>>,
}

impl Origins {
    /// The configured ones, and the host's public name. The server's own pages are always allowed, whether they came by
    /// this name or by the one that a request has; without any in the list, localhost's are as well.
    #[must_use]
    pub fn new(listed: &[String], public: Option<&str>) -> Self {
        Self { listed: listed.into(), public: public.map(|host| host.to_ascii_lowercase().into()) }
    }

    /// Whether a page of `origin` may call what it knows as `host`.
    #[must_use]
    pub fn allows(&self, origin: &str, host: Option<&str>) -> bool {
        let Some((scheme, authority)) = origin.split_once("://") else {
            return origin == "null" && self.listed.iter().any(|listed| listed == "null" || listed == "*");
        };
        let plain = |authority: &str| {
            let port = if scheme == "https" { ":443" } else { ":80" };
            authority.strip_suffix(port).unwrap_or(authority).to_ascii_lowercase()
        };
        let authority = plain(authority);
        if host.is_some_and(|host| plain(host) == authority) || self.public.as_deref() == Some(&*authority) {
            return true;
        }
        if self.listed.is_empty() {
            return is_localhost(&authority);
        }
        let origin = format!("{scheme}://{authority}");
        self.listed.iter().any(|listed| listed == "*" || *listed == origin)
    }

    fn allows_request(&self, headers: &HeaderMap, uri: &axum::http::Uri) -> bool {
        match headers.get(header::ORIGIN) {
            // No browser, or a page of our own.
            None => true,
            Some(origin) => origin.to_str().is_ok_and(|origin| self.allows(origin, host(headers, uri))),
        }
    }

    /// CORS headers for the allowed, with credentials; none for the others.
    pub(super) fn cors(&self) -> CorsLayer {
        let origins = self.clone();
        CorsLayer::new()
            .allow_origin(AllowOrigin::predicate(move |origin: &HeaderValue, parts: &Parts| {
                origin.to_str().is_ok_and(|origin| origins.allows(origin, host(&parts.headers, &parts.uri)))
            }))
            .allow_methods([Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::DELETE])
            .allow_headers([header::CONTENT_TYPE, header::AUTHORIZATION])
            .expose_headers([header::LINK, header::LOCATION, header::RETRY_AFTER])
            .allow_credentials(true)
            .max_age(Duration::from_secs(3600))
    }
}

/// HTTP/1 has the host in its header, HTTP/2 in the request's address.
pub(super) fn host<'a>(headers: &'a HeaderMap, uri: &'a axum::http::Uri) -> Option<&'a str> {
    let header = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    header.or_else(|| uri.authority().map(axum::http::uri::Authority::as_str))
}

pub(super) fn is_localhost(authority: &str) -> bool {
    let name = match authority.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => authority,
    };
    name == "localhost" || name.ends_with(".localhost") || name == "127.0.0.1" || name == "[::1]"
}

/// Refuses what a page of a foreign origin asks of socket.io or the API. Pages and scripts are for everybody to read.
pub(super) async fn refuse_strangers(origins: Origins, request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let guarded = path.starts_with("/socket.io") || path.starts_with("/api") || path == "/turn";
    if guarded && !origins.allows_request(request.headers(), request.uri()) {
        return problem(StatusCode::FORBIDDEN, "origin-not-allowed", "this origin is not in http.origins")
            .into_response();
    }
    next.run(request).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origins(listed: &[&str]) -> Origins {
        Origins::new(&listed.iter().map(|o| (*o).to_owned()).collect::<Vec<_>>(), None)
    }

    #[test]
    fn without_a_list_the_own_pages_and_localhost_are_allowed() {
        let none = origins(&[]);
        assert!(none.allows("https://call.example.org", Some("call.example.org")));
        assert!(none.allows("https://call.example.org", Some("Call.example.org:443")));
        assert!(none.allows("http://192.0.2.1:3000", Some("192.0.2.1:3000")));
        for local in
            ["http://localhost:5173", "http://127.0.0.1", "http://[::1]:3000", "http://app.localhost:1"]
        {
            assert!(none.allows(local, Some("call.example.org")), "{local}");
        }
        for foreign in [
            "https://evil.example",
            "https://call.example.org.evil.example",
            "https://localhost.evil.example",
            "http://127.0.0.1.evil.example",
            "https://call.example.org:8443",
            "null",
            "",
            "garbage",
        ] {
            assert!(!none.allows(foreign, Some("call.example.org")), "{foreign}");
        }
        assert!(!none.allows("https://call.example.org", None));
    }

    #[test]
    fn behind_a_proxy_that_hides_the_host_the_public_name_is_our_own() {
        let named = Origins::new(&[], Some("Call.example.org"));
        assert!(named.allows("https://call.example.org", Some("127.0.0.1:3000")));
        assert!(!named.allows("https://call.example.org:8443", Some("127.0.0.1:3000")));
        assert!(!named.allows("https://evil.example", Some("127.0.0.1:3000")));
    }

    #[test]
    fn a_list_is_the_whole_list_but_for_the_own_pages() {
        let listed = origins(&["https://app.example.org"]);
        assert!(listed.allows("https://app.example.org", Some("x")));
        assert!(listed.allows("https://app.example.org:443", Some("x")));
        assert!(listed.allows("https://x", Some("x")));
        assert!(!listed.allows("http://app.example.org", Some("x")), "the scheme counts");
        assert!(!listed.allows("http://localhost:5173", Some("x")));
        assert!(origins(&["*"]).allows("https://anyone.example", None));
        assert!(origins(&["null"]).allows("null", None));
    }
}
