//! The rules of rooms: `decide(room, command, now) → changes + notices`, without a clock, a socket or chance.
//!
//! A command names one room. `decide` looks at that room (or at its absence) and answers with the changes to make and the
//! notices to send; whoever keeps the rooms applies the changes with `Room::apply`, then sends. Time, ids and hashes
//! come in as arguments, so the same input always gives the same answer.
//!
//! The laws (tests hold them): no more members than the capacity; one creator at most; nobody is told of a room that is not
//! theirs; a call or room without members goes; nobody stays away longer than `Rules::grace`; `Room::deadline` is never late.

mod change;
mod command;
mod decide;
mod depart;
mod details;
mod enter;
mod id;
mod invite;
mod message;
mod moderate;
mod notice;
mod room;
#[cfg(test)]
mod tests;

pub use change::Change;
pub use command::Absent;
pub use command::By;
pub use command::Command;
pub use command::Holder;
pub use command::Join;
pub use command::Now;
pub use command::Options;
pub use command::Refusal;
pub use command::Restore;
pub use command::Rules;
pub use command::Target;
pub use command::Who;
pub use decide::Answer;
pub use decide::Decision;
pub use decide::decide;
pub use details::Details;
pub use details::Log;
pub use details::Media;
pub use details::Participant;
pub use details::Person;
pub use details::Said;
pub use details::Source;
pub use details::Standing;
pub use details::Waiting;
pub use enter::expires_when_loaded;
pub use id::PeerId;
pub use id::RoomId;
pub use message::Message;
pub use notice::ClosedReason;
pub use notice::Event;
pub use notice::LeftReason;
pub use notice::Notice;
pub use notice::Peers;
pub use room::Away;
pub use room::Kind;
pub use room::Member;
pub use room::Rank;
pub use room::Room;
pub use room::Status;
