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
    let mut reader = serde_json::Deserializer::from_slice(body);
    let said =
        serde_path_to_error::deserialize(&mut reader).map_err(|error| match error.path().iter().next() {
            // With the key of the value that cannot be used.
            Some(_) => error.to_string(),
            None => error.into_inner().to_string(),
        });
    let said = said.and_then(|said| reader.end().map(|()| said).map_err(|error| error.to_string()));
    said.map_err(|why| Box::new(bad(&format!("the body cannot be used: {why}"))))
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

    #[tokio::test]
    async fn a_value_that_cannot_be_used_is_told_with_its_key() {
        #[derive(Debug, serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        #[expect(dead_code, reason = "they are read, and that is it")]
        struct Two {
            text: String,
            list: Option<Vec<bool>>,
        }
        for (body, words) in [
            (r#"{"text":7}"#, "text: invalid type: integer `7`, expected a string"),
            ("{\n  \"list\": [],\n  \"text\": {\"list\": 1}\n}", "text: invalid type: map"),
            (r#"{"text":"a","list":[true,"x"]}"#, "list[1]: invalid type: string \"x\""),
            (r#"{"list":[]}"#, "missing field `text`"),
            (r#"{"text":"x","lost":1}"#, "lost: unknown field `lost`"),
            (r#"{"text":"x""#, "EOF while parsing"),
            (r#"{"text":"x"}{"#, "trailing characters"),
        ] {
            let answer = *read::<Two>(None, body.as_bytes()).unwrap_err();
            let text = axum::body::to_bytes(answer.into_body(), 1000).await.unwrap();
            let text: Value = serde_json::from_slice(&text).unwrap();
            let message = text["error"]["message"].as_str().unwrap();
            assert!(message.contains(&format!("cannot be used: {words}")), "{body}: {message}");
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
