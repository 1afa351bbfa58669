//! Which seats a connection had that broke: for clients that name it when they come back.
//!
//! The transport's id is known to its client alone, so naming it proves enough. What is kept goes with the seats: after
//! `rooms.grace`.

use std::collections::HashMap;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;

use smallvec::SmallVec;
use socketioxide::socket::Sid;

use super::connection::Connection;
use super::connection::Membership;

/// The most connections that are remembered; the oldest go first.
const MOST: usize = 65_536;

/// What a connection had.
#[derive(Clone, Debug)]
pub(super) struct Past {
    /// Its user.
    pub(super) user: Option<Arc<str>>,
    pub(super) seats: SmallVec<[Membership; 1]>,
}

impl Past {
    /// What a connection has now.
    pub(super) fn of(connection: &Connection) -> Past {
        let user = connection.identity().and_then(|identity| identity.user.clone());
        Past { user, seats: connection.seats() }
    }

    /// Whether this user's connection may take it up: nobody's is anybody's who can name it.
    pub(super) fn is_of(&self, user: Option<&str>) -> bool {
        match (self.user.as_deref(), user) {
            (Some(its), Some(user)) => its == user,
            (Some(_), None) => false,
            (None, _) => true,
        }
    }
}

/// Connections that broke, for as long as their seats are kept.
pub(super) struct Lost {
    grace: Duration,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    known: HashMap<Sid, Past>,
    /// In order of their going.
    order: VecDeque<(Instant, Sid)>,
}

impl Lost {
    /// Remembers for `grace`; zero: not at all.
    pub(super) fn new(grace: Duration) -> Lost {
        Lost { grace, state: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection broke.
    pub(super) fn note(&self, connection: &Connection, now: Instant) {
        if !self.grace.is_zero() {
            self.remember(connection.sid, Past::of(connection), now);
        }
    }

    fn remember(&self, sid: Sid, past: Past, now: Instant) {
        let mut state = self.lock();
        state.prune(now, self.grace);
        if past.seats.is_empty() {
            return;
        }
        if state.order.len() >= MOST
            && let Some((_, oldest)) = state.order.pop_front()
        {
            state.known.remove(&oldest);
        }
        state.order.push_back((now, sid));
        state.known.insert(sid, past);
    }

    /// What that connection had, if `user` may take it up; once.
    pub(super) fn take(&self, sid: Sid, user: Option<&str>, now: Instant) -> Option<Past> {
        let mut state = self.lock();
        state.prune(now, self.grace);
        if !state.known.get(&sid)?.is_of(user) {
            return None;
        }
        // Its place in the order goes with its time.
        state.known.remove(&sid)
    }

    /// All that are remembered.
    pub(super) fn all(&self) -> Vec<(Sid, Past)> {
        self.lock().known.iter().map(|(sid, past)| (*sid, past.clone())).collect()
    }

    /// Forgets whose seats are not kept any longer.
    pub(super) fn sweep(&self, now: Instant) {
        self.lock().prune(now, self.grace);
    }
}

impl State {
    fn prune(&mut self, now: Instant, grace: Duration) {
        while let Some((at, sid)) = self.order.front()
            && now.saturating_duration_since(*at) > grace
        {
            self.known.remove(sid);
            self.order.pop_front();
        }
        if self.order.is_empty() {
            // A storm's worth of memory is not kept for good.
            *self = State::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rooms::PeerId;
    use crate::rooms::RoomId;

    const GRACE: Duration = Duration::from_secs(30);

    fn past(user: Option<&str>) -> Past {
        let seat = Membership { room: RoomId::parse("a").unwrap(), peer: PeerId::new([1; 16]) };
        Past { user: user.map(Into::into), seats: SmallVec::from_iter([seat]) }
    }

    #[test]
    fn what_is_lost_is_found_once_and_in_time() {
        let (lost, now) = (Lost::new(GRACE), Instant::now());
        let [one, two] = [Sid::default(), Sid::default()];
        lost.remember(one, past(None), now);
        lost.remember(two, past(None), now + GRACE / 2);
        assert!(lost.take(one, None, now + GRACE).is_some());
        assert!(lost.take(one, None, now + GRACE).is_none());
        assert!(lost.take(two, None, now + 2 * GRACE).is_none());
        assert!(lost.lock().known.is_empty() && lost.lock().order.is_empty());
    }

    #[test]
    fn it_is_given_to_nobody_elses_user() {
        let (lost, now, sid) = (Lost::new(GRACE), Instant::now(), Sid::default());
        lost.remember(sid, past(Some("ada")), now);
        assert!(lost.take(sid, Some("eve"), now).is_none());
        assert!(lost.take(sid, None, now).is_none());
        assert!(lost.take(sid, Some("ada"), now).is_some());
    }

    #[test]
    fn it_is_bounded_and_the_oldest_go_first() {
        let (lost, now) = (Lost::new(GRACE), Instant::now());
        let sids: Vec<Sid> = (0..MOST + 2).map(|_| Sid::default()).collect();
        for sid in &sids {
            lost.remember(*sid, past(None), now);
        }
        assert_eq!(lost.lock().known.len(), MOST);
        assert!(lost.take(sids[1], None, now).is_none() && lost.take(sids[2], None, now).is_some());
    }
}
