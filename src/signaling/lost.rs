//! Which seats a connection had that broke: for clients that name it when they come back.
//!
//! The transport's id is known to its client alone, so naming it proves enough. What is kept goes with the seats: after
//! `rooms.grace`.
//!
//! A connection may be named before it is known to be lost: its path died and no heartbeat was missed yet, or the page was loaded
//! again and the new connection was faster. Or it lives, in another tab that shares what a page remembers. So naming takes
//! nothing from it; who named it last is remembered for as long as a dead connection may go unnoticed, and has the seats if it
//! breaks in that time.
//!
//! A page names the same connection whenever it comes back until it is loaded again, for socket.io's client repeats its query. So
//! the name goes on to whoever has taken the seats, and means that one from then on.

use std::collections::BTreeSet;
use std::collections::HashMap;
use std::collections::HashSet;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::Weak;
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
    /// Its own number.
    pub(super) number: u64,
}

impl Past {
    /// What a connection has now.
    pub(super) fn of(connection: &Connection) -> Past {
        let user = connection.identity().and_then(|identity| identity.user.clone());
        Past { user, seats: connection.seats(), number: connection.number }
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
    /// For how long a connection may be dead unnoticed.
    unnoticed: Duration,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    known: HashMap<Sid, Past>,
    /// In order of their going.
    order: VecDeque<(Instant, Sid)>,
    /// Who has named a connection that is not known to be lost, and until when that counts.
    named: HashMap<Sid, (Weak<Connection>, Instant)>,
    /// In order of their ending: each that is named, once.
    endings: BTreeSet<(Instant, Sid)>,
    /// Who has taken the seats of one that is gone.
    heirs: HashMap<Sid, Sid>,
}

impl Lost {
    /// Remembers for `grace`; zero: not at all.
    pub(super) fn new(grace: Duration, unnoticed: Duration) -> Lost {
        Lost { grace, unnoticed, state: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection broke. Who has named it, and is to name it again once its seats can be taken.
    pub(super) fn note(&self, connection: &Connection, now: Instant) -> Option<Arc<Connection>> {
        if self.grace.is_zero() {
            return None;
        }
        self.remember(connection.sid, Past::of(connection), now)?.upgrade()
    }

    fn remember(&self, sid: Sid, past: Past, now: Instant) -> Option<Weak<Connection>> {
        let mut state = self.lock();
        state.prune(now, self.grace);
        let by = state.unname(sid);
        if past.seats.is_empty() {
            return None;
        }
        if state.order.len() >= MOST
            && let Some((_, oldest)) = state.order.pop_front()
        {
            state.known.remove(&oldest);
        }
        state.order.push_back((now, sid));
        state.known.insert(sid, past);
        by
    }

    /// `by` names a connection that is not known here: it has its seats if it breaks soon. What it had, if it has done so by now.
    pub(super) fn name(
        &self,
        sid: Sid,
        user: Option<&str>,
        by: Weak<Connection>,
        now: Instant,
    ) -> Option<Past> {
        if self.grace.is_zero() {
            return None;
        }
        let mut state = self.lock();
        state.prune(now, self.grace);
        if state.known.get(&sid).is_some_and(|past| past.is_of(user)) {
            return state.known.remove(&sid);
        }
        state.unname(sid);
        if state.endings.len() >= MOST
            && let Some((_, oldest)) = state.endings.pop_first()
        {
            state.named.remove(&oldest);
        }
        let until = now + self.unnoticed;
        state.endings.insert((until, sid));
        state.named.insert(sid, (by, until));
        None
    }

    /// That connection lives, or has taken its leave: whoever named it was wrong.
    pub(super) fn lives(&self, sid: Sid) {
        self.lock().unname(sid);
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

    /// `heir` has taken the seats of that one: whoever names that one from now on means the heir.
    pub(super) fn inherits(&self, sid: Sid, heir: Sid) {
        let mut state = self.lock();
        if state.heirs.len() < MOST {
            state.heirs.insert(sid, heir);
        }
    }

    /// Whom somebody means who names that one.
    pub(super) fn heir(&self, sid: Sid) -> Sid {
        self.lock().heirs.get(&sid).copied().unwrap_or(sid)
    }

    /// All whose seats somebody else has, and who that is.
    pub(super) fn heirs(&self) -> Vec<(Sid, Sid)> {
        self.lock().heirs.iter().map(|(sid, heir)| (*sid, *heir)).collect()
    }

    /// All that are remembered.
    pub(super) fn all(&self) -> Vec<(Sid, Past)> {
        self.lock().known.iter().map(|(sid, past)| (*sid, past.clone())).collect()
    }

    /// Forgets whose seats are not kept any longer. `here`: the connections that are there.
    pub(super) fn sweep(&self, now: Instant, here: &HashSet<Sid>) {
        let mut state = self.lock();
        let State { known, heirs, .. } = &mut *state;
        heirs.retain(|_, heir| known.contains_key(heir) || here.contains(heir));
        state.prune(now, self.grace);
    }
}

impl State {
    /// Nobody waits for that one any more. Who did.
    fn unname(&mut self, sid: Sid) -> Option<Weak<Connection>> {
        let (by, until) = self.named.remove(&sid)?;
        self.endings.remove(&(until, sid));
        Some(by)
    }

    fn prune(&mut self, now: Instant, grace: Duration) {
        while let Some((at, sid)) = self.order.front()
            && now.saturating_duration_since(*at) > grace
        {
            self.known.remove(sid);
            self.order.pop_front();
        }
        while let Some((at, sid)) = self.endings.first()
            && *at <= now
        {
            self.named.remove(sid);
            self.endings.pop_first();
        }
        if self.order.is_empty() && self.endings.is_empty() && self.heirs.is_empty() {
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
    const NOTICED: Duration = Duration::from_secs(20);

    fn past(user: Option<&str>) -> Past {
        let seat = Membership { room: RoomId::parse("a").unwrap(), peer: PeerId::new([1; 16]) };
        Past { user: user.map(Into::into), seats: SmallVec::from_iter([seat]), number: 7 }
    }

    #[test]
    fn what_is_lost_is_found_once_and_in_time() {
        let (lost, now) = (Lost::new(GRACE, NOTICED), Instant::now());
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
        let (lost, now, sid) = (Lost::new(GRACE, NOTICED), Instant::now(), Sid::default());
        lost.remember(sid, past(Some("ada")), now);
        assert!(lost.take(sid, Some("eve"), now).is_none());
        assert!(lost.take(sid, None, now).is_none());
        assert!(lost.take(sid, Some("ada"), now).is_some());
    }

    #[test]
    fn it_is_bounded_and_the_oldest_go_first() {
        let (lost, now) = (Lost::new(GRACE, NOTICED), Instant::now());
        let sids: Vec<Sid> = (0..MOST + 2).map(|_| Sid::default()).collect();
        for sid in &sids {
            lost.remember(*sid, past(None), now);
        }
        assert_eq!(lost.lock().known.len(), MOST);
        assert!(lost.take(sids[1], None, now).is_none() && lost.take(sids[2], None, now).is_some());
    }

    /// How many are named, and how many endings are noted.
    fn sizes(lost: &Lost) -> (usize, usize) {
        let state = lost.lock();
        (state.named.len(), state.endings.len())
    }

    #[test]
    fn who_named_it_last_is_told_when_it_breaks_in_time() {
        let (lost, now, sid) = (Lost::new(GRACE, NOTICED), Instant::now(), Sid::default());
        let name = |user, at| lost.name(sid, user, Weak::new(), at);
        assert!(name(None, now).is_none());
        // Known by now: there is nothing to wait for.
        assert!(lost.remember(sid, past(Some("ada")), now).is_some());
        assert!(name(Some("eve"), now).is_none() && name(Some("ada"), now).is_some());
        lost.lives(sid);
        assert!(lost.remember(sid, past(None), now).is_none());
        assert!(lost.take(sid, None, now).is_some());
        // What was said twice counts from the second time on.
        assert!(name(None, now).is_none() && name(None, now + NOTICED / 2).is_none());
        lost.sweep(now + NOTICED, &HashSet::new());
        assert_eq!(sizes(&lost), (1, 1));
        assert!(lost.remember(sid, past(None), now + 2 * NOTICED).is_none());
    }

    #[test]
    fn who_names_one_again_and_again_drives_nobody_else_out() {
        let (lost, now) = (Lost::new(GRACE, NOTICED), Instant::now());
        let [one, two] = [Sid::default(), Sid::default()];
        lost.name(one, None, Weak::new(), now);
        for _ in 0..=MOST {
            lost.name(two, None, Weak::new(), now);
        }
        assert_eq!(sizes(&lost), (2, 2));
        lost.lives(two);
        assert_eq!(sizes(&lost), (1, 1));
        assert!(lost.remember(one, past(None), now).is_some());
    }

    #[test]
    fn a_name_means_the_heir_while_that_one_is_here_or_may_be_back() {
        let (lost, now) = (Lost::new(GRACE, NOTICED), Instant::now());
        let [one, two] = [Sid::default(), Sid::default()];
        assert_eq!(lost.heir(one), one);
        lost.inherits(one, two);
        lost.sweep(now, &HashSet::from([two]));
        assert_eq!((lost.heir(one), lost.heir(two)), (two, two));
        lost.remember(two, past(None), now);
        lost.sweep(now + GRACE, &HashSet::new());
        assert_eq!(lost.heirs(), [(one, two)]);
        lost.sweep(now + GRACE * 2, &HashSet::new());
        lost.sweep(now + GRACE * 2, &HashSet::new());
        assert_eq!(lost.heir(one), one);
        assert_eq!(lost.lock().heirs.capacity(), 0);
        for _ in 0..MOST + 2 {
            lost.inherits(Sid::default(), two);
        }
        assert_eq!(lost.heirs().len(), MOST);
    }

    #[test]
    fn names_are_bounded_and_none_are_kept_without_grace() {
        let (lost, now) = (Lost::new(GRACE, NOTICED), Instant::now());
        for _ in 0..MOST + 2 {
            lost.name(Sid::default(), None, Weak::new(), now);
        }
        assert_eq!(sizes(&lost), (MOST, MOST));
        lost.sweep(now + NOTICED, &HashSet::new());
        assert_eq!(lost.lock().named.capacity(), 0);
        let lost = Lost::new(Duration::ZERO, NOTICED);
        lost.name(Sid::default(), None, Weak::new(), now);
        assert!(lost.lock().named.is_empty());
    }
}
