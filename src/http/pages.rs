//! The pages and the SDK, embedded in the binary.

use std::fmt::Write as _;

use axum::http::HeaderMap;
use axum::http::HeaderValue;
use axum::http::Method;
use axum::http::StatusCode;
use axum::http::Uri;
use axum::http::header;
use axum::response::IntoResponse;
use axum::response::Response;
use rust_embed::RustEmbed;

use super::problem;

#[derive(RustEmbed)]
#[folder = "web/"]
struct Web;

/// Whatever no route knows: a file of `web/`, or nothing.
pub(super) async fn page(method: Method, uri: Uri, headers: HeaderMap) -> Response {
    let path = uri.path();
    if path == "/api" || path.starts_with("/api/") {
        return problem(StatusCode::NOT_FOUND, "not-found", "there is no such resource").into_response();
    }
    let name = path.trim_start_matches('/');
    let name = if name.is_empty() { "index.html" } else { name };
    let Some(file) = Web::get(name).or_else(|| Web::get(&format!("{name}.html"))) else {
        return (StatusCode::NOT_FOUND, "There is no such page.\n").into_response();
    };
    if method != Method::GET && method != Method::HEAD {
        return (StatusCode::METHOD_NOT_ALLOWED, [(header::ALLOW, "GET, HEAD")]).into_response();
    }
    let tag = tag(&file.metadata.sha256_hash());
    // Always asked for again, and answered with 304 while it is the same: a new version shows at once.
    let common = [
        (header::ETAG, tag.clone()),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        (header::CONTENT_TYPE, HeaderValue::from_static(content_type(name))),
    ];
    if headers.get_all(header::IF_NONE_MATCH).iter().any(|known| knows(known, &tag)) {
        return (StatusCode::NOT_MODIFIED, common).into_response();
    }
    (common, file.data).into_response()
}

fn tag(hash: &[u8]) -> HeaderValue {
    let mut tag = String::from("\"");
    for byte in hash.iter().take(16) {
        let _ = write!(tag, "{byte:02x}");
    }
    tag.push('"');
    HeaderValue::from_str(&tag).unwrap_or(HeaderValue::from_static("\"\""))
}

/// RFC 9110, section 13.1.2: the weak comparison.
fn knows(known: &HeaderValue, tag: &HeaderValue) -> bool {
    let Ok(known) = known.to_str() else { return false };
    known.split(',').map(|one| one.trim().trim_start_matches("W/")).any(|one| one == "*" || one == tag)
}

/// By the end of the name; a page without one is HTML.
fn content_type(name: &str) -> &'static str {
    match name.rsplit_once('.').map_or("html", |(_, end)| end) {
        "html" => "text/html; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "json" | "map" => "application/json",
        "webmanifest" => "application/manifest+json",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "ico" => "image/x-icon",
        "woff2" => "font/woff2",
        "wasm" => "application/wasm",
        "ts" | "txt" | "md" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_known_in_any_of_its_spellings() {
        let tag = HeaderValue::from_static("\"ab\"");
        for known in ["\"ab\"", "W/\"ab\"", "\"x\", \"ab\"", "*"] {
            assert!(knows(&HeaderValue::from_static(known), &tag), "{known}");
        }
        for unknown in ["\"x\"", "ab", ""] {
            assert!(!knows(&HeaderValue::from_static(unknown), &tag), "{unknown}");
        }
    }
}
