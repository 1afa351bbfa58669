//! Errors as the API tells them, whoever found them: `{"error":{"code","message","retryAfter"?}}`.

use std::time::Duration;

use axum::Json;
use axum::http::HeaderValue;
use axum::http::StatusCode;
use axum::http::header;
use axum::response::IntoResponse;
use axum::response::Response;
use serde_json::Value;
use serde_json::json;

/// An error: a code for programs, a message for whoever writes them.
pub fn problem(status: StatusCode, code: &str, message: &str) -> (StatusCode, Json<Value>) {
    (status, Json(json!({ "error": { "code": code, "message": message } })))
}

/// What was asked for cannot be understood.
pub(super) fn bad(why: &str) -> Response {
    problem(StatusCode::BAD_REQUEST, "bad-request", why).into_response()
}

/// One that may be gone after a while: in whole seconds, in the body and as `Retry-After`.
pub fn problem_for(status: StatusCode, code: &str, message: &str, wait: Duration) -> Response {
    let seconds = wait.as_secs() + 1;
    let body = json!({ "error": { "code": code, "message": message, "retryAfter": seconds } });
    (status, [(header::RETRY_AFTER, seconds.to_string())], Json(body)).into_response()
}

/// Somebody is over a limit.
pub fn too_many(message: &str, wait: Duration) -> Response {
    problem_for(StatusCode::TOO_MANY_REQUESTS, "too-many-requests", message, wait)
}

/// Gives an error that was not found by our own handlers (a route that knows no such method, a body that is too long) the same
/// shape; its headers stay.
pub(super) async fn shaped(response: Response) -> Response {
    let status = response.status();
    let json = HeaderValue::from_static("application/json");
    if !(status.is_client_error() || status.is_server_error())
        || response.headers().get(header::CONTENT_TYPE) == Some(&json)
    {
        return response;
    }
    let (code, message) = words(status);
    let (mut head, _) = response.into_parts();
    for name in [header::CONTENT_TYPE, header::CONTENT_LENGTH, header::ETAG] {
        head.headers.remove(name);
    }
    let mut shaped = problem(status, code, message).into_response();
    for (name, value) in &head.headers {
        shaped.headers_mut().append(name, value.clone());
    }
    shaped
}

fn words(status: StatusCode) -> (&'static str, &'static str) {
    match status {
        StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY => {
            ("bad-request", "this request cannot be understood")
        }
        StatusCode::NOT_FOUND => ("not-found", "there is no such resource"),
        StatusCode::METHOD_NOT_ALLOWED => ("method-not-allowed", "this resource knows no such method"),
        StatusCode::REQUEST_TIMEOUT => ("timeout", "the request took too long"),
        StatusCode::PAYLOAD_TOO_LARGE => ("too-large", "the body is longer than limits.message_bytes"),
        StatusCode::UNSUPPORTED_MEDIA_TYPE => {
            ("unsupported-media-type", "the body has to be application/json")
        }
        StatusCode::SERVICE_UNAVAILABLE => ("unavailable", "not now"),
        status if status.is_client_error() => ("bad-request", "this request is refused"),
        _ => ("internal", "something went wrong here"),
    }
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;

    use super::*;

    async fn body(response: Response) -> Value {
        serde_json::from_slice(&to_bytes(response.into_body(), 1000).await.unwrap()).unwrap()
    }

    #[tokio::test]
    async fn others_errors_get_our_shape_and_keep_their_headers() {
        let strange = (StatusCode::METHOD_NOT_ALLOWED, [(header::ALLOW, "GET")], "no").into_response();
        let shaped = shaped(strange).await;
        assert_eq!(
            (shaped.status(), &shaped.headers()["allow"]),
            (StatusCode::METHOD_NOT_ALLOWED, &"GET".parse().unwrap())
        );
        assert_eq!(shaped.headers()["content-type"], "application/json");
        assert_eq!(body(shaped).await["error"]["code"], "method-not-allowed");
    }

    #[tokio::test]
    async fn what_is_no_error_or_has_the_shape_stays_as_it_is() {
        assert_eq!(to_bytes(shaped("fine".into_response()).await.into_body(), 9).await.unwrap(), "fine");
        let ours = problem(StatusCode::NOT_FOUND, "no-such-room", "x").into_response();
        assert_eq!(body(shaped(ours).await).await["error"]["code"], "no-such-room");
        let later =
            problem_for(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "x", Duration::from_millis(1500));
        assert_eq!(later.headers()["retry-after"], "2");
        assert_eq!(body(shaped(later).await).await["error"]["retryAfter"], 2);
    }
}
