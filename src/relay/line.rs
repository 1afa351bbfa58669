//! Who waits for another turn, in order, and each once.

use std::collections::HashSet;

use super::token::Token;

/// Tokens in the order in which they came.
#[derive(Default)]
pub(super) struct Line {
    order: Vec<Token>,
    held: HashSet<u64>,
}

impl Line {
    /// At the end, unless it stands here already.
    pub(super) fn stand(&mut self, token: Token) {
        if self.held.insert(token.pack()) {
            self.order.push(token);
        }
    }

    /// All of them; nobody waits any more.
    pub(super) fn take(&mut self) -> Vec<Token> {
        self.held.clear();
        std::mem::take(&mut self.order)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.order.is_empty()
    }
}

#[cfg(test)]
impl Line {
    pub(super) fn len(&self) -> usize {
        self.order.len()
    }
}
