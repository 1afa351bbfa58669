//! The one timer of signaling: rooms' deadlines and credentials' renewals.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::Weak;
use std::time::Duration;
use std::time::Instant;

use tokio::sync::Notify;

use super::hub::Hub;

/// Wakes the clock when something is due before the time it sleeps until.
#[derive(Default)]
pub(super) struct Alarm {
    planned: Mutex<Option<Instant>>,
    earlier: Notify,
}

impl Alarm {
    fn plan(&self, at: Option<Instant>) {
        *self.planned.lock().unwrap_or_else(PoisonError::into_inner) = at;
    }

    /// Something is due then.
    pub(super) fn set(&self, at: Instant) {
        let mut planned = self.planned.lock().unwrap_or_else(PoisonError::into_inner);
        if planned.is_none_or(|planned| at < planned) {
            *planned = Some(at);
            self.earlier.notify_one();
        }
    }
}

/// Runs until the hub is gone.
pub(super) async fn run(hub: Weak<Hub>, alarm: Arc<Alarm>) {
    loop {
        // From here on every `set` leaves a permit behind, so that none is overlooked while we work.
        alarm.plan(None);
        let next = {
            let Some(hub) = hub.upgrade() else { return };
            hub.tick().await;
            hub.next_deadline()
        };
        alarm.plan(next);
        match next {
            None => alarm.earlier.notified().await,
            Some(at) => {
                tokio::select! {
                    () = tokio::time::sleep_until(at.into()) => {}
                    () = alarm.earlier.notified() => {}
                }
            }
        }
    }
}

/// Forgets what has surely come through, again and again, until the hub is gone.
pub(super) async fn sweep(hub: Weak<Hub>, every: Duration) {
    loop {
        tokio::time::sleep(every).await;
        let Some(hub) = hub.upgrade() else { return };
        let now = Hub::now();
        hub.seats.sweep(now.at);
        hub.lost.sweep(now.at, &hub.connected().iter().map(|connection| connection.sid).collect());
        if !hub.seal.restores(now.at) {
            hub.left.forget();
        }
    }
}
