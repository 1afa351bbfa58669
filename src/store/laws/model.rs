//! Random deeds, done to a store and to the rules alone: whatever is done, and however often it starts anew, they agree.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// Something a user may do to one of a few rooms.
#[derive(Clone, Debug)]
enum Deed {
    Create(u8, u8, bool),
    Join(u8, u8),
    Leave(u8, u8),
    Chat(u8, u8, Option<u8>),
    Invite(u8, u8, u8),
    Kick(u8, u8, u8, bool),
    Pardon(u8, u8, u8),
    Promote(u8, u8, u8, bool),
    Lock(u8, u8, bool, bool),
    Close(u8, u8),
    Pass,
    Restart,
}

fn deeds() -> impl Strategy<Value = Deed> {
    let (room, user) = (0..3_u8, 0..4_u8);
    prop_oneof![
        2 => (room.clone(), user.clone(), any::<bool>()).prop_map(|(r, u, channel)| Deed::Create(r, u, channel)),
        4 => (room.clone(), user.clone()).prop_map(|(r, u)| Deed::Join(r, u)),
        1 => (room.clone(), user.clone()).prop_map(|(r, u)| Deed::Leave(r, u)),
        4 => (room.clone(), user.clone(), proptest::option::of(0..3_u8)).prop_map(|(r, u, i)| Deed::Chat(r, u, i)),
        2 => (room.clone(), user.clone(), user.clone()).prop_map(|(r, u, v)| Deed::Invite(r, u, v)),
        1 => (room.clone(), user.clone(), user.clone(), any::<bool>()).prop_map(|(r, u, v, ban)| Deed::Kick(r, u, v, ban)),
        1 => (room.clone(), user.clone(), user.clone()).prop_map(|(r, u, v)| Deed::Pardon(r, u, v)),
        1 => (room.clone(), user.clone(), user.clone(), any::<bool>()).prop_map(|(r, u, v, m)| Deed::Promote(r, u, v, m)),
        1 => (room.clone(), user.clone(), any::<bool>(), any::<bool>()).prop_map(|(r, u, l, w)| Deed::Lock(r, u, l, w)),
        1 => (room, user).prop_map(|(r, u)| Deed::Close(r, u)),
        1 => Just(Deed::Pass),
        1 => Just(Deed::Restart),
    ]
}

/// When something was said, its sender's id for it, and the sender.
type Line = (u64, Option<Arc<str>>, Arc<str>);

/// Rooms as the rules alone make them, and what was said in those that are kept.
#[derive(Default)]
struct Model {
    rooms: BTreeMap<RoomId, Room>,
    said: BTreeMap<RoomId, Vec<Line>>,
}

impl Model {
    fn run(&mut self, id: &RoomId, command: &Command<'_>, now: Now) -> Result<Said, Refusal> {
        let decision = rooms::decide(id, self.rooms.get(id), command, &rules(), now)?;
        let mut room = self.rooms.remove(id);
        for change in decision.changes {
            if let rooms::Change::Said(message) = &change
                && room.as_ref().is_some_and(Room::is_stored)
            {
                let said = self.said.entry(id.clone()).or_default();
                // What the room has forgotten, or had before a restart, its ledger remembers.
                if let Some(client_id) = &message.client_id
                    && let Some((at, ..)) = said
                        .iter()
                        .find(|(_, other, by)| other.as_ref() == Some(client_id) && *by == message.by())
                {
                    let said = self::message(*at, 0, &Who::default(), None).id;
                    self.rooms.extend(room.map(|room| (id.clone(), room)));
                    return Ok(Said::Said { id: said, at: *at });
                }
                said.push((message.at, message.client_id.clone(), message.by()));
            }
            Room::apply(&mut room, change, now.unix_ms);
        }
        match room {
            Some(room) => {
                self.rooms.insert(id.clone(), room);
            }
            None => {
                self.said.remove(id);
            }
        }
        Ok(decision.answer)
    }

