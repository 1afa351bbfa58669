//! The laws of rooms, under random commands and time; and the stories of the vocabulary, one by one.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use proptest::prelude::*;
use serde_json::value::RawValue;

use super::*;

/// A house of rooms that carries out commands and remembers who was told what.
struct House {
    rules: Rules,
    start: Instant,
    now: Instant,
    rooms: BTreeMap<RoomId, Room>,
    next: u8,
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

    fn run(&mut self, id: &RoomId, command: Command<'_>) -> Result<Answer, Refusal> {
        let unix_ms = u64::try_from((self.now - self.start).as_millis()).unwrap();
        let now = Now { at: self.now, unix_ms };
        let before = self.rooms.remove(id);
        let members: BTreeSet<_> = before.iter().flat_map(|room| &room.members).map(|m| m.peer).collect();
        let waiting: BTreeSet<_> =
            before.iter().flat_map(|room| &room.details().waiting).map(|waiting| waiting.peer).collect();
        let mut room = before.clone();
        let decision = match decide(id, before.as_ref(), &command, &self.rules, now) {
            Ok(decision) => decision,
            Err(refusal) => {
                self.rooms.extend(before.map(|room| (id.clone(), room)));
                return Err(refusal);
            }
        };
        for change in decision.changes {
            Room::apply(&mut room, change, unix_ms);
            if let Some(room) = &room {
                assert!(room.members.len() <= room.capacity, "over capacity");
            }
        }
        for notice in &decision.notices {
            for peer in &notice.to {
                let waits = waiting.contains(peer);
                assert!(members.contains(peer) || waits, "told of a room it was not in: {:?}", notice.event);
                self.told.entry(*peer).or_default().push(describe(&notice.event));
            }
        }
        if let Some(room) = room {
            let stays = room.kind == Kind::Channel && room.details().belonging().next().is_some();
            let ends = room.expires.is_some();
            assert!(!room.members.is_empty() || ends || stays, "an empty room that does not end");
            let creators = room.members.iter().filter(|member| member.rank == Rank::Creator);
            let users: BTreeSet<_> = creators.map(|it| it.user.clone().ok_or(it.peer)).collect();
            assert!(users.len() <= 1, "more than one creator");
            self.rooms.insert(id.clone(), room);
        }
        Ok(decision.answer)
    }

    fn join(&mut self, id: &RoomId, kind: Kind) -> Result<PeerId, Refusal> {
        let bytes = [self.next; 16];
        self.next += 1;
        let join = Join {
            absent: Some(Absent { kind, listed: false }),
            peer: PeerId::new(bytes),
            session: u64::from(bytes[0]),
            who: Who { user: Some(format!("user{}", bytes[0] % 3).into()), ..Who::default() },
            password: None,
            maker: 0,
        };
        let peer = join.peer;
        self.run(id, Command::Join(join)).map(|answer| {
            assert_eq!(answer, Answer::Seated { peer, resumed: false, restored: false });
            peer
        })
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
            self.run(&id, Command::Tick).unwrap();
            let again = self.rooms.get(&id).and_then(Room::deadline);
            assert!(again.is_none_or(|again| again > at), "a tick that does nothing");
        }
        self.now = until;
    }

    fn told(&mut self, peer: PeerId) -> Vec<String> {
        self.told.remove(&peer).unwrap_or_default()
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
        Event::RoomChanged => "changed".into(),
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
    let options = Options { capacity, ..Options::default() };
    Command::Create { kind: Kind::Room, options, creator: Who::default(), maker: 0 }
}

fn kick(target: Target<'_>, ban: bool) -> Command<'_> {
    Command::Kick { by: By::Operator, target, ban }
}

const CLOSE: Command<'static> = Command::Close { by: By::Operator };

fn resume(peer: PeerId) -> Command<'static> {
    Command::Resume { peer, session: 9, restore: None }
}

#[test]
fn a_call_waits_becomes_active_and_ends_with_the_first_to_leave() {
    let mut house = House::new(rules());
    let id = room("a");
    let a = house.join(&id, Kind::Call).unwrap();
    assert_eq!(house.rooms[&id].status, Status::Waiting);
    let b = house.join(&id, Kind::Call).unwrap();
    assert_eq!(house.rooms[&id].status, Status::Active);
    assert_eq!(house.join(&id, Kind::Call), Err(Refusal::Full));
    house.pass(3600 * SECOND);
    house.run(&id, Command::Leave { peer: b, session: None }).unwrap();
    assert_eq!(house.told(a), ["joined", "left:left", "closed:peer-left"]);
    assert!(house.told(b).is_empty() && house.rooms.is_empty());
}

