//! The laws of rooms, under random commands and time; and the stories of the vocabulary, one by one.

mod creator;
mod entering;
mod laws;
mod lobby;
mod people;
mod restart;
mod seats;

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use serde_json::value::RawValue;

use super::*;

/// A house of rooms that carries out commands, remembers who was told what, and looks at every decision.
struct House {
    rules: Rules,
    start: Instant,
    now: Instant,
    rooms: BTreeMap<RoomId, Room>,
    next: u16,
    /// Per peer, what it was told, in order.
    told: BTreeMap<PeerId, Vec<String>>,
}

const SECOND: Duration = Duration::from_secs(1);

fn room(name: &str) -> RoomId {
    RoomId::parse(name).unwrap()
}

fn rules() -> Rules {
    Rules {
        capacity: 3,
        channel_capacity: 5,
        waiting_timeout: 30 * SECOND,
        grace: 30 * SECOND,
        idle: 3600 * SECOND,
    }
}

impl House {
    fn new(rules: Rules) -> House {
        let start = Instant::now();
        House { rules, start, now: start, rooms: BTreeMap::new(), next: 1, told: BTreeMap::new() }
    }

    fn unix_ms(&self) -> u64 {
        u64::try_from((self.now - self.start).as_millis()).unwrap()
    }

    fn run(&mut self, id: &RoomId, command: Command<'_>) -> Result<Answer, Refusal> {
        let unix_ms = self.unix_ms();
        let now = Now { at: self.now, unix_ms };
        let before = self.rooms.remove(id);
        let members: BTreeSet<_> = before.iter().flat_map(|room| &room.members).map(|m| m.peer).collect();
        let waiting: BTreeSet<_> =
            before.iter().flat_map(|room| &room.details().waiting).map(|waiting| waiting.peer).collect();
        let mut room = before.clone();
        let decision = decide(id, before.as_ref(), &command, &self.rules, now);
        // What has to be written is decided twice.
        let again = decide(id, before.as_ref(), &command, &self.rules, now);
        assert_eq!(format!("{decision:?}"), format!("{again:?}"));
        let decision = match decision {
            Ok(decision) => decision,
            Err(refusal) => {
                self.rooms.extend(before.map(|room| (id.clone(), room)));
                return Err(refusal);
            }
        };
        let mut came = BTreeSet::new();
        for change in decision.changes {
            if let Change::Seat(member) = &change {
                came.insert(member.peer);
            }
            Room::apply(&mut room, change, unix_ms);
            if let Some(room) = &room {
                assert!(room.members.len() <= room.capacity, "over capacity");
            }
        }
        for notice in &decision.notices {
            for peer in &notice.to {
                let may = match &notice.event {
                    Event::Admitted | Event::Denied => waiting.contains(peer),
                    // A newcomer who may let others in.
                    Event::PeerWaiting { .. } => members.contains(peer) || came.contains(peer),
                    _ => members.contains(peer),
                };
                assert!(may, "told of a room it was not in: {:?}", notice.event);
                self.told.entry(*peer).or_default().push(describe(&notice.event));
            }
        }
        if let Some(room) = room {
            sound(&room);
            self.rooms.insert(id.clone(), room);
        }
        Ok(decision.answer)
    }

    /// A fresh id for a peer.
    fn peer(&mut self) -> PeerId {
        self.next += 1;
        let [high, low] = (self.next - 1).to_be_bytes();
        let mut bytes = [low; 16];
        bytes[1] ^= high;
        PeerId::new(bytes)
    }

    /// A member of one of three users comes to a room that is made if it is not there.
    fn join(&mut self, id: &RoomId, kind: Kind) -> Result<PeerId, Refusal> {
        let user = format!("user{}", self.next % 3);
        let join = Join { absent: Some(Absent { kind, listed: false }), ..self.who(Some(&user)) };
        self.take_seat(id, join)
    }

    /// Somebody comes to a room that is there.
    fn enter(&mut self, id: &RoomId, user: Option<&str>) -> Result<PeerId, Refusal> {
        let join = self.who(user);
        self.take_seat(id, join)
    }

    fn take_seat(&mut self, id: &RoomId, join: Join) -> Result<PeerId, Refusal> {
        let peer = join.peer;
        self.run(id, Command::Join(join)).map(|answer| {
            assert_eq!(answer, Answer::Seated { peer, resumed: false, restored: false });
            peer
        })
    }

    /// Somebody comes and has to wait.
    fn wait(&mut self, id: &RoomId, user: Option<&str>) -> PeerId {
        let join = self.who(user);
        let peer = join.peer;
        assert_eq!(self.run(id, Command::Join(join)), Ok(Answer::Waits { peer }));
        peer
    }

    fn who(&mut self, user: Option<&str>) -> Join {
        let peer = self.peer();
        Join {
            absent: None,
            peer,
            session: u64::from(peer.bytes()[0]),
            who: Who { user: user.map(Arc::from), ..Who::default() },
            proven: false,
            password: None,
            maker: 0,
            customer: 0,
        }
    }

    fn signal(&mut self, id: &RoomId, from: PeerId, to: Option<&str>, data: &str) -> Result<Answer, Refusal> {
        let data = serde_json::value::to_raw_value(data).unwrap();
        self.run(id, Command::Signal { from, to, kind: "offer", data: &data })
    }

    fn lost(&mut self, id: &RoomId, peer: PeerId) {
        let session = self.rooms.get(id).and_then(|room| room.member(peer)).map_or(0, |m| m.session);
        self.run(id, Command::Lost { peer, session, keep: true }).unwrap();
    }

