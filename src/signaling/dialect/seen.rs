//! What is looked up in a room once for all who are told of something, not once for each of them: a room may have a thousand
//! members, and all of them are told.

use std::cell::Cell;
use std::cell::OnceCell;

use smallvec::SmallVec;

use super::Facts;
use crate::rooms::Member;
use crate::rooms::PeerId;
use crate::rooms::Room;

/// What is known of a room while one event is told; nothing is looked up before somebody asks for it. Of one room, one event.
#[derive(Default)]
pub(in crate::signaling) struct Seen {
    /// Where the last receiver was found: they are told in the order of their seats.
    me: Cell<usize>,
    them: Cell<Sought>,
    some: OnceCell<SmallVec<[usize; 2]>>,
    facts: OnceCell<Facts>,
    /// How many seats were looked at.
    #[cfg(test)]
    looks: Cell<usize>,
}

#[derive(Clone, Copy, Default)]
enum Sought {
    #[default]
    NotYet,
    At(usize),
    Nowhere,
}

impl Seen {
    /// The receiver's seat.
    pub(super) fn me<'r>(&self, room: &'r Room, me: PeerId) -> Option<&'r Member> {
        let (before, after) = room.members.split_at_checked(self.me.get())?;
        let is_me = |member: &Member| self.looks_at(1) && member.peer == me;
        let at = match after.iter().position(is_me) {
            Some(at) => before.len() + at,
            None => before.iter().position(is_me)?,
        };
        self.me.set(at);
        room.members.get(at)
    }

    /// The seat of whom it is about.
    pub(super) fn them<'r>(&self, room: &'r Room, peer: PeerId) -> Option<&'r Member> {
        if matches!(self.them.get(), Sought::NotYet) {
            let at = room.members.iter().position(|member| self.looks_at(1) && member.peer == peer);
            self.them.set(at.map_or(Sought::Nowhere, Sought::At));
        }
        match self.them.get() {
            Sought::At(at) => room.members.get(at),
            Sought::NotYet | Sought::Nowhere => None,
        }
    }

    /// The seats of some, in the room's order.
    pub(super) fn some<'r>(
        &self,
        room: &'r Room,
        peers: &[PeerId],
    ) -> impl Iterator<Item = &'r Member> + use<'_, 'r> {
        let some = self.some.get_or_init(|| {
            self.looks_at(room.members.len());
            let members = room.members.iter().enumerate();
            members.filter(|(_, member)| peers.contains(&member.peer)).map(|(at, _)| at).collect()
        });
        some.iter().filter_map(|at| room.members.get(*at))
    }

    /// What anybody may know of it.
    pub(super) fn facts(&self, room: &Room) -> &Facts {
        self.facts.get_or_init(|| {
            self.looks_at(room.members.len());
            Facts::of(room)
        })
    }

    /// Counts seats that are looked at, in tests. It is always true.
    #[cfg_attr(not(test), expect(clippy::unused_self, reason = "it counts in tests only"))]
    fn looks_at(&self, _seats: usize) -> bool {
        #[cfg(test)]
        self.looks.set(self.looks.get() + _seats);
        true
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use crate::rooms::Details;
    use crate::rooms::Event;
    use crate::rooms::Kind;
    use crate::rooms::LeftReason;
    use crate::rooms::Peers;
    use crate::rooms::Person;
    use crate::rooms::Rank;
    use crate::rooms::RoomId;
    use crate::rooms::Standing;
    use crate::rooms::Status;
    use crate::signaling::dialect::ALL;
    use crate::signaling::dialect::Pieces;
    use crate::signaling::dialect::Rendered;

    use super::*;

    fn peer(n: usize) -> PeerId {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&n.to_be_bytes());
        PeerId::new(id)
    }

    /// A channel with so many in it.
    fn channel(members: usize) -> Room {
        let user = |n: usize| -> Arc<str> { format!("user {n}").into() };
        let member = |n: usize| Member {
            peer: peer(n),
            user: Some(user(n)),
            name: None,
            session: 0,
            order: n as u64,
            joined_at: 0,
            rank: Rank::Member,
            away: None,
            customer: 0,
            replaced: false,
        };
        let person = |n| (user(n), Person { standing: Standing::Member, name: None, since: 0, by: None });
        Room {
            id: RoomId::parse("r").unwrap(),
            kind: Kind::Channel,
            capacity: members,
            created_at: 0,
            status: Status::Active,
            members: (0..members).map(member).collect(),
            expires: None,
            joined: members as u64,
            maker: 0,
            details: Some(Box::new(Details {
                people: (0..members).map(person).collect(),
                ..Details::default()
            })),
        }
    }

    /// The bytes that all members are told of an event, and how many seats were looked at for that.
    fn tell_all(room: &Room, event: &Event<'_>, to: &[PeerId]) -> (usize, usize) {
        let (mut bytes, mut looks) = (0, 0);
        for dialect in ALL {
            let seen = Seen::default();
            let Some(row) = dialect.row(event) else { continue };
            for &me in to {
                let pieces = Pieces::of(event, &room.id, Some(room), me, &seen);
                bytes += serde_json::to_vec(&Rendered(row, pieces)).unwrap().len();
            }
            looks += seen.looks.get();
        }
        (bytes, looks)
    }

    #[test]
    fn telling_all_of_a_room_takes_as_much_for_each_in_a_big_one() {
        let rooms = [channel(200), channel(1000)];
        let last = |room: &Room| room.members[room.members.len() - 1].peer;
        let events: [fn(PeerId) -> Event<'static>; 4] = [
            |peer| Event::PeerJoined { peer },
            |peer| Event::PeerReconnected { peer },
            |_| Event::PeerLeft {
                peer: peer(9999),
                user: None,
                name: None,
                reason: LeftReason::Left,
                last: true,
            },
            |peer| Event::RoomChanged { ranks: Peers::from_slice(&[peer]) },
        ];
        for event in events {
            let [few, many] = rooms.each_ref().map(|room| {
                let to = room.members.iter().map(|it| it.peer).collect::<Vec<_>>();
                tell_all(room, &event(last(room)), &to)
            });
            eprintln!("{:?}: {few:?} {many:?}", event(peer(0)));
            assert!(many.0 <= few.0 * 6, "{} bytes to 200, {} to 1000", few.0, many.0);
            // Each has its own seat looked for, and finds it at once.
            assert!(few.1 >= 200 && many.1 <= few.1 * 6, "{} looks for 200, {} for 1000", few.1, many.1);
        }
    }

    #[test]
    fn seats_are_found_in_any_order_and_who_has_none_is_not() {
        let room = channel(5);
        let seen = Seen::default();
        for n in [3, 0, 4, 4, 1, 2] {
            assert_eq!(seen.me(&room, peer(n)).map(|it| it.peer), Some(peer(n)));
            assert!(seen.me(&room, peer(7)).is_none());
        }
        assert_eq!(seen.them(&room, peer(2)).map(|it| it.peer), Some(peer(2)));
        let seen = Seen::default();
        assert!((0..2).all(|_| seen.them(&room, peer(7)).is_none()));
        let some = |seen: &Seen| {
            seen.some(&room, &[peer(4), peer(7), peer(1)]).map(|it| it.peer).collect::<Vec<_>>()
        };
        assert_eq!((some(&seen), some(&seen)), (vec![peer(1), peer(4)], vec![peer(1), peer(4)]));
    }
}