#[test]
fn a_call_that_nobody_joins_times_out_at_the_very_moment() {
    let mut house = House::new(rules());
    let id = room("a");
    let a = house.join(&id, Kind::Call).unwrap();
    house.pass(30 * SECOND - Duration::from_millis(1));
    assert!(house.told(a).is_empty());
    house.pass(Duration::from_millis(1));
    assert_eq!(house.told(a), ["timeout"]);
    assert!(house.rooms.is_empty());
}

#[test]
fn a_room_waits_for_nobody_and_goes_with_its_last_member() {
    let mut house = House::new(rules());
    let id = room("a");
    let a = house.join(&id, Kind::Room).unwrap();
    house.pass(3600 * SECOND);
    let b = house.join(&id, Kind::Call).unwrap();
    assert_eq!(house.rooms[&id].kind, Kind::Room);
    house.run(&id, Command::Leave { peer: a, session: None }).unwrap();
    assert_eq!(house.told(b), ["left:left", "changed"], "it is the heir, too");
    house.run(&id, Command::Leave { peer: b, session: None }).unwrap();
    assert!(house.rooms.is_empty());
}

#[test]
fn a_room_that_was_made_empty_ends_unless_someone_comes() {
    let mut house = House::new(rules());
    let [a, b] = ["a", "b"].map(room);
    for id in [&a, &b] {
        house.run(id, create(Some(2))).unwrap();
    }
    assert_eq!(house.run(&a, create(None)), Err(Refusal::CannotCreate));
    assert_eq!(house.run(&room("c"), create(Some(0))), Err(Refusal::CannotCreate));
    for (asked, given) in [(1, 1), (3, 3), (4, 3), (u64::MAX, 3)] {
        let id = room(&format!("c{asked}"));
        house.run(&id, create(Some(asked))).unwrap();
        assert_eq!(house.rooms[&id].capacity, given, "no more than the rules allow");
    }
    house.join(&a, Kind::Room).unwrap();
    house.pass(3600 * SECOND);
    assert_eq!(house.rooms.keys().collect::<Vec<_>>(), [&a]);
}

#[test]
fn a_lost_member_may_come_back_within_grace_to_its_own_seat() {
    let mut house = House::new(rules());
    let id = room("a");
    let a = house.join(&id, Kind::Call).unwrap();
    let b = house.join(&id, Kind::Call).unwrap();
    house.lost(&id, b);
    house.pass(29 * SECOND);
    house.signal(&id, a, None, "for b").unwrap();
    let seated = Answer::Seated { peer: b, resumed: true, restored: false };
    assert_eq!(house.run(&id, resume(b)), Ok(seated));
    house.pass(3600 * SECOND);
    assert_eq!(house.told(a), ["joined", "away", "back"]);
    assert_eq!(house.told(b), ["for b"]);
    assert_eq!(house.rooms[&id].members.len(), 2);
    // What the old connection still says about its end means nothing.
    house.run(&id, Command::Lost { peer: b, session: 1, keep: true }).unwrap();
    house.run(&id, Command::Leave { peer: b, session: Some(1) }).unwrap();
    assert!(house.rooms[&id].member(b).unwrap().away.is_none());
}

#[test]
fn a_member_that_stays_away_is_gone_when_grace_ends() {
    let mut house = House::new(rules());
    let id = room("a");
    let a = house.join(&id, Kind::Call).unwrap();
    let b = house.join(&id, Kind::Call).unwrap();
    house.lost(&id, b);
    house.pass(30 * SECOND);
    assert_eq!(house.told(a), ["joined", "away", "left:lost", "closed:peer-lost"]);
    assert_eq!(house.run(&id, resume(b)), Err(Refusal::ResumeFailed));
}

#[test]
fn without_grace_a_lost_member_is_gone_at_once() {
    let mut house = House::new(Rules { grace: Duration::ZERO, ..rules() });
    let id = room("a");
    let a = house.join(&id, Kind::Call).unwrap();
    let b = house.join(&id, Kind::Call).unwrap();
    house.lost(&id, b);
    assert_eq!(house.told(a), ["joined", "left:lost", "closed:peer-lost"]);
    assert!(house.rooms.is_empty());
}

