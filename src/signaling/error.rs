//! Why a command failed, in codes that clients can rely on.

use std::borrow::Cow;
use std::time::Duration;

use crate::rooms::Refusal;

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
    /// This needs a token that was not shown.
    Unauthorized,
    /// Our fault.
    Internal,
}

impl Code {
    /// Every code, for counters.
    pub const ALL: [Code; 14] = [
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
        Code::Unauthorized,
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
            Code::Unauthorized => "unauthorized",
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

    pub(super) fn bad(message: impl Into<Cow<'static, str>>) -> Failure {
        Failure::new(Code::BadRequest, message)
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
            Refusal::TooManyBans => {
                Failure::new(Code::TooManyRequests, "this room has no place for more bans")
            }
            Refusal::NoLabel => Failure::bad("this peer has no userId to ban it by"),
            Refusal::Unavailable => Failure::new(Code::Internal, "the rooms cannot be reached"),
            Refusal::TooManyRooms => Failure::new(Code::TooManyRequests, "this server holds no more rooms"),
        }
    }
}
