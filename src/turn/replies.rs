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

/// And how many of one five-tuple's, so that none pushes out all others': more than any client has under way.
const MOST_OF_ONE: usize = 32;

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
    /// Oldest first; some of them may be gone already.
    order: VecDeque<(Instant, u64)>,
    /// Each five-tuple's (by its hash), oldest first.
    of_client: HashMap<u64, VecDeque<u64>, RandomState>,
}

impl Replies {
    pub(super) fn new(hasher: RandomState) -> Self {
        let (held, of_client) = (HashMap::with_hasher(hasher.clone()), HashMap::with_hasher(hasher.clone()));
        Self { hasher, held, order: VecDeque::new(), of_client }
    }

    /// What this very request was answered with.
    pub(super) fn find(&self, now: Instant, client: &FiveTuple, request: &Echo) -> Option<&[u8]> {
        let reply = self.held.get(&self.key(client, request))?;
        let same = reply.client == *client && reply.request == *request;
        (same && now.saturating_duration_since(reply.at) < LIFETIME).then_some(&*reply.message)
    }

    pub(super) fn remember(&mut self, now: Instant, client: FiveTuple, request: Echo, message: &[u8]) {
        while let Some(&(at, key)) = self.order.front() {
            if self.held.len() < MOST && now.saturating_duration_since(at) < LIFETIME {
                break;
            }
            self.order.pop_front();
            self.forget(at, key);
        }
        let key = self.key(&client, &request);
        if let Some(old) = self.held.get(&key) {
            self.forget(old.at, key);
        }
        let own = self.of_client.entry(self.hasher.hash_one(client)).or_default();
        own.push_back(key);
        let oldest = if own.len() > MOST_OF_ONE { own.front().copied() } else { None };
        self.held.insert(key, Reply { client, request, at: now, message: message.into() });
        self.order.push_back((now, key));
        if let Some(oldest) = oldest
            && let Some(reply) = self.held.get(&oldest)
        {
            self.forget(reply.at, oldest);
        }
        // Those that went before their time are left in the line, no more than there are others.
        if self.order.len() >= 2 * MOST {
            self.order.retain(|(at, key)| self.held.get(key).is_some_and(|reply| reply.at == *at));
        }
    }

    /// Forgets the answer that was given at this time, if it is still there.
    fn forget(&mut self, at: Instant, key: u64) {
        let Some(reply) = self.held.get(&key).filter(|reply| reply.at == at) else { return };
        let client = self.hasher.hash_one(reply.client);
        self.held.remove(&key);
        if let Some(own) = self.of_client.get_mut(&client) {
            own.retain(|&held| held != key);
            if own.is_empty() {
                self.of_client.remove(&client);
            }
        }
    }

    fn key(&self, client: &FiveTuple, request: &Echo) -> u64 {
        self.hasher.hash_one((client, request.method, request.transaction))
    }
}

#[cfg(test)]
impl Replies {
    pub(super) fn len(&self) -> usize {
        self.held.len().max(self.order.len()).max(self.of_client.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stun::Message;
    use crate::turn::Transport;
    use crate::turn::wire::Request;

    fn client(port: u16) -> FiveTuple {
        let at = |port| std::net::SocketAddr::from(([198, 18, 0, 1], port));
        FiveTuple { client: at(port), server: at(3478), transport: Transport::Udp }
    }

    fn request(number: u32) -> Echo {
        let mut bytes = vec![0, 4, 0, 0, 0x21, 0x12, 0xa4, 0x42];
        bytes.resize(16, 0);
        bytes.extend(number.to_be_bytes());
        Request::read(Message::parse(&bytes).unwrap()).unwrap().echo()
    }

    #[test]
    fn who_asks_for_much_forgets_its_own_answers_first() {
        let now = Instant::now();
        let mut replies = Replies::new(RandomState::with_seeds(1, 2, 3, 4));
        replies.remember(now, client(1), request(0), b"first");
        for number in 0..100_000 {
            replies.remember(now, client(2), request(number), b"more");
        }
        assert_eq!(replies.find(now, &client(1), &request(0)), Some(b"first" as &[u8]));
        let remembered = |number: &u32| replies.find(now, &client(2), &request(*number)).is_some();
        assert_eq!(
            (0..100_000).filter(remembered).collect::<Vec<_>>(),
            (99_968..100_000).collect::<Vec<_>>()
        );
        assert!(replies.len() <= 2 * MOST);
        // Many clients have to share what there is.
        for port in 3..60_000 {
            replies.remember(now, client(port), request(0), b"one each");
        }
        assert_eq!((replies.held.len(), replies.of_client.len()), (MOST, MOST));
        assert!(replies.len() <= 2 * MOST);
        replies.remember(now + LIFETIME, client(1), request(1), b"later");
        assert_eq!(replies.len(), 1);
    }
}
