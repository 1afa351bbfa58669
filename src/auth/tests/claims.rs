//! Claims: what is made of them, and the bounds of times, issuers and audiences.

use serde_json::Value;
use serde_json::json;

use super::signer::NOW;
use super::signer::SECRET;
use super::signer::by_secret;
use super::signer::hs256;
use super::signer::verify;
use crate::auth::Identity;
use crate::auth::Minted;
use crate::auth::Refused;
use crate::auth::Role;
use crate::auth::Tokens;
use crate::auth::mint;

fn judged(tokens: &Tokens, claims: &Value) -> Result<Identity, Refused> {
    verify(tokens, &hs256(&json!({"alg": "HS256", "typ": "JWT"}), claims))
}

#[test]
fn an_identity_is_what_the_token_says() {
    let tokens = by_secret("");
    let it = judged(
        &tokens,
        &json!({"sub": "auth0|ada", "exp": NOW + 60, "iat": 1, "aud": "x", "iss": 7.0.to_string()}),
    );
    let it = it.unwrap();
    assert_eq!((&*it.user, &it.name, it.role, it.expires), ("auth0|ada", &None, Role::User, NOW + 90));
    assert!(it.allows("anywhere") && it.rooms.is_none());
    let it = judged(
        &tokens,
        &json!({"sub": "ada", "exp": NOW + 60, "name": "  Ada\u{7} L. ", "role": "moderator", "rooms": ["one", "two"]}),
    );
    let it = it.unwrap();
    assert_eq!((it.name.as_deref(), it.role), (Some("Ada L."), Role::Moderator));
    assert!(
        it.allows("one") && it.allows("two") && !it.allows("three") && !it.allows("") && !it.allows("One")
    );
    let nowhere = judged(&tokens, &json!({"sub": "ada", "exp": NOW + 60, "rooms": []})).unwrap();
    assert!(!nowhere.allows("one"));
    for (claim, role) in [
        (json!({"role": "admin"}), Role::Admin),
        (json!({"role": "Admin"}), Role::User),
        (json!({"role": "authenticated"}), Role::User),
        (json!({"role": null}), Role::User),
        (json!({"roles": ["editor", "moderator"]}), Role::Moderator),
        (json!({"roles": ["admin", "moderator"]}), Role::Admin),
        (json!({"roles": "moderator", "role": "editor"}), Role::Moderator),
    ] {
        let mut claims = json!({"sub": "ada", "exp": NOW + 60});
        claims.as_object_mut().unwrap().extend(claim.as_object().unwrap().clone());
        assert_eq!(judged(&tokens, &claims).unwrap().role, role, "{claims}");
    }
    let long = judged(&tokens, &json!({"sub": "ada", "exp": NOW + 60, "name": "ä".repeat(100)})).unwrap();
    assert_eq!(long.name.as_deref(), Some("ä".repeat(64).as_str()));
    let blank = judged(&tokens, &json!({"sub": "ada", "exp": NOW + 60, "name": " \n"})).unwrap();
    assert_eq!(blank.name, None);
}

#[test]
fn clocks_may_be_the_leeway_apart_and_no_more() {
    let strict = by_secret("leeway = \"0s\"");
    let usual = by_secret("");
    for (claims, at_once, with_leeway) in [
        (json!({"exp": NOW + 1}), Ok(()), Ok(())),
        (json!({"exp": NOW}), Err(Refused::Expired), Ok(())),
        (json!({"exp": NOW - 29}), Err(Refused::Expired), Ok(())),
        (json!({"exp": NOW - 30}), Err(Refused::Expired), Err(Refused::Expired)),
        (json!({"exp": 0}), Err(Refused::Expired), Err(Refused::Expired)),
        (json!({"exp": NOW as f64 + 1.5}), Ok(()), Ok(())),
        (json!({"exp": u64::MAX}), Ok(()), Ok(())),
        (json!({"exp": NOW + 60, "nbf": NOW}), Ok(()), Ok(())),
        (json!({"exp": NOW + 60, "nbf": NOW + 1}), Err(Refused::NotYet), Ok(())),
        (json!({"exp": NOW + 60, "nbf": NOW + 31}), Err(Refused::NotYet), Err(Refused::NotYet)),
    ] {
        let mut claims = claims;
        claims["sub"] = json!("ada");
        assert_eq!(judged(&strict, &claims).map(|_| ()), at_once, "{claims}");
        assert_eq!(judged(&usual, &claims).map(|_| ()), with_leeway, "{claims}");
    }
    assert_eq!(Refused::Expired.code(), "token-expired");
    for other in [Refused::Signature, Refused::NotYet, Refused::Issuer, Refused::NoKey, Refused::Malformed] {
        assert_eq!(other.code(), "unauthorized");
    }
}

