//! What RFC 8489 adds to the long-term credential mechanism: other hashes, hidden user names, and no way to talk client and server
//! out of them (section 9.2).

use ring::{digest, hmac};
use webrtc_stun::attributes as a;

use super::world::{Answer, Ask, Client, SECRET, World, keys};
use crate::stun::Message;
use crate::turn::nonce;
use crate::turn::password::userhash;

const SHA256: [u8; 4] = [0, 2, 0, 0];
const MD5: [u8; 4] = [0, 1, 0, 0];
const OFFER: [u8; 8] = [0, 2, 0, 0, 0, 1, 0, 0];
const USERHASH: a::AttrType = a::ATTR_USER_HASH;

/// How a client signs.
#[derive(Clone)]
struct Style {
    hidden: bool,
    algorithms: Option<Vec<u8>>,
    algorithm: Option<[u8; 4]>,
    /// Whether its key is the SHA-256 one.
    long_key: bool,
    sha1: bool,
    sha256: bool,
}

/// As a client of RFC 5389 does.
const OLD: Style =
    Style { hidden: false, algorithms: None, algorithm: None, long_key: false, sha1: true, sha256: false };

fn new() -> Style {
    Style {
        algorithms: Some(OFFER.to_vec()),
        algorithm: Some(SHA256),
        long_key: true,
        sha1: false,
        sha256: true,
        ..OLD
    }
}

fn long_key(client: &Client) -> Vec<u8> {
    let text = format!("{}:{}:{}", client.username, client.realm, client.password);
    digest::digest(&digest::SHA256, text.as_bytes()).as_ref().to_vec()
}

impl Style {
    fn key(&self, client: &Client) -> Vec<u8> {
        if self.long_key { long_key(client) } else { client.key().0 }
    }

    fn sign(&self, client: &Client, mut ask: Ask) -> Vec<u8> {
        ask = match self.hidden {
            false => ask.add(a::ATTR_USERNAME, client.username.as_bytes()),
            true => ask.add(USERHASH, &userhash(&client.username, &client.realm)),
        };
        ask = ask.add(a::ATTR_REALM, client.realm.as_bytes()).add(a::ATTR_NONCE, &client.nonce);
        if let Some(list) = &self.algorithms {
            ask = ask.add(a::ATTR_PASSWORD_ALGORITHMS, list);
        }
        if let Some(chosen) = &self.algorithm {
            ask = ask.add(a::ATTR_PASSWORD_ALGORITHM, chosen);
        }
        let mut bytes = ask.build();
        let key = self.key(client);
        for (wanted, kind, algorithm, size) in [
            (self.sha1, 8_u16, hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, 20_usize),
            (self.sha256, 0x1c, hmac::HMAC_SHA256, 32),
        ] {
            if wanted {
                let length = (bytes.len() - 20 + 4 + size) as u16;
                bytes[2..4].copy_from_slice(&length.to_be_bytes());
                let tag = hmac::sign(&hmac::Key::new(algorithm, &key), &bytes);
                bytes.extend(kind.to_be_bytes());
                bytes.extend((size as u16).to_be_bytes());
                bytes.extend(tag.as_ref());
            }
        }
        bytes
    }

    /// Which integrity an answer has, and whether it is right by this style's key.
    fn integrity(&self, client: &Client, answer: &Answer) -> Option<u16> {
        let message = Message::parse(&answer.message.raw).unwrap();
        let found = message.attributes().find(|found| [8, 0x1c].contains(&found.kind))?;
        let mut covered = answer.message.raw[..found.offset].to_vec();
        let length = (covered.len() - 20 + 4 + found.value.len()) as u16;
        covered[2..4].copy_from_slice(&length.to_be_bytes());
        let algorithm = match found.kind {
            8 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            _ => hmac::HMAC_SHA256,
        };
        hmac::verify(&hmac::Key::new(algorithm, &self.key(client)), &covered, found.value).unwrap();
        Some(found.kind)
    }
}

/// A world, and a client in it with a nonce.
fn met(users: &[(&str, &str)], mut client: Client) -> (World, Client) {
    let secrets: &[&str] = if users.is_empty() { &[SECRET] } else { &[] };
    let mut world = World::with(|config| config.keys = keys(secrets, users));
    greet(&mut world, &mut client);
    (world, client)
}

fn greet(world: &mut World, client: &mut Client) -> Answer {
    let challenge = world.ask_raw(client, &Ask::allocate().udp().build());
    client.nonce = challenge.get(a::ATTR_NONCE).unwrap();
    challenge
}

