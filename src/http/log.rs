//! What was: messages of a room, and calls that are over.

use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;

use super::Parts;
use super::page::BAD_LIMIT;
use super::page::limit;
use super::page::page;
use super::problem::bad;
use super::refusal::failed;
use super::request::Asked;
use super::request::OfRoom;
use super::request::Trusted;
use crate::rooms::PeerId;
use crate::rooms::RoomId;

/// Which messages.
#[derive(Deserialize)]
pub(super) struct Messages {
    limit: Option<String>,
    before: Option<String>,
}

/// `GET /api/rooms/{roomId}/messages`
pub(super) async fn messages(
    State(parts): State<Parts>,
    _: Trusted,
    OfRoom(id): OfRoom,
    Asked(asked): Asked<Messages>,
) -> Response {
    let Some(most) = limit(asked.limit.as_deref()) else { return bad(BAD_LIMIT) };
    let before = match asked.before.as_deref().map(PeerId::parse) {
        Some(None) => return bad("before is the id of a message"),
        before => before.flatten(),
    };
    match parts.rooms.messages(&id, before, most).await {
        Ok(found) => page(found, &format!("/api/rooms/{}/messages", id.as_str()), "before", most, None),
        Err(refusal) => failed(refusal),
    }
}

/// Which calls.
#[derive(Deserialize)]
pub(super) struct Calls {
    limit: Option<String>,
    before: Option<String>,
    room: Option<String>,
}

/// `GET /api/calls`
pub(super) async fn calls(State(parts): State<Parts>, _: Trusted, Asked(asked): Asked<Calls>) -> Response {
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
