//! Resume tokens: what a seat is, sealed. Whoever shows one had the seat; so nothing need be kept to know it again, and it is known
//! even to the next process, which has no seats yet.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;

use super::session::LABEL;
use crate::rooms::Kind;
use crate::rooms::Member;
use crate::rooms::Now;
use crate::rooms::PeerId;
use crate::rooms::Rank;
use crate::rooms::Restore;
use crate::rooms::Room;
use crate::rooms::RoomId;
use crate::rooms::Who;

/// The length of a seal: half a SHA-256.
const TAG: usize = 16;

/// The longest token, in characters.
pub(super) const LONGEST: usize = 640;

/// How old a seat may be that is taken again after a restart.
const OLDEST: Duration = Duration::from_secs(24 * 3600);

/// Which layout of token this is.
const VERSION: u8 = 1;

/// Seals and opens.
pub(super) struct Seal {
    key: hmac::Key,
    /// Tells this process's tokens from those of earlier ones.
    boot: [u8; 8],
    /// Until when earlier ones' seats are taken again. The time of day may be set meanwhile, as it is after a start.
    until: Instant,
}

/// A token that is ours.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) peer: PeerId,
    /// The seat was taken with a user's token.
    pub(super) proven: bool,
    /// It was made by an earlier process: whoever shows it has heard nothing of this one.
    pub(super) earlier: bool,
    /// The seat was of an earlier process, and may be taken again.
    pub(super) restore: Option<Restore>,
}

impl Seal {
    /// `key`: 32 secret bytes, the same after a restart. Seats of before it are taken again for `window`.
    pub(super) fn new(key: &[u8; 32], boot: [u8; 8], now: Instant, window: Duration) -> Seal {
        let until = now.checked_add(window).unwrap_or(now);
        Seal { key: hmac::Key::new(hmac::HMAC_SHA256, key), boot, until }
    }

    /// Whether earlier ones' seats are still taken again.
    pub(super) fn restores(&self, now: Instant) -> bool {
        now < self.until
    }

