//! Every dialect says everything, or leaves it out on purpose; and what it can say stands in its script.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use serde_json::value::RawValue;

use super::*;
use crate::rooms::ClosedReason;
use crate::rooms::LeftReason;
use crate::rooms::Message;
use crate::rooms::PeerId;
use crate::rooms::Peers;

/// Where one has no word for something, and why.
const LEFT_OUT: &[(&str, &str, &str)] = &[
    ("call", "PeerAway", "the tutorials know no grace"),
    ("call", "PeerWaiting", "a call has nobody to rule a lobby"),
    ("call", "PeerNotWaiting", "the same"),
    ("call", "RoomChanged", "a call has nothing that changes"),
    ("mesh", "PeerAway", "the tutorials know no grace"),
    ("mesh", "PeerWaiting", "a mesh has nobody to rule a lobby"),
    ("mesh", "PeerNotWaiting", "the same"),
    ("mesh", "RoomChanged", "a mesh has nothing that changes"),
    ("community", "PeerAway", "who is away within the grace is there"),
    ("community", "PeerWaiting", "its rooms have no lobby"),
    ("community", "PeerNotWaiting", "the same"),
    ("community", "RoomChanged", "nobody asks who is a moderator"),
    ("community", "PeerLeft, not the last", "a user with another device there has not left"),
];

/// What a dialect cannot ask for.
const CANNOT_ASK: &[(&str, &[&str])] = &[
    (
        "call",
        &[
            "Create",
            "Delete",
            "History",
            "List",
            "Invite",
            "Kick",
            "Ban",
            "Pardon",
            "Lock",
            "Admit",
            "Promote",
            "RefreshIce",
        ],
    ),
    (
        "mesh",
        &[
            "Create",
            "Delete",
            "History",
            "List",
            "Invite",
            "Kick",
            "Ban",
            "Pardon",
            "Lock",
            "Admit",
            "Promote",
            "RefreshIce",
        ],
    ),
    ("community", &["History", "List", "Kick", "Ban", "Pardon", "Lock", "Admit", "Promote", "RefreshIce"]),
    ("native", &[]),
];

/// Its name; a variant that is new is missing here, and nothing compiles.
fn name_of(event: &Event<'_>) -> &'static str {
    match event {
        Event::PeerJoined { .. } => "PeerJoined",
        Event::PeerLeft { last: true, .. } => "PeerLeft",
        Event::PeerLeft { last: false, .. } => "PeerLeft, not the last",
        Event::PeerAway { .. } => "PeerAway",
        Event::PeerReconnected { .. } => "PeerReconnected",
        Event::PeerWaiting { .. } => "PeerWaiting",
        Event::PeerNotWaiting { .. } => "PeerNotWaiting",
        Event::Admitted => "Admitted",
        Event::Denied => "Denied",
        Event::RoomChanged { .. } => "RoomChanged",
        Event::RoomClosed { .. } => "RoomClosed",
        Event::RoomTimeout => "RoomTimeout",
        Event::Signal { .. } => "Signal",
        Event::Chat(_) => "Chat",
    }
}

const EVENTS: usize = 14;

/// One of each.
fn every<'a>(data: &'a RawValue, message: &'a Arc<Message>) -> Vec<Event<'a>> {
    let peer = message.from;
    let left = |last| Event::PeerLeft { peer, user: None, name: None, reason: LeftReason::Left, last };
    let mut events = vec![
        Event::PeerJoined { peer },
        left(true),
        left(false),
        Event::PeerAway { peer },
        Event::PeerReconnected { peer },
        Event::PeerWaiting { peer, user: None, name: None },
        Event::PeerNotWaiting { peer },
        Event::Admitted,
        Event::Denied,
        Event::RoomChanged { ranks: Peers::new() },
        Event::RoomClosed { reason: ClosedReason::PeerLeft },
        Event::RoomClosed { reason: ClosedReason::Kicked },
        Event::RoomTimeout,
        Event::Chat(message),
    ];
    let kinds = ["offer", "answer", "candidate", "action", "their own"];
    events.extend(kinds.map(|kind| Event::Signal { from: peer, kind, data }));
    events
}

fn name_of_verb(verb: Verb) -> &'static str {
    match verb {
        Verb::Join(_) => "Join",
        Verb::Create { .. } => "Create",
        Verb::Delete => "Delete",
        Verb::Leave => "Leave",
        Verb::Signal(_) => "Signal",
        Verb::Chat => "Chat",
        Verb::History => "History",
        Verb::List => "List",
        Verb::Invite => "Invite",
        Verb::Kick => "Kick",
        Verb::Ban => "Ban",
        Verb::Pardon => "Pardon",
        Verb::Lock => "Lock",
        Verb::Admit => "Admit",
        Verb::Promote => "Promote",
        Verb::RefreshIce => "RefreshIce",
        Verb::RefreshAuth => "RefreshAuth",
    }
}

