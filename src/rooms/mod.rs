//! The rules of rooms: `decide(room, command, now) → changes + notices`, without a clock, a socket or chance.
//!
//! A command names one room. `decide` looks at that room (or at its absence) and answers with the changes to make and the
//! notices to send; whoever keeps the rooms applies the changes with `Room::apply`, then sends. Time, ids and tokens
//! come in as arguments, so the same input always gives the same answer.
//!
//! The laws (tests hold them): no more members than the capacity; nobody is told of a room that is not theirs; a room
//! without members goes; nobody stays away longer than `Rules::grace`; `Room::deadline` is never late.

mod command;
mod decide;
mod id;
mod notice;
mod room;
#[cfg(test)]
mod tests;

pub use command::Command;
pub use command::Join;
pub use command::Now;
pub use command::Refusal;
pub use command::Rules;
pub use command::Target;
pub use decide::Answer;
pub use decide::Decision;
pub use decide::decide;
pub use id::PeerId;
pub use id::RoomId;
pub use id::Token;
pub use notice::ClosedReason;
pub use notice::Event;
pub use notice::LeftReason;
pub use notice::Notice;
pub use notice::Peers;
pub use room::Away;
pub use room::Change;
pub use room::Kind;
pub use room::Member;
pub use room::Room;
pub use room::Status;
