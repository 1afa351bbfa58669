//! No more is kept than was asked for, nor longer.

use std::time::SystemTime;
use std::time::UNIX_EPOCH;

use super::*;

/// A little later: what is too much goes at leisure.
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + 20 * SECOND;
    while !holds() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn unix_ms() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

fn call(ended_at: u64) -> Call {
    Call {
        room: id("a"),
        kind: Kind::Call,
        name: None,
        started_at: 1,
        ended_at,
        reason: "left".into(),
        participants: Vec::new(),
        relayed_bytes: 0,
    }
}

#[test]
fn what_was_said_too_long_ago_goes() {
    for way in Way::all() {
        for (ttl, left) in [(60 * SECOND, 3), (Duration::ZERO, 6)] {
            let keep = Keep { history_ttl: ttl, ..KEEP };
            let (at, amy, a) = (Instant::now(), user("amy"), id("a"));
            let mut store = way.keeping(KEEP, MANY, at);
            let now = Now { at, unix_ms: unix_ms() };
            let _ = run(&store, &a, &Command::Close { by: By::Operator }, now);
            drop(store);
            store = way.keeping(keep, MANY, at);
            run(&store, &a, &create(Kind::Channel, amy.clone(), 0), now).unwrap();
            run(&store, &a, &join(None, 1, amy.clone()), now).unwrap();
            // The last of them an hour ago, as by a clock that was set since.
            for (n, ago) in [(1, 3600), (2, 0), (3, 7200), (4, 0), (5, 0), (6, 3600)] {
                let at = now.unix_ms - ago * 1000;
                let said = Message { at, ..Message::clone(&message(n, 1, &amy, None)) };
                run(&store, &a, &Command::Chat(&Arc::new(said)), now).unwrap();
            }
            if way.lasts() {
                drop(store);
                store = way.keeping(keep, MANY, at);
            }
            until("the old ones go", || wait(store.history(&a, None, 9)).unwrap().len() == left);
            let kept = wait(store.history(&a, None, 9)).unwrap();
            assert!(kept.iter().all(|it| ttl.is_zero() || it.at == now.unix_ms), "{kept:?}");
        }
    }
}

#[test]
fn as_many_calls_are_kept_as_asked_for_and_as_long() {
    for (most, ttl, left) in [(5, Duration::ZERO, 5), (3000, Duration::ZERO, 2400), (3000, 60 * SECOND, 1200)]
    {
        for way in Way::all() {
            let keep = Keep { calls: most, calls_ttl: ttl, ..KEEP };
            let mut store = way.keeping(keep, MANY, Instant::now());
            let now = unix_ms();
            for n in 0..2400 {
                store.log(call(if n % 2 == 0 { 1 } else { now }));
            }
            wait(store.flush()).unwrap();
            if way.lasts() {
                drop(store);
                store = way.keeping(keep, MANY, Instant::now());
            }
            let count = || wait(store.calls(None, None, 5000)).unwrap().len();
            until(&format!("{left} of {most} are left, not {}", count()), || count() == left);
        }
    }
}

/// A file is on a disk; memory is everybody's.
#[test]
fn in_memory_what_is_said_in_one_room_drives_out_its_own_and_no_more_than_so_much_is_kept() {
    let now = now();
    let store = Way::Volatile.keeping(Keep { history: 1000, ..KEEP }, MANY, now.at);
    let amy = user("amy");
    for (n, room) in (1..).zip(["a", "b"]) {
        run(&store, &id(room), &create(Kind::Channel, amy.clone(), 0), now).unwrap();
        run(&store, &id(room), &join(None, n, amy.clone()), now).unwrap();
    }
    let say = |room: &str, n: u64, from: u8| {
        let said =
            Message { text: "x".repeat(16 << 10).into(), ..Message::clone(&message(n, from, &amy, None)) };
        run(&store, &id(room), &Command::Chat(&Arc::new(said)), now).unwrap();
    };
    let kept = |room: &str| wait(store.history(&id(room), None, 1000)).unwrap();
    for n in 1..4 {
        say("b", n, 2);
    }
    for n in 1..=200 {
        say("a", n, 1);
    }
    assert_eq!(kept("b").len(), 3);
    let of_a = kept("a");
    assert!((50..62).contains(&of_a.len()), "{}", of_a.len());
    assert_eq!(of_a[0].id, message(200, 1, &amy, None).id);
    // Where the room ends there is place again.
    run(&store, &id("a"), &Command::Close { by: By::Operator }, now).unwrap();
    for n in 4..40 {
        say("b", n, 2);
    }
    assert_eq!(kept("b").len(), 39);
}
