//! The laws, under any commands at any time. Capacity, who is told, whose a room is, deadlines, and that two decisions of the same
//! are the same: all that the house itself looks at, at every step.

use proptest::prelude::*;

use super::restart::restart;
use super::*;

/// Who does something: the operator, a member, or a user who may not be there.
#[derive(Clone, Copy, Debug)]
enum Power {
    Operator,
    Member(usize),
    User(u8),
}

#[derive(Clone, Copy, Debug)]
enum Whom {
    Member(usize),
    User(u8),
}

#[derive(Clone, Debug)]
enum Step {
    Create { kind: Kind, creator: u8, flags: [bool; 4], maker: u64 },
    Join { kind: Option<Kind>, user: u8, password: u8, token: bool, maker: u64, customer: u32 },
    Leave(usize),
    StopWaiting(usize, bool),
    Lose(usize, bool),
    Resume(usize, u32, u8),
    Signal(usize, Option<u8>),
    Chat(usize, Option<u8>),
    Kick(Power, Whom, bool),
    Pardon(Power, u8),
    Lock(Power, Option<bool>, Option<bool>),
    Admit(Power, usize, bool),
    Invite(Power, u8),
    Promote(Power, Whom, bool),
    Close(Power),
    Pass(u64),
    Restart,
}

/// Users 0 to 3; 4 and above: nobody in particular.
fn user(n: u8) -> Option<Arc<str>> {
    (n < 4).then(|| format!("user{n}").into())
}

fn step() -> impl Strategy<Value = (u8, Step)> {
    let kind = || prop_oneof![Just(Kind::Call), Just(Kind::Room), Just(Kind::Channel)];
    let made = || prop_oneof![Just(None), Just(Some(Kind::Call)), Just(Some(Kind::Room))];
    let by = || prop_oneof![1 => Just(Power::Operator), 3 => (0..5_usize).prop_map(Power::Member), 2 => (0..4_u8).prop_map(Power::User)];
    let whom = || prop_oneof![(0..5_usize).prop_map(Whom::Member), (0..4_u8).prop_map(Whom::User)];
    let flag = || prop_oneof![Just(None), Just(Some(false)), Just(Some(true))];
    let yes = any::<bool>;
    let step = prop_oneof![
        3 => (kind(), 0..6_u8, any::<[bool; 4]>(), 0..3_u64)
            .prop_map(|(kind, creator, flags, maker)| Step::Create { kind, creator, flags, maker }),
        10 => (made(), 0..6_u8, 0..3_u8, prop::bool::weighted(0.05), 0..3_u64, 0..3_u32).prop_map(
            |(kind, user, password, token, maker, customer)| Step::Join { kind, user, password, token, maker, customer }
        ),
        2 => (0..5_usize).prop_map(Step::Leave),
        1 => (0..3_usize, yes()).prop_map(|(n, lost)| Step::StopWaiting(n, lost)),
        3 => (0..5_usize, prop::bool::weighted(0.8)).prop_map(|(n, keep)| Step::Lose(n, keep)),
        4 => (0..200_usize, 0..3_u32, 0..6_u8).prop_map(|(n, customer, holder)| Step::Resume(n, customer, holder)),
        2 => (0..5_usize, prop::option::of(0..4_u8)).prop_map(|(n, to)| Step::Signal(n, to)),
        2 => (0..5_usize, prop::option::of(0..3_u8)).prop_map(|(n, id)| Step::Chat(n, id)),
        2 => (by(), whom(), yes()).prop_map(|(by, whom, ban)| Step::Kick(by, whom, ban)),
        1 => (by(), 0..4_u8).prop_map(|(by, user)| Step::Pardon(by, user)),
        1 => (by(), flag(), flag()).prop_map(|(by, locked, lobby)| Step::Lock(by, locked, lobby)),
        3 => (by(), 0..3_usize, prop::bool::weighted(0.8)).prop_map(|(by, n, admit)| Step::Admit(by, n, admit)),
        2 => (by(), 0..4_u8).prop_map(|(by, user)| Step::Invite(by, user)),
        2 => (by(), whom(), yes()).prop_map(|(by, whom, moderator)| Step::Promote(by, whom, moderator)),
        1 => prop_oneof![1 => Just(Power::User(0)), 1 => Just(Power::Member(0))].prop_map(Step::Close),
        3 => (0..20_000_u64).prop_map(Step::Pass),
        1 => Just(Step::Restart),
    ];
    (0..2_u8, step)
}

