//! Numbers nobody can guess, from the seed the server was given: HMAC-SHA256 over a counter.

use ring::hmac;

/// A stream of random bytes.
#[derive(Debug)]
pub(super) struct Random {
    key: hmac::Key,
    counter: u64,
    block: [u8; 32],
    left: usize,
}

impl Random {
    pub(super) fn new(seed: &[u8; 32]) -> Self {
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, seed), counter: 0, block: [0; 32], left: 0 }
    }

    /// The next `N` bytes, at most 32.
    pub(super) fn bytes<const N: usize>(&mut self) -> [u8; N] {
        if self.left < N {
            self.counter += 1;
            self.block.copy_from_slice(hmac::sign(&self.key, &self.counter.to_be_bytes()).as_ref());
            self.left = self.block.len();
        }
        let mut out = [0; N];
        if let Some(bytes) = self.left.checked_sub(N).and_then(|at| self.block.get(at..self.left)) {
            out.copy_from_slice(bytes);
            self.left -= N;
        }
        out
    }

    pub(super) fn u32(&mut self) -> u32 {
        u32::from_be_bytes(self.bytes())
    }

    pub(super) fn u64(&mut self) -> u64 {
        u64::from_be_bytes(self.bytes())
    }
}
