//! Work that takes long, on threads of its own: so much of it at a time, and so much more in line for that. A line without an end
//! would have everybody in it wait for minutes.

use std::sync::Arc;

use tokio::sync::Semaphore;

/// Whose turn it is.
pub struct Turns {
    at_once: Arc<Semaphore>,
    /// Those whose turn it is, too.
    places: Arc<Semaphore>,
}

/// Why work was not done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NotDone {
    /// The line was full.
    Full,
    /// It broke down.
    Broken,
}

impl Turns {
    /// So many `at_once` and so many `waiting`.
    #[must_use]
    pub fn new(at_once: usize, waiting: usize) -> Turns {
        Turns {
            at_once: Arc::new(Semaphore::new(at_once)),
            places: Arc::new(Semaphore::new(at_once.saturating_add(waiting))),
        }
    }

    /// Does this when its turn comes. That is taken until the work is done, whether anybody waits for it or has hung up.
    ///
    /// # Errors
    /// It was not done.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, NotDone> {
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| NotDone::Full)?;
        let turn = Arc::clone(&self.at_once).acquire_owned().await.map_err(|_| NotDone::Broken)?;
        let done = tokio::task::spawn_blocking(move || {
            let done = work();
            drop((turn, place));
            done
        });
        done.await.map_err(|_| NotDone::Broken)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use tokio::sync::oneshot;

    use super::*;

    /// One that is being done until something is sent.
    async fn under_way(turns: &Arc<Turns>) -> (mpsc::Sender<()>, tokio::task::JoinHandle<()>) {
        let (end, ended) = mpsc::channel::<()>();
        let (begin, begun) = oneshot::channel();
        let turns = Arc::clone(turns);
        let work = tokio::spawn(async move {
            let _ = turns
                .run(move || {
                    let _ = begin.send(());
                    let _ = ended.recv();
                })
                .await;
        });
        begun.await.unwrap();
        (end, work)
    }

    #[tokio::test]
    async fn who_hangs_up_and_asks_again_has_no_more_done_at_a_time() {
        let turns = Arc::new(Turns::new(1, 1));
        let (end, work) = under_way(&turns).await;
        work.abort();
        assert!(work.await.unwrap_err().is_cancelled());
        assert_eq!(turns.at_once.available_permits(), 0);
        end.send(()).unwrap();
        assert_eq!(turns.run(|| 7).await, Ok(7));
    }

    #[tokio::test]
    async fn whoever_finds_the_line_full_is_told_so_and_who_hangs_up_leaves_it() {
        let turns = Arc::new(Turns::new(1, 2));
        let (end, _work) = under_way(&turns).await;
        let wait = || {
            let turns = Arc::clone(&turns);
            tokio::spawn(async move { turns.run(|| 7).await })
        };
        let waiting = [wait(), wait()];
        while turns.places.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(turns.run(|| 7).await, Err(NotDone::Full));
        waiting[0].abort();
        while turns.places.available_permits() == 0 {
            tokio::task::yield_now().await;
        }
        let other = wait();
        end.send(()).unwrap();
        let [_, second] = waiting;
        assert_eq!((second.await.unwrap(), other.await.unwrap()), (Ok(7), Ok(7)));
        assert_eq!(turns.run(|| 7).await, Ok(7));
    }

    #[tokio::test]
    async fn work_that_breaks_down_gives_its_turn_back() {
        let turns = Turns::new(1, 0);
        assert_eq!(turns.run(|| panic!("as it should")).await, Err::<(), _>(NotDone::Broken));
        assert_eq!(turns.run(|| 7).await, Ok(7));
    }
}
