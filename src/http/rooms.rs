//! Rooms over HTTP: what everybody may see of them, and what the operator and back ends may. `rule` has what these may do.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::LazyLock;
use std::time::Duration;

use axum::Json;
use axum::extract::ConnectInfo;
use axum::extract::Path;
use axum::extract::Query;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::HeaderValue;
use axum::http::StatusCode;
use axum::http::Uri;
use axum::http::header;
use axum::response::IntoResponse;
use axum::response::Response;
use serde::Deserialize;
use serde_json::Value;

use super::Parts;
use super::access::Caller;
use super::access::Refused;
use super::problem;
use super::problem_for;
use super::too_many;
use crate::rooms::Kind;
use crate::rooms::Options;
use crate::rooms::PeerId;
use crate::rooms::Refusal;
use crate::rooms::RoomId;
use crate::rooms::Target;
use crate::store::Place;
use crate::store::place;
use crate::turns::NotDone;
use crate::turns::Turns;

/// The longest page, and one whose length nobody said.
const LONGEST_PAGE: usize = 100;
const PAGE: usize = 50;

/// When to try again what may work then.
const LATER: Duration = Duration::from_secs(4);

/// The longest text to look for, in characters.
const LONGEST_SEARCH: usize = 128;

/// So many lists are made at a time, and so many more may wait for that.
static LISTING: LazyLock<Turns> = LazyLock::new(|| Turns::new(2, 128));

/// What comes of something done to a room, once what of it lasts is written.
pub type Done<'a, T> = Pin<Box<dyn Future<Output = Result<T, Refusal>> + Send + 'a>>;

/// Which rooms to list.
#[derive(Clone, Debug)]
pub struct Search {
    /// Those that are in no directory, too.
    pub all: bool,
    /// Only those behind this one.
    pub after: Option<Place>,
    /// At most so many.
    pub most: usize,
    /// Only those with this in their name, description or id; case does not count.
    pub text: Option<String>,
}

/// Some of a longer list.
#[derive(Clone, Debug)]
pub struct Page {
    /// Each as JSON.
    pub items: Vec<Value>,
    /// What to ask for to get those behind them, if there are any.
    pub next: Option<String>,
}

/// A room to make.
#[derive(Clone, Debug)]
pub struct NewRoom {
    /// Its id; none: one is made up.
    pub id: Option<RoomId>,
    /// What for.
    pub kind: Kind,
    /// How, but for its password.
    pub options: Options,
    /// Its password, in plain.
    pub password: Option<String>,
    /// The user whose it is to be.
    pub creator: Option<Arc<str>>,
}

/// Who keeps the rooms.
pub trait Rooms: Send + Sync {
    /// A room as JSON, if it is there; `whole`: as the operator sees it.
    fn room(&self, id: &RoomId, whole: bool) -> Option<Value>;

    /// Some rooms, newest first, as everybody sees them. May take a while.
    fn list(&self, search: &Search) -> Page;

    /// Makes a room that is kept. Its id.
    fn create(&self, new: NewRoom) -> Done<'_, RoomId>;

    /// Ends a room.
    fn close<'a>(&'a self, id: &'a RoomId) -> Done<'a, ()>;

    /// Puts members out of a room, and keeps their user out if `ban`. How many it were.
    fn kick<'a>(&'a self, id: &'a RoomId, target: Target<'a>, ban: bool) -> Done<'a, usize>;

    /// Locks or unlocks a room and its lobby (`None`: as before). What both are now.
    fn lock<'a>(
        &'a self,
        id: &'a RoomId,
        locked: Option<bool>,
        lobby: Option<bool>,
    ) -> Done<'a, (bool, bool)>;

    /// Lets a user come into a room.
    fn invite<'a>(&'a self, id: &'a RoomId, user: &'a str) -> Done<'a, ()>;

    /// What was said in a room, newest first, before that message.
    fn messages<'a>(&'a self, id: &'a RoomId, before: Option<PeerId>, most: usize) -> Done<'a, Page>;

    /// Calls that are over, the last first, before that number.
    fn calls<'a>(&'a self, room: Option<&'a RoomId>, before: Option<u64>, most: usize) -> Done<'a, Page>;
}

