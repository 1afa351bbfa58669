//! Credentials for whoever is in no room: back ends, users with a token, everybody if the operator says so.

use std::net::SocketAddr;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

use axum::Json;
use axum::body::Bytes;
use axum::extract::ConnectInfo;
use axum::extract::Query;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::StatusCode;
use axum::http::Uri;
use axum::http::header;
use axum::response::IntoResponse;
use axum::response::Response;
use serde::Deserialize;
use serde_json::json;
use uuid::Uuid;

use super::Parts;
use super::access::Asker;
use super::origin;
use super::problem;
use super::problem::bad;
use super::request::BAD_QUERY;
use crate::auth::Identity;
use crate::ice::Minted;
use crate::turn::credential;

const WHAT: &str = "this needs an API key or a user token";

/// `GET /api/ice`: the W3C `iceServers`, with a public credential.
pub(super) async fn ice(
    State(parts): State<Parts>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    #[derive(Deserialize)]
    struct Asked {
        user: Option<String>,
    }
    let asker = match parts.access.asker(peer.ip(), &headers, None) {
        Ok(asker) => asker,
        Err(refused) => return refused.answer(StatusCode::UNAUTHORIZED, WHAT),
    };
    let Ok(Query(asked)) = Query::<Asked>::try_from_uri(&uri) else { return bad(BAD_QUERY) };
    match mint(&parts, host_for(&asker, &headers, &uri), asker, asked.user.as_deref()) {
        Ok(minted) => answer(json!({ "iceServers": minted, "ttl": minted.ttl() })),
        Err(refused) => *refused,
    }
}

/// `GET` or `POST /turn?service=turn&username=…&key=…`: the form that TURN REST clients know (draft-uberti-behave-turn-rest).
pub(super) async fn turn(
    State(parts): State<Parts>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    #[derive(Deserialize)]
    struct Asked {
        service: Option<String>,
        username: Option<String>,
        key: Option<String>,
    }
    // A form is written like a query.
    let form = std::str::from_utf8(&body).ok().filter(|form| !form.is_empty());
    let form = form.map(|form| format!("/?{form}").parse()).transpose();
    let (Ok(Query(asked)), Ok(form)) = (Query::<Asked>::try_from_uri(&uri), form) else {
        return bad(BAD_QUERY);
    };
    let asked = match form.as_ref().map(Query::<Asked>::try_from_uri) {
        None => asked,
        Some(Err(_)) => return bad("the form cannot be read"),
        Some(Ok(Query(form))) => Asked {
            service: form.service.or(asked.service),
            username: form.username.or(asked.username),
            key: form.key.or(asked.key),
        },
    };
    if asked.service.as_deref() != Some("turn") {
        return bad("service has to be \"turn\"");
    }
    let asker = match parts.access.asker(peer.ip(), &headers, asked.key.as_deref()) {
        Ok(asker) => asker,
        Err(refused) => return refused.answer(StatusCode::FORBIDDEN, WHAT),
    };
    let host = host_for(&asker, &headers, &uri);
    let minted = match mint(&parts, host, asker, asked.username.as_deref()) {
        Ok(minted) => minted,
        Err(refused) => return *refused,
    };
    let credential = minted.credential();
    answer(json!({
        "username": credential.username,
        "password": credential.password,
        "ttl": minted.ttl(),
        "uris": minted.turn().collect::<Vec<_>>(),
    }))
}

const BAD_ID: &str = "a user is 1 to 64 of A-Z a-z 0-9 _ . @ -";

fn answer(body: serde_json::Value) -> Response {
    ([(header::CACHE_CONTROL, "no-store")], Json(body)).into_response()
}

/// For a user as long as its token is good, at the most: who is put out there is not to be let in here. Nor does a token for no room at
/// all open a relay; one for some rooms does, and it is a relay of no room.
fn mint(
    parts: &Parts,
    host: Option<&str>,
    asker: Asker,
    named: Option<&str>,
) -> Result<Minted, Box<Response>> {
    let end = match &asker {
        Asker::User(Identity { rooms: Some(rooms), .. }) if rooms.is_empty() => {
            let why = "the token is for no room, and so for no relay";
            return Err(Box::new(problem(StatusCode::FORBIDDEN, "forbidden", why).into_response()));
        }
        Asker::User(bearer) => bearer.expires,
        Asker::BackEnd | Asker::Stranger => u64::MAX,
    };
    let id = id_for(asker, named).ok_or_else(|| Box::new(bad(BAD_ID)))?;
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    Ok(parts.ice.mint_until(end, host, &id, unix))
}

/// By which host the bearer of the credential reaches us. A back end's own way to us, `localhost` or a name of an inner
/// network, says nothing of its users'.
fn host_for<'a>(asker: &Asker, headers: &'a HeaderMap, uri: &'a Uri) -> Option<&'a str> {
    match asker {
        Asker::BackEnd => None,
        Asker::User(_) | Asker::Stranger => origin::host(headers, uri),
    }
}

/// The credential's id: never of the form of a room member's, so that neither can be taken for the other. `None`: not a user's name.
///
/// A back end says who its user is; others cannot, as the limits for a user name would be another's to use up.
fn id_for(asker: Asker, named: Option<&str>) -> Option<String> {
    let id = match (asker, named) {
        (Asker::BackEnd, Some(named)) => {
            let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'@' | b'-');
            ((1..=64).contains(&named.len()) && named.bytes().all(plain)).then(|| named.to_owned())
        }
        (Asker::User(bearer), _) => Some(bearer.user.to_string()),
        (Asker::BackEnd, None) | (Asker::Stranger, _) => Some(format!("guest-{}", Uuid::new_v4().simple())),
    };
    id.filter(|id| !id.starts_with(&credential::member_id("")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Role;

    fn user(name: &str) -> Asker {
        Asker::User(Identity { user: name.into(), name: None, role: Role::User, rooms: None, expires: 1000 })
    }

    #[test]
    fn a_back_ends_way_to_us_is_not_its_users() {
        let headers = [(header::HOST, "turn.internal:3000".parse().unwrap())].into_iter().collect();
        let uri = Uri::from_static("/api/ice");
        assert_eq!(host_for(&Asker::BackEnd, &headers, &uri), None);
        for browser in [Asker::Stranger, user("ada")] {
            assert_eq!(host_for(&browser, &headers, &uri), Some("turn.internal:3000"));
        }
    }

    #[test]
    fn the_id_is_the_askers_own_or_the_one_a_back_end_names() {
        for name in ["ada", "ada@example.org", "A-b_c.9", &"x".repeat(64)] {
            assert_eq!(id_for(Asker::BackEnd, Some(name)).as_deref(), Some(name));
        }
        for name in ["", "a b", "a:b", "a/b", "ä", "\0", &"x".repeat(65), &credential::member_id("x")] {
            assert_eq!(id_for(Asker::BackEnd, Some(name)), None, "{name:?}");
        }
        assert_eq!(id_for(user("auth0|ada"), Some("bob")).as_deref(), Some("auth0|ada"));
        assert_eq!(id_for(user(&credential::member_id("x")), None), None);
        let [one, other] = [0; 2].map(|_| id_for(Asker::Stranger, Some("bob")).unwrap());
        assert!(one.starts_with("guest-") && one != other);
    }
}