fn alice() -> Client {
    Client::new("198.18.0.1:4000")
}

#[test]
fn the_vector_of_appendix_b_1_as_the_errata_have_it() {
    // User name "マトリックス", realm "example.org", password "TheMatrIX".
    let hash: String =
        userhash("マトリックス", "example.org").iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hash, "4a3cf38fef6992bda952c6780417da0f24819415569e60b205c46e41407f1704");
    let client = Client {
        username: "マトリックス".into(),
        password: "TheMatrIX".into(),
        realm: "example.org".into(),
        nonce: b"obMatJos2AAACf//499k954d6OL34oL9FSTvy64sA".to_vec(),
        ..alice()
    };
    assert_eq!(nonce::features(&client.nonce), Some(nonce::USERNAME_ANONYMITY));
    let ask = {
        let mut ask = Ask::binding();
        let id = [0x78, 0xad, 0x34, 0x33, 0xc6, 0xad, 0x72, 0xc0, 0x29, 0xda, 0x41, 0x2e];
        ask.message.transaction_id.0 = id;
        ask.message.write_header();
        ask.add(USERHASH, &userhash(&client.username, &client.realm))
            .add(a::ATTR_NONCE, &client.nonce)
            .add(a::ATTR_REALM, client.realm.as_bytes())
            .add(a::ATTR_PASSWORD_ALGORITHM, &SHA256)
    };
    let bytes = ask.build();
    let mut text = bytes.clone();
    text[2..4].copy_from_slice(&0x90_u16.to_be_bytes());
    let key = crate::turn::password::Key::new(
        crate::turn::password::PasswordAlgorithm::Sha256,
        &client.username,
        &client.realm,
        &client.password,
    );
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes()), &text);
    let tag: String = tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(tag, "b5c7bf005b6c52a21c51c5e892f81924136296cb927c43149309278cc6518e65");
}

#[test]
fn the_first_answer_offers_password_algorithms_and_its_nonce_says_so() {
    let mut world = World::new();
    let mut alice = alice();
    let challenge = greet(&mut world, &mut alice);
    assert_eq!(challenge.get(a::ATTR_PASSWORD_ALGORITHMS).unwrap(), OFFER);
    assert!(alice.nonce.starts_with(b"obMatJos2AAAB"), "{}", String::from_utf8_lossy(&alice.nonce));
    assert_eq!(alice.nonce.len(), 28);
    assert_eq!(nonce::features(&alice.nonce), Some(nonce::PASSWORD_ALGORITHMS));
}

#[test]
fn every_style_of_signing_is_taken_and_answered_in_kind() {
    let md5 = Style { algorithm: Some(MD5), long_key: false, ..new() };
    let both = Style { sha1: true, ..new() };
    // Without a word on algorithms the key is MD5's and the answer SHA-1's, whatever the request was signed by.
    let mixed = Style { sha256: true, sha1: false, ..OLD };
    for (style, integrity) in [(OLD, 8), (new(), 0x1c), (md5, 0x1c), (both, 0x1c), (mixed, 8)] {
        let (mut world, alice) = met(&[], alice());
        for ask in [Ask::allocate().udp(), Ask::permission().peer("9.9.9.9:1"), Ask::refresh(600)] {
            let answer = world.ask_raw(&alice, &style.sign(&alice, ask));
            assert_eq!(answer.code(), 0);
            assert_eq!(style.integrity(&alice, &answer), Some(integrity));
        }
        let refused = world.ask_raw(&alice, &style.sign(&alice, Ask::bind(1, "9.9.9.9:1")));
        assert_eq!((refused.code(), style.integrity(&alice, &refused)), (400, Some(integrity)));
    }
}

#[test]
fn an_allocation_is_kept_by_either_algorithm() {
    let (mut world, alice) = met(&[], alice());
    for (style, ask) in [
        (new(), Ask::allocate().udp()),
        (OLD, Ask::refresh(600)),
        (Style { algorithm: Some(MD5), long_key: false, ..new() }, Ask::refresh(600)),
        (new(), Ask::permission().peer("9.9.9.9:1")),
        (OLD, Ask::refresh(0)),
        (OLD, Ask::allocate().udp()),
        (new(), Ask::refresh(600)),
    ] {
        assert_eq!(world.ask_raw(&alice, &style.sign(&alice, ask)).code(), 0);
    }
}

