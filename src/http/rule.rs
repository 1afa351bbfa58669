//! What the operator and back ends may do to rooms.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header;
use axum::response::IntoResponse;
use axum::response::Response;
use serde::Deserialize;
use serde::Deserializer;
use serde_json::json;

use super::Parts;
use super::payload::Payload;
use super::problem::bad;
use super::refusal::failed;
use super::request::OfRoom;
use super::request::Trusted;
use super::rooms::NewRoom;
use crate::label;
use crate::rooms::Kind;
use crate::rooms::Media;
use crate::rooms::Options;
use crate::rooms::PeerId;
use crate::rooms::Refusal;
use crate::rooms::RoomId;
use crate::rooms::Target;

/// The longest description in bytes, as signaling measures it, and the longest password in characters.
const DESCRIPTION: usize = 1024;
const PASSWORD: usize = 64;

/// What a back end may want a room to be.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct Wanted {
    #[serde(deserialize_with = "given")]
    id: Option<String>,
    #[serde(deserialize_with = "given")]
    name: Option<String>,
    #[serde(deserialize_with = "given")]
    kind: Option<String>,
    #[serde(deserialize_with = "given")]
    description: Option<String>,
    #[serde(deserialize_with = "given")]
    media: Option<String>,
    #[serde(deserialize_with = "whole")]
    capacity: Option<u64>,
    private: bool,
    listed: bool,
    lobby: bool,
    auto_delete: bool,
    #[serde(deserialize_with = "given")]
    password: Option<String>,
    #[serde(deserialize_with = "given")]
    creator: Option<String>,
}

/// A value that may be left out, but not be null.
pub(super) fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    reader: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(reader).map(Some)
}

/// A whole number; JSON knows no difference between 2 and 2.0.
pub(super) fn whole<'de, D: Deserializer<'de>>(reader: D) -> Result<Option<u64>, D::Error> {
    let number = serde_json::Number::deserialize(reader)?;
    let from_float = |float: f64| {
        // Below 2^53 every whole number is itself.
        let whole = float.fract() == 0.0 && (0.0..9_007_199_254_740_992.0).contains(&float);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it is whole and in range"
        )]
        whole.then_some(float as u64)
    };
    let whole = number.as_u64().or_else(|| number.as_f64().and_then(from_float));
    whole.map(Some).ok_or_else(|| serde::de::Error::custom(format_args!("{number} is not a whole number")))
}

impl Wanted {
    /// # Errors
    /// What is wrong with it.
    fn read(self) -> Result<NewRoom, &'static str> {
        let id = match self.id.as_deref().map(RoomId::parse) {
            Some(None) => return Err("an id is 1 to 64 of A-Z a-z 0-9 _ -"),
            id => id.flatten(),
        };
        let kind = match self.kind.as_deref().map(Kind::parse) {
            Some(None) => return Err("a kind is call, room or channel"),
            kind => kind.flatten().unwrap_or(Kind::Room),
        };
        let media = match self.media.as_deref().map(Media::parse) {
            Some(None) => return Err("media is audio, video or text"),
            media => media.flatten(),
        };
        if self.capacity.is_some_and(|capacity| !(2..=1000).contains(&capacity)) {
            return Err("a capacity is a number from 2 to 1000");
        }
        if !self.name.as_deref().is_none_or(label::is_plain)
            || self.description.as_ref().is_some_and(|text| text.len() > DESCRIPTION)
        {
            return Err(
                "a name has 1 to 128 bytes, not only blanks and no control characters; a description at most 1024",
            );
        }
        if self.password.as_ref().is_some_and(|text| !(1..=PASSWORD).contains(&text.chars().count()))
            || !self.creator.as_deref().is_none_or(label::fits)
        {
            return Err("a password has 1 to 64 characters, a creator 1 to 128 bytes");
        }
        let text = |text: Option<String>| text.filter(|text| !text.is_empty()).map(Arc::from);
        let options = Options {
            capacity: self.capacity,
            name: text(self.name),
            description: text(self.description),
            media,
            private: self.private,
            listed: self.listed && !self.private,
            lobby: self.lobby,
            auto_delete: self.auto_delete,
            password: None,
        };
        Ok(NewRoom { id, kind, options, password: self.password, creator: text(self.creator) })
    }
}

