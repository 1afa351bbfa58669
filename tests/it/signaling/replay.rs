//! What is missed while a connection is lost, or written into one that is dead already, is heard once, in order.

use super::*;

async fn say(by: &mut Client, from: u64, to: u64) {
    for n in from..to {
        let said = by.ask("chat", json!({"room": "r", "text": n.to_string()})).await;
        assert_eq!(said["ok"], true, "{said}");
    }
}

fn texts(heard: &[Value]) -> Vec<u64> {
    heard.iter().map(|it| it["text"].as_str().unwrap().parse().unwrap()).collect()
}

fn last(heard: &[Value]) -> u64 {
    heard.iter().filter_map(|it| it["seq"].as_u64()).max().unwrap_or(0)
}

#[tokio::test(start_paused = true)]
async fn what_was_missed_is_heard_by_number_even_if_it_went_into_a_dead_path() {
    let house = house(settings()).await;
    let (mut ada, mut bob) = (Client::user(&house, "ada").await, Client::user(&house, "bob").await);
    ada.join("r").await;
    let seat = bob.join("r").await;
    say(&mut ada, 0, 3).await;
    let heard = bob.events("chat").await;
    assert_eq!(texts(&heard), [0, 1, 2]);
    // Written into a transport that nobody reads any more.
    say(&mut ada, 3, 6).await;
    // It is known to be lost.
    bob.breaks().await;
    ada.event("room.peer-away").await;
    say(&mut ada, 6, 9).await;
    let mut again = Client::user(&house, "bob").await;
    let back =
        again.ask("room.join", json!({"room": "r", "resume": seat["resume"], "have": last(&heard)})).await;
    assert_eq!((&back["resumed"], &back["missed"]), (&json!(true), &Value::Null));
    assert_eq!(peer_id(&back), peer_id(&seat));
    assert_eq!(texts(&again.events("chat").await), [3, 4, 5, 6, 7, 8]);
    assert_eq!(ada.event("room.peer-reconnected").await["peerId"], json!(peer_id(&seat)));
    say(&mut ada, 9, 10).await;
    assert_eq!(texts(&again.events("chat").await), [9]);
}

