//! What happens in rooms, on its way to the webhooks; and who they let in.

use std::pin::Pin;

use serde_json::Value;

use crate::rooms::Rank;
use crate::signaling::Candidate;
use crate::signaling::News;
use crate::signaling::Verdict;
use crate::webhooks::Decision;
use crate::webhooks::JoinAsk;
use crate::webhooks::Role;
use crate::webhooks::Webhooks;

impl News for Webhooks {
    fn reports(&self) -> bool {
        self.has_receivers()
    }

    fn wants(&self, kind: &str) -> bool {
        Webhooks::wants(self, kind)
    }

    fn tell(&self, room: &str, kind: &'static str, what: Value) {
        Webhooks::tell(self, room, kind, what);
    }

    fn decides(&self) -> bool {
        self.asks()
    }

    fn may_join(&self, candidate: Candidate) -> Pin<Box<dyn Future<Output = Verdict> + Send + '_>> {
        Box::pin(async move {
            let ask = JoinAsk {
                room: &candidate.room,
                kind: candidate.kind,
                user: candidate.user.as_deref(),
                name: candidate.name.as_deref(),
                address: candidate.address,
                dialect: candidate.dialect,
            };
            match Webhooks::may_join(self, &ask).await {
                Decision::Allowed { name, role } => {
                    let moderates = role == Some(Role::Moderator);
                    let rank = if moderates { Rank::Moderator } else { Rank::Member };
                    Verdict::Allowed { name, rank }
                }
                Decision::Denied { code, message } => Verdict::Denied { code, message },
                Decision::Unreachable => Verdict::Unreachable,
            }
        })
    }
}
