//! Going: on purpose, or because the connection is no more.

use std::sync::Arc;
use std::time::Duration;

use smallvec::SmallVec;

use super::super::connection::Connection;
use super::super::connection::Item;
use super::super::connection::Membership;
use super::super::decode::Arguments;
use super::super::error::Code;
use super::super::error::Failure;
use super::super::hub::Hub;
use super::super::outbox::disconnect;
use super::super::stats::Drop;
use super::Asked;
use crate::rooms::Command;
use crate::rooms::Now;
use crate::rooms::Refusal;

impl Asked<'_> {
    pub(super) async fn leave(&self, it: &Arguments<'_>) -> Result<(), Failure> {
        let seats = match it.room {
            // `leave` without a word means all.
            None => self.connection.seats(),
            Some(_) => SmallVec::from_iter([self.seat(it)?]),
        };
        if seats.is_empty() {
            return Err(Failure::new(Code::NotAMember, "you are not in a room"));
        }
        let mut all = Ok(());
        for Membership { room, peer } in seats {
            let command = Command::Leave { peer, session: None };
            // One room keeps nobody in the others.
            match self.commit(&room, &command, |committed| committed.kept).await {
                Ok(true) => {}
                Ok(false) => all = Err(Refusal::NotStored.into()),
                Err(failure) => all = Err(failure),
            }
        }
        all.map(|()| self.done())
    }
}

/// Ends a connection whose token is good no longer: it is told, and its seats are given up as if it had left.
pub(super) async fn expired(hub: Arc<Hub>, connection: Arc<Connection>, now: Now) {
    // A fresh token may have come meanwhile.
    let at = connection.identity().and_then(|identity| identity.expires);
    let (Some(socket), true) = (connection.socket(), at.is_some_and(|at| at <= now.at)) else { return };
    let failure = Failure::new(Code::TokenExpired, "the token has expired: connect with a fresh one");
    hub.fail(&connection, connection.dialect(), None, None, &failure);
    gone(hub, connection, true, now).await;
    tokio::spawn(disconnect(Arc::downgrade(&socket)));
}

/// How long the end of a connection waits for what it has asked for before.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Ends a connection that is still waiting for something: for a disk that does not answer others need not wait.
pub(in crate::signaling) async fn gone_at_last(hub: Arc<Hub>, connection: Arc<Connection>, said: bool) {
    tokio::time::sleep(LAST_WORDS).await;
    gone(hub, connection, said, Hub::now()).await;
}

/// Ends a connection; `said`: the client took its leave.
pub(super) async fn gone(hub: Arc<Hub>, connection: Arc<Connection>, said: bool, now: Now) {
    if !connection.close() {
        return;
    }
    let named = if said {
        hub.lost.lives(connection.sid);
        None
    } else {
        hub.lost.note(&connection, now.at)
    };
    for seat in connection.seats() {
        // At once: its seat may be taken again before the room has time for what follows.
        hub.seats.with(seat.peer, |it| {
            if it.connection.as_ref().is_some_and(|its| its.number == connection.number) {
                it.takes_back(seat.peer, &connection, now.at, &hub.counters);
            }
        });
        // A room that has to wait for something does not keep the others.
        let lost = lose(Arc::clone(&hub), Arc::clone(&connection), seat, said, now);
        if let Some(rest) = super::try_now(lost) {
            tokio::spawn(rest);
        }
    }
    // Of no use to anybody who comes back.
    hub.counters.dropped(Drop::Closed, connection.outbox().forget());
    hub.user_went(&connection);
    hub.forget(&connection);
    if let Some(named) = named {
        hub.arrive(&named, Item::Back(connection.sid));
    }
}

/// One seat of a connection that is no more.
pub(super) async fn lose(hub: Arc<Hub>, connection: Arc<Connection>, seat: Membership, said: bool, now: Now) {
    let Membership { room, peer } = seat;
    let command = Command::Lost { peer, session: connection.number, keep: !said };
    let done = hub.commit(&room, &command, now, |_| {
        hub.seats.with(peer, |seat| {
            if seat.connection.as_ref().is_some_and(|it| it.number == connection.number) {
                seat.connection = None;
                seat.takes_back(peer, &connection, now.at, &hub.counters);
            }
        });
    });
    if let Err(refusal) = done.await {
        // The room ended meanwhile.
        tracing::debug!(?refusal, "a seat was gone already");
    }
}
