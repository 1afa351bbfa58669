//! How many allocations all shards have together: the one number that they share.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// A count shared by all its clones.
#[derive(Clone, Default, Debug)]
pub struct Census(Arc<AtomicU32>);

impl Census {
    pub(super) fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn remove(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    /// Shards that ask at the same moment may each add one to what it says.
    pub(super) fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed) as usize
    }
}
