//! Rooms as they may be seen: by everybody, by back ends and by the operator. `rule` has what these may do.

use std::sync::Arc;
use std::sync::LazyLock;

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use axum::response::Response;
use serde::Deserialize;

use super::Parts;
use super::access::Caller;
use super::page::BAD_LIMIT;
use super::page::limit;
use super::page::page;
use super::problem::bad;
use super::refusal::LATER;
use super::refusal::failed;
use super::request::Asked;
use super::request::OfRoom;
use super::rooms::Search;
use super::too_many;
use crate::rooms::Refusal;
use crate::store::place;
use crate::turns::NotDone;
use crate::turns::Turns;

/// The longest text to look for, in characters.
const LONGEST_SEARCH: usize = 128;

/// So many lists are made at a time, and so many more may wait for that.
static LISTING: LazyLock<Turns> = LazyLock::new(|| Turns::new(2, 128));

/// Which rooms.
#[derive(Deserialize)]
pub(super) struct Listing {
    limit: Option<String>,
    after: Option<String>,
    search: Option<String>,
}

/// `GET /api/rooms`
pub(super) async fn list(
    State(parts): State<Parts>,
    caller: Caller,
    Asked(asked): Asked<Listing>,
) -> Response {
    let Some(most) = limit(asked.limit.as_deref()) else { return bad(BAD_LIMIT) };
    let after = match asked.after.as_deref().map(place) {
        None => None,
        Some(Some(place)) => Some(place),
        Some(None) => return bad("after is what the last page's Link has"),
    };
    if asked.search.as_ref().is_some_and(|text| text.chars().count() > LONGEST_SEARCH) {
        return bad("search is too long");
    }
    let search = Search { all: caller == Caller::Operator, after, most, text: asked.search.clone() };
    let rooms = Arc::clone(&parts.rooms);
    // It may have to look at all of them: on a thread of its own, and not on all threads there are.
    match LISTING.run(move || rooms.list(&search)).await {
        Ok(found) => {
            let search = asked.search.filter(|text| !text.is_empty());
            page(found, "/api/rooms", "after", most, search.as_deref().map(|text| ("search", text)))
        }
        Err(NotDone::Full) => too_many("too many lists are being made", LATER),
        Err(NotDone::Broken) => failed(Refusal::Unavailable),
    }
}

/// `GET /api/rooms/{roomId}`
pub(super) async fn room(State(parts): State<Parts>, caller: Caller, OfRoom(id): OfRoom) -> Response {
    match parts.rooms.room(&id, caller != Caller::Anybody) {
        Some(room) => ([(header::CACHE_CONTROL, "no-store")], Json(room)).into_response(),
        None => failed(Refusal::NoSuchRoom),
    }
}