#[test]
fn a_full_room_gives_the_longest_lost_seat_to_a_newcomer() {
    let mut house = House::new(rules());
    let id = room("a");
    let [a, b, c] = [0; 3].map(|_| house.join(&id, Kind::Room).unwrap());
    house.lost(&id, c);
    house.pass(SECOND);
    house.lost(&id, b);
    house.pass(SECOND);
    let d = house.join(&id, Kind::Room).unwrap();
    assert_eq!(house.told(a), ["joined", "joined", "away", "away", "left:lost", "joined"]);
    assert!(house.rooms[&id].member(c).is_none() && house.rooms[&id].member(d).is_some());
    // In a call too, and the call goes on.
    let id = room("b");
    let a = house.join(&id, Kind::Call).unwrap();
    let b = house.join(&id, Kind::Call).unwrap();
    house.lost(&id, b);
    house.join(&id, Kind::Call).unwrap();
    assert_eq!(house.told(a), ["joined", "away", "left:lost", "joined"]);
    house.pass(3600 * SECOND);
    assert_eq!(house.rooms[&id].members.len(), 2);
}

#[test]
fn a_target_is_a_peer_or_all_peers_of_a_user_and_never_oneself() {
    let mut house = House::new(Rules { capacity: 6, ..rules() });
    let id = room("a");
    // Users: 1, 2, 0, 1, 2, 0.
    let peers = [0; 6].map(|_| house.join(&id, Kind::Room).unwrap());
    house.told.clear();
    house.signal(&id, peers[0], Some(&peers[4].to_string()), "one").unwrap();
    house.signal(&id, peers[0], Some("user0"), "user").unwrap();
    house.signal(&id, peers[0], Some("user1"), "other device").unwrap();
    assert_eq!(house.signal(&id, peers[0], Some(&peers[0].to_string()), "me"), Err(Refusal::NoSuchPeer));
    assert_eq!(house.signal(&id, peers[0], Some("nobody"), "x"), Err(Refusal::NoSuchPeer));
    let told = peers.map(|peer| house.told(peer));
    assert_eq!(told.each_ref().map(Vec::len), [0, 0, 1, 1, 1, 1]);
    assert_eq!((told[3][0].as_str(), told[4][0].as_str()), ("other device", "one"));
}

#[test]
fn a_member_that_is_put_out_is_told_and_so_are_the_others() {
    let mut house = House::new(rules());
    let id = room("a");
    let [a, b, c] = [0; 3].map(|_| house.join(&id, Kind::Room).unwrap());
    house.told.clear();
    house.run(&id, kick(Target::Peer(b), false)).unwrap();
    assert_eq!(
        [a, b, c].map(|peer| house.told(peer)),
        [vec!["left:kicked"], vec!["closed:kicked"], vec!["left:kicked"]]
    );
    assert_eq!(house.run(&id, kick(Target::Peer(b), false)), Err(Refusal::NoSuchPeer));
    assert_eq!(house.run(&id, kick(Target::User("nobody"), false)), Err(Refusal::NoSuchPeer));
    assert_eq!(house.run(&room("b"), kick(Target::Peer(a), false)), Err(Refusal::NoSuchRoom));
    // Users: 1, 2, 0, 1.
    let d = house.join(&id, Kind::Room).unwrap();
    house.run(&id, kick(Target::User("user1"), false)).unwrap();
    assert_eq!(house.rooms[&id].members.iter().map(|m| m.peer).collect::<Vec<_>>(), [c]);
    assert_eq!(house.told(d), ["closed:kicked"]);
    // The last one takes the room along; a call ends for the other one too.
    house.run(&id, kick(Target::Peer(c), false)).unwrap();
    let [a, b] = [0; 2].map(|_| house.join(&id, Kind::Call).unwrap());
    house.run(&id, kick(Target::Peer(a), false)).unwrap();
    assert_eq!(house.told(a), ["joined", "closed:kicked"]);
    assert_eq!(house.told(b), ["left:kicked", "closed:peer-kicked"]);
    assert!(house.rooms.is_empty());
}

