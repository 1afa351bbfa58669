//! What may be said of a room to people who are not in it.

use std::sync::Arc;

use crate::rooms::Kind;
use crate::rooms::Media;
use crate::rooms::Room;
use crate::rooms::RoomId;
use crate::rooms::Status;

/// A room, seen from outside: no passwords, no people.
#[derive(Clone, Debug)]
pub(in crate::signaling) struct Facts {
    pub(in crate::signaling) id: RoomId,
    pub(in crate::signaling) kind: Kind,
    pub(in crate::signaling) name: Option<Arc<str>>,
    pub(in crate::signaling) description: Option<Arc<str>>,
    pub(in crate::signaling) media: Option<Media>,
    pub(in crate::signaling) creator: Option<Arc<str>>,
    pub(in crate::signaling) capacity: usize,
    /// Peers in it.
    pub(in crate::signaling) count: usize,
    /// Users who belong to it; in a room that is no channel, its peers.
    pub(in crate::signaling) belonging: usize,
    pub(in crate::signaling) created_at: u64,
    /// When somebody last came or was heard, as far as that is known.
    pub(in crate::signaling) active_at: u64,
    pub(in crate::signaling) status: Status,
    pub(in crate::signaling) private: bool,
    pub(in crate::signaling) listed: bool,
    pub(in crate::signaling) has_password: bool,
    pub(in crate::signaling) locked: bool,
    pub(in crate::signaling) lobby: bool,
    pub(in crate::signaling) auto_delete: bool,
}

impl Facts {
    pub(in crate::signaling) fn of(room: &Room) -> Facts {
        let details = room.details();
        let count = room.members.len();
        let came = room.members.iter().map(|member| member.joined_at).max().unwrap_or(0);
        let heard = details.said.back().map_or(0, |said| said.at);
        Facts {
            id: room.id.clone(),
            kind: room.kind,
            name: details.name.clone(),
            description: details.description.clone(),
            media: details.media,
            creator: details.creator.clone().filter(|creator| !creator.is_empty()),
            capacity: room.capacity,
            count,
            belonging: if room.kind == Kind::Channel { details.belonging().count() } else { count },
            created_at: room.created_at,
            active_at: room.created_at.max(came).max(heard),
            status: room.status,
            private: details.private,
            listed: details.listed,
            has_password: details.password.is_some(),
            locked: details.locked,
            lobby: details.lobby,
            auto_delete: details.auto_delete,
        }
    }
}