/// `GET /api/rooms`
pub(super) async fn list(
    State(parts): State<Parts>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    #[derive(Deserialize)]
    struct Asked {
        limit: Option<String>,
        after: Option<String>,
        search: Option<String>,
    }
    let caller = match parts.access.caller(peer.ip(), &headers) {
        Ok(caller) => caller,
        Err(refused) => return not_trusted(refused),
    };
    let Ok(Query(asked)) = Query::<Asked>::try_from_uri(&uri) else { return bad(BAD_QUERY) };
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
pub(super) async fn room(
    State(parts): State<Parts>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Response {
    let whole = match parts.access.caller(peer.ip(), &headers) {
        Ok(caller) => caller != Caller::Anybody,
        Err(refused) => return not_trusted(refused),
    };
    match RoomId::parse(&id).and_then(|id| parts.rooms.room(&id, whole)) {
        Some(room) => ([(header::CACHE_CONTROL, "no-store")], Json(room)).into_response(),
        None => failed(Refusal::NoSuchRoom),
    }
}

pub(super) const BAD_QUERY: &str = "the query cannot be read";
pub(super) const BAD_LIMIT: &str = "limit is a number from 1 to 100";

/// The length of a page; `None`: that is none.
pub(super) fn limit(text: Option<&str>) -> Option<usize> {
    let Some(text) = text else { return Some(PAGE) };
    text.parse().ok().filter(|limit| (1..=LONGEST_PAGE).contains(limit))
}

/// A page, with the address of the next one (RFC 8288).
pub(super) fn page(found: Page, path: &str, key: &str, most: usize, more: Option<(&str, &str)>) -> Response {
    let mut answer = ([(header::CACHE_CONTROL, "no-store")], Json(found.items)).into_response();
    if let Some(next) = found.next {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.append_pair("limit", &most.to_string()).append_pair(key, &next).extend_pairs(more);
        let link = format!("<{path}?{}>; rel=\"next\"", query.finish());
        if let Ok(link) = HeaderValue::from_str(&link) {
            answer.headers_mut().insert(header::LINK, link);
        }
    }
    answer
}

pub(super) fn bad(why: &str) -> Response {
    problem(StatusCode::BAD_REQUEST, "bad-request", why).into_response()
}

pub(super) fn not_trusted(refused: Refused) -> Response {
    refused.answer(StatusCode::UNAUTHORIZED, "this needs the admin token or an API key")
}

/// Why something could not be done to a room.
pub(super) fn failed(refusal: Refusal) -> Response {
    let (status, code, what) = match refusal {
        Refusal::NoSuchRoom => (StatusCode::NOT_FOUND, "no-such-room", "there is no such room"),
        // The room is there; 404 would say that it is not.
        Refusal::NoSuchPeer => (StatusCode::CONFLICT, "no-such-peer", "nobody of that id is in this room"),
        Refusal::NoLabel => (StatusCode::BAD_REQUEST, "bad-request", "this peer has no userId to ban it by"),
        Refusal::CannotCreate => (StatusCode::CONFLICT, "room-exists", "there is a room of that id"),
        Refusal::TooManyPeople => {
            (StatusCode::CONFLICT, "too-many-people", "this room knows as many users as it can")
        }
        Refusal::TooManyRooms | Refusal::TooManyOfYours => {
            let what = "this server holds as many rooms as it can";
            return too_many(what, LATER);
        }
        Refusal::TooManyInvitations => {
            return too_many("this user has as many invitations as one may have", LATER);
        }
        Refusal::NotStored => {
            let what = "this cannot be stored just now";
            return problem_for(StatusCode::SERVICE_UNAVAILABLE, "not-stored", what, LATER);
        }
        Refusal::Unavailable => {
            let what = "the rooms cannot be reached";
            return problem_for(StatusCode::SERVICE_UNAVAILABLE, "unavailable", what, LATER);
        }
        _ => (StatusCode::CONFLICT, "refused", "the room is not as it would have to be"),
    };
    problem(status, code, what).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page_is_a_link() {
        let found = Page { items: vec![], next: Some("17.tea".to_owned()) };
        let answer = page(found, "/api/rooms", "after", 9, Some(("search", "a&b>")));
        assert_eq!(
            answer.headers()["link"],
            "</api/rooms?limit=9&after=17.tea&search=a%26b%3E>; rel=\"next\""
        );
        let last = page(Page { items: vec![], next: None }, "/", "after", 9, None);
        assert!(!last.headers().contains_key("link"));
        assert_eq!(
            (limit(None), limit(Some("100")), limit(Some("0")), limit(Some("101"))),
            (Some(50), Some(100), None, None)
        );
    }
}