/// The house, and what its clients remember.
struct Play {
    house: House,
    next: u32,
    /// Every seat that was ever taken, as its token has it; and in which life of the process.
    tokens: Vec<(RoomId, PeerId, Restore, u32)>,
    lives: u32,
    said: u32,
}

impl Play {
    fn member(&self, id: &RoomId, n: usize) -> Option<&Member> {
        self.house.rooms.get(id).and_then(|room| room.members.get(n))
    }

    fn peer(&mut self) -> PeerId {
        self.next += 1;
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&self.next.to_be_bytes());
        PeerId::new(bytes)
    }

    /// On the power of whom, if there is such a one.
    fn by<R>(&mut self, id: &RoomId, by: Power, then: impl FnOnce(&mut House, By<'_>) -> R) -> Option<R> {
        match by {
            Power::Operator => Some(then(&mut self.house, By::Operator)),
            Power::Member(n) => {
                let peer = self.member(id, n)?.peer;
                Some(then(&mut self.house, By::Peer(peer)))
            }
            Power::User(n) => {
                let user = user(n)?;
                Some(then(&mut self.house, By::User(&user)))
            }
        }
    }

    /// What whoever asks may do, by the room alone: an operator all, else what the seats and the records say.
    fn power(&self, id: &RoomId, by: Power) -> Option<Rank> {
        let room = self.house.rooms.get(id)?;
        match by {
            Power::Operator => Some(Rank::Creator),
            Power::Member(n) => room.members.get(n).map(|member| member.rank),
            Power::User(n) => {
                let user = user(n)?;
                let known = match room.details().standing(&user) {
                    Some(Standing::Member) => Some(Rank::Member),
                    Some(Standing::Moderator) => Some(Rank::Moderator),
                    _ => None,
                };
                let creator = (room.details().creator.as_ref() == Some(&user)).then_some(Rank::Creator);
                creator.max(known).max(room.of_user(&user).map(|member| member.rank).max())
            }
        }
    }

    fn whom<R>(
        &mut self,
        id: &RoomId,
        whom: Whom,
        then: impl FnOnce(&mut Play, Target<'_>) -> R,
    ) -> Option<R> {
        match whom {
            Whom::Member(n) => {
                let peer = self.member(id, n)?.peer;
                Some(then(self, Target::Peer(peer)))
            }
            Whom::User(n) => {
                let user = user(n)?;
                Some(then(self, Target::User(&user)))
            }
        }
    }

    fn remember(&mut self, id: &RoomId, peer: PeerId) {
        let Some(room) = self.house.rooms.get(id) else { return };
        let Some(member) = room.member(peer) else { return };
        let rank = if room.kind == Kind::Channel { Rank::Member } else { member.rank };
        let who = Who { user: member.user.clone(), name: None, rank };
        let (order, joined_at) = (member.order, member.joined_at);
        let (listed, stored) = (room.details().listed, room.is_stored());
        let restore = Restore { kind: room.kind, listed, stored, who, order, joined_at };
        self.tokens.push((id.clone(), peer, restore, self.lives));
    }

    fn take(&mut self, id: &RoomId, step: Step) -> Result<(), TestCaseError> {
        match step {
            Step::Create { kind, creator, flags: [private, lobby, auto_delete, password], maker } => {
                let password = password.then(|| "hash".into());
                let options = Options { private, lobby, auto_delete, password, ..Options::default() };
                // Or a back end's.
                let creator = if creator == 5 { Some("".into()) } else { user(creator) };
                let creator = Who { user: creator, ..Who::default() };
                let there = self.house.rooms.contains_key(id);
                let made = self.house.run(id, Command::Create { kind, options, creator, maker });
                prop_assert_eq!(made.is_ok(), !there);
            }
            Step::Join { kind, user: n, password, token, maker, customer } => {
                self.join(id, kind, n, password, token, (maker, customer))?
            }
            Step::Leave(n) => {
                if let Some(member) = self.member(id, n).cloned() {
                    self.house.run(id, leave(member.peer)).unwrap();
                    if let (Some(room), Some(user)) = (self.house.rooms.get(id), &member.user) {
                        prop_assert!(room.member(member.peer).is_none());
                        let stays = room.kind != Kind::Channel || room.of_user(user).next().is_some();
                        prop_assert!(stays || !room.details().standing(user).is_some_and(Standing::belongs));
                    }
                }
            }
            Step::StopWaiting(n, lost) => {
                let waiting =
                    self.house.rooms.get(id).and_then(|room| room.details().waiting.get(n).cloned());
                if let Some(Waiting { peer, session, .. }) = waiting {
                    let command =
                        if lost { Command::Lost { peer, session, keep: true } } else { leave(peer) };
                    self.house.run(id, command).unwrap();
                    prop_assert!(self.house.rooms[id].details().waiting.iter().all(|it| it.peer != peer));
                }
            }
            Step::Lose(n, keep) => {
                if let Some(Member { peer, session, user, .. }) = self.member(id, n).cloned() {
                    let belongs = |house: &House| {
                        let details = house.rooms.get(id).map(Room::details);
                        details.zip(user.as_deref()).and_then(|(it, user)| it.standing(user))
                    };
                    let before = belongs(&self.house);
                    self.house.run(id, Command::Lost { peer, session, keep }).unwrap();
                    prop_assert!(
                        !self.house.rooms.contains_key(id) || belongs(&self.house) == before,
                        "only leaving is leaving"
                    );
                }
            }
            Step::Resume(n, customer, holder) => self.resume(n, customer, holder)?,
            Step::Signal(n, to) => {
                if let Some(from) = self.member(id, n).map(|member| member.peer) {
                    self.said += 1;
                    let (said, to) = (format!("#{:05}", self.said), to.and_then(user));
                    let _ = self.house.signal(id, from, to.as_deref(), &said);
                }
            }
            Step::Chat(n, client_id) => {
                if let Some(member) = self.member(id, n).cloned() {
                    self.said += 1;
                    let text = format!("#{:05}", self.said).into();
                    let client_id = client_id.map(|n| n.to_string().into());
                    let (id_of_it, user) = (self.peer(), member.user);
                    let message = Message {
                        id: id_of_it,
                        user,
                        text,
                        client_id,
                        ..Message::clone(&message(member.peer, ""))
                    };
                    self.house.run(id, Command::Chat(&Arc::new(message))).unwrap();
                }
            }
            Step::Kick(by, whom, ban) => {
                let power = self.power(id, by);
                let was = self.house.rooms.get(id).cloned();
                let done = self.whom(id, whom, |play, target| {
                    let done = play.by(id, by, |house, by| house.run(id, Command::Kick { by, target, ban }));
                    (
                        done,
                        matches!(target, Target::Peer(_))
                            .then(|| if let Target::Peer(peer) = target { peer } else { unreachable!() }),
                    )
                });
                if let (Some((Some(Ok(_)), peer)), Some(was)) = (done, was) {
                    prop_assert!(power >= Some(Rank::Moderator));
                    let room = self.house.rooms.get(id);
                    if let (Some(peer), Some(room)) = (peer, room) {
                        prop_assert!(room.member(peer).is_none());
                    }
                    // Nobody puts out who is not below them.
                    for member in &was.members {
                        let out = room.is_some_and(|room| room.member(member.peer).is_none());
                        prop_assert!(!out || matches!(by, Power::Operator) || Some(member.rank) < power);
                    }
                }
            }
            Step::Pardon(by, n) => {
                let user = user(n).unwrap();
                let power = self.power(id, by);
                let done = self.by(id, by, |house, by| house.run(id, Command::Pardon { by, user: &user }));
                prop_assert!(!matches!(done, Some(Ok(_))) || power >= Some(Rank::Moderator));
            }
            Step::Lock(by, locked, lobby) => {
                let power = self.power(id, by);
                let done = self.by(id, by, |house, by| house.run(id, lock(by, locked, lobby)));
                prop_assert!(!matches!(done, Some(Ok(_))) || power >= Some(Rank::Moderator));
            }
            Step::Admit(by, n, admit) => {
                let waiting =
                    self.house.rooms.get(id).and_then(|room| room.details().waiting.get(n).cloned());
                let power = self.power(id, by);
                if let Some(Waiting { peer, .. }) = waiting {
                    let done = self.by(id, by, |house, by| house.run(id, Command::Admit { by, peer, admit }));
                    if let Some(Ok(_)) = done {
                        prop_assert!(power >= Some(Rank::Moderator));
                        let room = &self.house.rooms[id];
                        prop_assert_eq!(room.member(peer).is_some(), admit);
                        self.remember(id, peer);
                    }
                }
            }
            Step::Invite(by, n) => {
                let user = user(n).unwrap();
                let power = self.power(id, by);
                let done = self.by(id, by, |house, by| house.run(id, invite(by, &user)));
                if let Some(Ok(_)) = done {
                    prop_assert!(power.is_some());
                    let standing = self.house.rooms[id].details().standing(&user);
                    prop_assert!(standing.is_some_and(|it| it != Standing::Banned));
                }
            }
            Step::Promote(by, whom, moderator) => {
                let power = self.power(id, by);
                let done = self.whom(id, whom, |play, target| {
                    play.by(id, by, |house, by| house.run(id, Command::Promote { by, target, moderator }))
                });
                prop_assert!(!matches!(done, Some(Some(Ok(_)))) || power == Some(Rank::Creator));
            }
            Step::Close(by) => {
                let power = self.power(id, by);
                let done = self.by(id, by, |house, by| house.run(id, Command::Close { by }));
                if let Some(done) = done {
                    prop_assert_eq!(done.is_ok(), power == Some(Rank::Creator));
                    prop_assert!(done.is_err() || !self.house.rooms.contains_key(id));
                }
            }
            Step::Pass(ms) => self.house.pass(Duration::from_millis(ms)),
            Step::Restart => {
                restart(&mut self.house);
                self.lives += 1;
            }
        }
        Ok(())
    }

    /// Somebody comes: in, to wait, or not at all, as the room says.
    fn join(
        &mut self,
        id: &RoomId,
        kind: Option<Kind>,
        n: u8,
        password: u8,
        token: bool,
        (maker, customer): (u64, u32),
    ) -> Result<(), TestCaseError> {
        let before = self.house.rooms.get(id).cloned();
        let peer = self.peer();
        let rank = if token { Rank::Moderator } else { Rank::Member };
        let who = Who { user: user(n), name: None, rank };
        let password: Option<Arc<str>> =
            [None, Some("wrong"), Some("hash")][usize::from(password)].map(Into::into);
        let absent = kind.map(|kind| Absent { kind, listed: false });
        let session = u64::from(self.next);
        let (proven, shown) = (token, password.clone());
        let join = Join { absent, peer, session, who, proven, password: shown, maker, customer };
        let answer = self.house.run(id, Command::Join(join));
        if let Ok(Answer::Seated { .. }) = answer {
            self.remember(id, peer);
        }
        let Some(room) = before else {
            prop_assert_eq!(answer.is_ok(), kind.is_some());
            return Ok(());
        };
        let details = room.details();
        let user = user(n);
        let standing = user.as_deref().and_then(|user| details.standing(user));
        let banned = standing == Some(Standing::Banned);
        let rules = user.as_deref().is_some_and(|user| {
            details.creator.as_deref() == Some(user)
                || room.of_user(user).any(|it| it.rank >= Rank::Moderator)
        });
        let belongs = token || (!banned && (rules || standing.is_some_and(Standing::belongs)));
        let known = belongs || standing == Some(Standing::Invited);
        let makers = details.creator.is_none() && room.joined == 0 && room.maker != 0 && room.maker == maker;
        let same = |member: &Member| member.is_same(user.as_deref(), customer);
        let full = room.members.len() == room.capacity;
        match answer {
            Ok(Answer::Seated { .. }) => {
                prop_assert!(!banned || token, "banned and in");
                prop_assert!(!details.locked || belongs, "locked and in");
                prop_assert!(
                    details.password.is_none() || known || password == details.password,
                    "without a password"
                );
                let open = !details.private || details.password.is_some();
                prop_assert!(open || known || makers, "private and in");
                prop_assert!(!details.lobby || known || makers, "past the lobby");
                let now = &self.house.rooms[id];
                let out: Vec<_> = room.members.iter().filter(|it| now.member(it.peer).is_none()).collect();
                prop_assert_eq!(out.len(), usize::from(full));
                for member in out {
                    prop_assert!(
                        member.away.is_some() && (same(member) || member.replaced),
                        "a seat was stolen"
                    );
                }
            }
            Ok(Answer::Waits { .. }) => prop_assert!(details.lobby && !known && !banned && !details.locked),
            Err(Refusal::Full) => {
                prop_assert!(full);
                let own = |it: &Member| it.away.is_some() && same(it) && it.user.is_some();
                prop_assert!(!room.members.iter().any(own), "its own seat was kept from it");
            }
            Err(Refusal::Banned) => prop_assert!(banned),
            Err(Refusal::Locked) => prop_assert!(details.locked),
            Err(Refusal::Private) => prop_assert!(details.private && !known),
            Err(Refusal::PasswordRequired) => prop_assert!(details.password.is_some() && !known),
            other => prop_assert!(false, "{other:?}"),
        }
        Ok(())
    }

    fn resume(&mut self, n: usize, customer: u32, holder: u8) -> Result<(), TestCaseError> {
        if self.tokens.is_empty() {
            return Ok(());
        }
        let (id, peer, restore, life) = self.tokens[n % self.tokens.len()].clone();
        let seat = self.house.rooms.get(&id).and_then(|room| room.member(peer));
        let (there, here) = (seat.is_some(), seat.is_some_and(|seat| seat.away.is_none()));
        let its = seat.map_or(0, |seat| seat.session);
        let (holder, free) = match holder {
            0 => (Holder::Nobody, !here),
            1 => (Holder::Session(its), there),
            2 => (Holder::Session(its + 1), false),
            _ => (Holder::Anybody, true),
        };
        self.next += 1;
        let session = u64::from(self.next);
        let old = life < self.lives;
        let user = restore.who.user.clone();
        let command = Command::Resume { peer, session, customer, holder, restore: old.then_some(restore) };
        let answer = self.house.run(&id, command);
        prop_assert!(free || answer == Err(Refusal::ResumeFailed), "it was taken from another one");
        prop_assert!(!there || !free || answer.is_ok());
        prop_assert!(
            there || old || answer == Err(Refusal::ResumeFailed) || answer == Err(Refusal::NoSuchRoom)
        );
        if let Ok(answer) = answer {
            let room = &self.house.rooms[&id];
            prop_assert_eq!(answer, Answer::Seated { peer, resumed: true, restored: !there });
            let member = room.member(peer).unwrap();
            prop_assert!(member.away.is_none() && member.session == session && member.customer == customer);
            let standing = user.as_deref().and_then(|user| room.details().standing(user));
            prop_assert!(there || standing != Some(Standing::Banned));
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases.max(400), ..ProptestConfig::default() })]

    #[test]
    fn the_laws_hold_under_any_commands_at_any_time(
        steps in prop::collection::vec(step(), 1..80),
        grace in prop_oneof![Just(0), Just(10_u64)],
        waiting in prop_oneof![Just(0), Just(15_u64)],
    ) {
        let rules = Rules {
            capacity: 3,
            channel_capacity: 4,
            waiting_timeout: Duration::from_secs(waiting),
            grace: Duration::from_secs(grace),
            idle: 60 * SECOND,
        };
        let mut play = Play { house: House::new(rules), next: 0, tokens: Vec::new(), lives: 0, said: 0 };
        let mut tokened = BTreeSet::new();
        for (n, step) in steps {
            if let Step::Join { user: n, token: true, .. } = step {
                tokened.extend(user(n));
            }
            let before = play.house.rooms.clone();
            play.take(&room(&format!("r{n}")), step)?;
            for room in play.house.rooms.values() {
                let old = |peer: PeerId| before.get(&room.id).and_then(|room| room.member(peer));
                for kept in room.members.iter().filter(|it| it.replaced) {
                    prop_assert!(kept.away.is_some());
                    let again = |it: &Member| old(it.peer).is_none() && it.is_same(kept.user.as_deref(), kept.customer);
                    let was = old(kept.peer).is_some_and(|it| it.replaced);
                    prop_assert!(was || room.members.iter().any(again), "given up for nobody");
                }
                for away in room.members.iter().filter_map(|member| member.away) {
                    prop_assert!(away.until > play.house.now, "away beyond grace");
                }
                prop_assert!(room.deadline().is_none_or(|at| at > play.house.now), "a deadline was missed");
                let alone = room.kind == Kind::Call && room.members.len() == 1;
                prop_assert!(!alone || waiting == 0 || room.expires.is_some(), "a call that waits for ever");
                for user in room.members.iter().filter_map(|member| member.user.as_ref()) {
                    let banned = room.details().standing(user) == Some(Standing::Banned);
                    prop_assert!(!banned || tokened.contains(user), "a banned user is in");
                }
                prop_assert!(room.status == Status::Active || room.details().log.is_none());
            }
        }
        // What one sender says, each receiver hears in that order.
        for heard in play.house.told.values() {
            let numbers: Vec<_> = heard.iter().map(|it| it.trim_start_matches("chat:")).filter(|it| it.starts_with('#')).collect();
            prop_assert!(numbers.is_sorted(), "out of order: {numbers:?}");
        }
        // Left alone and all lost, everything ends but channels that somebody belongs to.
        for id in play.house.rooms.keys().cloned().collect::<Vec<_>>() {
            while let Some(peer) = play.house.rooms.get(&id).and_then(|room| {
                room.members.iter().find(|member| member.away.is_none()).map(|member| member.peer)
            }) {
                play.house.lost(&id, peer);
            }
        }
        play.house.pass(3600 * SECOND);
        for room in play.house.rooms.values() {
            prop_assert!(room.kind == Kind::Channel && room.details().belonging().next().is_some());
            prop_assert!(room.members.is_empty() && room.deadline().is_none());
        }
    }
}
