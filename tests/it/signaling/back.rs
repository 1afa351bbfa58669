//! Who comes back, and to which seat: its own, kept for a while, and nobody else's.

use super::*;

/// From that address, within the process; in the dialect of calls.
async fn from(house: &House, address: &str, query: &str) -> Client {
    let from = ConnectInfo(SocketAddr::new(address.parse().unwrap(), 9));
    let way = Way::Straight(house.router.clone().layer(axum::Extension(from)));
    let mut client = Client::open(way, house, query).await;
    client.hello("40").await;
    client
}

/// Joins a call; the event that answers.
async fn call(client: &mut Client, answer: &str) -> Value {
    client.post(r#"42["join",{"roomId":"c"}]"#).await;
    client.event(answer).await
}

#[tokio::test(start_paused = true)]
async fn a_seat_kept_in_a_full_call_is_taken_from_the_same_address_and_from_no_other() {
    let house = house(settings()).await;
    let mut ada = from(&house, "203.0.113.1", "").await;
    call(&mut ada, "joined").await;
    let mut bob = from(&house, "2001:db8:1:2::1", "").await;
    let seat = call(&mut bob, "joined").await;
    bob.breaks().await;
    for stranger in ["203.0.113.2", "203.0.113.1", "2001:db8:1:3::1", "127.0.0.1"] {
        call(&mut from(&house, stranger, "").await, "full").await;
    }
    // The page is loaded again; its IPv6 address is another one of the same.
    let mut bob = from(&house, "2001:db8:1:2:ffff::1", "").await;
    assert_ne!(call(&mut bob, "joined").await["self"], seat["self"]);
    assert_eq!(ada.event("peer-left").await["peerId"], seat["self"]);
}

#[tokio::test(start_paused = true)]
async fn on_one_machine_and_behind_a_proxy_a_page_that_is_loaded_again_gets_in_as_well() {
    let house = house(settings()).await;
    let (mut ada, mut bob) =
        (from(&house, "127.0.0.1", "").await, from(&house, "::ffff:127.0.0.1", "").await);
    call(&mut ada, "joined").await;
    call(&mut bob, "joined").await;
    bob.breaks().await;
    call(&mut from(&house, "203.0.113.1", "").await, "full").await;
    call(&mut from(&house, "::1", "").await, "joined").await;
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_and_loads_the_page_again_does_not_keep_the_other_out() {
    let house = house(settings()).await;
    let mut ada = from(&house, "203.0.113.1", "").await;
    call(&mut ada, "joined").await;
    ada.breaks().await;
    let mut ada = from(&house, "203.0.113.1", "").await;
    call(&mut ada, "joined").await;
    let mut bob = from(&house, "203.0.113.2", "").await;
    assert_eq!(call(&mut bob, "joined").await["peers"].as_array().unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_users_seat_is_the_users_wherever_it_comes_from() {
    let house = house(settings()).await;
    let mut ada = from(&house, "203.0.113.1", "&userId=ada&dialect=call").await;
    call(&mut ada, "joined").await;
    let bobs = "&userId=bob&dialect=call";
    let mut bob = from(&house, "203.0.113.2", bobs).await;
    call(&mut bob, "joined").await;
    bob.breaks().await;
    call(&mut from(&house, "203.0.113.2", "").await, "full").await;
    call(&mut from(&house, "203.0.113.2", "&userId=eve&dialect=call").await, "full").await;
    call(&mut from(&house, "203.0.113.3", bobs).await, "joined").await;
}