#[test]
fn a_banned_user_stays_out_for_as_long_as_the_room_lives() {
    let mut house = House::new(Rules { capacity: 9, ..rules() });
    let id = room("a");
    // Users: 1, 2, 0, 1.
    let [a, b, c, d] = [0; 4].map(|_| house.join(&id, Kind::Room).unwrap());
    house.run(&id, kick(Target::Peer(a), true)).unwrap();
    assert_eq!(
        house.rooms[&id].members.iter().map(|m| m.peer).collect::<Vec<_>>(),
        [b, c],
        "all of that user's"
    );
    assert_eq!(house.run(&id, resume(d)), Err(Refusal::ResumeFailed));
    house.next = 4;
    assert_eq!(house.join(&id, Kind::Room), Err(Refusal::Banned));
    house.join(&id, Kind::Room).unwrap();
    // Who is not here may be banned too, once or twice.
    for _ in 0..2 {
        house.run(&id, kick(Target::User("later"), true)).unwrap();
    }
    assert_eq!(house.rooms[&id].details().people.len(), 2);
    for n in 0..Details::MOST_PEOPLE - 2 {
        house.run(&id, kick(Target::User(&format!("u{n}")), true)).unwrap();
    }
    assert_eq!(house.run(&id, kick(Target::User("user2"), true)), Err(Refusal::TooManyPeople));
    assert!(house.rooms[&id].member(b).is_some(), "a refusal changes nothing");
    // The next room of that name knows nothing of it.
    house.run(&id, CLOSE).unwrap();
    house.next = 4;
    house.join(&id, Kind::Room).unwrap();
}

#[test]
fn a_room_that_is_ended_tells_all_its_members_once() {
    let mut house = House::new(rules());
    let id = room("a");
    let [a, b] = [0; 2].map(|_| house.join(&id, Kind::Room).unwrap());
    house.lost(&id, b);
    house.run(&id, CLOSE).unwrap();
    assert_eq!(house.told(a), ["joined", "away", "closed:deleted"]);
    assert_eq!(house.told(b), ["closed:deleted"]);
    assert!(house.rooms.is_empty());
    assert_eq!(house.run(&id, CLOSE), Err(Refusal::NoSuchRoom));
    // One without members too.
    house.run(&id, create(None)).unwrap();
    house.run(&id, CLOSE).unwrap();
    assert!(house.rooms.is_empty());
}

#[test]
fn a_seat_that_is_taken_over_is_told_though_nobody_knew_it_was_lost() {
    let mut house = House::new(rules());
    let id = room("a");
    let [a, b] = [0; 2].map(|_| house.join(&id, Kind::Room).unwrap());
    house.run(&id, resume(b)).unwrap();
    assert_eq!(house.told(a), ["joined", "back"]);
    assert!(house.told(b).is_empty());
}

#[test]
fn of_two_members_exactly_one_is_polite() {
    let mut house = House::new(rules());
    let id = room("a");
    (0..3).for_each(|_| _ = house.join(&id, Kind::Room).unwrap());
    let members = &house.rooms[&id].members;
    for me in members {
        for them in members.iter().filter(|them| them.peer != me.peer) {
            assert_ne!(Room::polite(me, them), Room::polite(them, me));
        }
    }
}

#[test]
fn outsiders_are_refused_whatever_they_ask() {
    let mut house = House::new(rules());
    let [a, b] = ["a", "b"].map(room);
    let inside = house.join(&a, Kind::Room).unwrap();
    let outside = house.join(&b, Kind::Room).unwrap();
    let data: &RawValue = serde_json::from_str("1").unwrap();
    let message = message(outside, "hi");
    for command in [
        Command::Signal { from: outside, to: None, kind: "offer", data },
        Command::Chat(&message),
        Command::Leave { peer: outside, session: None },
        Command::Lost { peer: outside, session: 2, keep: true },
        Command::Ask { peer: outside },
    ] {
        assert_eq!(house.run(&a, command.clone()), Err(Refusal::NotAMember), "{command:?}");
        assert_eq!(house.run(&room("nowhere"), command), Err(Refusal::NoSuchRoom));
    }
    assert!(house.told(inside).is_empty());
}

#[derive(Clone, Debug)]
enum Step {
    Join(u8, Kind),
    Leave(u8, usize),
    Lose(u8, usize),
    Resume(u8, u8),
    Signal(u8, usize),
    Kick(u8, usize, bool),
    Close(u8),
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let kind = prop_oneof![Just(Kind::Call), Just(Kind::Room)];
    prop_oneof![
        4 => (0..3_u8, kind).prop_map(|(room, kind)| Step::Join(room, kind)),
        1 => (0..3_u8, 0..4_usize).prop_map(|(room, who)| Step::Leave(room, who)),
        2 => (0..3_u8, 0..4_usize).prop_map(|(room, who)| Step::Lose(room, who)),
        2 => (0..3_u8, 0..60_u8).prop_map(|(room, token)| Step::Resume(room, token)),
        3 => (0..3_u8, 0..4_usize).prop_map(|(room, who)| Step::Signal(room, who)),
        1 => (0..3_u8, 0..4_usize, any::<bool>()).prop_map(|(room, who, ban)| Step::Kick(room, who, ban)),
        1 => (0..3_u8).prop_map(Step::Close),
        2 => (0..20_000_u64).prop_map(Step::Pass),
    ]
}

