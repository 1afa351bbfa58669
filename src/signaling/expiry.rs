//! When tokens end, and with them the sessions of those who showed them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::Weak;
use std::time::Instant;

use super::connection::Connection;

/// The connections that end at a time, by that time. One entry each.
#[derive(Default)]
pub(super) struct Expiries(Mutex<BTreeMap<(Instant, u64), Weak<Connection>>>);

impl Expiries {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<(Instant, u64), Weak<Connection>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// This connection ends then, and no more when it was to end before.
    pub(super) fn set(&self, connection: &Arc<Connection>, before: Option<Instant>, at: Instant) {
        let mut all = self.lock();
        if let Some(before) = before {
            all.remove(&(before, connection.number));
        }
        all.insert((at, connection.number), Arc::downgrade(connection));
    }

    /// This connection has ended.
    pub(super) fn forget(&self, number: u64, at: Instant) {
        self.lock().remove(&(at, number));
    }

    /// When the next one ends.
    pub(super) fn next(&self) -> Option<Instant> {
        self.lock().first_key_value().map(|((at, _), _)| *at)
    }

    /// Takes those whose time has come.
    pub(super) fn due(&self, now: Instant) -> Vec<Arc<Connection>> {
        let mut all = self.lock();
        let later = all.split_off(&(now, u64::MAX));
        std::mem::replace(&mut *all, later).into_values().filter_map(|it| it.upgrade()).collect()
    }
}