    /// The token of a seat in a room. `role`: what its user's token says it is everywhere; `proven`: there was one.
    pub(super) fn token(&self, room: &Room, member: &Member, role: Rank, proven: bool) -> String {
        // What somebody is in a channel is on disk, and may change; elsewhere nobody else remembers.
        let rank = if room.kind == Kind::Channel { role } else { member.rank };
        let mut bytes = Vec::with_capacity(96);
        bytes.push(VERSION);
        bytes.extend_from_slice(member.peer.bytes());
        bytes.extend_from_slice(&self.boot);
        bytes.extend_from_slice(&member.joined_at.to_be_bytes());
        bytes.extend_from_slice(&member.order.to_be_bytes());
        bytes.push(room.kind as u8);
        let (listed, stored) = (room.details().listed, room.is_stored());
        bytes.push(rank as u8 | u8::from(listed) << 4 | u8::from(stored) << 5 | u8::from(proven) << 6);
        for label in [&member.user, &member.name] {
            // Labels are at most this long; a token is not to be spoilt by one that is not.
            let label = label.as_deref().filter(|label| label.len() <= LABEL).unwrap_or_default();
            bytes.push(u8::try_from(label.len()).unwrap_or(0));
            bytes.extend_from_slice(label.as_bytes());
        }
        let tag = self.tag(&room.id, &bytes);
        bytes.extend_from_slice(&tag.as_ref()[..TAG]);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// What a token for this room says; `None`: it is not ours, or not for this room.
    pub(super) fn open(&self, room: &RoomId, token: &str, now: Now) -> Option<Opened> {
        if token.len() > LONGEST {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
        let (content, tag) = bytes.split_at_checked(bytes.len().checked_sub(TAG)?)?;
        let expected = self.tag(room, content);
        let same: bool = subtle::ConstantTimeEq::ct_eq(&expected.as_ref()[..TAG], tag).into();
        if !same {
            return None;
        }
        let mut rest = Reader(content);
        let [VERSION] = rest.take()? else { return None };
        let peer = PeerId::new(rest.take()?);
        let boot: [u8; 8] = rest.take()?;
        let joined_at = u64::from_be_bytes(rest.take()?);
        let order = u64::from_be_bytes(rest.take()?);
        let [kind] = rest.take()?;
        let [flags] = rest.take()?;
        let proven = flags & 64 != 0;
        if boot == self.boot {
            return Some(Opened { peer, proven, earlier: false, restore: None });
        }
        let rank = [Rank::Member, Rank::Moderator, Rank::Creator];
        let who = Who { user: rest.label()?, name: rest.label()?, rank: *rank.get(usize::from(flags & 15))? };
        let oldest = u64::try_from(OLDEST.as_millis()).unwrap_or(u64::MAX);
        let in_time = self.restores(now.at) && now.unix_ms.saturating_sub(joined_at) < oldest;
        let restore = in_time.then_some(Restore {
            kind: *Kind::ALL.get(usize::from(kind))?,
            listed: flags & 16 != 0,
            stored: flags & 32 != 0,
            who,
            order,
            joined_at,
        });
        Some(Opened { peer, proven, earlier: true, restore })
    }

    /// Over the room, too, which the token does not hold.
    fn tag(&self, room: &RoomId, content: &[u8]) -> hmac::Tag {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(&[u8::try_from(room.as_str().len()).unwrap_or(u8::MAX)]);
        context.update(room.as_str().as_bytes());
        context.update(content);
        context.sign()
    }

    /// Tells the events of this peer's seat from those of any other seat, and of any other process.
    pub(super) fn mark(&self, peer: PeerId) -> NonZeroU32 {
        let [a, b, c, d, ..] = self.boot;
        let [e, f, g, h, ..] = *peer.bytes();
        let mark = u32::from_be_bytes([a, b, c, d]) ^ u32::from_be_bytes([e, f, g, h]);
        NonZeroU32::new(mark).unwrap_or(NonZeroU32::MIN)
    }

    /// A number for an account (`Room::maker`), the same after a restart and not to be guessed: odd if many `share` it.
    pub(super) fn account(&self, shared: bool, name: &[u8]) -> u64 {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(&[0xff, u8::from(shared)]);
        context.update(name);
        let tag = context.sign();
        let number = tag.as_ref().first_chunk().map_or(2, |bytes| u64::from_be_bytes(*bytes));
        number.max(2) & !1 | u64::from(shared)
    }
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    /// A label; none if it is empty.
    fn label(&mut self) -> Option<Option<Arc<str>>> {
        let [length] = self.take()?;
        let (label, rest) = self.0.split_at_checked(length.into())?;
        self.0 = rest;
        let label = std::str::from_utf8(label).ok()?;
        Some((!label.is_empty()).then(|| label.into()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::rooms::Status;

    const HOUR: u64 = 3_600_000;

    /// When all processes here start: all have the same clock.
    fn start() -> Instant {
        static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
        *START.get_or_init(Instant::now)
    }

    /// So long after the start, at this time of day.
    fn later(after: u64, unix_ms: u64) -> Now {
        Now { at: start() + Duration::from_millis(after), unix_ms }
    }

    fn seal(boot: u8) -> Seal {
        Seal::new(&[7; 32], [boot; 8], start(), Duration::from_secs(60))
    }

    fn seat(user: &str) -> (Room, Member) {
        let member = Member {
            peer: PeerId::new([9; 16]),
            user: (!user.is_empty()).then(|| user.into()),
            name: Some("Ada".into()),
            session: 3,
            order: 5,
            joined_at: 9 * HOUR,
            customer: 0,
            rank: Rank::Creator,
            replaced: false,
            away: None,
        };
        let room = Room {
            id: RoomId::parse("a").unwrap(),
            kind: Kind::Room,
            capacity: 3,
            created_at: 0,
            status: Status::Active,
            members: Vec::new(),
            expires: None,
            joined: 6,
            maker: 0,
            details: None,
        };
        (room, member)
    }

    #[test]
    fn this_process_knows_its_peer_and_the_next_one_the_whole_seat() {
        let (room, member) = seat("ada");
        let token = seal(1).token(&room, &member, Rank::Member, false);
        let opened = seal(1).open(&room.id, &token, later(0, 10 * HOUR)).unwrap();
        assert!(opened.peer == member.peer && opened.restore.is_none());
        let opened = seal(2).open(&room.id, &token, later(59_999, 10 * HOUR + 59_999)).unwrap();
        let restore = opened.restore.unwrap();
        assert_eq!((restore.kind, restore.order, restore.joined_at), (Kind::Room, 5, 9 * HOUR));
        assert!(!restore.listed && !restore.stored);
        let who = restore.who;
        assert_eq!(
            (who.user.as_deref(), who.name.as_deref(), who.rank),
            (Some("ada"), Some("Ada"), Rank::Creator)
        );
    }

    #[test]
    fn both_processes_know_whether_it_was_taken_with_a_token() {
        let (room, member) = seat("ada");
        for proven in [false, true] {
            let token = seal(1).token(&room, &member, Rank::Member, proven);
            for boot in [1, 2] {
                assert_eq!(seal(boot).open(&room.id, &token, later(0, 10 * HOUR)).unwrap().proven, proven);
            }
        }
    }

    #[test]
    fn it_says_whether_the_room_is_listed_and_whether_it_is_on_disk() {
        let (mut room, member) = seat("ada");
        for (listed, stored) in [(true, false), (false, true), (true, true)] {
            let details = crate::rooms::Details { listed, stored, ..Default::default() };
            room.details = Some(Box::new(details));
            let token = seal(1).token(&room, &member, Rank::Member, false);
            let restore = seal(2).open(&room.id, &token, later(0, 10 * HOUR)).unwrap().restore.unwrap();
            assert_eq!((restore.listed, restore.stored), (listed, stored));
        }
    }

    #[test]
    fn what_a_channel_has_made_of_somebody_is_not_in_the_token() {
        let (mut room, member) = seat("ada");
        room.kind = Kind::Channel;
        for role in [Rank::Member, Rank::Moderator] {
            let token = seal(1).token(&room, &member, role, false);
            let restore = seal(2).open(&room.id, &token, later(0, 10 * HOUR)).unwrap().restore.unwrap();
            assert_eq!(restore.who.rank, role);
        }
    }

    #[test]
    fn a_label_that_is_too_long_spoils_no_token() {
        let (room, member) = seat(&"x".repeat(300));
        let token = seal(1).token(&room, &member, Rank::Member, false);
        let restore = seal(2).open(&room.id, &token, later(0, 10 * HOUR)).unwrap().restore.unwrap();
        assert_eq!((restore.who.user, restore.who.name.as_deref()), (None, Some("Ada")));
    }

    #[test]
    fn a_seat_is_not_restored_long_after_the_start_nor_when_it_is_old() {
        let (room, mut member) = seat("");
        let token = seal(1).token(&room, &member, Rank::Member, false);
        assert!(seal(2).open(&room.id, &token, later(60_000, 10 * HOUR + 60_000)).unwrap().restore.is_none());
        assert!(seal(2).open(&room.id, &token, later(0, 33 * HOUR)).unwrap().restore.is_none());
        // A clock that went back makes it young.
        member.joined_at = 100 * HOUR;
        let token = seal(1).token(&room, &member, Rank::Member, false);
        assert!(seal(2).open(&room.id, &token, later(0, 10 * HOUR)).unwrap().restore.is_some());
    }

    #[test]
    fn the_time_of_day_is_set_after_the_start_and_nobody_loses_or_gains_time() {
        let (room, member) = seat("ada");
        let token = seal(1).token(&room, &member, Rank::Member, false);
        let next = seal(2);
        for set in [9 * HOUR, 10 * HOUR, 11 * HOUR] {
            assert!(next.open(&room.id, &token, later(59_999, set)).unwrap().restore.is_some(), "{set}");
            assert!(next.open(&room.id, &token, later(60_000, set)).unwrap().restore.is_none(), "{set}");
        }
    }

    #[test]
    fn another_key_another_room_or_another_letter_open_nothing() {
        let (room, member) = seat("ada");
        let token = seal(1).token(&room, &member, Rank::Member, false);
        let other = Seal::new(&[8; 32], [1; 8], start(), Duration::from_secs(60));
        assert!(other.open(&room.id, &token, later(0, 10 * HOUR)).is_none());
        assert!(seal(1).open(&RoomId::parse("b").unwrap(), &token, later(0, 10 * HOUR)).is_none());
        for at in 0..token.len() {
            let mut letters = token.clone().into_bytes();
            letters[at] = if letters[at] == b'A' { b'Q' } else { b'A' };
            let changed = String::from_utf8(letters).unwrap();
            assert!(
                changed == token || seal(1).open(&room.id, &changed, later(0, 10 * HOUR)).is_none(),
                "{at}"
            );
        }
        for bad in ["", "AAAA", "not base64!", &"A".repeat(LONGEST + 1)] {
            assert!(seal(1).open(&room.id, bad, later(0, 0)).is_none());
        }
    }

    proptest! {
        #[test]
        fn anything_can_be_opened(token in "[A-Za-z0-9_-]{0,200}") {
            prop_assert!(seal(1).open(&RoomId::parse("a").unwrap(), &token, later(0, 0)).is_none());
        }

        #[test]
        fn labels_survive(user in "\\PC{0,30}") {
            let (room, member) = seat(&user);
            let token = seal(1).token(&room, &member, Rank::Member, false);
            prop_assert!(token.len() <= LONGEST);
            let restore = seal(2).open(&room.id, &token, later(0, 10 * HOUR)).unwrap().restore.unwrap();
            prop_assert_eq!(restore.who.user.as_deref().unwrap_or(""), user.as_str());
        }
    }
}
