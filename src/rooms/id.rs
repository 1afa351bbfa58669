//! Names: of rooms (the clients'), of peers (ours).

use std::fmt;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// A room's name: 1 to 64 of `A-Z a-z 0-9 _ -`. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct RoomId(Arc<str>);

impl RoomId {
    /// The longest name, in bytes.
    pub const MAX: usize = 64;

    /// The name, if it is one.
    #[must_use]
    pub fn parse(text: &str) -> Option<RoomId> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
        let fits = !text.is_empty() && text.len() <= Self::MAX && text.bytes().all(allowed);
        fits.then(|| RoomId(text.into()))
    }

    /// As the client wrote it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Length of a peer id or token as text: 16 bytes in URL-safe base64 without padding.
const TEXT: usize = 22;

fn encode(bytes: &[u8; 16], out: &mut [u8; TEXT]) {
    // 16 bytes always fit into 22 characters; were they not to, the text stays as it was made: zeros.
    let _ = URL_SAFE_NO_PAD.encode_slice(bytes, out);
}

fn decode(text: &str) -> Option<[u8; 16]> {
    if text.len() != TEXT {
        return None;
    }
    let mut bytes = [0; 16];
    let n = URL_SAFE_NO_PAD.decode_slice(text, &mut bytes).ok()?;
    (n == bytes.len()).then_some(bytes)
}

/// A member of a room, as others know it. Never the transport's session id: knowing it lets nobody in.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerId([u8; 16]);

impl PeerId {
    /// From 16 random bytes.
    #[must_use]
    pub fn new(random: [u8; 16]) -> PeerId {
        PeerId(random)
    }

    /// From its text of 22 characters.
    #[must_use]
    pub fn parse(text: &str) -> Option<PeerId> {
        decode(text).map(PeerId)
    }

    /// Its 16 bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// Its first byte, evenly spread: for choosing a shard.
    #[must_use]
    pub fn spread(&self) -> u8 {
        self.0[0]
    }

    /// Calls `then` with its text of 22 characters of `A-Z a-z 0-9 _ -`, made on the stack.
    pub fn with_text<R>(&self, then: impl FnOnce(&str) -> R) -> R {
        let mut text = [0; TEXT];
        encode(&self.0, &mut text);
        then(std::str::from_utf8(&text).unwrap_or_default())
    }
}

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.with_text(|text| f.write_str(text))
    }
}

impl fmt::Debug for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_names_are_short_and_plain() {
        for good in ["a", "A-b_9", &"x".repeat(64)] {
            assert_eq!(RoomId::parse(good).unwrap().as_str(), good);
        }
        for bad in ["", "a b", "ä", "a/b", "a.b", "\0", &"x".repeat(65)] {
            assert!(RoomId::parse(bad).is_none(), "{bad:?}");
        }
    }

    #[test]
    fn peer_ids_survive_their_text() {
        let peer = PeerId::new([255; 16]);
        assert_eq!(peer.to_string().len(), 22);
        assert_eq!(PeerId::parse(&peer.to_string()), Some(peer));
        for bad in ["", "short", "not base64 at all!!!!!", "ääääääääääää"] {
            assert!(PeerId::parse(bad).is_none());
        }
    }
}