#[test]
fn with_both_integrities_the_stronger_one_counts() {
    let (mut world, alice) = met(&[], alice());
    let both = Style { sha1: true, ..new() };
    let mut request = both.sign(&alice, Ask::allocate().udp());
    let sha1 = request.len() - 36 - 24 + 4;
    request[sha1] ^= 1;
    // Nobody without the key can have changed it and signed that by SHA-256.
    assert_eq!(world.ask_raw(&alice, &request).code(), 401, "SHA-256 covers the other one");
    let mut request = both.sign(&alice, Ask::allocate().udp());
    *request.last_mut().unwrap() ^= 1;
    assert_eq!(world.ask_raw(&alice, &request).code(), 401, "a right SHA-1 does not do");
}

#[test]
fn a_sha256_integrity_cut_short_is_401() {
    for size in [4, 16, 20, 28] {
        let (mut world, alice) = met(&[], alice());
        let style = new();
        let mut bytes = style.sign(&alice, Ask::allocate().udp());
        bytes.truncate(bytes.len() - 36);
        let length = (bytes.len() - 20 + 4 + size) as u16;
        bytes[2..4].copy_from_slice(&length.to_be_bytes());
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &long_key(&alice)), &bytes);
        bytes.extend([0, 0x1c, 0, size as u8]);
        bytes.extend(&tag.as_ref()[..size]);
        assert_eq!(world.ask_raw(&alice, &bytes).code(), 401, "{size} bytes");
    }
}

#[test]
fn a_bid_down_is_400() {
    let sha256_only = SHA256.to_vec();
    let md5_only = MD5.to_vec();
    let turned = [0, 1, 0, 0, 0, 2, 0, 0].to_vec();
    let longer = [&OFFER[..], &[0, 3, 0, 0]].concat();
    for (list, chosen) in [
        // The list that a stranger on the way has thinned out, or turned round.
        (Some(md5_only), Some(MD5)),
        (Some(sha256_only), Some(SHA256)),
        (Some(turned), Some(MD5)),
        (Some(longer), Some(SHA256)),
        (Some(vec![]), Some(MD5)),
        // One without the other.
        (None, Some(MD5)),
        (None, Some(SHA256)),
        (Some(OFFER.to_vec()), None),
        // None of those on the list.
        (Some(OFFER.to_vec()), Some([0, 3, 0, 0])),
        (Some(OFFER.to_vec()), Some([0, 2, 0, 1])),
    ] {
        let (mut world, alice) = met(&[], alice());
        let long_key = chosen == Some(SHA256);
        let style = Style { algorithms: list.clone(), algorithm: chosen, long_key, ..new() };
        let answer = world.ask_raw(&alice, &style.sign(&alice, Ask::allocate().udp()));
        assert_eq!(answer.code(), 400, "{list:?} {chosen:?}");
        for kind in
            [a::ATTR_REALM, a::ATTR_NONCE, a::ATTR_MESSAGE_INTEGRITY, a::ATTR_MESSAGE_INTEGRITY_SHA256]
        {
            assert!(answer.get(kind).is_none());
        }
    }
}

#[test]
fn a_nonce_whose_features_were_taken_away_is_stale() {
    let (mut world, alice) = met(&[], alice());
    for (bent, why) in [
        ([b"obMatJos2AAAA", &alice.nonce[13..]].concat(), "no feature is left"),
        (alice.nonce[13..].to_vec(), "no cookie is left"),
        ([b"obMatJos2AAAD", &alice.nonce[13..]].concat(), "there is one more"),
    ] {
        let deceived = Client { nonce: bent, ..alice.clone() };
        let answer = world.ask_raw(&alice, &OLD.sign(&deceived, Ask::allocate().udp()));
        assert_eq!(answer.code(), 438, "{why}");
        assert_eq!(answer.get(a::ATTR_PASSWORD_ALGORITHMS).unwrap(), OFFER);
    }
}

#[test]
fn a_user_may_hide_behind_its_hash() {
    for style in [OLD, new()] {
        let style = Style { hidden: true, ..style };
        let camera = Client::user("198.18.0.1:4000", "camera", "hunter22");
        let (mut world, camera) = met(&[("camera", "hunter22")], camera);
        assert_eq!(
            nonce::features(&camera.nonce),
            Some(nonce::PASSWORD_ALGORITHMS | nonce::USERNAME_ANONYMITY)
        );
        for ask in [Ask::allocate().udp(), Ask::refresh(600)] {
            let answer = world.ask_raw(&camera, &style.sign(&camera, ask));
            assert_eq!(answer.code(), 0);
            assert!(style.integrity(&camera, &answer).is_some());
            assert!(answer.get(a::ATTR_USERNAME).is_none() && answer.get(USERHASH).is_none());
        }
        let plain = Style { hidden: false, ..style.clone() };
        assert_eq!(
            world.ask_raw(&camera, &plain.sign(&camera, Ask::refresh(600))).code(),
            0,
            "the same user"
        );
        let other = Client::user("198.18.0.1:4000", "lamp", "hunter22");
        let other = Client { nonce: camera.nonce.clone(), ..other };
        assert_eq!(world.ask_raw(&camera, &style.sign(&other, Ask::refresh(0))).code(), 401);
        assert_eq!(world.server.stats().allocations, 1);
    }
}

