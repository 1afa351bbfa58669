//! Who keeps the rooms, as the API asks for them.

use std::pin::Pin;
use std::sync::Arc;

use serde_json::Value;

use super::page::Page;
use crate::rooms::Kind;
use crate::rooms::Options;
use crate::rooms::PeerId;
use crate::rooms::Refusal;
use crate::rooms::RoomId;
use crate::rooms::Target;
use crate::store::Place;

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
