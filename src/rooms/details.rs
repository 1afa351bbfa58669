//! What a room may have beside its members: a name, rules of its own, people who are not there.

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::sync::Arc;

use super::id::PeerId;

/// What is exchanged in a room, for people to choose by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Media {
    /// Sound.
    Audio,
    /// Pictures and sound.
    Video,
    /// Neither.
    Text,
}

impl Media {
    /// Every medium.
    pub const ALL: [Media; 3] = [Media::Audio, Media::Video, Media::Text];

    /// Its name on the wire.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Media::Audio => "audio",
            Media::Video => "video",
            Media::Text => "text",
        }
    }

    /// The medium of this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Media> {
        Self::ALL.into_iter().find(|media| media.name() == name)
    }
}

/// What a user is to a room, there or not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    /// May come in, once; a member from then on.
    Invited,
    /// Belongs to it.
    Member,
    /// Belongs to it, and may do what moderators may.
    Moderator,
    /// May not come in.
    Banned,
}

impl Standing {
    /// Every standing.
    pub const ALL: [Standing; 4] =
        [Standing::Invited, Standing::Member, Standing::Moderator, Standing::Banned];

    /// Its name, on the wire and in the store.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Standing::Invited => "invited",
            Standing::Member => "member",
            Standing::Moderator => "moderator",
            Standing::Banned => "banned",
        }
    }

    /// The standing of this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Standing> {
        Self::ALL.into_iter().find(|standing| standing.name() == name)
    }

    /// Whether the room is theirs to come into.
    #[must_use]
    pub fn belongs(self) -> bool {
        matches!(self, Standing::Member | Standing::Moderator)
    }
}

/// A user that a room knows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Person {
    /// What the user is to it.
    pub standing: Standing,
    /// What to call the user.
    pub name: Option<Arc<str>>,
    /// Since when, in milliseconds since 1970.
    pub since: u64,
    /// Who has invited the user, as long as it is no more than invited (`None`: the operator, a back end, or nobody knows); of one
    /// that came and that no token proves to be that user, from where it came.
    pub by: Option<Source>,
}

/// Through whom, or from where, somebody is known to a room.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Source {
    /// Who has invited; none of somebody who came unasked.
    pub user: Option<Arc<str>>,
    /// From where it came (`Member::customer`).
    pub customer: u32,
}

/// Somebody in the lobby.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Waiting {
    /// The id it will have.
    pub peer: PeerId,
    /// Its user.
    pub user: Option<Arc<str>>,
    /// What to call it.
    pub name: Option<Arc<str>>,
    /// Its connection.
    pub session: u64,
    /// From where it comes (`Member::customer`).
    pub customer: u32,
}

/// A message whose sender may not know that it was said.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Said {
    /// The sender's user, else its peer's id.
    pub by: Arc<str>,
    /// The sender's own id for it.
    pub client_id: Arc<str>,
    /// Ours.
    pub id: PeerId,
    /// When, in milliseconds since 1970.
    pub at: u64,
}

/// Who was in a call, for the call log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Participant {
    /// Its peer id.
    pub peer: PeerId,
    /// Its user.
    pub user: Option<Arc<str>>,
    /// What it was called.
    pub name: Option<Arc<str>>,
    /// When it came, in milliseconds since 1970.
    pub joined_at: u64,
    /// When it went.
    pub left_at: u64,
}

/// A call that goes on.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Log {
    /// When two were there for the first time, in milliseconds since 1970.
    pub started_at: u64,
    /// Who has left, in order; the first `Details::MOST_PARTICIPANTS` of them.
    pub left: Vec<Participant>,
}

/// What most rooms do without.
#[derive(Clone, Debug, Default)]
pub struct Details {
    /// What people call it.
    pub name: Option<Arc<str>>,
    /// What it is about.
    pub description: Option<Arc<str>>,
    /// What is exchanged in it.
    pub media: Option<Media>,
    /// Who made it, or was handed it: a user. A room whose creator is no user knows it by its seat's rank. Empty: a back end
    /// made it, and whoever comes first is not its creator.
    pub creator: Option<Arc<str>>,
    /// Only who is invited, or knows the password, comes in; it is in no directory.
    pub private: bool,
    /// It is in the directory.
    pub listed: bool,
    /// Nobody new comes in.
    pub locked: bool,
    /// Who is new waits until a moderator lets it in.
    pub lobby: bool,
    /// It ends when its creator goes.
    pub auto_delete: bool,
    /// It is kept on disk.
    pub stored: bool,
    /// A hash, as argon2 writes it (PHC string format).
    pub password: Option<Arc<str>>,
    /// Users it knows.
    pub people: BTreeMap<Arc<str>, Person>,
    /// Who waits in the lobby, in order.
    pub waiting: Vec<Waiting>,
    /// What was said last by senders who gave their messages ids.
    pub said: VecDeque<Said>,
    /// The call that goes on.
    pub log: Option<Box<Log>>,
}

impl Details {
    /// The most users a room knows.
    pub const MOST_PEOPLE: usize = 1024;
    /// The most of them who are invited by members, and have not come yet.
    pub const MOST_INVITED: usize = Details::MOST_PEOPLE / 2;
    /// The most who wait in its lobby.
    pub const MOST_WAITING: usize = 64;
    /// The most messages whose repetition is recognised.
    pub const MOST_SAID: usize = 64;
    /// The most who are named in the call log.
    pub const MOST_PARTICIPANTS: usize = 64;

    /// Of a room without any.
    pub(super) const NONE: Details = Details {
        name: None,
        description: None,
        media: None,
        creator: None,
        private: false,
        listed: false,
        locked: false,
        lobby: false,
        auto_delete: false,
        stored: false,
        password: None,
        people: BTreeMap::new(),
        waiting: Vec::new(),
        said: VecDeque::new(),
        log: None,
    };

    /// What a user is to the room.
    #[must_use]
    pub fn standing(&self, user: &str) -> Option<Standing> {
        self.people.get(user).map(|person| person.standing)
    }

    /// Who belongs to it.
    pub fn belonging(&self) -> impl Iterator<Item = (&Arc<str>, &Person)> {
        self.people.iter().filter(|(_, person)| person.standing.belongs())
    }
}