    fn restart(&mut self, at: Instant) {
        self.rooms.retain(|_, room| room.is_stored());
        for room in self.rooms.values_mut() {
            room.members.clear();
            room.joined = 0;
            room.status = rooms::Status::Waiting;
            room.expires = rooms::expires_when_loaded(room, &rules(), at);
            if let Some(details) = &mut room.details {
                details.waiting.clear();
                details.said.clear();
                details.log = None;
            }
        }
    }
}

fn live_through(deeds: Vec<Deed>) {
    let folder = tempfile::tempdir().unwrap();
    let way = Way::Sqlite(folder.path().join("callgate.db"), folder);
    let (mut now, mut model) = (now(), Model::default());
    let mut store = way.open(MANY, now.at);
    let users = ["amy", "bob", "cy", "dan"];
    let names = ["r0", "r1", "r2"].map(id);
    for (n, deed) in deeds.into_iter().enumerate() {
        now.unix_ms += 1;
        let unique = now.unix_ms;
        let mut both = |room: u8, command: Command<'_>| {
            let room = &names[usize::from(room)];
            assert_eq!(run(&store, room, &command, now), model.run(room, &command, now), "{n}: {command:?}");
        };
        let name = |u: u8| users[usize::from(u)];
        match deed {
            Deed::Create(r, u, channel) => {
                both(r, create(if channel { Kind::Channel } else { Kind::Room }, user(name(u)), 0));
            }
            Deed::Join(r, u) => both(r, join(Some(Kind::Room), u + 1, user(name(u)))),
            Deed::Leave(r, u) => both(r, Command::Leave { peer: peer(u + 1), session: None }),
            Deed::Chat(r, u, own) => {
                let own = own.map(|own| own.to_string());
                both(r, Command::Chat(&message(unique, u + 1, &user(name(u)), own.as_deref())));
            }
            Deed::Invite(r, u, v) => {
                both(r, Command::Invite { by: By::User(name(u)), user: name(v), customer: u.into() })
            }
            Deed::Kick(r, u, v, ban) => {
                both(r, Command::Kick { by: By::User(name(u)), target: Target::User(name(v)), ban });
            }
            Deed::Pardon(r, u, v) => both(r, Command::Pardon { by: By::User(name(u)), user: name(v) }),
            Deed::Promote(r, u, v, moderator) => {
                let target = Target::User(name(v));
                both(r, Command::Promote { by: By::User(name(u)), target, moderator });
            }
            Deed::Lock(r, u, locked, lobby) => {
                both(r, Command::Lock { by: By::User(name(u)), locked: Some(locked), lobby: Some(lobby) });
            }
            Deed::Close(r, u) => both(r, Command::Close { by: By::User(name(u)) }),
            Deed::Pass => {
                now.at += 20 * SECOND;
                for id in store.due(now.at) {
                    assert_eq!(run(&store, &id, &Command::Tick, now), model.run(&id, &Command::Tick, now));
                }
            }
            Deed::Restart => {
                drop(store);
                store = way.open(MANY, now.at);
                model.restart(now.at);
            }
        }
        for id in &names {
            let shown = |room: &Room| (lasting(room), room.members.len(), room.expires, room.status);
            assert_eq!(look(&store, id, |room| room.map(shown)), model.rooms.get(id).map(shown), "{n}");
        }
    }
    for id in &names {
        let mut kept: Vec<u64> =
            wait(store.history(id, None, 1000)).unwrap().iter().map(|it| it.at).collect();
        kept.reverse();
        let said: Vec<u64> = model.said.get(id).into_iter().flatten().map(|(at, ..)| *at).collect();
        assert_eq!(kept, said[said.len().saturating_sub(HISTORY)..]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_done_the_rooms_are_those_of_the_rules_after_any_restart(deeds in proptest::collection::vec(deeds(), 1..60)) {
        live_through(deeds);
    }
}
