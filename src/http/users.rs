//! Tokens for users, made for back ends that do not sign them themselves.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header;
use axum::response::IntoResponse;
use axum::response::Response;
use serde::Deserialize;
use serde_json::Value;

use super::Parts;
use super::payload::Payload;
use super::problem;
use super::problem::bad;
use super::request::Trusted;
use crate::label;
use crate::rooms::RoomId;

/// For how long a token is good that says nothing else, and the longest one.
const TTL: u64 = 3600;
const LONGEST_TTL: u64 = 30 * 86_400;

/// The most rooms.
const ROOMS: usize = 64;

/// Makes a token that says this, as JSON with its expiry.
pub type Mint = Arc<dyn Fn(&Token<'_>) -> Value + Send + Sync>;

/// What a token is to say.
#[derive(Clone, Debug)]
pub struct Token<'a> {
    /// The user: 1 to 128 visible ASCII characters.
    pub user: &'a str,
    /// The name to show.
    pub name: Option<&'a str>,
    /// `user`, `moderator` or `admin`.
    pub role: &'a str,
    /// Where it may go; none: everywhere. Empty: nowhere.
    pub rooms: Option<&'a [String]>,
    /// For how long it is good.
    pub ttl: Duration,
}

/// The token that is wanted.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Asked {
    user_id: String,
    #[serde(default, deserialize_with = "super::rule::given")]
    name: Option<String>,
    #[serde(default, deserialize_with = "super::rule::given")]
    role: Option<String>,
    #[serde(default, deserialize_with = "super::rule::given")]
    rooms: Option<Vec<String>>,
    #[serde(default, deserialize_with = "super::rule::whole")]
    ttl: Option<u64>,
}

/// `POST /api/tokens`
pub(super) async fn mint(State(parts): State<Parts>, _: Trusted, Payload(asked): Payload<Asked>) -> Response {
    if !label::is_visible(&asked.user_id) {
        return bad("a userId has 1 to 128 visible ASCII characters");
    }
    if !asked.name.as_deref().is_none_or(label::is_plain) {
        return bad("a name has 1 to 128 bytes, not only blanks and no control characters");
    }
    let role = asked.role.as_deref().unwrap_or("user");
    if !["user", "moderator", "admin"].contains(&role) {
        return bad("a role is user, moderator or admin");
    }
    let rooms = asked.rooms.as_deref();
    if rooms.is_some_and(|rooms| rooms.len() > ROOMS || !rooms.iter().all(|id| RoomId::parse(id).is_some())) {
        return bad("rooms are at most 64 ids, each 1 to 64 of A-Z a-z 0-9 _ -");
    }
    let ttl = asked.ttl.unwrap_or(TTL);
    if !(1..=LONGEST_TTL).contains(&ttl) {
        return bad("a ttl is 1 to 2592000 seconds");
    }
    let Some(mint) = parts.access.mint() else {
        let what = "tokens are signed elsewhere: auth.key is not set";
        return problem(StatusCode::CONFLICT, "no-key", what).into_response();
    };
    let wanted = Token {
        user: &asked.user_id,
        name: asked.name.as_deref(),
        role,
        rooms,
        ttl: Duration::from_secs(ttl),
    };
    (StatusCode::CREATED, [(header::CACHE_CONTROL, "no-store")], Json(mint(&wanted))).into_response()
}
