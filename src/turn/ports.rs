//! A shard's slice of relay ports in one family: which are taken.

use std::ops::RangeInclusive;

use super::random::Random;

/// What kind of port an allocation needs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// Any.
    Any,
    /// An even one (EVEN-PORT with R = 0).
    Even,
    /// An even one and the next one with it (EVEN-PORT with R = 1).
    Pair,
}

const EVEN: u64 = 0x5555_5555_5555_5555;

/// A bit per port, set while it is free. Bit 0 of the first word is an even port.
#[derive(Debug)]
pub(super) struct Ports {
    base: u16,
    free: Vec<u64>,
}

impl Ports {
    pub(super) fn new(range: &RangeInclusive<u16>) -> Self {
        let base = range.start() & !1;
        let mut ports = Self { base, free: Vec::new() };
        if !range.is_empty() {
            ports.free.resize(usize::from(range.end() - base) / 64 + 1, 0);
            for port in range.clone() {
                ports.release(port);
            }
        }
        ports
    }

    /// Takes a port at random; of a [`Kind::Pair`] the even one is returned.
    pub(super) fn take(&mut self, kind: Kind, random: &mut Random) -> Option<u16> {
        let words = self.free.len();
        let start = random.u32() as usize % words.max(1);
        let turn = random.u32() % 64;
        for index in (start..words).chain(0..start) {
            let free = self.free[index];
            let fit = match kind {
                Kind::Any => free,
                Kind::Even => free & EVEN,
                Kind::Pair => free & free >> 1 & EVEN,
            };
            if fit != 0 {
                let bit = (fit.rotate_right(turn).trailing_zeros() + turn) % 64;
                let taken = if kind == Kind::Pair { 3 } else { 1 };
                self.free[index] &= !(taken << bit);
                return Some(self.base + (index * 64) as u16 + bit as u16);
            }
        }
        None
    }

    /// Gives a port back.
    pub(super) fn release(&mut self, port: u16) {
        let at = usize::from(port.wrapping_sub(self.base));
        if let Some(word) = self.free.get_mut(at / 64) {
            *word |= 1 << (at % 64);
        }
    }
}

#[cfg(test)]
impl Ports {
    pub(super) fn free(&self) -> usize {
        self.free.iter().map(|word| word.count_ones() as usize).sum()
    }
}
