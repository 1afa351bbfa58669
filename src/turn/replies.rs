//! Answers of late, so that a retransmitted request gets the same one again (RFC 8489, section 6.3.1).

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use ahash::RandomState;
use hashbrown::HashMap;

use super::route::FiveTuple;
use super::wire::Echo;

/// How long a client retransmits (RFC 8489, section 6.2.1), rounded up.
const LIFETIME: Duration = Duration::from_secs(40);

/// How many are kept. What is older than this many requests has long been answered twice, if it was to be.
const MOST: usize = 16_384;

#[derive(Debug)]
struct Reply {
    client: FiveTuple,
    request: Echo,
    at: Instant,
    message: Box<[u8]>,
}

/// The answers, by a keyed hash of five-tuple, method and transaction id.
#[derive(Debug)]
pub(super) struct Replies {
    hasher: RandomState,
    held: HashMap<u64, Reply, RandomState>,
    order: VecDeque<(Instant, u64)>,
}

impl Replies {
    pub(super) fn new(hasher: RandomState) -> Self {
        Self { held: HashMap::with_hasher(hasher.clone()), hasher, order: VecDeque::new() }
    }

    /// What this very request was answered with.
    pub(super) fn find(&self, now: Instant, client: &FiveTuple, request: &Echo) -> Option<&[u8]> {
        let reply = self.held.get(&self.key(client, request))?;
        let same = reply.client == *client && reply.request == *request;
        (same && now.saturating_duration_since(reply.at) < LIFETIME).then_some(&*reply.message)
    }

    pub(super) fn remember(&mut self, now: Instant, client: FiveTuple, request: Echo, message: &[u8]) {
        while let Some(&(at, key)) = self.order.front() {
            if self.order.len() < MOST && now.saturating_duration_since(at) < LIFETIME {
                break;
            }
            self.order.pop_front();
            if self.held.get(&key).is_some_and(|reply| reply.at == at) {
                self.held.remove(&key);
            }
        }
        let key = self.key(&client, &request);
        self.held.insert(key, Reply { client, request, at: now, message: message.into() });
        self.order.push_back((now, key));
    }

    fn key(&self, client: &FiveTuple, request: &Echo) -> u64 {
        self.hasher.hash_one((client, request.method, request.transaction))
    }
}

#[cfg(test)]
impl Replies {
    pub(super) fn len(&self) -> usize {
        self.held.len().max(self.order.len())
    }
}