/// `POST /api/rooms`
pub(super) async fn create(
    State(parts): State<Parts>,
    _: Trusted,
    Payload(asked): Payload<Wanted>,
) -> Response {
    let wanted = match asked.read() {
        Ok(wanted) => wanted,
        Err(why) => return bad(why),
    };
    match parts.rooms.create(wanted).await {
        Ok(id) => {
            let location = [(header::LOCATION, format!("/api/rooms/{}", id.as_str()))];
            match parts.rooms.room(&id, true) {
                Some(room) => (StatusCode::CREATED, location, Json(room)).into_response(),
                // Somebody has ended it already.
                None => failed(Refusal::NoSuchRoom),
            }
        }
        Err(refusal) => failed(refusal),
    }
}

/// `DELETE /api/rooms/{roomId}`
pub(super) async fn close(State(parts): State<Parts>, _: Trusted, OfRoom(id): OfRoom) -> Response {
    match parts.rooms.close(&id).await {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(refusal) => failed(refusal),
    }
}

/// Whom to put out: a peer or a user.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct Kick {
    #[serde(deserialize_with = "given")]
    peer_id: Option<String>,
    #[serde(deserialize_with = "given")]
    user_id: Option<String>,
    ban: bool,
}

/// `POST /api/rooms/{roomId}/kick`
pub(super) async fn kick(
    State(parts): State<Parts>,
    _: Trusted,
    OfRoom(id): OfRoom,
    Payload(asked): Payload<Kick>,
) -> Response {
    let target = match (asked.peer_id.as_deref(), asked.user_id.as_deref()) {
        (Some(peer), None) => match PeerId::parse(peer) {
            Some(peer) => Target::Peer(peer),
            None => return bad("a peerId has 22 characters"),
        },
        (None, Some(user)) if label::fits(user) => Target::User(user),
        _ => return bad("one of peerId and userId, please"),
    };
    match parts.rooms.kick(&id, target, asked.ban).await {
        Ok(kicked) => Json(json!({ "kicked": kicked })).into_response(),
        Err(refusal) => failed(refusal),
    }
}

/// What to lock.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Lock {
    #[serde(deserialize_with = "given")]
    locked: Option<bool>,
    #[serde(deserialize_with = "given")]
    lobby: Option<bool>,
}

/// `POST /api/rooms/{roomId}/lock`
pub(super) async fn lock(
    State(parts): State<Parts>,
    _: Trusted,
    OfRoom(id): OfRoom,
    Payload(asked): Payload<Lock>,
) -> Response {
    if let Lock { locked: None, lobby: None } = asked {
        return bad("locked or lobby, or both, please");
    }
    match parts.rooms.lock(&id, asked.locked, asked.lobby).await {
        Ok((locked, lobby)) => Json(json!({ "locked": locked, "lobby": lobby })).into_response(),
        Err(refusal) => failed(refusal),
    }
}

/// Whom to let in.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Invite {
    user_id: String,
}

/// `POST /api/rooms/{roomId}/invite`
pub(super) async fn invite(
    State(parts): State<Parts>,
    _: Trusted,
    OfRoom(id): OfRoom,
    Payload(asked): Payload<Invite>,
) -> Response {
    if !label::fits(&asked.user_id) {
        return bad("a userId has 1 to 128 bytes");
    }
    match parts.rooms.invite(&id, &asked.user_id).await {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(refusal) => failed(refusal),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_users_are_measured_as_signaling_measures_them() {
        for (text, good) in [("ada", true), (&*"ä".repeat(64), true), (&*"ä".repeat(65), false), ("", false)]
        {
            let text = Some(text.to_owned());
            for wanted in [
                Wanted { creator: text.clone(), ..Wanted::default() },
                Wanted { name: text, ..Wanted::default() },
            ] {
                assert_eq!(wanted.read().is_ok(), good);
            }
        }
        let described = |text: String| Wanted { description: Some(text), ..Wanted::default() }.read().is_ok();
        assert!(described("ä".repeat(512)) && !described("ä".repeat(513)) && described(String::new()));
    }
}
