//! The relay ports, cut into a slice for each shard.

use std::ops::RangeInclusive;

/// The slices of all shards, in their order.
#[derive(Clone, Debug)]
pub(super) struct Slices(Vec<RangeInclusive<u16>>);

impl Slices {
    /// Cuts `all` into `shards` parts that touch, each starting even and ending odd, as EVEN-PORT wants pairs whole (RFC
    /// 8656, section 7.2). An odd first and an even last port are left out. `None`: not a pair for each.
    pub(super) fn cut(all: &RangeInclusive<u16>, shards: usize) -> Option<Self> {
        let first = u32::from(*all.start()).next_multiple_of(2);
        let end = (u32::from(*all.end()) + 1) & !1;
        let pairs = end.saturating_sub(first) / 2;
        let shards = u32::try_from(shards).ok().filter(|&n| n > 0 && n <= pairs)?;
        let mut at = first;
        let mut slices = Vec::new();
        for shard in 0..shards {
            let share = pairs / shards + u32::from(shard < pairs % shards);
            let next = at + share * 2;
            slices.push(u16::try_from(at).ok()?..=u16::try_from(next - 1).ok()?);
            at = next;
        }
        Some(Self(slices))
    }

    /// Each shard's slice, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &RangeInclusive<u16>> {
        self.0.iter()
    }

    /// The shard that has `port`.
    pub(super) fn shard(&self, port: u16) -> Option<usize> {
        let index = self.0.partition_point(|slice| *slice.end() < port);
        self.0.get(index).filter(|slice| slice.contains(&port)).map(|_| index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_start_even_end_odd_and_leave_no_gap() {
        for (all, shards) in [(49152..=65535, 3), (49153..=65534, 2), (1000..=1003, 2), (0..=65535, 64)] {
            let slices = Slices::cut(&all, shards).unwrap();
            for (shard, slice) in slices.0.iter().enumerate() {
                assert_eq!((slice.start() % 2, slice.end() % 2), (0, 1), "{slice:?}");
                assert_eq!(slices.shard(*slice.start()), Some(shard));
                assert_eq!(slices.shard(*slice.end()), Some(shard));
            }
            for (left, right) in slices.0.iter().zip(&slices.0[1..]) {
                assert_eq!(left.end() + 1, *right.start());
            }
        }
    }

    #[test]
    fn a_port_outside_has_no_shard() {
        let slices = Slices::cut(&(2000..=2007), 2).unwrap();
        assert_eq!((slices.shard(1999), slices.shard(2008)), (None, None));
    }

    #[test]
    fn fewer_pairs_than_shards_are_refused() {
        assert!(Slices::cut(&(2000..=2003), 3).is_none());
        assert!(Slices::cut(&(2001..=2002), 1).is_none());
        assert!(Slices::cut(&(2000..=2003), 0).is_none());
    }
}
