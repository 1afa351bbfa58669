//! Rooms, as the API over HTTP asks signaling for them.

use serde_json::Value;

use crate::http;
use crate::rooms::PeerId;
use crate::rooms::RoomId;
use crate::rooms::Target;
use crate::signaling;
use crate::signaling::Signaling;

impl http::Rooms for Signaling {
    fn room(&self, id: &RoomId, whole: bool) -> Option<Value> {
        Signaling::room(self, id, whole)
    }

    fn list(&self, search: &http::Search) -> http::Page {
        let (items, next) =
            Signaling::list(self, search.all, search.after.as_ref(), search.most, search.text.as_deref());
        http::Page { items, next }
    }

    fn create(&self, new: http::NewRoom) -> http::Done<'_, RoomId> {
        let http::NewRoom { id, kind, options, password, creator } = new;
        Box::pin(Signaling::create(self, signaling::Plan { id, kind, options, password, creator }))
    }

    fn close<'a>(&'a self, id: &'a RoomId) -> http::Done<'a, ()> {
        Box::pin(self.close_room(id))
    }

    fn kick<'a>(&'a self, id: &'a RoomId, target: Target<'a>, ban: bool) -> http::Done<'a, usize> {
        Box::pin(Signaling::kick(self, id, target, ban))
    }

    fn lock<'a>(
        &'a self,
        id: &'a RoomId,
        locked: Option<bool>,
        lobby: Option<bool>,
    ) -> http::Done<'a, (bool, bool)> {
        Box::pin(Signaling::lock(self, id, locked, lobby))
    }

    fn invite<'a>(&'a self, id: &'a RoomId, user: &'a str) -> http::Done<'a, ()> {
        Box::pin(Signaling::invite(self, id, user))
    }

    fn messages<'a>(
        &'a self,
        id: &'a RoomId,
        before: Option<PeerId>,
        most: usize,
    ) -> http::Done<'a, http::Page> {
        Box::pin(async move { Signaling::messages(self, id, before, most).await.map(page) })
    }

    fn calls<'a>(
        &'a self,
        room: Option<&'a RoomId>,
        before: Option<u64>,
        most: usize,
    ) -> http::Done<'a, http::Page> {
        Box::pin(async move { Signaling::calls(self, room, before, most).await.map(page) })
    }
}

fn page((items, next): signaling::Listed) -> http::Page {
    http::Page { items, next }
}
