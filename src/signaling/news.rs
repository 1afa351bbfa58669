//! What happens in rooms, for whoever is told of it elsewhere; and who decides elsewhere on who may join.

use std::net::IpAddr;
use std::pin::Pin;
use std::time::Duration;

use serde_json::Value;
use serde_json::json;

use super::api::of_call;
use super::api::of_member;
use super::api::of_message;
use super::api::outline;
use super::api::person;
use super::error::Code;
use super::error::Failure;
use super::hub::Hub;
use crate::rooms::Answer;
use crate::rooms::ClosedReason;
use crate::rooms::Command;
use crate::rooms::Event;
use crate::rooms::PeerId;
use crate::rooms::Rank;
use crate::rooms::Who;
use crate::store::Call;
use crate::store::Committed;

/// When to ask again, if nobody said who may join.
const LATER: Duration = Duration::from_secs(2);

/// What others may give as their reason: codes that clients take for the room's own word.
const REASONS: [Code; 8] = [
    Code::Banned,
    Code::PrivateRoom,
    Code::PasswordRequired,
    Code::WrongPassword,
    Code::RoomLocked,
    Code::RoomFull,
    Code::RoomClosed,
    Code::Unauthorized,
];

/// Who wants to join what.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// The room's id.
    pub room: String,
    /// Its kind.
    pub kind: &'static str,
    /// The user, as proven or as it says.
    pub user: Option<String>,
    /// The name that it wants.
    pub name: Option<String>,
    /// Where it comes from.
    pub address: Option<IpAddr>,
    /// What it speaks.
    pub dialect: &'static str,
}

/// What was decided.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It may.
    Allowed {
        /// What to call it instead.
        name: Option<String>,
        /// What it is at least.
        rank: Rank,
    },
    /// It may not.
    Denied {
        /// Why, for programs: the name of a `Code`, or any, which is as good as `forbidden`.
        code: String,
        /// Why, for people.
        message: String,
    },
    /// Nobody decided.
    Unreachable,
}

/// Who is told, and who decides.
pub trait News: Send + Sync {
    /// Whether anybody wants to hear of anything.
    fn reports(&self) -> bool;

    /// Whether anybody wants to hear of events of this kind.
    fn wants(&self, kind: &str) -> bool;

    /// Something has happened. Called with the room locked: takes note, and does nothing else.
    fn tell(&self, room: &str, kind: &'static str, what: Value);

    /// Whether anybody decides on joins.
    fn decides(&self) -> bool;

    /// Whether this one may join.
    fn may_join(&self, candidate: Candidate) -> Pin<Box<dyn Future<Output = Verdict> + Send + '_>>;
}

/// Nobody.
impl News for () {
    fn reports(&self) -> bool {
        false
    }

    fn wants(&self, _: &str) -> bool {
        false
    }

    fn tell(&self, _: &str, _: &'static str, _: Value) {}

    fn decides(&self) -> bool {
        false
    }

    fn may_join(&self, _: Candidate) -> Pin<Box<dyn Future<Output = Verdict> + Send + '_>> {
        Box::pin(std::future::ready(Verdict::Allowed { name: None, rank: Rank::Member }))
    }
}

impl Hub {
    /// Tells of what a command has done.
    pub(super) fn report(
        &self,
        room: &str,
        command: &Command<'_>,
        committed: &Committed<'_>,
        ended: Option<&Call>,
    ) {
        let tell = |kind: &'static str, what: &dyn Fn() -> Value| {
            if self.news.wants(kind) {
                self.news.tell(room, kind, what());
            }
        };
        // After a restart the first that is back makes the room, which others have known all the while.
        let restored = matches!(committed.answer, Answer::Seated { restored: true, .. });
        if let Some(there) = committed.room.filter(|_| committed.made && !restored) {
            tell("room.created", &|| outline(there));
        }
        let came = |peer: PeerId| {
            if let Some(member) = committed.room.and_then(|room| room.member(peer)) {
                tell("peer.joined", &|| {
                    let mut who = of_member(member);
                    if restored {
                        who["restored"] = true.into();
                    }
                    who
                });
            }
        };
        match committed.answer {
            Answer::Seated { peer, resumed, restored } if restored || !resumed => came(peer),
            _ => {}
        }
        let mut closed = "empty";
        let mut changed = false;
        for notice in committed.notices {
            match &notice.event {
                Event::Admitted => notice.to.iter().copied().for_each(came),
                Event::Chat(message) => {
                    tell("chat.message", &|| {
                        let id = committed.room.map(|room| of_message(&room.id, message));
                        json!({ "message": id })
                    });
                }
                Event::RoomClosed { reason } if *reason != ClosedReason::Kicked => closed = reason.name(),
                Event::RoomTimeout => closed = "timeout",
                Event::RoomChanged { .. } => changed = true,
                _ => {}
            }
        }
        for gone in &committed.gone {
            tell("peer.left", &|| {
                let mut who = person(gone.peer, gone.user.as_ref(), gone.name.as_ref());
                who["reason"] = gone.reason.name().into();
                who
            });
        }
        if let Some(call) = ended {
            tell("call.ended", &|| of_call(call));
        }
        match committed.room {
            None if committed.changed => {
                if matches!(command, Command::Close { .. }) {
                    closed = ClosedReason::Deleted.name();
                }
                tell("room.closed", &|| json!({ "reason": closed }));
            }
            Some(there) if committed.changed && (changed || matches!(command, Command::Lock { .. })) => {
                tell("room.updated", &|| outline(there));
            }
            _ => {}
        }
    }

    /// Asks whether somebody may join; as whom, if it may.
    ///
    /// # Errors
    /// It may not, or nobody said so.
    pub(super) async fn may_join(&self, candidate: Candidate, mut who: Who) -> Result<Who, Failure> {
        match self.news.may_join(candidate).await {
            Verdict::Allowed { name, rank } => {
                if let Some(name) = name {
                    who.name = Some(name.into());
                }
                who.rank = who.rank.max(rank);
                Ok(who)
            }
            Verdict::Denied { code, message } => {
                let known = REASONS.into_iter().find(|known| known.name() == code);
                Err(Failure::new(known.unwrap_or(Code::Forbidden), message))
            }
            Verdict::Unreachable => Err(Failure {
                retry_after: Some(LATER),
                ..Failure::new(Code::Unavailable, "nobody says just now whether you may join")
            }),
        }
    }
}