/// Every event that a dialect has a row for; a new field is missing here, and nothing compiles.
fn rows(dialect: &Dialect) -> BTreeSet<&'static str> {
    let Dialect {
        name: _,
        verbs: _,
        acks: _,
        counts: _,
        echoes: _,
        directory: _,
        history: _,
        lists: _,
        rejoins: _,
        last_only: _,
        joined,
        created,
        admitted,
        waits,
        full,
        peer_joined,
        peer_left,
        peer_away,
        peer_reconnected,
        peer_waiting,
        peer_not_waiting,
        denied,
        room_changed,
        room_closed,
        kicked,
        room_timeout,
        offer,
        answer,
        candidate,
        action,
        signal,
        chat,
        ice_servers,
        draining,
        error,
        room_available,
        room_updated,
        room_removed,
        rooms_list,
        online,
        offline,
        invited,
    } = dialect;
    let lists = [joined, created, admitted, room_available];
    let ones = [
        waits,
        full,
        peer_joined,
        peer_left,
        peer_away,
        peer_reconnected,
        peer_waiting,
        peer_not_waiting,
        denied,
        room_changed,
        room_closed,
        kicked,
        room_timeout,
        offer,
        answer,
        candidate,
        action,
        signal,
        chat,
        room_updated,
        room_removed,
        rooms_list,
        online,
        offline,
        invited,
    ];
    let ones = ones.into_iter().filter_map(Option::as_ref);
    let always = [ice_servers, draining, error];
    lists.into_iter().flat_map(|list| list.iter()).chain(ones).chain(always).map(|row| row.event).collect()
}

fn script(dialect: &Dialect) -> String {
    let name = format!("tests/golden/{}.txt", dialect.name);
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

#[test]
fn every_event_is_said_in_every_dialect_or_left_out_on_purpose() {
    let data = RawValue::NULL;
    let message = Arc::new(Message {
        id: PeerId::new([1; 16]),
        from: PeerId::new([2; 16]),
        user: None,
        name: None,
        text: "".into(),
        attachments: None,
        at: 0,
        client_id: None,
    });
    let events = every(data, &message);
    let kinds: BTreeSet<_> = events.iter().map(name_of).collect();
    assert_eq!(kinds.len(), EVENTS, "one of each");
    let mut left_out = BTreeSet::new();
    for dialect in ALL {
        for event in &events {
            // Being let in is said as joining is.
            let said = dialect.row(event).is_some()
                || (matches!(event, Event::Admitted) && !dialect.admitted.is_empty());
            if !said {
                left_out.insert((dialect.name, name_of(event)));
            }
        }
    }
    assert_eq!(left_out, LEFT_OUT.iter().map(|(dialect, event, _)| (*dialect, *event)).collect());
}

#[test]
fn every_verb_is_in_every_dialect_or_left_out_on_purpose() {
    let all: BTreeSet<_> = NATIVE.verbs.iter().map(|(_, verb)| name_of_verb(*verb)).collect();
    assert_eq!(all.len(), 16, "the native dialect asks for everything");
    for dialect in ALL {
        let can: BTreeSet<_> = dialect.verbs.iter().map(|(_, verb)| name_of_verb(*verb)).collect();
        let cannot: BTreeSet<_> = all.difference(&can).copied().collect();
        let (_, meant) = CANNOT_ASK.iter().find(|(name, _)| *name == dialect.name).unwrap();
        assert_eq!(cannot, meant.iter().copied().collect(), "{}", dialect.name);
    }
}

#[test]
fn everything_that_can_be_said_and_asked_stands_in_a_script() {
    for dialect in ALL {
        let script = script(dialect);
        let missing: Vec<_> = rows(dialect)
            .into_iter()
            .filter(|event| !script.contains(&format!(" < [\"{event}\",")))
            .collect();
        assert!(missing.is_empty(), "{} never says {missing:?}", dialect.name);
        let verbs = dialect.verbs.iter().map(|(event, _)| *event);
        let missing: Vec<_> = verbs.filter(|event| !script.contains(&format!(" > [\"{event}\","))).collect();
        assert!(missing.is_empty(), "{} is never asked {missing:?}", dialect.name);
    }
}

#[test]
fn a_word_means_the_same_in_all_dialects_that_have_it() {
    let words: Vec<_> = ALL.iter().flat_map(|dialect| dialect.verbs).collect();
    for (word, verb) in &words {
        assert!(words.iter().all(|(other, means)| other != word || means == verb), "{word}");
    }
}