#[test]
fn issuer_and_audience_are_the_configured_ones() {
    let tokens =
        by_secret("issuer = [\"https://a.example\", \"https://b.example\"]\naudience = \"callgate\"");
    let with = |iss: Value, aud: Value| {
        judged(&tokens, &json!({"sub": "ada", "exp": NOW + 60, "iss": iss, "aud": aud})).map(|_| ())
    };
    let (a, here) = (json!("https://a.example"), json!("callgate"));
    assert_eq!(with(a.clone(), here.clone()), Ok(()));
    assert_eq!(with(json!("https://b.example"), json!(["other", "callgate"])), Ok(()));
    for iss in [json!("https://a.example/"), json!("https://evil.example"), json!(""), Value::Null] {
        assert_eq!(with(iss, here.clone()), Err(Refused::Issuer));
    }
    for aud in [json!("callgate2"), json!(["other"]), json!([]), json!(""), Value::Null] {
        assert_eq!(with(a.clone(), aud), Err(Refused::Audience));
    }
    let bare = judged(&tokens, &json!({"sub": "ada", "exp": NOW + 60}));
    assert_eq!(bare, Err(Refused::Issuer));
    // Who has another's token hears nothing of its having expired.
    let foreign = judged(&tokens, &json!({"sub": "ada", "exp": 1, "iss": "https://a.example", "aud": "x"}));
    assert_eq!(foreign, Err(Refused::Audience));
}

#[test]
fn what_is_not_quite_right_opens_nothing() {
    let tokens = by_secret("");
    let exp = NOW + 60;
    for claims in [
        json!({"sub": "a"}),
        json!({"exp": exp}),
        json!({"sub": "", "exp": exp}),
        json!({"sub": 7, "exp": exp}),
        json!({"sub": null, "exp": exp}),
        json!({"sub": "a b", "exp": exp}),
        json!({"sub": "ä", "exp": exp}),
        json!({"sub": "a\n", "exp": exp}),
        json!({"sub": "a".repeat(129), "exp": exp}),
        json!({"sub": "a", "exp": "never"}),
        json!({"sub": "a", "exp": exp.to_string()}),
        json!({"sub": "a", "exp": -1}),
        json!({"sub": "a", "exp": 1e300}),
        json!({"sub": "a", "exp": null}),
        json!({"sub": "a", "exp": [exp]}),
        json!({"sub": "a", "exp": exp, "nbf": "soon"}),
        json!({"sub": "a", "exp": exp, "nbf": {}}),
        json!({"sub": "a", "exp": exp, "rooms": "one"}),
        json!({"sub": "a", "exp": exp, "rooms": null}),
        json!({"sub": "a", "exp": exp, "rooms": {"one": true}}),
        json!({"sub": "a", "exp": exp, "rooms": ["one", 2]}),
        json!({"sub": "a", "exp": exp, "role": 7}),
        json!({"sub": "a", "exp": exp, "roles": {"admin": true}}),
        json!({"sub": "a", "exp": exp, "name": ["a"]}),
        json!([]),
        json!(["a", null, null, exp]),
        json!("a"),
        json!(null),
    ] {
        assert!(matches!(judged(&tokens, &claims), Err(Refused::Claims(_))), "{claims}");
    }
}

#[test]
fn what_is_made_here_is_good_here() {
    let tokens = by_secret("issuer = \"https://a.example\"\naudience = [\"callgate\", \"other\"]");
    let rooms = ["one".to_owned()];
    let minted = Minted {
        user: "ada",
        name: Some("Ada \"L.\""),
        role: Role::Moderator,
        rooms: Some(&rooms),
        issuer: Some("https://a.example"),
        audience: Some("callgate"),
        now: NOW,
        expires: NOW + 5,
    };
    let it = verify(&tokens, &mint(&SECRET.into(), &minted)).unwrap();
    assert_eq!((&*it.user, it.name.as_deref(), it.role), ("ada", Some("Ada \"L.\""), Role::Moderator));
    assert!(it.allows("one") && !it.allows("two"));
    let bare = Minted { name: None, role: Role::User, rooms: None, ..minted };
    let it = verify(&tokens, &mint(&SECRET.into(), &bare)).unwrap();
    assert_eq!((it.name, it.role, it.rooms), (None, Role::User, None));
    // A list of none is no list left out.
    let nowhere = Minted { rooms: Some(&[]), ..minted };
    let it = verify(&tokens, &mint(&SECRET.into(), &nowhere)).unwrap();
    assert!(!it.allows("one") && it.rooms.is_some());
}
