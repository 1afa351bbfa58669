//! Why a command failed, in codes that clients can rely on.

use std::borrow::Cow;
use std::time::Duration;

use crate::auth;
use crate::rooms::Refusal;

/// When to ask again for what nobody knows the end of.
pub(super) const LATER: Duration = Duration::from_secs(5);

/// What went wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Code {
    /// The command is not understood: a missing or malformed part.
    BadRequest,
    /// There is no such command.
    UnknownEvent,
    /// The sender is not in that room.
    NotAMember,
    /// There is no such room.
    NoSuchRoom,
    /// All seats are taken.
    RoomFull,
    /// The room no longer takes anyone: the daemon is going down.
    RoomClosed,
    /// More bytes than allowed.
    TooLarge,
    /// More commands, rooms or memberships than allowed.
    TooManyRequests,
    /// This connection is in that room already.
    AlreadyJoined,
    /// No seat is kept for this token.
    ResumeFailed,
    /// The target is nobody in this room.
    NoSuchPeer,
    /// The user may not come into that room any more.
    Banned,
    /// Only who is invited comes into that room.
    PrivateRoom,
    /// That room has a password, and none was shown.
    PasswordRequired,
    /// Another password was shown.
    WrongPassword,
    /// Nobody new comes into that room now.
    RoomLocked,
    /// This is for the room's moderators, or its creator; or the token is not for it.
    Forbidden,
    /// What must be kept cannot be written just now.
    NotStored,
    /// This needs a token that was not shown.
    Unauthorized,
    /// The token was good.
    TokenExpired,
    /// Somebody whose word it needs does not answer.
    Unavailable,
    /// Our fault.
    Internal,
}

impl Code {
    /// Every code, for counters.
    pub const ALL: [Code; 22] = [
        Code::BadRequest,
        Code::UnknownEvent,
        Code::NotAMember,
        Code::NoSuchRoom,
        Code::RoomFull,
        Code::RoomClosed,
        Code::TooLarge,
        Code::TooManyRequests,
        Code::AlreadyJoined,
        Code::ResumeFailed,
        Code::NoSuchPeer,
        Code::Banned,
        Code::PrivateRoom,
        Code::PasswordRequired,
        Code::WrongPassword,
        Code::RoomLocked,
        Code::Forbidden,
        Code::NotStored,
        Code::Unauthorized,
        Code::TokenExpired,
        Code::Unavailable,
        Code::Internal,
    ];

    /// Its name on the wire and in metrics: stable.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Code::BadRequest => "bad-request",
            Code::UnknownEvent => "unknown-event",
            Code::NotAMember => "not-a-member",
            Code::NoSuchRoom => "no-such-room",
            Code::RoomFull => "room-full",
            Code::RoomClosed => "room-closed",
            Code::TooLarge => "too-large",
            Code::TooManyRequests => "too-many-requests",
            Code::AlreadyJoined => "already-joined",
            Code::ResumeFailed => "resume-failed",
            Code::NoSuchPeer => "no-such-peer",
            Code::Banned => "banned",
            Code::PrivateRoom => "private-room",
            Code::PasswordRequired => "password-required",
            Code::WrongPassword => "wrong-password",
            Code::RoomLocked => "room-locked",
            Code::Forbidden => "forbidden",
            Code::NotStored => "not-stored",
            Code::Unauthorized => "unauthorized",
            Code::TokenExpired => "token-expired",
            Code::Unavailable => "unavailable",
            Code::Internal => "internal",
        }
    }
}

/// One failed command.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Failure {
    pub(super) code: Code,
    /// For a developer to read.
    pub(super) message: Cow<'static, str>,
    /// When it may work.
    pub(super) retry_after: Option<Duration>,
}

impl Failure {
    pub(super) fn new(code: Code, message: impl Into<Cow<'static, str>>) -> Failure {
        Failure { code, message: message.into(), retry_after: None }
    }

    /// Over a limit, for so long.
    pub(super) fn too_many(wait: Duration, message: &'static str) -> Failure {
        Failure { retry_after: Some(wait), ..Failure::new(Code::TooManyRequests, message) }
    }

    pub(super) fn bad(message: impl Into<Cow<'static, str>>) -> Failure {
        Failure::new(Code::BadRequest, message)
    }
}

impl From<auth::Refused> for Failure {
    /// No more than the code: the rest is for the log.
    fn from(refused: auth::Refused) -> Failure {
        match refused {
            auth::Refused::Expired => Failure::new(Code::TokenExpired, "the token has expired"),
            _ => Failure::new(Code::Unauthorized, "that is no token of this server's"),
        }
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Failure {
        match refusal {
            Refusal::Full => Failure::new(Code::RoomFull, "the room is full"),
            Refusal::NoSuchRoom => Failure::new(Code::NoSuchRoom, "there is no such room"),
            Refusal::NotAMember => Failure::new(Code::NotAMember, "you are not in this room"),
            Refusal::NoSuchPeer => Failure::new(Code::NoSuchPeer, "nobody of that id is in this room"),
            Refusal::ResumeFailed => {
                Failure::new(Code::ResumeFailed, "no seat is kept for this token: join anew")
            }
            Refusal::CannotCreate => Failure::bad("a room of that id or capacity cannot be made"),
            Refusal::Banned => Failure::new(Code::Banned, "you may not come into this room any more"),
            Refusal::Private => Failure::new(Code::PrivateRoom, "this room is private"),
            Refusal::PasswordRequired => Failure::new(Code::PasswordRequired, "this room has a password"),
            Refusal::Locked => Failure::new(Code::RoomLocked, "this room is locked"),
            Refusal::Forbidden => Failure::new(Code::Forbidden, "you may not do that in this room"),
            Refusal::TooManyPeople => Failure::too_many(LATER, "this room knows as many users as it can"),
            Refusal::LobbyFull => Failure::new(Code::RoomFull, "too many wait for this room"),
            Refusal::NoLabel => Failure::bad("this peer has no userId to know it by"),
            Refusal::TooManyOfYours => Failure::too_many(LATER, "you have as many rooms as you may have"),
            Refusal::TooManyInvitations => {
                Failure::too_many(LATER, "this user has as many invitations as one may have")
            }
            Refusal::TooManyInvited => Failure::too_many(
                LATER,
                "so many are invited from your address who have not come: take some back",
            ),
            Refusal::NotStored => Failure {
                retry_after: Some(LATER),
                ..Failure::new(Code::NotStored, "this cannot be stored just now")
            },
            Refusal::Unavailable => Failure::new(Code::Internal, "the rooms cannot be reached"),
            Refusal::TooManyRooms => Failure::too_many(LATER, "this server holds no more rooms"),
        }
    }
}
