//! Rooms over HTTP: what everybody who knows a room's name may see of it, and what the operator may see and do.

use std::net::SocketAddr;
use std::pin::Pin;

use axum::Json;
use axum::body::Bytes;
use axum::extract::ConnectInfo;
use axum::extract::Path;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::StatusCode;
use axum::http::header;
use axum::response::IntoResponse;
use axum::response::Response;
use serde::Deserialize;
use serde_json::Value;
use serde_json::json;

use super::Parts;
use super::access::Refused;
use super::problem;
use crate::rooms::PeerId;
use crate::rooms::Refusal;
use crate::rooms::RoomId;
use crate::rooms::Target;

/// What comes of something done to a room, once what of it lasts is written.
pub type Done<'a, T> = Pin<Box<dyn Future<Output = Result<T, Refusal>> + Send + 'a>>;

/// Who keeps the rooms.
pub trait Rooms: Send + Sync {
    /// A room as JSON, if it is there; `whole`: as the operator sees it.
    fn room(&self, id: &RoomId, whole: bool) -> Option<Value>;

    /// Ends a room.
    ///
    /// # Errors
    /// Why not.
    fn close<'a>(&'a self, id: &'a RoomId) -> Done<'a, ()>;

    /// Puts members out of a room, and keeps their user out if `ban`. How many it were.
    ///
    /// # Errors
    /// Why not.
    fn kick<'a>(&'a self, id: &'a RoomId, target: Target<'a>, ban: bool) -> Done<'a, usize>;
}

/// `GET /api/rooms/:roomId`
pub(super) async fn room(
    State(parts): State<Parts>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Response {
    let whole = match parts.access.admin(peer.ip(), &headers) {
        Ok(whole) => whole,
        Err(refused) => return not_the_operator(refused),
    };
    match RoomId::parse(&id).and_then(|id| parts.rooms.room(&id, whole)) {
        Some(room) => ([(header::CACHE_CONTROL, "no-store")], Json(room)).into_response(),
        None => failed(Refusal::NoSuchRoom),
    }
}

/// `DELETE /api/rooms/:roomId`
pub(super) async fn close(
    State(parts): State<Parts>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Response {
    if let Err(refused) = parts.access.admin_only(peer.ip(), &headers) {
        return not_the_operator(refused);
    }
    let Some(id) = RoomId::parse(&id) else { return failed(Refusal::NoSuchRoom) };
    match parts.rooms.close(&id).await {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(refusal) => failed(refusal),
    }
}

/// Whom to put out: a peer or a user.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Kick {
    peer_id: Option<String>,
    user_id: Option<String>,
    #[serde(default)]
    ban: bool,
}

/// `POST /api/rooms/:roomId/kick`
pub(super) async fn kick(
    State(parts): State<Parts>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if let Err(refused) = parts.access.admin_only(peer.ip(), &headers) {
        return not_the_operator(refused);
    }
    let bad = |why: &str| problem(StatusCode::BAD_REQUEST, "bad-request", why).into_response();
    let Ok(asked) = serde_json::from_slice::<Kick>(&body) else {
        return bad("the body is {\"peerId\" or \"userId\": …, \"ban\"?: true}");
    };
    let target = match (asked.peer_id.as_deref(), asked.user_id.as_deref()) {
        (Some(peer), None) => match PeerId::parse(peer) {
            Some(peer) => Target::Peer(peer),
            None => return failed(Refusal::NoSuchPeer),
        },
        (None, Some(user)) if !user.is_empty() && user.len() <= 128 => Target::User(user),
        _ => return bad("one of peerId and userId, please"),
    };
    let Some(id) = RoomId::parse(&id) else { return failed(Refusal::NoSuchRoom) };
    match parts.rooms.kick(&id, target, asked.ban).await {
        Ok(kicked) => Json(json!({ "kicked": kicked })).into_response(),
        Err(refusal) => failed(refusal),
    }
}

fn not_the_operator(refused: Refused) -> Response {
    refused.answer(StatusCode::UNAUTHORIZED, "this needs the admin token")
}

fn failed(refusal: Refusal) -> Response {
    let (status, code, what) = match refusal {
        Refusal::NoSuchRoom => (StatusCode::NOT_FOUND, "no-such-room", "there is no such room"),
        Refusal::NoSuchPeer => (StatusCode::NOT_FOUND, "no-such-peer", "nobody of that id is in this room"),
        Refusal::NoLabel => (StatusCode::BAD_REQUEST, "bad-request", "this peer has no userId to ban it by"),
        Refusal::TooManyPeople => {
            (StatusCode::CONFLICT, "too-many-requests", "this room knows as many users as it can")
        }
        Refusal::NotStored => {
            (StatusCode::SERVICE_UNAVAILABLE, "not-stored", "this cannot be stored just now")
        }
        _ => (StatusCode::INTERNAL_SERVER_ERROR, "internal", "the room could not be changed"),
    };
    problem(status, code, what).into_response()
}