proptest! {
    /// Capacity, who is told, empty rooms and deadlines are asserted by the house itself at every step.
    #[test]
    fn the_laws_hold_under_any_commands_at_any_time(
        steps in prop::collection::vec(step(), 1..60),
        grace in prop_oneof![Just(0), Just(10_u64)],
        waiting in prop_oneof![Just(0), Just(15_u64)],
    ) {
        let grace = grace * SECOND.as_secs();
        let rules = Rules {
            capacity: 3,
            waiting_timeout: Duration::from_secs(waiting),
            grace: Duration::from_secs(grace),
            ..rules()
        };
        let mut house = House::new(rules);
        let mut said = 0;
        for step in steps {
            let name = |n: u8| room(&format!("r{n}"));
            let who = |house: &House, id: &RoomId, n: usize| {
                house.rooms.get(id).and_then(|room| room.members.get(n)).map(|member| member.peer)
            };
            match step {
                Step::Join(n, kind) => drop(house.join(&name(n), kind)),
                Step::Leave(n, m) => {
                    if let Some(peer) = who(&house, &name(n), m) {
                        house.run(&name(n), Command::Leave { peer, session: None }).unwrap();
                        prop_assert!(house.rooms.get(&name(n)).is_none_or(|r| r.member(peer).is_none()));
                    }
                }
                Step::Lose(n, m) => {
                    if let Some(peer) = who(&house, &name(n), m) {
                        house.lost(&name(n), peer);
                    }
                }
                Step::Resume(n, token) => {
                    let peer = PeerId::new([token; 16]);
                    let command = Command::Resume { peer, session: 1000, restore: None };
                    if let Ok(Answer::Seated { peer, resumed, .. }) = house.run(&name(n), command) {
                        prop_assert!(resumed && peer == PeerId::new([token; 16]));
                        prop_assert!(house.rooms[&name(n)].member(peer).unwrap().away.is_none());
                    }
                }
                Step::Signal(n, m) => {
                    if let Some(from) = who(&house, &name(n), m) {
                        said += 1;
                        house.signal(&name(n), from, None, &format!("#{said:05}")).unwrap();
                    }
                }
                Step::Kick(n, m, ban) => {
                    if let Some(peer) = who(&house, &name(n), m) {
                        let user = house.rooms[&name(n)].member(peer).unwrap().user.clone().unwrap();
                        house.run(&name(n), kick(Target::Peer(peer), ban)).unwrap();
                        if let Some(room) = house.rooms.get(&name(n)) {
                            prop_assert!(room.member(peer).is_none());
                            prop_assert!(!ban || (room.details().standing(&user) == Some(Standing::Banned)));
                        }
                    }
                }
                Step::Close(n) => {
                    let there = house.rooms.contains_key(&name(n));
                    prop_assert_eq!(house.run(&name(n), CLOSE).is_ok(), there);
                    prop_assert!(!house.rooms.contains_key(&name(n)));
                }
                Step::Pass(ms) => house.pass(Duration::from_millis(ms)),
            }
            for room in house.rooms.values() {
                for away in room.members.iter().filter_map(|member| member.away) {
                    prop_assert!(away.until > house.now, "away beyond grace");
                }
                let alone = room.kind == Kind::Call && room.joined == 1;
                prop_assert!(!alone || waiting == 0 || room.expires.is_some(), "a call that waits for ever");
                prop_assert!(room.members.is_sorted_by_key(|member| member.order));
                let out = |member: &Member| member.user.as_deref().is_some_and(|user| room.details().standing(user) == Some(Standing::Banned));
                prop_assert!(!room.members.iter().any(out), "a banned user is in");
            }
        }
        // What one sender says, each receiver hears in that order.
        for heard in house.told.values() {
            let numbers: Vec<_> = heard.iter().filter(|text| text.starts_with('#')).collect();
            prop_assert!(numbers.is_sorted(), "out of order: {numbers:?}");
        }
        // Left alone and all lost, everything ends.
        for id in house.rooms.keys().cloned().collect::<Vec<_>>() {
            while let Some(peer) = house.rooms.get(&id).and_then(|r| {
                r.members.iter().find(|m| m.away.is_none()).map(|m| m.peer)
            }) {
                house.lost(&id, peer);
            }
        }
        house.pass(3600 * SECOND);
        prop_assert!(house.rooms.is_empty());
    }
}
