//! Bodies that come as JSON.

use axum::body::Bytes;
use axum::extract::FromRequest;
use axum::extract::Request;
use axum::http::HeaderValue;
use axum::http::StatusCode;
use axum::http::header;
use axum::response::IntoResponse;
use axum::response::Response;
use serde::de::DeserializeOwned;

use super::Parts;
use super::problem::bad;
use super::problem::problem;

/// What a body says.
pub(super) struct Payload<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequest<Parts> for Payload<T> {
    type Rejection = Response;

    async fn from_request(request: Request, parts: &Parts) -> Result<Payload<T>, Response> {
        let kind = request.headers().get(header::CONTENT_TYPE).cloned();
        let body = Bytes::from_request(request, parts).await.map_err(IntoResponse::into_response)?;
        read(kind.as_ref(), &body).map(Payload).map_err(|answer| *answer)
    }
}

/// A body may go without a type, but not with another's.
///
/// # Errors
/// The answer that says what is wrong: 415 or 400.
fn read<T: DeserializeOwned>(kind: Option<&HeaderValue>, body: &[u8]) -> Result<T, Box<Response>> {
    let kind = kind.map(HeaderValue::as_bytes).unwrap_or(b"application/json");
    if !is_json(kind) {
        let what = "the body has to be application/json";
        let problem = problem(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", what);
        return Err(Box::new(problem.into_response()));
    }
    // A list would be taken for the values of an object's keys, one after another.
    if body.trim_ascii_start().first().is_some_and(|first| *first != b'{') {
        return Err(Box::new(bad("the body has to be a JSON object")));
    }
    serde_json::from_slice(body).map_err(|error| {
        let key = key_of(body, &error).map(|key| format!("{key}: ")).unwrap_or_default();
        Box::new(bad(&format!("the body cannot be used: {key}{error}")))
    })
}

/// Under which key of the object the value is that cannot be used, if it is a value.
fn key_of<'a>(body: &'a [u8], error: &serde_json::Error) -> Option<&'a str> {
    let words = error.to_string();
    if !error.is_data() || words.starts_with("missing field") || words.starts_with("unknown field") {
        return None;
    }
    let lines: usize =
        body.split(|b| *b == b'\n').take(error.line().checked_sub(1)?).map(|line| line.len() + 1).sum();
    let (mut depth, mut from, mut escaped) = (0_usize, None, false);
    let (mut text, mut key) = (None, None);
    for (at, byte) in body.iter().enumerate().take(lines + error.column()) {
        match (byte, from) {
            _ if escaped => escaped = false,
            (b'\\', Some(_)) => escaped = true,
            (b'"', None) => from = Some(at + 1),
            (b'"', Some(start)) => (text, from) = (body.get(start..at), None),
            (_, Some(_)) => {}
            (b'{' | b'[', None) => depth += 1,
            (b'}' | b']', None) => depth = depth.saturating_sub(1),
            (b':', None) if depth == 1 => key = text,
            _ => {}
        }
    }
    std::str::from_utf8(key?).ok()
}

/// `application/json`, or something of that syntax (RFC 6839, section 3.1).
fn is_json(kind: &[u8]) -> bool {
    let Ok(kind) = std::str::from_utf8(kind) else { return false };
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    kind == "application/json" || (kind.starts_with("application/") && kind.ends_with("+json"))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn a_value_that_cannot_be_used_is_told_with_its_key() {
        #[derive(Debug, serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        #[expect(dead_code, reason = "they are read, and that is it")]
        struct Two {
            text: String,
            list: Option<Vec<bool>>,
        }
        for (body, key) in [
            (r#"{"text":7}"#, Some("text")),
            ("{\n  \"list\": [],\n  \"text\": {\"list\": 1}\n}", Some("text")),
            (r#"{"text":"a \"list\": \\","list":[true,"x"]}"#, Some("list")),
            (r#"{"list":[]}"#, None),
            (r#"{"text":"x","lost":1}"#, None),
            (r#"{"text":"x""#, None),
        ] {
            let error = serde_json::from_str::<Two>(body).unwrap_err();
            assert_eq!(key_of(body.as_bytes(), &error), key, "{body}: {error}");
        }
    }

    #[test]
    fn json_is_json_however_it_is_called() {
        for good in
            ["application/json", "application/json; charset=utf-8", "Application/JSON", "application/x+json"]
        {
            assert!(is_json(good.as_bytes()), "{good}");
        }
        let form = HeaderValue::from_static("application/x-www-form-urlencoded");
        assert_eq!(
            read::<Value>(Some(&form), b"{}").unwrap_err().status(),
            StatusCode::UNSUPPORTED_MEDIA_TYPE
        );
        assert!(read::<Value>(None, b"{}").is_ok());
        for bad in [&b""[..], b"{", b"\xff", b"[]", b"null", b" [\"tea\"]", &b"[".repeat(9000)] {
            assert_eq!(read::<Value>(None, bad).unwrap_err().status(), StatusCode::BAD_REQUEST);
        }
    }
}