#[tokio::test(start_paused = true)]
async fn a_seat_is_taken_over_from_a_connection_that_is_not_known_to_be_lost() {
    let house = house(settings()).await;
    let (mut ada, mut bob) = (Client::user(&house, "ada").await, Client::user(&house, "bob").await);
    ada.join("r").await;
    let seat = bob.join("r").await;
    say(&mut ada, 0, 4).await;
    let mut again = Client::user(&house, "bob").await;
    let back = again.ask("room.join", json!({"room": "r", "resume": seat["resume"], "have": 0})).await;
    assert_eq!(back["resumed"], true);
    assert_eq!(texts(&again.events("chat").await), [0, 1, 2, 3]);
    // The old one has no seat, and its end means nothing.
    assert_eq!(bob.fail("chat", json!({"room": "r", "text": "x"})).await, "not-a-member");
    bob.breaks().await;
    say(&mut ada, 4, 5).await;
    assert_eq!(texts(&again.events("chat").await), [4]);
    assert!(ada.events("room.peer-away").await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_went_into_a_dead_path_is_kept_for_as_long_as_the_seat() {
    let house = house(settings()).await;
    let (mut ada, mut bob) = (Client::user(&house, "ada").await, Client::user(&house, "bob").await);
    ada.join("r").await;
    let seat = bob.join("r").await;
    say(&mut ada, 0, 3).await;
    bob.breaks().await;
    // Longer than what a living connection was told is kept, and shorter than the seat.
    for n in 3..10 {
        tokio::time::sleep(Duration::from_millis(4100)).await;
        say(&mut ada, n, n + 1).await;
    }
    let mut again = Client::user(&house, "bob").await;
    let back = again.ask("room.join", json!({"room": "r", "resume": seat["resume"], "have": 0})).await;
    assert_eq!((&back["resumed"], &back["missed"]), (&json!(true), &Value::Null));
    assert_eq!(texts(&again.events("chat").await), (0..10).collect::<Vec<_>>());
}

/// The old client reads, breaks or is left in the lurch, again and again; nothing is lost, nothing comes twice.
#[tokio::test(start_paused = true)]
async fn every_event_is_heard_exactly_once_whatever_becomes_of_the_connections() {
    let house = house(settings()).await;
    let (mut ada, mut bob) = (Client::user(&house, "ada").await, Client::user(&house, "bob").await);
    ada.join("r").await;
    let mut resume = bob.join("r").await["resume"].clone();
    let (mut heard, mut have, mut said) = (Vec::new(), 0, 0);
    // A small generator with a fixed seed: any sequence will do.
    let mut chance = 0x2545_f491_u64;
    let mut next = |most: u64| {
        chance ^= chance << 13;
        chance ^= chance >> 7;
        chance ^= chance << 17;
        chance % most
    };
    for _ in 0..60 {
        let many = next(8);
        say(&mut ada, said, said + many).await;
        said += many;
        if next(3) > 0 {
            let some = bob.events("chat").await;
            heard.extend(texts(&some));
            have = have.max(last(&some));
        }
        if next(2) == 0 {
            let old = bob;
            if next(2) == 0 {
                old.breaks().await;
            }
            bob = Client::user(&house, "bob").await;
            let back = bob.ask("room.join", json!({"room": "r", "resume": resume, "have": have})).await;
            assert_eq!((&back["resumed"], &back["missed"]), (&json!(true), &Value::Null), "{back}");
            resume = back["resume"].clone();
        }
    }
    heard.extend(texts(&bob.events("chat").await));
    assert_eq!(heard, (0..said).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn what_is_kept_is_bounded_and_what_is_lost_is_said() {
    let house = house(settings()).await;
    let (mut ada, mut bob) = (Client::user(&house, "ada").await, Client::user(&house, "bob").await);
    ada.join("r").await;
    let seat = bob.join("r").await;
    bob.breaks().await;
    say(&mut ada, 0, 300).await;
    let mut again = Client::user(&house, "bob").await;
    let back = again.ask("room.join", json!({"room": "r", "resume": seat["resume"], "have": 0})).await;
    let heard = texts(&again.events("chat").await);
    assert_eq!((back["missed"].as_u64(), heard.len()), (Some(44), 256));
    assert_eq!(heard, (44..300).collect::<Vec<_>>());
    assert_eq!(house.signaling.stats().drops[Drop::MissedOverflow as usize], 44);
}

#[tokio::test(start_paused = true)]
async fn a_seat_is_kept_for_as_long_as_grace_and_no_longer() {
    let house = house(settings()).await;
    let (mut ada, mut bob) = (Client::user(&house, "ada").await, Client::user(&house, "bob").await);
    ada.join("r").await;
    let seat = bob.join("r").await;
    bob.breaks().await;
    ada.event("room.peer-away").await;
    let away = tokio::time::Instant::now();
    assert_eq!(ada.event("room.peer-left").await["reason"], "lost");
    let took = away.elapsed();
    assert!((29_900..=30_100).contains(&took.as_millis()), "{took:?}");
    let mut again = Client::user(&house, "bob").await;
    let resume = json!({"room": "r", "resume": seat["resume"]});
    assert_eq!(again.fail("room.join", resume).await, "resume-failed");
}

#[tokio::test(start_paused = true)]
async fn what_no_transport_had_taken_yet_goes_to_the_connection_that_takes_the_seat_over() {
    let house = house(settings()).await;
    let mut ada = Client::user(&house, "ada").await;
    ada.join("r").await;
    // In a dialect that does not count: what a transport has taken is lost with it.
    let mut bob = Client::user(&house, "bob").await;
    bob.post(r#"42["join-room",{"roomId":"r"}]"#).await;
    let seat = bob.event("room-users").await;
    say(&mut ada, 0, 100).await;
    let mut again = Client::user(&house, "bob").await;
    again.post(&format!("42{}", json!(["join-room", {"roomId": "r", "resume": seat["resume"]}]))).await;
    assert_eq!(again.event("room-users").await["resumed"], true);
    say(&mut ada, 100, 102).await;
    let texts = |heard: Vec<Value>| -> Vec<u64> {
        heard.iter().map(|it| it["msg"].as_str().unwrap().parse().unwrap()).collect()
    };
    let (before, after) =
        (texts(bob.events("chat-message").await), texts(again.events("chat-message").await));
    assert!(before.len() > 50 && after.len() > 30, "{before:?} {after:?}");
    assert_eq!([before, after].concat(), (0..102).collect::<Vec<_>>());
    bob.breaks().await;
    assert_eq!(house.signaling.stats().drops.iter().sum::<u64>(), 0);
}