#[test]
fn a_time_limited_name_is_known_by_its_hash_where_its_allocation_lives_and_nowhere_else() {
    let (mut world, alice) = met(&[], alice());
    assert_eq!(nonce::features(&alice.nonce), Some(nonce::PASSWORD_ALGORITHMS), "so it is not asked for");
    let hidden = Style { hidden: true, ..new() };
    assert_eq!(world.ask_raw(&alice, &hidden.sign(&alice, Ask::allocate().udp())).code(), 401);
    assert_eq!(world.ask_raw(&alice, &new().sign(&alice, Ask::allocate().udp())).code(), 0);
    assert_eq!(world.ask_raw(&alice, &hidden.sign(&alice, Ask::refresh(600))).code(), 0);
    let mut again = alice.moved("198.18.0.1:4001");
    greet(&mut world, &mut again);
    assert_eq!(world.ask_raw(&again, &hidden.sign(&again, Ask::allocate().udp())).code(), 401);
}

#[test]
fn anonymity_is_offered_only_if_it_can_be_had_by_all() {
    for (secrets, users, offered) in [
        (&["north"][..], &[][..], false),
        (&["north"], &[("camera", "hunter22")], false),
        (&[], &[("camera", "hunter22")], true),
        (&[], &[], false),
    ] {
        let mut world = World::with(|config| config.keys = keys(secrets, users));
        let mut camera = Client::user("198.18.0.1:4000", "camera", "hunter22");
        greet(&mut world, &mut camera);
        let features = nonce::features(&camera.nonce).unwrap();
        assert_eq!(features & nonce::USERNAME_ANONYMITY != 0, offered, "{secrets:?} {users:?}");
    }
}

#[test]
fn a_name_and_a_hash_or_neither_is_400() {
    let (mut world, alice) =
        met(&[("alice", "hunter22")], Client::user("198.18.0.1:4000", "alice", "hunter22"));
    let hash = userhash(&alice.username, &alice.realm);
    let both = OLD.sign(&alice, Ask::allocate().udp().add(USERHASH, &hash));
    assert_eq!(world.ask_raw(&alice, &both).code(), 400);
    for hash in [&b""[..], &[0; 31], &[0; 33], &[7; 32]] {
        let mut ask = Ask::allocate().udp().add(USERHASH, hash);
        ask = ask.add(a::ATTR_REALM, alice.realm.as_bytes()).add(a::ATTR_NONCE, &alice.nonce);
        webrtc_stun::message::Setter::add_to(&alice.key(), &mut ask.message).unwrap();
        assert_eq!(world.ask_raw(&alice, &ask.build()).code(), 401, "{} bytes of hash", hash.len());
    }
}

#[test]
fn a_realm_too_long_for_the_offer_is_served_without_it() {
    let mut world = World::with(|config| config.realm = "example.org".into());
    let mut alice = Client { realm: "example.org".into(), ..alice() };
    let challenge = greet(&mut world, &mut alice);
    assert!(challenge.get(a::ATTR_PASSWORD_ALGORITHMS).is_none());
    assert_eq!((alice.nonce.len(), nonce::features(&alice.nonce)), (15, None));
    // Long requests change nothing about it: else a stranger could talk others out of the offer.
    let long = Ask::allocate().udp().add(a::ATTR_SOFTWARE, &[b'x'; 200]).build();
    assert!(world.ask_raw(&alice, &long).get(a::ATTR_PASSWORD_ALGORITHMS).is_none());
    assert_eq!(world.ask_raw(&alice, &OLD.sign(&alice, Ask::allocate().udp())).code(), 0);
    let made_up = Client { nonce: [b"obMatJos2AAAB", &alice.nonce[..]].concat(), ..alice.clone() };
    assert_eq!(world.ask_raw(&alice, &new().sign(&made_up, Ask::refresh(600))).code(), 400);
}
