//! What a readiness event is about, in the 64 bits that epoll keeps for us.

use crate::turn::AllocationId;

/// The subject of an event.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Token {
    /// Orders or letters have come.
    Wake,
    /// The client-facing socket with this index.
    Listener(u8),
    /// An allocation's relay socket of a family.
    Relay { at: AllocationId, v6: bool },
    /// A client's connection, by its place in this shard's table.
    Leg { slot: u32, generation: u32 },
    /// Where a TCP allocation listens.
    Listen(AllocationId),
    /// A TCP allocation's connection to a peer, by its place in this shard's table.
    Peer { slot: u32, generation: u32 },
}

const SPECIAL: u64 = 1 << 63;
const V6: u64 = 1 << 62;
/// Of the special ones: which kind, in three bits.
const KIND: u32 = 60;
const LEG: u64 = 1;
const LISTEN: u64 = 2;
const PEER: u64 = 3;
/// Slots that fit beside the kind.
const SLOT: u32 = (1 << 28) - 1;

impl Token {
    pub(super) fn pack(self) -> u64 {
        let special = |kind: u64, slot: u32, low: u32| {
            SPECIAL | kind << KIND | u64::from(slot & SLOT) << 32 | u64::from(low)
        };
        match self {
            Token::Wake => u64::MAX,
            Token::Listener(index) => special(0, 0, index.into()),
            Token::Leg { slot, generation } => special(LEG, slot, generation),
            Token::Listen(at) => special(LISTEN, at.slot, at.generation),
            Token::Peer { slot, generation } => special(PEER, slot, generation),
            Token::Relay { at, v6 } => {
                let family = if v6 { V6 } else { 0 };
                family | u64::from(at.slot & 0x3FFF_FFFF) << 32 | u64::from(at.generation)
            }
        }
    }

    pub(super) fn unpack(data: u64) -> Self {
        let (slot, low) = ((data >> 32) as u32 & SLOT, data as u32);
        if data & SPECIAL == 0 {
            let at = AllocationId { slot: (data >> 32) as u32 & 0x3FFF_FFFF, generation: low };
            return Token::Relay { at, v6: data & V6 != 0 };
        }
        match data >> KIND & 7 {
            0 => Token::Listener(low as u8),
            LEG => Token::Leg { slot, generation: low },
            LISTEN => Token::Listen(AllocationId { slot, generation: low }),
            PEER => Token::Peer { slot, generation: low },
            _ => Token::Wake,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_token_survives_the_kernel() {
        let at = AllocationId { slot: 0x3FFF_FFFF, generation: u32::MAX };
        let tokens = [
            Token::Wake,
            Token::Listener(0),
            Token::Listener(255),
            Token::Relay { at, v6: true },
            Token::Relay { at, v6: false },
            Token::Leg { slot: 0, generation: 1 },
            Token::Listen(AllocationId { slot: SLOT, generation: 7 }),
            Token::Peer { slot: 5, generation: u32::MAX },
            Token::Leg { slot: SLOT, generation: u32::MAX },
        ];
        for token in tokens {
            assert_eq!(Token::unpack(token.pack()), token);
        }
    }
}
