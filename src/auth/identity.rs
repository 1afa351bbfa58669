//! Who somebody is, as their token says.

use std::fmt;
use std::sync::Arc;

/// The bearer of a token.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Identity {
    /// `sub`: 1 to 128 visible ASCII characters.
    pub user: Arc<str>,
    /// `name`: to be shown; 1 to 128 bytes without control characters.
    pub name: Option<Arc<str>>,
    /// The highest one of `role` and `roles`.
    pub role: Role,
    /// `rooms`: where it may go; none: everywhere.
    pub rooms: Option<Arc<[Box<str>]>>,
    /// From when on the token is not accepted any more, in seconds since 1970: `exp` and the leeway.
    pub expires: u64,
}

impl Identity {
    /// Whether it may enter this room.
    #[must_use]
    pub fn allows(&self, room: &str) -> bool {
        self.rooms.as_ref().is_none_or(|rooms| rooms.iter().any(|allowed| **allowed == *room))
    }
}

/// What somebody may do in rooms of others.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug)]
pub enum Role {
    /// Nothing.
    #[default]
    User,
    /// What a moderator of the room may.
    Moderator,
    /// What the room's creator may.
    Admin,
}

impl Role {
    /// By its name in a token; another's role is nobody's here.
    pub(super) fn named(name: &str) -> Role {
        match name {
            "admin" => Role::Admin,
            "moderator" => Role::Moderator,
            _ => Role::User,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Role::User => "user",
            Role::Moderator => "moderator",
            Role::Admin => "admin",
        })
    }
}