    /// Lets time pass, ticking every room exactly when it asks for it.
    fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some((at, id)) =
            self.rooms.values().filter_map(|r| r.deadline().map(|at| (at, r.id.clone()))).min()
        {
            if at > until {
                break;
            }
            assert!(at >= self.now, "a deadline was overlooked");
            self.now = at;
            let before = format!("{:?}", self.rooms[&id]);
            self.run(&id, Command::Tick).unwrap();
            let after = self.rooms.get(&id).map(|room| format!("{room:?}"));
            assert_ne!(after, Some(before), "a tick that does nothing");
        }
        self.now = until;
    }

    fn told(&mut self, peer: PeerId) -> Vec<String> {
        self.told.remove(&peer).unwrap_or_default()
    }

    fn rank(&self, id: &RoomId, peer: PeerId) -> Rank {
        self.rooms[id].member(peer).unwrap().rank
    }

    fn creator(&self, id: &RoomId) -> Option<&str> {
        self.rooms[id].details().creator.as_deref()
    }
}

/// What holds of every room at all times.
fn sound(room: &Room) {
    let details = room.details();
    assert!(details.people.len() <= Details::MOST_PEOPLE && details.waiting.len() <= Details::MOST_WAITING);
    assert!(details.said.len() <= Details::MOST_SAID);
    let invited = details.people.values().filter(|person| person.standing == Standing::Invited);
    assert!(invited.filter(|person| person.by.is_some()).count() <= Details::MOST_INVITED);
    let comes_from = |person: &Person| match (&person.by, person.standing) {
        (None, _) | (Some(_), Standing::Invited) => true,
        // From where it came, and nothing else.
        (Some(by), Standing::Member) => by.user.is_none() && by.customer != 0,
        (Some(_), Standing::Moderator | Standing::Banned) => false,
    };
    assert!(details.people.values().all(comes_from));
    let belongs = details.belonging().next().is_some();
    let stays = room.kind == Kind::Channel && belongs;
    assert!(!room.members.is_empty() || room.expires.is_some() || stays, "an empty room that does not end");
    assert!(
        room.members.is_empty() || room.kind == Kind::Call || room.expires.is_none(),
        "it ends with people in it"
    );
    assert!(room.members.is_sorted_by(|a, b| a.order < b.order), "two in one place");
    assert!(room.members.iter().all(|member| member.order < room.joined));
    // One creator: a user or a peer without one; and nobody beside the one on record.
    let whose = |member: &Member| member.user.clone().ok_or(member.peer);
    let creators: BTreeSet<_> =
        room.members.iter().filter(|it| it.rank == Rank::Creator).map(whose).collect();
    assert!(creators.len() <= 1, "more than one creator");
    let creator = details.creator.clone().map(Ok).or_else(|| creators.iter().next().cloned());
    assert!(creators.iter().all(|it| Some(it) == creator.as_ref()), "{creators:?} beside {creator:?}");
    assert!(
        room.members.iter().all(|it| Some(whose(it)) != creator || it.rank == Rank::Creator),
        "a creator's seat that is none"
    );
    assert!(creator.is_some() || room.members.is_empty() || room.kind == Kind::Channel, "nobody's room");
    for waiting in &details.waiting {
        assert!(room.member(waiting.peer).is_none(), "it waits and sits");
        let standing = waiting.user.as_deref().and_then(|user| details.standing(user));
        assert_ne!(standing, Some(Standing::Banned), "it waits and may not come in");
    }
}

fn describe(event: &Event<'_>) -> String {
    match event {
        Event::PeerJoined { .. } => "joined".into(),
        Event::PeerLeft { reason, .. } => format!("left:{}", reason.name()),
        Event::PeerAway { .. } => "away".into(),
        Event::PeerReconnected { .. } => "back".into(),
        Event::PeerWaiting { .. } => "waits".into(),
        Event::PeerNotWaiting { .. } => "waits-not".into(),
        Event::Admitted => "admitted".into(),
        Event::Denied => "denied".into(),
        Event::RoomChanged { .. } => "changed".into(),
        Event::RoomClosed { reason } => format!("closed:{}", reason.name()),
        Event::RoomTimeout => "timeout".into(),
        Event::Signal { data, .. } => data.get().trim_matches('"').into(),
        Event::Chat(message) => format!("chat:{}", message.text),
    }
}

fn message(from: PeerId, text: &str) -> Arc<Message> {
    Arc::new(Message {
        id: PeerId::new([200; 16]),
        from,
        user: None,
        name: None,
        text: text.into(),
        attachments: None,
        at: 0,
        client_id: None,
    })
}

fn create(capacity: Option<u64>) -> Command<'static> {
    made(Kind::Room, None, Options { capacity, ..Options::default() })
}

/// A room is made, by a user or by nobody.
fn made(kind: Kind, creator: Option<&str>, options: Options) -> Command<'static> {
    let creator = Who { user: creator.map(Arc::from), ..Who::default() };
    Command::Create { kind, options, creator, maker: 0 }
}

fn kick(target: Target<'_>, ban: bool) -> Command<'_> {
    Command::Kick { by: By::Operator, target, ban }
}

fn invite<'a>(by: By<'a>, user: &'a str) -> Command<'a> {
    Command::Invite { by, user, customer: 0 }
}

fn lock(by: By<'_>, locked: Option<bool>, lobby: Option<bool>) -> Command<'_> {
    Command::Lock { by, locked, lobby }
}

fn leave(peer: PeerId) -> Command<'static> {
    Command::Leave { peer, session: None }
}

const CLOSE: Command<'static> = Command::Close { by: By::Operator };

fn resume(peer: PeerId) -> Command<'static> {
    Command::Resume { peer, session: 9, customer: 0, holder: Holder::Anybody, restore: None }
}
