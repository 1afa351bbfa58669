//! What was: messages of a room, and calls that are over.

use std::net::SocketAddr;

use axum::extract::ConnectInfo;
use axum::extract::Path;
use axum::extract::Query;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::Uri;
use axum::response::Response;
use serde::Deserialize;

use super::Parts;
use super::access::not_trusted;
use super::page::BAD_LIMIT;
use super::page::limit;
use super::page::page;
use super::problem::BAD_QUERY;
use super::problem::bad;
use super::refusal::failed;
use crate::rooms::PeerId;
use crate::rooms::Refusal;
use crate::rooms::RoomId;

/// `GET /api/rooms/{roomId}/messages`
pub(super) async fn messages(
    State(parts): State<Parts>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Path(id): Path<String>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    #[derive(Deserialize)]
    struct Asked {
        limit: Option<String>,
        before: Option<String>,
    }
    if let Err(refused) = parts.access.trusted(peer.ip(), &headers) {
        return not_trusted(refused);
    }
    let Ok(Query(asked)) = Query::<Asked>::try_from_uri(&uri) else { return bad(BAD_QUERY) };
    let Some(most) = limit(asked.limit.as_deref()) else { return bad(BAD_LIMIT) };
    let before = match asked.before.as_deref().map(PeerId::parse) {
        Some(None) => return bad("before is the id of a message"),
        before => before.flatten(),
    };
    let Some(id) = RoomId::parse(&id) else { return failed(Refusal::NoSuchRoom) };
    match parts.rooms.messages(&id, before, most).await {
        Ok(found) => page(found, &format!("/api/rooms/{}/messages", id.as_str()), "before", most, None),
        Err(refusal) => failed(refusal),
    }
}

/// `GET /api/calls`
pub(super) async fn calls(
    State(parts): State<Parts>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    #[derive(Deserialize)]
    struct Asked {
        limit: Option<String>,
        before: Option<String>,
        room: Option<String>,
    }
    if let Err(refused) = parts.access.trusted(peer.ip(), &headers) {
        return not_trusted(refused);
    }
    let Ok(Query(asked)) = Query::<Asked>::try_from_uri(&uri) else { return bad(BAD_QUERY) };
    let Some(most) = limit(asked.limit.as_deref()) else { return bad(BAD_LIMIT) };
    let before = match asked.before.as_deref().map(number) {
        Some(None) => return bad("before is the number of a call"),
        before => before.flatten(),
    };
    let room = match asked.room.as_deref().map(RoomId::parse) {
        Some(None) => return bad("room is the id of a room"),
        room => room.flatten(),
    };
    match parts.rooms.calls(room.as_ref(), before, most).await {
        Ok(found) => {
            page(found, "/api/calls", "before", most, room.as_ref().map(|room| ("room", room.as_str())))
        }
        Err(refusal) => failed(refusal),
    }
}

/// As high as JavaScript counts.
fn number(text: &str) -> Option<u64> {
    text.parse().ok().filter(|number| *number < 1 << 53)
}
