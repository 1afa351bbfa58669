//! Why something could not be done to a room, as an answer.

use std::time::Duration;

use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::response::Response;

use super::problem;
use super::problem_for;
use super::too_many;
use crate::rooms::Refusal;

/// When to try again what may work then.
pub(super) const LATER: Duration = Duration::from_secs(4);

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
